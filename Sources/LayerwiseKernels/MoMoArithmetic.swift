// SPDX-License-Identifier: Apache-2.0
import CLayerwiseKernels
import LayerwiseRules

/// First stage: d ← (d − f·d) + f·g; the sums are ⟨d, w⟩ and ‖d‖².  Second stage: δ = n₀·d + n₁·w.  `MoMo` documents the terms.
struct MoMoArithmetic<Values: Lanes>: SummingArithmetic {
    typealias State = KnownFirstMoment<Values>
    typealias SummedState = FirstMoment<Values>

    let share: Values
    let step: Values
    let decay: Values

    @inline(__always)
    init(_ tile: lwk_tile) {
        let c = tile.coefficients.load(as: MoMo.Coefficients.self)
        share = Values(c.share)
        step = Values(1, ratio: tile.numbers.0)
        decay = Values(tile.numbers.1)
    }

    @inline(__always)
    func advance(weight: Values, gradient: Values, state: inout SummedState) -> Summands<Values> {
        state.moment = state.moment.blended(with: gradient, share: share)
        return Summands(left: state.moment, right: weight)
    }

    @inline(__always)
    func addSecond(_ state: SummedState, to sum: inout SquareSum) { state.moment.addSquares(to: &sum) }

    @inline(__always)
    func change(weight: Values, gradient: Values, state: inout State) -> Values {
        Values.fma(step, state.moment, decay * weight)
    }
}

/// First stage: d ← (d − f₁·d) + f₁·g;  v likewise with g²; the sums are ⟨d, w⟩ and ⟨d, d / (√v + ε′)⟩.  Second stage:
/// δ = n₀·d / (√v + ε′) + n₁·w.  `MoMoAdam` documents the terms.
struct MoMoAdamArithmetic<Values: Lanes>: SummingArithmetic {
    typealias State = KnownMoments<Values>
    typealias SummedState = Moments<Values>

    let firstShare: Values
    let secondShare: Values
    let epsilon: Values
    let step: Values
    let decay: Values
    let least: Values
    let squareLimit: Values

    @inline(__always)
    init(_ tile: lwk_tile) {
        let c = tile.coefficients.load(as: MoMoAdam.Coefficients.self)
        firstShare = Values(c.firstShare)
        secondShare = Values(c.secondShare)
        epsilon = Values(c.epsilon)
        step = Values(1, ratio: tile.numbers.0)
        decay = Values(tile.numbers.1)
        squareLimit = Values(tile.square_limit)
        // The least normal number.
        least = Values(4 / (tile.square_limit * tile.square_limit))
    }

    @inline(__always)
    func advance(weight: Values, gradient: Values, state: inout SummedState) -> Summands<Values> {
        let g = gradient.bounded(by: squareLimit)
        _ = state.advance(gradient: g, firstShare: firstShare, secondShare: secondShare)
        return Summands(left: state.first, right: weight)
    }

    /// Without ε, 0/0 counts as 0.
    @inline(__always)
    func addSecond(_ state: SummedState, to sum: inout SquareSum) {
        state.first.addProducts(state.first / (state.second.squareRoot().maximum(least) + epsilon), to: &sum)
    }

    @inline(__always)
    func change(weight: Values, gradient: Values, state: inout State) -> Values {
        Values.fma(step, state.first / (state.second.squareRoot() + epsilon), decay * weight)
    }
}

/// The first moment, which a pass only reads.
struct KnownFirstMoment<Values: Lanes>: StateLanes {
    let moment: Values

    @inline(__always) init(_ tile: lwk_tile, _ offset: Int) {
        moment = .load(tile.states.0.unsafelyUnwrapped, offset)
    }
    @inline(__always) func store(_ tile: lwk_tile, _ offset: Int) {}
    @inline(__always) var unbounded: Values? { nil }
    @inline(__always) static func prefetch(_ tile: lwk_tile, _ offset: Int) {
        lwk_prefetch_read(tile.states.0.unsafelyUnwrapped + offset)
    }
}
