// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

/// Down with the square root of time, after a linear warm-up.
///
///     t < W:  f = t/W                                             (W = warmup_steps)
///     else:   f = 1/√((t − W + s)/s)                              (s = timescale, or W, or 10000 where W is 0)
///
/// Source: Hugging Face's `inverse_sqrt`, which it equals; with the timescale at its default also fairseq's.
public struct InverseSqrt: DeclaredSchedule {
    /// W: steps of linear warm-up from 0.
    public var warmupSteps = 0
    /// S; 0: warmup_steps, or 10000 if that is 0 too.
    public var timescale = 0

    public init() {}

    /// Creates the schedule; throws if a value is outside its range.  The properties document the settings.
    public init(warmupSteps: Int = 0, timescale: Int = 0) throws(SettingError) {
        self.warmupSteps = warmupSteps
        self.timescale = timescale
        try settle()
    }

    package static let declaration = Declaration(
        name: "inverse_sqrt", title: "InverseSqrt", summary: "down with the square root of time",
        details: """
            f = t / W for t < W, else 1 / sqrt((t - W + s) / s), s = timescale, or W where that is 0, or 10000 where \
            both are.  Equals Hugging Face's, and with the timescale at its default fairseq's.
            """,
        equation: "f = 1/√((t − W + s)/s)",
        source: "Hugging Face inverse_sqrt, fairseq inverse_sqrt",
        positional: ["warmup_steps"])

    package static let parameters: [Parameter<Self>] = [
        .integer("warmup_steps", \.warmupSteps, 0...mostSteps, "W: steps of linear warm-up from 0"),
        .integer("timescale", \.timescale, 0...mostSteps, "s; 0: warmup_steps, or 10000 if that is 0 too"),
    ]

    package func factor(at step: Int64, base: Double) -> Factor {
        let warmup = Int64(warmupSteps)
        if step < warmup { return Factor(Double(step) / Double(warmup)) }
        let scale = Double(timescale > 0 ? timescale : warmupSteps > 0 ? warmupSteps : 10_000)
        return Factor(1 / ((Double(step &- warmup) + scale) / scale).squareRoot())
    }
}
