// SPDX-License-Identifier: Apache-2.0
import CLayerwiseKernels
import LayerwiseRules

/// The gradient is measured.  Change: d = g / n₀ + λ·w;  m ← (m − f·m) + s·d;  δ = γ′·n₁·m + γλ′·w.  `NovoGrad` documents the terms.
struct NovoGradArithmetic<Values: Lanes>: TrustRatioArithmetic {
    typealias State = FirstMoment<Values>
    typealias MeasuredState = NoState<Values>

    let coupledDecay: Values
    let decay: Values
    let forget: Values
    let share: Values
    let divisor: Values
    let stepSize: Values

    @inline(__always)
    init(_ tile: lwk_tile) {
        let c = tile.coefficients.load(as: NovoGrad.Coefficients.self)
        coupledDecay = Values(c.coupledDecay)
        decay = Values(c.decay)
        forget = Values(c.forget)
        share = Values(c.share)
        divisor = Values(1, ratio: tile.numbers.0)
        stepSize = Values(c.stepSize, ratio: tile.numbers.1)
    }

    @inline(__always)
    func direction(weight: Values, gradient: Values, state: inout MeasuredState) -> Values { gradient }

    @inline(__always)
    func directionAgain(weight: Values, gradient: Values, state: State) -> Values { gradient }

    @inline(__always)
    func change(weight: Values, gradient: Values, state: inout State) -> Values {
        let d = Values.fma(coupledDecay, weight, gradient / divisor)
        state.moment = Values.fma(share, d, Values.fma(forget, -state.moment, state.moment))
        return Values.fma(stepSize, state.moment, decay * weight)
    }
}
