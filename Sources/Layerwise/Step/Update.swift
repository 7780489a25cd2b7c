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
