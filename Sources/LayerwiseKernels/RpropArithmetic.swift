// SPDX-License-Identifier: Apache-2.0
import CLayerwiseKernels
import LayerwiseRules

/// g′ = g + λ·w;  c = sign(g′)·sign(p);  η ← clamp(η·(η⁺ if c > 0, η⁻ if c < 0, else 1));  p ← g′, or 0 if c < 0;  δ = η·sign(p).
/// `Rprop` documents the terms.
struct RpropArithmetic<Values: Lanes>: Arithmetic {
    typealias State = RpropState<Values>

    let coupledDecay: Values
    let start: Values
    let shrink: Values
    let growth: Values
    let smallest: Values
    let largest: Values
    let isFirst: Bool

    @inline(__always)
    init(_ tile: lwk_tile) {
        let c = tile.coefficients.load(as: Rprop.Coefficients.self)
        coupledDecay = Values(c.coupledDecay)
        start = Values(c.start)
        shrink = Values(c.shrink)
        growth = Values(c.growth)
        smallest = Values(c.smallest)
        largest = Values(c.largest)
        isFirst = c.isFirst
    }

    @inline(__always)
    func change(weight: Values, gradient: Values, state: inout State) -> Values {
        let g = Values.fma(coupledDecay, weight, gradient)
        if isFirst { state.size = start }
        let agreement = g.sign() * state.previous.sign()
        let stays = agreement.maximum(Values(0))
        let changes = (-agreement).maximum(Values(0))
        // Of the three terms two are 0, so that none is rounded.
        let factor = Values.fma(stays, growth, Values.fma(changes, shrink, Values(1) - agreement.magnitude()))
        let size = (state.size * factor).maximum(smallest)
        state.size = -(-size).maximum(-largest)
        state.previous = g * (Values(1) - changes)
        return state.size * state.previous.sign()
    }
}

/// The gradient before, and the step sizes: `prev`, `step_size`.
struct RpropState<Values: Lanes>: StateLanes {
    var previous: Values
    var size: Values

    @inline(__always) init(_ tile: lwk_tile, _ offset: Int) {
        previous = .load(tile.states.0.unsafelyUnwrapped, offset)
        size = .load(tile.states.1.unsafelyUnwrapped, offset)
    }
    @inline(__always) func store(_ tile: lwk_tile, _ offset: Int) {
        previous.store(tile.states.0.unsafelyUnwrapped, offset)
        size.store(tile.states.1.unsafelyUnwrapped, offset)
    }
    /// The gradient with its decay may overflow, and its sign is finite.
    @inline(__always) var unbounded: Values? { previous + size }
    @inline(__always) static func prefetch(_ tile: lwk_tile, _ offset: Int) {
        lwk_prefetch_write(tile.states.0.unsafelyUnwrapped + offset)
        lwk_prefetch_write(tile.states.1.unsafelyUnwrapped + offset)
    }
}
