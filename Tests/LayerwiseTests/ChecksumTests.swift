// SPDX-License-Identifier: Apache-2.0
import CLayerwiseKernels
import Foundation
import XCTest

/// CRC-32C by the processor's instruction and by tables: the published values, and those of a bit at a time.
final class ChecksumTests: XCTestCase {
    private typealias Function = @convention(c) (UInt32, UnsafeRawPointer, Int) -> UInt32

    /// RFC 3720, appendix B.4, and the check value of the catalogues.
    private static let published: [(bytes: [UInt8], checksum: UInt32)] = [
        ([], 0),
        (Array("123456789".utf8), 0xe306_9283),
        (Array(repeating: 0, count: 32), 0x8a91_36aa),
        (Array(repeating: 0xff, count: 32), 0x62a8_ab43),
        (Array(0..<32), 0x46dd_794e),
        (Array((0..<32).reversed()), 0x113f_db5c),
        // An iSCSI Read (10) command.
        (
            [
                0x01, 0xc0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x14, 0, 0, 0, 0, 0, 0x04, 0, 0, 0, 0, 0x14, 0, 0,
                0, 0x18, 0x28, 0, 0, 0, 0, 0, 0, 0, 0x02, 0, 0, 0, 0, 0, 0, 0,
            ], 0xd996_3a56
        ),
    ]

    func testReference() {
        for (bytes, checksum) in Self.published { XCTAssertEqual(referenceCRC32C(bytes), checksum) }
    }

    func testWhatIsInUse() { check(lwk_crc32c) }

    /// The source compiled as for a processor without the instruction.
    func testPortable() throws {
        let library = FileManager.default.temporaryDirectory.appendingPathComponent("\(UUID().uuidString).so")
        defer { try? FileManager.default.removeItem(at: library) }
        let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent().appendingPathComponent("Sources/CLayerwiseKernels")
        let compiler = Process()
        compiler.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        compiler.arguments = [
            "clang", "-O2", "-shared", "-fPIC", "-D__builtin_cpu_supports(x)=0",
            "-I\(folder.appendingPathComponent("include").path)",
            folder.appendingPathComponent("CLayerwiseKernels.c").path, "-o", library.path,
        ]
        try compiler.run()
        compiler.waitUntilExit()
        XCTAssertEqual(compiler.terminationStatus, 0)
        let handle = try XCTUnwrap(dlopen(library.path, RTLD_NOW | RTLD_LOCAL), String(cString: dlerror()))
        defer { dlclose(handle) }
        let portable = unsafeBitCast(try XCTUnwrap(dlsym(handle, "lwk_crc32c")), to: Function.self)
        check(portable)
    }

    private func check(_ crc32c: Function) {
        for (bytes, checksum) in Self.published {
            // A start that is no multiple of 8, and in two parts.
            for offset in 0..<9 {
                let moved = Array(repeating: 0x5a, count: offset) + bytes + [0x5a]
                moved.withUnsafeBytes { memory in
                    guard let start = memory.baseAddress else { return XCTFail("no bytes") }
                    XCTAssertEqual(crc32c(0, start + offset, bytes.count), checksum)
                    for first in 0...bytes.count {
                        let part = crc32c(0, start + offset, first)
                        XCTAssertEqual(crc32c(part, start + offset + first, bytes.count - first), checksum)
                    }
                }
            }
        }
        var random = Random(seed: 32)
        for count in [1, 2, 3, 7, 8, 9, 15, 16, 17, 63, 64, 65, 255, 1000, 4095, 4096, 4097, 12289, 100_003] {
            let bytes = (0..<count).map { _ in UInt8(truncatingIfNeeded: random.next()) }
            let found = bytes.withUnsafeBytes { memory in memory.baseAddress.map { crc32c(0, $0, count) } }
            XCTAssertEqual(found, referenceCRC32C(bytes), "\(count) bytes")
        }
    }
}
