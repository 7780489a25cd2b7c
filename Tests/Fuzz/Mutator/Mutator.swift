// SPDX-License-Identifier: Apache-2.0
import Driver

/// libFuzzer's question for another input, made of this one.
@_cdecl("LLVMFuzzerCustomMutator")
public func mutate(_ bytes: UnsafeMutablePointer<UInt8>?, _ size: Int, _ capacity: Int, _ seed: UInt32) -> Int {
    let target = UnsafeMutableBufferPointer(start: bytes, count: capacity)
    var dice = Dice(seed: seed)
    // Some go without understanding, and no checksum is made right.
    guard dice.roll(32) > 0, let input = Input(target.prefix(size)) else {
        return LLVMFuzzerMutate(bytes, size, capacity)
    }
    if dice.roll(32) == 0 {
        target[0] = UInt8(dice.roll(256))
        return size
    }
    let changed = Input.changed(input, &dice, capacity: capacity)
    if changed.isEmpty { return LLVMFuzzerMutate(bytes, size, capacity) }
    for (index, byte) in changed.enumerated() { target[index] = byte }
    return changed.count
}
