// SPDX-License-Identifier: Apache-2.0
import LayerwisePlatform

/// AdamW with a second, slow mean of gradients beside the fast one.
///
///     m ← β₁·m + (1 − β₁)·g;  v ← β₂·v + (1 − β₂)·g²
///     m₂ ← β₃ₜ·m₂ + (1 − β₃ₜ)·g
///     w ← w − γ·((m̂ + αₜ·m₂) / (√v̂ + ε) + λ·w)                with m̂ = m/(1 − β₁ᵗ), v̂ = v/(1 − β₂ᵗ)
///     αₜ = α·min(1, t/`t_alpha`)
///     β₃ₜ = min(β₃, exp(1 / ((1 − τ)/ln β₁ + τ/ln β₃))), τ = t/`t_beta3`: the half-life grows from β₁'s to β₃'s
///
/// 0 for `t_alpha` or `t_beta3` is no warm-up.
///
/// Source: Pagliardini et al. 2024, algorithm 1 and equations 3 and 4 (arXiv:2409.03137), which takes both warm-ups over the whole
/// run.  The defaults are bitsandbytes' (α = 5, λ = 0.01, no warm-up), which `pytorch_optimizer.AdEMAMix` shares but for its λ = 0, and
/// which it equals with decoupled decay.  optax has λ = 0.
public struct AdEMAMix: AdjustableRule {
    /// Learning rate γ.
    public var learningRate = 1e-3
    /// Decay β₁ of the fast first moment.
    public var beta1 = 0.9
    /// Decay β₂ of the second moment.
    public var beta2 = 0.999
    /// Decay β₃ of the slow first moment.
    public var beta3 = 0.9999
    /// Weight α of the slow first moment.
    public var alpha = 5.0
    /// Steps over which α grows to its value; 0 is none.
    public var alphaSteps = 0
    /// Steps over which β₃ grows from β₁ to its value; 0 is none.
    public var betaSteps = 0
    /// Number ε that is added to the denominator.
    public var epsilon = 1e-8
    /// Decay coefficient λ.
    public var weightDecay = 1e-2
    /// What is done with the change before the weights take it.
    public var updateOptions = UpdateOptions()

    public init() {}

    /// Creates the rule from its hyperparameters, which the properties document.
    public init(
        lr: Double, betas: (Double, Double, Double) = (0.9, 0.999, 0.9999), alpha: Double = 5, tAlpha: Int = 0,
        tBeta3: Int = 0, eps: Double = 1e-8, weightDecay: Double = 1e-2
    ) {
        learningRate = lr
        (beta1, beta2, beta3) = betas
        self.alpha = alpha
        alphaSteps = tAlpha
        betaSteps = tBeta3
        epsilon = eps
        self.weightDecay = weightDecay
    }

    package static let declaration = Declaration(
        name: "ademamix", title: "AdEMAMix",
        summary: "AdamW with a second, slow mean of gradients beside the fast one",
        details: """
            m and v as in Adam;  m2 = beta3 * m2 + (1 - beta3) * g;  w -= lr * ((m_hat + alpha * m2) / (sqrt(v_hat) + eps) + \
            weight_decay * w).  alpha grows from 0 over t_alpha steps, and beta3 from beta1 over t_beta3 steps; the paper takes the \
            whole run for both.
            """,
        equation: "m₂ ← β₃m₂ + (1−β₃)g; w ← w − γ·((m̂ + αm₂)/(√v̂ + ε) + λw)",
        source: "Pagliardini et al. 2024, algorithm 1, arXiv:2409.03137; equals pytorch_optimizer.AdEMAMix",
        states: [.parameter("exp_avg"), .parameter("exp_avg_sq"), .parameter("exp_avg_slow")])

    package static let parameters: [Parameter<Self>] =
        [
            .number("lr", \.learningRate, .nonNegative, "learning rate γ"),
            .number("beta1", \.beta1, .fraction, "decay β₁ of the fast first moment"),
            .number("beta2", \.beta2, .fraction, "decay β₂ of the second moment"),
            .number("beta3", \.beta3, .fraction, "decay β₃ of the slow first moment"),
            .number("alpha", \.alpha, .nonNegative, "weight α of the slow first moment"),
            .integer("t_alpha", \.alphaSteps, 0...1 << 53, "steps over which α grows to its value; 0 is none"),
            .integer("t_beta3", \.betaSteps, 0...1 << 53, "steps over which β₃ grows from β₁ to its value; 0 is none"),
            .number("eps", \.epsilon, .nonNegative, "number ε that is added to the denominator"),
            .number("weight_decay", \.weightDecay, .nonNegative, "decay coefficient λ"),
        ] + updateParameters

    package var decouplesDecay: Bool { true }

    /// αₜ.
    private func slowScale(_ step: Int64) -> Double {
        alphaSteps > 0 ? alpha * min(1, Double(step) / Double(alphaSteps)) : alpha
    }

    /// 1 − β₃ₜ.
    private func slowShare(_ step: Int64) -> Double {
        if betaSteps == 0 || step >= betaSteps { return 1 - beta3 }
        let progress = Double(step) / Double(betaSteps)
        // Where a β is 0 its logarithm is −∞, and its term −0.
        return max(1 - beta3, -expm1(1 / ((1 - progress) / log(beta1) + progress / log(beta3))))
    }

    /// What `AdEMAMixArithmetic` reads.
    package struct Coefficients: BitwiseCopyable {
        package let decay, firstShare, secondShare, slowShare, firstScale, slowScale, stepSize, epsilon: Double
    }

    package func plan(_ moment: StepInput, powers: inout BiasCorrectionCache, into target: UnsafeMutableRawPointer) {
        let root = powers.complement(beta2, moment.step).squareRoot()
        let coefficients = Coefficients(
            decay: moment.decayRate * weightDecay * decayScale(moment.tensor),
            firstShare: 1 - beta1, secondShare: 1 - beta2, slowShare: slowShare(moment.step),
            firstScale: 1 / powers.complement(beta1, moment.step), slowScale: slowScale(moment.step),
            stepSize: moment.learningRate * root, epsilon: epsilon * root)
        target.storeBytes(of: coefficients, as: Coefficients.self)
    }

    package var kernel: KernelKey { .adEMAMix }
}
