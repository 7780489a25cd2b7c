// SPDX-License-Identifier: Apache-2.0
import CLayerwiseKernels
import LayerwisePlatform
import LayerwiseRules

extension Optimizer {
    /// Changes weights and states: every stage of the rules in force, and what follows the weights.
    func update(
        _ context: StepContext, _ stepped: Range<Int>, _ reduce: Reducer?, _ loss: Double
    ) throws(LayerwiseError) {
        let concernsResting = planFollowing(stepped)
        if rulesInForce.keepsAxes { beginAxes(context) }
        try applyRules(context, reduce, loss)
        if rulesInForce.keepsAxes { endAxes(context) }
        if concernsResting { followResting(context) }
    }

    private func applyRules(_ context: StepContext, _ reduce: Reducer?, _ loss: Double) throws(LayerwiseError) {
        var context = context
        context.isSpread = reduce != nil
        if rulesInForce.copiesParameters {
            for index in 0..<tensors.count where tensors.elements[index].active && tensors.elements[index].steps == 0 {
                tensors.elements[index].copyParameters(declaredStates(of: tensors.elements[index].layer))
            }
        }
        if context.watching.keepsStart {
            for index in 0..<tensors.count where tensors.elements[index].active && tensors.elements[index].steps == 0 {
                tensors.elements[index].startWatching()
            }
        }
        if !rulesInForce.hasStages {
            context.items = UnsafePointer(work.items.elements)
            return run(updateItem, context, count: work.items.count)
        }
        if reduce != nil || sumsOverOptimizer { return try updateTogether(context, reduce, loss) }
        context.items = UnsafePointer(unitList.smallItems.elements)
        run(smallUnitItem, context, count: unitList.smallItems.count)
        for index in 0..<unitList.units.count {
            let unit = unitList.units.elements[index]
            if unit.isSmall || !hasActiveTensor(unit) { continue }
            if unit.orthogonalizes {
                updateMatrices(unit, context)
                continue
            }
            context.firstBlock = unit.firstBlock
            context.directions = unit.keepsDirections ? unitList.directions : nil
            let last = record(of: unit, context).last
            for stage in 0...last {
                context.stage = stage
                run(stageBlock, context, count: unit.endBlock - unit.firstBlock)
                if stage < last { endStage(stage, unit, context, context.scratch(0)) }
            }
        }
    }

    /// Every stage of all units at once, where tensors are spread over processes or a sum runs over all of them.
    ///
    /// Rules may have different numbers of stages: all change their weights in the last, so that none has changed where a sum
    /// over processes fails.
    private func updateTogether(
        _ context: StepContext, _ reduce: Reducer?, _ loss: Double
    ) throws(LayerwiseError) {
        var context = context
        context.items = UnsafePointer(work.items.elements)
        context.directions = nil
        for left in (0...rulesInForce.last).reversed() {
            context.stagesLeft = left
            run(stageItem, context, count: work.items.count)
            if left == 0 { return updateMatrices(context) }
            let ends = ends(ofStage: left, context)
            if ends.factors { try endFactors(context, reduce) }
            if !ends.sums { continue }
            try addUp(context, reduce)
            let total = sumsOverOptimizer ? totalAdded(context) : StageSums()
            if sumsOverOptimizer {
                let step = OptimizerStep(loss: loss, baseRate: baseRate(context))
                nextShared = ruleInForce(0).advance(nextShared, total, step)
                context.shared = nextShared
            }
            for index in 0..<unitList.units.count {
                let unit = unitList.units.elements[index]
                guard let stage = stageWithSums(unit, context) else { continue }
                let sums = record(of: unit, context).sumsOverOptimizer ? total : addedUp(index)
                finish(stage, unit, sums, context, rule(of: unit, context))
            }
        }
    }

    /// The rate that the schedule makes of the rule's own, in this step.
    private func baseRate(_ context: StepContext) -> Double {
        var largest = 0.0
        for layer in 0..<layers.count { largest = max(largest, context.layers[layer].baseRate) }
        return largest
    }

    /// How the rules in force end the stage after which so many are left.
    private func ends(ofStage left: Int, _ context: StepContext) -> (factors: Bool, sums: Bool) {
        var ends = (factors: false, sums: false)
        for index in 0..<ruleRecords.count {
            let rule = context.rules + index
            guard let stage = rule.pointee.stage(left: left).map({ rule.pointee.stage($0) }) else { continue }
            if stage.factors { ends.factors = true } else if !stage.orthogonalizes { ends.sums = true }
        }
        return ends
    }

    /// The stage of a unit's rule that is under way, if sums are taken at its end.
    func stageWithSums(_ unit: Unit, _ context: StepContext) -> Int? {
        let rule = record(of: unit, context)
        guard let stage = rule.stage(left: context.stagesLeft) else { return nil }
        return rule.stage(stage).factors || rule.stage(stage).orthogonalizes ? nil : stage
    }

    /// Whether a stage takes sums over the optimizer.
    var sumsOverOptimizer: Bool { ruleRecords.elements[0].sumsOverOptimizer }

    private func hasActiveTensor(_ unit: Unit) -> Bool {
        (unit.firstTensor..<unit.endTensor).contains { tensors.elements[$0].active }
    }

    /// The rule of a unit's tensors.
    func record(of unit: Unit, _ context: StepContext) -> RuleRecord {
        context.rules[context.layers[context.tensors[unit.firstTensor].layer].rule]
    }

    /// The sums of a stage of a unit all of whose blocks have done it.  Where squares of float64 numbers overflow or lose digits
    /// they are taken again, scaled.
    private func sums(
        _ stage: Int, _ unit: Unit, _ context: StepContext, _ scratch: Scratch, _ rule: any DeclaredRule
    ) -> StageSums {
        let countsAgreement = record(of: unit, context).stage(stage).countsAgreement
        let (sums, isDouble) = gather(stage, unit, context, rule)
        guard isDouble, !countsAgreement, let scales = rule.betterScales(sums) else { return sums }
        var context = context
        context.scales = scales
        for block in unit.firstBlock..<unit.endBlock {
            processBlock(.measureAgain(stage), block, nil, context, scratch)
        }
        return gather(stage, unit, context, rule).sums
    }

    /// The sums of a stage over the blocks of a unit, in their order, and whether there are float64 numbers among them.
    func gather(
        _ stage: Int, _ unit: Unit, _ context: StepContext, _ rule: any DeclaredRule
    ) -> (sums: StageSums, isDouble: Bool) {
        let countsAgreement = record(of: unit, context).stage(stage).countsAgreement
        var sums = StageSums()
        sums.scales = context.scales
        var isDouble = false
        for index in unit.firstTensor..<unit.endTensor {
            // Not a copy: the record is large.
            let tensor = context.tensors + index
            if !tensor.pointee.active { continue }
            isDouble = isDouble || tensor.pointee.laneType == .float64
            let moment = tensor.pointee.moment(
                context.layers[tensor.pointee.layer], context.shared, isSpread: context.isSpread)
            let first = tensor.pointee.firstBlock
            for block in first..<first + tensor.pointee.blockCount {
                let own = context.sums[block].measured
                if countsAgreement {
                    sums.values[0] += own.weights
                } else {
                    rule.gather(own.weights, own.updates, of: moment, into: &sums)
                }
            }
        }
        return (sums, isDouble)
    }

    /// Ends a stage of a unit all of whose blocks have done it.
    fileprivate func endStage(_ stage: Int, _ unit: Unit, _ context: StepContext, _ scratch: Scratch) {
        // The rule is asked for once: threads that count references to it at once wait for each other.
        let rule = rule(of: unit, context)
        let index = context.layers[context.tensors[unit.firstTensor].layer].rule
        if context.rules[index].factors && context.rules[index].stage(stage).factors {
            return endFactors(stage, unit, context, rule)
        }
        finish(stage, unit, sums(stage, unit, context, scratch, rule), context, rule)
    }

    /// The rule in force for a unit.
    func rule(of unit: Unit, _ context: StepContext) -> any DeclaredRule {
        ruleInForce(context.layers[context.tensors[unit.firstTensor].layer].rule)
    }

    /// Gives the tensors of a unit the numbers that follow from the sums of a stage.
    private func finish(
        _ stage: Int, _ unit: Unit, _ sums: StageSums, _ context: StepContext, _ rule: any DeclaredRule
    ) {
        let record = context.layers + context.tensors[unit.firstTensor].layer
        let last = context.rules[record.pointee.rule].last
        if stage >= last { return }
        if let own = record.pointee.ownShared,
            // Not the optimizer's property, whose access a thread of the pool would have to note.
            (unit.firstTensor..<unit.endTensor).contains(where: { context.tensors[$0].active })
                // Of a layer that is spread, this process may have nothing.
                || (context.isSpread && sums.values != .zero)
        {
            own[1] = rule.advance(own[1], sums, OptimizerStep(loss: .nan, baseRate: record.pointee.effectiveRate))
        }
        let layer = record.pointee
        let countsAgreement = context.rules[layer.rule].stage(stage).countsAgreement
        let isCautious = context.rules[layer.rule].cautious != .none
        let isTensor = unit.endTensor == unit.firstTensor + 1
        for index in unit.firstTensor..<unit.endTensor {
            let tensor = context.tensors + index
            var moment = tensor.pointee.moment(layer, context.shared, isSpread: context.isSpread)
            if !isTensor { (moment.learningRate, moment.decayRate) = (layer.effectiveRate, layer.decayRate) }
            moment.numbers = tensor.pointee.numbers
            if countsAgreement {
                tensor.pointee.changeScale = UpdateOptions.scale(kept: sums.values[0], of: moment.elements)
                continue
            }
            moment.scalars = tensor.pointee.nextScalars
            moment.scalars = rule.advance(moment, after: stage, sums)
            tensor.pointee.nextScalars = moment.scalars
            tensor.pointee.numbers = rule.finish(stage, sums, moment)
            if isCautious {
                moment.numbers = tensor.pointee.numbers
                tensor.pointee.separateDecay = rule.separateDecay(moment)
            }
        }
    }
}

/// Updates the blocks of one item.
private let updateItem: ThreadPool.Job = { memory, item, slot in
    let context = memory.load(as: StepContext.self)
    let item = context.items[item]
    let scratch = context.scratch(slot)
    for block in item.first..<item.end { processBlock(.stage(0), block, nil, context, scratch) }
}

/// Does the small units of one item, all stages.
private let smallUnitItem: ThreadPool.Job = { memory, item, slot in
    let context = memory.load(as: StepContext.self)
    let item = context.items[item]
    let scratch = context.scratch(slot)
    for index in item.first..<item.end {
        let unit = context.units[index]
        let rule = context.layers[context.tensors[unit.firstTensor].layer].rule
        let last = context.rules[rule].last
        for stage in 0...last {
            for block in unit.firstBlock..<unit.endBlock {
                processBlock(.stage(stage), block, scratch.directions, context, scratch)
            }
            if stage == last || context.rules[rule].stage(stage).orthogonalizes { continue }
            context.optimizer._withUnsafeGuaranteedRef { $0.endStage(stage, unit, context, scratch) }
        }
    }
}

/// One stage of the blocks of one item.
private let stageItem: ThreadPool.Job = { memory, item, slot in
    let context = memory.load(as: StepContext.self)
    let item = context.items[item]
    let scratch = context.scratch(slot)
    for block in item.first..<item.end {
        let tensor = context.tensors + context.blocks[block].tensor
        let layer = tensor.pointee.layer
        // Matrices go through all stages afterwards, one by one.
        if tensor.pointee.kind.isMatrix && context.rules[context.layers[layer].rule].orthogonalizes { continue }
        guard let stage = context.rules[context.layers[layer].rule].stage(left: context.stagesLeft) else { continue }
        processBlock(.stage(stage), block, nil, context, scratch)
    }
}

/// One stage of one block of a large unit.
let stageBlock: ThreadPool.Job = { memory, item, slot in
    let context = memory.load(as: StepContext.self)
    processBlock(.stage(context.stage), context.firstBlock + item, context.directions, context, context.scratch(slot))
}

/// What is done to a block.
private enum Pass {
    /// A stage of its rule; nothing where the rule has fewer.
    case stage(Int)
    /// The sums of that stage once more, scaled, behind it.
    case measureAgain(Int)
}

/// Takes one block through the stations: decode → condition → rule → encode.  A station that has nothing to do is passed
/// over; where parameters and gradients are of one type, the rule's kernel for it works on them in place.
///
/// `directions`: where the directions of the block's unit are kept between the stages, if they are.
private func processBlock(
    _ pass: Pass, _ index: Int, _ directions: UnsafeMutableRawPointer?, _ context: StepContext, _ scratch: Scratch
) {
    let block = context.blocks[index]
    let tensor = context.tensors + block.tensor
    guard tensor.pointee.active, let gradients = tensor.pointee.gradient, let parameters = tensor.pointee.parameters,
        let coefficients = tensor.pointee.coefficients
    else { return }
    // Not copies: the records are large.
    let layer = UnsafePointer(context.layers + tensor.pointee.layer)
    let rule = context.rules + layer.pointee.rule
    let isMatrix = tensor.pointee.kind.isMatrix
    var changes = false
    var measuresAgain = false
    var first = true
    var place = 0
    switch pass {
    case .stage(let index):
        if index > rule.pointee.last { return }
        place = index
        changes = index == rule.pointee.last
        first =
            index == (rule.pointee.orthogonalizes && !isMatrix ? rule.pointee.last : rule.pointee.firstOfWeights)
    case .measureAgain(let index):
        place = index
        measuresAgain = true
    }
    let stage = rule.pointee.stage(place)
    let conditioned = ConditionedGradients(tensor, gradients, layer, context, scratch)
    let isFactored = tensor.pointee.isFactored
    if stage.factors && !stage.factorsDirections {
        if isFactored { factor(block, tensor, conditioned, context, scratch) }
        return
    }
    if stage.factorsDirections && !isFactored || stage.orthogonalizes && !isMatrix { return }
    let kernels = rule.pointee.kernels(place, isMatrix: isMatrix)
    // The last stage of a matrix whose directions were made orthogonal reads these in place of the gradients.
    let orthogonal = changes && isMatrix && rule.pointee.orthogonalizes ? directions : nil
    let lane = tensor.pointee.laneType
    let size = lane.size
    let group = 64 / size
    let weightType = tensor.pointee.master == nil ? tensor.pointee.dtype : lane
    let weightMemory = tensor.pointee.master ?? parameters
    let gradientType = orthogonal == nil ? tensor.pointee.gradientDType : lane
    // The change is computed apart from the weights.
    let isCautious = (changes && rule.pointee.cautious != .none) || stage.countsAgreement
    let finishes = changes && stage.keepsDirections && !context.observes && directions != nil && !isCautious
    // A rule that factors reads gradients where a tensor has no rows and columns.
    let readsGradients =
        stage.readsGradients || context.observes || isCautious || (rule.pointee.factors && !isFactored)
    let keepsDirections = finishes || (!changes && !measuresAgain && stage.keepsDirections)
    let laneKernel = lane == .float64 ? kernels.float64 : kernels.float32
    let ownKernel = weightType.kernel(in: kernels)
    let watches = changes && !context.watching.isEmpty
    let hasStrides = tensor.pointee.stride != 1 && !changes
    let isInPlace =
        ownKernel != nil && !hasStrides && (!watches || weightType == lane) && !isCautious && !stage.factorsDirections
        && (!readsGradients
            || (gradientType == weightType && (orthogonal != nil || conditioned.isPlain)))
    let kernelPass =
        if measuresAgain {
            lwk_pass_remeasure
        } else if !changes {
            lwk_pass_advance
        } else {
            finishes ? lwk_pass_finish : context.observes ? lwk_pass_observe : lwk_pass_update
        }
    let ahead = Int64(lwk_prefetch_distance())
    // What is watched of changes is compared with the weights before, of which there is a copy.  All of it is looked at while it is in
    // the L1 cache.
    let comparesWeights = watches && context.watching.comparesWeights
    let tileBytes =
        !isInPlace || isFactored || (watches && orthogonal != nil)
        ? Scratch.tileBytes : watches ? Scratch.formerBytes : Block.elements * size
    let tileCount = tileBytes / size
    let products = isFactored ? Products(tensor, place > rule.pointee.secondFactors ? 1 : 0, context, scratch) : nil
    let sumsOfFactors = stage.factorsDirections ? FactorSums(block, tensor, context) : nil
    let maxima = changes && tensor.pointee.factors.0.kind == .least ? Maxima(block, tensor, context) : nil
    var sums = lwk_sums()
    var watched = WatchedSums()

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
        var factor = tensor.pointee.factor.value
        if let master = tensor.pointee.master, first && !measuresAgain {
            tensor.pointee.dtype.kernels(in: context.table).adopt?(
                parameters + offset * tensor.pointee.dtype.size, count, master + offset * size)
        }
        if copiesWeights {
            weightType.kernels(in: context.table).decode(stored, count, scratch.weights)
            weights = scratch.weights
        }
        if let orthogonal {
            gradientMemory = UnsafeRawPointer(orthogonal + block.directionOffset + (offset - block.start) * size)
            factor = 1
        } else if !readsGradients {
            gradientMemory = UnsafeRawPointer(weights)
        } else if goesByTile {
            conditioned.fill(offset, count)
            gradientMemory = UnsafeRawPointer(scratch.gradients)
            factor = 1
        }

        if comparesWeights { weightType.kernels(in: context.table).decode(stored, count, scratch.former) }

        // The rule.
        let shift = offset * size
        var states = (
            tensor.pointee.states.0.map { $0 + shift }, tensor.pointee.states.1.map { $0 + shift },
            tensor.pointee.states.2.map { $0 + shift }, tensor.pointee.states.3.map { $0 + shift }
        )
        if let products { products.fill(offset, count, &states) }
        let tileDirections =
            stage.factorsDirections
            ? scratch.change
            : keepsDirections ? directions.map { $0 + block.directionOffset + (offset - block.start) * size } : nil
        var tile = lwk_tile(
            weights: weights, gradients: gradientMemory, gradient_factor: factor,
            directions: tileDirections,
            states: states,
            coefficients: coefficients,
            numbers: (
                tensor.pointee.numbers[0], tensor.pointee.numbers[1], tensor.pointee.numbers[2],
                tensor.pointee.numbers[3]
            ),
            square_limit: lane == .float64 ? 0x1.fffffffffffffp+511 : 0x1.fffffep+63,
            weight_scale: context.scales.weights, direction_scale: context.scales.directions,
            ahead: isInPlace ? ahead : 0, states_ahead: ahead,
            groups: Int64((count + group - 1) / group),
            last_count: Int64(isPartial ? count : group),
            rounding: !goesByTile || tensor.pointee.master != nil
                ? lwk_rounding_none
                : weightType == .float16
                    ? lwk_rounding_float16 : weightType == .bfloat16 ? lwk_rounding_bfloat16 : lwk_rounding_none)
        if isCautious {
            let kept = separate(&tile, laneKernel, tensor, rule, context, scratch, count, isCopy: !changes)
            if changes {
                let taking = rule.pointee.cautiousKernels
                (lane == .float64 ? taking.float64 : taking.float32)(kernelPass, &tile, &sums)
            } else {
                sums.weights += kept
            }
        } else if hasStrides {
            takeStrides(tile, laneKernel, kernelPass, tensor, rule, offset, count, scratch, &sums)
        } else {
            (goesByTile ? laneKernel : ownKernel ?? laneKernel)(kernelPass, &tile, &sums)
        }
        sumsOfFactors?.add(scratch.change, offset, count)
        maxima?.add(scratch.product, offset, count)

        // Encode.
        if changes {
            if copiesWeights { weightType.kernels(in: context.table).encodeFinite(weights, count, stored) }
            if tensor.pointee.master != nil {
                tensor.pointee.dtype.kernels(in: context.table).encodeFinite(
                    weights, count, parameters + offset * tensor.pointee.dtype.size)
            }
        }
        if watches {
            if weightType != lane { weightType.kernels(in: context.table).decode(stored, count, scratch.weights) }
            if orthogonal != nil {
                conditioned.fill(offset, count)
                (gradientMemory, factor) = (UnsafeRawPointer(scratch.gradients), 1)
            }
            watch(tensor, offset, count, weights, gradientMemory, factor, context, scratch, &watched)
            if context.watching.countsMagnitudes {
                watchMagnitudes(tensor, count, weights, gradientMemory, factor, context, scratch, &watched)
            }
        }
        offset += count
    }
    if changes && tensor.pointee.following.isDue { follow(block, tensor, context, scratch) }
    if !changes {
        context.sums[index].measured = sums
    } else if context.observes {
        // What the last kernel took for gradients was something else.
        if orthogonal != nil || isCautious { sums.gradients = squares(of: conditioned, block, lane, context, scratch) }
        context.sums[index].observed = sums
        watched.gradientSquares = sums.gradients
        context.sums[index].watched = watched
    }
}

/// Adds up what the policy watches of `count` elements from `offset` on: `scratch` holds their weights before the step, `weights`
/// those after it, and `gradients` are to be multiplied by `factor`.
@inline(never)
private func watch(
    _ tensor: UnsafePointer<TensorStepData>, _ offset: Int, _ count: Int, _ weights: UnsafeRawPointer,
    _ gradients: UnsafeRawPointer, _ factor: Double, _ context: StepContext, _ scratch: Scratch,
    _ sums: inout WatchedSums
) {
    let lane = tensor.pointee.laneType
    let kernels = lane == .float64 ? context.table.watching64 : context.table.watching32
    let shift = offset * lane.size
    var own = (0.0, 0.0)
    withUnsafeMutableBytes(of: &own) { memory in
        guard let own = memory.baseAddress?.assumingMemoryBound(to: Double.self) else { return }
        if context.watching.contains(.gradientProducts), let last = tensor.pointee.lastChange {
            kernels.products(scratch.former, weights, gradients, last + shift, count, own)
            sums.product += factor * own[0]
            sums.lastSquares += own[1]
        }
        if context.watching.contains(.signs), let last = tensor.pointee.lastSigns {
            kernels.signs(scratch.former, weights, last + offset, count, own)
            sums.signs += own[0]
            sums.compared += own[1]
        }
        if context.watching.contains(.distance), let start = tensor.pointee.startWeights {
            (own[0], own[1]) = (0, 0)
            kernels.distance(weights, start + shift, count, own)
            sums.distanceSquares += own[0]
        }
    }
}

/// Adds up the magnitudes that the plan asks for, likewise.
@inline(never)
private func watchMagnitudes(
    _ tensor: UnsafePointer<TensorStepData>, _ count: Int, _ weights: UnsafeRawPointer, _ gradients: UnsafeRawPointer,
    _ factor: Double, _ context: StepContext, _ scratch: Scratch, _ sums: inout WatchedSums
) {
    let kernels = tensor.pointee.laneType == .float64 ? context.table.watching64 : context.table.watching32
    if context.watching.contains(.gradientMagnitudes) {
        var own = 0.0
        kernels.magnitudes(gradients, count, &own)
        sums.gradientMagnitudes += factor.magnitude * own
    }
    if context.watching.contains(.updateMagnitudes) {
        kernels.changes(scratch.former, weights, count, &sums.updateMagnitudes)
    }
}

/// Computes the change of one tile apart from its weights, for a rule with `UpdateOptions.cautious`.  Behind it the tile describes how
/// the weights take the change.  Returns how many elements keep theirs.
///
/// The rule's kernel works on weights of 0, which the change leaves negative.  `isCopy`: it works on copies of the states.
@inline(never)
private func separate(
    _ tile: inout lwk_tile, _ kernel: RuleKernel, _ tensor: UnsafePointer<TensorStepData>,
    _ rule: UnsafePointer<RuleRecord>, _ context: StepContext, _ scratch: Scratch, _ count: Int, isCopy: Bool
) -> Double {
    let bytes = Int(tile.groups) * 64
    let changes = scratch.change
    memset(changes, 0, bytes)
    var own = tile
    own.weights = changes
    own.rounding = lwk_rounding_none
    own.states_ahead = 0
    if isCopy {
        var copies = scratch.states
        func copy(_ state: inout UnsafeMutableRawPointer?) {
            guard let memory = state else { return }
            memcpy(copies, memory, bytes)
            state = copies
            copies += Scratch.tileBytes
        }
        copy(&own.states.0)
        copy(&own.states.1)
        copy(&own.states.2)
        copy(&own.states.3)
    }
    var unused = lwk_sums()
    kernel(lwk_pass_update, &own, &unused)
    var kept = 0.0
    if rule.pointee.cautious == .update {
        let kernels = tensor.pointee.laneType == .float64 ? context.table.slices64 : context.table.slices32
        kept = kernels.mask(changes, scratch.gradients, count)
    }
    tile.gradients = UnsafeRawPointer(changes)
    tile.gradient_factor = -1
    tile.numbers.0 = tensor.pointee.changeScale
    tile.numbers.1 = tensor.pointee.separateDecay
    return kept
}

/// Does a stage of `count` elements from `offset` on, of a rule that has states for every p-th element alone.
///
/// The kernel goes over all elements, with zeros in place of those states; then over the elements that have them, with zeros in place of
/// the other states.  The sums are those of the latter.
@inline(never)
private func takeStrides(
    _ tile: lwk_tile, _ kernel: RuleKernel, _ pass: Int32, _ tensor: UnsafePointer<TensorStepData>,
    _ rule: UnsafePointer<RuleRecord>, _ offset: Int, _ count: Int, _ scratch: Scratch, _ sums: inout lwk_sums
) {
    let slots = rule.pointee.stridedSlots
    func room(_ slot: Int) -> UnsafeMutableRawPointer { scratch.states + slot * Scratch.tileBytes }

    var whole = tile
    func wholeState(_ slot: Int, _ memory: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
        memory != nil && slots.contains(.state(slot)) ? zeroed(room(slot), tile.groups) : memory
    }
    whole.states = (
        wholeState(0, tile.states.0), wholeState(1, tile.states.1), wholeState(2, tile.states.2),
        wholeState(3, tile.states.3)
    )
    var unused = lwk_sums()
    kernel(pass, &whole, &unused)

    let (size, stride) = (tensor.pointee.laneType.size, Int(tensor.pointee.stride))
    let first = (stride - offset % stride) % stride
    if first >= count { return }
    let taken = (count - 1 - first) / stride + 1
    let bytes = taken * size
    let group = 64 / size
    let groups = Int64((taken + group - 1) / group)
    func gathered(_ lanes: UnsafeRawPointer, _ target: UnsafeMutableRawPointer) -> UnsafeRawPointer {
        let target = zeroed(target, groups)
        for index in 0..<taken {
            memcpy(target + index * size, lanes + (first + index * stride) * size, size)
        }
        return UnsafeRawPointer(target)
    }
    func own(_ slot: Int) -> UnsafeMutableRawPointer? {
        slots.contains(.state(slot))
            ? tensor.pointee.state(slot).map { $0 + (offset + first) / stride * size } : nil
    }
    func partState(_ slot: Int) -> UnsafeMutableRawPointer? {
        if tensor.pointee.state(slot) == nil { return nil }
        let target = zeroed(room(slot), groups)
        if let memory = own(slot) { memcpy(target, memory, bytes) }
        return target
    }
    var part = tile
    part.weights = UnsafeMutableRawPointer(mutating: gathered(tile.weights, scratch.change))
    part.gradients = gathered(tile.gradients, scratch.product)
    part.states = (partState(0), partState(1), partState(2), partState(3))
    (part.groups, part.ahead, part.states_ahead) = (groups, 0, 0)
    part.last_count = Int64(taken - (Int(groups) - 1) * group)
    kernel(pass, &part, &sums)
    for slot in 0..<TensorStepData.stateSlots {
        if let memory = own(slot) { memcpy(memory, room(slot), bytes) }
    }
}

/// Fills groups of lanes with zeros.
private func zeroed(_ memory: UnsafeMutableRawPointer, _ groups: Int64) -> UnsafeMutableRawPointer {
    memset(memory, 0, Int(groups) * 64)
    return memory
}

/// The squares of a block's conditioned gradients.
private func squares(
    of conditioned: ConditionedGradients, _ block: Block, _ lane: DType, _ context: StepContext, _ scratch: Scratch
) -> Double {
    let tileCount = Scratch.tileBytes / lane.size
    let squareSum = lane.kernels(in: context.table).squareSum
    var sum = 0.0
    var offset = block.start
    while offset < block.start + block.count {
        let count = min(tileCount, block.start + block.count - offset)
        conditioned.fill(offset, count)
        sum += squareSum(scratch.gradients, count, 1, .infinity)
        offset += count
    }
    return sum
}

// The structures below hold addresses alone: one that is absent must cost nothing in the step of a small tensor.

/// A state that is kept by rows and columns, by row or by axes, as the kernels read it: in a tile.
private struct Products {
    private let tensor: UnsafePointer<TensorStepData>
    private let kernels: UnsafePointer<KernelTable>
    private let rowFactors: UnsafePointer<Double>
    private let columns: UnsafeRawPointer
    private let tile: UnsafeMutableRawPointer
    private let isSecond: Bool

    /// Of the first or the second pair of rows and columns.
    @inline(__always)
    init?(_ tensor: UnsafePointer<TensorStepData>, _ pair: Int, _ context: StepContext, _ scratch: Scratch) {
        isSecond = pair != 0
        guard
            let columns = isSecond
                ? tensor.pointee.factors.1.columns ?? tensor.pointee.factors.1.rows
                : tensor.pointee.factors.0.columns ?? tensor.pointee.factors.0.rows
        else { return nil }
        self.tensor = tensor
        kernels = context.kernels
        rowFactors = UnsafePointer(context.factors + tensor.pointee.firstFactor(pair))
        self.columns = UnsafeRawPointer(columns)
        tile = scratch.product
    }

    /// Works out `count` elements from `offset` on, and puts the tile in the state's place.
    @inline(never)
    func fill(
        _ offset: Int, _ count: Int,
        _ states:
            inout (
                UnsafeMutableRawPointer?, UnsafeMutableRawPointer?, UnsafeMutableRawPointer?, UnsafeMutableRawPointer?
            )
    ) {
        let own = isSecond ? tensor.pointee.factors.1 : tensor.pointee.factors.0
        let isDouble = tensor.pointee.laneType == .float64
        let table = isDouble ? kernels.pointee.factors64 : kernels.pointee.factors32
        let (rows, columnCount) = (tensor.pointee.matrices.rows, tensor.pointee.matrices.columns)
        switch own.kind {
        case .product: table.multiply(rowFactors, columns, offset, count, rows, columnCount, tile)
        case .means: fillRows(offset, count, columnCount, isDouble)
        case .least: table.minimize(rowFactors, columns, offset, count, columnCount, tile)
        }
        switch own.slot {
        case 0: states.0 = tile
        case 1: states.1 = tile
        case 2: states.2 = tile
        default: states.3 = tile
        }
    }

    /// Each element has the number of its row.
    private func fillRows(_ offset: Int, _ count: Int, _ columns: Int, _ isDouble: Bool) {
        var row = offset / columns
        var column = offset % columns
        var index = 0
        while index < count {
            let run = min(columns - column, count - index)
            if isDouble {
                (tile + index * 8).assumingMemoryBound(to: Double.self).update(repeating: rowFactors[row], count: run)
            } else {
                (tile + index * 4).assumingMemoryBound(to: Float.self)
                    .update(repeating: Float(rowFactors[row]), count: run)
            }
            index += run
            column = 0
            row += 1
        }
    }
}

/// The largest numbers of a block, by row and by column.
private struct Maxima {
    private let tensor: UnsafePointer<TensorStepData>
    private let kernels: UnsafePointer<KernelTable>
    private let rowMaxima: UnsafeMutablePointer<Double>
    private let columnMaxima: UnsafeMutableRawPointer
    private let firstRow: Int

    init(_ block: Block, _ tensor: UnsafePointer<TensorStepData>, _ context: StepContext) {
        self.tensor = tensor
        kernels = context.kernels
        let rows = tensor.pointee.matrices.rows(in: block)
        firstRow = rows.lowerBound
        rowMaxima = context.factors + block.firstFactor
        columnMaxima = UnsafeMutableRawPointer(rowMaxima + rows.count)
    }

    /// Raises them to those of `count` lanes.  The first is element `offset` of the tensor.
    func add(_ lanes: UnsafeRawPointer, _ offset: Int, _ count: Int) {
        let columns = tensor.pointee.matrices.columns
        let table =
            tensor.pointee.laneType == .float64 ? kernels.pointee.factors64 : kernels.pointee.factors32
        table.addMaxima(lanes, count, offset, columns, rowMaxima + (offset / columns - firstRow), columnMaxima)
    }
}

/// The sums of a block's squares, by row and by column, or by row alone.
private struct FactorSums {
    private let tensor: UnsafePointer<TensorStepData>
    private let kernels: UnsafePointer<KernelTable>
    private let rowSums: UnsafeMutablePointer<Double>
    private let columnSums: UnsafeMutablePointer<Double>
    private let firstRow: Int

    init(_ block: Block, _ tensor: UnsafePointer<TensorStepData>, _ context: StepContext) {
        self.tensor = tensor
        kernels = context.kernels
        let rows = tensor.pointee.matrices.rows(in: block)
        firstRow = rows.lowerBound
        rowSums = context.factors + block.firstFactor
        columnSums = rowSums + rows.count
        rowSums.update(repeating: 0, count: tensor.pointee.factorRoom(of: block))
    }

    /// Adds the squares of `count` lanes.  The first is element `offset` of the tensor.
    func add(_ lanes: UnsafeRawPointer, _ offset: Int, _ count: Int) {
        let (rows, columns) = (tensor.pointee.matrices.rows, tensor.pointee.matrices.columns)
        let isDouble = tensor.pointee.laneType == .float64
        let row = offset / columns
        if tensor.pointee.factors.0.kind != .product {
            let slices = isDouble ? kernels.pointee.slices64 : kernels.pointee.slices32
            return slices.addSums(lanes, count, offset, columns, 1, nil, rowSums + (row - firstRow))
        }
        let table = isDouble ? kernels.pointee.factors64 : kernels.pointee.factors32
        table.addSquares(
            lanes, count, offset, rows, columns, rowSums + (row - firstRow),
            columnSums + (row / rows - firstRow / rows) * columns)
    }
}

/// Adds up the squares of a block's conditioned gradients, by row and by column.
private func factor(
    _ block: Block, _ tensor: UnsafePointer<TensorStepData>, _ conditioned: ConditionedGradients,
    _ context: StepContext, _ scratch: Scratch
) {
    let sums = FactorSums(block, tensor, context)
    let tileCount = Scratch.tileBytes / tensor.pointee.laneType.size
    let end = block.start + block.count
    var offset = block.start
    while offset < end {
        let count = min(tileCount, end - offset)
        conditioned.fill(offset, count)
        sums.add(scratch.gradients, offset, count)
        offset += count
    }
}
