// SPDX-License-Identifier: Apache-2.0
import CLayerwiseKernels

// The states of the Adam family; for the conformances see MomentumState.swift.

/// A state that holds the two moments, and may keep the largest second one.
protocol AdaptiveMoments<Values> {
    associatedtype Values: Lanes

    /// Advances the moments and returns those that the update uses.
    mutating func advance(gradient: Values, firstShare: Values, secondShare: Values) -> (Values, Values)
}

/// The first moment alone: `exp_avg`.
struct FirstMoment<Values: Lanes>: StateLanes {
    var moment: Values

    @inline(__always) init(_ tile: lwk_tile, _ offset: Int) {
        moment = .load(tile.states.0.unsafelyUnwrapped, offset)
    }
    @inline(__always) func store(_ tile: lwk_tile, _ offset: Int) {
        moment.store(tile.states.0.unsafelyUnwrapped, offset)
    }
    @inline(__always) var unbounded: Values? { moment }
    @inline(__always) static func prefetch(_ tile: lwk_tile, _ offset: Int) {
        lwk_prefetch_write(tile.states.0.unsafelyUnwrapped + offset)
    }
}

/// The first and second moment: `exp_avg`, `exp_avg_sq`.
struct Moments<Values: Lanes>: StateLanes, AdaptiveMoments {
    var first: Values
    var second: Values

    @inline(__always) init(_ tile: lwk_tile, _ offset: Int) {
        first = .load(tile.states.0.unsafelyUnwrapped, offset)
        second = .load(tile.states.1.unsafelyUnwrapped, offset)
    }
    @inline(__always) func store(_ tile: lwk_tile, _ offset: Int) {
        first.store(tile.states.0.unsafelyUnwrapped, offset)
        second.store(tile.states.1.unsafelyUnwrapped, offset)
    }
    @inline(__always) var unbounded: Values? { second }
    @inline(__always) static func prefetch(_ tile: lwk_tile, _ offset: Int) {
        lwk_prefetch_write(tile.states.0.unsafelyUnwrapped + offset)
        lwk_prefetch_write(tile.states.1.unsafelyUnwrapped + offset)
    }

    @inline(__always)
    mutating func advance(gradient: Values, firstShare: Values, secondShare: Values) -> (Values, Values) {
        first = first.blended(with: gradient, share: firstShare)
        second = second.blended(with: gradient * gradient, share: secondShare)
        return (first, second)
    }
}

/// The two moments, which a pass only reads.
struct KnownMoments<Values: Lanes>: StateLanes {
    let first: Values
    let second: Values

    @inline(__always) init(_ tile: lwk_tile, _ offset: Int) {
        first = .load(tile.states.0.unsafelyUnwrapped, offset)
        second = .load(tile.states.1.unsafelyUnwrapped, offset)
    }
    @inline(__always) func store(_ tile: lwk_tile, _ offset: Int) {}
    @inline(__always) var unbounded: Values? { nil }
    @inline(__always) static func prefetch(_ tile: lwk_tile, _ offset: Int) {
        lwk_prefetch_read(tile.states.0.unsafelyUnwrapped + offset)
        lwk_prefetch_read(tile.states.1.unsafelyUnwrapped + offset)
    }
}

/// The moments and the largest second moment so far: `exp_avg`, `exp_avg_sq`, `max_exp_avg_sq`.
struct MaximumMoments<Values: Lanes>: StateLanes, AdaptiveMoments {
    var moments: Moments<Values>
    var largest: Values

    @inline(__always) init(_ tile: lwk_tile, _ offset: Int) {
        moments = Moments(tile, offset)
        largest = .load(tile.states.2.unsafelyUnwrapped, offset)
    }
    @inline(__always) func store(_ tile: lwk_tile, _ offset: Int) {
        moments.store(tile, offset)
        largest.store(tile.states.2.unsafelyUnwrapped, offset)
    }
    @inline(__always) var unbounded: Values? { moments.second + largest }
    @inline(__always) static func prefetch(_ tile: lwk_tile, _ offset: Int) {
        Moments<Values>.prefetch(tile, offset)
        lwk_prefetch_write(tile.states.2.unsafelyUnwrapped + offset)
    }

    @inline(__always)
    mutating func advance(gradient: Values, firstShare: Values, secondShare: Values) -> (Values, Values) {
        let (m, v) = moments.advance(gradient: gradient, firstShare: firstShare, secondShare: secondShare)
        largest = largest.maximum(v)
        return (m, largest)
    }
}
