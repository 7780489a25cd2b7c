// SPDX-License-Identifier: Apache-2.0
import CLayerwiseKernels
import LayerwiseRules

/// First stage: g′ = g + λ·w;  m ← (m − f₁·m) + f₁·g′;  v ← (v − f₂·v) + f₂·g′²; g′ / max(√v, ε) is measured.
/// Second stage: δ = n₀·m / (√v + ε) + n₁·w, where n₀ is the clipped rate and n₁ the decay.  `StableAdamW` documents the terms.
struct StableAdamWArithmetic<Values: Lanes>: TrustRatioArithmetic {
    typealias State = KnownMoments<Values>
    typealias MeasuredState = MeasuredMoments<Values>

    let coupledDecay: Values
    let firstShare: Values
    let secondShare: Values
    let epsilon: Values
    let step: Values
    let decay: Values
    let squareLimit: Values

    @inline(__always)
    init(_ tile: lwk_tile) {
        let c = tile.coefficients.load(as: StableAdamW.Coefficients.self)
        coupledDecay = Values(c.coupledDecay)
        firstShare = Values(c.firstShare)
        secondShare = Values(c.secondShare)
        epsilon = Values(c.epsilon)
        step = Values(tile.numbers.0)
        decay = Values(tile.numbers.1)
        squareLimit = Values(tile.square_limit)
    }

    @inline(__always)
    func direction(weight: Values, gradient: Values, state: inout MeasuredState) -> Values {
        let g = Values.fma(coupledDecay, weight, gradient).bounded(by: squareLimit)
        _ = state.moments.advance(gradient: g, firstShare: firstShare, secondShare: secondShare)
        return g / state.moments.second.squareRoot().maximum(epsilon)
    }

    @inline(__always)
    func directionAgain(weight: Values, gradient: Values, state: State) -> Values {
        let g = Values.fma(coupledDecay, weight, gradient).bounded(by: squareLimit)
        return g / state.second.squareRoot().maximum(epsilon)
    }

    @inline(__always)
    func change(weight: Values, gradient: Values, state: inout State) -> Values {
        Values.fma(step, state.first / (state.second.squareRoot() + epsilon), decay * weight)
    }
}

/// The moments, where what is measured does not depend on the first, so that both are looked at: `exp_avg`, `exp_avg_sq`.
struct MeasuredMoments<Values: Lanes>: StateLanes {
    var moments: Moments<Values>

    @inline(__always) init(_ tile: lwk_tile, _ offset: Int) { moments = Moments(tile, offset) }
    @inline(__always) func store(_ tile: lwk_tile, _ offset: Int) { moments.store(tile, offset) }
    @inline(__always) var unbounded: Values? { moments.first + moments.second }
    @inline(__always) static func prefetch(_ tile: lwk_tile, _ offset: Int) {
        Moments<Values>.prefetch(tile, offset)
    }
}
