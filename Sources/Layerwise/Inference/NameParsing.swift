// SPDX-License-Identifier: Apache-2.0

/// A run of digits of any length, in the order of the numbers they write.
struct Numeral: Hashable, Comparable, CustomStringConvertible {
    /// Without leading zeros; empty for zero.
    private let digits: [UInt8]

    init(_ digits: some Sequence<UInt8>) { self.digits = Array(digits.drop { $0 == UInt8(ascii: "0") }) }

    static func < (a: Numeral, b: Numeral) -> Bool {
        a.digits.count != b.digits.count
            ? a.digits.count < b.digits.count : a.digits.lexicographicallyPrecedes(b.digits)
    }

    var description: String { digits.isEmpty ? "0" : String(decoding: digits, as: UTF8.self) }
}

/// What stands between two dots of a name.
struct NamePart {
    let text: String
    /// Runs of letters, in lower case, apart where a capital follows a small letter: layer and norm in "LayerNorm".
    let words: [String]
    /// What the digits at the end follow, without "_" and "-": "encoder_layer" in "encoder_layer_0".
    let base: String
    /// The digits at the end.
    let numeral: Numeral?
    let meaning: Meaning?

    init(_ text: String) {
        let bytes = Array(text.utf8)
        let digits = bytes.reversed().prefix(while: Self.isDigit).count
        let base = bytes.dropLast(digits).reversed().drop { $0 == UInt8(ascii: "_") || $0 == UInt8(ascii: "-") }
            .reversed()
        self.text = text
        self.words = Self.words(of: bytes)
        self.base = String(decoding: base, as: UTF8.self)
        self.numeral = digits == 0 ? nil : Numeral(bytes.suffix(digits))
        self.meaning = Meaning(of: text, words: words)
    }

    /// A number and nothing else.
    var isNumber: Bool { numeral != nil && base.isEmpty }

    /// Named like what numbered blocks stand in, as "layer" in "layer.0", or like a block, as "layer1".
    var namesBlocks: Bool {
        (meaning == nil || meaning == .output)
            && (Vocabulary.blocks.has(anyOf: words.suffix(1)) || Vocabulary.blocksInFull.contains(base))
    }

    /// Named like a tensor of one plain module, as "weight", but not like one of a recurrent network, as "weight_hh_l0".
    var namesPlainTensor: Bool {
        guard let first = words.first else { return false }
        return Vocabulary.plainTensors.contains(first) && !words.contains { $0 == "ih" || $0 == "hh" }
    }

    private static func isDigit(_ byte: UInt8) -> Bool { UInt8(ascii: "0")...UInt8(ascii: "9") ~= byte }

    private static func words(of bytes: [UInt8]) -> [String] {
        var words: [String] = []
        var word: [UInt8] = []
        var followsSmall = false
        func close() {
            if !word.isEmpty { words.append(String(decoding: word, as: UTF8.self)) }
            word = []
        }
        for byte in bytes {
            let isCapital = UInt8(ascii: "A")...UInt8(ascii: "Z") ~= byte
            let isLetter = isCapital || UInt8(ascii: "a")...UInt8(ascii: "z") ~= byte || byte >= 0x80
            if !isLetter || isCapital && followsSmall { close() }
            if isLetter { word.append(isCapital ? byte | 0x20 : byte) }
            followsSmall = isLetter && !isCapital
        }
        close()
        return words
    }
}

/// A tensor's name in parts, at dots (torch) or slashes (TensorFlow, Flax).
struct TensorName {
    let text: String
    /// One or more.  What wrappers around modules insert is left out.
    let parts: [NamePart]
    /// Where each part ends in the text.
    private let ends: [String.Index]

    /// - Parameter known: parts met before, by their text: names of one model share most of theirs.
    init(_ text: String, known: inout [String: NamePart]) {
        let pieces = text.utf8.split(omittingEmptySubsequences: false) {
            $0 == UInt8(ascii: ".") || $0 == UInt8(ascii: "/")
        }
        var parts: [NamePart] = []
        var ends: [String.Index] = []
        for (index, slice) in pieces.enumerated() {
            let piece = String(Substring(slice))
            if index < pieces.count - 1, Vocabulary.wrappers.contains(piece) { continue }
            let part = known[piece] ?? NamePart(piece)
            known[piece] = part
            parts.append(part)
            ends.append(slice.endIndex)
        }
        (self.text, self.parts, self.ends) = (text, parts, ends)
    }

    /// The first parts as they are written.
    func path(_ count: Int) -> String {
        count < 1 || ends.isEmpty ? "" : String(text[..<ends[min(count, ends.count) - 1]])
    }

    /// The last parts as they are written.
    func rest(from count: Int) -> String {
        count < 1 || ends.isEmpty ? text : String(text[ends[min(count, ends.count) - 1]...])
    }

    /// The path of the tensor's module without its first parts.
    func module(from count: Int) -> String { parts.dropFirst(count).dropLast().map(\.text).joined(separator: ".") }

    /// The last parts with "#" for their numbers.
    func pattern(from count: Int) -> String {
        parts.dropFirst(count).map { $0.numeral == nil ? $0.text : "\($0.base)#" }.joined(separator: ".")
    }

    /// Whether a numbered part is a plain module (its tensors are "weight", "bias"), or a `Sequential` of some.
    func isPlain(at level: Int) -> Bool {
        let rest = parts.dropFirst(level + 1)
        guard let last = rest.last, last.namesPlainTensor else { return false }
        return rest.count == 1 || rest.count == 2 && rest.first?.isNumber == true
    }

    /// How many parts a tensor's module has: all but the last one, or all of a name that has no dot.
    var moduleLength: Int { max(1, parts.count - 1) }
}

/// How many parts the beginnings of two names have in common.
func sharedLength(_ a: some Sequence<NamePart>, _ b: some Sequence<NamePart>) -> Int {
    zip(a, b).prefix { $0.text == $1.text }.count
}

/// The names of a model's tensors.
struct TensorNames: RandomAccessCollection {
    private let names: [TensorName]
    /// Whether they may be in the order in which the modules were made: they are not sorted, and the names of each module follow
    /// each other.
    let areInOrder: Bool

    init(_ texts: [String]) {
        var known: [String: NamePart] = [:]
        let names = texts.map { TensorName($0, known: &known) }
        self.names = names
        areInOrder = Self.areInOrder(names)
    }

    var startIndex: Int { names.startIndex }
    var endIndex: Int { names.endIndex }
    subscript(index: Int) -> TensorName { names[index] }

    /// More levels than modules are nested in; looking at all would make long names slow.
    private static let mostLevels = 12

    private static func areInOrder(_ names: [TensorName]) -> Bool {
        let pairs = zip(names, names.dropFirst())
        if pairs.allSatisfy({ !$1.text.utf8.lexicographicallyPrecedes($0.text.utf8) }) { return false }
        var left: Set<String> = []
        for (name, next) in pairs {
            let shared = sharedLength(name.parts, next.parts)
            func modules(_ name: TensorName) -> [String] {
                (1...mostLevels).prefix(name.parts.count - 1).dropFirst(shared).map(name.path)
            }
            left.formUnion(modules(name))
            if !left.isDisjoint(with: modules(next)) { return false }
        }
        return true
    }
}
