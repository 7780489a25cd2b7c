// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

/// Down with time.
///
///     f(t) = 1/(1 + rate·t/every)          (staircase: 1/(1 + rate·⌊t/every⌋))
///
/// Source: Keras's InverseTimeDecay, which it equals: decay_rate is `rate`, decay_steps `every`.
public struct InverseTime: DeclaredSchedule {
    /// How fast.
    public var rate = 0.0
    /// Steps that count as one.
    public var every = 1
    /// Whole numbers of `every` steps only.
    public var staircase = false

    public init() {}

    /// Creates the schedule; throws if a value is outside its range.  The properties document the settings.
    public init(rate: Double, every: Int = 1, staircase: Bool = false) throws(SettingError) {
        self.rate = rate
        self.every = every
        self.staircase = staircase
        try settle()
    }

    package static let declaration = Declaration(
        name: "inverse_time", title: "InverseTime", summary: "down with time",
        details: """
            f = 1 / (1 + rate * t / every); with staircase, rate * floor(t / every).  Equals Keras's: decay_rate is \
            rate, decay_steps every.
            """,
        equation: "f = 1/(1 + rate·t/every)",
        source: "Keras InverseTimeDecay",
        positional: ["rate"])

    package static let parameters: [Parameter<Self>] = [
        .number("rate", \.rate, .positive, "how fast"),
        .integer("every", \.every, 1...mostSteps, "steps that count as one"),
        .flag("staircase", \.staircase, "whole numbers of `every` steps only"),
    ]

    package func validate() throws(SettingError) { try require("rate", rate, .positive) }

    package func factor(at step: Int64, base: Double) -> Factor {
        let time = Double(step) / Double(every)
        return Factor(1 / (1 + rate * (staircase ? time.rounded(.down) : time)))
    }
}
