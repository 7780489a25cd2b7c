// SPDX-License-Identifier: Apache-2.0
import CLayerwiseKernels
import LayerwiseRules

/// ν = k·a + s·g², where a is the least of the element's accumulators;  u = g / √(ν + ε);  m ← m + f·(u − m), or u without momentum;
/// δ = γ·m + γλ·w.  ν stays in the place of a.  `SM3` documents the terms.
struct SM3Arithmetic<State: StateLanes & AccumulatedState>: Arithmetic {
    typealias Values = State.Values

    let kept: Values
    let share: Values
    let momentumShare: Values
    let rate: Values
    let decay: Values
    let epsilon: Values
    let squareLimit: Values

    @inline(__always)
    init(_ tile: lwk_tile) {
        let c = tile.coefficients.load(as: SM3.Coefficients.self)
        kept = Values(c.kept)
        share = Values(c.share)
        momentumShare = Values(c.momentumShare)
        rate = Values(c.rate)
        decay = Values(c.decay)
        epsilon = Values(c.epsilon)
        squareLimit = Values(tile.square_limit)
    }

    @inline(__always)
    func change(weight: Values, gradient: Values, state: inout State) -> Values {
        let g = gradient.bounded(by: squareLimit)
        state.accumulator = Values.fma(share, g * g, kept * state.accumulator)
        let moved = state.advance(g / (state.accumulator + epsilon).squareRoot(), share: momentumShare)
        return Values.fma(rate, moved, decay * weight)
    }
}

/// A state that holds what squares were accumulated to, and in some kernels an average of changes.
protocol AccumulatedState<Values> {
    associatedtype Values: Lanes
    var accumulator: Values { get set }
    /// The change in force, where the step's own is `change`.
    mutating func advance(_ change: Values, share: Values) -> Values
}

/// The accumulator, which lies in a tile.
struct Accumulator<Values: Lanes>: StateLanes, AccumulatedState {
    var accumulator: Values

    @inline(__always) init(_ tile: lwk_tile, _ offset: Int) {
        accumulator = .load(tile.states.0.unsafelyUnwrapped, offset)
    }
    @inline(__always) func store(_ tile: lwk_tile, _ offset: Int) {
        accumulator.store(tile.states.0.unsafelyUnwrapped, offset)
    }
    @inline(__always) var unbounded: Values? { accumulator }
    @inline(__always) static func prefetch(_ tile: lwk_tile, _ offset: Int) {}
    @inline(__always) mutating func advance(_ change: Values, share: Values) -> Values { change }
}

/// The accumulator and the average of changes: `momentum_buffer`.
struct AccumulatorAndMomentum<Values: Lanes>: StateLanes, AccumulatedState {
    var accumulator: Values
    var momentum: Values

    @inline(__always) init(_ tile: lwk_tile, _ offset: Int) {
        accumulator = .load(tile.states.0.unsafelyUnwrapped, offset)
        momentum = .load(tile.states.1.unsafelyUnwrapped, offset)
    }
    @inline(__always) func store(_ tile: lwk_tile, _ offset: Int) {
        accumulator.store(tile.states.0.unsafelyUnwrapped, offset)
        momentum.store(tile.states.1.unsafelyUnwrapped, offset)
    }
    @inline(__always) var unbounded: Values? { accumulator }
    @inline(__always) static func prefetch(_ tile: lwk_tile, _ offset: Int) {
        lwk_prefetch_write(tile.states.1.unsafelyUnwrapped + offset)
    }
    @inline(__always) mutating func advance(_ change: Values, share: Values) -> Values {
        momentum = momentum.blended(with: change, share: share)
        return momentum
    }
}
