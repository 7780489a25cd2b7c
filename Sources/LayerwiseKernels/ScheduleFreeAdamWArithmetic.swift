// SPDX-License-Identifier: Apache-2.0
import CLayerwiseKernels
import LayerwiseRules

/// v as in Adam;  q = γ′·g / (b·√v + ε′) + γλ′·y;  δ = c·(y − z) + a·q;  z ← z − q.  b is 1, and 0 where v is not taken in.
/// `ScheduleFreeAdamW` and `ScheduleFreeRAdam` document the terms.
struct ScheduleFreeAdamWArithmetic<Values: Lanes>: Arithmetic {
    typealias State = ScheduleFreeState<Values>

    let decay: Values
    let secondShare: Values
    let rate: Values
    let rootShare: Values
    let epsilon: Values
    let average: Values
    let step: Values
    let squareLimit: Values

    @inline(__always)
    init(_ tile: lwk_tile) {
        let c = tile.coefficients.load(as: ScheduleFreeAdamW.Coefficients.self)
        decay = Values(c.decay)
        secondShare = Values(c.secondShare)
        rate = Values(c.rate)
        rootShare = Values(c.rootShare)
        epsilon = Values(c.epsilon)
        average = Values(c.average)
        step = Values(c.step)
        squareLimit = Values(tile.square_limit)
    }

    @inline(__always)
    func change(weight: Values, gradient: Values, state: inout State) -> Values {
        let g = gradient.bounded(by: squareLimit)
        state.second = state.second.blended(with: g * g, share: secondShare)
        let q = Values.fma(rate, g / Values.fma(rootShare, state.second.squareRoot(), epsilon), decay * weight)
        let change = Values.fma(step, q, average * (weight - state.stepped))
        state.stepped = state.stepped - q
        return change
    }
}

/// The stepped weights and the second moment: `z`, `exp_avg_sq`.
struct ScheduleFreeState<Values: Lanes>: StateLanes {
    var stepped: Values
    var second: Values

    @inline(__always) init(_ tile: lwk_tile, _ offset: Int) {
        stepped = .load(tile.states.0.unsafelyUnwrapped, offset)
        second = .load(tile.states.1.unsafelyUnwrapped, offset)
    }
    @inline(__always) func store(_ tile: lwk_tile, _ offset: Int) {
        stepped.store(tile.states.0.unsafelyUnwrapped, offset)
        second.store(tile.states.1.unsafelyUnwrapped, offset)
    }
    @inline(__always) var unbounded: Values? { second + stepped }
    @inline(__always) static func prefetch(_ tile: lwk_tile, _ offset: Int) {
        lwk_prefetch_write(tile.states.0.unsafelyUnwrapped + offset)
        lwk_prefetch_write(tile.states.1.unsafelyUnwrapped + offset)
    }
}
