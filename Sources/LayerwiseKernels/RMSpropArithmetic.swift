// SPDX-License-Identifier: Apache-2.0
import CLayerwiseKernels
import LayerwiseRules

/// g′ = g + λ·w;  s ← (s − f·s) + f·g′² with f = 1−α;  d = g′ / (√s + ε), or with ḡ, g′ / (√(s − ḡ²) + ε);
/// δ = γ·(d, or b ← μ·b + d).  `RMSprop` documents the terms.
struct RMSpropArithmetic<Values: Lanes>: Arithmetic {
    typealias State = RMSpropState<Values>

    let coupledDecay: Values
    let share: Values
    let epsilon: Values
    let momentum: Values
    let rate: Values
    let squareLimit: Values
    let keepsVelocity: Bool
    let centered: Bool

    @inline(__always)
    init(_ tile: lwk_tile) {
        let c = tile.coefficients.load(as: RMSprop.Coefficients.self)
        coupledDecay = Values(c.coupledDecay)
        share = Values(c.share)
        epsilon = Values(c.epsilon)
        momentum = Values(c.momentum)
        rate = Values(c.rate)
        squareLimit = Values(tile.square_limit)
        keepsVelocity = c.keepsVelocity
        centered = c.centered
    }

    @inline(__always)
    func change(weight: Values, gradient: Values, state: inout State) -> Values {
        let g = Values.fma(coupledDecay, weight, gradient).bounded(by: squareLimit)
        state.square = Values.fma(share, g * g, Values.fma(share, -state.square, state.square))
        var variance = state.square
        if centered {
            state.mean = Values.fma(share, g, Values.fma(share, -state.mean, state.mean))
            // Rounding can make it negative.
            variance = Values.fma(-state.mean, state.mean, variance).maximum(Values(0))
        }
        let direction = g / (variance.squareRoot() + epsilon)
        if !keepsVelocity { return rate * direction }
        state.velocity = Values.fma(momentum, state.velocity, direction)
        return rate * state.velocity
    }
}

/// The mean square, and the velocity and the mean where there are such: `square_avg`, `momentum_buffer`, `grad_avg`.
struct RMSpropState<Values: Lanes>: StateLanes {
    var square: Values
    var velocity: Values
    var mean: Values

    @inline(__always) init(_ tile: lwk_tile, _ offset: Int) {
        square = .load(tile.states.0.unsafelyUnwrapped, offset)
        velocity = tile.states.1.map { .load($0, offset) } ?? Values(0)
        mean = tile.states.2.map { .load($0, offset) } ?? Values(0)
    }
    @inline(__always) func store(_ tile: lwk_tile, _ offset: Int) {
        square.store(tile.states.0.unsafelyUnwrapped, offset)
        if let memory = tile.states.1 { velocity.store(memory, offset) }
        if let memory = tile.states.2 { mean.store(memory, offset) }
    }
    @inline(__always) var unbounded: Values? { square + mean }
    @inline(__always) static func prefetch(_ tile: lwk_tile, _ offset: Int) {
        lwk_prefetch_write(tile.states.0.unsafelyUnwrapped + offset)
        if let memory = tile.states.1 { lwk_prefetch_write(memory + offset) }
        if let memory = tile.states.2 { lwk_prefetch_write(memory + offset) }
    }
}
