// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

/// A factor of γ at each milestone.
///
///     f(t) = γ^(number of milestones ≤ t)
///
/// Source: torch's MultiStepLR, which it equals.  timm's multi-step lowers one step earlier (it looks at t + 1).
public struct MultiStep: DeclaredSchedule {
    /// Γ: the factor of each milestone.
    public var gamma = 0.1
    /// The steps at which the rate falls.
    public private(set) var milestones: [Int64] = []

    public init() {}

    /// Creates the schedule; throws if a value is outside its range.  The properties document the settings.
    public init(milestones: [Int], gamma: Double = 0.1) throws(SettingError) {
        self.gamma = gamma
        try settle(values: milestones.map(Double.init))
    }

    package static let declaration = Declaration(
        name: "multi_step", title: "MultiStep", summary: "a factor of γ at each milestone",
        details: """
            f = gamma ** (number of milestones <= t), as torch has it.  timm's multi-step lowers one step earlier (it \
            looks at t + 1).
            """,
        equation: "f = γ^#{milestones ≤ t}",
        source: "torch MultiStepLR",
        values: "milestones: steps, rising",
        arguments: [
            Argument("milestones", .steps, "steps, rising, at least one")
        ],
        positional: ["milestones", "gamma"])

    package static let parameters: [Parameter<Self>] = [
        .number("gamma", \.gamma, .positiveFraction, "γ: the factor of each milestone")
    ]

    package var values: [Double] { milestones.map(Double.init) }

    package mutating func take(values: [Double]) throws(SettingError) {
        milestones = try steps(values, "milestones", rising: true)
        if milestones.isEmpty { throw .invalid("milestones must be given, at least one") }
    }

    package func factor(at step: Int64, base: Double) -> Factor {
        Factor(integerPower(gamma, Int64(countUpTo(step, in: milestones))))
    }
}
