// SPDX-License-Identifier: Apache-2.0
import CLayerwiseKernels
import LayerwisePlatform
import LayerwiseRules

/// Does a stage of `count` elements from `offset` on, of a rule that has states for every p-th element alone.
///
/// The kernel goes over all elements, with zeros in place of those states; then over the elements that have them, with zeros in place of
/// the other states.  The sums are those of the latter.
@inline(never)
func takeStrides(
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
