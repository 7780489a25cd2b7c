// SPDX-License-Identifier: Apache-2.0

/// Numbers that are the same in every run (Steele, Lea, Flood 2014: SplitMix64).
struct Random: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ z >> 30) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ z >> 27) &* 0x94d0_49bb_1331_11eb
        return z ^ z >> 31
    }

    /// In [-1, 1).
    mutating func uniform() -> Double { Double(Int64(bitPattern: next()) >> 11) * 0x1p-52 }

    /// Of either sign, with a magnitude in [2^exponents.lowerBound, 2^(exponents.upperBound + 1)), all exponents alike.
    mutating func wide(_ exponents: ClosedRange<Int>) -> Double {
        let exponent = Int.random(in: exponents, using: &self)
        let x = uniform()
        let significand = x < 0 ? x - 1 : x + 1
        // A power of two that is a normal number is made of its bits.
        return (-1022...1023).contains(exponent)
            ? significand * Double(bitPattern: UInt64(exponent + 1023) << 52)
            : Double(sign: .plus, exponent: exponent, significand: significand)
    }
}
