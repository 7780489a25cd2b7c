// SPDX-License-Identifier: Apache-2.0
import CLayerwiseKernels
import LayerwiseRules

/// q = γ·(g + λ·y);  δ = c·(y − z) + a·q;  z ← z − q.  `ScheduleFreeSGD` documents the terms.
struct ScheduleFreeSGDArithmetic<Values: Lanes>: Arithmetic {
    typealias State = SteppedWeights<Values>

    let coupledDecay: Values
    let rate: Values
    let average: Values
    let step: Values

    @inline(__always)
    init(_ tile: lwk_tile) {
        let c = tile.coefficients.load(as: ScheduleFreeSGD.Coefficients.self)
        coupledDecay = Values(c.coupledDecay)
        rate = Values(c.rate)
        average = Values(c.average)
        step = Values(c.step)
    }

    @inline(__always)
    func change(weight: Values, gradient: Values, state: inout State) -> Values {
        let q = rate * Values.fma(coupledDecay, weight, gradient)
        let change = Values.fma(step, q, average * (weight - state.stepped))
        state.stepped = state.stepped - q
        return change
    }
}

/// The stepped weights: `z`.
struct SteppedWeights<Values: Lanes>: StateLanes {
    var stepped: Values

    @inline(__always) init(_ tile: lwk_tile, _ offset: Int) {
        stepped = .load(tile.states.0.unsafelyUnwrapped, offset)
    }
    @inline(__always) func store(_ tile: lwk_tile, _ offset: Int) {
        stepped.store(tile.states.0.unsafelyUnwrapped, offset)
    }
    @inline(__always) var unbounded: Values? { stepped }
    @inline(__always) static func prefetch(_ tile: lwk_tile, _ offset: Int) {
        lwk_prefetch_write(tile.states.0.unsafelyUnwrapped + offset)
    }
}
