// SPDX-License-Identifier: Apache-2.0

/// CRC-32C, bit by bit and then by a table: written independently, so that one mistake is not made twice.
enum Checksum {
    private static let table: [UInt32] = (0..<256).map { byte in
        (0..<8).reduce(UInt32(byte)) { crc, _ in crc & 1 == 1 ? crc >> 1 ^ 0x82f6_3b78 : crc >> 1 }
    }

    /// As eight digits.
    static func text(of bytes: some Sequence<UInt8>) -> [UInt8] {
        let crc = ~bytes.reduce(~UInt32(0)) { $0 >> 8 ^ table[Int(($0 ^ UInt32($1)) & 0xff)] }
        let digits = Array("0123456789abcdef".utf8)
        return (0..<8).map { digits[Int(crc >> (28 - 4 * UInt32($0)) & 0xf)] }
    }
}
