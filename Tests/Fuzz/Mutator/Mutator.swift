// SPDX-License-Identifier: Apache-2.0
import Driver

/// libFuzzer's question for another input, made of this one.
@_cdecl("LLVMFuzzerCustomMutator")
public func mutate(_ bytes: UnsafeMutablePointer<UInt8>?, _ size: Int, _ capacity: Int, _ seed: UInt32) -> Int {
    let target = UnsafeMutableBufferPointer(start: bytes, count: capacity)
    var dice = Dice(seed: seed)
    if let changed = changedText(target.prefix(size), &dice, capacity: capacity) {
        for (index, byte) in changed.enumerated() { target[index] = byte }
        return changed.count
    }
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

/// Another text of a run state, where the bytes are one, behind the byte that chooses.
private func changedText(
    _ bytes: some RandomAccessCollection<UInt8>, _ dice: inout Dice, capacity: Int
) -> [UInt8]? {
    guard let choice = bytes.first, bytes.dropFirst().first == UInt8(ascii: "{"), dice.roll(32) > 0,
        var node = Node(bytes.dropFirst())
    else { return nil }
    for _ in 0...dice.roll(3) { node.changeSomewhere(&dice) }
    let changed = [dice.roll(16) == 0 ? UInt8(dice.roll(256)) : choice] + node.bytes
    return changed.count <= capacity ? changed : nil
}
