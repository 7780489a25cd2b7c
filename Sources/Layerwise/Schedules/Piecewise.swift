// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

/// Factors at given steps.
///
///     none:           f(t) = the factor of the last point ≤ t, 1 before the first
///     linear, cosine: between the points on either side of t, from a factor of 1 at step 0 where no point is there
///
/// After the last point its factor stays.
///
/// Source: optax's piecewise_constant_schedule and piecewise_interpolate_schedule, which it equals for factors that are
/// the products of all scales so far, as they accumulate them.  Keras's PiecewiseConstantDecay changes one step later:
/// its boundaries belong to the piece before.
public struct Piecewise: DeclaredSchedule {
    /// The way from one point to the next: `none`, a jump; `linear` or `cosine`.
    public var interpolation = Interpolation.none
    private var milestones: [Int64] = []
    private var factors: [Double] = []

    /// The way from one point to the next.
    public enum Interpolation: String, Choice {
        /// A jump at the next.
        case none
        case linear
        case cosine
    }

    public init() {}

    /// Creates the schedule; throws if a value is outside its range.  The properties document the settings.
    public init(_ points: [(step: Int, factor: Double)], interpolation: Interpolation = .none) throws(SettingError) {
        self.interpolation = interpolation
        try settle(values: points.flatMap { [Double($0.step), $0.factor] })
    }

    package static let declaration = Declaration(
        name: "piecewise", title: "Piecewise", summary: "factors at given steps",
        details: """
            f is the factor of the last point <= t, and 1 before the first; with an interpolation it moves between the \
            points on either side of t, from a factor of 1 at step 0 where no point is there.  After the last point \
            its factor stays.  Equals optax's for factors that are the products of all scales so far.  Keras's \
            PiecewiseConstantDecay changes one step later.
            """,
        equation: "f = factorᵢ from stepᵢ, or on the way to factorᵢ₊₁",
        source: "optax piecewise_constant_schedule and piecewise_interpolate_schedule",
        values: "pairs of a step and its factor, in the order of their steps",
        arguments: [
            Argument("points", .points, "pairs of a step and a factor in [0, inf), in the order of their steps")
        ],
        positional: ["points", "interpolation"])

    package static let parameters: [Parameter<Self>] = [
        .choice(
            "interpolation", \.interpolation,
            "the way from one point to the next: \"none\", a jump; \"linear\" or \"cosine\"")
    ]

    package var values: [Double] { zip(milestones, factors).flatMap { [Double($0), $1] } }

    package mutating func take(values: [Double]) throws(SettingError) {
        if values.isEmpty || !values.count.isMultiple(of: 2) {
            throw .invalid("expected pairs of a step and its factor, found \(values.count) numbers")
        }
        milestones = try steps(
            stride(from: 0, to: values.count, by: 2).map { values[$0] }, "steps of points", rising: true)
        factors = stride(from: 1, to: values.count, by: 2).map { values[$0] }
        try refuseNegative(factors)
    }

    package func factor(at step: Int64, base: Double) -> Factor {
        let next = countUpTo(step, in: milestones)
        let last = next == 0 ? 1 : factors[next - 1]
        let anneal: Anneal
        switch interpolation {
        case .none: return Factor(last)
        case .linear: anneal = .linear
        case .cosine: anneal = .cosine
        }
        if next == milestones.count { return Factor(last) }
        let begin = next == 0 ? 0 : Double(milestones[next - 1])
        let share = (Double(step) - begin) / (Double(milestones[next]) - begin)
        return Factor(anneal.between(last, factors[next], share))
    }
}

/// Refuses a list of factors with one below 0.
func refuseNegative(_ factors: [Double]) throws(SettingError) {
    for (index, factor) in factors.enumerated() where factor < 0 {
        throw .invalid("factors must not be negative, found \(factor) at \(index)")
    }
}
