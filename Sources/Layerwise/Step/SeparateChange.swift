// SPDX-License-Identifier: Apache-2.0
import CLayerwiseKernels
import LayerwisePlatform
import LayerwiseRules

/// Computes the change of one tile apart from its weights, for a rule with `UpdateOptions.cautious`.  Behind it the tile describes how
/// the weights take the change.  Returns how many elements keep theirs.
///
/// The rule's kernel works on weights of 0, which the change leaves negative.  `isCopy`: it works on copies of the states.
@inline(never)
func separate(
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
