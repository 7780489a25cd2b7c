// SPDX-License-Identifier: Apache-2.0
import CLayerwiseKernels
import LayerwiseRules

/// m ← (m − f·m) + g with f = 1−β₁;  v as in Adam;  δ = s·((m + α·g) / (√v + ε′)) + c·w.  `SimplifiedAdEMAMix` documents the terms.
struct SimplifiedAdEMAMixArithmetic<Values: Lanes>: Arithmetic {
    typealias State = Moments<Values>

    let decay: Values
    let forget: Values
    let secondShare: Values
    let mix: Values
    let stepSize: Values
    let epsilon: Values
    let squareLimit: Values

    @inline(__always)
    init(_ tile: lwk_tile) {
        let c = tile.coefficients.load(as: SimplifiedAdEMAMix.Coefficients.self)
        decay = Values(c.decay)
        forget = Values(c.forget)
        secondShare = Values(c.secondShare)
        mix = Values(c.mix)
        stepSize = Values(c.stepSize)
        epsilon = Values(c.epsilon)
        squareLimit = Values(tile.square_limit)
    }

    @inline(__always)
    func change(weight: Values, gradient: Values, state: inout State) -> Values {
        let g = gradient.bounded(by: squareLimit)
        state.first = Values.fma(forget, -state.first, state.first) + g
        state.second = state.second.blended(with: g * g, share: secondShare)
        let direction = Values.fma(mix, g, state.first) / (state.second.squareRoot() + epsilon)
        return Values.fma(stepSize, direction, decay * weight)
    }
}
