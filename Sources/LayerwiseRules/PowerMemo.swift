// SPDX-License-Identifier: Apache-2.0

/// Integer powers of hyperparameters, remembered from one layer to the next.
///
/// βᵗ is made by repeated squaring in double-double arithmetic, so that 1 − βᵗ is right to the last bit or two and the
/// same on every processor, which a libm does not promise.
public struct PowerMemo: Sendable {
    private var first = Entry()
    private var second = Entry()

    private struct Entry {
        var base = 0.0
        var exponent: Int64 = -1
        var complement = 0.0
    }

    public init() {}

    /// 1 − base^exponent, for 0 ≤ base < 1 and exponent ≥ 0.
    public mutating func complement(_ base: Double, _ exponent: Int64) -> Double {
        if first.exponent == exponent, first.base == base { return first.complement }
        if second.exponent == exponent, second.base == base { return second.complement }
        let power = integerPower(base, exponent)
        first = second
        second = Entry(base: base, exponent: exponent, complement: (1 - power.high) - power.low)
        return second.complement
    }
}

/// base^exponent as an unevaluated sum, high + low; exponent ≥ 0.
public func integerPower(_ base: Double, _ exponent: Int64) -> (high: Double, low: Double) {
    var result = (high: 1.0, low: 0.0)
    var square = (high: base, low: 0.0)
    var rest = exponent
    while rest > 0 {
        if rest & 1 == 1 { result = product(result, square) }
        rest >>= 1
        if rest > 0 { square = product(square, square) }
    }
    return result
}

/// The product of two double-double numbers, to about 2⁻¹⁰⁴ (Dekker 1971, with a fused multiply-add).
private func product(_ a: (high: Double, low: Double), _ b: (high: Double, low: Double)) -> (high: Double, low: Double)
{
    let high = a.high * b.high
    guard high.isFinite else { return (high, 0) }
    let error = (-high).addingProduct(a.high, b.high)
    let low = error + (a.high * b.low + a.low * b.high)
    let sum = high + low
    return (sum, low - (sum - high))
}
