// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

/// JSON that was read.  Texts and keys are equal where their bytes are.
enum JsonValue: Equatable {
    case null
    case bool(Bool)
    case number(Double)
    case string(String)
    case array([JsonValue])
    case object([NameKey: JsonValue])

    static func == (a: JsonValue, b: JsonValue) -> Bool {
        switch (a, b) {
        case (.null, .null): true
        case (.bool(let x), .bool(let y)): x == y
        case (.number(let x), .number(let y)): x == y
        case (.string(let x), .string(let y)): NameKey(x) == NameKey(y)
        case (.array(let x), .array(let y)): x == y
        case (.object(let x), .object(let y)): x == y
        default: false
        }
    }
}

/// Why text is not the JSON that is expected.
struct JSONError: Error {
    let message: String
    /// Bytes from the start.
    let position: Int
    /// The layer that it is about, by index.
    var layer: Int? = nil
}

/// Reads JSON (RFC 8259) strictly: UTF-8, no key twice, nothing nested too deep, nothing behind it.
///
/// It works on bytes that may come from anywhere, so every read is checked, and what it allocates is bounded by what it was
/// given.
struct JSONReader {
    let bytes: UnsafeRawBufferPointer
    private(set) var position: Int

    /// Deeper is not needed by anything that the library writes.
    static let deepest = 64

    init(_ bytes: UnsafeRawBufferPointer) {
        self.bytes = bytes
        position = 0
    }

    func fail(_ message: String) -> JSONError { JSONError(message: message, position: position) }

    private var next: UInt8? { position < bytes.count ? bytes[position] : nil }

    mutating func skipSpace() {
        while let byte = next, byte == 0x20 || byte == 0x09 || byte == 0x0a || byte == 0x0d { position += 1 }
    }

    /// Whether the next sign is this one, which is then read.
    mutating func take(_ character: Unicode.Scalar) -> Bool {
        skipSpace()
        guard let byte = next, UInt32(byte) == character.value else { return false }
        position += 1
        return true
    }

    mutating func expect(_ character: Unicode.Scalar) throws(JSONError) {
        if !take(character) { throw fail("expected \(character)") }
    }

    /// Nothing but space is left.
    mutating func expectEnd() throws(JSONError) {
        skipSpace()
        if position < bytes.count { throw fail("expected the end") }
    }

    /// The keys of an object one after another; `body` reads each value.
    mutating func object(_ body: (inout JSONReader, String) throws(JSONError) -> Void) throws(JSONError) {
        try expect("{")
        if take("}") { return }
        repeat {
            skipSpace()
            let key = try string()
            try expect(":")
            try body(&self, key)
        } while take(",")
        try expect("}")
    }

    /// The items of an array one after another.
    mutating func array(_ body: (inout JSONReader) throws(JSONError) -> Void) throws(JSONError) {
        try expect("[")
        if take("]") { return }
        repeat { try body(&self) } while take(",")
        try expect("]")
    }

    /// A whole number from 0 to 2⁶³ − 1, written with digits alone.
    mutating func natural() throws(JSONError) -> Int {
        skipSpace()
        let start = position
        var value = 0
        while let byte = next, byte >= 0x30 && byte <= 0x39 {
            let (tens, overflow) = value.multipliedReportingOverflow(by: 10)
            let (sum, carry) = tens.addingReportingOverflow(Int(byte - 0x30))
            if overflow || carry { throw fail("the number is too large") }
            value = sum
            position += 1
        }
        if position == start { throw fail("expected a whole number") }
        if position > start + 1 && bytes[start] == 0x30 { throw fail("a number must not begin with 0") }
        return value
    }

    /// A string, without its quotes and with its escapes resolved.
    mutating func string() throws(JSONError) -> String {
        try expect("\"")
        var text: [UInt8] = []
        while true {
            // What has no escape is taken as it stands.
            let start = position
            while let byte = next, byte >= 0x20, byte != 0x22, byte != 0x5c { position += 1 }
            let run = UnsafeRawBufferPointer(rebasing: bytes[start..<position])
            guard let byte = next else { throw fail("the text has no end") }
            position += 1
            switch byte {
            case 0x22:
                let string: String?
                if text.isEmpty {
                    string = String(validating: run, as: UTF8.self)
                } else {
                    text.append(contentsOf: run)
                    string = String(validating: text, as: UTF8.self)
                }
                guard let string else { throw fail("text is not UTF-8") }
                return string
            case 0x5c:
                text.append(contentsOf: run)
                try escape(&text)
            default: throw fail("text holds a control character")
            }
        }
    }

    private mutating func escape(_ text: inout [UInt8]) throws(JSONError) {
        guard let byte = next else { throw fail("the text has no end") }
        position += 1
        switch byte {
        case 0x22, 0x5c, 0x2f: text.append(byte)
        case 0x62: text.append(0x08)
        case 0x66: text.append(0x0c)
        case 0x6e: text.append(0x0a)
        case 0x72: text.append(0x0d)
        case 0x74: text.append(0x09)
        case 0x75:
            var code = try hexadecimal()
            if code >= 0xd800 && code < 0xdc00 {
                guard next == 0x5c, position + 1 < bytes.count, bytes[position + 1] == 0x75 else {
                    throw fail("half of a surrogate pair")
                }
                position += 2
                let low = try hexadecimal()
                if low < 0xdc00 || low > 0xdfff { throw fail("half of a surrogate pair") }
                code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00)
            }
            guard let scalar = Unicode.Scalar(code) else { throw fail("half of a surrogate pair") }
            text.append(contentsOf: Array(String(Character(scalar)).utf8))
        default: throw fail("no such escape")
        }
    }

    private mutating func hexadecimal() throws(JSONError) -> UInt32 {
        var code: UInt32 = 0
        for _ in 0..<4 {
            guard let byte = next else { throw fail("the text has no end") }
            let digit: UInt8
            switch byte {
            case 0x30...0x39: digit = byte - 0x30
            case 0x41...0x46: digit = byte - 0x41 + 10
            case 0x61...0x66: digit = byte - 0x61 + 10
            default: throw fail("expected four hexadecimal digits")
            }
            code = code << 4 | UInt32(digit)
            position += 1
        }
        return code
    }

    /// Any value.
    mutating func value(level: Int = 0) throws(JSONError) -> JsonValue {
        if level > Self.deepest { throw fail("nested more than \(Self.deepest) deep") }
        skipSpace()
        switch next {
        case 0x7b:
            var fields: [NameKey: JsonValue] = [:]
            try object { reader, key throws(JSONError) in
                let value = try reader.value(level: level + 1)
                if fields.updateValue(value, forKey: NameKey(key)) != nil {
                    throw reader.fail("\"\(key)\" is given twice")
                }
            }
            return .object(fields)
        case 0x5b:
            var items: [JsonValue] = []
            try array { reader throws(JSONError) in items.append(try reader.value(level: level + 1)) }
            return .array(items)
        case 0x22: return .string(try string())
        case 0x74: return try word("true", .bool(true))
        case 0x66: return try word("false", .bool(false))
        case 0x6e: return try word("null", .null)
        default: return .number(try number())
        }
    }

    private mutating func word(_ word: String, _ value: JsonValue) throws(JSONError) -> JsonValue {
        for byte in word.utf8 {
            if next != byte { throw fail("expected \(word)") }
            position += 1
        }
        return value
    }

    private mutating func digits() throws(JSONError) {
        let start = position
        while let byte = next, byte >= 0x30 && byte <= 0x39 { position += 1 }
        if position == start { throw fail("expected a digit") }
    }

    private mutating func number() throws(JSONError) -> Double {
        let start = position
        if next == 0x2d { position += 1 }
        let first = next
        let whole = position
        try digits()
        if first == 0x30 && position > whole + 1 { throw fail("a number must not begin with 0") }
        if next == 0x2e {
            position += 1
            try digits()
        }
        if next == 0x65 || next == 0x45 {
            position += 1
            if next == 0x2b || next == 0x2d { position += 1 }
            try digits()
        }
        guard let text = String(validating: bytes[start..<position], as: UTF8.self), let number = Double(text) else {
            throw fail("not a number")
        }
        return number
    }
}
