// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

/// A factor for each step, from a list.
///
///     f(t) = factors[min(t, n − 1)]
///
/// For schedules that are computed elsewhere, such as torch's LambdaLR.
public struct FactorTable: DeclaredSchedule {
    private var factors: [Double] = []

    public init() {}

    /// Creates the schedule; throws if a value is outside its range.  The properties document the settings.
    public init(_ factors: [Double]) throws(SettingError) {
        try settle(values: factors)
    }

    package static let declaration = Declaration(
        name: "factor_table", formerNames: ["table"], title: "FactorTable",
        summary: "a factor for each step, from a list",
        details: """
            f = factors[min(t, len(factors) - 1)].
            """,
        equation: "f = factors[min(t, n − 1)]",
        source: "torch LambdaLR, with its values listed",
        values: "factors: one for each step; the last stays",
        arguments: [
            Argument("factors", .factors, "one in [0, inf) for each step, at least one")
        ],
        positional: ["factors"])

    package static let parameters: [Parameter<Self>] = []

    package var values: [Double] { factors }

    package mutating func take(values: [Double]) throws(SettingError) {
        if values.isEmpty { throw .invalid("factors must be given, at least one") }
        try refuseNegative(values)
        factors = values
    }

    package func factor(at step: Int64, base: Double) -> Factor {
        if step >= 0 && step < factors.count { return Factor(factors[Int(step)]) }
        return Factor(factors.last ?? 1)
    }
}
