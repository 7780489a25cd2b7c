// SPDX-License-Identifier: Apache-2.0
import Glibc
import Layerwise

/// Stored elements in memory of their own, at any offset from a cache line.
final class Buffer {
    let dtype: DType
    let count: Int
    let start: UnsafeMutableRawPointer
    private let allocation: UnsafeMutableRawPointer

    /// Zeros, `offset` bytes past a cache line.
    init(_ dtype: DType, count: Int, offset: Int = 0) {
        self.dtype = dtype
        self.count = count
        let bytes = count * dtype.size + offset
        allocation = .allocate(byteCount: bytes + 64, alignment: 64)
        allocation.initializeMemory(as: UInt8.self, repeating: 0, count: bytes + 64)
        start = allocation + offset
    }

    convenience init(_ dtype: DType, _ values: [Double], offset: Int = 0) {
        self.init(dtype, count: values.count, offset: offset)
        self.values = values
    }

    deinit { allocation.deallocate() }

    subscript(index: Int) -> Double {
        get { dtype.load(start, index) }
        set { dtype.store(newValue, start, index) }
    }

    var values: [Double] {
        get {
            withExtendedLifetime(self) {
                [Double](unsafeUninitializedCapacity: count) { values, size in
                    for index in 0..<count { values[index] = dtype.load(start, index) }
                    size = count
                }
            }
        }
        set { newValue.withUnsafeBufferPointer { values in fill(values.count) { values[$0] } } }
    }

    /// Stores a number for each of the first `size` indices, or for all.
    func fill(_ size: Int? = nil, _ number: (Int) -> Double) {
        let (dtype, start) = (dtype, start)
        withExtendedLifetime(self) {
            for index in 0..<(size ?? count) { dtype.store(number(index), start, index) }
        }
    }

    /// Valid as long as the buffer lives, which ends with its last use.
    var bytes: UnsafeMutableRawBufferPointer {
        UnsafeMutableRawBufferPointer(start: start, count: count * dtype.size)
    }
}

extension Buffer {
    /// Whether the first `count` elements have the same bits.
    func startsAlike(_ other: Buffer, _ count: Int) -> Bool {
        withExtendedLifetime((self, other)) { memcmp(start, other.start, count * dtype.size) == 0 }
    }
}

/// A hash of bytes, to compare much memory at once.
struct Digest: Equatable, CustomStringConvertible {
    private(set) var value: UInt64 = 0xcbf2_9ce4_8422_2325

    mutating func add(_ bytes: UnsafeRawBufferPointer) {
        var offset = 0
        // Four at a time, which need not wait for each other.
        if bytes.count >= 32 {
            var (a, b, c, d) = (self, self, self, self)
            while offset + 32 <= bytes.count {
                a.mix(bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
                b.mix(bytes.loadUnaligned(fromByteOffset: offset + 8, as: UInt64.self))
                c.mix(bytes.loadUnaligned(fromByteOffset: offset + 16, as: UInt64.self))
                d.mix(bytes.loadUnaligned(fromByteOffset: offset + 24, as: UInt64.self))
                offset += 32
            }
            mix(a.value)
            mix(b.value)
            mix(c.value)
            mix(d.value)
        }
        while offset + 8 <= bytes.count {
            mix(bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
            offset += 8
        }
        while offset < bytes.count {
            mix(UInt64(bytes[offset]))
            offset += 1
        }
        mix(UInt64(bytes.count))
    }

    mutating func add(_ buffer: Buffer) { withExtendedLifetime(buffer) { add(UnsafeRawBufferPointer(buffer.bytes)) } }

    mutating func add<Value: BitwiseCopyable>(_ value: Value) { withUnsafeBytes(of: value) { add($0) } }

    private mutating func mix(_ word: UInt64) {
        value = (value ^ word) &* 0x9e37_79b9_7f4a_7c15
        value ^= value >> 29
    }

    var description: String { String(value, radix: 16) }
}
