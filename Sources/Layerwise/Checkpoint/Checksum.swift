// SPDX-License-Identifier: Apache-2.0
import CLayerwiseKernels

/// CRC-32C (Castagnoli; RFC 3720, appendix B.4), which finds every change of up to three bits in 256 MiB and every burst of
/// up to 32 bits, and misses one in 2³² of others.
enum Checksum {
    /// Of bytes that follow those whose checksum is `previous`.
    static func crc32c(_ bytes: UnsafeRawBufferPointer, after previous: UInt32 = 0) -> UInt32 {
        guard let start = bytes.baseAddress else { return previous }
        return lwk_crc32c(previous, start, bytes.count)
    }

    static func crc32c(of text: String) -> UInt32 {
        var text = text
        return text.withUTF8 { crc32c(UnsafeRawBufferPointer($0)) }
    }

    /// Eight hexadecimal digits.
    static func text(_ checksum: UInt32) -> String {
        let digits = String(checksum, radix: 16)
        return String(repeating: "0", count: 8 - digits.utf8.count) + digits
    }

    /// The reverse of `text`.
    static func parse(_ text: String) -> UInt32? {
        let digits = text.utf8.allSatisfy { ($0 >= 0x30 && $0 <= 0x39) || ($0 >= 0x61 && $0 <= 0x66) }
        return digits && text.utf8.count == 8 ? UInt32(text, radix: 16) : nil
    }
}
