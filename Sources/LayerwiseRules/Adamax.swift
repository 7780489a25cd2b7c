// SPDX-License-Identifier: Apache-2.0

/// Adam with the largest recent gradient in place of the root of the second moment.
///
///     g′ = g + λ·w
///     m ← β₁·m + (1 − β₁)·g′
///     u ← max(β₂·u, |g′| + ε)
///     w ← w − γ/(1 − β₁ᵗ) · m / u                             (`epsilonInDenominator`: u ← max(β₂·u, |g′|), and m / (u + ε))
///     w ← w − γ·λ·w_old                  (decoupled decay instead of the coupled one)
///
/// Source: Kingma and Ba 2015, algorithm 2 (arXiv:1412.6980), which has no ε.  Equals `torch.optim.Adamax` and
/// `optax.adamax`, with decoupled decay `optax.adamaxw`, and with the preset `keras` Keras's.
public struct Adamax: DeclaredRule {
    /// Learning rate γ.
    public var learningRate = 2e-3
    /// Decay β₁ of the first moment.
    public var beta1 = 0.9
    /// Decay β₂ of the largest gradient.
    public var beta2 = 0.999
    /// Number ε that is added to the size of the gradient.
    public var epsilon = 1e-8
    /// Decay coefficient λ.
    public var weightDecay = 0.0
    /// Decay the weights in place of the gradient, as AdamW does.
    public var decoupledWeightDecay = false
    /// Add ε to the denominator, and not to the size of the gradient.
    public var epsilonInDenominator = false

    public init() {}

    /// Creates the rule from its hyperparameters, which the properties document.
    public init(
        lr: Double, betas: (Double, Double) = (0.9, 0.999), eps: Double = 1e-8, weightDecay: Double = 0,
        decoupledWeightDecay: Bool = false
    ) {
        learningRate = lr
        (beta1, beta2) = betas
        epsilon = eps
        self.weightDecay = weightDecay
        self.decoupledWeightDecay = decoupledWeightDecay
    }

    package static let declaration = Declaration(
        name: "adamax", title: "Adamax",
        summary: "Adam with the largest recent gradient in place of the root of the second moment",
        details: """
            g += weight_decay * w;  m = beta1 * m + (1 - beta1) * g;  u = max(beta2 * u, abs(g) + eps);  \
            w -= lr / (1 - beta1**t) * m / u.
            """,
        equation: "m ← β₁m + (1−β₁)g; u ← max(β₂u, |g| + ε); w ← w − γ/(1−β₁ᵗ)·m/u",
        source: "Kingma and Ba 2015, algorithm 2, arXiv:1412.6980; equals torch.optim.Adamax",
        states: [.parameter("exp_avg"), .parameter("exp_inf")])

    package static let parameters: [Parameter<Self>] = [
        .number("lr", \.learningRate, .nonNegative, "learning rate γ"),
        .number("beta1", \.beta1, .fraction, "decay β₁ of the first moment"),
        .number("beta2", \.beta2, .fraction, "decay β₂ of the largest gradient"),
        .number("eps", \.epsilon, .nonNegative, "number ε that is added to the size of the gradient"),
        .number("weight_decay", \.weightDecay, .nonNegative, "decay coefficient λ"),
        .flag(
            "decoupled_weight_decay", \.decoupledWeightDecay,
            "decay the weights in place of the gradient, as AdamW does"),
        .flag(
            "eps_in_denominator", \.epsilonInDenominator,
            "add ε to the denominator, and not to the size of the gradient, as Keras does"
        ).omittedAtDefault,
    ]

    package static let presets = [Preset("keras", [Setting("eps", 1e-7), Setting("eps_in_denominator", 1)])]

    package var decouplesDecay: Bool { decoupledWeightDecay }

    /// What `AdamaxArithmetic` reads.
    package struct Coefficients: BitwiseCopyable {
        package let coupledDecay, decay, firstShare, keep, epsilon, outerEpsilon, stepSize: Double
    }

    package func plan(_ moment: StepInput, powers: inout BiasCorrectionCache, into target: UnsafeMutableRawPointer) {
        let decay = weightDecay * decayScale(moment.tensor)
        let coefficients = Coefficients(
            coupledDecay: decoupledWeightDecay ? 0 : decay,
            decay: decoupledWeightDecay ? moment.decayRate * decay : 0,
            firstShare: 1 - beta1, keep: beta2, epsilon: epsilonInDenominator ? 0 : epsilon,
            outerEpsilon: epsilonInDenominator ? epsilon : 0,
            stepSize: moment.learningRate / powers.complement(beta1, moment.step))
        target.storeBytes(of: coefficients, as: Coefficients.self)
    }

    package var kernel: KernelKey { .adamax }
}
