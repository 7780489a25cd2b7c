// SPDX-License-Identifier: Apache-2.0
import CLayerwiseKernels
import LayerwiseRules

/// d = g + λ·w;  b ← μ·b + f·d;  δ = γ·(b, or d + μ·b with Nesterov) + γλ′·w.  `SGD` documents the terms.
struct SGDArithmetic<State: StateLanes & MomentumState>: Arithmetic {
    typealias Values = State.Values

    let coupledDecay: Values
    let decay: Values
    let momentum: Values
    let fresh: Values
    let rate: Values
    let nesterov: Bool

    @inline(__always)
    init(_ tile: lwk_tile) {
        let c = tile.coefficients.load(as: SGD.Coefficients.self)
        coupledDecay = Values(c.coupledDecay)
        decay = Values(c.decay)
        momentum = Values(c.momentum)
        fresh = Values(c.fresh)
        rate = Values(c.rate)
        nesterov = c.nesterov
    }

    @inline(__always)
    func change(weight: Values, gradient: Values, state: inout State) -> Values {
        let d = Values.fma(coupledDecay, weight, gradient)
        let velocity = state.advance(momentum: momentum, input: d, share: fresh)
        let direction = nesterov ? Values.fma(momentum, velocity, d) : velocity
        return Values.fma(rate, direction, decay * weight)
    }
}
