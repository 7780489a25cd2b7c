// SPDX-License-Identifier: Apache-2.0
import Foundation
import Glibc
import Layerwise
import XCTest

/// Files that were changed, cut, or made to do harm.
final class CheckpointRefusalTests: XCTestCase {
    private var model: Model!
    private var good: [UInt8]!
    private var file: CheckpointFile!

    override func setUpWithError() throws {
        model = try smallCheckpointModel()
        good = try model.optimizer.exported(SaveOptions(parameters: true))
        file = try CheckpointFile(good)
    }

    // MARK: - Damage

    /// Every bit, and every length.
    func testEveryBitAndEveryLength() throws {
        let before = try model.fullDigest()
        for place in good.indices {
            for bit: UInt8 in 0..<8 {
                var bytes = good!
                bytes[place] ^= 1 << bit
                XCTAssertThrowsError(try model.optimizer.load(bytes), "bit \(bit) of byte \(place)") {
                    XCTAssertEqual(($0 as? LayerwiseError)?.code, .corrupt, "\($0)")
                }
            }
        }
        for count in good.indices {
            XCTAssertThrowsError(try model.optimizer.load(Array(good[..<count])), "\(count) bytes") {
                XCTAssertEqual(($0 as? LayerwiseError)?.code, .corrupt, "\($0)")
            }
        }
        XCTAssertThrowsError(try model.optimizer.load(good + [0]))
        XCTAssertEqual(try model.fullDigest(), before)
        try model.optimizer.load(good)
    }

    // MARK: - Checksums

    func testForgedChecksums() throws {
        let key = file.tensors[2].key
        let right = checksumText(file.tensors[2].bytes)
        for (forged, message) in [
            ("00000000", "tensor \"\(key)\" was changed: its checksum is \(right), not 00000000"),
            ("", "tensor \"\(key)\" has no checksum (byte 0 of the header)"),
            ("0000000", "tensor \"\(key)\" has no checksum (byte 0 of the header)"),
            ("000000000", "tensor \"\(key)\" has no checksum (byte 0 of the header)"),
            ("0000000g", "tensor \"\(key)\" has no checksum (byte 0 of the header)"),
            ("ABCDEF00", "tensor \"\(key)\" has no checksum (byte 0 of the header)"),
            ("+0000000", "tensor \"\(key)\" has no checksum (byte 0 of the header)"),
            ("\u{ff10}0000000", "tensor \"\(key)\" has no checksum (byte 0 of the header)"),
        ] {
            file.forgedChecksums = [key: forged]
            try assertCorrupt(model, file.bytes(), message)
        }
    }

    /// Without a checksum of its own a header is not read further, however right the rest is.
    func testHeaderChecksum() throws {
        let header = String(decoding: good[8..<8 + (try CheckpointFile.headerLength(good))], as: UTF8.self)
        let data = Array(good[(8 + header.utf8.count)...])
        let place = try XCTUnwrap(header.range(of: "\"header_crc32c\": \""))
        let digits = header[place.upperBound...].prefix(8)
        let none = "the header has no checksum (byte 0 of the header)"
        let changes: KeyValuePairs = [
            "\"header_crc32c\": \"\(digits)\"": "\"header_crc32d\": \"\(digits)\"",
            "\"header_crc32c\": \"\(digits)": "\"header_crc32c\": \"\(digits)0",
            "\"header_crc32c\": \"\(digits.prefix(7))": "\"header_crc32c\": \"g\(digits.dropFirst().prefix(6))",
            "\"header_crc32c\": \"\(digits.prefix(1))": "\"header_crc32c\": \"\\u003\(digits.prefix(1))",
        ]
        for (old, new) in changes {
            let changed = header.replacingOccurrences(of: old, with: new)
            XCTAssertNotEqual(changed, header)
            try assertCorrupt(model, CheckpointFile.raw(Array(changed.utf8), data), none)
        }
        let zeros = header.replacingOccurrences(of: "\"\(digits)\"", with: "\"00000000\"")
        try assertCorrupt(
            model, CheckpointFile.raw(Array(zeros.utf8), data),
            "the header was changed: its checksum is \(digits), not 00000000 (byte 0 of the header)")
        // Space behind the header counts too.
        try assertCorrupt(
            model, CheckpointFile.raw(Array((header + " ").utf8), data),
            "the header was changed: its checksum is \(checksumText((zeros + " ").utf8)), not \(digits) (byte 0 of the header)"
        )
    }

    func testChecksumsOfTensors() throws {
        let count = "there must be one checksum for each tensor (byte 0 of the header)"
        let header = String(decoding: good[8..<8 + (try CheckpointFile.headerLength(good))], as: UTF8.self)
        let data = Array(good[(8 + header.utf8.count)...])
        func sealed(_ old: String, _ new: String) -> [UInt8] {
            XCTAssertTrue(header.contains(old), old)
            return CheckpointFile.sealed(header.replacingOccurrences(of: old, with: new), data)
        }
        let first = "\\\"0/0/step\\\": "
        try assertCorrupt(model, sealed(first, "\\\"x\\\": \\\"00000000\\\", \(first)"), count)
        try assertCorrupt(
            model, sealed(first, "\\\"0/0/Step\\\": "), "tensor \"0/0/step\" has no checksum (byte 0 of the header)")
        try assertCorrupt(
            model, sealed(first, "\(first)1, \\\"x\\\": "), count)
        try assertCorrupt(
            model, sealed("\"crc32c\": \"{", "\"crc32c\": \"["),
            "\"crc32c\": expected ] (byte \(sums.firstIndex(of: 0x3a) ?? 0) of the header)")
        try assertCorrupt(model, sealed("\"crc32c\":", "\"crc32d\":"), "\"crc32c\" is missing (byte 0 of the header)")
    }

    /// The bytes of the checksums' JSON.
    private var sums: [UInt8] { Array((file.metadata["crc32c"] ?? "").utf8) }

    // MARK: - What the file says of itself

    func testFormatAndVersion() throws {
        file.metadata["format"] = "pt"
        try assertCorrupt(
            model, file.bytes(), "a safetensors file, but not a checkpoint of Layerwise (byte 0 of the header)")
        file.metadata["format"] = "layerwise.checkpoint"
        for version in ["2", "0", "1.0", "", "01", "10"] {
            file.metadata["format_version"] = version
            try assertCorrupt(
                model, file.bytes(), "format version \(version) is not known here, only 1 (byte 0 of the header)")
        }
        file.metadata["format_version"] = nil
        try assertCorrupt(model, file.bytes(), "format version  is not known here, only 1 (byte 0 of the header)")
        // Neither the version of the writer matters, nor other metadata.
        file.metadata["format_version"] = "1"
        file.metadata["layerwise_version"] = "99.0"
        file.metadata["note"] = "from elsewhere"
        XCTAssertNoThrow(try model.optimizer.load(file.bytes()))
    }

    func testMissingMetadata() throws {
        for key in ["identity", "progress"] {
            var file = file!
            file.metadata[key] = nil
            try assertCorrupt(model, file.bytes(), "\(key == "progress" ? "progress: " : "")\"\(key)\" is missing")
        }
    }

    // MARK: - Harm

    /// Names lead nowhere: a tensor is only ever compared with those that are here.
    func testTricksWithNames() throws {
        for name in [
            "../../x", "/etc/passwd", "0/0/../../x", "0/0/step/", "/0/0/step", "0//step", "0/0", "", "/", "//",
            "%2e%2e/0/step",
            "0/0/STEP", "0\u{0}/0/step", "0/0/step\u{0}", "\u{202e}0/0/step", "__Metadata__", "0%2F0/step/x",
        ] {
            var file = file!
            file.tensors.append(.init(key: name, dtype: "F32", shape: "[0]", bytes: []))
            try assertMismatch(model, file.bytes(), ["\(name): only in the checkpoint"])
            XCTAssertEqual(
                try model.optimizer.load(file.bytes(), LoadOptions(strict: false)).unexpected, [name])
        }
        // In place of one that is here.
        var other = file!
        other.tensors[0].key = "../0/0/step"
        try assertMismatch(
            model, other.bytes(), ["0/0/step: not in the checkpoint", "../0/0/step: only in the checkpoint"])
    }

    /// A file that claims much takes no more memory than it has bytes, some times over.
    func testMemoryIsBounded() throws {
        let claims: [[UInt8]] = [
            CheckpointFile.raw([], length: 100_000_000), CheckpointFile.raw([], length: .max),
            CheckpointFile.raw(
                Array(
                    "{\"a\": {\"dtype\": \"F64\", \"shape\": [1152921504606846975], \"data_offsets\": [0, 9223372036854775800]}}"
                        .utf8)),
            CheckpointFile.raw(Array("{\"a\": {\"shape\": [\(String(repeating: "9", count: 1 << 20))]}}".utf8)),
        ]
        // From here on the kernel records the peak of memory again.
        try Data("5".utf8).write(to: URL(fileURLWithPath: "/proc/self/clear_refs"))
        let before = try memory("VmHWM")
        for bytes in claims {
            for _ in 0..<20 { XCTAssertThrowsError(try model.optimizer.load(bytes)) }
        }
        XCTAssertLessThan(try memory("VmHWM") - before, 16 << 20)
    }

    /// Ten thousand of anything: refused or taken in a time that grows with the size only.
    func testManyParts() throws {
        var file = file!
        for index in 0..<10_000 {
            file.tensors.append(.init(key: "layer\(index)/w/step", dtype: "I64", shape: "[0]", bytes: []))
        }
        let bytes = file.bytes()
        XCTAssertThrowsError(try model.optimizer.load(bytes)) {
            XCTAssertEqual(($0 as? LayerwiseError)?.code, .mismatch)
            // All tensors are listed, and the message has the usual length.
            XCTAssertLessThan("\($0)".utf8.count, 512)
            XCTAssertTrue("\($0)".contains("; and "), "\($0)")
        }
        XCTAssertEqual(model.optimizer.loadReport.unexpected.count, 10_000)
        // Besides the seven that are missing.
        for (count, told) in [(9992, 9999), (9993, 10_000), (9994, 10_001), (20_000, 10_001)] {
            var keys = file
            keys.metadata["identity"] = "{\((0..<count).map { "\"k\($0)\": []" }.joined(separator: ", "))}"
            XCTAssertThrowsError(try model.optimizer.load(keys.bytes()))
            let differences = model.optimizer.loadReport.differences
            XCTAssertEqual(differences.count, told)
            XCTAssertEqual(differences.last == "and more", told > 10_000, "\(count)")
        }
    }

    /// Bytes, of a line of the process's status.
    private func memory(_ name: String) throws -> Int {
        let status = try String(contentsOfFile: "/proc/self/status", encoding: .utf8)
        let line = try XCTUnwrap(status.split(separator: "\n").first { $0.hasPrefix("\(name):") })
        return try XCTUnwrap(line.split(whereSeparator: { " \t".contains($0) }).dropFirst().first.flatMap { Int($0) })
            << 10
    }

    // MARK: - Files

    func testFilesThatCannotBeRead() throws {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        func refused(_ path: String, _ code: LayerwiseError.Code, _ message: String, line: UInt = #line) throws {
            let before = try model.fullDigest()
            assertRefused(code, message: message, line: line) { try model.optimizer.load(from: path) }
            assertRefused(code, message: message, line: line) { _ = try describeCheckpoint(at: path) }
            XCTAssertEqual(try model.fullDigest(), before, line: line)
        }
        let missing = folder.appendingPathComponent("missing").path
        try refused(missing, .io, "cannot open \(missing): No such file or directory")
        try refused("", .io, "cannot open : No such file or directory")
        try refused(folder.path, .io, "cannot read \(folder.path): not a regular file")
        try refused("/dev/zero", .io, "cannot read /dev/zero: not a regular file")
        let loop = folder.appendingPathComponent("loop").path
        XCTAssertEqual(symlink(loop, loop), 0)
        try refused(loop, .io, "cannot open \(loop): Too many levels of symbolic links")
        let empty = folder.appendingPathComponent("empty").path
        XCTAssertTrue(FileManager.default.createFile(atPath: empty, contents: nil))
        try refused(empty, .corrupt, "\(empty): 0 bytes are too few for a checkpoint")
        let hollow = folder.appendingPathComponent("hollow").path
        try Data(CheckpointFile.raw([])).write(to: URL(fileURLWithPath: hollow))
        try refused(
            hollow, .corrupt, "\(hollow): not a safetensors file: a header begins with { (byte 0 of the header)")
        let long = folder.appendingPathComponent("long").path
        try Data(CheckpointFile.raw(Array("{}".utf8), length: 1 << 40)).write(to: URL(fileURLWithPath: long))
        try refused(
            long, .corrupt,
            "\(long): not a safetensors file: a header of 1099511627776 bytes is too long, in a file of 10 and at most "
                + "100000000")
        // A hole as large as a header may be: read, and refused at its first byte.
        let sparse = folder.appendingPathComponent("sparse").path
        try Data(CheckpointFile.raw([], length: 64 << 20)).write(to: URL(fileURLWithPath: sparse))
        XCTAssertEqual(truncate(sparse, 64 << 20 + 8), 0)
        try refused(
            sparse, .corrupt, "\(sparse): not a safetensors file: a header begins with { (byte 0 of the header)")
    }
}
