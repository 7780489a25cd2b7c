// SPDX-License-Identifier: Apache-2.0
import CLayerwiseKernels
import LayerwiseRules

/// g′ = g + λ·w;  u = clamp(g′ / max(√v, ε), ±c), with v from the step before;  m ← (m − f·m) + f·u with f = 1−β₁;
/// v ← (v − f₂·v) + f₂·g′²;  δ = γ·m + γλ′·w.  The first step only makes v = g′².  `ADOPT` documents the terms.
struct ADOPTArithmetic<Values: Lanes>: Arithmetic {
    typealias State = Moments<Values>

    let coupledDecay: Values
    let decay: Values
    let firstShare: Values
    let secondShare: Values
    let rate: Values
    let epsilon: Values
    let limit: Values
    let squareLimit: Values
    let isFirst: Bool

    @inline(__always)
    init(_ tile: lwk_tile) {
        let c = tile.coefficients.load(as: ADOPT.Coefficients.self)
        coupledDecay = Values(c.coupledDecay)
        decay = Values(c.decay)
        firstShare = Values(c.firstShare)
        secondShare = Values(c.secondShare)
        rate = Values(c.rate)
        epsilon = Values(c.epsilon)
        limit = Values(c.limit)
        squareLimit = Values(tile.square_limit)
        isFirst = c.isFirst
    }

    @inline(__always)
    func change(weight: Values, gradient: Values, state: inout State) -> Values {
        let g = Values.fma(coupledDecay, weight, gradient).bounded(by: squareLimit)
        if isFirst {
            state.second = Values.fma(g, g, state.second)
            return Values(0)
        }
        let adapted = (g / state.second.squareRoot().maximum(epsilon)).clamped(to: limit)
        state.first = state.first.blended(with: adapted, share: firstShare)
        state.second = state.second.blended(with: g * g, share: secondShare)
        return Values.fma(rate, state.first, decay * weight)
    }
}
