// SPDX-License-Identifier: Apache-2.0

/// Adam that divides by how far gradients are from what the first moment expects.
///
///     g′ = g + λ·w                                            (coupled decay)
///     m ← β₁·m + (1 − β₁)·g′
///     s ← β₂·s + (1 − β₂)·(g′ − m)² + ε
///     w ← w − γ·m̂ / (√ŝ + ε)                                  with m̂ = m/(1 − β₁ᵗ), ŝ = s/(1 − β₂ᵗ)
///     w ← w − γ·λ·w_old                                       (decoupled decay, the default, instead of the coupled one)
///
/// Source: Zhuang et al. 2020, algorithm 2 (arXiv:2010.07468).  ε and the decoupled decay are those of the authors' package and
/// `pytorch_optimizer.AdaBelief`, which it equals; the paper has ε = 1e-8.  `optax.adabelief` has both ε as settings.  The authors'
/// package rectifies as RAdam does by default, which is not offered here.
public struct AdaBelief: AdjustableRule {
    /// Learning rate γ.
    public var learningRate = 1e-3
    /// Decay β₁ of the first moment.
    public var beta1 = 0.9
    /// Decay β₂ of the squared surprise.
    public var beta2 = 0.999
    /// Number ε that is added to s at every step, and to the denominator.
    public var epsilon = 1e-16
    /// Decay coefficient λ.
    public var weightDecay = 0.0
    /// Decay the weights in place of the gradient.
    public var decoupledWeightDecay = true
    /// What is done with the change before the weights take it.
    public var updateOptions = UpdateOptions()

    public init() {}

    /// Creates the rule from its hyperparameters, which the properties document.
    public init(
        lr: Double, betas: (Double, Double) = (0.9, 0.999), eps: Double = 1e-16, weightDecay: Double = 0,
        decoupledWeightDecay: Bool = true
    ) {
        learningRate = lr
        (beta1, beta2) = betas
        epsilon = eps
        self.weightDecay = weightDecay
        self.decoupledWeightDecay = decoupledWeightDecay
    }

    package static let declaration = Declaration(
        name: "adabelief", title: "AdaBelief",
        summary: "Adam that divides by how far gradients are from what the first moment expects",
        details: """
            m = beta1 * m + (1 - beta1) * g;  s = beta2 * s + (1 - beta2) * (g - m)**2 + eps;  \
            w -= lr * (m / (1 - beta1**t)) / (sqrt(s / (1 - beta2**t)) + eps).  The decay acts on the weights, unless \
            decoupled_weight_decay is off.
            """,
        equation: "s ← β₂s + (1−β₂)(g − m)² + ε; w ← w − γ·m̂/(√ŝ + ε)",
        source: "Zhuang et al. 2020, algorithm 2, arXiv:2010.07468; equals pytorch_optimizer.AdaBelief",
        states: [.parameter("exp_avg"), .parameter("exp_avg_var")])

    package static let parameters: [Parameter<Self>] =
        [
            .number("lr", \.learningRate, .nonNegative, "learning rate γ"),
            .number("beta1", \.beta1, .fraction, "decay β₁ of the first moment"),
            .number("beta2", \.beta2, .fraction, "decay β₂ of the squared surprise"),
            .number(
                "eps", \.epsilon, .nonNegative, "number ε that is added to s at every step, and to the denominator"),
            .number("weight_decay", \.weightDecay, .nonNegative, "decay coefficient λ"),
            .flag("decoupled_weight_decay", \.decoupledWeightDecay, "decay the weights in place of the gradient"),
        ] + updateParameters

    package var decouplesDecay: Bool { decoupledWeightDecay }

    /// What `AdaBeliefArithmetic` reads.
    package struct Coefficients: BitwiseCopyable {
        package let coupledDecay, decay, firstShare, secondShare, growth, stepSize, epsilon: Double
    }

    package func plan(_ moment: StepInput, powers: inout BiasCorrectionCache, into target: UnsafeMutableRawPointer) {
        let root = powers.complement(beta2, moment.step).squareRoot()
        let decay = weightDecay * decayScale(moment.tensor)
        let coefficients = Coefficients(
            coupledDecay: decoupledWeightDecay ? 0 : decay,
            decay: decoupledWeightDecay ? moment.decayRate * decay : 0,
            firstShare: 1 - beta1, secondShare: 1 - beta2, growth: epsilon,
            stepSize: moment.learningRate * root / powers.complement(beta1, moment.step),
            epsilon: epsilon * root)
        target.storeBytes(of: coefficients, as: Coefficients.self)
    }

    package var kernel: KernelKey { .adaBelief }
}
