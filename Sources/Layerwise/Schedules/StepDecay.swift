// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

/// A factor of γ every so many steps.
///
///     f(t) = γ^⌊t / every⌋
///
/// Source: torch's StepLR, which it equals.
public struct StepDecay: DeclaredSchedule {
    /// Steps for one factor of γ.
    public var every = 0
    /// Γ: the factor.
    public var gamma = 0.1

    public init() {}

    /// Creates the schedule; throws if a value is outside its range.  The properties document the settings.
    public init(every: Int, gamma: Double = 0.1) throws(SettingError) {
        self.every = every
        self.gamma = gamma
        try settle()
    }

    package static let declaration = Declaration(
        name: "step_decay", formerNames: ["step"], title: "StepDecay",
        summary: "a factor of γ every so many steps",
        details: """
            f = gamma ** floor(t / every), as torch has it.
            """,
        equation: "f = γ^⌊t/every⌋",
        source: "torch StepLR",
        positional: ["every", "gamma"])

    package static let parameters: [Parameter<Self>] = [
        .integer("every", \.every, 1...mostSteps, "steps for one factor of γ"),
        .number("gamma", \.gamma, .positiveFraction, "γ: the factor"),
    ]

    package func validate() throws(SettingError) { try require("every", every) }

    package func factor(at step: Int64, base: Double) -> Factor {
        // At least 1: what was never validated must not divide by 0.
        Factor(integerPower(gamma, step / Int64(max(1, every))))
    }
}
