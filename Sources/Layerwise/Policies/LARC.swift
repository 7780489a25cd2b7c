// SPDX-License-Identifier: Apache-2.0
import LayerwisePlatform
import LayerwiseRules

/// A ratio of weight to gradient norms as the rate of a layer.
struct NormRatio {
    /// η · ‖w‖ / (‖g‖ + λ‖w‖ + ε); nil where either norm is 0.
    static func of(_ layer: LayerMeasurement, trust: Double, eps: Double) -> Double? {
        if !(layer.weightNorm > 0 && layer.gradientNorm > 0) { return nil }
        return trust * layer.weightNorm / (layer.gradientNorm + layer.weightDecay * layer.weightNorm + eps)
    }
}

/// A rate from the ratio of weights to gradients, for any rule.
///
///     value = trust · ‖w‖ / (‖g‖ + λ‖w‖ + eps)
///     scale = min(average / rate, 1) with `clip`: no layer has a higher rate than the ratio, or than the rule's
///     scale = average            without
///
/// Source: LARC of NVIDIA apex, for each tensor and within the step; here for each layer and from the step before, as all measured
/// scales.  With `average` 0, the default, it is the last step's ratio.  apex adds λ·w to the gradient before; here the rule
/// decays as it does.
///
/// *Edge cases*: a layer whose weights or gradients are all 0 has no value, and keeps its scale, where apex takes 1.
public struct LARC: MeasuredPolicy {
    /// Η: the ratio of change to weights that is aimed at.
    public var trust = 0.02
    /// Only lower rates.
    public var clip = true
    /// What is added to the divisor.
    public var eps = 1e-8
    public var measuring = LARC.usual

    public init() {}

    /// Creates the policy; throws if a value is outside its range.  The properties document the settings.
    public init(
        _ trust: Double = 0.02, clip: Bool = true, eps: Double = 1e-8, measuring: Measuring = LARC.usual
    ) throws(SettingError) {
        self.trust = trust
        self.clip = clip
        self.eps = eps
        self.measuring = measuring
        try settle()
    }

    /// The last ratio alone.
    public static let usual: Measuring = {
        var measuring = Measuring()
        measuring.average = 0
        measuring.maxScale = 1e3
        return measuring
    }()

    package static let declaration = Declaration(
        name: "larc", title: "LARC",
        summary: "a rate from the ratio of weight to gradient norms of each layer, for any rule",
        details: """
            value = trust * |w| / (|g| + lambda * |w| + eps); with clip, scale = min(value / rate, 1), so that the ratio only lowers \
            rates; without, scale = value.  The scales are those of the next step, and are saved in checkpoints: the first step has \
            start_scale.  It costs what telemetry costs.
            """,
        equation: "scale = min(trust·‖w‖/(‖g‖ + λ‖w‖ + ε)/rate, 1)",
        source: "NVIDIA apex LARC, for each layer and from the step before", positional: ["trust"])

    package static let parameters: [Parameter<Self>] =
        [
            .number("trust", \.trust, .positive, "η: the ratio of change to weights that is aimed at"),
            .flag("clip", \.clip, "only lower rates"),
            .number("eps", \.eps, .nonNegative, "what is added to the divisor"),
        ]
        + Measuring.parameters.map { $0.lifted(\.measuring) }

    package func validate() throws(SettingError) { try measuring.validate() }

    package func value(of layer: LayerMeasurement) -> Double? { NormRatio.of(layer, trust: trust, eps: eps) }

    package func setTargets(_ layers: UnsafeMutableBufferPointer<LayerMeasurement>) {
        for index in layers.indices where layers[index].isStepped {
            let rate = layers[index].unscaledRate
            if clip {
                layers[index].target = rate > 0 ? min(layers[index].average / rate, 1) : 1
            } else {
                layers[index].target = layers[index].average
            }
        }
    }
}

/// LARS's ratio with a factor that begins high and falls: it takes the place of a warm-up, for any rule.
///
///     scale = trust · ‖w‖ / (‖g‖ + λ‖w‖ + eps) · (1 / (alpha + e^(steepness · (t − delay))) + lowest)
///
/// t counts the steps of the layer from 1.
///
/// Source: Do, Tran, Tran 2023 (Revisiting LARS for Large Batch Training Generalization, arXiv:2309.14053), TVLARS.  The authors' code has
/// these defaults, no delay and no lowest factor, and clamps both norms to 10, which is not done here.  Here the ratio is that of
/// the layer at the step before.
///
/// *Edge cases*: those of LARC.
public struct TVLARS: MeasuredPolicy {
    /// Η: the ratio of change to weights that is aimed at.
    public var trust = 0.001
    /// How fast the factor falls.
    public var steepness = 0.001
    /// Bounds the factor at 1/alpha.
    public var alpha = 0.1
    /// Steps by which the fall is put off.
    public var delay = 0.0
    /// What the factor falls to.
    public var lowest = 0.0
    /// What is added to the divisor.
    public var eps = 1e-8
    public var measuring = LARC.usual

    public init() {}

    /// Creates the policy; throws if a value is outside its range.  The properties document the settings.
    public init(
        _ trust: Double = 0.001, steepness: Double = 0.001, alpha: Double = 0.1, delay: Double = 0, lowest: Double = 0,
        eps: Double = 1e-8, measuring: Measuring = LARC.usual
    ) throws(SettingError) {
        self.trust = trust
        self.steepness = steepness
        self.alpha = alpha
        self.delay = delay
        self.lowest = lowest
        self.eps = eps
        self.measuring = measuring
        try settle()
    }

    package static let declaration = Declaration(
        name: "tvlars", title: "TVLARS",
        summary: "LARS's ratio with a factor that begins high and falls, in place of a warm-up, for any rule",
        details: """
            scale = trust * |w| / (|g| + lambda * |w| + eps) * (1 / (alpha + exp(steepness * (t - delay))) + lowest), where t counts the \
            steps of the layer from 1.  The scales are those of the next step, and are saved in checkpoints: the first step has \
            start_scale.  It costs what telemetry costs.
            """,
        equation: "scale = η·‖w‖/(‖g‖ + λ‖w‖ + ε)·(1/(α + e^(s·(t − d))) + lowest)",
        source: "Do, Tran, Tran 2023, arXiv:2309.14053, for each layer and from the step before", positional: ["trust"])

    package static let parameters: [Parameter<Self>] =
        [
            .number("trust", \.trust, .positive, "η"),
            .number("steepness", \.steepness, .positive, "how fast the factor falls"),
            .number("alpha", \.alpha, .positive, "bounds the factor at 1/alpha"),
            .number("delay", \.delay, .nonNegative, "steps by which the fall is put off"),
            .number("lowest", \.lowest, .nonNegative, "what the factor falls to"),
            .number("eps", \.eps, .nonNegative, "what is added to the divisor"),
        ]
        + Measuring.parameters.map { $0.lifted(\.measuring) }

    package func validate() throws(SettingError) { try measuring.validate() }

    package func value(of layer: LayerMeasurement) -> Double? { NormRatio.of(layer, trust: trust, eps: eps) }

    package func setTargets(_ layers: UnsafeMutableBufferPointer<LayerMeasurement>) {
        for index in layers.indices where layers[index].isStepped {
            let time = Double(layers[index].count)
            let factor = 1 / (alpha + exp(steepness * (time - delay))) + lowest
            layers[index].target = layers[index].average * factor
        }
    }
}
