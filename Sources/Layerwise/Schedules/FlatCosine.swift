// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

/// Level, then down half a cosine.
///
///     decay(p) = 1 for p < pct_start, else ½·(1 + cos(π·(p − pct_start)/(1 − pct_start)))
///
/// Source: fastai's fit_flat_cos, which it equals with min_factor = 1/div_final, there 1e-5.
public struct FlatCosine: Decay {
    /// Steps, warm-up and floor.
    public var span = DecaySpan()
    /// Share of the steps that are level.
    public var pctStart = 0.75

    public init() {}

    /// Creates the schedule; throws if a value is outside its range.  The properties document the settings.
    public init(
        totalSteps: Int, pctStart: Double = 0.75, warmupSteps: Int = 0, minRate: Double = 0,
        floor: FloorKind = .scaled, minFactor: Double = 0
    ) throws(SettingError) {
        span = DecaySpan(totalSteps, warmupSteps, minRate, floor, minFactor)
        self.pctStart = pctStart
        try settle()
    }

    package static let declaration = Declaration(
        name: "flat_cosine", title: "FlatCosine", summary: "level, then down half a cosine",
        details: """
            f = t / W for t < W, else 1 until p = pct_start, then 0.5 * (1 + cos(pi * (p - pct_start) / (1 - \
            pct_start))) above the floor, p = (t - W) / (T - W).  Equals fastai's with min_factor = 1 / div_final, \
            there 1e-5.
            """,
        equation: "f = 1, from pct_start ½(1 + cos(π(p − pct_start)/(1 − pct_start)))",
        source: "fastai fit_flat_cos",
        positional: ["total_steps"])

    package static let parameters: [Parameter<Self>] =
        spanParameters + [.number("pct_start", \.pctStart, .closedFraction, "share of the steps that are level")]

    package func decay(_ p: Double) -> Double {
        if p >= 1 { return 0 }
        return p < pctStart ? 1 : halfWave(.pi * (p - pctStart) / (1 - pctStart))
    }
}
