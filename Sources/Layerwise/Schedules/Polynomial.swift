// SPDX-License-Identifier: Apache-2.0
import LayerwisePlatform
import LayerwiseRules

/// Down a power of what is left.
///
///     decay(p) = (1 − pᵏ)^power        (k = k_decay)
///
/// Source: torch's PolynomialLR, Hugging Face's `polynomial` (floor: relative, its lr_end is min_lr), optax's
/// polynomial_schedule, Keras's PolynomialDecay without `cycle`, timm's poly (floor: scaled; its warm-up by `Warmup`),
/// all of which it equals.
public struct Polynomial: Decay {
    /// Steps, warm-up and floor.
    public var span = DecaySpan()
    /// Power of what is left.
    public var power = 1.0
    /// K: power of the progress.
    public var kDecay = 1.0

    public init() {}

    /// Creates the schedule; throws if a value is outside its range.  The properties document the settings.
    public init(
        totalSteps: Int, power: Double = 1, kDecay: Double = 1, warmupSteps: Int = 0, minRate: Double = 0,
        floor: FloorKind = .scaled, minFactor: Double = 0
    ) throws(SettingError) {
        span = DecaySpan(totalSteps, warmupSteps, minRate, floor, minFactor)
        self.power = power
        self.kDecay = kDecay
        try settle()
    }

    package static let declaration = Declaration(
        name: "polynomial", title: "Polynomial", summary: "down a power of what is left",
        details: """
            f = t / W for t < W, else (1 - p ** k_decay) ** power above the floor, p = (t - W) / (T - W), at most 1. \
            Equals torch's, Hugging Face's (floor "relative", its lr_end is min_lr), optax's, Keras's without cycle, \
            and timm's poly ("scaled"; its warm-up by `Warmup`).
            """,
        equation: "f = (1 − pᵏ)^power",
        source:
            "torch PolynomialLR, Hugging Face polynomial, timm poly, Keras PolynomialDecay, optax polynomial_schedule",
        positional: ["total_steps", "power"])

    package static let parameters: [Parameter<Self>] =
        spanParameters + [
            .number("power", \.power, .positive, "power of what is left"),
            .number("k_decay", \.kDecay, .positive, "k: power of the progress"),
        ]

    package func decay(_ p: Double) -> Double {
        let left = 1 - (kDecay == 1 ? p : pow(p, kDecay))
        return power == 1 ? left : pow(left, power)
    }
}
