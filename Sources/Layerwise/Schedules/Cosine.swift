// SPDX-License-Identifier: Apache-2.0
import LayerwisePlatform
import LayerwiseRules

/// Down half a cosine.
///
///     decay(p) = (½·(1 + cos(2π·cycles·pᵏ)))^exponent        (k = k_decay)
///
/// Source: Loshchilov and Hutter 2017 (SGDR, arXiv:1608.03983), equation 5, without restarts.  Equals torch's
/// CosineAnnealingLR (floor: absolute) for t ≤ T, Hugging Face's `cosine` and `cosine_with_min_lr`, timm's cosine (floor:
/// scaled; its warm-up by `Warmup`) with `k_decay`, and optax's cosine_decay_schedule with `exponent`.  After T it stays at
/// the floor, as timm and optax do; torch's and Hugging Face's rise again.
public struct Cosine: Decay {
    /// Steps, warm-up and floor.
    public var span = DecaySpan()
    /// Waves; 0.5 is down once.
    public var cycles = 0.5
    /// K: power of the progress.
    public var kDecay = 1.0
    /// Power of the cosine.
    public var exponent = 1.0

    public init() {}

    /// Creates the schedule; throws if a value is outside its range.  The properties document the settings.
    public init(
        totalSteps: Int, warmupSteps: Int = 0, minRate: Double = 0, floor: FloorKind = .scaled, minFactor: Double = 0
    ) throws(SettingError) {
        span = DecaySpan(totalSteps, warmupSteps, minRate, floor, minFactor)
        try settle()
    }

    package static let declaration = Declaration(
        name: "cosine", title: "Cosine", summary: "down half a cosine",
        details: """
            f = t / W for t < W, else (0.5 * (1 + cos(2 pi * cycles * p ** k_decay))) ** exponent above the floor, p = \
            (t - W) / (T - W), at most 1.  Equals torch's CosineAnnealingLR (floor "absolute"), Hugging Face's \
            `cosine` and `cosine_with_min_lr` ("relative"), timm's cosine ("scaled"; its warm-up by `Warmup`) and \
            optax's cosine_decay_schedule.  After T it stays at the floor, as timm's and optax's do; torch's and \
            Hugging Face's rise again.
            """,
        equation: "f = (½(1 + cos(2π·cycles·pᵏ)))^exponent",
        source:
            "Loshchilov and Hutter 2017, arXiv:1608.03983; torch CosineAnnealingLR, Hugging Face cosine, timm, optax",
        positional: ["total_steps"])

    package static let parameters: [Parameter<Self>] =
        spanParameters + [
            .number("cycles", \.cycles, .positive, "waves; 0.5 is down once"),
            .number("k_decay", \.kDecay, .positive, "k: power of the progress"),
            .number("exponent", \.exponent, .positive, "power of the cosine"),
        ]

    package func decay(_ p: Double) -> Double {
        let progress = kDecay == 1 ? p : pow(p, kDecay)
        // Exactly 0 at the end of a half wave, where the cosine is not quite −1.
        let wave = max(0, 0.5 * (1 + cos(2 * .pi * cycles * progress)))
        return exponent == 1 ? wave : pow(wave, exponent)
    }
}
