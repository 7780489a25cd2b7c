// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

/// One state of one tensor, or its parameters, where they are kept: what a checkpoint holds under one key.
struct CheckpointEntry {
    let key: String
    let dtype: DType
    let shape: [Int]
    /// Elements.
    let count: Int
    let start: UnsafeMutableRawPointer
    let layer: Int
    let tensor: Int

    var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: start, count: count * dtype.size) }

    static let parameters = "parameters"

    /// The last part of the key.
    var state: Substring {
        let slash = key.utf8.lastIndex(of: UInt8(ascii: "/"))
        return key[(slash.map { key.utf8.index(after: $0) } ?? key.startIndex)...]
    }

    /// The key of another state of the same tensor.
    func sibling(_ state: String) -> String { key[..<self.state.startIndex] + state }

    /// "layer/tensor/state", in which a slash or a percent sign of a name is written as in a URL.
    static func key(_ layer: String, _ tensor: String, _ state: String) -> String {
        "\(escaped(layer))/\(escaped(tensor))/\(state)"
    }

    /// The layer of a key, or nil if it has not three parts.
    static func layer(of key: String) -> String? { split(key)?.layer }

    /// Layer, tensor and state of a key, or nil if it has not three parts.
    static func split(_ key: String) -> (layer: String, tensor: String, state: String)? {
        let parts = key.utf8.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false)
        return parts.count == 3 ? (unescaped(parts[0]), unescaped(parts[1]), unescaped(parts[2])) : nil
    }

    /// As a name is written in a key.
    static func escaped(_ name: String) -> String {
        var text = ""
        for scalar in name.unicodeScalars {
            switch scalar {
            case "/": text += "%2F"
            case "%": text += "%25"
            default: text.unicodeScalars.append(scalar)
            }
        }
        return text
    }

    /// Bytes and not characters, one of which may be a sign with an accent.
    private static func unescaped(_ name: Substring.UTF8View) -> String {
        var text: [UInt8] = []
        var rest = name[...]
        while let byte = rest.first {
            if rest.starts(with: "%2F".utf8) {
                text.append(UInt8(ascii: "/"))
                rest = rest.dropFirst(3)
            } else if rest.starts(with: "%25".utf8) {
                text.append(UInt8(ascii: "%"))
                rest = rest.dropFirst(3)
            } else {
                text.append(byte)
                rest = rest.dropFirst()
            }
        }
        return String(decoding: text, as: UTF8.self)
    }
}

extension Optimizer {
    /// Everything there is to save, wide elements first, so that all are aligned.
    func pieces(parameters: Bool) throws(LayerwiseError) -> [CheckpointEntry] {
        if settings.dryRun {
            throw LayerwiseError(.invalidArgument, "an optimizer with dry_run has no state to save or load")
        }
        try checkMemory()
        try reserveWatching()
        var pieces: [CheckpointEntry] = []
        for layer in entries.indices {
            let record = layers.elements[layer]
            for tensor in 0..<record.tensorCount {
                let own = tensors.elements + record.firstTensor + tensor
                let place = entries[layer].tensors[tensor]
                func add(
                    _ state: String, _ dtype: DType, _ shape: [Int], _ start: UnsafeMutableRawPointer?, _ count: Int
                ) {
                    pieces.append(
                        CheckpointEntry(
                            key: CheckpointEntry.key(entries[layer].name, place.name, state), dtype: dtype,
                            shape: shape,
                            count: count,
                            // A tensor without elements may have no memory.
                            start: start ?? UnsafeMutableRawPointer(own), layer: layer, tensor: tensor))
                }
                for state in keptStates(record.firstTensor + tensor) where !state.isShared {
                    add(state.name, state.dtype, state.shape, state.memory, state.count)
                }
                if parameters {
                    add(
                        CheckpointEntry.parameters, own.pointee.dtype, place.part, own.pointee.parameters,
                        own.pointee.count)
                }
            }
        }
        return pieces.enumerated().sorted {
            ($1.element.dtype.size, $0.offset) < ($0.element.dtype.size, $1.offset)
        }.map(\.element)
    }
}
