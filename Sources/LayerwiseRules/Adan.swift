// SPDX-License-Identifier: Apache-2.0

/// Adaptive Nesterov momentum, which needs no gradient ahead of the weights: a mean of gradients, one of their differences.
///
///     d = g − g_before                                        (0 at a tensor's first step)
///     m ← β₁·m + (1 − β₁)·g
///     e ← β₂·e + (1 − β₂)·d
///     n ← β₃·n + (1 − β₃)·(g + c·d)²
///     u = (m/(1 − β₁ᵗ) + c·e/(1 − β₂ᵗ)) / (√(n/(1 − β₃ᵗ) + ε′) + ε)
///     w ← (w − γ·u) / (1 + γ·λ)                               (`no_prox`: w ← (1 − γ·λ)·w − γ·u)
///
/// c is β₂, or with `differenceWeight` share 1 − β₂.
///
/// Source: Xie et al. 2022, algorithm 1 (arXiv:2208.06677), whose β are 1 less those here; the defaults are those of the authors'
/// package (rate 1e-3, β 0.98, 0.92, 0.99).  Equals `pytorch_optimizer.Adan`, whose `weight_decouple` is `no_prox`, and
/// with the preset `optax` `optax.adan`, whose ε′ is 1e-8.
public struct Adan: AdjustableRule {
    /// What the differences are multiplied by in the step.
    public enum DifferenceWeight: String, Choice {
        /// β₂.
        case decay
        /// 1 − β₂.
        case share
    }

    /// Learning rate γ.
    public var learningRate = 1e-3
    /// Decay β₁ of the mean gradient.
    public var beta1 = 0.98
    /// Decay β₂ of the mean difference.
    public var beta2 = 0.92
    /// Decay β₃ of the mean square.
    public var beta3 = 0.99
    /// Number ε that is added to the denominator.
    public var epsilon = 1e-8
    /// Number ε′ that is added under the root.
    public var epsilonInRoot = 0.0
    /// Decay coefficient λ.
    public var weightDecay = 0.0
    /// Decay the weights before the step, as AdamW does.
    public var noProx = false
    /// What the differences are multiplied by in the step: β₂ or 1 − β₂.
    public var differenceWeight = DifferenceWeight.decay
    /// What is done with the change before the weights take it.
    public var updateOptions = UpdateOptions()

    public init() {}

    /// Creates the rule from its hyperparameters, which the properties document.
    public init(
        lr: Double, betas: (Double, Double, Double) = (0.98, 0.92, 0.99), eps: Double = 1e-8, weightDecay: Double = 0,
        noProx: Bool = false
    ) {
        learningRate = lr
        (beta1, beta2, beta3) = betas
        epsilon = eps
        self.weightDecay = weightDecay
        self.noProx = noProx
    }

    package static let declaration = Declaration(
        name: "adan", title: "Adan",
        summary: "Adaptive Nesterov momentum, from means of gradients and of their differences",
        details: """
            d = g - previous_grad, 0 at the first step;  m = beta1 * m + (1 - beta1) * g;  e = beta2 * e + (1 - beta2) * d;  \
            n = beta3 * n + (1 - beta3) * (g + beta2 * d)**2;  u = (m_hat + beta2 * e_hat) / (sqrt(n_hat) + eps);  \
            w = (w - lr * u) / (1 + lr * weight_decay), and with no_prox (1 - lr * weight_decay) * w - lr * u.  \
            eps_root is added to n_hat.  With difference_weight="share" 1 - beta2 stands in place of beta2 before d and e_hat.
            """,
        equation: "u = (m̂ + β₂ê)/(√n̂ + ε); w ← (w − γ·u)/(1 + γλ)",
        source: "Xie et al. 2022, algorithm 1, arXiv:2208.06677; equals pytorch_optimizer.Adan",
        states: [
            .parameter("exp_avg"), .parameter("exp_avg_diff"), .parameter("exp_avg_sq"), .parameter("previous_grad"),
        ])

    package static let parameters: [Parameter<Self>] =
        [
            .number("lr", \.learningRate, .nonNegative, "learning rate γ"),
            .number("beta1", \.beta1, .fraction, "decay β₁ of the mean gradient"),
            .number("beta2", \.beta2, .fraction, "decay β₂ of the mean difference"),
            .number("beta3", \.beta3, .fraction, "decay β₃ of the mean square"),
            .number("eps", \.epsilon, .nonNegative, "number ε that is added to the denominator"),
            .number("weight_decay", \.weightDecay, .nonNegative, "decay coefficient λ"),
            .flag("no_prox", \.noProx, "decay the weights before the step, as AdamW does"),
            .number("eps_root", \.epsilonInRoot, .nonNegative, "number ε′ that is added under the root, as in optax")
                .omittedAtDefault,
            .choice(
                "difference_weight", \.differenceWeight,
                "what the differences are multiplied by in the step: \"decay\" β₂ as the authors do, \"share\" 1 − β₂ as optax does"
            ).omittedAtDefault,
        ] + updateParameters

    package static let presets = [
        Preset(
            "optax", [Setting("difference_weight", "share"), Setting("eps_root", 1e-8), Setting("no_prox", 1)])
    ]

    package var decouplesDecay: Bool { true }

    /// c.
    private var weight: Double { differenceWeight == .decay ? beta2 : 1 - beta2 }

    /// (w − q)/(1 + c) = w − (q + c·w)/(1 + c).
    private func shrinkage(_ decay: Double) -> Double { noProx ? 1 : 1 / (1 + decay) }

    package func separateDecay(_ moment: StepInput) -> Double {
        let decay = moment.decayRate * weightDecay * decayScale(moment.tensor)
        return decay * shrinkage(decay)
    }

    /// What `AdanArithmetic` reads.
    package struct Coefficients: BitwiseCopyable {
        package let decay, firstShare, differenceShare, squareShare, reach, firstScale, differenceScale: Double
        package let stepSize, epsilon, epsilonInRoot: Double
        package let isFirst: Bool
    }

    package func plan(_ moment: StepInput, powers: inout BiasCorrectionCache, into target: UnsafeMutableRawPointer) {
        let correction = powers.complement(beta3, moment.step)
        let root = correction.squareRoot()
        let decay = moment.decayRate * weightDecay * decayScale(moment.tensor)
        let shrinkage = shrinkage(decay)
        let coefficients = Coefficients(
            decay: decay * shrinkage, firstShare: 1 - beta1, differenceShare: 1 - beta2, squareShare: 1 - beta3,
            reach: weight, firstScale: 1 / powers.complement(beta1, moment.step),
            differenceScale: weight / powers.complement(beta2, moment.step),
            stepSize: moment.learningRate * root * shrinkage, epsilon: epsilon * root,
            epsilonInRoot: epsilonInRoot * correction, isFirst: moment.step == 1)
        target.storeBytes(of: coefficients, as: Coefficients.self)
    }

    package var kernel: KernelKey { .adan }
}
