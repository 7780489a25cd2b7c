// SPDX-License-Identifier: Apache-2.0
import CLayerwiseKernels
import LayerwiseRules

/// g′ = g + λ·w;  s ← s + g′², from the start at the first step;  δ = γ′·(g′ / (√(s + ε₁) + ε₂)).  `Adagrad` documents the terms.
struct AdagradArithmetic<Values: Lanes>: Arithmetic {
    typealias State = FirstMoment<Values>

    let coupledDecay: Values
    let start: Values
    let rate: Values
    let innerEpsilon: Values
    let epsilon: Values
    let squareLimit: Values
    let isFirst: Bool

    @inline(__always)
    init(_ tile: lwk_tile) {
        let c = tile.coefficients.load(as: Adagrad.Coefficients.self)
        coupledDecay = Values(c.coupledDecay)
        start = Values(c.start)
        rate = Values(c.rate)
        innerEpsilon = Values(c.innerEpsilon)
        epsilon = Values(c.epsilon)
        squareLimit = Values(tile.square_limit)
        isFirst = c.isFirst
    }

    @inline(__always)
    func change(weight: Values, gradient: Values, state: inout State) -> Values {
        let g = Values.fma(coupledDecay, weight, gradient).bounded(by: squareLimit)
        if isFirst { state.moment = start }
        state.moment = Values.fma(g, g, state.moment)
        return rate * (g / ((state.moment + innerEpsilon).squareRoot() + epsilon))
    }
}
