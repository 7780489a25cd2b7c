// SPDX-License-Identifier: Apache-2.0
import Glibc
import LayerwiseRules

/// Down a power of what is left.
///
///     decay(p) = (1 − pᵏ)^power        (k = k_decay)
///
/// Source: torch's PolynomialLR, Hugging Face's `polynomial` (floor: relative, its lr_end is min_lr), optax's
/// polynomial_schedule, Keras's PolynomialDecay without `cycle`, timm's poly (floor: scaled; its warm-up by `Warmup`),
/// all of which it equals.
public struct Polynomial: Decay {
    public var span = Span()
    public var power = 1.0
    public var kDecay = 1.0

    public init() {}

    public init(
        totalSteps: Int, power: Double = 1, kDecay: Double = 1, warmupSteps: Int = 0, minRate: Double = 0,
        floor: FloorKind = .scaled, minFactor: Double = 0
    ) throws(SettingError) {
        try self.init(
            Spec(
                "polynomial",
                Setting.span(totalSteps, warmupSteps, minRate, floor, minFactor) + [
                    Setting("power", power), Setting("k_decay", kDecay),
                ]))
    }

    public static let declaration = RecipeDeclaration(
        name: "polynomial", doc: "down a power of what is left", equation: "f = (1 − pᵏ)^power",
        source:
            "torch PolynomialLR, Hugging Face polynomial, timm poly, Keras PolynomialDecay, optax polynomial_schedule")

    public static let parameters: [Parameter<Self>] =
        spanParameters + [
            .number("power", \.power, .positive, "power of what is left"),
            .number("k_decay", \.kDecay, .positive, "k: power of the progress"),
        ]

    public func decay(_ p: Double) -> Double {
        let left = 1 - (kDecay == 1 ? p : pow(p, kDecay))
        return power == 1 ? left : pow(left, power)
    }
}
