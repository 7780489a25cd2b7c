// SPDX-License-Identifier: Apache-2.0
import CLayerwiseKernels
import LayerwiseRules

/// g′ = g + λ·w;  s ← (s − f·s) + f·g′² with f = 1−ρ;  d = √(a + ε)·(g′ / √(s + ε));  a ← (a − f·a) + f·d²;  δ = γ·d.
/// `Adadelta` documents the terms.
struct AdadeltaArithmetic<Values: Lanes>: Arithmetic {
    typealias State = AdadeltaState<Values>

    let coupledDecay: Values
    let share: Values
    let epsilon: Values
    let rate: Values
    let squareLimit: Values

    @inline(__always)
    init(_ tile: lwk_tile) {
        let c = tile.coefficients.load(as: Adadelta.Coefficients.self)
        coupledDecay = Values(c.coupledDecay)
        share = Values(c.share)
        epsilon = Values(c.epsilon)
        rate = Values(c.rate)
        squareLimit = Values(tile.square_limit)
    }

    @inline(__always)
    func change(weight: Values, gradient: Values, state: inout State) -> Values {
        let g = Values.fma(coupledDecay, weight, gradient).bounded(by: squareLimit)
        state.square = state.square.blended(with: g * g, share: share)
        let adapted = g / (state.square + epsilon).squareRoot()
        let d = ((state.change + epsilon).squareRoot() * adapted).bounded(by: squareLimit)
        state.change = state.change.blended(with: d * d, share: share)
        return rate * d
    }
}

/// The mean squares of gradients and changes: `square_avg`, `acc_delta`.
struct AdadeltaState<Values: Lanes>: StateLanes {
    var square: Values
    var change: Values

    @inline(__always) init(_ tile: lwk_tile, _ offset: Int) {
        square = .load(tile.states.0.unsafelyUnwrapped, offset)
        change = .load(tile.states.1.unsafelyUnwrapped, offset)
    }
    @inline(__always) func store(_ tile: lwk_tile, _ offset: Int) {
        square.store(tile.states.0.unsafelyUnwrapped, offset)
        change.store(tile.states.1.unsafelyUnwrapped, offset)
    }
    @inline(__always) var unbounded: Values? { square + change }
    @inline(__always) static func prefetch(_ tile: lwk_tile, _ offset: Int) {
        lwk_prefetch_write(tile.states.0.unsafelyUnwrapped + offset)
        lwk_prefetch_write(tile.states.1.unsafelyUnwrapped + offset)
    }
}
