// SPDX-License-Identifier: Apache-2.0
import CLayerwiseKernels
import LayerwiseRules

/// g′ = g + λ·w;  s ← (s − f·s) + f·g′² with f = 1−α, from the start at the first step;  d = g′ / (√(s + ε₁) + ε₂), or with ḡ,
/// g′ / (√(s − ḡ² + ε₁) + ε₂);  δ = γ₂·(γ₁·d, or b ← μ·b + γ₁·d), where one ε is 0 and one γ is 1.  `RMSprop` documents the terms.
struct RMSpropArithmetic<Values: Lanes>: Arithmetic {
    typealias State = RMSpropState<Values>

    let coupledDecay: Values
    let share: Values
    let innerEpsilon: Values
    let epsilon: Values
    let momentum: Values
    let innerRate: Values
    let rate: Values
    let start: Values
    let squareLimit: Values
    let keepsVelocity: Bool
    let centered: Bool
    let isFirst: Bool

    @inline(__always)
    init(_ tile: lwk_tile) {
        let c = tile.coefficients.load(as: RMSprop.Coefficients.self)
        coupledDecay = Values(c.coupledDecay)
        share = Values(c.share)
        innerEpsilon = Values(c.innerEpsilon)
        epsilon = Values(c.epsilon)
        momentum = Values(c.momentum)
        innerRate = Values(c.innerRate)
        rate = Values(c.rate)
        start = Values(c.start)
        squareLimit = Values(tile.square_limit)
        keepsVelocity = c.keepsVelocity
        centered = c.centered
        isFirst = c.isFirst
    }

    @inline(__always)
    func change(weight: Values, gradient: Values, state: inout State) -> Values {
        let g = Values.fma(coupledDecay, weight, gradient).bounded(by: squareLimit)
        if isFirst { state.square = start }
        state.square = state.square.blended(with: g * g, share: share)
        var variance = state.square
        if centered {
            state.mean = state.mean.blended(with: g, share: share)
            // Rounding can make it negative.
            variance = Values.fma(-state.mean, state.mean, variance).maximum(Values(0))
        }
        let direction = innerRate * (g / ((variance + innerEpsilon).squareRoot() + epsilon))
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
