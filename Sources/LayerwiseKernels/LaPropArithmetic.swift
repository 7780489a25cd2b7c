// SPDX-License-Identifier: Apache-2.0
import CLayerwiseKernels
import LayerwiseRules

/// v as in Adam;  m ← (m − f·m) + f·γ′·(g / (√v + ε′)) with f = 1−β₁;  δ = s·m + c·w.  `LaProp` documents the terms.
struct LaPropArithmetic<Values: Lanes>: Arithmetic {
    typealias State = Moments<Values>

    let decay: Values
    let forget: Values
    let firstShare: Values
    let secondShare: Values
    let stepSize: Values
    let epsilon: Values
    let squareLimit: Values

    @inline(__always)
    init(_ tile: lwk_tile) {
        let c = tile.coefficients.load(as: LaProp.Coefficients.self)
        decay = Values(c.decay)
        forget = Values(c.forget)
        firstShare = Values(c.firstShare)
        secondShare = Values(c.secondShare)
        stepSize = Values(c.stepSize)
        epsilon = Values(c.epsilon)
        squareLimit = Values(tile.square_limit)
    }

    @inline(__always)
    func change(weight: Values, gradient: Values, state: inout State) -> Values {
        let g = gradient.bounded(by: squareLimit)
        state.second = state.second.blended(with: g * g, share: secondShare)
        let adapted = g / (state.second.squareRoot() + epsilon)
        state.first = Values.fma(firstShare, adapted, Values.fma(forget, -state.first, state.first))
        return Values.fma(stepSize, state.first, decay * weight)
    }
}
