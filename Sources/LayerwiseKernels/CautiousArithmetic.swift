// SPDX-License-Identifier: Apache-2.0
import CLayerwiseKernels
import LayerwiseRules

// The last part of a step with `UpdateOptions.cautious`: the change comes in the place of the gradient.  Numbers: what the change
// is multiplied by, and what the weight is multiplied by and then decays by.

/// δ = n₀·change + n₁·w, where elements that move against the gradient come as 0.
struct CautiousUpdateArithmetic<Values: Lanes>: Arithmetic {
    typealias State = NoState<Values>

    let scale: Values
    let decay: Values

    @inline(__always)
    init(_ tile: lwk_tile) {
        scale = Values(tile.numbers.0)
        decay = Values(tile.numbers.1)
    }

    @inline(__always)
    func change(weight: Values, gradient: Values, state: inout State) -> Values {
        Values.fma(scale, gradient, decay * weight)
    }
}

/// δ = change + n₁·w where both have one sign or one is 0, else δ = change.
struct CautiousDecayArithmetic<Values: Lanes>: Arithmetic {
    typealias State = NoState<Values>

    let decay: Values

    @inline(__always)
    init(_ tile: lwk_tile) { decay = Values(tile.numbers.1) }

    @inline(__always)
    func change(weight: Values, gradient: Values, state: inout State) -> Values {
        // 1 where the signs agree or one is 0, else 0.
        let agrees = Values.fma(gradient.sign(), weight.sign(), Values(1)).clamped(to: Values(1))
        return Values.fma(decay * agrees, weight, gradient)
    }
}

/// Sets those of `count` changes to 0 that do not have the sign of the gradient, and returns how many are left.  `changes` holds
/// their negatives.  NaN stays, and is not counted.
@inline(__always)
func maskChanges<V: Lanes>(
    _: V.Type, _ changes: UnsafeMutableRawPointer, _ gradients: UnsafeRawPointer, _ count: Int
) -> Double {
    var kept = SquareSum()
    var index = 0
    while index < count {
        let offset = index / V.count &* groupBytes
        let change = V.load(changes, offset)
        // 1 where the signs of both agree; 0 elsewhere.
        let keeps = (-(change.sign() * V.load(gradients, offset).sign())).maximum(V(0))
        (change * keeps).store(changes, offset)
        let counted = keeps.replaced(by: V(0), whereNotFinite: keeps)
        (count &- index < V.count ? counted.prefix(Int64(count &- index)) : counted).add(to: &kept)
        index &+= V.count
    }
    return kept.total
}
