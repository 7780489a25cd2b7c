// SPDX-License-Identifier: Apache-2.0
import CLayerwiseKernels
import LayerwiseRules

/// g′ = g + weight_decay·w;  δ = η·g′ + ηλ·w;  a ← a + μ·((w − δ) − a), or w − δ where μ = 1.  `ASGD` documents the terms.
struct ASGDArithmetic<Values: Lanes>: Arithmetic {
    /// a, the average.
    typealias State = FirstMoment<Values>

    let coupledDecay: Values
    let decay: Values
    let rate: Values
    let share: Values
    let isCopied: Bool

    @inline(__always)
    init(_ tile: lwk_tile) {
        let c = tile.coefficients.load(as: ASGD.Coefficients.self)
        coupledDecay = Values(c.coupledDecay)
        decay = Values(c.decay)
        rate = Values(c.rate)
        share = Values(c.share)
        isCopied = c.share == 1
    }

    @inline(__always)
    func change(weight: Values, gradient: Values, state: inout State) -> Values {
        let change = Values.fma(rate, Values.fma(coupledDecay, weight, gradient), decay * weight)
        let new = weight - change
        state.moment = isCopied ? new : Values.fma(share, new - state.moment, state.moment)
        return change
    }
}
