// SPDX-License-Identifier: Apache-2.0
import LayerwisePlatform
import LayerwiseRules

/// One state of one tensor.
public struct StateInfo: Sendable, Equatable {
    /// Such as "exp_avg" or "step".
    public let name: String
    /// The type of its elements.
    public let dtype: DType
    /// Elements.
    public let count: Int

    /// Bytes of the whole state.
    public var size: Int { count * dtype.size }
}

// What the library keeps for a tensor: allocated where a rule needs it, and read and written by name.

extension Optimizer {
    /// The states of a tensor: its "step" count, the states of the rule, the "master" copy.
    public func states(layer: Int, tensor: Int) throws(LayerwiseError) -> [StateInfo] {
        try check(layer: layer, tensor: tensor)
        try reserveWatching()
        return keptStates(layers.elements[layer].firstTensor + tensor).map {
            StateInfo(name: $0.name, dtype: $0.dtype, count: $0.count)
        }
    }

    /// Copies a state out.  `target` must have exactly the state's size.
    public func readState(
        layer: Int, tensor: Int, name: String, into target: UnsafeMutableRawBufferPointer
    ) throws(LayerwiseError) {
        let state = try locate(layer, tensor, name, size: target.count)
        if let to = target.baseAddress, let from = state.memory, target.count > 0 { memcpy(to, from, target.count) }
    }

    /// Copies a state in.  Any bits may be written, except a negative step count, and a number that all tensors share must be
    /// finite.  Such a number is the same, whichever tensor it is read or written by.
    public func writeState(
        layer: Int, tensor: Int, name: String, from source: UnsafeRawBufferPointer
    ) throws(LayerwiseError) {
        let state = try locate(layer, tensor, name, size: source.count)
        guard let from = source.baseAddress, let to = state.memory, source.count > 0 else { return }
        if name == Self.stepState && from.loadUnaligned(as: Int64.self) < 0 {
            throw LayerwiseError(
                .outOfRange, "\(subject(layer, tensor)): a step count must not be negative", layer: layer,
                tensor: tensor)
        }
        if state.isShared && !from.loadUnaligned(as: Double.self).isFinite {
            throw LayerwiseError(
                .outOfRange, "\(subject(layer, tensor)): state \"\(name)\" must be finite", layer: layer, tensor: tensor
            )
        }
        memcpy(to, from, source.count)
    }

    /// Where a state of the parameter's shape is kept: it stays there as long as the optimizer is there.  The memory may be
    /// read and written between calls.
    public func stateAddress(layer: Int, tensor: Int, name: String) throws(LayerwiseError) -> UnsafeMutableRawPointer {
        let state = try locate(layer, tensor, name)
        guard state.lasts, let memory = state.memory else {
            let what = name == Self.stepState ? "a step count" : "state \"\(name)\", which is a number,"
            throw LayerwiseError(
                .invalidArgument,
                "\(subject(layer, tensor)): \(what) has no lasting address: read and write it by name",
                layer: layer, tensor: tensor)
        }
        return memory
    }

    /// The step count of every tensor, in order of registration.
    package func stepCounts(into counts: UnsafeMutableBufferPointer<Int64>) throws(LayerwiseError) {
        if counts.count != tensors.count {
            throw LayerwiseError(
                .shape, "expected room for \(tensors.count) step counts, one for each tensor, found \(counts.count)")
        }
        for index in counts.indices { counts[index] = tensors.elements[index].steps }
    }

    /// The state of a name, if it has `size` bytes.
    private func locate(
        _ layer: Int, _ tensor: Int, _ name: String, size: Int? = nil
    ) throws(LayerwiseError) -> KeptState {
        try check(layer: layer, tensor: tensor)
        try checkMemory()
        let states = keptStates(layers.elements[layer].firstTensor + tensor)
        guard let state = states.first(where: { $0.name == name }) else {
            let names = states.map(\.name)
            throw LayerwiseError(
                .unknownName,
                "\(subject(layer, tensor)): no state is called \"\(name)\"\(hint(for: name, among: names)), expected one of "
                    + names.joined(separator: ", "),
                layer: layer, tensor: tensor)
        }
        let bytes = state.count * state.dtype.size
        if let size, bytes != size {
            throw LayerwiseError(
                .shape, "\(subject(layer, tensor)): state \"\(name)\" has \(bytes) bytes, the buffer has \(size)",
                layer: layer, tensor: tensor)
        }
        return state
    }
}
