// SPDX-License-Identifier: Apache-2.0
import CLayerwiseKernels
import LayerwiseRules

/// First stage: the squares of w and g.  Second: g̃ = g/n₂ + λ·w; m and v advance as in LAMB; r = a·m / (√v + ε′) + λ·w and
/// c = b·g̃ / (√v + ε′) + λ·w are measured.  Third: δ = γβ₁·n₀·r + γ(1 − β₁)·n₁·c.  `LANS` documents the terms.
struct LANSArithmetic<Values: Lanes>: SquaresArithmetic {
    typealias State = KnownMoments<Values>
    typealias MeasuredState = Moments<Values>

    let coupledDecay: Values
    let directionDecay: Values
    let forget: Values
    let firstShare: Values
    let secondShare: Values
    let momentScale: Values
    let gradientScale: Values
    let epsilon: Values
    let momentStep: Values
    let gradientStep: Values
    let divisor: Values
    let squareLimit: Values

    @inline(__always) static var measuresNormsFirst: Bool { true }

    @inline(__always)
    init(_ tile: lwk_tile) {
        let c = tile.coefficients.load(as: LANS.Coefficients.self)
        coupledDecay = Values(c.coupledDecay)
        directionDecay = Values(c.directionDecay)
        forget = Values(c.forget)
        firstShare = Values(c.firstShare)
        secondShare = Values(c.secondShare)
        momentScale = Values(c.momentScale)
        gradientScale = Values(c.gradientScale)
        epsilon = Values(c.epsilon)
        momentStep = Values(c.momentStep, ratio: tile.numbers.0)
        gradientStep = Values(c.gradientStep, ratio: tile.numbers.1)
        divisor = Values(1, ratio: tile.numbers.2)
        squareLimit = Values(tile.square_limit)
    }

    @inline(__always)
    func measure(weight: Values, gradient: Values, state: inout MeasuredState) -> Measured<Values> {
        let g = normalized(weight, gradient)
        state.first = Values.fma(firstShare, g, Values.fma(forget, -state.first, state.first))
        state.second = state.second.blended(with: g * g, share: secondShare)
        return directions(weight, g, state.first, state.second)
    }

    @inline(__always)
    func change(weight: Values, gradient: Values, state: inout State) -> Values {
        let own = directions(weight, normalized(weight, gradient), state.first, state.second)
        return Values.fma(momentStep, own.first, gradientStep * own.second)
    }

    @inline(__always)
    private func normalized(_ weight: Values, _ gradient: Values) -> Values {
        Values.fma(coupledDecay, weight, gradient / divisor).bounded(by: squareLimit)
    }

    @inline(__always)
    private func directions(_ w: Values, _ g: Values, _ m: Values, _ v: Values) -> Measured<Values> {
        let denominator = v.squareRoot() + epsilon
        return Measured(
            first: Values.fma(directionDecay, w, momentScale * m / denominator),
            second: Values.fma(directionDecay, w, gradientScale * g / denominator))
    }
}
