// SPDX-License-Identifier: Apache-2.0

/// JSON as it is written: order, repeated keys, odd numbers and escapes are kept, so that all of them can be changed.
enum Node {
    /// A number, true, false, null, or what is none of them.
    case word([UInt8])
    /// What stands between the quotes.
    case text([UInt8])
    case list([Node])
    case record([Field])

    struct Field {
        var key: [UInt8]
        var value: Node
    }

    static func text(_ string: String) -> Node { .text(Array(string.utf8)) }
    static func word(_ string: String) -> Node { .word(Array(string.utf8)) }

    // MARK: - Reading

    init?(_ bytes: some Collection<UInt8>) {
        var rest = Array(bytes)[...]
        guard let node = Node(&rest, level: 0) else { return nil }
        self = node
    }

    private init?(_ rest: inout ArraySlice<UInt8>, level: Int) {
        func space() { rest = rest.drop { $0 <= 0x20 } }
        func take(_ character: Unicode.Scalar) -> Bool {
            space()
            if rest.first != UInt8(ascii: character) { return false }
            rest.removeFirst()
            return true
        }
        func string() -> [UInt8]? {
            if !take("\"") { return nil }
            var end = rest.startIndex
            while end < rest.endIndex, rest[end] != UInt8(ascii: "\"") {
                end += rest[end] == UInt8(ascii: "\\") ? 2 : 1
            }
            if end >= rest.endIndex { return nil }
            defer { rest = rest[(end + 1)...] }
            return Array(rest[..<end])
        }
        if level > 200 { return nil }
        space()
        switch rest.first {
        case UInt8(ascii: "{"):
            rest.removeFirst()
            var fields: [Field] = []
            if !take("}") {
                repeat {
                    guard let key = string(), take(":"), let value = Node(&rest, level: level + 1) else { return nil }
                    fields.append(Field(key: key, value: value))
                } while take(",")
                if !take("}") { return nil }
            }
            self = .record(fields)
        case UInt8(ascii: "["):
            rest.removeFirst()
            var items: [Node] = []
            if !take("]") {
                repeat {
                    guard let item = Node(&rest, level: level + 1) else { return nil }
                    items.append(item)
                } while take(",")
                if !take("]") { return nil }
            }
            self = .list(items)
        case UInt8(ascii: "\""):
            guard let text = string() else { return nil }
            self = .text(text)
        default:
            let word = rest.prefix { !Array(" ,]}\n\t\r".utf8).contains($0) }
            if word.isEmpty { return nil }
            rest = rest[word.endIndex...]
            self = .word(Array(word))
        }
    }

    // MARK: - Writing

    var bytes: [UInt8] {
        var bytes: [UInt8] = []
        write(to: &bytes)
        return bytes
    }

    private func write(to bytes: inout [UInt8]) {
        func string(_ text: [UInt8]) {
            bytes.append(UInt8(ascii: "\""))
            bytes += text
            bytes.append(UInt8(ascii: "\""))
        }
        switch self {
        case .word(let word): bytes += word
        case .text(let text): string(text)
        case .list(let items):
            bytes.append(UInt8(ascii: "["))
            for (index, item) in items.enumerated() {
                if index > 0 { bytes += ", ".utf8 }
                item.write(to: &bytes)
            }
            bytes.append(UInt8(ascii: "]"))
        case .record(let fields):
            bytes.append(UInt8(ascii: "{"))
            for (index, field) in fields.enumerated() {
                if index > 0 { bytes += ", ".utf8 }
                string(field.key)
                bytes += ": ".utf8
                field.value.write(to: &bytes)
            }
            bytes.append(UInt8(ascii: "}"))
        }
    }

    // MARK: - JSON in a text

    /// The JSON that this text holds, as the metadata of a checkpoint do.
    var inner: Node? {
        guard case .text(let text) = self, text.first == UInt8(ascii: "{") || text.first == UInt8(ascii: "[") else {
            return nil
        }
        var plain: [UInt8] = []
        var escaped = false
        for byte in text {
            if !escaped && byte == UInt8(ascii: "\\") { escaped = true; continue }
            escaped = false
            plain.append(byte)
        }
        return Node(plain)
    }

    /// A text that holds the JSON.
    static func text(holding node: Node) -> Node {
        var text: [UInt8] = []
        for byte in node.bytes {
            if byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "\\") { text.append(UInt8(ascii: "\\")) }
            text.append(byte)
        }
        return .text(text)
    }

    // MARK: - Fields

    /// The first field of this name; setting it where there is none adds it.
    subscript(_ key: String) -> Node? {
        get {
            guard case .record(let fields) = self else { return nil }
            return fields.first { $0.key.elementsEqual(key.utf8) }?.value
        }
        set {
            guard case .record(var fields) = self, let newValue else { return }
            if let index = fields.firstIndex(where: { $0.key.elementsEqual(key.utf8) }) {
                fields[index].value = newValue
            } else {
                fields.append(Field(key: Array(key.utf8), value: newValue))
            }
            self = .record(fields)
        }
    }

    /// The numbers of a list of whole ones.
    var naturals: [Int]? {
        guard case .list(let items) = self else { return nil }
        var numbers: [Int] = []
        for item in items {
            guard case .word(let word) = item, let number = Int(String(decoding: word, as: UTF8.self)), number >= 0
            else { return nil }
            numbers.append(number)
        }
        return numbers
    }

    static func numbers(_ numbers: [Int]) -> Node { .list(numbers.map { .word(String($0)) }) }

    /// How many nodes it is made of.
    var count: Int {
        switch self {
        case .word, .text: 1
        case .list(let items): items.reduce(1) { $0 + $1.count }
        case .record(let fields): fields.reduce(1) { $0 + $1.value.count }
        }
    }
}
