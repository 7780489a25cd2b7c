// SPDX-License-Identifier: Apache-2.0
import LayerwisePlatform
import LayerwiseRules

/// A constant share at each step, or every so many steps.
///
///     f(t) = max(γ^(t / every), lowest)          (staircase: γ^⌊t / every⌋)
///
/// Source: torch's ExponentialLR (every = 1), optax's exponential_decay (`every` is transition_steps, `lowest` its end
/// value over its initial one), Keras's ExponentialDecay, all of which it equals.
public struct Exponential: DeclaredSchedule {
    /// Γ: what is left after `every` steps.
    public var gamma = 0.0
    /// Steps for one factor of γ.
    public var every = 1
    /// Whole factors only.
    public var staircase = false
    /// No factor is lower.
    public var lowest = 0.0

    public init() {}

    /// Creates the schedule; throws if a value is outside its range.  The properties document the settings.
    public init(gamma: Double, every: Int = 1, staircase: Bool = false, lowest: Double = 0) throws(SettingError) {
        self.gamma = gamma
        self.every = every
        self.staircase = staircase
        self.lowest = lowest
        try settle()
    }

    package static let declaration = Declaration(
        name: "exponential", title: "Exponential", summary: "a constant share at each step",
        details: """
            f = max(gamma ** (t / every), lowest); with staircase, gamma ** floor(t / every).  Equals torch's (every = \
            1), optax's (every is transition_steps, lowest its end value over its initial one) and Keras's.
            """,
        equation: "f = max(γ^(t/every), lowest)",
        source: "torch ExponentialLR, optax exponential_decay, Keras ExponentialDecay",
        positional: ["gamma"])

    package static let parameters: [Parameter<Self>] = [
        .number("gamma", \.gamma, .positiveFraction, "γ: what is left after `every` steps"),
        .integer("every", \.every, 1...mostSteps, "steps for one factor of γ"),
        .flag("staircase", \.staircase, "whole factors only"),
        .number("lowest", \.lowest, .closedFraction, "no factor is lower"),
    ]

    package func validate() throws(SettingError) { try require("gamma", gamma, .positiveFraction) }

    package func factor(at step: Int64, base: Double) -> Factor {
        let times = Double(step) / Double(every)
        let power = staircase ? integerPower(gamma, step / max(1, Int64(every))) : pow(gamma, times)
        return Factor(max(power, lowest))
    }
}
