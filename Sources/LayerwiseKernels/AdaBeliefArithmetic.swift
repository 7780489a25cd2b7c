// SPDX-License-Identifier: Apache-2.0
import CLayerwiseKernels
import LayerwiseRules

/// g′ = g + λ·w;  m as in Adam;  s ← ((s − f·s) + f·(g′ − m)²) + ε with f = 1−β₂;  δ = a·(m / (√s + ε′)) + γλ′·w.  `AdaBelief`
/// documents the terms.
struct AdaBeliefArithmetic<Values: Lanes>: Arithmetic {
    typealias State = Moments<Values>

    let coupledDecay: Values
    let decay: Values
    let firstShare: Values
    let secondShare: Values
    let growth: Values
    let stepSize: Values
    let epsilon: Values
    let squareLimit: Values

    @inline(__always)
    init(_ tile: lwk_tile) {
        let c = tile.coefficients.load(as: AdaBelief.Coefficients.self)
        coupledDecay = Values(c.coupledDecay)
        decay = Values(c.decay)
        firstShare = Values(c.firstShare)
        secondShare = Values(c.secondShare)
        growth = Values(c.growth)
        stepSize = Values(c.stepSize)
        epsilon = Values(c.epsilon)
        squareLimit = Values(tile.square_limit)
    }

    @inline(__always)
    func change(weight: Values, gradient: Values, state: inout State) -> Values {
        let g = Values.fma(coupledDecay, weight, gradient).bounded(by: squareLimit)
        state.first = state.first.blended(with: g, share: firstShare)
        let surprise = (g - state.first).bounded(by: squareLimit)
        let kept = Values.fma(secondShare, -state.second, state.second)
        state.second = Values.fma(secondShare, surprise * surprise, kept) + growth
        return Values.fma(stepSize, state.first / (state.second.squareRoot() + epsilon), decay * weight)
    }
}
