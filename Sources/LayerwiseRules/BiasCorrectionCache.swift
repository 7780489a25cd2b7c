// SPDX-License-Identifier: Apache-2.0

/// Integer powers of hyperparameters, remembered from one layer to the next.
///
/// βᵗ is made by repeated squaring in double-double arithmetic, so that 1 − βᵗ is right to the last bit or two and the
/// same on every processor, which a libm does not promise.  The squares are kept from one step to the next: layers that
/// thawed at different times each have a t of their own.
package struct BiasCorrectionCache: Sendable {
    private var first = Entry()
    private var second = Entry()

    fileprivate struct Entry {
        var base = 0.0
        var exponent: Int64 = -1
        var complement = 0.0
        /// base, base², base⁴ …
        var squares: [DoubleDouble] = []
        /// From this exponent on the power is too small to be seen beside 1.
        var vanishing = Int64.max
    }

    /// Creates an empty cache.
    package init() {}

    /// Makes room, so that no power allocates.
    package mutating func reserve() {
        first.squares.reserveCapacity(64)
        second.squares.reserveCapacity(64)
    }

    /// 1 − base^exponent, for 0 ≤ base < 1 and exponent ≥ 0.
    @inline(__always)
    package mutating func complement(_ base: Double, _ exponent: Int64) -> Double {
        if first.base == base, first.exponent == exponent { return first.complement }
        if second.base == base, second.exponent == exponent { return second.complement }
        return makeComplement(base, exponent)
    }

    private mutating func makeComplement(_ base: Double, _ exponent: Int64) -> Double {
        if first.base != base && second.base != base {
            // A new base takes the place of the older one.
            swap(&first, &second)
            first.reset(base)
        }
        return first.base == base ? first.makeComplement(exponent) : second.makeComplement(exponent)
    }
}

extension BiasCorrectionCache.Entry {
    fileprivate mutating func reset(_ base: Double) {
        self.base = base
        exponent = -1
        vanishing = .max
        squares.removeAll(keepingCapacity: true)
        // As many as an exponent can need, so that no later step allocates.
        squares.reserveCapacity(64)
    }

    fileprivate mutating func makeComplement(_ exponent: Int64) -> Double {
        self.exponent = exponent
        complement = 1
        if exponent >= vanishing { return 1 }
        var result = DoubleDouble(1)
        var rest = exponent
        var place = 0
        while rest > 0 {
            if place == squares.count {
                squares.append(place == 0 ? DoubleDouble(base) : squares[place - 1] * squares[place - 1])
                if squares[place].high < 0x1p-60 { vanishing = min(vanishing, 1 << Int64(place)) }
            }
            if rest & 1 == 1 { result = result * squares[place] }
            rest >>= 1
            place += 1
        }
        complement = (1 - result.high) - result.low
        return complement
    }
}

/// base^exponent, rounded once; exponent ≥ 0.
package func integerPower(_ base: Double, _ exponent: Int64) -> Double { power(base, exponent).high }

/// 1 − base^exponent, rounded once; exponent ≥ 0.
func powerComplement(_ base: Double, _ exponent: Int64) -> Double {
    let power = power(base, exponent)
    return (1 - power.high) - power.low
}

private func power(_ base: Double, _ exponent: Int64) -> DoubleDouble {
    var result = DoubleDouble(1)
    var square = DoubleDouble(base)
    var rest = exponent
    while rest > 0 {
        if rest & 1 == 1 { result = result * square }
        rest >>= 1
        if rest > 0 { square = square * square }
    }
    return result
}

/// An unevaluated sum of two numbers, high + low.
struct DoubleDouble {
    let high: Double
    let low: Double

    init(_ high: Double, low: Double = 0) {
        self.high = high
        self.low = low
    }

    /// The product, to about 2⁻¹⁰⁴ (Dekker 1971, with a fused multiply-add).
    static func * (a: Self, b: Self) -> Self {
        let high = a.high * b.high
        guard high.isFinite else { return Self(high) }
        let error = (-high).addingProduct(a.high, b.high)
        let low = error + (a.high * b.low + a.low * b.high)
        let sum = high + low
        return Self(sum, low: low - (sum - high))
    }
}
