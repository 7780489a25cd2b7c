// SPDX-License-Identifier: Apache-2.0
import CLayerwiseKernels
import LayerwiseRules

/// g′ = g + λ·w;  m ← (m − f·m) + f·g′ with f = 1−β₁;  u ← max(|g′| + ε₁, β₂·u);  δ = s·(m / (u + ε₂)) + γλ′·w.
/// `Adamax` documents the terms.
struct AdamaxArithmetic<Values: Lanes>: Arithmetic {
    /// The second is u, the largest recent gradient.
    typealias State = Moments<Values>

    let coupledDecay: Values
    let decay: Values
    let firstShare: Values
    let keep: Values
    let epsilon: Values
    let outerEpsilon: Values
    let stepSize: Values

    @inline(__always)
    init(_ tile: lwk_tile) {
        let c = tile.coefficients.load(as: Adamax.Coefficients.self)
        coupledDecay = Values(c.coupledDecay)
        decay = Values(c.decay)
        firstShare = Values(c.firstShare)
        keep = Values(c.keep)
        epsilon = Values(c.epsilon)
        outerEpsilon = Values(c.outerEpsilon)
        stepSize = Values(c.stepSize)
    }

    @inline(__always)
    func change(weight: Values, gradient: Values, state: inout State) -> Values {
        let g = Values.fma(coupledDecay, weight, gradient)
        state.first = state.first.blended(with: g, share: firstShare)
        state.second = (g.magnitude() + epsilon).maximum(keep * state.second)
        return Values.fma(stepSize, state.first / (state.second + outerEpsilon), decay * weight)
    }
}
