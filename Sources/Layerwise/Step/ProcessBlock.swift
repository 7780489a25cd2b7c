// SPDX-License-Identifier: Apache-2.0
import CLayerwiseKernels
import LayerwiseRules

/// What is done to a block.
enum Pass {
    /// A stage of its rule; nothing where the rule has fewer.
    case stage(Int)
    /// The sums of that stage once more, scaled, behind it.
    case measureAgain(Int)
}

/// A stage of a rule, as one block goes through it.
private struct BlockStage {
    let stage: Stage
    /// Its place among the rule's.
    let place: Int
    /// Whether it is the last, which changes the weights.
    let changes: Bool
    /// Whether its sums are taken once more.
    let measuresAgain: Bool
    /// Whether it is the first that reads the weights.
    let isFirst: Bool
    /// Whether it concerns the block's tensor.
    let isTaken: Bool
    /// Whether the change is computed apart from the weights.
    let isCautious: Bool

    @inline(__always)
    init(_ pass: Pass, _ rule: UnsafePointer<RuleRecord>, _ tensor: UnsafePointer<TensorStepData>) {
        let isMatrix = tensor.pointee.kind.isMatrix
        switch pass {
        case .stage(let index):
            place = index
            changes = index == rule.pointee.last
            measuresAgain = false
            isFirst =
                index
                == (rule.pointee.orthogonalizes && !isMatrix ? rule.pointee.last : rule.pointee.firstOfWeights)
        case .measureAgain(let index):
            place = index
            changes = false
            measuresAgain = true
            isFirst = false
        }
        stage = rule.pointee.stage(place)
        isTaken =
            place <= rule.pointee.last && (!stage.factors || tensor.pointee.isFactored)
            && (!stage.orthogonalizes || isMatrix)
        isCautious = (changes && rule.pointee.cautious != .none) || stage.countsAgreement
    }
}

/// Takes one block through a stage, a tile at a time: the operands are fetched, the kernel works on them, and what it has changed is
/// written back (Operands.swift).
///
/// Where weights and gradients are of one type and nothing but a factor comes between, the kernel for that storage works on both where
/// they lie, and a tile is as long as the block.
///
/// `directions`: where the directions of the block's unit are kept between the stages, if they are.
func processBlock(
    _ pass: Pass, _ index: Int, _ directions: UnsafeMutableRawPointer?, _ context: StepContext, _ scratch: Scratch
) {
    let block = context.blocks[index]
    let tensor = context.tensors + block.tensor
    guard tensor.pointee.active, let memory = tensor.pointee.gradient, let parameters = tensor.pointee.parameters,
        let coefficients = tensor.pointee.coefficients
    else { return }
    // Not copies: the records are large.
    let layer = UnsafePointer(context.layers + tensor.pointee.layer)
    let rule = context.rules + layer.pointee.rule
    let own = BlockStage(pass, rule, tensor)
    if !own.isTaken { return }
    let (stage, changes, isCautious) = (own.stage, own.changes, own.isCautious)
    let isMatrix = tensor.pointee.kind.isMatrix
    let isFactored = tensor.pointee.isFactored
    let conditioned = ConditionedGradients(tensor, memory, layer, context, scratch)
    if stage.factors && !stage.factorsDirections { return factor(block, tensor, conditioned, context, scratch) }

    // The operands.  The last stage of a matrix whose directions were made orthogonal reads these in place of the gradients.
    let lane = tensor.pointee.laneType
    let readsOrthogonal = changes && isMatrix && rule.pointee.orthogonalizes && directions != nil
    let weights = WeightOperand(tensor, parameters, context, scratch)
    let gradients = GradientOperand(
        conditioned, tensor, memory, block, directions: readsOrthogonal ? UnsafeRawPointer(directions) : nil)
    let states = StateOperands(tensor, pair: own.place > rule.pointee.secondFactors ? 1 : 0, context, scratch)
    let finishes = changes && stage.keepsDirections && !context.observes && directions != nil && !isCautious
    let keepsDirections = finishes || (!changes && !own.measuresAgain && stage.keepsDirections)
    // A rule that factors reads gradients where a tensor has no rows and columns.
    let readsGradients =
        stage.readsGradients || context.observes || isCautious || (rule.pointee.factors && !isFactored)

    // The kernel.
    let kernels = rule.pointee.kernels(own.place, isMatrix: isMatrix)
    let laneKernel = lane == .float64 ? kernels.float64 : kernels.float32
    let storageKernel = weights.type.kernel(in: kernels)
    let watches = changes && !context.watching.isEmpty
    let hasStrides = tensor.pointee.stride != 1 && !changes
    let isInPlace =
        storageKernel != nil && !hasStrides && (!watches || weights.type == lane) && !isCautious
        && !stage.factorsDirections && (!readsGradients || gradients.isPlain(for: weights.type))
    let kernelPass =
        if own.measuresAgain {
            lwk_pass_remeasure
        } else if !changes {
            lwk_pass_advance
        } else {
            finishes ? lwk_pass_finish : context.observes ? lwk_pass_observe : lwk_pass_update
        }

    // What the policy watches of changes is compared with the weights before, of which there is a copy.  All of it is looked at while it
    // is in the L1 cache.
    let comparesWeights = watches && context.watching.comparesWeights
    let size = lane.size
    let group = 64 / size
    let ahead = Int64(lwk_prefetch_distance())
    let tileBytes =
        !isInPlace || isFactored || (watches && readsOrthogonal)
        ? Scratch.tileBytes : watches ? Scratch.formerBytes : Block.elements * size
    let tileCount = tileBytes / size
    let sumsOfFactors = stage.factorsDirections ? FactorSums(block, tensor, context) : nil
    let maxima = changes && tensor.pointee.factors.0.kind == .least ? Maxima(block, tensor, context) : nil
    var sums = lwk_sums()
    var watched = WatchedSums()

    var offset = block.start
    let end = block.start + block.count
    while offset < end {
        var count = min(tileCount, end - offset)
        // A partial group of lanes goes through a tile, which is padded with zeros.
        let isPartial = count < group
        if !isPartial { count -= count % group }
        let goesByTile = !isInPlace || isPartial
        let decodesWeights = isPartial || (!isInPlace && weights.type != lane)

        // Fetch.
        if own.isFirst { weights.adopt(offset, count) }
        let weightLanes = weights.fetch(offset, count, decodes: decodesWeights)
        var gradientLanes: (memory: UnsafeRawPointer, factor: Double) =
            readsOrthogonal || readsGradients
            ? gradients.fetch(offset, count, decodes: goesByTile)
            : (UnsafeRawPointer(weightLanes), tensor.pointee.factor.value)
        if comparesWeights { weights.decode(offset, count, to: scratch.former) }
        let tileDirections =
            stage.factorsDirections
            ? scratch.change
            : keepsDirections ? directions.map { $0 + block.directionOffset + (offset - block.start) * size } : nil
        var tile = lwk_tile(
            weights: weightLanes, gradients: gradientLanes.memory, gradient_factor: gradientLanes.factor,
            directions: tileDirections,
            states: states.fetch(offset, count),
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
            rounding: goesByTile ? weights.rounding : lwk_rounding_none)

        // The kernel.
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
            (goesByTile ? laneKernel : storageKernel ?? laneKernel)(kernelPass, &tile, &sums)
        }
        sumsOfFactors?.add(scratch.change, offset, count)
        maxima?.add(scratch.product, offset, count)

        // Write back.
        if changes { weights.store(weightLanes, offset, count, encodes: decodesWeights) }
        if watches {
            if weights.type != lane { weights.decode(offset, count, to: scratch.weights) }
            if readsOrthogonal { gradientLanes = gradients.fetchConditioned(offset, count) }
            watch(
                tensor, offset, count, weightLanes, gradientLanes.memory, gradientLanes.factor, context, scratch,
                &watched)
            if context.watching.countsMagnitudes {
                watchMagnitudes(
                    tensor, count, weightLanes, gradientLanes.memory, gradientLanes.factor, context, scratch, &watched)
            }
        }
        offset += count
    }
    if changes && tensor.pointee.following.isDue { follow(block, tensor, context, scratch) }
    if !changes {
        context.sums[index].measured = sums
    } else if context.observes {
        // What the last kernel took for gradients was something else.
        if readsOrthogonal || isCautious {
            sums.gradients = squares(of: conditioned, block, lane, context, scratch)
        }
        context.sums[index].observed = sums
        watched.gradientSquares = sums.gradients
        context.sums[index].watched = watched
    }
}
