// SPDX-License-Identifier: Apache-2.0

/// RMSprop's quotient first, and then its mean, which holds the rate of each step.
///
///     v ← β₂·v + (1 − β₂)·g²
///     m ← β₁·m + (1 − β₁)·γ·g / (√v̂ + ε)                      with v̂ = v/(1 − β₂ᵗ)
///     a ← β₁·a + (1 − β₁)·γ                                   (a number of each tensor)
///     w ← (1 − γ·λ)·(w − m·γ/a)
///
/// The rate is inside m, so that a new rate or a new scale of a layer acts on the steps that follow, over 1/(1 − β₁) of them.
/// Where a is 0 nothing moves.
///
/// Source: Ziyin, Wang and Ueda 2020, algorithm 1 (arXiv:2002.04839), in the form of the authors' package and timm's `LaProp`, which
/// it equals, and whose defaults these are.  `pytorch_optimizer.LaProp` adds 1e-15 under the root and divides ε by the root of
/// 1 − β₂ᵗ as well.
public struct LaProp: AdjustableRule {
    /// Learning rate γ.
    public var learningRate = 4e-4
    /// Decay β₁ of the mean quotient.
    public var beta1 = 0.9
    /// Decay β₂ of the second moment.
    public var beta2 = 0.999
    /// Number ε that is added to the denominator.
    public var epsilon = 1e-15
    /// Decay coefficient λ.
    public var weightDecay = 0.0
    /// What is done with the change before the weights take it.
    public var updateOptions = UpdateOptions()

    public init() {}

    /// Creates the rule from its hyperparameters, which the properties document.
    public init(lr: Double, betas: (Double, Double) = (0.9, 0.999), eps: Double = 1e-15, weightDecay: Double = 0) {
        learningRate = lr
        (beta1, beta2) = betas
        epsilon = eps
        self.weightDecay = weightDecay
    }

    package static let declaration = Declaration(
        name: "laprop", title: "LaProp",
        summary: "A mean of gradients that are divided by their root mean square first",
        details: """
            v = beta2 * v + (1 - beta2) * g * g;  m = beta1 * m + (1 - beta1) * lr * g / (sqrt(v / (1 - beta2**t)) + eps);  \
            a = beta1 * a + (1 - beta1) * lr;  w = (1 - lr * weight_decay) * (w - m * lr / a).  a is the state exp_avg_lr_1, one \
            float64 for each tensor.  The rate is inside m, so that a new rate acts over the following steps.
            """,
        equation: "m ← β₁m + (1−β₁)γ·g/(√v̂ + ε); a ← β₁a + (1−β₁)γ; w ← (1−γλ)(w − m·γ/a)",
        source: "Ziyin, Wang and Ueda 2020, algorithm 1, arXiv:2002.04839; equals timm's LaProp",
        states: [.parameter("exp_avg"), .parameter("exp_avg_sq"), .scalar("exp_avg_lr_1", start: 0)])

    package static let parameters: [Parameter<Self>] =
        [
            .number("lr", \.learningRate, .nonNegative, "learning rate γ"),
            .number("beta1", \.beta1, .fraction, "decay β₁ of the mean quotient"),
            .number("beta2", \.beta2, .fraction, "decay β₂ of the second moment"),
            .number("eps", \.epsilon, .nonNegative, "number ε that is added to the denominator"),
            .number("weight_decay", \.weightDecay, .nonNegative, "decay coefficient λ"),
        ] + updateParameters

    package var decouplesDecay: Bool { true }

    package func advance(_ scalars: StateScalars, _ moment: StepInput) -> StateScalars {
        StateScalars(beta1 * scalars[0] + (1 - beta1) * moment.learningRate, scalars[1])
    }

    /// What `LaPropArithmetic` reads.
    package struct Coefficients: BitwiseCopyable {
        package let decay, forget, firstShare, secondShare, stepSize, epsilon: Double
    }

    package func plan(_ moment: StepInput, powers: inout BiasCorrectionCache, into target: UnsafeMutableRawPointer) {
        let root = powers.complement(beta2, moment.step).squareRoot()
        let decay = moment.decayRate * weightDecay * decayScale(moment.tensor)
        let mean = moment.scalars[0]
        let coefficients = Coefficients(
            decay: decay, forget: 1 - beta1, firstShare: (1 - beta1) * moment.learningRate * root,
            secondShare: 1 - beta2, stepSize: mean == 0 ? 0 : (1 - decay) * (moment.learningRate / mean),
            epsilon: epsilon * root)
        target.storeBytes(of: coefficients, as: Coefficients.self)
    }

    package var kernel: KernelKey { .laProp }
}
