// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

/// Down with time.
///
///     f(t) = 1/(1 + rate·t/every)          (staircase: 1/(1 + rate·⌊t/every⌋))
///
/// Source: Keras's InverseTimeDecay, which it equals: decay_rate is `rate`, decay_steps `every`.
public struct InverseTime: Schedule {
    public var rate = 0.0
    public var every = 1
    public var staircase = false

    public init() {}

    public init(rate: Double, every: Int = 1, staircase: Bool = false) throws(SettingError) {
        self.rate = rate
        self.every = every
        self.staircase = staircase
        try settle()
    }

    public static let declaration = Declaration(
        name: "inverse_time", title: "InverseTime", summary: "down with time",
        details: """
            f = 1 / (1 + rate * t / every); with staircase, rate * floor(t / every).  Equals Keras's: decay_rate is \
            rate, decay_steps every.
            """,
        equation: "f = 1/(1 + rate·t/every)",
        source: "Keras InverseTimeDecay",
        positional: ["rate"])

    public static let parameters: [Parameter<Self>] = [
        .number("rate", \.rate, .positive, "how fast"),
        .integer("every", \.every, 1...mostSteps, "steps that count as one"),
        .flag("staircase", \.staircase, "whole numbers of `every` steps only"),
    ]

    public func validate() throws(SettingError) { try require("rate", rate, .positive) }

    public func factor(at step: Int64, base: Double) -> Factor {
        let time = Double(step) / Double(every)
        return Factor(1 / (1 + rate * (staircase ? time.rounded(.down) : time)))
    }
}
