// SPDX-License-Identifier: Apache-2.0
import Glibc
import LayerwiseRules

/// One state of one tensor.
public struct StateInfo: Sendable, Equatable {
    /// Such as "exp_avg" or "step".
    public let name: String
    public let dtype: DType
    /// Elements.
    public let count: Int

    /// Bytes of the whole state.
    public var size: Int { count * dtype.size }
}

// What the library keeps for a tensor: allocated where a rule needs it, and read and written by name.

extension Optimizer {
    static let stepState = "step"
    static let masterState = "master"

    /// The states of a tensor: its "step" count, the rule's moments, the "master" copy.
    public func states(layer: Int, tensor: Int) throws(LayerwiseError) -> [StateInfo] {
        try check(layer: layer, tensor: tensor)
        let record = tensors.elements[layers.elements[layer].firstTensor + tensor]
        var states = [StateInfo(name: Self.stepState, dtype: .int64, count: 1)]
        for (slot, name) in type(of: rule).declaration.states.enumerated() where record.state(slot) != nil {
            states.append(StateInfo(name: name, dtype: record.laneType, count: record.count))
        }
        if record.master != nil {
            states.append(StateInfo(name: Self.masterState, dtype: .float32, count: record.count))
        }
        return states
    }

    /// Copies a state out.  `target` must have exactly the state's size.
    public func readState(
        layer: Int, tensor: Int, name: String, into target: UnsafeMutableRawBufferPointer
    ) throws(LayerwiseError) {
        let state = try locate(layer, tensor, name, size: target.count)
        if let to = target.baseAddress, target.count > 0 { memcpy(to, state, target.count) }
    }

    /// Copies a state in.  Any bits may be written, except a negative step count.
    public func writeState(
        layer: Int, tensor: Int, name: String, from source: UnsafeRawBufferPointer
    ) throws(LayerwiseError) {
        let state = try locate(layer, tensor, name, size: source.count)
        guard let from = source.baseAddress, source.count > 0 else { return }
        if name == Self.stepState && from.loadUnaligned(as: Int64.self) < 0 {
            throw LayerwiseError(
                .outOfRange, "\(subject(layer, tensor)): a step count must not be negative", layer: layer,
                tensor: tensor)
        }
        memcpy(state, from, source.count)
    }

    /// Where a moment or a master copy is kept: it stays there as long as the optimizer is there.  The memory may be read
    /// and written between calls.
    public func stateAddress(layer: Int, tensor: Int, name: String) throws(LayerwiseError) -> UnsafeMutableRawPointer {
        try check(layer: layer, tensor: tensor)
        if name == Self.stepState {
            throw LayerwiseError(
                .invalidArgument,
                "\(subject(layer, tensor)): a step count has no lasting address: read and write it by name",
                layer: layer, tensor: tensor)
        }
        return try locate(layer, tensor, name)
    }

    /// The step count of every tensor, in order of registration.
    public func stepCounts(into counts: UnsafeMutableBufferPointer<Int64>) throws(LayerwiseError) {
        if counts.count != tensors.count {
            throw LayerwiseError(
                .shape, "expected room for \(tensors.count) step counts, one for each tensor, found \(counts.count)")
        }
        for index in counts.indices { counts[index] = tensors.elements[index].steps }
    }

    /// The memory of a state, if it has `size` bytes.
    private func locate(
        _ layer: Int, _ tensor: Int, _ name: String, size: Int? = nil
    ) throws(LayerwiseError) -> UnsafeMutableRawPointer {
        let states = try states(layer: layer, tensor: tensor)
        guard let info = states.first(where: { $0.name == name }) else {
            let names = states.map(\.name).joined(separator: ", ")
            throw LayerwiseError(
                .unknownName, "\(subject(layer, tensor)): no state is called \"\(name)\", expected one of \(names)",
                layer: layer, tensor: tensor)
        }
        if let size, info.size != size {
            throw LayerwiseError(
                .shape, "\(subject(layer, tensor)): state \"\(name)\" has \(info.size) bytes, the buffer has \(size)",
                layer: layer, tensor: tensor)
        }
        let record = tensors.elements + layers.elements[layer].firstTensor + tensor
        if name == Self.stepState {
            // The record stays where it is until a layer is added.
            return withUnsafeMutablePointer(to: &record.pointee.steps) { UnsafeMutableRawPointer($0) }
        }
        let slot = type(of: rule).declaration.states.firstIndex(of: name)
        let memory = name == Self.masterState ? record.pointee.master : slot.flatMap { record.pointee.state($0) }
        guard let memory else {
            throw LayerwiseError(
                .unknownName, "\(subject(layer, tensor)): state \"\(name)\" has no memory", layer: layer, tensor: tensor
            )
        }
        return memory
    }

    /// Gives every tensor the states that its layer's rule needs, `count` by layer; all or none.
    func addStates(count: (_ layer: Int) -> Int) throws(LayerwiseError) {
        try addStates(to: 0..<layers.count, count: count)
    }

    /// Gives the tensors of some layers the states that the layer's rule needs, `count` by layer; all or none.
    func addStates(
        to layers: some Sequence<Int>, count: (_ layer: Int) -> Int
    ) throws(LayerwiseError) {
        var added: [(tensor: Int, slot: Int)] = []
        for layer in layers {
            let own = self.layers.elements[layer]
            for index in own.firstTensor..<own.firstTensor + own.tensorCount {
                let record = tensors.elements[index]
                for slot in 0..<count(layer) where record.state(slot) == nil {
                    guard let memory = record.allocateState(slot) else {
                        for (tensor, slot) in added {
                            Memory.free(tensors.elements[tensor].state(slot), tensors.elements[tensor].stateBytes)
                            tensors.elements[tensor].setState(slot, nil)
                        }
                        throw .outOfMemory("the state of \(subject(layer))", layer: layer)
                    }
                    tensors.elements[index].setState(slot, memory)
                    added.append((index, slot))
                }
            }
        }
    }

    static func allocateStates(_ record: inout TensorRecord, count: Int) -> Bool {
        for slot in 0..<count {
            guard let memory = record.allocateState(slot) else { return false }
            record.setState(slot, memory)
        }
        return true
    }

    /// A float32 copy of the parameters.
    static func allocateMaster(_ record: inout TensorRecord) -> Bool {
        guard let memory = record.allocateState(TensorRecord.stateSlots) else { return false }
        record.master = memory
        fillMaster(record)
        return true
    }

    /// Copies the parameters to their master copy, where there is one.
    static func fillMaster(_ record: TensorRecord) {
        guard let master = record.master, let parameters = record.parameters, record.count > 0 else { return }
        record.dtype.kernels(in: InstructionSet.kernels).decode(parameters, record.count, master)
    }

    static func stateBytes(_ record: TensorRecord) -> Int {
        let kept = (0..<TensorRecord.stateSlots).count { record.state($0) != nil } + (record.master == nil ? 0 : 1)
        return kept * record.count * record.laneType.size
    }
}
