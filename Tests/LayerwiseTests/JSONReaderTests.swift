// SPDX-License-Identifier: Apache-2.0
import Foundation
import Layerwise
import XCTest

/// The JSON in a checkpoint: RFC 8259, strictly.
///
/// What was read is seen in the line that says how the file's rule differs from the optimizer's.
final class JSONReaderTests: XCTestCase {
    private var model: Model!
    private var file: CheckpointFile!

    override func setUpWithError() throws {
        model = try smallCheckpointModel()
        file = try CheckpointFile(model.optimizer.exported())
    }

    /// How the value reads.
    private func read(_ json: String) throws -> String {
        file.metadata["identity"] = "{\"rule\": \(json)}"
        XCTAssertThrowsError(try model.optimizer.load(file.bytes()), json) {
            XCTAssertEqual(($0 as? LayerwiseError)?.code, .mismatch, "\(json): \($0)")
        }
        let line = model.optimizer.loadReport.differences.first { $0.hasPrefix("rule: ") }
        return String((line ?? "nothing").dropFirst(6)).replacingOccurrences(
            of: " in the checkpoint, \"adam\" here", with: "")
    }

    func testValues() throws {
        let values: KeyValuePairs = [
            "null": "none", "true": "true", "false": "false", " \t\r\n null\n": "none",
            // Numbers.
            "0": "0", "-0": "0", "-0.0e-0": "0", "7": "7", "-12.5": "-12.5", "1e3": "1000",
            "1E+3": "1000", "25e-2": "0.25", "0.1": "0.1", "5e-324": "5e-324", "1e999": "inf", "-1e999": "-inf",
            "1e-999": "0", "9007199254740993": "9007199254740992",
            "123456789012345678901234567890": "1.2345678901234568e+29",
            // Text.
            "\"\"": "\"\"", "\"a/b\"": "\"a/b\"", "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"": "\"\"\\/\u{8}\u{c}\n\r\t\"",
            "\"\\u0041\\u00e9\\u20AC\"": "\"A\u{e9}\u{20ac}\"", "\"\\ud83d\\ude42\"": "\"\u{1f642}\"",
            "\"\\uD800\\uDC00\\uDBFF\\uDFFF\"": "\"\u{10000}\u{10ffff}\"",
            "\"\\u0000\\u001f\\uffff\"": "\"\0\u{1f}\u{ffff}\"",
            "\"\u{7f}\u{80}\u{7ff}\u{800}\u{fffd}\u{10000}\u{10ffff}\"":
                "\"\u{7f}\u{80}\u{7ff}\u{800}\u{fffd}\u{10000}\u{10ffff}\"",
            // Lists and objects.
            "[]": "[]", "[ ]": "[]", "[null ,1, [2,[ ]],\"x\"]": "[none, 1, [2, []], \"x\"]", "{}": "{}",
            "{ }": "{}",
            "[{\"b\": 1, \"a\" :{}}]": "[{a, b}]",
        ]
        for (json, text) in values { XCTAssertEqual(try read(json), text, json) }
    }

    func testRefused() throws {
        let values: KeyValuePairs = [
            "": "expected a digit", "nul": "expected null", "nulll": "expected }", "True": "expected a digit",
            "tru\u{0}": "expected true", "'x'": "expected a digit", "/**/1": "expected a digit",
            "\u{feff}1": "expected a digit",
            "\u{a0}1": "expected a digit", "\u{b}1": "expected a digit", "NaN": "expected a digit",
            "Infinity": "expected a digit",
            "-Infinity": "expected a digit", "-": "expected a digit", "+1": "expected a digit",
            "01": "a number must not begin with 0",
            "-01": "a number must not begin with 0", "00": "a number must not begin with 0", "1.": "expected a digit",
            ".5": "expected a digit", "1.e3": "expected a digit", "1e": "expected a digit", "1e+": "expected a digit",
            "0x10": "expected }", "1_000": "expected }", "1 2": "expected }", "--1": "expected a digit",
            "1e5.5": "expected }",
            "1,": "expected \"", "\u{ff11}": "expected a digit",
            "[": "expected a digit", "[1": "expected ]", "[1,": "expected a digit", "[1,]": "expected a digit",
            "[,1]": "expected a digit", "[1 2]": "expected ]", "[1}": "expected ]", "]": "expected a digit",
            "{": "expected }", "{1: 2}": "expected \"", "{\"a\"}": "expected :", "{\"a\": }": "expected a digit",
            "{\"a\": 1,}": "expected \"", "{\"a\": 1 \"b\": 2}": "expected }", "{a: 1}": "expected \"",
            "{\"a\": 1, \"a\": 1}": "\"a\" is given twice", "{\"a\": 1, \"\\u0061\": 2}": "\"a\" is given twice",
            "\"": "the text has no end", "\"a": "the text has no end", "\"\\": "the text has no end",
            "\"\\x41\"": "no such escape", "\"\\'\"": "no such escape", "\"\\U0041\"": "no such escape",
            "\"\\u\"": "expected four hexadecimal digits", "\"\\u00g0\"": "expected four hexadecimal digits",
            "\"\\u 041\"": "expected four hexadecimal digits", "\"\\u+041\"": "expected four hexadecimal digits",
            "\"\\u004": "the text has no end", "\"\\ud83d\"": "half of a surrogate pair",
            "\"\\ud83dx\"": "half of a surrogate pair", "\"\\ud83d\\n\"": "half of a surrogate pair",
            "\"\\ud83d\\u0041\"": "half of a surrogate pair", "\"\\ud83d\\ud83d\"": "half of a surrogate pair",
            "\"\\ude42\"": "half of a surrogate pair", "\"\\udfff\\ud800\"": "half of a surrogate pair",
            "\"\\ud83d": "half of a surrogate pair", "\"\\ud83d\\": "half of a surrogate pair",
            "\"\\ud83d\\u": "the text has no end",
        ]
        for (json, message) in values {
            // Where the value ends too soon, the object that it is in must not end it.
            let open = message == "the text has no end" || json.hasSuffix("ud83d") || json.hasSuffix("ud83d\\")
            file.metadata["identity"] = open ? "{\"rule\": \(json)" : "{\"rule\": \(json)}"
            try assertCorrupt(model, file.bytes(), "\"identity\": \(message)")
        }
        file.metadata["identity"] = "{}{}"
        try assertCorrupt(model, file.bytes(), "\"identity\": expected the end")
        file.metadata["identity"] = ""
        try assertCorrupt(model, file.bytes(), "\"identity\": expected a digit")
    }

    /// Every byte that a text may not hold as it is.
    func testBytesOfText() throws {
        let before = try model.fullDigest()
        for byte in UInt8.min...UInt8.max {
            let name: [UInt8] = [0x61, byte, 0x62]
            let header = Array("{\"".utf8) + name + Array("\": {}}".utf8)
            let message: String
            switch byte {
            case 0..<0x20: message = "text holds a control character (byte 4 of the header)"
            case 0x22: message = "expected : (byte 4 of the header)"
            // "\b" is an escape.
            case 0x5c: message = "tensor \"a\u{8}\" needs a dtype, a shape and two data_offsets that do not fall"
            case 0x80...: message = "text is not UTF-8 (byte 6 of the header)"
            default:
                message =
                    "tensor \"a\(Unicode.Scalar(byte))b\" needs a dtype, a shape and two data_offsets that do not fall"
            }
            XCTAssertThrowsError(try model.optimizer.load(CheckpointFile.raw(header)), "byte \(byte)") {
                XCTAssertTrue("\($0)".hasPrefix("the checkpoint: \(message)"), "byte \(byte): \($0)")
            }
        }
        XCTAssertEqual(try model.fullDigest(), before)
    }

    /// Overlong forms, surrogates and what lies above the last scalar.
    func testTextThatIsNotUTF8() throws {
        let texts: [[UInt8]] = [
            [0xc3], [0xc0, 0xaf], [0xc1, 0xbf], [0xe0, 0x80, 0xaf], [0xe0, 0x9f, 0xbf], [0xed, 0xa0, 0x80],
            [0xed, 0xbf, 0xbf], [0xf0, 0x80, 0x80, 0xaf], [0xf0, 0x8f, 0xbf, 0xbf], [0xf4, 0x90, 0x80, 0x80],
            [0xf8, 0x88, 0x80, 0x80, 0x80], [0xe2, 0x82], [0x80], [0xff], [0xfe],
        ]
        for text in texts {
            let header = Array("{\"".utf8) + text + Array("\": 1}".utf8)
            try assertCorrupt(
                model, CheckpointFile.raw(header), "text is not UTF-8 (byte \(3 + text.count) of the header)")
        }
    }

    /// Any text that ends before its end is refused, wherever that is.
    func testEveryBeginning() throws {
        let whole = Array(file.metadata["progress", default: ""].utf8)
        XCTAssertGreaterThan(whole.count, 100)
        for count in 0..<whole.count {
            file.metadata["progress"] = String(decoding: whole[..<count], as: UTF8.self)
            let bytes = file.bytes()
            XCTAssertThrowsError(try model.optimizer.load(bytes), "\(count) of \(whole.count)") {
                XCTAssertEqual(($0 as? LayerwiseError)?.code, .corrupt, "\($0)")
            }
        }
    }

    /// Depth is bounded, so the stack is.
    func testDepth() throws {
        func nested(_ depth: Int) -> String {
            String(repeating: "[", count: depth) + String(repeating: "]", count: depth)
        }
        // The rule itself is one level down.
        XCTAssertEqual(try read(nested(64)), nested(64))
        for depth in [65, 66, 1000, 100_000] {
            file.metadata["identity"] = "{\"rule\": \(nested(depth))}"
            try assertCorrupt(model, file.bytes(), "\"identity\": nested more than 64 deep")
        }
        file.metadata["identity"] = String(repeating: "{\"a\":", count: 100_000)
        try assertCorrupt(model, file.bytes(), "\"identity\": nested more than 64 deep")
    }

    /// A line shows the beginning of a long value, and no more.
    func testLongValues() throws {
        func zeros(_ count: Int) -> String { "[" + Array(repeating: "0", count: count).joined(separator: ", ") + "]" }
        let longest = "[10000, \(zeros(331).dropFirst())"
        XCTAssertEqual(longest.utf8.count, 1000)
        XCTAssertEqual(try read(longest), longest)
        for count in [400, 100_000] { XCTAssertEqual(try read(zeros(count)), "\(zeros(count).prefix(1000)) …") }
        let keys = (1000..<2000).map { "\"\($0)\": 0" }.joined(separator: ", ")
        let shown = "{" + (1000..<2000).map { "\($0)" }.joined(separator: ", ")
        XCTAssertEqual(try read("{\(keys)}"), "\(shown.prefix(1000)) …")
        let word = String(repeating: "a", count: 998)
        XCTAssertEqual(try read("\"\(word)\""), "\"\(word)\"")
        XCTAssertEqual(try read("\"\(word)a\""), "\"\(word)a …")
        // A letter is shown whole or not at all.
        let letters = String(repeating: "\u{e9}", count: 2000)
        XCTAssertEqual(try read("\"\(letters)\""), "\"\(letters.prefix(999)) …")
    }

    /// Numbers come back with their bits.
    func testNumbersToTheLastBit() throws {
        var random = Random(seed: 8)
        var rates = [
            0, .leastNonzeroMagnitude, .leastNormalMagnitude, 0.1, .ulpOfOne, .pi, .greatestFiniteMagnitude, 1.0.nextUp,
        ]
        while rates.count < 2000 {
            let x = Double(bitPattern: random.next()).magnitude
            if x.isFinite { rates.append(x) }
        }
        for rate in rates {
            try model.optimizer.setLearningRate(rate)
            let bytes = try model.optimizer.exported()
            try model.optimizer.setLearningRate(1)
            try model.optimizer.load(bytes)
            guard case .number(let found) = try model.optimizer.value(of: "lr") else { return XCTFail("no number") }
            XCTAssertEqual(found.bitPattern, rate.bitPattern, "\(rate)")
        }
    }
}
