// SPDX-License-Identifier: Apache-2.0
import CLayerwiseKernels
import LayerwiseRules

/// g′ = g + λ·w;  m ← (m − f·m) + f·g′ with f = 1−β₁;  likewise v with g′²;  δ = s·m / (√v + ε′) + γλ′·w.
///
/// The moments lose and gain the same share: 1 − β is rounded once, where β and 1 − β rounded apart would leave a steady
/// bias of up to 3·10⁻⁵ in v.  A g′ whose square would overflow counts as the largest whose square does not, so that m and v
/// go together and a change is no larger than any other.  `Adam` documents the terms; Adam and AdamW share this arithmetic.
struct AdamArithmetic<State: StateLanes & AdaptiveMoments>: Arithmetic {
    typealias Values = State.Values

    let coupledDecay: Values
    let decay: Values
    let firstShare: Values
    let secondShare: Values
    let stepSize: Values
    let epsilon: Values
    let squareLimit: Values

    @inline(__always)
    init(_ tile: lwk_tile) {
        let c = tile.coefficients.load(as: Adam.Coefficients.self)
        coupledDecay = Values(c.coupledDecay)
        decay = Values(c.decay)
        firstShare = Values(c.firstShare)
        secondShare = Values(c.secondShare)
        stepSize = Values(c.stepSize)
        epsilon = Values(c.epsilon)
        squareLimit = Values(tile.square_limit)
    }

    @inline(__always)
    func change(weight: Values, gradient: Values, state: inout State) -> Values {
        let g = Values.fma(coupledDecay, weight, gradient).bounded(by: squareLimit)
        let (m, v) = state.advance(gradient: g, firstShare: firstShare, secondShare: secondShare)
        return Values.fma(stepSize, m / (v.squareRoot() + epsilon), decay * weight)
    }
}
