// SPDX-License-Identifier: Apache-2.0
import CLayerwiseKernels

/// Adds up what the policy watches of `count` elements from `offset` on: `scratch` holds their weights before the step, `weights`
/// those after it, and `gradients` are to be multiplied by `factor`.
@inline(never)
func watch(
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
func watchMagnitudes(
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

/// The squares of a block's conditioned gradients.
func squares(
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
