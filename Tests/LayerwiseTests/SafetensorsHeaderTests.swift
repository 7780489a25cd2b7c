// SPDX-License-Identifier: Apache-2.0
import Layerwise
import XCTest

/// The header of a checkpoint: every rule that the reference implementation of safetensors has, one test each; what is refused
/// besides; and how the library writes it.
final class SafetensorsHeaderTests: XCTestCase {
    private var model: Model!

    override func setUpWithError() throws { model = try smallCheckpointModel() }

    /// A header is refused with this message; `data` are the bytes behind it.
    private func refused(
        _ header: String, data: Int = 0, _ message: String, file: StaticString = #filePath, line: UInt = #line
    ) throws {
        try assertCorrupt(
            model, CheckpointFile.raw(Array(header.utf8), Array(repeating: 0, count: data)),
            "\(message) (byte \(header.utf8.count) of the header)", file: file, line: line)
    }

    private func tensor(
        _ name: String = "a", _ dtype: String = "F32", _ shape: String = "[2]", _ offsets: String = "[0, 8]"
    ) -> String {
        "\"\(name)\": {\"dtype\": \"\(dtype)\", \"shape\": \(shape), \"data_offsets\": \(offsets)}"
    }

    // MARK: - The eleven rules

    func test1FileHasALength() throws {
        for count in 0..<8 {
            try assertCorrupt(
                model, Array(repeating: 0, count: count), "\(count) bytes are too few for a checkpoint")
        }
    }

    func test2And3LengthOfTheHeaderIsBounded() throws {
        let lengths: [UInt64] = [100_000_001, 1 << 31, 1 << 32, 1 << 62, 1 << 63 - 1, 1 << 63, .max - 7, .max]
        for length in lengths {
            try assertCorrupt(
                model, CheckpointFile.raw(Array("{}".utf8), length: length),
                "not a safetensors file: a header of \(length) bytes is too long, in a file of 10 and at most 100000000"
            )
        }
    }

    /// What other programs write, which people try to load.
    func testFilesOfOtherPrograms() throws {
        // torch.save: an archive, whose beginning is a "local file header".
        try assertCorrupt(
            model, Array("PK\u{3}\u{4}\0\0\u{8}\u{8}\0\0\0\0\0\0archive/data.pkl".utf8),
            "not a safetensors file, as a checkpoint of Layerwise is, but a zip archive, as torch.save writes: "
                + "read it with torch.load")
        let others: [(bytes: [UInt8], found: String)] = [
            (
                [0x80, 0x02, 0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20],
                ", as a checkpoint of Layerwise is, but a pickle, "
            ),
            ([0x80, 0x04, 0x95, 0x0f, 0, 0, 0, 0, 0, 0, 0], ", as a checkpoint of Layerwise is, but a pickle, "),
            (
                [0x93] + Array("NUMPY\u{1}\0v\0{'descr'".utf8),
                ", as a checkpoint of Layerwise is, but an array of NumPy: read it with numpy.load"
            ),
            (
                [0x89] + Array("HDF\r\n\u{1a}\n\0\0".utf8),
                ", as a checkpoint of Layerwise is, but an HDF5 file, as Keras writes"
            ),
            (Array("GGUF\u{3}\0\0\0\0".utf8), ", as a checkpoint of Layerwise is, but a GGUF file"),
            ([0x1f, 0x8b, 8, 0, 0, 0, 0, 1, 0], ", as a checkpoint of Layerwise is, but a gzip archive"),
            (Array("{\"lr\": 0.1}".utf8), ", as a checkpoint of Layerwise is, but text"),
            (
                [UInt8](repeating: 0xff, count: 16),
                ": a header of 18446744073709551615 bytes is too long, in a file of 16"
            ),
            ([UInt8](repeating: 0, count: 16), ": a header begins with {"),
        ]
        for (bytes, found) in others {
            let before = try model.fullDigest()
            XCTAssertThrowsError(try model.optimizer.load(bytes)) {
                XCTAssertEqual(($0 as? LayerwiseError)?.code, .corrupt)
                XCTAssertTrue("\($0)".contains("not a safetensors file\(found)"), "\($0)")
            }
            XCTAssertEqual(try model.fullDigest(), before)
        }
    }

    func test4HeaderLiesWithinTheFile() throws {
        for length: UInt64 in [3, 4, 100, 100_000_000] {
            try assertCorrupt(
                model, CheckpointFile.raw(Array("{}".utf8), length: length),
                "a header of \(length) bytes is too long, in a file of 10 and at most 100000000")
        }
    }

    func test5HeaderIsUTF8() throws {
        try assertCorrupt(
            model, CheckpointFile.raw(Array("{\"".utf8) + [0xff] + Array("\": {}}".utf8)),
            "text is not UTF-8 (byte 4 of the header)")
        // Outside of text nothing but ASCII can be.
        try assertCorrupt(
            model, CheckpointFile.raw(Array("{".utf8) + [0xff] + Array("}".utf8)),
            "expected \" (byte 1 of the header)")
    }

    func test6HeaderIsOfTheScheme() throws {
        func at(_ position: Int, _ header: String, _ message: String, line: UInt = #line) throws {
            try assertCorrupt(
                model, CheckpointFile.raw(Array(header.utf8)), "\(message) (byte \(position) of the header)",
                line: line)
        }
        try at(0, "", "not a safetensors file: a header begins with {")
        try at(0, " {}", "not a safetensors file: a header begins with {")
        try at(0, "\u{feff}{}", "not a safetensors file: a header begins with {")
        try at(0, "[]", "not a safetensors file: a header begins with {")
        try at(0, "null", "not a safetensors file: a header begins with {")
        try at(1, "{", "expected \"")
        try at(2, "{}\0", "expected the end")
        try at(3, "{} {}", "expected the end")
        try at(6, "{\"a\": 1}", "expected {")
        try at(6, "{\"a\": []}", "expected {")
        try at(6, "{\"a\": null}", "expected {")
        // Metadata are text by text.
        try at(17, "{\"__metadata__\": 1}", "expected {")
        try at(17, "{\"__metadata__\": null}", "expected {")
        try at(23, "{\"__metadata__\": {\"k\": 1}}", "expected \"")
        try at(23, "{\"__metadata__\": {\"k\": null}}", "expected \"")
        try at(23, "{\"__metadata__\": {\"k\": {}}}", "expected \"")
        // A tensor has three fields, each once, and no others.
        let needs = "tensor \"a\" needs a dtype, a shape and two data_offsets that do not fall"
        try at(8, "{\"a\": {}}", needs)
        try at(36, "{\"a\": {\"dtype\": \"F32\", \"shape\": [2]}}", needs)
        try at(44, "{\"a\": {\"shape\": [2], \"data_offsets\": [0, 8]}}", needs)
        try at(46, "{\"a\": {\"dtype\": \"F32\", \"data_offsets\": [0, 8]}}", needs)
        try at(15, "{\"a\": {\"Dtype\": \"F32\"}}", "tensor \"a\": unexpected key \"Dtype\"")
        try at(11, "{\"a\": {\"x\": 1}}", "tensor \"a\": unexpected key \"x\"")
        for offsets in ["[]", "[0]", "[8, 0]"] {
            let header = "{\(tensor("a", "F32", "[2]", offsets))}"
            try at(header.utf8.count - 1, header, needs)
        }
        // Whole numbers, written with digits alone.
        for (number, message) in [
            ("-1", "expected a whole number"), ("1.0", "expected ]"), ("1e0", "expected ]"), ("0x1", "expected ]"),
            ("NaN", "expected a whole number"), ("null", "expected a whole number"),
            ("\"1\"", "expected a whole number"), ("true", "expected a whole number"),
            ("01", "a number must not begin with 0"), ("+1", "expected a whole number"),
            ("9223372036854775808", "the number is too large"), ("18446744073709551616", "the number is too large"),
            ("100000000000000000000000000000000", "the number is too large"), ("Infinity", "expected a whole number"),
            ("[1]", "expected a whole number"),
        ] {
            for field in [tensor("a", "F32", "[\(number)]"), tensor("a", "F32", "[1]", "[0, \(number)]")] {
                XCTAssertThrowsError(try model.optimizer.load(CheckpointFile.raw(Array("{\(field)}".utf8))), field) {
                    XCTAssertTrue("\($0)".hasPrefix("the checkpoint: \(message) (byte"), "\(field): \($0)")
                }
            }
        }
        for shape in ["2", "{}", "null", "\"[2]\"", "[2", "[2,]", "[,2]"] {
            XCTAssertThrowsError(
                try model.optimizer.load(CheckpointFile.raw(Array("{\(tensor("a", "F32", shape))}".utf8))), shape)
        }
        // Types that safetensors knows and no state has, and none.
        for dtype in [
            "BOOL", "U8", "F8_E5M2", "F8_E4M3", "F8_E8M0", "F6_E2M3", "F4", "I16", "U16", "I32", "U32", "U64",
            "C64",
            "f32", "", "float32", "F32 ",
        ] {
            XCTAssertThrowsError(
                try model.optimizer.load(CheckpointFile.raw(Array("{\(tensor("a", dtype))}".utf8))), dtype
            ) {
                XCTAssertTrue(
                    "\($0)".hasPrefix("the checkpoint: tensor \"a\": no element type is called \(dtype) here"), "\($0)")
            }
        }
    }

    func test7TensorsLieSideBySide() throws {
        try refused("{\(tensor("a", "F32", "[2]", "[4, 12]"))}", data: 12, "tensor \"a\" begins at 4, expected 0")
        try refused(
            "{\(tensor()), \(tensor("b", "F32", "[2]", "[12, 20]"))}", data: 20,
            "tensor \"b\" begins at 12, expected 8")
        try refused(
            "{\(tensor()), \(tensor("b", "F32", "[2]", "[4, 12]"))}", data: 12,
            "tensor \"b\" begins at 4, expected 8")
        try refused("{\(tensor()), \(tensor("b"))}", data: 8, "tensor \"b\" begins at 0, expected 8")
        // One of no bytes within another.
        try refused(
            "{\(tensor()), \(tensor("b", "F32", "[0]", "[4, 4]"))}", data: 8, "tensor \"b\" begins at 4, expected 8")
    }

    func test8SizesDoNotOverflow() throws {
        for shape in [
            "[9223372036854775807]", "[2305843009213693952]", "[4294967296, 4294967296]",
            "[9223372036854775807, 9223372036854775807]", "[4611686018427387904, 4, 0]",
            "[\(Array(repeating: "65536", count: 16).joined(separator: ", "))]",
        ] {
            XCTAssertThrowsError(
                try model.optimizer.load(CheckpointFile.raw(Array("{\(tensor("a", "F32", shape))}".utf8))), shape
            ) { XCTAssertTrue("\($0)".hasPrefix("the checkpoint: tensor \"a\" is too large (byte"), "\($0)") }
        }
    }

    // Rule 9 is of types whose elements are no whole bytes, which rule 6 refuses here.

    func test10BytesAreThoseOfTheShape() throws {
        for (dtype, shape, bytes) in [
            ("F32", "[2]", 8), ("F64", "[2]", 16), ("F16", "[2]", 4), ("BF16", "[2]", 4), ("I64", "[]", 8),
            ("F32", "[0, 5]", 0),
            ("F32", "[2, 3]", 24),
        ] {
            for found in [0, 1, 8, 9, 16, 24, 1 << 40] where found != bytes {
                let header = "{\(tensor("a", dtype, shape, "[0, \(found)]"))}"
                try assertCorrupt(
                    model, CheckpointFile.raw(Array(header.utf8)),
                    "tensor \"a\" has \(found) bytes, its shape needs \(bytes) (byte \(header.utf8.count - 1) of the header)"
                )
            }
        }
    }

    func test11TensorsTakeTheWholeFile() throws {
        for data in [0, 7, 9, 16] {
            try refused("{\(tensor())}", data: data, "the tensors take 8 bytes, the file has \(data) for them")
        }
        try refused("{}", data: 1, "the tensors take 0 bytes, the file has 1 for them")
    }

    func testNothingIsGivenTwice() throws {
        func twice(_ header: String, _ key: String, line: UInt = #line) {
            XCTAssertThrowsError(try model.optimizer.load(CheckpointFile.raw(Array(header.utf8))), line: line) {
                XCTAssertTrue("\($0)".contains("\"\(key)\" is given twice (byte"), "\($0)", line: line)
            }
        }
        twice("{\(tensor()), \(tensor())}", "a")
        twice("{\(tensor()), \(tensor("\\u0061"))}", "a")
        twice("{\"__metadata__\": {}, \"__metadata__\": {}}", "__metadata__")
        twice("{\"__metadata__\": {\"k\": \"1\", \"k\": \"1\"}}", "k")
        for field in ["\"dtype\": \"F32\"", "\"shape\": [2]", "\"data_offsets\": [0, 8]"] {
            let header = "{\"a\": {\(field), \(field)}}"
            XCTAssertThrowsError(try model.optimizer.load(CheckpointFile.raw(Array(header.utf8)))) {
                XCTAssertTrue("\($0)".hasPrefix("the checkpoint: tensor \"a\": unexpected key \""), "\($0)")
            }
        }
    }

    /// A file that is valid, but nobody's checkpoint.
    func testOtherFiles() throws {
        let message = "a safetensors file, but not a checkpoint of Layerwise (byte 0 of the header)"
        for header in [
            "{}", "{}   \n\t\r ", "{\"__metadata__\": {}}", "{\"__metadata__\": {\"format\": \"pt\"}}",
            "{\"__metadata__\": {\"format\": \"Layerwise.checkpoint\"}}", "{\(tensor("a", "F32", "[0]", "[0, 0]"))}",
            "{\(tensor("a", "F32", "[0]", "[0, 0]")), \(tensor("b", "F64", "[3, 0, 9]", "[0, 0]"))}",
        ] { try assertCorrupt(model, CheckpointFile.raw(Array(header.utf8)), message) }
        try assertCorrupt(
            model, CheckpointFile.raw(Array("{\(tensor())}".utf8), Array(repeating: 0, count: 8)), message)
    }

    // MARK: - Of our own

    /// A shape has as many extents as a tensor may have, and a place two ends; one more is refused before it is read.
    func testListsAreShort() throws {
        func zeros(_ count: Int) -> String { "[\(Array(repeating: "0", count: count).joined(separator: ", "))]" }
        func tooLong(_ field: String, _ most: Int, _ numbers: String, line: UInt = #line) throws {
            // Behind the last comma that is good for something.
            let position = "{\"a\": {\"\(field)\": [0".utf8.count + 3 * (most - 1) + 1
            try assertCorrupt(
                model, CheckpointFile.raw(Array("{\"a\": {\"\(field)\": \(numbers)}}".utf8)),
                "tensor \"a\": expected at most \(most) numbers in \(field) (byte \(position) of the header)",
                line: line)
        }
        for count in [17, 18, 100_000] { try tooLong("shape", 16, zeros(count)) }
        for count in [3, 4, 100_000] { try tooLong("data_offsets", 2, zeros(count)) }
        // What is behind it is not looked at.
        try tooLong("shape", 16, "\(zeros(16).dropLast()),")
        try assertCorrupt(
            model, CheckpointFile.raw(Array("{\(tensor("a", "F32", zeros(16), "[0, 0]"))}".utf8)),
            "a safetensors file, but not a checkpoint of Layerwise (byte 0 of the header)")
    }

    /// A tensor of the highest rank is saved and loaded; one of a higher would be saved and not loaded, so there is none.
    func testHighestRank() throws {
        func optimizer(rank: Int, _ buffer: Buffer) throws -> Optimizer {
            let optimizer = try Optimizer(AdamW())
            let shape = Array(repeating: 1, count: rank - 1) + [2]
            try optimizer.addLayer(
                "a", [TensorDescription("w", parameters: buffer.start, shape: shape, dtype: .float32)])
            return optimizer
        }
        let buffer = Buffer(.float32, count: 2)
        try withExtendedLifetime(buffer) {
            let bytes = try optimizer(rank: 16, buffer).exported(SaveOptions(parameters: true))
            XCTAssertTrue(try XCTUnwrap(CheckpointFile(bytes).tensors.last).shape.hasSuffix("1, 1, 1, 2]"))
            let report = try optimizer(rank: 16, buffer).load(bytes)
            XCTAssertEqual(report.loaded.count, 4)
            for rank in [17, 100] {
                assertRefused(.shape, message: "layer \"a\": tensor \"w\": rank must be from 0 to 16, found \(rank)") {
                    _ = try optimizer(rank: rank, buffer)
                }
            }
        }
    }

    /// A checkpoint with 64 texts is loaded, whatever those are that nobody asks for; one with 65 is refused.
    func testTextsAreFew() throws {
        var file = try CheckpointFile(model.optimizer.exported())
        for number in 0..<64 - file.metadata.count { file.metadata["\(number)"] = "" }
        XCTAssertEqual(file.metadata.count, 64)
        XCTAssertNoThrow(try model.optimizer.load(file.bytes()))
        file.metadata["one more"] = ""
        XCTAssertThrowsError(try model.optimizer.load(file.bytes())) {
            XCTAssertEqual(($0 as? LayerwiseError)?.code, .corrupt)
            XCTAssertTrue("\($0)".hasPrefix("the checkpoint: __metadata__: expected at most 64 texts (byte "), "\($0)")
        }
        // Before its text is read.
        let texts = (0..<64).map { "\"\($0)\": \"\"" }.joined(separator: ", ")
        let header = "{\"__metadata__\": {\(texts), \"64\":"
        try assertCorrupt(
            model, CheckpointFile.raw(Array("\(header) 1}}".utf8)),
            "__metadata__: expected at most 64 texts (byte \(header.utf8.count) of the header)")
    }

    // MARK: - As it is written

    /// Space that another writer leaves in other places is fine, and so is any order of fields and tensors.
    func testOtherOrder() throws {
        let bytes = try model.optimizer.exported()
        let parts = try CheckpointFile(bytes)
        let metadata = parts.metadata.sorted { $0.key > $1.key }.map {
            "\(CheckpointFile.quoted($0.key)): \(CheckpointFile.quoted($0.value))"
        }
        var fields: [String] = []
        var offset = 0
        for tensor in parts.tensors {
            let end = offset + tensor.bytes.count
            fields.append(
                "\n \(CheckpointFile.quoted(tensor.key)) :{ \"data_offsets\":[ \(offset) ,\(end)],\t\"shape\": \(tensor.shape),"
                    + "\r\"dtype\":\"\(tensor.dtype)\" }")
            offset = end
        }
        fields.append("\"__metadata__\": {\(metadata.joined(separator: " , "))}")
        let header = "{\(fields.reversed().joined(separator: ","))} \n"
        let before = try model.fullDigest()
        try model.optimizer.step()
        try model.optimizer.load(CheckpointFile.sealed(header, parts.tensors.flatMap(\.bytes)), LoadOptions())
        // Without parameters in the file, they are as the last step left them.
        XCTAssertNotEqual(try model.fullDigest(), before)
        XCTAssertEqual(try CheckpointFile(model.optimizer.exported()).tensors.map(\.bytes), parts.tensors.map(\.bytes))
    }

    /// The tensors begin at a multiple of 64 bytes, each at a multiple of its element's size, behind metadata that come
    /// first, and the padding is space.
    func testPaddingAndAlignment() throws {
        for length in 1...70 {
            let optimizer = try Optimizer(AdamW())
            let buffers = [Buffer(.float16, count: 3), Buffer(.float64, count: 3), Buffer(.float32, count: 5)]
            try withExtendedLifetime(buffers) {
                try optimizer.addLayer(
                    String(repeating: "n", count: length),
                    buffers.enumerated().map {
                        TensorDescription(
                            "\($0)", parameters: $1.start, shape: [$1.count], dtype: $1.dtype,
                            master: $1.dtype == .float16)
                    })
                let bytes = try optimizer.exported(SaveOptions(parameters: true))
                let header = try CheckpointFile.headerLength(bytes)
                XCTAssertEqual((8 + header) % 64, 0)
                let text = String(decoding: bytes[8..<8 + header], as: UTF8.self)
                XCTAssertTrue(text.hasPrefix("{\"__metadata__\": {"))
                let padding = text.utf8.reversed().prefix { $0 == 0x20 }.count
                XCTAssertLessThan(padding, 64)
                XCTAssertEqual(Array(text.utf8)[header - padding - 1], UInt8(ascii: "}"))
                var offset = 0
                let sizes = ["F64": 8, "I64": 8, "F32": 4, "F16": 2, "BF16": 2]
                let tensors = try CheckpointFile(bytes).tensors
                // step, two moments and parameters of three tensors, and one master copy.
                XCTAssertEqual(tensors.count, 13)
                for tensor in tensors {
                    XCTAssertEqual(offset % sizes[tensor.dtype, default: 64], 0, tensor.key)
                    offset += tensor.bytes.count
                }
                XCTAssertEqual(bytes.count, 8 + header + offset)
            }
        }
    }

    /// All that is written is said in the metadata.
    func testMetadata() throws {
        let parts = try CheckpointFile(model.optimizer.exported())
        XCTAssertEqual(
            parts.metadata.keys.sorted(),
            ["crc32c", "format", "format_version", "header_crc32c", "identity", "layerwise_version", "progress"])
        XCTAssertEqual(parts.metadata["format"], "layerwise.checkpoint")
        XCTAssertEqual(parts.metadata["format_version"], "1")
        XCTAssertEqual(parts.metadata["layerwise_version"], layerwiseVersion)
        XCTAssertEqual(
            parts.tensors.map(\.key),
            [
                "0/0/step", "1/0/step", "0/0/exp_avg", "0/0/exp_avg_sq", "1/0/exp_avg", "1/0/exp_avg_sq",
            ])
        XCTAssertEqual(parts.tensors.map(\.dtype), ["I64", "I64", "F32", "F32", "F32", "F32"])
        XCTAssertEqual(parts.tensors.map(\.shape), ["[]", "[]", "[3]", "[3]", "[2, 2]", "[2, 2]"])
        XCTAssertEqual(parts.tensors[0].bytes, [2, 0, 0, 0, 0, 0, 0, 0])
        // Put together by the tests, it is the same file, but for the space at the end of the header.
        XCTAssertNoThrow(try model.optimizer.load(parts.bytes()))
        guard case .object(let sums) = try JSONValue(parsing: parts.metadata["crc32c", default: ""]) else {
            return XCTFail("no checksums")
        }
        for tensor in parts.tensors { XCTAssertEqual(sums[tensor.key], .text(checksumText(tensor.bytes)), tensor.key) }
    }
}
