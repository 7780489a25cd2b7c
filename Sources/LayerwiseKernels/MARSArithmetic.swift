// SPDX-License-Identifier: Apache-2.0
import CLayerwiseKernels
import LayerwiseRules

/// First stage: c = g + k·(g − p) is measured.  Second stage: c ← n₀·c;  m ← (m − f₁·m) + f₁·c;  v likewise with c²;
/// δ = s·m / (√v + ε′) + γλ′·w;  p ← g.  Without a correction k is 0 and n₀ is 1.  `MARS` documents the terms.
struct MARSArithmetic<State: StateLanes & CorrectedMoments>: TrustRatioArithmetic {
    typealias Values = State.Values
    typealias MeasuredState = LastGradient<Values>

    let correction: Correction<Values>
    let decay: Values
    let firstShare: Values
    let secondShare: Values
    let stepSize: Values
    let epsilon: Values
    let squareLimit: Values

    @inline(__always)
    init(_ tile: lwk_tile) {
        let c = tile.coefficients.load(as: MARS.Coefficients.self)
        correction = Correction(c, tile)
        decay = Values(c.decay)
        firstShare = Values(c.firstShare)
        secondShare = Values(c.secondShare)
        stepSize = Values(c.stepSize)
        epsilon = Values(c.epsilon)
        squareLimit = Values(tile.square_limit)
    }

    @inline(__always)
    func direction(weight: Values, gradient: Values, state: inout MeasuredState) -> Values {
        correction.corrected(gradient, before: state.gradient)
    }

    @inline(__always)
    func directionAgain(weight: Values, gradient: Values, state: State) -> Values {
        correction.corrected(gradient, before: state.last)
    }

    @inline(__always)
    func change(weight: Values, gradient: Values, state: inout State) -> Values {
        let c = correction.bounded(gradient, before: state.last).bounded(by: squareLimit)
        state.last = gradient
        let (m, v) = state.advance(gradient: c, firstShare: firstShare, secondShare: secondShare)
        return Values.fma(stepSize, m / (v.squareRoot() + epsilon), decay * weight)
    }
}

/// As `MARSArithmetic`, with δ = γ·sign(m) + γλ′·w.
struct MARSLionArithmetic<Values: Lanes>: TrustRatioArithmetic {
    typealias State = MARSLionState<Values>
    typealias MeasuredState = LastGradient<Values>

    let correction: Correction<Values>
    let decay: Values
    let firstShare: Values
    let rate: Values

    @inline(__always)
    init(_ tile: lwk_tile) {
        let c = tile.coefficients.load(as: MARS.Coefficients.self)
        correction = Correction(c, tile)
        decay = Values(c.decay)
        firstShare = Values(c.firstShare)
        rate = Values(c.stepSize)
    }

    @inline(__always)
    func direction(weight: Values, gradient: Values, state: inout MeasuredState) -> Values {
        correction.corrected(gradient, before: state.gradient)
    }

    @inline(__always)
    func directionAgain(weight: Values, gradient: Values, state: State) -> Values {
        correction.corrected(gradient, before: state.last)
    }

    @inline(__always)
    func change(weight: Values, gradient: Values, state: inout State) -> Values {
        let c = correction.bounded(gradient, before: state.last)
        state.last = gradient
        state.advance(gradient: c, share: firstShare)
        return Values.fma(rate, state.first.sign(), decay * weight)
    }
}

/// The gradient with a share of its change since the last step.
struct Correction<Values: Lanes> {
    private let factor: Values
    private let scale: Values

    @inline(__always)
    init(_ coefficients: MARS.Coefficients, _ tile: lwk_tile) {
        factor = Values(coefficients.correction)
        scale = Values(1, ratio: tile.numbers.0)
    }

    @inline(__always)
    func corrected(_ gradient: Values, before: Values) -> Values {
        Values.fma(factor, gradient - before, gradient)
    }

    /// The corrected gradient, divided by its norm where that is above 1.
    @inline(__always)
    func bounded(_ gradient: Values, before: Values) -> Values { scale * corrected(gradient, before: before) }
}

/// Moments of corrected gradients, and the gradient before.
protocol CorrectedMoments: AdaptiveMoments {
    var last: Values { get set }
}

/// The gradient before, which a pass only reads: `last_grad`.
struct LastGradient<Values: Lanes>: StateLanes {
    let gradient: Values

    @inline(__always) init(_ tile: lwk_tile, _ offset: Int) {
        gradient = .load(tile.states.0.unsafelyUnwrapped, offset)
    }
    @inline(__always) func store(_ tile: lwk_tile, _ offset: Int) {}
    @inline(__always) var unbounded: Values? { nil }
    @inline(__always) static func prefetch(_ tile: lwk_tile, _ offset: Int) {
        lwk_prefetch_read(tile.states.0.unsafelyUnwrapped + offset)
    }
}

/// The gradient before and the first moment: `last_grad`, `exp_avg`.
struct MARSLionState<Values: Lanes>: StateLanes {
    var last: Values
    var first: Values

    @inline(__always) init(_ tile: lwk_tile, _ offset: Int) {
        last = .load(tile.states.0.unsafelyUnwrapped, offset)
        first = .load(tile.states.1.unsafelyUnwrapped, offset)
    }
    @inline(__always) func store(_ tile: lwk_tile, _ offset: Int) {
        last.store(tile.states.0.unsafelyUnwrapped, offset)
        first.store(tile.states.1.unsafelyUnwrapped, offset)
    }
    @inline(__always) var unbounded: Values? { first }
    @inline(__always) static func prefetch(_ tile: lwk_tile, _ offset: Int) {
        lwk_prefetch_write(tile.states.0.unsafelyUnwrapped + offset)
        lwk_prefetch_write(tile.states.1.unsafelyUnwrapped + offset)
    }

    @inline(__always)
    mutating func advance(gradient: Values, share: Values) {
        first = first.blended(with: gradient, share: share)
    }
}

/// The gradient before and both moments: `last_grad`, `exp_avg`, `exp_avg_sq`.
struct MARSState<Values: Lanes>: StateLanes, CorrectedMoments {
    var own: MARSLionState<Values>
    var second: Values

    @inline(__always) var last: Values {
        get { own.last }
        set { own.last = newValue }
    }

    @inline(__always) init(_ tile: lwk_tile, _ offset: Int) {
        own = MARSLionState(tile, offset)
        second = .load(tile.states.2.unsafelyUnwrapped, offset)
    }
    @inline(__always) func store(_ tile: lwk_tile, _ offset: Int) {
        own.store(tile, offset)
        second.store(tile.states.2.unsafelyUnwrapped, offset)
    }
    @inline(__always) var unbounded: Values? { second }
    @inline(__always) static func prefetch(_ tile: lwk_tile, _ offset: Int) {
        MARSLionState<Values>.prefetch(tile, offset)
        lwk_prefetch_write(tile.states.2.unsafelyUnwrapped + offset)
    }

    @inline(__always)
    mutating func advance(gradient: Values, firstShare: Values, secondShare: Values) -> (Values, Values) {
        own.advance(gradient: gradient, share: firstShare)
        second = second.blended(with: gradient * gradient, share: secondShare)
        return (own.first, second)
    }
}

/// These and the largest second moment so far: `max_exp_avg_sq`.
struct MARSMaximumState<Values: Lanes>: StateLanes, CorrectedMoments {
    var own: MARSState<Values>
    var largest: Values

    @inline(__always) var last: Values {
        get { own.last }
        set { own.last = newValue }
    }

    @inline(__always) init(_ tile: lwk_tile, _ offset: Int) {
        own = MARSState(tile, offset)
        largest = .load(tile.states.3.unsafelyUnwrapped, offset)
    }
    @inline(__always) func store(_ tile: lwk_tile, _ offset: Int) {
        own.store(tile, offset)
        largest.store(tile.states.3.unsafelyUnwrapped, offset)
    }
    @inline(__always) var unbounded: Values? { own.second + largest }
    @inline(__always) static func prefetch(_ tile: lwk_tile, _ offset: Int) {
        MARSState<Values>.prefetch(tile, offset)
        lwk_prefetch_write(tile.states.3.unsafelyUnwrapped + offset)
    }

    @inline(__always)
    mutating func advance(gradient: Values, firstShare: Values, secondShare: Values) -> (Values, Values) {
        let (m, v) = own.advance(gradient: gradient, firstShare: firstShare, secondShare: secondShare)
        largest = largest.maximum(v)
        return (m, largest)
    }
}
