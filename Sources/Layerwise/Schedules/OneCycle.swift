// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

/// Up to the base rate and far down, once.
///
///     1/div_factor → 1 → 1/(div_factor·final_div_factor)             (see `OneCyclePhases`)
///
/// Source: Smith and Topin 2018 (arXiv:1708.07120).  Equals torch's OneCycleLR, whose max_lr is the base rate; with the
/// timing fraction fastai's fit_one_cycle (final_div_factor = its div_final/div) and, where pct_start·T is whole,
/// optax's cosine_onecycle_schedule, and its linear_onecycle_schedule with three phases and pct_final = 2·pct_start.
///
/// With three phases pct_start is at most 0.5: torch takes more, and then does not reach the end.
public struct OneCycle: OneCyclePhased {
    /// The form of the cycle.
    public var phases = OneCyclePhases()
    /// The peak over the start.
    public var divFactor = 25.0
    /// The start over the end.
    public var finalDivFactor = 1e4

    public init() {}

    /// Creates the schedule; throws if a value is outside its range.  The properties document the settings.
    public init(
        totalSteps: Int, pctStart: Double = 0.3, divFactor: Double = 25, finalDivFactor: Double = 1e4,
        anneal: Anneal = .cosine, threePhase: Bool = false, timing: OneCycleTiming = .torch
    ) throws(SettingError) {
        phases = OneCyclePhases(totalSteps, pctStart, anneal, threePhase, timing)
        self.divFactor = divFactor
        self.finalDivFactor = finalDivFactor
        try settle()
    }

    package static let declaration = Declaration(
        name: "one_cycle", title: "OneCycle", summary: "up to the base rate and far down, once",
        details: """
            f goes from 1 / div_factor to 1 over pct_start of the steps, and then to 1 / (div_factor * \
            final_div_factor); with three_phase, back to 1 / div_factor over as many steps in between.  Equals torch's \
            OneCycleLR, whose max_lr is the base rate; with timing "fraction" fastai's fit_one_cycle (final_div_factor \
            = its div_final / div) and, where pct_start * T is whole, optax's cosine_onecycle_schedule.
            """,
        equation: "f: 1/div_factor → 1 → 1/(div_factor·final_div_factor)",
        source: "Smith and Topin 2018, arXiv:1708.07120; torch OneCycleLR, fastai fit_one_cycle, optax onecycle",
        positional: ["total_steps"])

    package static let parameters: [Parameter<Self>] =
        phaseParameters + [
            .number("div_factor", \.divFactor, .positive, "the peak over the start"),
            .number("final_div_factor", \.finalDivFactor, .positive, "the start over the end"),
        ]

    private var start: Double { 1 / divFactor }
    private var end: Double { start / finalDivFactor }

    package func validate() throws(SettingError) {
        try validatePhases()
        if !end.isFinite || !start.isFinite {
            throw .invalid(
                "1/div_factor and 1/(div_factor·final_div_factor) must be finite, found \(divFactor) and "
                    + "\(finalDivFactor)")
        }
    }

    package func factor(at step: Int64, base: Double) -> Factor {
        Factor(phases.value(at: step, start: start, peak: 1, end: end))
    }
}
