// SPDX-License-Identifier: Apache-2.0
import CLayerwiseKernels
import LayerwiseRules

/// g′ = g + λ·w;  m as in Adam;  v ← v − f·sign(v − g′²)·g′² with f = 1−β₂;  δ = a·(m / (√v + ε′)) + γλ′·w; both moments start at a
/// number.  `Yogi` documents the terms.
struct YogiArithmetic<Values: Lanes>: Arithmetic {
    typealias State = Moments<Values>

    let coupledDecay: Values
    let decay: Values
    let firstShare: Values
    let secondShare: Values
    let stepSize: Values
    let epsilon: Values
    let start: Values
    let squareLimit: Values
    let isFirst: Bool

    @inline(__always)
    init(_ tile: lwk_tile) {
        let c = tile.coefficients.load(as: Yogi.Coefficients.self)
        coupledDecay = Values(c.coupledDecay)
        decay = Values(c.decay)
        firstShare = Values(c.firstShare)
        secondShare = Values(c.secondShare)
        stepSize = Values(c.stepSize)
        epsilon = Values(c.epsilon)
        start = Values(c.start)
        squareLimit = Values(tile.square_limit)
        isFirst = c.isFirst
    }

    @inline(__always)
    func change(weight: Values, gradient: Values, state: inout State) -> Values {
        let g = Values.fma(coupledDecay, weight, gradient).bounded(by: squareLimit)
        if isFirst {
            state.first = start
            state.second = start
        }
        state.first = state.first.blended(with: g, share: firstShare)
        // The same rounded square in both places: so nothing larger than v is taken from it.
        let square = g * g
        let share = secondShare * (state.second - square).sign()
        state.second = Values.fma(-share, square, state.second)
        return Values.fma(stepSize, state.first / (state.second.squareRoot() + epsilon), decay * weight)
    }
}
