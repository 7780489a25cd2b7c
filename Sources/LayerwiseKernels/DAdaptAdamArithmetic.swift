// SPDX-License-Identifier: Apache-2.0
import CLayerwiseKernels
import LayerwiseRules

/// First stage: g′ = g + λ·w;  m ← (m − f·m) + f₁·g′;  v ← (v − f₂·v) + f₂·g′²;  s ← β₃·s + q·g′; the sums are ⟨g′, s/(√v + ε)⟩ of the
/// old s and v, and ‖s‖₁.  Second stage: δ = n₀·(m / (√v + ε) + δλ·w), where n₀ is 1.  `DAdaptAdam` documents the terms.
struct DAdaptAdamArithmetic<Values: Lanes>: SummingArithmetic {
    typealias State = KnownMoments<Values>
    typealias SummedState = MomentsAndSum<Values>

    let coupledDecay: Values
    let decay: Values
    let firstShare: Values
    let firstScale: Values
    let secondShare: Values
    let epsilon: Values
    let distanceDecay: Values
    let distanceScale: Values
    let moves: Values
    let squareLimit: Values

    @inline(__always)
    init(_ tile: lwk_tile) {
        let c = tile.coefficients.load(as: DAdaptAdam.Coefficients.self)
        coupledDecay = Values(c.coupledDecay)
        decay = Values(c.decay * tile.numbers.0)
        firstShare = Values(c.firstShare)
        firstScale = Values(c.firstScale)
        secondShare = Values(c.secondShare)
        epsilon = Values(c.epsilon)
        distanceDecay = Values(c.distanceDecay)
        distanceScale = Values(c.distanceScale)
        moves = Values(tile.numbers.0)
        squareLimit = Values(tile.square_limit)
    }

    @inline(__always)
    func advance(weight: Values, gradient: Values, state: inout SummedState) -> Summands<Values> {
        let g = Values.fma(coupledDecay, weight, gradient).bounded(by: squareLimit)
        let direction = state.sum / (state.second.squareRoot() + epsilon)
        state.first = Values.fma(firstScale, g, Values.fma(firstShare, -state.first, state.first))
        state.second = state.second.blended(with: g * g, share: secondShare)
        state.sum = Values.fma(distanceScale, g, distanceDecay * state.sum)
        return Summands(left: g, right: direction)
    }

    @inline(__always)
    func addSecond(_ state: SummedState, to sum: inout SquareSum) { state.sum.magnitude().add(to: &sum) }

    @inline(__always)
    func change(weight: Values, gradient: Values, state: inout State) -> Values {
        Values.fma(moves, state.first / (state.second.squareRoot() + epsilon), decay * weight)
    }
}

/// The moments and the sum of gradients: `exp_avg`, `exp_avg_sq`, `s`.
struct MomentsAndSum<Values: Lanes>: StateLanes {
    var first: Values
    var second: Values
    var sum: Values

    @inline(__always) init(_ tile: lwk_tile, _ offset: Int) {
        first = .load(tile.states.0.unsafelyUnwrapped, offset)
        second = .load(tile.states.1.unsafelyUnwrapped, offset)
        sum = .load(tile.states.2.unsafelyUnwrapped, offset)
    }
    @inline(__always) func store(_ tile: lwk_tile, _ offset: Int) {
        first.store(tile.states.0.unsafelyUnwrapped, offset)
        second.store(tile.states.1.unsafelyUnwrapped, offset)
        sum.store(tile.states.2.unsafelyUnwrapped, offset)
    }
    @inline(__always) var unbounded: Values? { first + second + sum }
    @inline(__always) static func prefetch(_ tile: lwk_tile, _ offset: Int) {
        lwk_prefetch_write(tile.states.0.unsafelyUnwrapped + offset)
        lwk_prefetch_write(tile.states.1.unsafelyUnwrapped + offset)
        lwk_prefetch_write(tile.states.2.unsafelyUnwrapped + offset)
    }
}
