// SPDX-License-Identifier: Apache-2.0
import Driver

// Changes of one node.

extension Node {
    /// Changes one node, anywhere below or in the JSON that a text holds.
    mutating func changeSomewhere(_ dice: inout Dice) {
        var index = dice.roll(count)
        changeNode(&index, &dice)
    }

    private mutating func changeNode(_ index: inout Int, _ dice: inout Dice) {
        if index == 0 {
            index -= 1
            return change(&dice)
        }
        index -= 1
        switch self {
        case .word, .text: break
        case .list(var items):
            for at in items.indices where index >= 0 { items[at].changeNode(&index, &dice) }
            self = .list(items)
        case .record(var fields):
            for at in fields.indices where index >= 0 { fields[at].value.changeNode(&index, &dice) }
            self = .record(fields)
        }
    }

    private mutating func change(_ dice: inout Dice) {
        if dice.roll(16) == 0 {
            self = .anything(&dice)
            return
        }
        if var inner, dice.roll(8) > 0 {
            inner.changeSomewhere(&dice)
            self = .text(holding: inner)
            return
        }
        switch self {
        case .word: self = dice.roll(4) == 0 ? .anything(&dice) : .word(dice.pick(Self.words))
        case .text(let text): self = .text(dice.roll(2) == 0 ? Self.scribbled(text) : Array(dice.pick(Self.texts).utf8))
        case .list(var items):
            Self.change(&items, &dice) { .anything(&$0) }
            self = .list(items)
        case .record(var fields):
            if !fields.isEmpty && dice.roll(3) == 0 {
                let at = dice.roll(fields.count)
                fields[at].key = dice.roll(2) == 0 ? Self.scribbled(fields[at].key) : Array(dice.pick(Self.texts).utf8)
            } else {
                Self.change(&fields, &dice) { Field(key: Array($0.pick(Self.texts).utf8), value: .anything(&$0)) }
            }
            self = .record(fields)
        }
    }

    /// Takes something away, doubles, moves or adds it.
    private static func change<Item>(_ items: inout [Item], _ dice: inout Dice, _ new: (inout Dice) -> Item) {
        let (a, b) = (dice.roll(items.count), dice.roll(items.count))
        switch dice.roll(6) {
        case 0 where !items.isEmpty: items.remove(at: a)
        case 1 where !items.isEmpty: items.insert(items[a], at: b)
        case 2 where !items.isEmpty: items.swapAt(a, b)
        case 3 where dice.roll(4) == 0: items = []
        default: items.insert(new(&dice), at: items.isEmpty ? 0 : a)
        }
    }

    private static func anything(_ dice: inout Dice) -> Node {
        switch dice.roll(8) {
        case 0: return .list([])
        case 1: return .record([])
        case 2:
            // Deeper than is read.
            var nested = Node.word("1")
            for _ in 0..<dice.pick([1, 2, 62, 63, 64, 65, 66, 150]) { nested = .list([nested]) }
            return nested
        case 3, 4: return .text(dice.pick(texts))
        case 5: return .list((0..<dice.roll(20)).map { _ in .word("0") })
        default: return .word(dice.pick(words))
        }
    }

    private static func scribbled(_ text: [UInt8]) -> [UInt8] {
        var bytes = text + [UInt8](repeating: 0, count: 16)
        let capacity = bytes.count
        let size = bytes.withUnsafeMutableBufferPointer { LLVMFuzzerMutate($0.baseAddress, text.count, capacity) }
        return Array(bytes.prefix(size))
    }

    /// Numbers at which something ends, and words that are none.
    private static let words = [
        "0", "1", "2", "3", "-1", "-0", "0.5", "1e-400", "1e308", "1e999", "-1e999", "9007199254740992",
        "9007199254740993", "4611686018427387904", "9223372036854775807", "9223372036854775808", "18446744073709551615",
        "18446744073709551616", "2305843009213693952", "4294967296", "65536", "00", "01", "1.", ".5", "1e", "1e+", "+1",
        "NaN", "Infinity", "true", "false", "null", "nul", "1E5", "0.0", "1.0", "3.0", "1e1",
    ]

    private static let texts = [
        "", "F32", "F64", "F16", "BF16", "I64", "F8_E4M3", "float32", "bfloat16", "yes", "no", "plan", "lr", "momentum",
        "a", "b", "w", "m", "step", "exp_avg", "master", "parameters", "a/w/step", "a/w/parameters", "a/b", "a%2Fb",
        "%2F", "%25", "%2", "/", "//", "../../x", "__metadata__", "format", "1", "2", "00000000", "ffffffff",
        "\\u0000", "\\ud83d\\ude00", "\\ud83d", "\\udc00", "\\n", "\\x", "e\\u0301", "\u{e9}", "\u{301}", "{}", "[]",
        "{\\\"a\\\": 1}", "[[[[", "adamw", "sgd", "uniform", "shape", "dtype", "data_offsets",
    ]
}
