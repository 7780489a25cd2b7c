// SPDX-License-Identifier: Apache-2.0
import LayerwisePlatform
import LayerwiseRules

/// When each layer trains, such as `GradualUnfreezing`.
///
/// A layer that a plan has frozen is not updated, not decayed and not counted, and its gradients are not read; it keeps its states.
///
/// The plans of this module are all there are: no other type can conform.
public protocol FreezePlan: Sendable {
    /// The freezing plan as the library reads it.  Only the library can create such a value.
    var implementation: FreezePlanImplementation { get }
}

/// A freezing plan as the library reads it.
public struct FreezePlanImplementation: Sendable {
    package let plan: any DeclaredFreezePlan
}

extension DeclaredFreezePlan {
    public var implementation: FreezePlanImplementation { FreezePlanImplementation(plan: self) }
}

/// When each layer trains.
///
/// A layer that a plan has frozen is as one frozen by hand: not updated, not decayed, not counted, its gradients not read.
/// Moments, step count and master copy are kept as they are, so a thawed layer goes on where it stopped, and its bias
/// correction with it; a layer that was frozen from the start begins at step 1 when it thaws.  A layer frozen or unfrozen by
/// hand does not follow the plan.  To add one, copy `GradualUnfreezing.swift` and list it in `allFreezePlans`.
package protocol DeclaredFreezePlan: FreezePlan, Component {
    /// The activity of each layer, in the order of `layers`.
    func activities(of layers: [LayerDescriptor]) throws(SettingError) -> [Activity]

    /// Whether an activity depends on the layer's depth; if not, the order in which layers are registered does not matter.
    static var depthDependence: DepthDependence { get }

    /// The plan itself or the part of it that goes by what steps measure; nil where none does.
    var measuredPart: (any MeasuredFreezePlan)? { get }

    /// Whether the states of a layer begin again where the plan freezes it.
    var clearsStates: Bool { get }
}

extension DeclaredFreezePlan {
    package var measuredPart: (any MeasuredFreezePlan)? { nil }
    package var clearsStates: Bool { false }

    /// Whether this plan's activities depend on the depths of layers.
    package var dependsOnDepth: Bool {
        switch Self.depthDependence {
        case .always: true
        case .never: false
        case .parts: components.contains { ($0 as? any DeclaredFreezePlan)?.dependsOnDepth ?? true }
        }
    }
}

/// When one layer trains.
package struct Activity: Sendable, Equatable {
    /// The steps at which it trains, rising, apart from each other, not empty.
    package var spans: [Range<Int64>]
    /// Half a cosine from `annealingGain` to 0 over so many steps, on top of the schedule; 0 is none.
    package var annealingSteps = 0.0
    /// What multiplies the rate while it is annealed.
    package var annealingGain = 1.0
    /// The turns of its block, outside of which it does not train; nil where it takes none.
    package var turns: Turns?

    /// Always.
    package static let always = Activity(spans: [0..<Int64.max])

    /// Creates the activity of a layer.
    package init(spans: [Range<Int64>], annealingSteps: Double = 0, annealingGain: Double = 1) {
        self.spans = spans
        self.annealingSteps = annealingSteps
        self.annealingGain = annealingGain
    }

    /// In turns, to the end of the run.
    init(turns: Turns) {
        self.init(spans: [0..<Int64.max])
        self.turns = turns
    }

    /// Whether it trains at step t.
    package func isActive(at step: Int64) -> Bool {
        spans.contains { $0.contains(step) } && (turns?.isActive(at: step) ?? true)
    }

    /// A step after t up to which it is as at t; nil if it stays so.
    func holds(after step: Int64) -> Int64? { turns.map { $0.nextTurn(after: step) } ?? nextChange(after: step) }

    /// The first step after t at which it begins or stops; nil if it stays as it is.
    func nextChange(after step: Int64) -> Int64? {
        if let turns {
            // A block may be drawn, or left out, several times in succession.
            var end = turns.nextTurn(after: step)
            for _ in 0..<Self.mostTurns {
                guard let next = end else { return nil }
                if turns.isActive(at: next) != turns.isActive(at: step) { return next }
                end = turns.nextTurn(after: next)
            }
            return turns.count > 1 ? end : nil
        }
        for span in spans {
            if step < span.lowerBound { return span.lowerBound }
            if step < span.upperBound { return span.upperBound == .max ? nil : span.upperBound }
        }
        return nil
    }

    /// How many turns are looked at for the next change.
    private static let mostTurns = 1024

    /// Whether its rate is multiplied by anything.
    var anneals: Bool { annealingSteps > 0 || annealingGain != 1 }

    /// What the rate is multiplied by at step t.
    func annealing(at step: Int64) -> Double {
        if annealingSteps == 0 { return annealingGain }
        let p = min(1, Double(step) / annealingSteps)
        return annealingGain * max(0, 0.5 * (1 + cos(.pi * p)))
    }
}

/// Every freezing plan, in the order of the documentation.
package let allFreezePlans: [any DeclaredFreezePlan.Type] = [
    GradualUnfreezing.self, ChainThaw.self, FreezeOut.self, LayerFreezing.self, FreezeAt.self, LISA.self, BAdam.self,
    HiFT.self, AutoFreeze.self, GradES.self,
]

/// The freezing plan that `spec` describes.
package func freezePlan(_ spec: Spec) throws(SettingError) -> any DeclaredFreezePlan {
    try component(spec.name, among: allFreezePlans, "freezing plan") { $0.declaration }.init(spec)
}

/// The length of a stage of a plan.
public struct StageLength: Sendable {
    /// Length of a stage, in epochs.
    public var every = 0
    /// Steps of an epoch; 1 counts stages in steps.
    public var stepsPerEpoch = 1

    /// The step at which stage number `count` begins.
    func begin(_ count: Int) -> Int64 {
        let (steps, overflow) = Int64(every * stepsPerEpoch).multipliedReportingOverflow(by: Int64(count))
        return overflow ? .max - 1 : min(steps, .max - 1)
    }

    static let parameters: [Parameter<StageLength>] = [
        .integer("every", \.every, 1...1 << 20, "length of a stage, in epochs"),
        .integer("steps_per_epoch", \.stepsPerEpoch, 1...1 << 20, "steps of an epoch; 1 counts stages in steps"),
    ]

    func check() throws(SettingError) {
        if every < 1 { throw .invalid("every must be given, a whole number from 1 to \(1 << 20)") }
    }
}
