// SPDX-License-Identifier: Apache-2.0

/// Adam, whose rate is lowered where a model of the loss says that a smaller step reaches the lower bound.
///
///     d ← β₁·d + (1 − β₁)·g;  v ← β₂·v + (1 − β₂)·g²;  f̄ ← β₁·f̄ + (1 − β₁)·f;  q ← β₁·(q + ⟨d, Δw⟩)
///     ρ = 1 − β₁ᵗ;  D = √(v/(1 − β₂ᵗ)) + ε
///     τ = min(γ/ρ, max(0, (1 + γλ)·(f̄ + q − ρ·lb) − γλ·⟨d, w⟩) / ⟨d, d/D⟩)
///     w ← (w − τ·d/D)/(1 + γλ)                                (without `divide`: w ← (1 − γλ)·w − τ·d/D)
///
/// f is the loss, which each step needs (`StepOptions.loss`), over all processes the mean.  The sums run over all tensors of the optimizer;
/// unequal rates are in `MoMoRule`.  With `useFstar` the lower bound is estimated, as in `MoMo`.
///
/// Source: Schaipp et al. 2024, algorithm 2 (arXiv:2305.07583).  Equals momo-opt's `MomoAdam`, and without decay
/// `optax.contrib.momo_adam`.
public struct MoMoAdam: MoMoRule {
    /// Largest rate γ.
    public var learningRate = 1e-2
    /// Decay β₁ of the first moment and of the losses.
    public var beta1 = 0.9
    /// Decay β₂ of the second moment.
    public var beta2 = 0.999
    /// Number ε that is added to the denominator.
    public var epsilon = 1e-8
    /// Decay coefficient λ.
    public var weightDecay = 0.0
    /// Lower bound of the loss.
    public var lowerBound = 0.0
    /// Divide the stepped weights by 1 + γλ, in place of AdamW's decay.
    public var divide = true
    /// Estimate the lower bound, beginning at lb.
    public var useFstar = false

    public init() {}

    /// Creates the rule from its hyperparameters, which the properties document.
    public init(
        lr: Double, betas: (Double, Double) = (0.9, 0.999), eps: Double = 1e-8, weightDecay: Double = 0,
        lowerBound: Double = 0, useFstar: Bool = false
    ) {
        learningRate = lr
        (beta1, beta2) = betas
        epsilon = eps
        self.weightDecay = weightDecay
        self.lowerBound = lowerBound
        self.useFstar = useFstar
    }

    package static let declaration = Declaration(
        name: "momo_adam", title: "MoMoAdam",
        summary: "Adam whose rate is lowered where a model of the loss asks for less",
        details: """
            d and v as Adam's moments;  f averages the losses by beta1;  rho = 1 - beta1**t;  D = sqrt(v / (1 - beta2**t)) + eps;  tau = min(lr / \
            rho, max(0, (1 + lr * weight_decay) * (f + q - rho * lb) - lr * weight_decay * <d, w>) / <d, d / D>), where q says how \
            far the average of the tangents lies from f;  w = (w - tau * d / D) / (1 + lr * weight_decay).  Each step needs the \
            loss: opt.step(loss=...).  The sums run over all layers, so layers cannot be stepped one by one.
            """,
        equation: "τ = min(γ/ρ, max(0, f̄ + q − ρ·lb)/⟨d, d/D⟩); w ← (w − τ·d/D)/(1 + γλ)",
        source: "Schaipp et al. 2024, algorithm 2, arXiv:2305.07583; equals momo-opt",
        states: [.parameter("exp_avg"), .parameter("exp_avg_sq")] + lossStates)

    package static let parameters: [Parameter<Self>] = [
        .number("lr", \.learningRate, .nonNegative, "largest rate γ"),
        .number("beta1", \.beta1, .fraction, "decay β₁ of the first moment and of the losses"),
        .number("beta2", \.beta2, .fraction, "decay β₂ of the second moment"),
        .number("eps", \.epsilon, .nonNegative, "number ε that is added to the denominator"),
        .number("weight_decay", \.weightDecay, .nonNegative, "decay coefficient λ"),
        .number("lb", \.lowerBound, .finite, "lower bound of the loss"),
        .flag("divide", \.divide, "divide the stepped weights by 1 + γλ, in place of AdamW's decay"),
        .flag("use_fstar", \.useFstar, "estimate the lower bound, beginning at lb"),
    ]

    var averaging: Double { beta1 }
    var estimatesLowerBound: Bool { useFstar }
    var startsAtZero: Bool { true }
    var divides: Bool { divide }
    func directionFactor(_ step: Int64) -> Double { powerComplement(beta2, step).squareRoot() }

    /// What `MoMoAdamArithmetic` reads.
    package struct Coefficients: BitwiseCopyable {
        package let firstShare, secondShare, epsilon: Double
    }

    package func plan(_ moment: StepInput, powers: inout BiasCorrectionCache, into target: UnsafeMutableRawPointer) {
        let coefficients = Coefficients(
            firstShare: 1 - beta1, secondShare: 1 - beta2,
            epsilon: epsilon * powers.complement(beta2, moment.step).squareRoot())
        target.storeBytes(of: coefficients, as: Coefficients.self)
    }

    package var kernel: KernelKey { .momoAdam }
}
