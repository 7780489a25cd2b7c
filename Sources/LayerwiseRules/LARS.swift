// SPDX-License-Identifier: Apache-2.0

/// Layer-wise adaptive rate scaling: SGD whose direction is scaled to the size of the weights.
///
///     r = η·‖w‖ / (‖g‖ + λ‖w‖ + ε)       (norm: separate)
///     r = η·‖w‖ / (‖g + λ·w‖ + ε)        (norm: decayed)
///     d = r·(g + λ·w)
///     b ← μ·b + (1 − τ)·γ·d;  w ← w − b  (lrPosition: inside)
///     b ← μ·b + (1 − τ)·d;  w ← w − γ·b  (lrPosition: outside)
///
/// r is 1 where ‖w‖ or the denominator is 0, and with `skipZeroGradient` and separate norms where ‖g‖ is; tensors that
/// `adapt` leaves out are not scaled.  `trustClip` takes min(r/γ, 1) in place of r.  At a tensor's first step b is its new
/// term, undamped but with `dampenFirst`.
///
/// Source: You, Gitman, Ginsburg 2017, algorithm 1 (arXiv:1708.03888), which the default equals.  Libraries of this name
/// disagree; the presets say how: `timm`, `optax`, `mae` (also MoCo v3), `pytorch_optimizer`.
public struct LARS: TrustRatioRule {
    /// What the denominator takes the norm of.
    public enum Norm: String, Choice {
        case separate, decayed
    }

    /// Where the learning rate acts.
    public enum LRPosition: String, Choice {
        case inside, outside
    }

    /// Learning rate γ.
    public var learningRate = 1.0
    /// Momentum factor μ; 0 keeps no velocity.
    public var momentum = 0.9
    /// Share τ of the gradient that is left out of the velocity.
    public var dampening = 0.0
    /// Decay coefficient λ.
    public var weightDecay = 0.0
    /// Damp a tensor's first step too, as in pytorch_optimizer.
    public var dampenFirst = false
    /// Nesterov momentum, which looks ahead along the velocity; needs momentum > 0 and dampening 0.
    public var nesterov = false
    /// Factor η of the ratio.
    public var trustCoefficient = 0.001
    /// Number ε that is added to the denominator of the ratio.
    public var epsilon = 0.0
    /// Denominator: `separate` is ‖g‖ + λ‖w‖ + ε (the paper), `decayed` is ‖g + λw‖ + ε.
    public var norm = Norm.separate
    /// `inside` keeps γr in the velocity (the paper), `outside` applies γ to the velocity.
    public var lrPosition = LRPosition.inside
    /// Which tensors get a ratio: `all`, `decayed` (those with decay, as in timm) or `matrices` (of rank 2 and more).
    public var adapt = Adapt.all
    /// One ratio for each `tensor`, or for each `layer`.
    public var scope = TrustRatioScope.tensor
    /// Limit the ratio to min(r/γ, 1), as in timm.
    public var trustClip = false
    /// With separate norms, the ratio is 1 where ‖g‖ is 0, also if there is decay, as in timm.
    public var skipZeroGradient = false
    /// No decay for tensors of rank 0 and 1.
    public var weightDecayExclude1D = false

    public init() {}

    /// Creates the rule from its hyperparameters, which the properties document.
    public init(lr: Double, momentum: Double = 0.9, weightDecay: Double = 0, trustCoefficient: Double = 0.001) {
        learningRate = lr
        self.momentum = momentum
        self.weightDecay = weightDecay
        self.trustCoefficient = trustCoefficient
    }

    package static let declaration = Declaration(
        name: "lars", title: "LARS",
        summary: "Layer-wise adaptive rate scaling: SGD with momentum whose rate follows the norms of each tensor",
        details: """
            ratio = trust_coefficient * |w| / (|g| + weight_decay * |w| + eps), and 1 where |w| or the denominator is 0;  \
            v = momentum * v + lr * ratio * (g + weight_decay * w);  w -= v.  Libraries differ, so each difference is an option, and `variant` sets them all at once; options given as well \
            override it.  An option left at None is the variant's, else the library's default.
            """,
        equation: "r = η‖w‖/(‖g‖ + λ‖w‖ + ε); b ← μb + γr(g + λw); w ← w − b",
        source: "You, Gitman, Ginsburg 2017, algorithm 1, arXiv:1708.03888",
        states: [.parameter("momentum_buffer")], needsStep: false)

    package static let parameters: [Parameter<Self>] = [
        .number("lr", \.learningRate, .nonNegative, "learning rate γ"),
        .number("momentum", \.momentum, .fraction, "momentum factor μ; 0 keeps no velocity"),
        .number("dampening", \.dampening, .closedFraction, "share τ of the gradient that is left out of the velocity"),
        .flag("dampen_first", \.dampenFirst, "damp a tensor's first step too, as in pytorch_optimizer"),
        .number("weight_decay", \.weightDecay, .nonNegative, "decay coefficient λ"),
        .flag(
            "nesterov", \.nesterov,
            "Nesterov momentum, which looks ahead along the velocity; needs momentum > 0 and dampening 0"),
        .number("trust_coefficient", \.trustCoefficient, .positive, "factor η of the ratio"),
        .number("eps", \.epsilon, .nonNegative, "number ε that is added to the denominator of the ratio"),
        .choice("norm", \.norm, "denominator: \"separate\" is ‖g‖ + λ‖w‖ + ε (the paper), \"decayed\" is ‖g + λw‖ + ε"),
        .choice(
            "lr_position", \.lrPosition,
            "\"inside\" keeps γr in the velocity (the paper), \"outside\" applies γ to the velocity"),
        .choice(
            "adapt", \.adapt,
            "which tensors get a ratio: \"all\", \"decayed\" (those with decay, as in timm) or \"matrices\" (of rank 2 and more)"
        ),
        .choice("trust_ratio_scope", \.scope, "one ratio for each \"tensor\", or for each \"layer\""),
        .flag("trust_clip", \.trustClip, "limit the ratio to min(r/γ, 1), as in timm"),
        .flag(
            "skip_zero_gradient", \.skipZeroGradient,
            "with separate norms, the ratio is 1 where ‖g‖ is 0, also if there is decay, as in timm"),
        .flag("weight_decay_exclude_1d", \.weightDecayExclude1D, "no decay for tensors of rank 0 and 1"),
    ]

    package static let presets = [
        Preset("paper", [Setting("norm", "separate"), Setting("lr_position", "inside"), Setting("adapt", "all")]),
        Preset(
            "timm",
            [
                Setting("norm", "separate"), Setting("lr_position", "outside"), Setting("adapt", "decayed"),
                Setting("momentum", 0), Setting("eps", 1e-8), Setting("skip_zero_gradient", 1),
            ]),
        Preset("optax", [Setting("norm", "decayed"), Setting("lr_position", "inside"), Setting("adapt", "all")]),
        Preset(
            "mae",
            [
                Setting("norm", "decayed"), Setting("lr_position", "outside"), Setting("adapt", "matrices"),
                Setting("weight_decay_exclude_1d", 1),
            ]),
        Preset(
            "pytorch_optimizer",
            [
                Setting("norm", "separate"), Setting("lr_position", "outside"), Setting("adapt", "matrices"),
                Setting("weight_decay_exclude_1d", 1), Setting("dampen_first", 1),
            ]),
    ]

    package func validate() throws(SettingError) { try validateNesterov(nesterov, momentum, dampening) }

    package var states: StateSet { momentum > 0 ? .state(0) : [] }

    static let advancesFirst = false

    /// What `LARSArithmetic` reads.
    package struct Coefficients: BitwiseCopyable {
        package let decay, measuredDecay, inner, momentum, fresh, outer: Double
        package let nesterov: Bool
    }

    func adapts(_ tensor: TensorTraits) -> Bool {
        adapt.includes(tensor, weightDecay: weightDecay * decayScale(tensor))
    }

    package func decayScale(_ tensor: TensorTraits) -> Double {
        tensor.isMatrix || !weightDecayExclude1D ? tensor.decayScale : 0
    }

    package func plan(_ moment: StepInput, powers: inout BiasCorrectionCache, into target: UnsafeMutableRawPointer) {
        let decay = weightDecay * decayScale(moment.tensor)
        let coefficients = Coefficients(
            decay: decay,
            measuredDecay: norm == .decayed ? decay : 0,
            inner: lrPosition == .inside ? moment.learningRate : 1,
            momentum: momentum,
            fresh: dampenFirst && momentum > 0
                ? 1 - dampening : freshShare(dampening: dampening, momentum: momentum, step: moment.step),
            outer: lrPosition == .inside ? 1 : moment.learningRate,
            nesterov: nesterov)
        target.storeBytes(of: coefficients, as: Coefficients.self)
    }

    func trustRatio(_ norms: TrustNorms, rates: TrustRates) -> Double {
        let separate = norm == .separate ? weightDecay * norms.decayingWeights : 0
        let denominator = min(norms.directions + separate, .greatestFiniteMagnitude)
        let isSkipped = norms.weights == 0 || denominator == 0 || (skipZeroGradient && norms.directions == 0)
        let ratio = isSkipped ? 1 : trustCoefficient * norms.weights / (denominator + epsilon)
        if !trustClip { return ratio }
        return ratio > rates.learningRate ? 1 : ratio / rates.learningRate
    }

    package var kernel: KernelKey { states.isEmpty ? .lars : .larsMomentum }
}
