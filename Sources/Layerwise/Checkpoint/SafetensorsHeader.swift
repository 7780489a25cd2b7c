// SPDX-License-Identifier: Apache-2.0
import LayerwisePlatform
import LayerwiseRules

/// The header of a safetensors file: what each tensor is and where it lies, and text by key.
///
///     8 bytes: the length N of the header; N bytes of JSON; the tensors, side by side
///
/// Reading refuses whatever the reference implementation refuses, and besides a key that is given twice, a shape of a rank that
/// no tensor here has, and metadata of more texts than a checkpoint needs.
struct SafetensorsHeader {
    struct Entry {
        let name: String
        let dtype: DType
        let shape: [Int]
        /// Bytes from the end of the header.
        let range: Range<Int>
    }

    var metadata: [NameKey: String] = [:]
    /// In the order of their bytes.
    var entries: [Entry] = []
    /// Where in the JSON the text of each metadata key lies.
    private(set) var metadataPositions: [NameKey: Range<Int>] = [:]

    /// The reference implementation takes no longer header.
    static let longest = 100_000_000
    /// Of the metadata; a checkpoint has seven.
    static let mostTexts = 64

    init() {}

    /// The bytes of all tensors.
    var dataCount: Int { entries.last?.range.upperBound ?? 0 }

    /// Reads a header, whose tensors must fill `dataCount` bytes exactly.
    init(_ json: UnsafeRawBufferPointer, dataCount: Int) throws(JSONError) {
        var reader = JSONReader(json)
        if json.first != UInt8(ascii: "{") { throw reader.fail("not a safetensors file: a header begins with {") }
        var names: Set<NameKey> = []
        var entries: [Entry] = []
        var metadata: [NameKey: String] = [:]
        var positions: [NameKey: Range<Int>] = [:]
        try reader.object { reader, name throws(JSONError) in
            if !names.insert(NameKey(name)).inserted { throw reader.fail("\"\(name)\" is given twice") }
            if name == "__metadata__" {
                try reader.object { reader, key throws(JSONError) in
                    if metadata.count == Self.mostTexts {
                        throw reader.fail("__metadata__: expected at most \(Self.mostTexts) texts")
                    }
                    reader.skipSpace()
                    let start = reader.position
                    let text = try reader.string()
                    if metadata.updateValue(text, forKey: NameKey(key)) != nil {
                        throw reader.fail("\"\(key)\" is given twice")
                    }
                    positions[NameKey(key)] = start..<reader.position
                }
            } else {
                entries.append(try Self.entry(&reader, name))
            }
        }
        try reader.expectEnd()
        entries.sort { ($0.range.lowerBound, $0.range.upperBound) < ($1.range.lowerBound, $1.range.upperBound) }
        var end = 0
        for entry in entries {
            if entry.range.lowerBound != end {
                throw reader.fail("tensor \"\(entry.name)\" begins at \(entry.range.lowerBound), expected \(end)")
            }
            end = entry.range.upperBound
        }
        if end != dataCount { throw reader.fail("the tensors take \(end) bytes, the file has \(dataCount) for them") }
        self.entries = entries
        self.metadata = metadata
        metadataPositions = positions
    }

    private static func entry(_ reader: inout JSONReader, _ name: String) throws(JSONError) -> Entry {
        var dtype: DType?
        var shape: [Int]?
        var offsets: [Int]?
        try reader.object { reader, key throws(JSONError) in
            switch key {
            case "dtype" where dtype == nil:
                let text = try reader.string()
                guard let known = DType.allCases.first(where: { $0.safetensorsName == text }) else {
                    throw reader.fail("tensor \"\(name)\": no element type is called \(text) here")
                }
                dtype = known
            case "shape" where shape == nil:
                shape = try Self.naturals(&reader, atMost: TensorDescription.highestRank, name, key)
            case "data_offsets" where offsets == nil: offsets = try Self.naturals(&reader, atMost: 2, name, key)
            default: throw reader.fail("tensor \"\(name)\": unexpected key \"\(key)\"")
            }
        }
        guard let dtype, let shape, let offsets, offsets.count == 2, offsets[0] <= offsets[1] else {
            throw reader.fail("tensor \"\(name)\" needs a dtype, a shape and two data_offsets that do not fall")
        }
        var bytes = dtype.size
        for extent in shape {
            let (product, overflow) = bytes.multipliedReportingOverflow(by: extent)
            if overflow { throw reader.fail("tensor \"\(name)\" is too large") }
            bytes = product
        }
        if offsets[1] - offsets[0] != bytes {
            throw reader.fail("tensor \"\(name)\" has \(offsets[1] - offsets[0]) bytes, its shape needs \(bytes)")
        }
        return Entry(name: name, dtype: dtype, shape: shape, range: offsets[0]..<offsets[1])
    }

    /// A list of few numbers: one without end would take eight times as many bytes as in the header.
    private static func naturals(
        _ reader: inout JSONReader, atMost most: Int, _ name: String, _ key: String
    ) throws(JSONError) -> [Int] {
        var numbers: [Int] = []
        try reader.array { reader throws(JSONError) in
            if numbers.count == most {
                throw reader.fail("tensor \"\(name)\": expected at most \(most) numbers in \(key)")
            }
            numbers.append(try reader.natural())
        }
        return numbers
    }

    /// As JSON, padded with spaces so that the tensors begin at a multiple of 64 bytes.  Metadata come first, by key.
    func json() -> String {
        var fields: [(String, String)] = []
        let texts = metadata.sorted { $0.key < $1.key }.map { ($0.key.text, JSON.quoted($0.value)) }
        if !texts.isEmpty { fields.append(("__metadata__", JSON.object(texts))) }
        for entry in entries {
            fields.append(
                (
                    entry.name,
                    JSON.object([
                        ("dtype", JSON.quoted(entry.dtype.safetensorsName)),
                        ("shape", JSON.array(entry.shape.map { String($0) })),
                        ("data_offsets", "[\(entry.range.lowerBound), \(entry.range.upperBound)]"),
                    ])
                ))
        }
        let text = JSON.object(fields)
        let padding = (64 - (text.utf8.count + 8) % 64) % 64
        return text + String(repeating: " ", count: padding)
    }
}

extension DType {
    /// As safetensors calls it.
    var safetensorsName: String {
        switch self {
        case .float32: "F32"
        case .float64: "F64"
        case .float16: "F16"
        case .bfloat16: "BF16"
        case .int64: "I64"
        case .int8: "I8"
        }
    }
}
