// SPDX-License-Identifier: Apache-2.0
import CLayerwiseKernels
import LayerwiseRules

/// First pass: m and v advance as in Adam and u = a·m / (√v + ε′) + λ·w is measured.
/// Second pass: u as it was kept, or made again from m and v, and δ = s·r·u + γλ′·w.  `LAMB` documents the terms.
struct LAMBArithmetic<Values: Lanes>: DirectionArithmetic {
    typealias State = Moments<Values>
    typealias MeasuredState = Moments<Values>

    let coupledDecay: Values
    let directionDecay: Values
    let decay: Values
    let forget: Values
    let firstShare: Values
    let secondShare: Values
    let momentScale: Values
    let epsilon: Values
    let stepSize: Values
    let squareLimit: Values

    @inline(__always)
    init(_ tile: lwk_tile) {
        let c = tile.coefficients.load(as: LAMB.Coefficients.self)
        coupledDecay = Values(c.coupledDecay)
        directionDecay = Values(c.directionDecay)
        decay = Values(c.decay)
        forget = Values(c.forget)
        firstShare = Values(c.firstShare)
        secondShare = Values(c.secondShare)
        momentScale = Values(c.momentScale)
        epsilon = Values(c.epsilon)
        stepSize = Values(c.stepSize, ratio: tile.numbers.0)
        squareLimit = Values(tile.square_limit)
    }

    @inline(__always)
    func direction(weight: Values, gradient: Values, state: inout State) -> Values {
        let g = Values.fma(coupledDecay, weight, gradient).bounded(by: squareLimit)
        state.first = Values.fma(firstShare, g, Values.fma(forget, -state.first, state.first))
        state.second = state.second.blended(with: g * g, share: secondShare)
        return direction(weight: weight, state: state)
    }

    @inline(__always)
    func directionAgain(weight: Values, gradient: Values, state: State) -> Values {
        direction(weight: weight, state: state)
    }

    @inline(__always)
    func change(weight: Values, gradient: Values, state: inout State) -> Values {
        change(weight: weight, direction: direction(weight: weight, state: state))
    }

    @inline(__always)
    func change(weight: Values, direction: Values) -> Values { Values.fma(stepSize, direction, decay * weight) }

    @inline(__always)
    private func direction(weight: Values, state: State) -> Values {
        let adapted = momentScale * state.first / (state.second.squareRoot() + epsilon)
        return Values.fma(directionDecay, weight, adapted)
    }
}
