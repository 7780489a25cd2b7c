// SPDX-License-Identifier: Apache-2.0

/// AdEMAMix with one sum of gradients in place of two means: the sum, and the gradient itself.
///
///     m ← β₁·m + g
///     v ← β₂·v + (1 − β₂)·g²
///     w ← w − γ·((m + α·g) / (√v̂ + ε) + λ·w)                  with v̂ = v/(1 − β₂ᵗ)
///
/// m adds up about 1/(1 − β₁) gradients, so the rate is that much smaller than Adam's.
///
/// Source: Morwani et al. 2025 (arXiv:2502.02431).  Equals `optax.contrib.simplified_ademamix`.  pytorch_optimizer weighs g by 1 − β₁ in m, and
/// divides by √(1 − β₂ᵗ) in place of multiplying.
public struct SimplifiedAdEMAMix: DeclaredRule {
    /// Learning rate γ.
    public var learningRate = 1e-4
    /// Decay β₁ of the sum.
    public var beta1 = 0.99
    /// Decay β₂ of the second moment.
    public var beta2 = 0.95
    /// Weight α of the gradient beside the sum.
    public var alpha = 0.0
    /// Number ε that is added to the denominator.
    public var epsilon = 1e-8
    /// Decay coefficient λ.
    public var weightDecay = 0.0

    public init() {}

    /// Creates the rule from its hyperparameters, which the properties document.
    public init(
        lr: Double, betas: (Double, Double) = (0.99, 0.95), alpha: Double = 0, eps: Double = 1e-8,
        weightDecay: Double = 0
    ) {
        learningRate = lr
        (beta1, beta2) = betas
        self.alpha = alpha
        epsilon = eps
        self.weightDecay = weightDecay
    }

    package static let declaration = Declaration(
        name: "simplified_ademamix", title: "SimplifiedAdEMAMix",
        summary: "AdEMAMix with one sum of gradients in place of two means",
        details: """
            m = beta1 * m + g;  v = beta2 * v + (1 - beta2) * g * g;  w -= lr * ((m + alpha * g) / (sqrt(v / (1 - beta2**t)) + eps) + \
            weight_decay * w).  m adds up about 1 / (1 - beta1) gradients, so the rate is that much smaller than Adam's.
            """,
        equation: "m ← β₁m + g; v ← β₂v + (1−β₂)g²; w ← w − γ·((m + αg)/(√v̂ + ε) + λw)",
        source: "Morwani et al. 2025, arXiv:2502.02431; equals optax.contrib.simplified_ademamix",
        states: [.parameter("exp_avg"), .parameter("exp_avg_sq")])

    package static let parameters: [Parameter<Self>] = [
        .number("lr", \.learningRate, .nonNegative, "learning rate γ"),
        .number("beta1", \.beta1, .fraction, "decay β₁ of the sum"),
        .number("beta2", \.beta2, .fraction, "decay β₂ of the second moment"),
        .number("alpha", \.alpha, .nonNegative, "weight α of the gradient beside the sum"),
        .number("eps", \.epsilon, .nonNegative, "number ε that is added to the denominator"),
        .number("weight_decay", \.weightDecay, .nonNegative, "decay coefficient λ"),
    ]

    package var decouplesDecay: Bool { true }

    /// What `SimplifiedAdEMAMixArithmetic` reads.
    package struct Coefficients: BitwiseCopyable {
        package let decay, forget, secondShare, mix, stepSize, epsilon: Double
    }

    package func plan(_ moment: StepInput, powers: inout BiasCorrectionCache, into target: UnsafeMutableRawPointer) {
        let root = powers.complement(beta2, moment.step).squareRoot()
        let coefficients = Coefficients(
            decay: moment.decayRate * weightDecay * decayScale(moment.tensor), forget: 1 - beta1,
            secondShare: 1 - beta2, mix: alpha, stepSize: moment.learningRate * root, epsilon: epsilon * root)
        target.storeBytes(of: coefficients, as: Coefficients.self)
    }

    package var kernel: KernelKey { .simplifiedAdEMAMix }
}
