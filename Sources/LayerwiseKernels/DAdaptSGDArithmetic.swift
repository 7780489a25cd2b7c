// SPDX-License-Identifier: Apache-2.0
import CLayerwiseKernels
import LayerwiseRules

/// First stage: s ← s + q·(g + λ·w); the sums are ⟨g + λ·w, s⟩ of the old s, or ⟨g, g⟩ at the first step, and ‖s‖².
/// Second stage: δ = (1−μ)·((w − w₀) + n₀·s), where n₀ = 1/G.  `DAdaptSGD` documents the terms.
struct DAdaptSGDArithmetic<Values: Lanes>: SummingArithmetic {
    typealias State = SumAndStart<Values>
    typealias SummedState = GradientSum<Values>

    let coupledDecay: Values
    let summedDecay: Values
    let gradientShare: Values
    let distanceScale: Values
    let share: Values
    let perNorm: Values

    @inline(__always)
    init(_ tile: lwk_tile) {
        let c = tile.coefficients.load(as: DAdaptSGD.Coefficients.self)
        coupledDecay = Values(c.coupledDecay)
        summedDecay = Values(c.summedDecay)
        gradientShare = Values(c.gradientShare)
        distanceScale = Values(c.distanceScale)
        share = Values(c.share)
        perNorm = Values(1, ratio: tile.numbers.0)
    }

    @inline(__always)
    func advance(weight: Values, gradient: Values, state: inout SummedState) -> Summands<Values> {
        let old = state.sum
        state.sum = Values.fma(distanceScale, Values.fma(coupledDecay, weight, gradient), old)
        return Summands(
            left: Values.fma(summedDecay, weight, gradient), right: Values.fma(gradientShare, gradient, old))
    }

    @inline(__always)
    func addSecond(_ state: SummedState, to sum: inout SquareSum) { state.sum.addSquares(to: &sum) }

    @inline(__always)
    func change(weight: Values, gradient: Values, state: inout State) -> Values {
        share * Values.fma(perNorm, state.sum, weight - state.start)
    }
}

/// The sum of gradients: `s`.
struct GradientSum<Values: Lanes>: StateLanes {
    var sum: Values

    @inline(__always) init(_ tile: lwk_tile, _ offset: Int) {
        sum = .load(tile.states.0.unsafelyUnwrapped, offset)
    }
    @inline(__always) func store(_ tile: lwk_tile, _ offset: Int) {
        sum.store(tile.states.0.unsafelyUnwrapped, offset)
    }
    @inline(__always) var unbounded: Values? { sum }
    @inline(__always) static func prefetch(_ tile: lwk_tile, _ offset: Int) {
        lwk_prefetch_write(tile.states.0.unsafelyUnwrapped + offset)
    }
}

/// The sum of gradients and the weights at the first step, which a pass only reads: `s`, `x0`.
struct SumAndStart<Values: Lanes>: StateLanes {
    let sum: Values
    let start: Values

    @inline(__always) init(_ tile: lwk_tile, _ offset: Int) {
        sum = .load(tile.states.0.unsafelyUnwrapped, offset)
        start = .load(tile.states.1.unsafelyUnwrapped, offset)
    }
    @inline(__always) func store(_ tile: lwk_tile, _ offset: Int) {}
    @inline(__always) var unbounded: Values? { nil }
    @inline(__always) static func prefetch(_ tile: lwk_tile, _ offset: Int) {
        lwk_prefetch_read(tile.states.0.unsafelyUnwrapped + offset)
        lwk_prefetch_read(tile.states.1.unsafelyUnwrapped + offset)
    }
}
