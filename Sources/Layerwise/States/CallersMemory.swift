// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

// States and the work of steps in memory of the caller's.  What an optimizer has of it is listed once, in `layOut`.

extension Optimizer {
    /// The bytes of memory that an optimizer with `Settings.memory` = `.caller` takes, with its layers, rule, settings and policy
    /// as they are.
    public func memorySize() throws(LayerwiseError) -> Int {
        if isTorn { throw Self.torn }
        if memory.isLibrary {
            throw LayerwiseError(
                .invalidArgument, "the memory is the library's: set memory = caller before the first layer is added")
        }
        try refresh()
        return neededMemory
    }

    /// Gives an optimizer with `Settings.memory` = `.caller` its memory: of any alignment, and at least `memorySize()` bytes.
    ///
    /// To be called after the last layer was added and before the first step.  The memory must stay where it is until the
    /// optimizer is gone or is given other memory; its content is the optimizer's.  Where there is more than is needed, later
    /// changes of settings may use the rest.  Given again, other memory takes over everything that is kept.
    ///
    /// From then on, a step allocates nothing and starts no thread, unless something was changed since `prepare()`.
    public func setMemory(_ memory: UnsafeMutableRawBufferPointer) throws(LayerwiseError) {
        let needed = try memorySize()
        if entries.isEmpty {
            throw LayerwiseError(.invalidArgument, "layers must be added before the optimizer is given its memory")
        }
        guard let start = memory.baseAddress, memory.count >= needed else {
            throw LayerwiseError(
                .bufferTooSmall, "the optimizer needs \(needed) bytes of memory, the buffer has \(memory.count)")
        }
        guard let bytes = IntervalSet.interval(start, memory.count, layer: Self.noLayer, tensor: 0) else {
            throw LayerwiseError(.overlap, "the memory runs past the end of the address space")
        }
        if let other = parameterIntervals.firstSharing(bytes) {
            throw LayerwiseError(.overlap, "the memory shares bytes with \(label("the parameters", other, layerCount))")
        }
        if let other = gradientIntervals.firstSharing(bytes) {
            throw LayerwiseError(.overlap, "the memory shares bytes with \(label("the gradients", other, layerCount))")
        }
        if let memoryInterval { parameterIntervals.remove(memoryInterval) }
        // What a step writes: no buffer may share bytes with it.
        parameterIntervals.insert(bytes)
        memoryInterval = bytes
        var source = MemorySource(start, memory.count)
        layOut(in: &source)
        self.memory = source
        readyNextStep()
    }

    /// Does now what the next step would do first after a change of settings, policy, schedules or layers, so that this step
    /// allocates no memory and takes no longer than others.
    public func prepare() throws(LayerwiseError) {
        if isTorn { throw Self.torn }
        try refresh()
        readyNextStep()
    }

    // MARK: - Implementation

    /// The layer of the interval that is the optimizer's own memory.
    private static let noLayer = -1

    /// Makes what the next step would make, beyond `refresh`.
    private func readyNextStep() {
        powers.reserve()
        _ = InstructionSet.kernelMemory
        // Rules whose hyperparameters follow a schedule are copied where they are first moved.  If the step is to be refused for
        // what a schedule says, it will say so itself.
        do { try move(to: clock.next) } catch {}
    }

    /// The bytes that everything takes in memory that is given now, whatever its alignment.
    private var neededMemory: Int {
        var source = MemorySource.counted
        layOut(in: &source)
        return source.used + MemorySource.slack
    }

    /// Takes all memory from another source, and moves there what is kept; if it is only counted, nothing changes.
    private func layOut(in source: inout MemorySource) {
        layers.move(to: &source)
        tensors.move(to: &source)
        work.move(to: &source)
        unitList.move(to: &source)
        matrixMemory.move(to: &source)
        coefficients.move(to: &source)
        scratch.move(to: &source)
        for index in 0..<tensors.count {
            let tensor = tensors.elements + index
            tensor.pointee.layOut(declaredStates(of: tensor.pointee.layer), in: &source)
        }
    }

    /// Refuses what needs states, while the caller has not given the memory for them.
    func checkMemory() throws(LayerwiseError) {
        if memory.isPromised {
            throw LayerwiseError(
                .invalidArgument,
                "the optimizer has no memory yet: with memory = caller it must be given some after the last layer was added"
            )
        }
    }

    /// Refuses states, and what follows the weights with other settings, for which the rest of the caller's memory is too small.
    func checkRoom(
        for layers: some Sequence<Int>, following settings: Settings? = nil, _ wanted: (_ tensor: Int) -> StateSet
    ) throws(LayerwiseError) {
        if !memory.isGiven { return }
        let settings = settings ?? self.settings
        var missing = 0
        for layer in layers {
            let record = self.layers.elements[layer]
            let declared = declaredStates(of: layer)
            for index in record.firstTensor..<record.firstTensor + record.tensorCount {
                let tensor = tensors.elements + index
                missing += tensor.pointee.bytes(
                    of: wanted(index).subtracting(tensor.pointee.kept), declared, tensor.pointee.missing(settings))
            }
        }
        if missing > memory.unused { throw noMemory("new states", besides: missing) }
    }

    /// Why there is no memory for something.  `besides`: bytes that it takes beside what there is.
    func noMemory(_ what: String, besides missing: Int = 0, layer: Int? = nil) -> LayerwiseError {
        if !memory.isGiven { return .outOfMemory(what, layer: layer) }
        return LayerwiseError(
            .bufferTooSmall,
            "no memory for \(what): the optimizer needs \(neededMemory + missing) bytes, and was given \(memory.size); other memory "
                + "may be given to it", layer: layer)
    }
}
