// SPDX-License-Identifier: Apache-2.0
import CLayerwiseKernels
import LayerwiseRules

/// First stage: the squares of g′ = g + λ·w and of w − a·w₀, where a is 0 at a tensor's first step and 1 after it.
/// Second: δ = n₀·g′.  `DoG`, `LDoG` and `DoWG` document the terms.
struct DistanceArithmetic<Values: Lanes>: SquaresArithmetic {
    typealias State = NoState<Values>
    typealias MeasuredState = StartingWeights<Values>

    let coupledDecay: Values
    let start: Values
    let step: Values

    @inline(__always) static var measuresNormsFirst: Bool { false }

    @inline(__always)
    init(_ tile: lwk_tile) {
        let c = tile.coefficients.load(as: DistanceCoefficients.self)
        coupledDecay = Values(c.coupledDecay)
        start = Values(c.start)
        step = Values(1, ratio: tile.numbers.0)
    }

    @inline(__always)
    func measure(weight: Values, gradient: Values, state: inout MeasuredState) -> Measured<Values> {
        // Infinite weights are no distance.
        let distance = Values.fma(start, -state.start.zeroIfInfinite, weight.zeroIfInfinite)
        return Measured(first: Values.fma(coupledDecay, weight, gradient), second: distance)
    }

    @inline(__always)
    func change(weight: Values, gradient: Values, state: inout State) -> Values {
        step * Values.fma(coupledDecay, weight, gradient)
    }
}

/// The weights at the first step, which a pass only reads.
struct StartingWeights<Values: Lanes>: StateLanes {
    let start: Values

    @inline(__always) init(_ tile: lwk_tile, _ offset: Int) {
        start = .load(tile.states.0.unsafelyUnwrapped, offset)
    }
    @inline(__always) func store(_ tile: lwk_tile, _ offset: Int) {}
    @inline(__always) var unbounded: Values? { nil }
    @inline(__always) static func prefetch(_ tile: lwk_tile, _ offset: Int) {
        lwk_prefetch_read(tile.states.0.unsafelyUnwrapped + offset)
    }
}
