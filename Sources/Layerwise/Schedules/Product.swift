// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

/// Schedules at once, each of which acts on what those before it made.
///
///     f(t) = f₁(t)·f₂(t)·…
///
/// A floor of one is multiplied by those after it.
///
/// Source: torch's ChainedScheduler, which it equals for schedulers that multiply, such as ConstantLR and
/// ExponentialLR.
public struct Product: DeclaredSchedule {
    private var schedules: [any DeclaredSchedule] = []

    public init() {}

    /// Creates the schedule; throws if a value is outside its range.  The properties document the settings.
    public init(_ schedules: [any Schedule]) throws(SettingError) {
        self.schedules = schedules.map(\.implementation.schedule)
        try settle()
    }

    package static let declaration = Declaration(
        name: "product", title: "Product", summary: "schedules at once, each on what those before it made",
        details: """
            A floor of one is multiplied by those after it.  Equals torch's ChainedScheduler for schedulers that \
            multiply, such as ConstantLR and ExponentialLR.
            """,
        equation: "f = f₁·f₂·…",
        source: "torch ChainedScheduler",
        parts: "two schedules or more",
        arguments: [
            Argument("schedules", .eachPart, "two or more")
        ],
        positional: ["schedules"])

    package static let parameters: [Parameter<Self>] = []

    package var components: [any Component] { schedules }

    package mutating func take(parts: [Spec]) throws(SettingError) {
        schedules = try Layerwise.schedules(parts)
    }

    package func validate() throws(SettingError) {
        if schedules.count < 2 { throw .invalid("expected at least two schedules, found \(schedules.count)") }
    }

    package func factor(at step: Int64, base: Double) -> Factor {
        var product = Factor(1)
        for schedule in schedules { product = product.times(schedule.factor(at: step, base: base)) }
        return product
    }

    package func floor(base: Double) -> Factor? {
        var product = Factor(1)
        for schedule in schedules {
            guard let floor = schedule.floor(base: base) else { return nil }
            product = product.times(floor)
        }
        return product
    }

    package var takesMetric: Bool { schedules.contains { $0.takesMetric } }
    package mutating func report(_ metric: Double) { for part in schedules.indices { schedules[part].report(metric) } }
    package var state: [Double] {
        get { joinedState(schedules) }
        set { distribute(newValue, &schedules) }
    }
}

extension Factor {
    /// `then`, finite where the product is not.
    fileprivate func times(_ next: Factor) -> Factor {
        let product = then(next)
        return Factor(
            min(product.gain, .greatestFiniteMagnitude), scaled: min(product.scaled, .greatestFiniteMagnitude),
            absolute: min(product.absolute, .greatestFiniteMagnitude))
    }
}
