// SPDX-License-Identifier: Apache-2.0
import CLayerwiseKernels
import LayerwiseRules

/// First stage: g′ = g + λ·w;  m ← (m − f·m) + f·d·g′;  v ← (v − f₂·v) + f₂·(d·g′)²;  s ← β₃·s + q·g′; the sums are ⟨g′, w₀ − w⟩
/// and ‖s‖₁.  Second stage: δ = (s·m / (√v + n₀) + γλ′·w)·n₁, where n₀ = d·ε and n₁ = 1.  `Prodigy` documents the terms.
struct ProdigyArithmetic<Values: Lanes>: SummingArithmetic {
    typealias State = KnownMoments<Values>
    typealias SummedState = ProdigyState<Values>

    let coupledDecay: Values
    let decay: Values
    let firstShare: Values
    let secondShare: Values
    let firstScale: Values
    let secondScale: Values
    let distanceDecay: Values
    let distanceScale: Values
    let stepSize: Values
    let epsilon: Values
    let squareLimit: Values

    @inline(__always)
    init(_ tile: lwk_tile) {
        let c = tile.coefficients.load(as: Prodigy.Coefficients.self)
        coupledDecay = Values(c.coupledDecay)
        decay = Values(c.decay * tile.numbers.1)
        firstShare = Values(c.firstShare)
        secondShare = Values(c.secondShare)
        firstScale = Values(c.firstScale)
        secondScale = Values(c.secondScale)
        distanceDecay = Values(c.distanceDecay)
        distanceScale = Values(c.distanceScale)
        stepSize = Values(c.stepSize * tile.numbers.1)
        epsilon = Values(tile.numbers.0)
        squareLimit = Values(tile.square_limit)
    }

    @inline(__always)
    func advance(weight: Values, gradient: Values, state: inout SummedState) -> Summands<Values> {
        let g = Values.fma(coupledDecay, weight, gradient)
        let scaled = (secondScale * g).bounded(by: squareLimit)
        state.first = Values.fma(firstScale, g, Values.fma(firstShare, -state.first, state.first))
        state.second = state.second.blended(with: scaled * scaled, share: secondShare)
        state.distance = Values.fma(distanceScale, g, distanceDecay * state.distance)
        return Summands(left: g, right: state.start - weight)
    }

    @inline(__always)
    func addSecond(_ state: SummedState, to sum: inout SquareSum) { state.distance.magnitude().add(to: &sum) }

    @inline(__always)
    func change(weight: Values, gradient: Values, state: inout State) -> Values {
        Values.fma(stepSize, state.first / (state.second.squareRoot() + epsilon), decay * weight)
    }
}

/// The moments, the sum of gradients, and the weights at the first step: `exp_avg`, `exp_avg_sq`, `s`, `p0`.
struct ProdigyState<Values: Lanes>: StateLanes {
    var first: Values
    var second: Values
    var distance: Values
    let start: Values

    @inline(__always) init(_ tile: lwk_tile, _ offset: Int) {
        first = .load(tile.states.0.unsafelyUnwrapped, offset)
        second = .load(tile.states.1.unsafelyUnwrapped, offset)
        distance = .load(tile.states.2.unsafelyUnwrapped, offset)
        start = .load(tile.states.3.unsafelyUnwrapped, offset)
    }
    @inline(__always) func store(_ tile: lwk_tile, _ offset: Int) {
        first.store(tile.states.0.unsafelyUnwrapped, offset)
        second.store(tile.states.1.unsafelyUnwrapped, offset)
        distance.store(tile.states.2.unsafelyUnwrapped, offset)
    }
    @inline(__always) var unbounded: Values? { first + second + distance }
    @inline(__always) static func prefetch(_ tile: lwk_tile, _ offset: Int) {
        lwk_prefetch_write(tile.states.0.unsafelyUnwrapped + offset)
        lwk_prefetch_write(tile.states.1.unsafelyUnwrapped + offset)
        lwk_prefetch_write(tile.states.2.unsafelyUnwrapped + offset)
        lwk_prefetch_read(tile.states.3.unsafelyUnwrapped + offset)
    }
}
