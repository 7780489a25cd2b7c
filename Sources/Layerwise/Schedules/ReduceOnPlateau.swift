// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

/// Lower by a factor when a metric has stopped improving.
///
///     f = max(factor^(number of reductions), min_factor)
///
/// A metric is better than the best so far if it is more than a margin below it, with mode max more than a margin above:
///
///     threshold_mode rel:        margin = threshold·|best|
///     threshold_mode abs:        margin = threshold
///     threshold_mode torch_rel:  margin = threshold·best, which for a negative best allows a metric that is worse
///
/// After more than `patience` metrics in a row that are not better, the factor falls, and the next `cooldown` metrics do
/// not count as bad.
///
/// Source: torch's ReduceLROnPlateau, which it equals with eps = 0 and its min_lr as a share of the rate; for metrics that
/// may be negative, such as a log-likelihood, torch's "rel" is `torch_rel` here, with which a flat negative metric never
/// counts as a plateau.  A metric that is not a number is bad.
public struct ReduceOnPlateau: DeclaredSchedule {
    /// Which metrics are good: `min`, low ones, or `max`, high ones.
    public var mode = Mode.min
    /// The factor of each reduction; below 1.
    public var factor = 0.1
    /// Bad metrics in a row that are borne.
    public var patience = 10
    /// How much better a metric must be to count.
    public var threshold = 1e-4
    /// What threshold is: `rel`, a share of the best's magnitude; `abs`, a difference; `torch_rel`, a share of the best
    /// with its sign, which is torch's `rel`.
    public var thresholdMode = ThresholdMode.relative
    /// Metrics after a reduction that are not counted as bad.
    public var cooldown = 0
    /// No factor is lower.
    public var minFactor = 0.0

    private var gain = 1.0
    /// The best metric; nil before the first.
    private var best: Double?
    private var badCount = 0
    private var cooldownLeft = 0

    /// Which metrics are good.
    public enum Mode: String, Choice {
        /// Low ones, such as losses.
        case min
        /// High ones, such as accuracies.
        case max
    }

    /// What the threshold is a share of.
    public enum ThresholdMode: String, Choice {
        /// Of the magnitude of the best metric.
        case relative = "rel"
        /// Of nothing: it is in the units of the metric.
        case absolute = "abs"
        /// Of the best metric with its sign, as in torch.
        case signed = "torch_rel"
    }

    public init() {}

    /// Creates the schedule; throws if a value is outside its range.  The properties document the settings.
    public init(
        mode: Mode = .min, factor: Double = 0.1, patience: Int = 10, threshold: Double = 1e-4,
        thresholdMode: ThresholdMode = .relative, cooldown: Int = 0, minFactor: Double = 0
    ) throws(SettingError) {
        self.mode = mode
        self.factor = factor
        self.patience = patience
        self.threshold = threshold
        self.thresholdMode = thresholdMode
        self.cooldown = cooldown
        self.minFactor = minFactor
        try settle()
    }

    package static let declaration = Declaration(
        name: "reduce_on_plateau", title: "ReduceOnPlateau", summary: "lower when a metric has stopped improving",
        details: """
            `Optimizer.report` reports the metric.  f = max(factor ** reductions, min_factor).  A metric is better \
            than the best so far if it is more than a margin below it, with mode "max" more than a margin above it. \
            The margin is threshold * abs(best) with threshold_mode "rel", threshold with "abs", and threshold * best \
            with "torch_rel".  After more than `patience` metrics in a row that are not better, the factor falls. \
            Equals torch's with eps = 0 and its min_lr as a share of the rate; where metrics may be negative, torch's \
            "rel" is "torch_rel" here, with which a flat negative metric never counts as a plateau.  A metric that is \
            not a number is bad.
            """,
        equation: "f = max(factor^reductions, min_factor)",
        source: "torch ReduceLROnPlateau")

    package static let parameters: [Parameter<Self>] = [
        .choice("mode", \.mode, "which metrics are good: \"min\", low ones, or \"max\", high ones"),
        .number("factor", \.factor, .positiveFraction, "the factor of each reduction; below 1"),
        .integer("patience", \.patience, 0...mostSteps, "bad metrics in a row that are borne"),
        .number("threshold", \.threshold, .nonNegative, "how much better a metric must be to count"),
        .choice(
            "threshold_mode", \.thresholdMode,
            "what threshold is: \"rel\", a share of the best's magnitude; \"abs\", a difference; \"torch_rel\", a share of the best with its sign, which is torch's \"rel\""
        ),
        .integer("cooldown", \.cooldown, 0...mostSteps, "metrics after a reduction that are not counted as bad"),
        .number("min_factor", \.minFactor, .closedFraction, "no factor is lower"),
    ]

    package func validate() throws(SettingError) {
        if factor == 1 { throw .invalid("factor must be in (0, 1), found 1") }
    }

    package func factor(at step: Int64, base: Double) -> Factor { Factor(gain) }

    package var takesMetric: Bool { true }

    package mutating func report(_ metric: Double) {
        if isBetter(metric) {
            best = metric
            badCount = 0
        } else {
            badCount += 1
        }
        if cooldownLeft > 0 {
            cooldownLeft -= 1
            badCount = 0
        }
        if badCount > patience {
            // Never up, which a state from other settings could ask for.
            gain = Swift.min(gain, Swift.max(gain * factor, minFactor))
            cooldownLeft = cooldown
            badCount = 0
        }
    }

    private func isBetter(_ metric: Double) -> Bool {
        let best = best ?? worst
        let isLow = mode == .min
        let share: Double
        switch thresholdMode {
        case .absolute: return isLow ? metric < best - threshold : metric > best + threshold
        case .relative: share = best < 0 && best != worst ? -threshold : threshold
        case .signed: share = threshold
        }
        return isLow ? metric < best * (1 - share) : metric > best * (1 + share)
    }

    /// What any metric is better than.
    private var worst: Double { mode == .min ? .infinity : -.infinity }

    /// The factor, the best metric, the bad metrics in a row, and the metrics of the cooldown that are left.  A list
    /// that is not of this kind changes nothing.
    package var state: [Double] {
        get { [gain, best ?? worst, Double(badCount), Double(cooldownLeft)] }
        set {
            guard newValue.count == 4, ValidRange.closedFraction.contains(newValue[0]), !newValue[1].isNaN,
                let bad = Int(exactly: newValue[2]), (0...mostSteps).contains(bad),
                let left = Int(exactly: newValue[3]), (0...mostSteps).contains(left)
            else { return }
            gain = newValue[0]
            best = newValue[1]
            badCount = bad
            cooldownLeft = left
        }
    }
}
