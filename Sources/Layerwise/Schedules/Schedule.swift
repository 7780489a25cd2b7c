// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

/// How a rate, or another number of a rule, moves in time, such as `Cosine`: a function of the step t, which is 0 at the first step.
///
/// The schedules of this module are all there are: no other type can conform.
public protocol Schedule: Sendable {
    /// The schedule as the library reads it.  Only the library can create such a value.
    var implementation: ScheduleImplementation { get }
}

/// A schedule as the library reads it.
public struct ScheduleImplementation: Sendable {
    package let schedule: any DeclaredSchedule
}

extension DeclaredSchedule {
    public var implementation: ScheduleImplementation { ScheduleImplementation(schedule: self) }
}

/// How a rate, or another number of a rule, moves in time: a function of the step t, which is 0 at the first step.
///
/// To add one, copy `Exponential.swift`, or `Cosine.swift` for one that falls to a floor over a known number of steps, and
/// list it in `allSchedules`.
package protocol DeclaredSchedule: Schedule, Component {
    /// The factor at step t = `step` ≥ 0.  `base` is the optimizer's base value, which relative floors refer to.
    func factor(at step: Int64, base: Double) -> Factor

    /// The factors at `count` steps.  The same numbers one by one: there for a loop that the compiler can see into.
    func factors(
        at steps: UnsafePointer<Int64>, count: Int, base: Double, into factors: UnsafeMutablePointer<Factor>)

    /// What the factor tends to where the schedule falls to a floor; nil where it has none.
    func floor(base: Double) -> Factor?

    /// Whether the factor follows a metric that is reported.
    var takesMetric: Bool { get }

    /// Takes a metric, such as a validation loss.
    mutating func report(_ metric: Double)

    /// What reports have left behind: as many numbers as a new schedule has, for a checkpoint.
    var state: [Double] { get set }
}

extension DeclaredSchedule {
    package func factors(
        at steps: UnsafePointer<Int64>, count: Int, base: Double, into factors: UnsafeMutablePointer<Factor>
    ) {
        for index in 0..<count { factors[index] = factor(at: steps[index], base: base) }
    }

    package func floor(base: Double) -> Factor? { nil }
    package var takesMetric: Bool { false }
    package mutating func report(_ metric: Double) {}
    package var state: [Double] {
        get { [] }
        set {}
    }
}

/// Every schedule, in the order of the documentation.
package let allSchedules: [any DeclaredSchedule.Type] = [
    Constant.self, Linear.self, Cosine.self, CosineRestarts.self, Polynomial.self, Exponential.self, StepDecay.self,
    MultiStep.self, InverseSqrt.self, InverseTime.self, Noam.self, OneCycle.self, OneCycleMomentum.self,
    SlantedTriangular.self, WarmupStableDecay.self, Tanh.self, Cyclic.self, CyclicMomentum.self, FlatCosine.self,
    Piecewise.self, FactorTable.self, ReduceOnPlateau.self, Warmup.self, Sequential.self, Product.self,
]

/// The schedule that `spec` describes.
package func schedule(_ spec: Spec) throws(SettingError) -> any DeclaredSchedule {
    try component(spec.name, among: allSchedules, "schedule") { $0.declaration }.init(spec)
}

extension Schedule {
    /// What it makes of `base` at a step, for a scale of 1.
    public func value(at step: Int64, base: Double = 1) -> Double {
        implementation.schedule.factor(at: step, base: base).rate(base: base, scale: 1)
    }
}
