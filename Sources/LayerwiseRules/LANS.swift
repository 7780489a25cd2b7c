// SPDX-License-Identifier: Apache-2.0

/// LAMB with normalized gradients and Nesterov momentum: a ratio of norms for the momentum and one for the gradient.
///
///     g̃ = g / ‖g‖                                             (g where the norm is 0; normEps: g / (‖g‖ + ε))
///     m ← β₁·m + (1 − β₁)·g̃;  v ← β₂·v + (1 − β₂)·g̃²
///     r = m̂ / (√v̂ + ε) + λ·w;  c = g̃ / (√v̂ + ε) + λ·w         (m̂ and v̂ as in `Adam`)
///     w ← w − γ·(β₁·‖w‖/‖r‖·r + (1 − β₁)·‖w‖/‖c‖·c)
///
/// A ratio is 1 where one of its norms is 0, and for tensors that the policy does not let adapt.  decay `gradient`: g̃ ← g̃ + λ·w in
/// place of the decay in r and c.  Without `normalizeGrad` g̃ is g.  Without gradient averaging, m ← β₁·m + g̃, and c counts whole.
/// Telemetry shows the ratio of the momentum.
///
/// Source: Zheng, Lin, Zha and Li 2020, algorithm 2 (arXiv:2006.13484), which the default equals with φ the identity.  `gluon` is
/// the preset of gluon-nlp's `FusedLANS`, which adds ε to ‖g‖.
public struct LANS: DeclaredRule {
    /// Where the weight decay acts.
    public enum Decay: String, Choice {
        case update, gradient
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
    public var weightDecay = 1e-2
    /// Where the decay goes: `update` is inside r and c (the paper), `gradient` is g̃ + λw.
    public var decay = Decay.update
    /// Divide the gradient by its norm.
    public var normalizeGrad = true
    /// Add ε to that norm, as gluon-nlp does.
    public var normEps = false
    /// Weigh the gradient by 1 − β₁.
    public var gradAveraging = true
    /// Correct both moments for their start at 0.
    public var biasCorrection = true
    /// Norms of each `tensor`, or of each `layer`.
    public var scope = TrustRatioScope.tensor

    public init() {}

    /// Creates the rule from its hyperparameters, which the properties document.
    public init(
        lr: Double, betas: (Double, Double) = (0.9, 0.999), eps: Double = 1e-6, weightDecay: Double = 1e-2
    ) {
        learningRate = lr
        (beta1, beta2) = betas
        epsilon = eps
        self.weightDecay = weightDecay
    }

    package static let declaration = Declaration(
        name: "lans", title: "LANS",
        summary: "LAMB with normalized gradients and Nesterov momentum",
        details: """
            g = g / |g|;  m and v as in Adam;  r = m_hat / (sqrt(v_hat) + eps) + weight_decay * w;  c = g / (sqrt(v_hat) + eps) + weight_decay * w;  \
            w -= lr * (beta1 * |w| / |r| * r + (1 - beta1) * |w| / |c| * c).  A ratio is 1 where one of its norms is 0.
            """,
        equation: "r = m̂/(√v̂ + ε) + λw; c = g̃/(√v̂ + ε) + λw; w ← w − γ‖w‖(β₁r/‖r‖ + (1−β₁)c/‖c‖)",
        source: "Zheng, Lin, Zha and Li 2020, algorithm 2, arXiv:2006.13484",
        states: [.parameter("exp_avg"), .parameter("exp_avg_sq")])

    package static let parameters: [Parameter<Self>] = [
        .number("lr", \.learningRate, .nonNegative, "learning rate γ"),
        .number("beta1", \.beta1, .fraction, "decay β₁ of the first moment"),
        .number("beta2", \.beta2, .fraction, "decay β₂ of the second moment"),
        .number("eps", \.epsilon, .nonNegative, "number ε that is added to the denominator"),
        .number("weight_decay", \.weightDecay, .nonNegative, "decay coefficient λ"),
        .choice(
            "decay", \.decay,
            "where the decay goes: \"update\" is inside r and c (the paper), \"gradient\" is g̃ + λw"),
        .flag("normalize_grad", \.normalizeGrad, "divide the gradient by its norm"),
        .flag("norm_eps", \.normEps, "add ε to that norm, as gluon-nlp does"),
        .flag("grad_averaging", \.gradAveraging, "weigh the gradient by 1 − β₁"),
        .flag("bias_correction", \.biasCorrection, "correct both moments for their start at 0"),
        .choice("trust_ratio_scope", \.scope, "norms of each \"tensor\", or of each \"layer\""),
    ]

    package static let presets = [
        Preset("paper", [Setting("decay", "update"), Setting("normalize_grad", 1), Setting("norm_eps", 0)]),
        Preset("gluon", [Setting("decay", "update"), Setting("normalize_grad", 1), Setting("norm_eps", 1)]),
    ]

    package var stages: [Stage] {
        let scope: Stage.Scope = scope == .tensor ? .tensor : .layer
        return [.measure(over: scope), .measure(over: scope), .change()]
    }

    package var hasTrustRatio: Bool { true }

    /// What `LANSArithmetic` reads.
    package struct Coefficients: BitwiseCopyable {
        package let coupledDecay, directionDecay, forget, firstShare, secondShare, momentScale, gradientScale: Double
        package let epsilon, momentStep, gradientStep: Double
    }

    package func plan(_ moment: StepInput, powers: inout BiasCorrectionCache, into target: UnsafeMutableRawPointer) {
        let weightDecay = weightDecay * decayScale(moment.tensor)
        // As in Adam, the root of the second moment's correction moves into the numerators and into ε.
        let root = biasCorrection ? powers.complement(beta2, moment.step).squareRoot() : 1
        let share = gradAveraging ? 1 - beta1 : 1
        let coefficients = Coefficients(
            coupledDecay: decay == .gradient ? weightDecay : 0, directionDecay: decay == .update ? weightDecay : 0,
            forget: 1 - beta1, firstShare: share, secondShare: 1 - beta2,
            momentScale: biasCorrection ? root / powers.complement(beta1, moment.step) : 1, gradientScale: root,
            epsilon: epsilon * root, momentStep: moment.learningRate * beta1,
            gradientStep: moment.learningRate * share)
        target.storeBytes(of: coefficients, as: Coefficients.self)
    }

    package func finish(_ stage: Int, _ sums: StageSums, _ moment: StepInput) -> StageNumbers {
        let norms = TrustNorms(sums)
        if stage == 0 {
            let divisor = normalizeGrad && norms.directions > 0 ? norms.directions + (normEps ? epsilon : 0) : 1
            return StageNumbers(norms.weights, 0, min(divisor, .greatestFiniteMagnitude), 0)
        }
        let weights = moment.numbers[0]
        func ratio(_ norm: Double) -> Double {
            if !moment.tensor.mayAdapt || weights == 0 || norm == 0 { return 1 }
            return min(weights / norm, .greatestFiniteMagnitude)
        }
        return StageNumbers(ratio(norms.weights), ratio(norms.directions), moment.numbers[2], 0)
    }

    package var kernel: KernelKey { .lans }
}
