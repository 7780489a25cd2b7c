// SPDX-License-Identifier: Apache-2.0
import CLayerwiseKernels
import LayerwiseRules

/// g′ = g + λ·w;  m and v as in Adam;  δ = s·(m / (√v + ε), or m while v is not known well enough) + γλ′·w.  `RAdam` documents
/// the terms.
struct RAdamArithmetic<Values: Lanes>: Arithmetic {
    typealias State = Moments<Values>

    let coupledDecay: Values
    let decay: Values
    let firstShare: Values
    let secondShare: Values
    let stepSize: Values
    let epsilon: Values
    let squareLimit: Values
    let isRectified: Bool

    @inline(__always)
    init(_ tile: lwk_tile) {
        let c = tile.coefficients.load(as: RAdam.Coefficients.self)
        coupledDecay = Values(c.coupledDecay)
        decay = Values(c.decay)
        firstShare = Values(c.firstShare)
        secondShare = Values(c.secondShare)
        stepSize = Values(c.stepSize)
        epsilon = Values(c.epsilon)
        squareLimit = Values(tile.square_limit)
        isRectified = c.isRectified
    }

    @inline(__always)
    func change(weight: Values, gradient: Values, state: inout State) -> Values {
        let g = Values.fma(coupledDecay, weight, gradient).bounded(by: squareLimit)
        let (m, v) = state.advance(gradient: g, firstShare: firstShare, secondShare: secondShare)
        let direction = isRectified ? m / (v.squareRoot() + epsilon) : m
        return Values.fma(stepSize, direction, decay * weight)
    }
}
