// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

/// The momentum that goes with `Cyclic`: low where the rate is high.
///
///     value = max_momentum − (max_momentum − base_momentum)·height(t)             (see `CycleWave`)
///
/// It is the value itself and not a factor: what it schedules has no say.
///
/// Source: torch's CyclicLR with cycle_momentum, which it equals.
public struct CyclicMomentum: Cycling {
    /// The form of a cycle.
    public var wave = CycleWave()
    /// Momentum at the peak of the rate.
    public var baseMomentum = 0.8
    /// Momentum between waves.
    public var maxMomentum = 0.9

    public init() {}

    /// Creates the schedule; throws if a value is outside its range.  The properties document the settings.
    public init(
        stepSizeUp: Int = 2000, stepSizeDown: Int = 0, baseMomentum: Double = 0.8, maxMomentum: Double = 0.9,
        mode: CycleWave.Mode = .triangular, gamma: Double = 1
    ) throws(SettingError) {
        wave = CycleWave(stepSizeUp, stepSizeDown, mode, gamma)
        self.baseMomentum = baseMomentum
        self.maxMomentum = maxMomentum
        try settle()
    }

    package static let declaration = Declaration(
        name: "cyclic_momentum", title: "CyclicMomentum", summary: "the momentum that goes with cyclic",
        details: """
            max_momentum - (max_momentum - base_momentum) * height.  It is the value itself and not a factor, whatever \
            the momentum of the rule.  Equals torch's CyclicLR with cycle_momentum.
            """,
        equation: "value = max_momentum − (max_momentum − base_momentum)·height(t)",
        source: "torch CyclicLR")

    package static let parameters: [Parameter<Self>] =
        waveParameters + [
            .number("base_momentum", \.baseMomentum, .fraction, "momentum at the peak of the rate"),
            .number("max_momentum", \.maxMomentum, .fraction, "momentum between waves"),
        ]

    package func factor(at step: Int64, base: Double) -> Factor {
        Factor(0, absolute: maxMomentum - (maxMomentum - baseMomentum) * wave.height(at: step))
    }
}
