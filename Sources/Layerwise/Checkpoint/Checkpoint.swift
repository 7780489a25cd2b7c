// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

/// A checkpoint that was opened: its header is read and verified, its tensors are not yet.
///
/// A checkpoint is a safetensors file (docs/checkpoints.md) whose metadata say what it is, with a CRC-32C of each tensor and
/// one of the header, in which its own eight digits count as zeros.
struct Checkpoint: ~Copyable {
    static let format = "layerwise.checkpoint"
    static let version = "1"
    /// What stands for the header's own checksum while it is taken.
    static let noChecksum = "00000000"

    let header: SafetensorsHeader
    /// Of each tensor, in the order of the header.
    let checksums: [UInt32]
    /// Where the tensors begin.
    let dataStart: Int
    let source: ByteSource

    init(_ source: consuming ByteSource) throws(LayerwiseError) {
        if source.count < 8 {
            throw LayerwiseError(.corrupt, "\(source.name): \(source.count) bytes are too few for a checkpoint")
        }
        let length = try source.withBytes(0..<8) { $0.loadUnaligned(as: UInt64.self).littleEndian }
        guard length <= UInt64(SafetensorsHeader.longest), Int(length) <= source.count - 8 else {
            throw LayerwiseError(.corrupt, "\(source.name): \(Self.noHeader(length, source.count))")
        }
        // To read and compare any header takes at most 35 times its bytes.
        try Memory.require(36 * Int(length))
        let dataStart = 8 + Int(length)
        let dataCount = source.count - dataStart
        let name = source.name
        let (header, checksums) = try source.withBytes(8..<dataStart) { json throws(LayerwiseError) in
            do throws(JSONError) {
                let header = try SafetensorsHeader(json, dataCount: dataCount)
                return (header, try Self.verify(header, json))
            } catch {
                throw LayerwiseError(.corrupt, "\(name): \(error.message) (byte \(error.position) of the header)")
            }
        }
        self.header = header
        self.checksums = checksums
        self.dataStart = dataStart
        self.source = source
    }

    /// Why the first eight bytes, of `count`, are not the length of a header.
    private static func noHeader(_ length: UInt64, _ count: Int) -> String {
        if let kind = kind(ofFileThatBegins: length) {
            return "not a safetensors file, as a checkpoint of Layerwise is, but \(kind)"
        }
        let reason =
            "a header of \(length) bytes is too long, in a file of \(count) and at most \(SafetensorsHeader.longest)"
        return length > UInt64(SafetensorsHeader.longest) ? "not a safetensors file: \(reason)" : reason
    }

    /// What a file of another program is, by its first eight bytes.
    private static func kind(ofFileThatBegins start: UInt64) -> String? {
        let bytes = (0..<8).map { UInt8(truncatingIfNeeded: start >> (8 * $0)) }
        let kinds: [(beginning: [UInt8], kind: String)] = [
            (Array("PK\u{3}\u{4}".utf8), "a zip archive, as torch.save writes: read it with torch.load"),
            ([0x93] + Array("NUMPY".utf8), "an array of NumPy: read it with numpy.load"),
            ([0x89] + Array("HDF".utf8), "an HDF5 file, as Keras writes"),
            (Array("GGUF".utf8), "a GGUF file"),
            ([0x1f, 0x8b], "a gzip archive"),
        ]
        if let known = kinds.first(where: { bytes.starts(with: $0.beginning) }) { return known.kind }
        if bytes[0] == 0x80 && (2...5).contains(bytes[1]) {
            return "a pickle, as torch.save once wrote: read it with torch.load, if you trust its source"
        }
        return bytes.allSatisfy { (0x20..<0x7f).contains($0) || (9...13).contains($0) } ? "text" : nil
    }

    /// Refuses what is no checkpoint, is of a newer format, or was changed; returns the tensors' checksums.
    private static func verify(
        _ header: SafetensorsHeader, _ json: UnsafeRawBufferPointer
    ) throws(JSONError) -> [UInt32] {
        func fail(_ message: String) -> JSONError { JSONError(message: message, position: 0) }
        if header.metadata["format"] != format { throw fail("a safetensors file, but not a checkpoint of Layerwise") }
        guard let text = header.metadata["header_crc32c"], let expected = Checksum.parse(text),
            let place = header.metadataPositions["header_crc32c"], place.count == 10
        else { throw fail("the header has no checksum") }
        // The digits lie between two quotes.
        var found = Checksum.crc32c(UnsafeRawBufferPointer(rebasing: json[..<(place.lowerBound + 1)]))
        var zeros = noChecksum
        found = zeros.withUTF8 { Checksum.crc32c(UnsafeRawBufferPointer($0), after: found) }
        found = Checksum.crc32c(UnsafeRawBufferPointer(rebasing: json[(place.upperBound - 1)...]), after: found)
        if found != expected {
            throw fail("the header was changed: its checksum is \(Checksum.text(found)), not \(text)")
        }
        if header.metadata["format_version"] != version {
            throw fail("format version \(header.metadata["format_version"] ?? "") is not known here, only \(version)")
        }
        guard case .object(let sums) = try value(of: "crc32c", header), sums.count == header.entries.count else {
            throw fail("there must be one checksum for each tensor")
        }
        var checksums: [UInt32] = []
        for entry in header.entries {
            guard case .string(let text) = sums[NameKey(entry.name)], let sum = Checksum.parse(text) else {
                throw fail("tensor \"\(entry.name)\" has no checksum")
            }
            checksums.append(sum)
        }
        return checksums
    }

    /// The JSON in a metadata field.
    static func value(of key: String, _ header: SafetensorsHeader) throws(JSONError) -> JsonValue {
        guard var text = header.metadata[NameKey(key)] else {
            throw JSONError(message: "\"\(key)\" is missing", position: 0)
        }
        let result = text.withUTF8 { utf8 -> Result<JsonValue, JSONError> in
            do throws(JSONError) {
                var reader = JSONReader(UnsafeRawBufferPointer(utf8))
                let value = try reader.value()
                try reader.expectEnd()
                return .success(value)
            } catch { return .failure(error) }
        }
        switch result {
        case .success(let value): return value
        case .failure(let error): throw JSONError(message: "\"\(key)\": \(error.message)", position: error.position)
        }
    }

    /// The JSON in a metadata field.
    func value(of key: String) throws(LayerwiseError) -> JsonValue {
        do throws(JSONError) { return try Self.value(of: key, header) } catch {
            throw LayerwiseError(.corrupt, "\(source.name): \(error.message)")
        }
    }

    /// Lends the bytes of all tensors, whose checksums are right.
    func withTensors<Result>(
        _ body: (UnsafeRawBufferPointer) throws(LayerwiseError) -> Result
    ) throws(LayerwiseError) -> Result {
        let (entries, checksums, name) = (header.entries, checksums, source.name)
        return try source.withBytes(dataStart..<source.count) { bytes throws(LayerwiseError) in
            for (entry, expected) in zip(entries, checksums) {
                let found = Checksum.crc32c(UnsafeRawBufferPointer(rebasing: bytes[entry.range]))
                if found != expected { throw Self.damaged(entry.name, found, expected, name) }
            }
            return try body(bytes)
        }
    }

    /// Verifies all tensors, a piece at a time; `progress` receives the number of bytes of each piece.
    func verifyTensors(_ progress: (_ bytes: Int) -> Void = { _ in }) throws(LayerwiseError) {
        for (entry, expected) in zip(header.entries, checksums) {
            var found: UInt32 = 0
            var offset = entry.range.lowerBound
            while offset < entry.range.upperBound {
                let end = min(offset + Self.pieceBytes, entry.range.upperBound)
                found = try source.withBytes(dataStart + offset..<dataStart + end) { Checksum.crc32c($0, after: found) }
                progress(end - offset)
                offset = end
            }
            if found != expected { throw Self.damaged(entry.name, found, expected, source.name) }
        }
    }

    private static let pieceBytes = 1 << 20

    /// The step count of each tensor that has one, by layer, both in the order of the file.
    fileprivate func stepCounts() throws(LayerwiseError) -> [(layer: String, counts: [(tensor: String, count: Int64)])]
    {
        var found: [(layer: String, counts: [(tensor: String, count: Int64)])] = []
        var indices: [NameKey: Int] = [:]
        var seen: Set<NameKey> = []
        for entry in header.entries where entry.dtype == .int64 && entry.shape.isEmpty {
            guard let (layer, tensor, state) = CheckpointEntry.split(entry.name), state == Optimizer.stepState else {
                continue
            }
            // In a forged file two spellings of a key may name one tensor.
            if !seen.insert(NameKey(CheckpointEntry.key(layer, tensor, state))).inserted { continue }
            let start = dataStart + entry.range.lowerBound
            let count = try source.withBytes(start..<start + 8) { $0.loadUnaligned(as: Int64.self).littleEndian }
            let index = indices[NameKey(layer), default: found.count]
            indices[NameKey(layer)] = index
            if index == found.count { found.append((layer, [])) }
            found[index].counts.append((tensor, count))
        }
        return found
    }

    private static func damaged(_ key: String, _ found: UInt32, _ expected: UInt32, _ name: String) -> LayerwiseError {
        LayerwiseError(
            .corrupt,
            "\(name): tensor \"\(key)\" was changed: its checksum is \(Checksum.text(found)), not \(Checksum.text(expected))"
        )
    }
}

/// The contents of the checkpoint at `path` as one line of JSON, all checksums verified; `progress` receives the number of
/// bytes read so far, and of all.  The file is opened once, so that all of it is of one checkpoint, even if another thread saves to the path meanwhile.
package func describeCheckpoint(
    at path: String, _ progress: (_ done: Int, _ total: Int) -> Void = { _, _ in }
) throws(LayerwiseError) -> String {
    let checkpoint = try Checkpoint(try ByteSource(path: path))
    let (header, total) = (checkpoint.header, checkpoint.source.count - checkpoint.dataStart)
    var done = 0
    try checkpoint.verifyTensors { bytes in
        done += bytes
        progress(done, total)
    }
    // Both were written as JSON, and are only passed on once they read as such.
    let identity = try checkpoint.value(of: "identity")
    _ = try checkpoint.value(of: "progress")
    let steps = try checkpoint.stepCounts()
    return JSON.object([
        ("format_version", JSON.quoted(header.metadata["format_version"] ?? "")),
        ("layerwise_version", JSON.quoted(header.metadata["layerwise_version"] ?? "")),
        ("bytes", String(checkpoint.source.count)),
        ("identity", identity.withPresetsExpanded()?.json ?? oneLine(header.metadata["identity"])),
        ("progress", oneLine(header.metadata["progress"])),
        (
            "steps",
            JSON.object(
                steps.map { layer, counts in
                    (layer, JSON.object(counts.map { ($0.tensor, String($0.count)) }))
                })
        ),
        (
            "tensors",
            JSON.array(
                zip(header.entries, checkpoint.checksums).map { entry, checksum in
                    JSON.object([
                        ("key", JSON.quoted(entry.name)), ("dtype", JSON.quoted(entry.dtype.name)),
                        ("shape", JSON.array(entry.shape.map { String($0) })),
                        ("bytes", String(entry.range.count)), ("crc32c", JSON.quoted(Checksum.text(checksum))),
                    ])
                })
        ),
    ])
}

/// Valid JSON on one line: line breaks can only be the space between its parts.
private func oneLine(_ json: String?) -> String {
    String(decoding: (json ?? "null").utf8.map { $0 < 0x20 ? 0x20 : $0 }, as: UTF8.self)
}
