// SPDX-License-Identifier: Apache-2.0
import CLayerwiseKernels
import Glibc
import LayerwiseRules

extension Optimizer {
    /// Changes weights and states.
    func update(_ context: StepContext) {
        var context = context
        if rule.trustRatioScope == nil {
            context.items = UnsafePointer(work.items.elements)
            run(updateItem, context, count: work.items.count)
        } else {
            work.resetProgress()
            context.items = UnsafePointer(work.ratioItems.elements)
            run(ratioItem, context, count: work.ratioItems.count, ordered: true)
        }
    }

    /// Takes the trust ratio of a unit whose blocks are all measured, in the order of the blocks.
    fileprivate func takeTrustRatio(_ unit: RatioUnit, _ context: StepContext) {
        var weights = 0.0
        var directions = 0.0
        var lead: Int?
        var isMatrix = false
        for index in unit.firstTensor..<unit.endTensor where context.tensors[index].active {
            let tensor = context.tensors[index]
            lead = lead ?? index
            isMatrix = isMatrix || tensor.isMatrix
            for block in tensor.firstBlock..<tensor.firstBlock + tensor.blockCount {
                weights += context.sums[block].measured.weights
                directions += context.sums[block].measured.updates
            }
        }
        guard let lead else { return }
        let layer = context.layers[context.tensors[lead].layer]
        let ratio = rules[layer.rule].trustRatio(
            weightNorm: weights.squareRoot(), directionNorm: directions.squareRoot(),
            moment: PlanMoment(
                learningRate: layer.effectiveRate, step: context.tensors[lead].steps, isMatrix: isMatrix))
        for index in unit.firstTensor..<unit.endTensor { context.tensors[index].trustRatio = ratio }
    }
}

/// Updates the blocks of one item.
private let updateItem: ThreadPool.Job = { memory, item, slot in
    let context = memory.load(as: StepContext.self)
    let item = context.items[item]
    let scratch = context.scratch(slot)
    for block in item.first..<item.end { work(.change, block, context, scratch) }
}

/// Does one item of a rule with a trust ratio.
private let ratioItem: ThreadPool.Job = { memory, item, slot in
    let context = memory.load(as: StepContext.self)
    guard let progress = context.progress else { return }
    let item = context.items[item]
    let scratch = context.scratch(slot)
    switch item.kind {
    case .blocks: break
    case .units:
        for index in item.first..<item.end {
            let unit = context.units[index]
            for block in unit.firstBlock..<unit.endBlock { work(.measure, block, context, scratch) }
            context.optimizer._withUnsafeGuaranteedRef { $0.takeTrustRatio(unit, context) }
            for block in unit.firstBlock..<unit.endBlock { work(.change, block, context, scratch) }
        }
    case .measure:
        for block in item.first..<item.end { work(.measure, block, context, scratch) }
        // Whoever finishes a unit's last block takes its ratio, and has seen the sums of all others.
        if progress[item.unit].remaining.subtract(1, ordering: .acquiringAndReleasing).newValue == 0 {
            context.optimizer._withUnsafeGuaranteedRef { $0.takeTrustRatio(context.units[item.unit], context) }
            progress[item.unit].isMeasured.store(true, ordering: .releasing)
        }
    case .change:
        // Items are taken in order and measuring waits for nobody, so this ends.
        var patience = 1000
        while !progress[item.unit].isMeasured.load(ordering: .acquiring) {
            patience -= 1
            if patience <= 0 { sched_yield() } else { lwk_pause() }
        }
        for block in item.first..<item.end { work(.change, block, context, scratch) }
    }
}

/// What is done to a block.
private enum Pass {
    /// The first pass of a rule with a trust ratio.
    case measure
    /// The pass that changes the weights.
    case change
}

/// Takes one block through the stations: decode → condition → rule → encode.  A station that has nothing to do is
/// passed over; where parameters and gradients are lanes already, the rule works on them in place.
private func work(_ pass: Pass, _ index: Int, _ context: StepContext, _ scratch: Scratch) {
    let block = context.blocks[index]
    let tensor = context.tensors[block.tensor]
    guard tensor.active, let gradients = tensor.gradient, let parameters = tensor.parameters,
        let coefficients = tensor.coefficients
    else { return }
    let layer = context.layers[tensor.layer]
    let kernels = context.rules[layer.rule]
    let lane = tensor.laneType
    let passes = lane == .float64 ? kernels.double : kernels.float
    let storage = tensor.dtype.kernels(in: context.table)
    let lanes = lane.kernels(in: context.table)
    let gradientType = tensor.gradientDType
    let size = lane.size
    let group = 64 / size
    let weightsInPlace = tensor.master != nil || tensor.dtype == lane
    let weightMemory = tensor.master ?? parameters
    let weightSize = weightsInPlace ? size : tensor.dtype.size
    // Values are clamped before norms are clipped, and both are one multiplication and one bound here.
    let limit = context.limit < .infinity ? context.limit * layer.clipFactor : .infinity
    let readsGradients = pass == .measure || kernels.changeReadsGradients || context.observes
    let gradientsInPlace = !readsGradients || (gradientType == lane && limit == .infinity)
    let condition =
        gradientType == lane || lane == .float32
        ? gradientType.kernels(in: context.table).condition : context.table.conditionWidened
    let tileCount = weightsInPlace && gradientsInPlace ? Block.elements : Scratch.tileBytes / size
    var sums = lwk_sums()

    var offset = block.start
    let end = block.start + block.count
    while offset < end {
        var count = min(tileCount, end - offset)
        let isPartial = count < group
        if !isPartial { count -= count % group }

        // Decode and condition.  A partial group of lanes goes through the zero-padded tile.
        var weights = weightMemory + offset * weightSize
        let copiesWeights = !weightsInPlace || isPartial
        if copiesWeights {
            (weightsInPlace ? lanes : storage).decode(weights, count, scratch.weights)
            weights = scratch.weights
        }
        var gradientLanes = gradients + offset * gradientType.size
        var factor = tensor.factor
        if !readsGradients {
            gradientLanes = UnsafeRawPointer(weights)
        } else if !gradientsInPlace || isPartial {
            condition(gradientLanes, count, factor, limit, scratch.gradients)
            gradientLanes = UnsafeRawPointer(scratch.gradients)
            factor = 1
        }

        // The rule.
        let shift = offset * size
        var tile = lwk_tile(
            weights: weights, gradients: gradientLanes, gradient_factor: factor,
            states: (
                tensor.states.0.map { $0 + shift }, tensor.states.1.map { $0 + shift },
                tensor.states.2.map { $0 + shift }, tensor.states.3.map { $0 + shift }
            ),
            coefficients: coefficients, trust_ratio: tensor.trustRatio, groups: Int64((count + group - 1) / group),
            last_count: Int64(isPartial ? count : group))
        switch pass {
        case .measure: passes.advance?(&tile, &sums)
        case .change where context.observes: passes.observe(&tile, &sums)
        case .change: passes.update(&tile)
        }

        // Encode.
        if pass == .change {
            if copiesWeights && weightsInPlace { lanes.encode(weights, count, weightMemory + shift) }
            if tensor.dtype != lane { storage.encode(weights, count, parameters + offset * tensor.dtype.size) }
        }
        offset += count
    }
    if pass == .measure {
        context.sums[index].measured = sums
    } else if context.observes {
        context.sums[index].observed = sums
    }
}
