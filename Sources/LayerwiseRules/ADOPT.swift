// SPDX-License-Identifier: Apache-2.0
import LayerwisePlatform

/// Adam that divides each gradient by the second moment of those before it, and then takes the mean.
///
///     g′ = g + λ·w                                            (coupled decay)
///     t = 1:  v ← g′², and nothing else
///     u = clamp(g′ / max(√v, ε), ±(t − 1)^p)                  (without `clip`, no bound)
///     m ← β₁·m + (1 − β₁)·u
///     w ← w − γ·m
///     w ← w − γ·λ·w_old                                       (decoupled decay instead of the coupled one)
///     v ← β₂·v + (1 − β₂)·g′²
///
/// Source: Taniguchi et al. 2024, algorithm 2 (arXiv:2411.02853), with p = 1/4 as in the authors' package and `optax.contrib.adopt`,
/// which it equals.  timm's p is 1/3.  `pytorch_optimizer.ADOPT` clamps to t^p, and lets the decoupled decay act at the first step.
public struct ADOPT: AdjustableRule {
    /// Learning rate γ.
    public var learningRate = 1e-3
    /// Decay β₁ of the first moment.
    public var beta1 = 0.9
    /// Decay β₂ of the second moment.
    public var beta2 = 0.9999
    /// Least denominator ε.
    public var epsilon = 1e-6
    /// Bound each quotient.
    public var clip = true
    /// Power p of t − 1 in the bound.
    public var clipPower = 0.25
    /// Decay coefficient λ.
    public var weightDecay = 0.0
    /// Decay the weights in place of the gradient, as AdamW does.
    public var decoupledWeightDecay = false
    /// What is done with the change before the weights take it.
    public var updateOptions = UpdateOptions()

    public init() {}

    /// Creates the rule from its hyperparameters, which the properties document.
    public init(
        lr: Double, betas: (Double, Double) = (0.9, 0.9999), eps: Double = 1e-6, weightDecay: Double = 0,
        decoupledWeightDecay: Bool = false
    ) {
        learningRate = lr
        (beta1, beta2) = betas
        epsilon = eps
        self.weightDecay = weightDecay
        self.decoupledWeightDecay = decoupledWeightDecay
    }

    package static let declaration = Declaration(
        name: "adopt", title: "ADOPT",
        summary: "Adam that divides each gradient by the second moment of those before it",
        details: """
            At a tensor's first step v = g * g, and the weights stay.  Then u = g / max(sqrt(v), eps), clamped to \
            +-(t - 1)**clip_power with clip;  m = beta1 * m + (1 - beta1) * u;  w -= lr * m;  v = beta2 * v + (1 - beta2) * g * g.
            """,
        equation: "u = clamp(g/max(√v, ε), ±(t−1)^p); m ← β₁m + (1−β₁)u; w ← w − γ·m; v ← β₂v + (1−β₂)g²",
        source: "Taniguchi et al. 2024, algorithm 2, arXiv:2411.02853; equals optax.contrib.adopt",
        states: [.parameter("exp_avg"), .parameter("exp_avg_sq")])

    package static let parameters: [Parameter<Self>] =
        [
            .number("lr", \.learningRate, .nonNegative, "learning rate γ"),
            .number("beta1", \.beta1, .fraction, "decay β₁ of the first moment"),
            .number("beta2", \.beta2, .fraction, "decay β₂ of the second moment"),
            .number("eps", \.epsilon, .nonNegative, "least denominator ε"),
            .flag("clip", \.clip, "bound each quotient"),
            .number("clip_power", \.clipPower, .nonNegative, "power p of t − 1 in the bound"),
            .number("weight_decay", \.weightDecay, .nonNegative, "decay coefficient λ"),
            .flag(
                "decoupled_weight_decay", \.decoupledWeightDecay,
                "decay the weights in place of the gradient, as AdamW does"),
        ] + updateParameters

    package var decouplesDecay: Bool { decoupledWeightDecay }

    /// The first step changes no weight.
    package func separateDecay(_ moment: StepInput) -> Double {
        moment.step == 1 || !decoupledWeightDecay ? 0 : moment.decayRate * weightDecay * decayScale(moment.tensor)
    }

    /// What `ADOPTArithmetic` reads.
    package struct Coefficients: BitwiseCopyable {
        package let coupledDecay, decay, firstShare, secondShare, rate, epsilon, limit: Double
        package let isFirst: Bool
    }

    package func plan(_ moment: StepInput, powers: inout BiasCorrectionCache, into target: UnsafeMutableRawPointer) {
        let decay = weightDecay * decayScale(moment.tensor)
        let coefficients = Coefficients(
            coupledDecay: decoupledWeightDecay ? 0 : decay,
            decay: decoupledWeightDecay ? moment.decayRate * decay : 0,
            firstShare: 1 - beta1, secondShare: 1 - beta2, rate: moment.learningRate, epsilon: epsilon,
            limit: clip ? pow(Double(moment.step - 1), clipPower) : .infinity, isFirst: moment.step == 1)
        target.storeBytes(of: coefficients, as: Coefficients.self)
    }

    package var kernel: KernelKey { .adopt }
}
