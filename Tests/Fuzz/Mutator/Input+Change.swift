// SPDX-License-Identifier: Apache-2.0
import Driver

// Changes of a file, most of which are then made consistent, since nothing else gets past the checksums.

extension Input {
    /// A changed file of at most `capacity` bytes; empty if there is none.
    static func changed(_ input: Input, _ dice: inout Dice, capacity: Int) -> [UInt8] {
        var input = input
        for _ in 0...dice.roll(3) { input.change(&dice) }
        let repairs = dice.roll(16)
        if repairs > 1 && dice.roll(4) > 0 { input.layOut() }
        if repairs > 2 { input.sumTensors() }
        let bytes = input.bytes(checksum: repairs > 0)
        return bytes.count <= capacity ? bytes : []
    }

    private mutating func change(_ dice: inout Dice) {
        switch dice.roll(12) {
        case 0...4:
            header["__metadata__"]?[dice.pick(["identity", "progress", "progress", "crc32c"])]?.changeSomewhere(&dice)
        case 5: header["__metadata__"]?.changeSomewhere(&dice)
        case 6: header.changeSomewhere(&dice)
        case 7...9: changeTensor(&dice)
        case 10: changeSteps(&dice)
        default: scribble(&dice)
        }
    }

    /// Gives a tensor another type, shape, name or place, takes it away or doubles it.
    private mutating func changeTensor(_ dice: inout Dice) {
        let tensors = tensors
        guard case .record(var fields) = header, !tensors.isEmpty else { return }
        let (a, b) = (dice.pick(tensors), dice.pick(tensors))
        switch dice.roll(8) {
        case 0: fields[a].value["dtype"] = .text(dice.pick(["F64", "I64", "F32", "F16", "BF16", "U8"]))
        case 1:
            fields[a].value["shape"] = .numbers((0..<dice.roll(4)).map { _ in dice.pick([0, 1, 2, 3, 8, 1 << 40]) })
        case 2: fields[a].value["shape"]?.changeSomewhere(&dice)
        case 3: fields[a].value["data_offsets"] = .numbers([dice.roll(data.count + 2), dice.roll(data.count + 2)])
        case 4: fields.remove(at: a)
        case 5: fields.swapAt(a, b)
        case 6: (fields[a].key, fields[b].key) = (fields[b].key, fields[a].key)
        default:
            fields.append(
                Node.Field(key: fields[a].key + Array(dice.pick(["", "x", "/x", "%2F"]).utf8), value: fields[b].value))
        }
        header = .record(fields)
        if dice.roll(8) > 0 { layOut() }
    }

    /// Sets a step count, or what has the size of one.
    private mutating func changeSteps(_ dice: inout Dice) {
        if data.count < 8 { return }
        let at = dice.roll(data.count / 8) * 8
        let count = dice.pick([0, 1, -1, .max, .min, 1 << 31, 1 << 53, 1 << 62, dice.roll(1000)])
        for byte in 0..<8 { data[at + byte] = UInt8(truncatingIfNeeded: count >> (8 * byte)) }
    }

    /// Changes some of the tensors' bytes.
    private mutating func scribble(_ dice: inout Dice) {
        if data.isEmpty { return }
        let start = dice.roll(data.count)
        let count = min(1 + dice.roll(32), data.count - start)
        var bytes = Array(data[start..<start + count])
        let size = bytes.withUnsafeMutableBufferPointer { LLVMFuzzerMutate($0.baseAddress, count, count) }
        data.replaceSubrange(start..<start + size, with: bytes.prefix(size))
    }
}
