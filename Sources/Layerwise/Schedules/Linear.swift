// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

/// Down a straight line.
///
///     decay(p) = 1 − p
///
/// Source: Hugging Face's `linear`, optax's linear_schedule, torch's LinearLR from 1 to its end factor (`min_factor`),
/// timm's poly with power 1, all of which it equals.
public struct Linear: Decay {
    /// Steps, warm-up and floor.
    public var span = DecaySpan()

    public init() {}

    /// Creates the schedule; throws if a value is outside its range.  The properties document the settings.
    public init(
        totalSteps: Int, warmupSteps: Int = 0, minRate: Double = 0, floor: FloorKind = .scaled, minFactor: Double = 0
    ) throws(SettingError) {
        span = DecaySpan(totalSteps, warmupSteps, minRate, floor, minFactor)
        try settle()
    }

    package static let declaration = Declaration(
        name: "linear", title: "Linear", summary: "down a straight line",
        details: """
            f = t / W for t < W, else 1 - p above the floor, p = (t - W) / (T - W), at most 1.  Equals Hugging Face's, \
            optax's, torch's LinearLR from 1 to its end factor (min_factor), and timm's poly with power 1.
            """,
        equation: "f = 1 − p",
        source: "Hugging Face linear, torch LinearLR, optax linear_schedule",
        positional: ["total_steps"])

    package static let parameters: [Parameter<Self>] = spanParameters

    package func decay(_ p: Double) -> Double { 1 - p }
}
