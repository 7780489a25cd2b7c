// SPDX-License-Identifier: Apache-2.0
import CLayerwiseKernels
import LayerwiseRules

/// g′ = g + λ·w;  q ← q + l·g′²;  s ← s + l·g′;  δ = (1−μ)·((w − x₀) + s / (∛q + ε)) + γλ′·w.  `MADGRAD` documents the terms.
struct MADGRADArithmetic<Values: Lanes>: Arithmetic {
    typealias State = MADGRADState<Values>

    let coupledDecay: Values
    let decay: Values
    let weight: Values
    let epsilon: Values
    let share: Values
    let squareLimit: Values

    @inline(__always)
    init(_ tile: lwk_tile) {
        let c = tile.coefficients.load(as: MADGRAD.Coefficients.self)
        coupledDecay = Values(c.coupledDecay)
        decay = Values(c.decay)
        weight = Values(c.weight)
        epsilon = Values(c.epsilon)
        share = Values(c.share)
        squareLimit = Values(tile.square_limit)
    }

    @inline(__always)
    func change(weight old: Values, gradient: Values, state: inout State) -> Values {
        let g = Values.fma(coupledDecay, old, gradient).bounded(by: squareLimit)
        state.square = Values.fma(weight, g * g, state.square)
        state.sum = Values.fma(weight, g, state.sum)
        let distance = (old - state.start) + state.sum / (state.square.cubeRoot() + epsilon)
        return Values.fma(share, distance, decay * old)
    }
}

/// The sums of squares and gradients, and the weights at the first step: `grad_sum_sq`, `s`, `x0`.
struct MADGRADState<Values: Lanes>: StateLanes {
    var square: Values
    var sum: Values
    let start: Values

    @inline(__always) init(_ tile: lwk_tile, _ offset: Int) {
        square = .load(tile.states.0.unsafelyUnwrapped, offset)
        sum = .load(tile.states.1.unsafelyUnwrapped, offset)
        start = .load(tile.states.2.unsafelyUnwrapped, offset)
    }
    @inline(__always) func store(_ tile: lwk_tile, _ offset: Int) {
        square.store(tile.states.0.unsafelyUnwrapped, offset)
        sum.store(tile.states.1.unsafelyUnwrapped, offset)
    }
    @inline(__always) var unbounded: Values? { square + sum }
    @inline(__always) static func prefetch(_ tile: lwk_tile, _ offset: Int) {
        lwk_prefetch_write(tile.states.0.unsafelyUnwrapped + offset)
        lwk_prefetch_write(tile.states.1.unsafelyUnwrapped + offset)
        lwk_prefetch_read(tile.states.2.unsafelyUnwrapped + offset)
    }
}
