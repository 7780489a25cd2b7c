// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

/// Schedules one after another, each of which counts its steps from where it begins.
///
///     part i from milestone i − 1 to milestone i, at t − milestone i − 1
///
/// Source: torch's SequentialLR and optax's join_schedules, which it equals.
public struct Sequential: DeclaredSchedule {
    private var schedules: [any DeclaredSchedule] = []
    private var milestones: [Int64] = []

    public init() {}

    /// Creates the schedule; throws if a value is outside its range.  The properties document the settings.
    public init(_ schedules: [any Schedule], milestones: [Int]) throws(SettingError) {
        self.schedules = schedules.map(\.implementation.schedule)
        try settle(values: milestones.map(Double.init))
    }

    package static let declaration = Declaration(
        name: "sequential", title: "Sequential", summary: "schedules one after another",
        details: """
            Each counts its steps from where it begins: f = schedules[i](t - milestones[i - 1]) for t from \
            milestones[i - 1] to milestones[i].  Equals torch's and optax's.
            """,
        equation: "f(t) = fᵢ(t − milestoneᵢ₋₁)",
        source: "torch SequentialLR, optax join_schedules",
        values: "milestones: the steps at which the second and later schedules begin, rising",
        parts: "two schedules or more",
        arguments: [
            Argument("schedules", .parts, "two or more"),
            Argument("milestones", .steps, "the steps at which the second and later schedules begin, rising"),
        ],
        positional: ["schedules", "milestones"])

    package static let parameters: [Parameter<Self>] = []

    package var values: [Double] { milestones.map(Double.init) }
    package var components: [any Component] { schedules }

    package mutating func take(values: [Double]) throws(SettingError) {
        milestones = try steps(values, "milestones", rising: true)
    }

    package mutating func take(parts: [Spec]) throws(SettingError) {
        schedules = try Layerwise.schedules(parts)
    }

    package func validate() throws(SettingError) {
        if schedules.count < 2 { throw .invalid("expected at least two schedules, found \(schedules.count)") }
        if milestones.count != schedules.count - 1 {
            throw .invalid(
                "expected \(schedules.count - 1) milestones for \(schedules.count) schedules, found \(milestones.count)"
            )
        }
        if milestones[0] == 0 { throw .invalid("the first milestone must be at least 1, found 0") }
    }

    package func factor(at step: Int64, base: Double) -> Factor {
        let part = countUpTo(step, in: milestones)
        guard part < schedules.count else { return Factor(1) }
        return schedules[part].factor(at: step - (part == 0 ? 0 : milestones[part - 1]), base: base)
    }

    package func floor(base: Double) -> Factor? { schedules.last?.floor(base: base) }

    package var takesMetric: Bool { schedules.contains { $0.takesMetric } }
    package mutating func report(_ metric: Double) { for part in schedules.indices { schedules[part].report(metric) } }
    package var state: [Double] {
        get { joinedState(schedules) }
        set { distribute(newValue, &schedules) }
    }
}
