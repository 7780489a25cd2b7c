// SPDX-License-Identifier: Apache-2.0
import CLayerwiseKernels
import LayerwiseRules

/// δ = γ·sign(g) + γλ′·w: Lion without a momentum.  `SignSGD` documents the terms.
struct SignSGDArithmetic<Values: Lanes>: Arithmetic {
    typealias State = NoState<Values>

    let decay: Values
    let rate: Values

    @inline(__always)
    init(_ tile: lwk_tile) {
        let c = tile.coefficients.load(as: Lion.Coefficients.self)
        decay = Values(c.decay)
        rate = Values(c.rate)
    }

    @inline(__always)
    func change(weight: Values, gradient: Values, state: inout State) -> Values {
        Values.fma(rate, gradient.sign(), decay * weight)
    }
}
