// SPDX-License-Identifier: Apache-2.0
import LayerwisePlatform

/// A name as a key: two names are equal where their UTF-8 bytes are, and are ordered by these bytes.
///
/// Swift's own comparison of strings goes by canonical equivalence, for which "é" as one scalar and as two is one text.  C and
/// Python compare code units, so names of layers and tensors, patterns, towers and keys of JSON are compared in this way.
/// Keys that the library declares consist of ASCII letters, which are canonically equivalent to nothing else, and may be
/// compared as strings.
package struct NameKey: Hashable, Comparable, Sendable, ExpressibleByStringLiteral {
    package let text: String

    @inline(__always)
    package init(_ text: String) { self.text = text }

    package init(stringLiteral text: String) { self.text = text }

    package static func == (a: NameKey, b: NameKey) -> Bool {
        let (a, b) = (a.text.utf8, b.text.utf8)
        if a.count != b.count { return false }
        let result = a.withContiguousStorageIfAvailable { x in
            b.withContiguousStorageIfAvailable { y in compare(x, y, x.count) == 0 }
        }
        return (result ?? nil) ?? a.elementsEqual(b)
    }

    package static func < (a: NameKey, b: NameKey) -> Bool {
        let (a, b) = (a.text.utf8, b.text.utf8)
        let result = a.withContiguousStorageIfAvailable { x in
            b.withContiguousStorageIfAvailable { y in
                let order = compare(x, y, min(x.count, y.count))
                return order == 0 ? x.count < y.count : order < 0
            }
        }
        return (result ?? nil) ?? a.lexicographicallyPrecedes(b)
    }

    package func hash(into hasher: inout Hasher) {
        let isHashed: Void? = text.utf8.withContiguousStorageIfAvailable { bytes in
            hasher.combine(bytes: UnsafeRawBufferPointer(bytes))
        }
        if isHashed == nil { for byte in text.utf8 { hasher.combine(byte) } }
        // UTF-8 has no such byte, so that no name is hashed as the beginning of another.
        hasher.combine(0xff as UInt8)
    }

    /// The order of the first `count` bytes, as memcmp gives it.
    private static func compare(_ a: UnsafeBufferPointer<UInt8>, _ b: UnsafeBufferPointer<UInt8>, _ count: Int) -> Int32
    {
        guard count > 0, let a = a.baseAddress, let b = b.baseAddress else { return 0 }
        return memcmp(a, b, count)
    }
}

extension StringProtocol {
    /// Whether the bytes end in those of `suffix`, wherever characters begin.
    package func hasUTF8Suffix(_ suffix: String) -> Bool {
        utf8.count >= suffix.utf8.count && utf8.suffix(suffix.utf8.count).elementsEqual(suffix.utf8)
    }
}
