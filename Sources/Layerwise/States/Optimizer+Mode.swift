// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

extension Optimizer {
    /// Puts the weights for training or for evaluation into the parameters, for rules whose weights differ between both, such as
    /// `ScheduleFreeAdamW`, and where an average of the weights is kept (`Settings.average`); else nothing changes.
    ///
    /// An optimizer begins in training.  A step while it evaluates is refused.  Tensors that have not stepped are the same in
    /// both.  The mode is saved in checkpoints: what is loaded is in the mode in which it was saved.  Each change of mode rounds
    /// the parameters of such a rule once, in their own type, or in float32 where there is a master copy; averages give way to
    /// the weights as these were, bit by bit.
    public func setMode(_ mode: Mode) throws(LayerwiseError) {
        if isTorn { throw Self.torn }
        guard mode != self.mode, hasEvaluation else { return }
        self.mode = mode
        if settings.dryRun { return }
        try refresh()
        let averages = settings.average != .none
        steppedElements = work.elements
        wakesWorkers = false
        for index in 0..<tensors.count {
            let tensor = tensors.elements + index
            let evaluation = ruleInForce(layers.elements[tensor.pointee.layer].rule).evaluation
            if averages {
                tensor.pointee.active = tensor.pointee.following.count > 0
                tensor.pointee.numbers[0] = mode == .evaluation ? 1 : 0
                continue
            }
            tensor.pointee.active = tensor.pointee.steps > 0 && evaluation != nil
            tensor.pointee.numbers[0] =
                (mode == .evaluation ? evaluation?.toEvaluation : evaluation?.toTraining) ?? 0
        }
        var context = context()
        context.items = UnsafePointer(work.items.elements)
        run(averages ? exchangeItem : blendItem, context, count: work.items.count)
        if isTorn { throw Self.torn }
    }

    /// Says which weights the parameters hold, and changes none: for parameters that were loaded in the mode in which they were
    /// saved.
    package func assumeMode(_ mode: Mode) throws(LayerwiseError) {
        if isTorn { throw Self.torn }
        if hasEvaluation { self.mode = mode }
    }

    /// Refuses a rule for a layer whose weights for evaluation, which the parameters hold, follow from another rule.
    func checkEvaluation(_ new: any DeclaredRule, _ layer: Int) throws(LayerwiseError) {
        if mode == .evaluation && new.evaluation != rules[layers.elements[layer].rule].evaluation {
            throw LayerwiseError(
                .invalidArgument,
                "\(subject(layer)): the parameters hold the weights for evaluation, which depend on what is changed: set the "
                    + "mode to training first", layer: layer)
        }
    }

    /// Whether weights differ between training and evaluation.
    var hasEvaluation: Bool { settings.average != .none || rules.contains { $0.evaluation != nil } }

    /// Why a step is refused while the optimizer evaluates.
    var stepInEvaluation: LayerwiseError {
        let rule = rules.first { $0.evaluation != nil } ?? rule
        return LayerwiseError(
            .invalidArgument,
            "\(type(of: rule).declaration.title): the parameters hold the weights for evaluation; a step needs those for "
                + "training: set the mode to training first")
    }
}

/// Blends the blocks of one item with a state.
private let blendItem: ThreadPool.Job = { memory, item, _ in
    let context = memory.load(as: StepContext.self)
    let item = context.items[item]
    for index in item.first..<item.end {
        let block = context.blocks[index]
        let tensor = context.tensors[block.tensor]
        guard tensor.active, let parameters = tensor.parameters,
            let state = tensor.state(context.rules[context.layers[tensor.layer].rule].evaluationSlot)
        else { continue }
        let factor = tensor.numbers[0]
        let own = state + block.start * tensor.laneType.size
        let kernels = tensor.dtype.kernels(in: context.table)
        let target = parameters + block.start * tensor.dtype.size
        if let master = tensor.master {
            let lanes = master + block.start * tensor.laneType.size
            kernels.adopt?(target, block.count, lanes)
            tensor.laneType.kernels(in: context.table).blend(own, block.count, factor, lanes)
            kernels.encodeFinite(lanes, block.count, target)
        } else {
            kernels.blend(own, block.count, factor, target)
        }
    }
}
