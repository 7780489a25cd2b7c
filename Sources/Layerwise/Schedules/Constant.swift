// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

/// The same factor at every step.
///
///     f(t) = factor
///
/// Source: optax's constant_schedule and Hugging Face's `constant`, which it equals; with `Warmup` in front Hugging
/// Face's `constant_with_warmup`.  torch's ConstantLR ends: it is `Warmup` with the shape constant.
public struct Constant: DeclaredSchedule {
    /// The factor.
    public var factor = 1.0

    public init() {}

    /// Creates the schedule; throws if a value is outside its range.  The properties document the settings.
    public init(factor: Double) throws(SettingError) {
        self.factor = factor
        try settle()
    }

    package static let declaration = Declaration(
        name: "constant", title: "Constant", summary: "the same factor at every step",
        details: """
            Equals optax's and Hugging Face's, and with `Warmup` in front Hugging Face's `constant_with_warmup`. \
            torch's ConstantLR ends: it is `Warmup` with shape "constant".
            """,
        equation: "f = factor",
        source: "optax constant_schedule, Hugging Face constant",
        positional: ["factor"])

    package static let parameters: [Parameter<Self>] = [.number("factor", \.factor, .nonNegative, "the factor")]

    package func factor(at step: Int64, base: Double) -> Factor { Factor(factor) }
}
