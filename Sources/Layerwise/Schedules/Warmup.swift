// SPDX-License-Identifier: Apache-2.0
import LayerwisePlatform
import LayerwiseRules

/// A rise to what follows.
///
///     x = (t + count_from)/steps
///     t < steps:  f = w(x)·part(0)         linear:          w = start + (1 − start)·x
///                                          constant:        w = start
///                                          cosine:          w = start + (1 − start)·½(1 − cos(πx))
///                                          exponential:     w = start^(1 − x)
///                                          sqrt:            w = start + (1 − start)·√x
///                                          one_minus_sqrt:  w = start + (1 − start)·(1 − √(1 − x))
///                                          log:             w = start + (1 − start)·ln(t + 1)/ln(steps)
///     else:       f = part(t − steps)
///     overlap:    f = w(x), and from `steps` on part(t)
///
/// Without a part it stays at 1.
///
/// Source: Goyal et al. 2017 (arXiv:1706.02677).  Equals, with the linear shape, torch's LinearLR (start_factor) and
/// timm's warm-up (start = warmup_lr_init/lr), with warmup_prefix for a part that begins at 1, without it as `overlap`;
/// with the constant shape torch's ConstantLR; with log DeepSpeed's WarmupLR.  Hugging Face's
/// `cosine_warmup_with_min_lr` over T steps with W of warm-up is a linear one with steps = W − 1 and start = 1/W, or
/// its warmup_lr_rate, and a cosine over T − W.
public struct Warmup: DeclaredSchedule {
    /// Steps of warm-up.
    public var steps = 0
    /// How the factor rises.
    public var shape = Shape.linear
    /// Where it starts; above 0 for `exponential`.
    public var start = 0.0
    /// The number of the first step; with 1 the last step of the warm-up is at 1.
    public var countFrom = 0
    /// What follows counts its steps from the start of the warm-up.
    public var overlap = false
    private var schedule: (any DeclaredSchedule)?

    /// How the factor rises.
    public enum Shape: String, Choice {
        case linear
        case constant
        case cosine
        case exponential
        case squareRoot = "sqrt"
        case oneMinusSquareRoot = "one_minus_sqrt"
        case logarithmic = "log"
    }

    public init() {}

    /// Creates the schedule; throws if a value is outside its range.  The properties document the settings.
    public init(
        steps: Int, shape: Shape = .linear, start: Double = 0, countFrom: Int = 0, overlap: Bool = false,
        _ schedule: (any Schedule)? = nil
    ) throws(SettingError) {
        self.steps = steps
        self.shape = shape
        self.start = start
        self.countFrom = countFrom
        self.overlap = overlap
        self.schedule = schedule?.implementation.schedule
        try settle()
    }

    package static let declaration = Declaration(
        name: "warmup", title: "Warmup", summary: "a rise to what follows",
        details: """
            f = w * then(0) for t < steps, then(t - steps) from there on; with overlap w, and then(t).  Without what \
            follows it stays at 1.  With x = (t + count_from) / steps, w is start + (1 - start) * s; s is x for shape \
            "linear", 0 "constant", 0.5 * (1 - cos(pi * x)) "cosine", sqrt(x) "sqrt", 1 - sqrt(1 - x) \
            "one_minus_sqrt", ln(t + 1) / ln(steps) "log"; for "exponential" w is start ** (1 - x).  Equals torch's \
            LinearLR (start is start_factor) and timm's warm-up (start is warmup_lr_init / lr; without warmup_prefix \
            it is overlap), torch's ConstantLR ("constant"), DeepSpeed's WarmupLR ("log").
            """,
        equation: "f = w((t + count_from)/steps)·part(0), then part(t − steps)",
        source: "Goyal et al. 2017, arXiv:1706.02677; torch LinearLR and ConstantLR, timm, DeepSpeed WarmupLR",
        parts: "the schedule that follows, if any",
        arguments: [
            Argument("then", .optionalPart, "the schedule that follows")
        ],
        positional: ["steps", "then"])

    package static let parameters: [Parameter<Self>] = [
        .integer("steps", \.steps, 1...mostSteps, "steps of warm-up"),
        .choice("shape", \.shape, "how the factor rises"),
        .number("start", \.start, .closedFraction, "where it starts; above 0 for \"exponential\""),
        .integer(
            "count_from", \.countFrom, 0...1,
            "the number of the first step; with 1 the last step of the warm-up is at 1"),
        .flag("overlap", \.overlap, "what follows counts its steps from the start of the warm-up"),
    ]

    package var components: [any Component] { schedule.map { [$0] } ?? [] }

    package mutating func take(parts: [Spec]) throws(SettingError) {
        if parts.count > 1 { throw .invalid("expected at most one schedule, found \(parts.count)") }
        schedule = try schedules(parts).first
    }

    package func validate() throws(SettingError) {
        try require("steps", steps)
        if shape == .exponential && start == 0 { throw .invalid("start must be in (0, 1] if shape is exponential") }
        if shape == .logarithmic && steps < 2 { throw .invalid("steps must be at least 2 if shape is log") }
        if countFrom != 0 && (shape == .constant || shape == .logarithmic) {
            throw .invalid("count_from must be 0 if shape is \(shape.rawValue), found \(countFrom)")
        }
        if overlap && schedule == nil { throw .invalid("overlap must be 0 without a schedule that follows") }
    }

    package func factor(at step: Int64, base: Double) -> Factor {
        if step >= Int64(steps) {
            return schedule?.factor(at: overlap ? step : step &- Int64(steps), base: base) ?? Factor(1)
        }
        let rise = Factor(rise(Double(step)))
        return overlap ? rise : schedule?.factor(at: 0, base: base).then(rise) ?? rise
    }

    private func rise(_ time: Double) -> Double {
        let x = (time + Double(countFrom)) / Double(steps)
        let share: Double
        switch shape {
        case .linear: share = Ramp.linear.rise(x)
        case .constant: share = 0
        case .cosine: share = Ramp.cosine.rise(x)
        case .exponential: return pow(start, 1 - x)
        case .squareRoot: share = x.squareRoot()
        case .oneMinusSquareRoot: share = Ramp.oneMinusSquareRoot.rise(x)
        case .logarithmic: share = log(time + 1) / log(Double(steps))
        }
        return start + (1 - start) * share
    }

    package func floor(base: Double) -> Factor? { schedule?.floor(base: base) }

    package var takesMetric: Bool { schedule?.takesMetric ?? false }
    package mutating func report(_ metric: Double) { schedule?.report(metric) }
    package var state: [Double] {
        get { schedule?.state ?? [] }
        set { schedule?.state = newValue }
    }
}
