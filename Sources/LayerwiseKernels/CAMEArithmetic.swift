// SPDX-License-Identifier: Apache-2.0
import CLayerwiseKernels
import LayerwiseRules

// `CAME` documents the terms.  Number n₀ = 1 / max(1, RMS(u)/d).

/// Measured: û = n₀·g/√v;  m ← m + (1 − β₁)·(û − m), and the direction û − m.  Change: δ = γ·m/√i + γλ·w.  v and i are products of
/// rows and columns.
struct CAMEArithmetic<Values: Lanes>: TrustRatioArithmetic {
    typealias MeasuredState = VarianceAndChange<Values>
    typealias State = AverageAndResidual<Values>

    let momentumShare: Values
    let rate: Values
    let decay: Values
    let clip: Values

    @inline(__always)
    init(_ tile: lwk_tile) {
        let c = tile.coefficients.load(as: CAME.Coefficients.self)
        momentumShare = Values(c.momentumShare)
        rate = Values(c.rate)
        decay = Values(c.decay)
        clip = Values(tile.numbers.0)
    }

    @inline(__always)
    func direction(weight: Values, gradient: Values, state: inout VarianceAndChange<Values>) -> Values {
        let change = clip * (gradient / state.variance.squareRoot())
        state.average = Values.fma(momentumShare, change - state.average, state.average)
        return change - state.average
    }

    /// The sums of this direction are by row and by column, and are never taken again.
    @inline(__always)
    func directionAgain(weight: Values, gradient: Values, state: State) -> Values { Values(0) }

    @inline(__always)
    func change(weight: Values, gradient: Values, state: inout State) -> Values {
        Values.fma(rate, state.average / state.residual.squareRoot(), decay * weight)
    }
}

/// For tensors of rank 0 and 1.  Measured: v ← v + (1 − β₂)·(g² + ε₁ − v);  u = g/√v.  Change: m ← m + (1 − β₁)·(n₀·u − m);
/// δ = γ·m + γλ·w.
struct CAMEVectorArithmetic<Values: Lanes>: TrustRatioArithmetic {
    typealias MeasuredState = Variance<Values>
    typealias State = VarianceAndChange<Values>

    let share: Values
    let offset: Values
    let momentumShare: Values
    let rate: Values
    let decay: Values
    let clip: Values
    let squareLimit: Values

    @inline(__always)
    init(_ tile: lwk_tile) {
        let c = tile.coefficients.load(as: CAME.Coefficients.self)
        share = Values(c.share)
        offset = Values(c.offset)
        momentumShare = Values(c.momentumShare)
        rate = Values(c.rate)
        decay = Values(c.decay)
        clip = Values(tile.numbers.0)
        squareLimit = Values(tile.square_limit)
    }

    @inline(__always)
    func direction(weight: Values, gradient: Values, state: inout Variance<Values>) -> Values {
        let g = gradient.bounded(by: squareLimit)
        state.variance = Values.fma(share, Values.fma(g, g, offset) - state.variance, state.variance)
        return gradient / state.variance.squareRoot()
    }

    @inline(__always)
    func directionAgain(weight: Values, gradient: Values, state: State) -> Values {
        gradient / state.variance.squareRoot()
    }

    @inline(__always)
    func change(weight: Values, gradient: Values, state: inout State) -> Values {
        let direction = clip * (gradient / state.variance.squareRoot())
        state.average = Values.fma(momentumShare, direction - state.average, state.average)
        return Values.fma(rate, state.average, decay * weight)
    }
}

/// The average of changes and the disagreement, which stay.  States are a prefix of the tile's, so the second moment has a place.
struct AverageAndResidual<Values: Lanes>: StateLanes {
    private let unread = Values(0)
    let average: Values
    let residual: Values

    @inline(__always) init(_ tile: lwk_tile, _ offset: Int) {
        average = .load(tile.states.1.unsafelyUnwrapped, offset)
        residual = .load(tile.states.2.unsafelyUnwrapped, offset)
    }
    @inline(__always) func store(_ tile: lwk_tile, _ offset: Int) {}
    @inline(__always) var unbounded: Values? { nil }
    @inline(__always) static func prefetch(_ tile: lwk_tile, _ offset: Int) {
        lwk_prefetch_read(tile.states.1.unsafelyUnwrapped + offset)
    }
}
