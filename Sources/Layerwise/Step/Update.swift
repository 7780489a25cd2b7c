// SPDX-License-Identifier: Apache-2.0
import CLayerwiseKernels
import Glibc
import LayerwiseRules

extension Optimizer {
    /// Changes weights and states.
    func update(_ context: StepContext, _ reduce: Reducer?) throws(LayerwiseError) {
        var context = context
        if rule.trustRatioScope == nil {
            context.items = UnsafePointer(work.items.elements)
            return run(updateItem, context, count: work.items.count)
        }
        if let reduce { return try updateParts(context, reduce) }
        context.items = UnsafePointer(ratioList.smallItems.elements)
        run(smallUnitItem, context, count: ratioList.smallItems.count)
        for index in 0..<ratioList.units.count {
            let unit = ratioList.units.elements[index]
            if unit.isSmall || !hasActiveTensor(unit) { continue }
            context.firstBlock = unit.firstBlock
            context.directions = unit.keepsDirections ? ratioList.directions : nil
            run(measureBlock, context, count: unit.endBlock - unit.firstBlock)
            takeTrustRatio(unit, trustNorms(unit, context, context.scratch(0)), context)
            run(changeBlock, context, count: unit.endBlock - unit.firstBlock)
        }
    }

    /// The same where tensors are spread over processes: all parts are measured, the sums of all trust ratios are added up at
    /// once, and all parts are changed.
    private func updateParts(_ context: StepContext, _ reduce: Reducer) throws(LayerwiseError) {
        var context = context
        context.firstBlock = 0
        context.directions = nil
        run(measureBlock, context, count: work.blocks.count)
        try addUp(context, reduce)
        for index in 0..<ratioList.units.count {
            takeTrustRatio(ratioList.units.elements[index], addedUp(index), context)
        }
        run(changeBlock, context, count: work.blocks.count)
    }

    private func hasActiveTensor(_ unit: RatioUnit) -> Bool {
        (unit.firstTensor..<unit.endTensor).contains { tensors.elements[$0].active }
    }

    /// The norms of a unit whose blocks are all measured: sums in the order of the blocks.  Where squares of float64 numbers
    /// overflow or lose digits they are measured again, scaled.
    fileprivate func trustNorms(_ unit: RatioUnit, _ context: StepContext, _ scratch: Scratch) -> TrustNorms {
        let (norms, isDouble) = gatherNorms(unit, context)
        let scales = norms.betterScales
        if !isDouble || scales == (1, 1) { return norms }
        var context = context
        (context.weightScale, context.directionScale) = scales
        measureAgain(unit.firstBlock..<unit.endBlock, context, scratch)
        return gatherNorms(unit, context).norms
    }

    /// The norms from the sums that there are, and whether there are float64 numbers among them.
    func gatherNorms(_ unit: RatioUnit, _ context: StepContext) -> (norms: TrustNorms, isDouble: Bool) {
        let rule = ruleInForce(context.layers[context.tensors[unit.firstTensor].layer].rule)
        var norms = TrustNorms(weightScale: context.weightScale, directionScale: context.directionScale)
        var isDouble = false
        for index in unit.firstTensor..<unit.endTensor {
            let tensor = context.tensors[index]
            if !tensor.active || !rule.adapts(tensor.kind) { continue }
            isDouble = isDouble || tensor.laneType == .float64
            let decayScale = rule.decayScale(tensor.kind)
            for block in tensor.firstBlock..<tensor.firstBlock + tensor.blockCount {
                let sums = context.sums[block].measured
                norms.add(weights: sums.weights, directions: sums.updates, decayScale: decayScale)
            }
        }
        return (norms, isDouble)
    }

    /// Gives the tensors of a unit the trust ratio of these norms.
    fileprivate func takeTrustRatio(_ unit: RatioUnit, _ norms: TrustNorms, _ context: StepContext) {
        let layer = context.layers[context.tensors[unit.firstTensor].layer]
        let rule = ruleInForce(layer.rule)
        let isTensor = unit.endTensor == unit.firstTensor + 1
        let first = context.tensors[unit.firstTensor]
        let rates = TrustRates(
            learningRate: isTensor ? first.learningRate : layer.effectiveRate,
            decayRate: isTensor ? first.decayRate : layer.decayRate)
        let ratio = min(rule.trustRatio(norms, rates: rates), .greatestFiniteMagnitude)
        for index in unit.firstTensor..<unit.endTensor {
            context.tensors[index].trustRatio = rule.adapts(context.tensors[index].kind) ? ratio : 1
        }
    }
}

/// Updates the blocks of one item.
private let updateItem: ThreadPool.Job = { memory, item, slot in
    let context = memory.load(as: StepContext.self)
    let item = context.items[item]
    let scratch = context.scratch(slot)
    for block in item.first..<item.end { work(.change, block, nil, context, scratch) }
}

/// Does the small units of one item, both passes.
private let smallUnitItem: ThreadPool.Job = { memory, item, slot in
    let context = memory.load(as: StepContext.self)
    let item = context.items[item]
    let scratch = context.scratch(slot)
    for index in item.first..<item.end {
        let unit = context.units[index]
        for block in unit.firstBlock..<unit.endBlock { work(.measure, block, scratch.directions, context, scratch) }
        context.optimizer._withUnsafeGuaranteedRef {
            $0.takeTrustRatio(unit, $0.trustNorms(unit, context, scratch), context)
        }
        for block in unit.firstBlock..<unit.endBlock { work(.change, block, scratch.directions, context, scratch) }
    }
}

/// First pass of one block of a large unit.
private let measureBlock: ThreadPool.Job = { memory, item, slot in
    let context = memory.load(as: StepContext.self)
    work(.measure, context.firstBlock + item, context.directions, context, context.scratch(slot))
}

/// Second pass of one block of a large unit.
private let changeBlock: ThreadPool.Job = { memory, item, slot in
    let context = memory.load(as: StepContext.self)
    work(.change, context.firstBlock + item, context.directions, context, context.scratch(slot))
}

/// Measures blocks once more, scaled.
private func measureAgain(_ blocks: Range<Int>, _ context: StepContext, _ scratch: Scratch) {
    for block in blocks { work(.measureAgain, block, nil, context, scratch) }
}

/// What is done to a block.
private enum Pass {
    /// The first pass of a rule with a trust ratio.
    case measure
    /// The same once more, scaled, behind it.
    case measureAgain
    /// The pass that changes the weights.
    case change
}

/// Takes one block through the stations: decode → condition → rule → encode.  A station that has nothing to do is passed
/// over; where parameters and gradients are of one type, the rule's kernel for it works on them in place.
///
/// `directions`: where the directions of the block's unit are kept between the passes of a rule with a trust ratio, if they
/// are.
private func work(
    _ pass: Pass, _ index: Int, _ directions: UnsafeMutableRawPointer?, _ context: StepContext, _ scratch: Scratch
) {
    let block = context.blocks[index]
    let tensor = context.tensors[block.tensor]
    guard tensor.active, let gradients = tensor.gradient, let parameters = tensor.parameters,
        let coefficients = tensor.coefficients
    else { return }
    let layer = context.layers[tensor.layer]
    let kernels = context.rules[layer.rule]
    let lane = tensor.laneType
    let size = lane.size
    let group = 64 / size
    let weightType = tensor.master == nil ? tensor.dtype : lane
    let weightMemory = tensor.master ?? parameters
    let gradientType = tensor.gradientDType
    // Values are clamped before norms are clipped, and both are one multiplication and one bound here.
    let limit = context.limit < .infinity ? context.limit * layer.clipFactor.number : .infinity
    let finishes = pass == .change && kernels.keepsDirections && !context.observes && directions != nil
    let readsGradients = pass != .change || kernels.changeReadsGradients || context.observes
    let keepsDirections = finishes || (pass == .measure && kernels.keepsDirections)
    // A factor that lanes cannot hold is applied in float64 on the way to the tile.
    let isFactorWide = !tensor.factor.fits(lane)
    let isInPlace = !readsGradients || (gradientType == weightType && limit == .infinity && !isFactorWide)
    let kernelPass =
        switch pass {
        case .measure: lwk_pass_advance
        case .measureAgain: lwk_pass_remeasure
        case .change: finishes ? lwk_pass_finish : context.observes ? lwk_pass_observe : lwk_pass_update
        }
    let ahead = Int64(lwk_prefetch_distance())
    let tileCount = isInPlace ? Block.elements : Scratch.tileBytes / size
    var sums = lwk_sums()

    var offset = block.start
    let end = block.start + block.count
    while offset < end {
        var count = min(tileCount, end - offset)
        let isPartial = count < group
        if !isPartial { count -= count % group }

        // Decode and condition.  A partial group of lanes goes through the zero-padded tile.
        let goesByTile = !isInPlace || isPartial
        let copiesWeights = isPartial || (!isInPlace && weightType != lane)
        let stored = weightMemory + offset * weightType.size
        var weights = stored
        var gradientMemory = gradients + offset * gradientType.size
        var factor = tensor.factor.value
        if let master = tensor.master, pass == .measure || !context.hasRatio {
            tensor.dtype.kernels(in: context.table).adopt?(
                parameters + offset * tensor.dtype.size, count, master + offset * size)
        }
        if copiesWeights {
            weightType.kernels(in: context.table).decode(stored, count, scratch.weights)
            weights = scratch.weights
        }
        if !readsGradients {
            gradientMemory = UnsafeRawPointer(weights)
        } else if goesByTile {
            condition(
                gradientMemory, count, tensor, isFactorWide, limit, context.table, scratch.gradients)
            gradientMemory = UnsafeRawPointer(scratch.gradients)
            factor = 1
        }

        // The rule.
        let shift = offset * size
        var tile = lwk_tile(
            weights: weights, gradients: gradientMemory, gradient_factor: factor,
            directions: keepsDirections
                ? directions.map { $0 + block.directionOffset + (offset - block.start) * size } : nil,
            states: (
                tensor.states.0.map { $0 + shift }, tensor.states.1.map { $0 + shift },
                tensor.states.2.map { $0 + shift }, tensor.states.3.map { $0 + shift }
            ),
            coefficients: coefficients, trust_ratio: tensor.trustRatio,
            square_limit: lane == .float64 ? 0x1.fffffffffffffp+511 : 0x1.fffffep+63,
            weight_scale: context.weightScale, direction_scale: context.directionScale,
            ahead: isInPlace ? ahead : 0, states_ahead: ahead,
            groups: Int64((count + group - 1) / group),
            last_count: Int64(isPartial ? count : group),
            rounding: !goesByTile || tensor.master != nil
                ? lwk_rounding_none
                : weightType == .float16
                    ? lwk_rounding_float16 : weightType == .bfloat16 ? lwk_rounding_bfloat16 : lwk_rounding_none)
        (goesByTile ? lane : weightType).kernel(in: kernels)(kernelPass, &tile, &sums)

        // Encode.
        if pass == .change {
            if copiesWeights { weightType.kernels(in: context.table).encodeFinite(weights, count, stored) }
            if tensor.master != nil {
                tensor.dtype.kernels(in: context.table).encodeFinite(
                    weights, count, parameters + offset * tensor.dtype.size)
            }
        }
        offset += count
    }
    if pass != .change {
        context.sums[index].measured = sums
    } else if context.observes {
        context.sums[index].observed = sums
    }
}

/// Gradients as lanes, times the tensor's factor, clamped.
@inline(__always)
private func condition(
    _ gradients: UnsafeRawPointer, _ count: Int, _ tensor: TensorRecord, _ isFactorWide: Bool, _ limit: Double,
    _ table: KernelTable, _ target: UnsafeMutableRawPointer
) {
    let type = tensor.gradientDType
    let kernels = type.kernels(in: table)
    let widens = type != tensor.laneType && tensor.laneType == .float64
    if isFactorWide {
        let (factor, power) = tensor.factor.parts
        (widens ? table.conditionWidenedWide : kernels.conditionWide)(gradients, count, factor, power, limit, target)
    } else {
        (widens ? table.conditionWidened : kernels.condition)(gradients, count, tensor.factor.value, limit, target)
    }
}
