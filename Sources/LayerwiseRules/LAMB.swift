// SPDX-License-Identifier: Apache-2.0

/// Layer-wise adaptive moments for batch training: Adam's direction, scaled to the size of the weights.
///
///     m ← β₁·m + (1 − β₁)·g,  v ← β₂·v + (1 − β₂)·g²
///     u = m̂ / (√v̂ + ε) + λ·w             (decay: update)
///     r = φ(‖w‖) / ‖u‖                   (φ(x) = min(x, weight_norm_max); r clamped to [ratio_min, ratio_max])
///     w ← w − γ·r·u
///
/// r is 1 where either norm is 0; tensors that `adapt` leaves out are not scaled.  `ratioEps`: r = φ(‖w‖) / (‖u‖ + ε).
/// decay `decoupled`: w ← w − γλ·w first, and ‖w‖ is taken after it; `gradient`: g ← g + λ·w first.
/// biasCorrection `none`: m̂ = m, v̂ = v; `step_size`: v̂ = v, and 1/(1 − β₁ᵗ) multiplies the step after the ratio.
/// Without gradient averaging, m ← β₁·m + g.
///
/// Source: You et al. 2020, algorithm 2 (arXiv:1904.00962), which the default equals with φ the identity.  Libraries of
/// this name disagree; the presets say how: `timm`, `apex` (both clip the global norm to 1, which is the optimizer's
/// setting `clip_global_norm` here), `optax`, `pytorch_optimizer`.
public struct LAMB: TrustRatioRule {
    /// Where the weight decay acts.
    public enum Decay: String, Choice {
        case update, decoupled, gradient
    }

    /// What is corrected for the moments' start at 0.
    public enum BiasCorrection: String, Choice {
        case moments, none
        case stepSize = "step_size"
    }

    /// Learning rate γ.
    public var learningRate = 1e-3
    /// Decay β₁ of the first moment.
    public var beta1 = 0.9
    /// Decay β₂ of the second moment.
    public var beta2 = 0.999
    /// Number ε that is added to the denominator.
    public var epsilon = 1e-6
    /// Decay coefficient λ.
    public var weightDecay = 0.0
    /// Where the decay goes: `update` is inside u (the paper), `decoupled` is w ← w − γλw before the norm is taken,
    /// `gradient` is g + λw.
    public var decay = Decay.update
    /// Which tensors get a ratio: `all`, `decayed` (those with decay, as in timm) or `matrices` (of rank 2 and more).
    public var adapt = Adapt.all
    /// One ratio for each `tensor`, or for each `layer`.
    public var scope = TrustRatioScope.tensor
    /// `moments` corrects both; `none`; `step_size` corrects m only, on the step after the ratio (pytorch_optimizer).
    public var biasCorrection = BiasCorrection.moments
    /// Weigh the gradient by 1 − β₁ in the first moment.
    public var gradAveraging = true
    /// Add ε to ‖u‖ in the ratio.
    public var ratioEps = false
    /// Lower limit of the ratio.
    public var ratioMin = 0.0
    /// Upper limit of the ratio.
    public var ratioMax = Double.infinity
    /// Upper limit of ‖w‖ in the ratio.
    public var weightNormMax = Double.infinity
    /// No decay for tensors of rank 0 and 1.
    public var weightDecayExclude1D = false

    public init() {}

    /// Creates the rule from its hyperparameters, which the properties document.
    public init(
        lr: Double, betas: (Double, Double) = (0.9, 0.999), eps: Double = 1e-6, weightDecay: Double = 0
    ) {
        learningRate = lr
        (beta1, beta2) = betas
        epsilon = eps
        self.weightDecay = weightDecay
    }

    package static let declaration = Declaration(
        name: "lamb", title: "LAMB",
        summary: "Adam whose update is scaled to the norm of each tensor",
        details: """
            u = m_hat / (sqrt(v_hat) + eps) + weight_decay * w;  ratio = |w| / |u|, and 1 where a norm is 0;  \
            w -= lr * ratio * u.  Libraries differ, so each difference is an option, and `variant` sets them all at once; options given as well \
            override it.  An option left at None is the variant's, else the library's default.
            """,
        equation: "u = m̂/(√v̂ + ε) + λw; w ← w − γ·(‖w‖/‖u‖)·u",
        source: "You et al. 2020, algorithm 2, arXiv:1904.00962",
        states: [.parameter("exp_avg"), .parameter("exp_avg_sq")])

    package static let parameters: [Parameter<Self>] = [
        .number("lr", \.learningRate, .nonNegative, "learning rate γ"),
        .number("beta1", \.beta1, .fraction, "decay β₁ of the first moment"),
        .number("beta2", \.beta2, .fraction, "decay β₂ of the second moment"),
        .number("eps", \.epsilon, .nonNegative, "number ε that is added to the denominator"),
        .number("weight_decay", \.weightDecay, .nonNegative, "decay coefficient λ"),
        .choice(
            "decay", \.decay,
            "where the decay goes: \"update\" is inside u (the paper), \"decoupled\" is w ← w − γλw before the norm is taken, \"gradient\" is g + λw"
        ),
        .choice(
            "adapt", \.adapt,
            "which tensors get a ratio: \"all\", \"decayed\" (those with decay, as in timm) or \"matrices\" (of rank 2 and more)"
        ),
        .choice("trust_ratio_scope", \.scope, "one ratio for each \"tensor\", or for each \"layer\""),
        .choice(
            "bias_correction", \.biasCorrection,
            "\"moments\" corrects both; \"none\"; \"step_size\" corrects m only, on the step after the ratio (pytorch_optimizer)"
        ),
        .flag("grad_averaging", \.gradAveraging, "weigh the gradient by 1 − β₁ in the first moment"),
        .flag("ratio_eps", \.ratioEps, "add ε to ‖u‖ in the ratio"),
        .number("ratio_min", \.ratioMin, .nonNegative, "lower limit of the ratio"),
        .number("ratio_max", \.ratioMax, .limit, "upper limit of the ratio"),
        .number("weight_norm_max", \.weightNormMax, .limit, "upper limit of ‖w‖ in the ratio"),
        .flag("weight_decay_exclude_1d", \.weightDecayExclude1D, "no decay for tensors of rank 0 and 1"),
    ]

    package static let presets = [
        Preset(
            "paper", [Setting("decay", "update"), Setting("adapt", "all"), Setting("bias_correction", "moments")]),
        Preset(
            "timm",
            [
                Setting("decay", "update"), Setting("adapt", "decayed"), Setting("bias_correction", "moments"),
                Setting("weight_decay", 0.01),
            ]),
        Preset(
            "apex",
            [
                Setting("decay", "update"), Setting("adapt", "decayed"), Setting("bias_correction", "moments"),
                Setting("weight_decay", 0.01),
            ]),
        Preset("optax", [Setting("decay", "update"), Setting("adapt", "all"), Setting("bias_correction", "moments")]),
        Preset(
            "pytorch_optimizer",
            [
                Setting("decay", "decoupled"), Setting("adapt", "all"), Setting("bias_correction", "step_size"),
                Setting("weight_norm_max", 10), Setting("ratio_eps", 1),
            ]),
    ]

    package func validate() throws(SettingError) {
        if ratioMin > ratioMax {
            throw .invalid("ratio_min must not exceed ratio_max, found \(ratioMin) and \(ratioMax)")
        }
    }

    static let advancesFirst = true

    /// What `LAMBArithmetic` reads.
    package struct Coefficients: BitwiseCopyable {
        package let coupledDecay, directionDecay, decay, forget, firstShare, secondShare, momentScale: Double
        package let epsilon, stepSize: Double
    }

    package var decouplesDecay: Bool { decay == .decoupled }

    func adapts(_ tensor: TensorTraits) -> Bool {
        adapt.includes(tensor, weightDecay: weightDecay * decayScale(tensor))
    }

    package func decayScale(_ tensor: TensorTraits) -> Double {
        tensor.isMatrix || !weightDecayExclude1D ? tensor.decayScale : 0
    }

    package func plan(_ moment: StepInput, powers: inout BiasCorrectionCache, into target: UnsafeMutableRawPointer) {
        let weightDecay = weightDecay * decayScale(moment.tensor)
        let firstComplement = powers.complement(beta1, moment.step)
        // As in Adam, the root of the second moment's correction moves into the first moment's and into ε.
        let root = biasCorrection == .moments ? powers.complement(beta2, moment.step).squareRoot() : 1
        let rate = moment.learningRate
        let coefficients = Coefficients(
            coupledDecay: decay == .gradient ? weightDecay : 0,
            directionDecay: decay == .update ? weightDecay : 0,
            decay: decay == .decoupled ? moment.decayRate * weightDecay : 0,
            forget: 1 - beta1,
            firstShare: gradAveraging ? 1 - beta1 : 1,
            secondShare: 1 - beta2,
            momentScale: biasCorrection == .moments ? root / firstComplement : 1,
            epsilon: epsilon * root,
            stepSize: biasCorrection == .stepSize ? rate / firstComplement : rate)
        target.storeBytes(of: coefficients, as: Coefficients.self)
    }

    func trustRatio(_ norms: TrustNorms, rates: TrustRates) -> Double {
        var weights = decay == .decoupled ? norms.weights(after: rates.decayRate * weightDecay) : norms.weights
        weights = min(weights, weightNormMax)
        if weights == 0 || norms.directions == 0 { return 1 }
        let ratio = weights / (norms.directions + (ratioEps ? epsilon : 0))
        return ratio.isNaN ? ratio : max(ratioMin, min(ratio, ratioMax))
    }

    package var kernel: KernelKey { .lamb }
}
