// SPDX-License-Identifier: Apache-2.0

/// Random numbers from a seed (SplitMix64), so that a run can be repeated.
struct Dice {
    private var state: UInt64

    init(seed: UInt32) { state = UInt64(seed) }

    /// From 0 to `sides` - 1.
    mutating func roll(_ sides: Int) -> Int {
        state &+= 0x9e37_79b9_7f4a_7c15
        var x = state
        x = (x ^ (x >> 30)) &* 0xbf58_476d_1ce4_e5b9
        x = (x ^ (x >> 27)) &* 0x94d0_49bb_1331_11eb
        return Int((x ^ (x >> 31)) % UInt64(max(sides, 1)))
    }

    mutating func pick<Item>(_ items: [Item]) -> Item { items[roll(items.count)] }
}
