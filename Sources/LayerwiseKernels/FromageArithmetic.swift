// SPDX-License-Identifier: Apache-2.0
import CLayerwiseKernels
import LayerwiseRules

/// d = g + λ·w is measured;  δ = s·r·d + c·w.  `Fromage` documents the terms.
struct FromageArithmetic<Values: Lanes>: TrustRatioArithmetic {
    typealias State = NoState<Values>
    typealias MeasuredState = NoState<Values>

    let coupledDecay: Values
    let shrinkage: Values
    let stepSize: Values

    @inline(__always)
    init(_ tile: lwk_tile) {
        let c = tile.coefficients.load(as: Fromage.Coefficients.self)
        coupledDecay = Values(c.coupledDecay)
        shrinkage = Values(c.shrinkage)
        stepSize = Values(c.stepSize, ratio: tile.numbers.0)
    }

    @inline(__always)
    func direction(weight: Values, gradient: Values, state: inout State) -> Values {
        Values.fma(coupledDecay, weight, gradient)
    }

    @inline(__always)
    func directionAgain(weight: Values, gradient: Values, state: State) -> Values {
        Values.fma(coupledDecay, weight, gradient)
    }

    @inline(__always)
    func change(weight: Values, gradient: Values, state: inout State) -> Values {
        Values.fma(stepSize, Values.fma(coupledDecay, weight, gradient), shrinkage * weight)
    }
}
