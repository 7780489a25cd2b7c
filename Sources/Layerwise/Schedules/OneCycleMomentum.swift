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
    /// The form of the cycle.
    public var phases = OneCyclePhases()
    /// Momentum at the peak of the rate.
    public var baseMomentum = 0.85
    /// Momentum at both ends.
    public var maxMomentum = 0.95

    public init() {}

    /// Creates the schedule; throws if a value is outside its range.  The properties document the settings.
    public init(
        totalSteps: Int, pctStart: Double = 0.3, baseMomentum: Double = 0.85, maxMomentum: Double = 0.95,
        anneal: Anneal = .cosine, threePhase: Bool = false, timing: OneCycleTiming = .torch
    ) throws(SettingError) {
        phases = OneCyclePhases(totalSteps, pctStart, anneal, threePhase, timing)
        self.baseMomentum = baseMomentum
        self.maxMomentum = maxMomentum
        try settle()
    }

    package static let declaration = Declaration(
        name: "one_cycle_momentum", title: "OneCycleMomentum", summary: "the momentum that goes with one_cycle",
        details: """
            It goes from max_momentum to base_momentum and back, with three_phase up as it went down, and level from \
            there.  It is the value itself and not a factor, whatever the momentum of the rule.  `Optimizer(..., \
            schedule={"lr": OneCycle(n), "momentum": OneCycleMomentum(n)})`, and "beta1" for Adam.  Equals torch's \
            OneCycleLR with cycle_momentum, and with timing "fraction" fastai's moms whose first and last are the \
            same.
            """,
        equation: "value: max_momentum → base_momentum → max_momentum",
        source: "torch OneCycleLR, fastai fit_one_cycle",
        positional: ["total_steps"])

    package static let parameters: [Parameter<Self>] =
        phaseParameters + [
            .number("base_momentum", \.baseMomentum, .fraction, "momentum at the peak of the rate"),
            .number("max_momentum", \.maxMomentum, .fraction, "momentum at both ends"),
        ]

    package func validate() throws(SettingError) { try validatePhases() }

    package func factor(at step: Int64, base: Double) -> Factor {
        Factor(0, absolute: phases.value(at: step, start: maxMomentum, peak: baseMomentum, end: maxMomentum))
    }
}
