// SPDX-License-Identifier: Apache-2.0
import Foundation
import Layerwise
import XCTest

/// CRC-32C (RFC 3720, appendix B.4), a bit at a time: the tests' own idea of it.
func referenceCRC32C(_ bytes: some Sequence<UInt8>) -> UInt32 {
    var crc = UInt32.max
    for byte in bytes {
        crc ^= UInt32(byte)
        for _ in 0..<8 { crc = crc & 1 == 1 ? crc >> 1 ^ 0x82f6_3b78 : crc >> 1 }
    }
    return ~crc
}

/// As a checkpoint writes it.
func checksumText(_ bytes: some Sequence<UInt8>) -> String { String(format: "%08x", referenceCRC32C(bytes)) }

/// A checkpoint taken apart, so that a test can change any part of it and put it together again with right checksums.
struct CheckpointFile {
    struct Tensor {
        var key: String
        /// As safetensors calls it.
        var dtype: String
        /// JSON.
        var shape: String
        var bytes: [UInt8]
    }

    var metadata: [String: String]
    var tensors: [Tensor]
    /// What stands in place of a tensor's right checksum.
    var forgedChecksums: [String: String] = [:]

    /// Reads what a save wrote, by another JSON reader than the library's.
    init(_ bytes: [UInt8]) throws {
        let length = try Self.headerLength(bytes)
        let header = try JSONValue(parsing: String(decoding: bytes[8..<8 + length], as: UTF8.self))
        var metadata: [String: String] = [:]
        for key in try XCTUnwrap(header["__metadata__"]).keys {
            if case .text(let text) = header["__metadata__"]?[key] { metadata[key] = text }
        }
        var tensors: [(start: Int, tensor: Tensor)] = []
        for key in header.keys where key != "__metadata__" {
            guard case .text(let dtype) = header[key]?["dtype"], let shape = header[key]?["shape"]?.list,
                let offsets = header[key]?["data_offsets"]?.list, offsets.count == 2,
                case (.number(let start), .number(let end)) = (offsets[0], offsets[1])
            else {
                XCTFail("\(key) is no tensor")
                continue
            }
            let extents = shape.map { extent -> String in
                if case .number(let x) = extent { String(Int(x)) } else { "?" }
            }
            let data = Array(bytes[(8 + length + Int(start))..<(8 + length + Int(end))])
            tensors.append(
                (
                    Int(start),
                    Tensor(key: key, dtype: dtype, shape: "[\(extents.joined(separator: ", "))]", bytes: data)
                ))
        }
        self.metadata = metadata
        self.tensors = tensors.sorted { ($0.start, $0.tensor.bytes.count) < ($1.start, $1.tensor.bytes.count) }
            .map(\.tensor)
    }

    static func headerLength(_ bytes: [UInt8]) throws -> Int {
        guard bytes.count >= 8 else { throw LayerwiseError(.corrupt, "no header") }
        return Int((0..<8).reversed().reduce(UInt64(0)) { $0 << 8 | UInt64(bytes[$1]) })
    }

    /// The file, whose checksums are those of what it holds now.
    func bytes() -> [UInt8] {
        var metadata = metadata
        if metadata["crc32c"] != nil {
            let sums = tensors.map {
                "\(Self.quoted($0.key)): \(Self.quoted(forgedChecksums[$0.key] ?? checksumText($0.bytes)))"
            }
            metadata["crc32c"] = "{\(sums.joined(separator: ", "))}"
        }
        let texts = metadata.sorted { $0.key < $1.key }.map { "\(Self.quoted($0.key)): \(Self.quoted($0.value))" }
        var fields = ["\"__metadata__\": {\(texts.joined(separator: ", "))}"]
        var offset = 0
        for tensor in tensors {
            let end = offset + tensor.bytes.count
            fields.append(
                "\(Self.quoted(tensor.key)): {\"dtype\": \(Self.quoted(tensor.dtype)), \"shape\": \(tensor.shape), "
                    + "\"data_offsets\": [\(offset), \(end)]}")
            offset = end
        }
        return Self.sealed("{\(fields.joined(separator: ", "))}", tensors.flatMap(\.bytes))
    }

    /// A file of this header, whose own checksum is put right where it has one, and these tensors.
    static func sealed(_ header: String, _ data: [UInt8] = []) -> [UInt8] {
        var header = Array(header.utf8)
        let field = Array("\"header_crc32c\": \"".utf8)
        if let place = (0..<header.count).first(where: { header[$0...].starts(with: field) }) {
            let digits = place + field.count..<place + field.count + 8
            header.replaceSubrange(digits, with: Array("00000000".utf8))
            header.replaceSubrange(digits, with: Array(checksumText(header).utf8))
        }
        return raw(header, data)
    }

    /// A file of these bytes, as they are; `length` is what it says its header has.
    static func raw(_ header: [UInt8], _ data: [UInt8] = [], length: UInt64? = nil) -> [UInt8] {
        let length = length ?? UInt64(header.count)
        return (0..<8).map { UInt8(truncatingIfNeeded: length >> (8 * UInt64($0))) } + header + data
    }

    /// Replaces text in a metadata field, in which it stands once.
    mutating func replace(
        _ old: String, with new: String, in key: String, file: StaticString = #filePath, line: UInt = #line
    ) {
        let parts = (metadata[key] ?? "").components(separatedBy: old)
        XCTAssertEqual(parts.count, 2, "\(old) in \(metadata[key] ?? "nothing")", file: file, line: line)
        metadata[key] = parts.joined(separator: new)
    }

    static func quoted(_ text: String) -> String {
        let escaped = text.unicodeScalars.map { scalar -> String in
            switch scalar {
            case "\"", "\\": "\\\(scalar)"
            case _ where scalar.value < 0x20: String(format: "\\u%04x", scalar.value)
            default: String(scalar)
            }
        }
        return "\"\(escaped.joined())\""
    }
}

extension Optimizer {
    /// A checkpoint in memory.
    func exported(_ options: SaveOptions = SaveOptions()) throws -> [UInt8] {
        let size = try export(into: UnsafeMutableRawBufferPointer(start: nil, count: 0), options)
        var bytes = [UInt8](repeating: 0xa5, count: size)
        XCTAssertEqual(try bytes.withUnsafeMutableBytes { try export(into: $0, options) }, size)
        return bytes
    }

    @discardableResult
    func load(_ bytes: [UInt8], _ options: LoadOptions = LoadOptions()) throws -> LoadReport {
        try bytes.withUnsafeBytes { try load($0, options) }
    }
}

/// The checkpoint is refused as damaged with this message, and nothing changes.
func assertCorrupt(
    _ model: Model, _ bytes: [UInt8], _ message: String, _ options: LoadOptions = LoadOptions(),
    file: StaticString = #filePath, line: UInt = #line
) throws {
    let before = try model.fullDigest()
    assertRefused(.corrupt, message: "the checkpoint: \(message)", file: file, line: line) {
        try model.optimizer.load(bytes, options)
    }
    XCTAssertEqual(try model.fullDigest(), before, "\(message): something changed", file: file, line: line)
}

/// The checkpoint is refused as another optimizer's, with these differences and no others, and nothing changes.
func assertMismatch(
    _ model: Model, _ bytes: [UInt8], _ problems: [String], _ options: LoadOptions = LoadOptions(),
    file: StaticString = #filePath, line: UInt = #line
) throws {
    let before = try model.fullDigest()
    XCTAssertThrowsError(try model.optimizer.load(bytes, options), "\(problems)", file: file, line: line) {
        XCTAssertEqual(($0 as? LayerwiseError)?.code, .mismatch, "\($0)", file: file, line: line)
        XCTAssertTrue("\($0)".contains(problems.first ?? "of another optimizer"), "\($0)", file: file, line: line)
    }
    XCTAssertEqual(model.optimizer.loadReport.problems, problems, file: file, line: line)
    XCTAssertEqual(model.optimizer.loadReport.loaded, [], file: file, line: line)
    XCTAssertEqual(try model.fullDigest(), before, "\(problems): something changed", file: file, line: line)
}

/// Two layers of Adam, "0" (3) and "1" (2 x 2), after two steps.
func smallCheckpointModel() throws -> Model {
    let model = try Model(Adam(lr: 0.125), shapes: [[[3]], [[2, 2]]])
    try model.optimizer.step()
    try model.optimizer.step()
    return model
}
