// SPDX-License-Identifier: Apache-2.0

/// What is offered to the loader, taken apart: the byte that chooses the optimizer and the way, and a safetensors file.
struct Input {
    private let choice: UInt8
    var header: Node
    var data: [UInt8]

    init?(_ bytes: some RandomAccessCollection<UInt8>) {
        let bytes = Array(bytes)
        guard bytes.count > 9 else { return nil }
        let length = bytes[1..<9].reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        guard length <= UInt64(bytes.count - 9), let header = Node(bytes[9..<9 + Int(length)]) else { return nil }
        self.choice = bytes[0]
        self.header = header
        data = Array(bytes[(9 + Int(length))...])
    }

    /// The file as it stands; `checksum`: with a header checksum that is right.
    func bytes(checksum: Bool) -> [UInt8] {
        let field = "header_crc32c"
        var header = header
        if checksum { header["__metadata__"]?[field] = .text("00000000") }
        var json = header.bytes
        json += [UInt8](repeating: 0x20, count: (64 - (json.count + 8) % 64) % 64)
        let mark = Array("\"\(field)\": \"00000000\"".utf8)
        if checksum, let place = json.firstRange(of: mark) {
            json.replaceSubrange(place.upperBound - 9..<place.upperBound - 1, with: Checksum.text(of: json))
        }
        return [choice] + (0..<8).map { UInt8(truncatingIfNeeded: json.count >> (8 * $0)) } + json + data
    }

    // MARK: - Tensors

    /// The keys of the header that are tensors.
    var tensors: [Int] {
        guard case .record(let fields) = header else { return [] }
        return fields.indices.filter { !fields[$0].key.elementsEqual("__metadata__".utf8) }
    }

    /// Puts the tensors side by side again, each with as many bytes as its shape asks for.
    mutating func layOut() {
        guard case .record(var fields) = header else { return }
        var laidOut: [UInt8] = []
        for at in tensors {
            var bytes = Array(self.bytes(of: fields[at].value))
            if let size = Self.size(of: fields[at].value), size <= 4096 {
                bytes = Array(bytes.prefix(size)) + [UInt8](repeating: 0, count: max(0, size - bytes.count))
            }
            fields[at].value["data_offsets"] = .numbers([laidOut.count, laidOut.count + bytes.count])
            laidOut += bytes
        }
        header = .record(fields)
        data = laidOut
    }

    /// Makes the checksums of all tensors right.
    mutating func sumTensors() {
        guard case .record(let fields) = header else { return }
        let sums = tensors.map { at in
            Node.Field(key: fields[at].key, value: .text(Checksum.text(of: bytes(of: fields[at].value))))
        }
        header["__metadata__"]?["crc32c"] = .text(holding: .record(sums))
    }

    func bytes(of tensor: Node) -> ArraySlice<UInt8> {
        guard let offsets = tensor["data_offsets"]?.naturals, offsets.count == 2, offsets[0] <= offsets[1],
            offsets[1] <= data.count
        else { return [] }
        return data[offsets[0]..<offsets[1]]
    }

    private static func size(of tensor: Node) -> Int? {
        guard case .text(let dtype)? = tensor["dtype"], let shape = tensor["shape"]?.naturals else { return nil }
        var size = ["F64": 8, "I64": 8, "F32": 4, "F16": 2, "BF16": 2][String(decoding: dtype, as: UTF8.self)] ?? 1
        for extent in shape {
            let (product, overflow) = size.multipliedReportingOverflow(by: extent)
            if overflow { return nil }
            size = product
        }
        return size
    }
}
