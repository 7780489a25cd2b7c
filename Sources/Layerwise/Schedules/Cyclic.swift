// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

/// Up to the base rate and down to a share of it, again and again.
///
///     f(t) = lowest + (1 − lowest)·height(t)             (see `CycleWave`)
///
/// Source: Smith 2017 (arXiv:1506.01186).  Equals torch's CyclicLR, whose max_lr is the base rate and base_lr/max_lr
/// `lowest`.
public struct Cyclic: Cycling {
    /// The form of a cycle.
    public var wave = CycleWave()
    /// The factor between waves.
    public var lowest = 0.1

    public init() {}

    /// Creates the schedule; throws if a value is outside its range.  The properties document the settings.
    public init(
        stepSizeUp: Int = 2000, stepSizeDown: Int = 0, lowest: Double = 0.1, mode: CycleWave.Mode = .triangular,
        gamma: Double = 1
    ) throws(SettingError) {
        wave = CycleWave(stepSizeUp, stepSizeDown, mode, gamma)
        self.lowest = lowest
        try settle()
    }

    package static let declaration = Declaration(
        name: "cyclic", title: "Cyclic", summary: "up and down, again and again",
        details: """
            f = lowest + (1 - lowest) * height; the height goes from 0 to 1 and back along straight lines, times 2 ** \
            -cycle in mode "triangular2" or gamma ** t in "exp_range".  Equals torch's CyclicLR, whose max_lr is the \
            base rate and base_lr / max_lr lowest.
            """,
        equation: "f = lowest + (1 − lowest)·height(t)",
        source: "Smith 2017, arXiv:1506.01186; torch CyclicLR")

    package static let parameters: [Parameter<Self>] =
        waveParameters + [.number("lowest", \.lowest, .closedFraction, "the factor between waves")]

    package func factor(at step: Int64, base: Double) -> Factor {
        Factor(lowest + (1 - lowest) * wave.height(at: step))
    }
}
