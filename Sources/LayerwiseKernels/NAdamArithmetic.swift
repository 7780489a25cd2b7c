// SPDX-License-Identifier: Apache-2.0
import CLayerwiseKernels
import LayerwiseRules

/// g′ = g + λ·w;  m and v as in Adam;  δ = s·(a·g′ + b·m) / (√v + ε′) + γλ′·w, where the rate comes last, so that a product
/// with a small gradient does not lose digits.  `NAdam` documents the terms.
struct NAdamArithmetic<State: StateLanes & AdaptiveMoments>: Arithmetic {
    typealias Values = State.Values

    let coupledDecay: Values
    let decay: Values
    let firstShare: Values
    let secondShare: Values
    let gradientShare: Values
    let momentShare: Values
    let stepSize: Values
    let epsilon: Values
    let squareLimit: Values

    @inline(__always)
    init(_ tile: lwk_tile) {
        let c = tile.coefficients.load(as: NAdam.Coefficients.self)
        coupledDecay = Values(c.coupledDecay)
        decay = Values(c.decay)
        firstShare = Values(c.firstShare)
        secondShare = Values(c.secondShare)
        gradientShare = Values(c.gradientShare)
        momentShare = Values(c.momentShare)
        stepSize = Values(c.stepSize)
        epsilon = Values(c.epsilon)
        squareLimit = Values(tile.square_limit)
    }

    @inline(__always)
    func change(weight: Values, gradient: Values, state: inout State) -> Values {
        let g = Values.fma(coupledDecay, weight, gradient).bounded(by: squareLimit)
        let (m, v) = state.advance(gradient: g, firstShare: firstShare, secondShare: secondShare)
        let direction = Values.fma(momentShare, m, gradientShare * g)
        return Values.fma(stepSize, direction / (v.squareRoot() + epsilon), decay * weight)
    }
}
