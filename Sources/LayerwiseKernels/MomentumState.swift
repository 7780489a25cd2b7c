// SPDX-License-Identifier: Apache-2.0
import CLayerwiseKernels

// The states of the SGD family.  Each conforms where it is declared: a conformance in an extension makes the compiler emit
// generic metadata, and with it a function that the copies of this module would share.

/// A state that may hold a velocity.
protocol MomentumState<Values> {
    associatedtype Values: Lanes

    /// b ← momentum·b + share·input; returns b, or the input itself where there is no velocity.
    mutating func advance(momentum: Values, input: Values, share: Values) -> Values
}

/// No state.
struct NoState<Values: Lanes>: StateLanes, MomentumState {
    @inline(__always) init(_ tile: lwk_tile, _ offset: Int) {}
    @inline(__always) func store(_ tile: lwk_tile, _ offset: Int) {}
    @inline(__always) static func prefetch(_ tile: lwk_tile, _ offset: Int) {}
    @inline(__always) var unbounded: Values? { nil }

    @inline(__always)
    mutating func advance(momentum: Values, input: Values, share: Values) -> Values { input }
}

/// One velocity: `momentum_buffer`.
struct Momentum<Values: Lanes>: StateLanes, MomentumState {
    var velocity: Values

    @inline(__always) init(_ tile: lwk_tile, _ offset: Int) {
        velocity = .load(tile.states.0.unsafelyUnwrapped, offset)
    }
    @inline(__always) func store(_ tile: lwk_tile, _ offset: Int) {
        velocity.store(tile.states.0.unsafelyUnwrapped, offset)
    }
    @inline(__always) var unbounded: Values? { nil }
    @inline(__always) static func prefetch(_ tile: lwk_tile, _ offset: Int) {
        lwk_prefetch_write(tile.states.0.unsafelyUnwrapped + offset)
    }

    @inline(__always)
    mutating func advance(momentum: Values, input: Values, share: Values) -> Values {
        velocity = Values.fma(momentum, velocity, share * input)
        return velocity
    }
}
