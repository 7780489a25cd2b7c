// SPDX-License-Identifier: Apache-2.0
import CLayerwiseKernels
import LayerwiseRules

/// Measured: v ← v + s·(g² + ε₁ − v), which leaves a v of rows and columns as it is, since its s is 0;  u = g / √max(v, ε₁²).
/// Change: δ = n₀·u + n₁·w, where n₀ = α / max(1, RMS(u)/d) and n₁ the decay; with momentum m ← m + (1 − β₁)·(n₀·u − m) is in
/// place of n₀·u.  `Adafactor` documents the terms.
struct AdafactorArithmetic<State: StateLanes & FactoredState>: TrustRatioArithmetic {
    typealias Values = State.Values
    typealias MeasuredState = Variance<Values>

    let share: Values
    let offset: Values
    let floor: Values
    let momentumShare: Values
    let step: Values
    let decay: Values
    let squareLimit: Values

    @inline(__always)
    init(_ tile: lwk_tile) {
        let c = tile.coefficients.load(as: Adafactor.Coefficients.self)
        share = Values(c.share)
        offset = Values(c.offset)
        floor = Values(c.floor)
        momentumShare = Values(c.momentumShare)
        step = Values(tile.numbers.0)
        decay = Values(tile.numbers.1)
        squareLimit = Values(tile.square_limit)
    }

    @inline(__always)
    func direction(weight: Values, gradient: Values, state: inout Variance<Values>) -> Values {
        let g = gradient.bounded(by: squareLimit)
        state.variance = Values.fma(share, Values.fma(g, g, offset) - state.variance, state.variance)
        return direction(gradient, state.variance)
    }

    @inline(__always)
    func directionAgain(weight: Values, gradient: Values, state: State) -> Values {
        direction(gradient, state.variance)
    }

    @inline(__always)
    func change(weight: Values, gradient: Values, state: inout State) -> Values {
        let moved = state.advance(step * direction(gradient, state.variance), share: momentumShare)
        return Values.fma(decay, weight, moved)
    }

    @inline(__always)
    private func direction(_ gradient: Values, _ variance: Values) -> Values {
        gradient / variance.maximum(floor).squareRoot()
    }
}

/// A second moment, which may be the product of rows and columns, and in some kernels an average of changes.
protocol FactoredState<Values> {
    associatedtype Values: Lanes
    var variance: Values { get }
    /// The change in force, where the step's own is `change`.
    mutating func advance(_ change: Values, share: Values) -> Values
}

/// The second moment: `variance`.
struct Variance<Values: Lanes>: StateLanes, FactoredState {
    var variance: Values

    @inline(__always) init(_ tile: lwk_tile, _ offset: Int) {
        variance = .load(tile.states.0.unsafelyUnwrapped, offset)
    }
    @inline(__always) func store(_ tile: lwk_tile, _ offset: Int) {
        variance.store(tile.states.0.unsafelyUnwrapped, offset)
    }
    @inline(__always) var unbounded: Values? { variance }
    @inline(__always) static func prefetch(_ tile: lwk_tile, _ offset: Int) {
        lwk_prefetch_write(tile.states.0.unsafelyUnwrapped + offset)
    }
    @inline(__always) mutating func advance(_ change: Values, share: Values) -> Values { change }
}

/// The second moment and the average of changes: `variance`, `exp_avg`.
struct VarianceAndChange<Values: Lanes>: StateLanes, FactoredState {
    let variance: Values
    var average: Values

    @inline(__always) init(_ tile: lwk_tile, _ offset: Int) {
        variance = .load(tile.states.0.unsafelyUnwrapped, offset)
        average = .load(tile.states.1.unsafelyUnwrapped, offset)
    }
    @inline(__always) func store(_ tile: lwk_tile, _ offset: Int) {
        average.store(tile.states.1.unsafelyUnwrapped, offset)
    }
    @inline(__always) var unbounded: Values? { average }
    @inline(__always) static func prefetch(_ tile: lwk_tile, _ offset: Int) {
        lwk_prefetch_read(tile.states.0.unsafelyUnwrapped + offset)
        lwk_prefetch_write(tile.states.1.unsafelyUnwrapped + offset)
    }
    @inline(__always) mutating func advance(_ change: Values, share: Values) -> Values {
        average = Values.fma(share, change - average, average)
        return average
    }
}
