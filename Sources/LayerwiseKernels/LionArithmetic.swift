// SPDX-License-Identifier: Apache-2.0
import CLayerwiseKernels
import LayerwiseRules

/// c = (m − f·m) + f·g with f = 1−β₁;  m ← (m − s·m) + s·g with s = 1−β₂;  δ = γ·sign(c) + γλ′·w.  `Lion` documents the terms.
struct LionArithmetic<Values: Lanes>: Arithmetic {
    typealias State = FirstMoment<Values>

    let decay: Values
    let directionShare: Values
    let momentShare: Values
    let rate: Values

    @inline(__always)
    init(_ tile: lwk_tile) {
        let c = tile.coefficients.load(as: Lion.Coefficients.self)
        decay = Values(c.decay)
        directionShare = Values(c.directionShare)
        momentShare = Values(c.momentShare)
        rate = Values(c.rate)
    }

    @inline(__always)
    func change(weight: Values, gradient: Values, state: inout State) -> Values {
        let direction = state.moment.blended(with: gradient, share: directionShare)
        state.moment = state.moment.blended(with: gradient, share: momentShare)
        return Values.fma(rate, direction.sign(), decay * weight)
    }
}
