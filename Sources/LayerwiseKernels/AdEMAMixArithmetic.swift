// SPDX-License-Identifier: Apache-2.0
import CLayerwiseKernels
import LayerwiseRules

/// m and v as in Adam;  m₂ ← (m₂ − f₃·m₂) + f₃·g with f₃ = 1−β₃;  δ = s·((α·m₂ + a·m) / (√v + ε′)) + γλ′·w.  `AdEMAMix` documents
/// the terms.
struct AdEMAMixArithmetic<Values: Lanes>: Arithmetic {
    typealias State = AdEMAMixState<Values>

    let decay: Values
    let firstShare: Values
    let secondShare: Values
    let slowShare: Values
    let firstScale: Values
    let slowScale: Values
    let stepSize: Values
    let epsilon: Values
    let squareLimit: Values

    @inline(__always)
    init(_ tile: lwk_tile) {
        let c = tile.coefficients.load(as: AdEMAMix.Coefficients.self)
        decay = Values(c.decay)
        firstShare = Values(c.firstShare)
        secondShare = Values(c.secondShare)
        slowShare = Values(c.slowShare)
        firstScale = Values(c.firstScale)
        slowScale = Values(c.slowScale)
        stepSize = Values(c.stepSize)
        epsilon = Values(c.epsilon)
        squareLimit = Values(tile.square_limit)
    }

    @inline(__always)
    func change(weight: Values, gradient: Values, state: inout State) -> Values {
        let g = gradient.bounded(by: squareLimit)
        let (m, v) = state.moments.advance(gradient: g, firstShare: firstShare, secondShare: secondShare)
        state.slow = state.slow.blended(with: g, share: slowShare)
        let direction = Values.fma(slowScale, state.slow, firstScale * m)
        return Values.fma(stepSize, direction / (v.squareRoot() + epsilon), decay * weight)
    }
}

/// The moments and the slow first moment: `exp_avg`, `exp_avg_sq`, `exp_avg_slow`.
struct AdEMAMixState<Values: Lanes>: StateLanes {
    var moments: Moments<Values>
    var slow: Values

    @inline(__always) init(_ tile: lwk_tile, _ offset: Int) {
        moments = Moments(tile, offset)
        slow = .load(tile.states.2.unsafelyUnwrapped, offset)
    }
    @inline(__always) func store(_ tile: lwk_tile, _ offset: Int) {
        moments.store(tile, offset)
        slow.store(tile.states.2.unsafelyUnwrapped, offset)
    }
    @inline(__always) var unbounded: Values? { moments.second }
    @inline(__always) static func prefetch(_ tile: lwk_tile, _ offset: Int) {
        Moments<Values>.prefetch(tile, offset)
        lwk_prefetch_write(tile.states.2.unsafelyUnwrapped + offset)
    }
}
