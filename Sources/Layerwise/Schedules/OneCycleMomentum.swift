// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

/// The momentum that goes with `OneCycle`: low where the rate is high.
///
///     value = max_momentum → base_momentum → max_momentum            (see `OneCyclePhases`)
///
/// It is the value itself and not a factor: what it schedules has no say.
///
/// Source: torch's OneCycleLR with cycle_momentum, and with the timing fraction fastai's `moms`, whose first and last
/// are the same; it equals both.
public struct OneCycleMomentum: OneCyclePhased {
    public var phases = OneCyclePhases()
    public var baseMomentum = 0.85
    public var maxMomentum = 0.95

    public init() {}

    public init(
        totalSteps: Int, pctStart: Double = 0.3, baseMomentum: Double = 0.85, maxMomentum: Double = 0.95,
        anneal: Anneal = .cosine, threePhase: Bool = false, timing: OneCycleTiming = .torch
    ) throws(SettingError) {
        try self.init(
            Spec(
                "one_cycle_momentum",
                Setting.phases(totalSteps, pctStart, anneal, threePhase, timing) + [
                    Setting("base_momentum", baseMomentum), Setting("max_momentum", maxMomentum),
                ]))
    }

    public static let declaration = RecipeDeclaration(
        name: "one_cycle_momentum", doc: "the momentum that goes with one_cycle",
        equation: "value: max_momentum → base_momentum → max_momentum", source: "torch OneCycleLR, fastai fit_one_cycle"
    )

    public static let parameters: [Parameter<Self>] =
        phaseParameters + [
            .number("base_momentum", \.baseMomentum, .fraction, "momentum at the peak of the rate"),
            .number("max_momentum", \.maxMomentum, .fraction, "momentum at both ends"),
        ]

    public func validate() throws(SettingError) { try validatePhases() }

    public func factor(at step: Int64, base: Double) -> Factor {
        Factor(0, absolute: phases.value(at: step, start: maxMomentum, peak: baseMomentum, end: maxMomentum))
    }
}
