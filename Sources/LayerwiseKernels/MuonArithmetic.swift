// SPDX-License-Identifier: Apache-2.0
import CLayerwiseKernels
import LayerwiseRules

/// Direction: m ← m + (1 − μ)·(g − m);  u = m + (1 − μ)·(g − m), or m.  The lookahead is 0 without Nesterov momentum.
/// Change: δ = n₀·O + γλ·w, where the orthogonal direction O comes in the place of the gradient and n₀ is the adjusted rate.
/// `Muon` documents the terms.
struct MuonArithmetic<Values: Lanes>: TrustRatioArithmetic {
    typealias State = NoState<Values>
    typealias MeasuredState = Momentum<Values>

    let share: Values
    let lookahead: Values
    let decay: Values
    let step: Values

    @inline(__always)
    init(_ tile: lwk_tile) {
        let c = tile.coefficients.load(as: Muon.Coefficients.self)
        share = Values(c.share)
        lookahead = Values(c.lookahead)
        decay = Values(c.decay)
        step = Values(tile.numbers.0)
    }

    @inline(__always)
    func direction(weight: Values, gradient: Values, state: inout Momentum<Values>) -> Values {
        state.velocity = state.velocity.blended(with: gradient, share: share)
        return directed(gradient, state.velocity)
    }

    /// The gradient is that of the direction alone: the state is not at hand.
    @inline(__always)
    func directionAgain(weight: Values, gradient: Values, state: State) -> Values { gradient }

    @inline(__always)
    func change(weight: Values, gradient: Values, state: inout State) -> Values {
        Values.fma(step, gradient, decay * weight)
    }

    @inline(__always)
    private func directed(_ gradient: Values, _ velocity: Values) -> Values {
        velocity.blended(with: gradient, share: lookahead)
    }
}
