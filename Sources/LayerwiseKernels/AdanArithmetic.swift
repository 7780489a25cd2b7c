// SPDX-License-Identifier: Apache-2.0
import CLayerwiseKernels
import LayerwiseRules

/// d = g − p, and 0 at the first step;  m ← (m − f₁·m) + f₁·g;  e likewise with d;  n likewise with (g + β₂·d)²;
/// δ = s·((b·e + a·m) / (√(n + ε₁) + ε₂)) + c·w;  p ← g.  `Adan` documents the terms.
struct AdanArithmetic<Values: Lanes>: Arithmetic {
    typealias State = AdanState<Values>

    let decay: Values
    let firstShare: Values
    let differenceShare: Values
    let squareShare: Values
    let reach: Values
    let firstScale: Values
    let differenceScale: Values
    let stepSize: Values
    let epsilon: Values
    let epsilonInRoot: Values
    let squareLimit: Values
    let isFirst: Bool

    @inline(__always)
    init(_ tile: lwk_tile) {
        let c = tile.coefficients.load(as: Adan.Coefficients.self)
        decay = Values(c.decay)
        firstShare = Values(c.firstShare)
        differenceShare = Values(c.differenceShare)
        squareShare = Values(c.squareShare)
        reach = Values(c.reach)
        firstScale = Values(c.firstScale)
        differenceScale = Values(c.differenceScale)
        stepSize = Values(c.stepSize)
        epsilon = Values(c.epsilon)
        epsilonInRoot = Values(c.epsilonInRoot)
        squareLimit = Values(tile.square_limit)
        isFirst = c.isFirst
    }

    @inline(__always)
    func change(weight: Values, gradient: Values, state: inout State) -> Values {
        let g = gradient.bounded(by: squareLimit)
        let d = isFirst ? Values(0) : g - state.previous
        let ahead = Values.fma(reach, d, g).bounded(by: squareLimit)
        state.first = state.first.blended(with: g, share: firstShare)
        state.difference = Values.fma(
            differenceShare, d, Values.fma(differenceShare, -state.difference, state.difference))
        state.square = state.square.blended(with: ahead * ahead, share: squareShare)
        state.previous = g
        let direction = Values.fma(differenceScale, state.difference, firstScale * state.first)
        let denominator = (state.square + epsilonInRoot).squareRoot() + epsilon
        return Values.fma(stepSize, direction / denominator, decay * weight)
    }
}

/// The means of gradients and of their differences, the mean square, and the gradient before: `exp_avg`, `exp_avg_diff`,
/// `exp_avg_sq`, `previous_grad`.
struct AdanState<Values: Lanes>: StateLanes {
    var first: Values
    var difference: Values
    var square: Values
    var previous: Values

    @inline(__always) init(_ tile: lwk_tile, _ offset: Int) {
        first = .load(tile.states.0.unsafelyUnwrapped, offset)
        difference = .load(tile.states.1.unsafelyUnwrapped, offset)
        square = .load(tile.states.2.unsafelyUnwrapped, offset)
        previous = .load(tile.states.3.unsafelyUnwrapped, offset)
    }
    @inline(__always) func store(_ tile: lwk_tile, _ offset: Int) {
        first.store(tile.states.0.unsafelyUnwrapped, offset)
        difference.store(tile.states.1.unsafelyUnwrapped, offset)
        square.store(tile.states.2.unsafelyUnwrapped, offset)
        previous.store(tile.states.3.unsafelyUnwrapped, offset)
    }
    @inline(__always) var unbounded: Values? { square + difference }
    @inline(__always) static func prefetch(_ tile: lwk_tile, _ offset: Int) {
        lwk_prefetch_write(tile.states.0.unsafelyUnwrapped + offset)
        lwk_prefetch_write(tile.states.1.unsafelyUnwrapped + offset)
        lwk_prefetch_write(tile.states.2.unsafelyUnwrapped + offset)
        lwk_prefetch_write(tile.states.3.unsafelyUnwrapped + offset)
    }
}
