// SPDX-License-Identifier: Apache-2.0
import CLayerwiseKernels
import LayerwiseRules

/// d = α·r·(g + λ·w);  b ← μ·b + f·d;  δ = β·(b, or d + μ·b with Nesterov), with (α, β) = (γ, 1) where the rate is inside
/// the velocity and (1, γ) where it is outside.  `LARS` documents the terms.
struct LARSArithmetic<State: StateLanes & MomentumState>: TrustRatioArithmetic {
    typealias Values = State.Values
    typealias MeasuredState = NoState<Values>

    let decay: Values
    let measuredDecay: Values
    let inner: Values
    let momentum: Values
    let fresh: Values
    let outer: Values
    let nesterov: Bool

    @inline(__always)
    init(_ tile: lwk_tile) {
        let c = tile.coefficients.load(as: LARS.Coefficients.self)
        decay = Values(c.decay)
        measuredDecay = Values(c.measuredDecay)
        inner = Values(c.inner, ratio: tile.numbers.0)
        momentum = Values(c.momentum)
        fresh = Values(c.fresh)
        outer = Values(c.outer)
        nesterov = c.nesterov
    }

    @inline(__always)
    func direction(weight: Values, gradient: Values, state: inout NoState<Values>) -> Values {
        Values.fma(measuredDecay, weight, gradient)
    }

    @inline(__always)
    func directionAgain(weight: Values, gradient: Values, state: State) -> Values {
        Values.fma(measuredDecay, weight, gradient)
    }

    @inline(__always)
    func change(weight: Values, gradient: Values, state: inout State) -> Values {
        let d = inner * Values.fma(decay, weight, gradient)
        let velocity = state.advance(momentum: momentum, input: d, share: fresh)
        return outer * (nesterov ? Values.fma(momentum, velocity, d) : velocity)
    }
}
