// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

/// A schedule that falls to a floor.
package protocol Floored: DeclaredSchedule {
    /// What the schedule falls to.
    var floor: Floor { get set }
}

/// Where a schedule falls to.
public struct Floor: Sendable {
    /// m, a rate.
    public var minRate = 0.0
    /// What `minRate` is for a layer.
    public var kind = FloorKind.scaled
    /// The floor as a share of each layer's own rate, in place of `minRate`.
    public var minFactor = 0.0

    init() {}

    init(_ minRate: Double, _ kind: FloorKind, _ minFactor: Double) {
        self.minRate = minRate
        self.kind = kind
        self.minFactor = minFactor
    }
}

/// What a floor m, in the units of a rate, is for a layer with the rate base·scale, where the schedule stands at f:
public enum FloorKind: String, Choice {
    /// scale·(m + (base − m)·f): the floor is scaled as the rate is (timm, BEiT, MAE).
    case scaled
    /// m + (base·scale − m)·f: one floor for all layers (torch's eta_min); a layer whose rate is below it rises.
    case absolute
    /// base·scale·(r + (1 − r)·f), r = m / the optimizer's base rate (Hugging Face's min_lr).
    case relative
}

extension Floor {
    /// `f` of the way from the floor to `peak` times the rate.
    func above(_ f: Double, peak: Double = 1, base: Double) -> Factor {
        let gain = peak * f
        let rest = 1 - f
        if minRate > 0 {
            switch kind {
            case .scaled: return Factor(gain, scaled: minRate * rest)
            case .absolute: return Factor(gain, absolute: minRate * rest)
            case .relative:
                // Bounded, as a quotient by a base near 0 would not be.
                return base > 0 ? Factor(gain + min(minRate / base, .greatestFiniteMagnitude) * rest) : Factor(gain)
            }
        }
        return Factor(gain + minFactor * rest)
    }

    func validate() throws(SettingError) {
        if minRate > 0 && minFactor > 0 {
            throw .invalid("the floor is min_lr or min_factor, not both, found \(minRate) and \(minFactor)")
        }
        if minFactor > 0 && kind != .scaled {
            throw .invalid("floor says what min_lr is for a layer, and has no effect on min_factor")
        }
    }
}

extension Floored {
    /// The settings that all share.
    static var floorParameters: [Parameter<Self>] {
        [
            .number("min_lr", \.floor.minRate, .nonNegative, "the floor, as a rate"),
            .choice(
                "floor", \.floor.kind,
                "what min_lr is for a layer: \"scaled\" as its rate, \"absolute\", or \"relative\" to the optimizer's base rate"
            ),
            .number(
                "min_factor", \.floor.minFactor, .closedFraction,
                "the floor as a share of the layer's own rate; in place of min_lr"),
        ]
    }

    package func floor(base: Double) -> Factor? {
        floor.minRate > 0 || floor.minFactor > 0 ? floor.above(0, base: base) : nil
    }
}
