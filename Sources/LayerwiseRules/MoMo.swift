// SPDX-License-Identifier: Apache-2.0

/// SGD with momentum, whose rate is lowered where a model of the loss says that a smaller step reaches the lower bound.
///
///     d ← β·d + (1 − β)·g;  f̄ ← β·f̄ + (1 − β)·f;  q ← β·(q + ⟨d, Δw⟩)             (d = g and f̄ = f at first)
///     τ = min(γ, max(0, (1 + γλ)·(f̄ + q − lb) − γλ·⟨d, w⟩) / ‖d‖²)
///     w ← (w − τ·d)/(1 + γλ)
///
/// f is the loss, which each step needs (`StepOptions.loss`), over all processes the mean.  The sums run over all tensors of the optimizer;
/// unequal rates are in `MoMoRule`.  With `biasCorrection` the averages start at 0, and ρ = 1 − βᵗ multiplies lb and divides γ.
/// With `useFstar` the lower bound is estimated: lb ← max((f̄ + q − τ/2·‖d‖²)/ρ, lb₀).  Where all gradients are 0 only the decay acts.
///
/// Source: Schaipp et al. 2024, algorithms 1 and 3 (arXiv:2305.07583).  Equals momo-opt's `Momo`, and without decay `optax.contrib.momo`, which
/// does not divide the step by 1 + γλ.  With β = 0 it is SGD with Polyak's step size, as `optax.polyak_sgd`.
public struct MoMo: MoMoRule {
    /// Largest rate γ.
    public var learningRate = 1.0
    /// Decay coefficient λ.
    public var weightDecay = 0.0
    /// Decay β of the averages.
    public var beta = 0.9
    /// Lower bound of the loss.
    public var lowerBound = 0.0
    /// Start the averages at 0, and correct them.
    public var biasCorrection = false
    /// Estimate the lower bound, beginning at lb.
    public var useFstar = false

    public init() {}

    /// Creates the rule from its hyperparameters, which the properties document.
    public init(
        lr: Double = 1, weightDecay: Double = 0, beta: Double = 0.9, lowerBound: Double = 0, useFstar: Bool = false
    ) {
        learningRate = lr
        self.weightDecay = weightDecay
        self.beta = beta
        self.lowerBound = lowerBound
        self.useFstar = useFstar
    }

    package static let declaration = Declaration(
        name: "momo", title: "MoMo",
        summary: "SGD with momentum whose rate is lowered where a model of the loss asks for less",
        details: """
            d = beta * d + (1 - beta) * g;  f averages the losses likewise;  tau = min(lr, max(0, (1 + lr * weight_decay) * (f + q - lb) \
            - lr * weight_decay * <d, w>) / |d|**2), where q says how far the average of the tangents lies from f;  w = (w - tau * d) / \
            (1 + lr * weight_decay).  Each step needs the loss: opt.step(loss=...).  The sums run over all layers, so layers cannot be \
            stepped one by one.
            """,
        equation: "τ = min(γ, max(0, f̄ + q − lb)/‖d‖²); w ← (w − τd)/(1 + γλ)",
        source: "Schaipp et al. 2024, algorithm 1, arXiv:2305.07583; equals momo-opt",
        states: [.parameter("exp_avg")] + lossStates)

    package static let parameters: [Parameter<Self>] = [
        .number("lr", \.learningRate, .nonNegative, "largest rate γ"),
        .number("weight_decay", \.weightDecay, .nonNegative, "decay coefficient λ"),
        .number("beta", \.beta, .fraction, "decay β of the averages"),
        .number("lb", \.lowerBound, .finite, "lower bound of the loss"),
        .flag("bias_correction", \.biasCorrection, "start the averages at 0, and correct them"),
        .flag("use_fstar", \.useFstar, "estimate the lower bound, beginning at lb"),
    ]

    var averaging: Double { beta }
    var estimatesLowerBound: Bool { useFstar }
    var startsAtZero: Bool { biasCorrection }
    var divides: Bool { true }
    func directionFactor(_ step: Int64) -> Double { 1 }

    /// What `MoMoArithmetic` reads.
    package struct Coefficients: BitwiseCopyable {
        package let share: Double
    }

    package func plan(_ moment: StepInput, powers: inout BiasCorrectionCache, into target: UnsafeMutableRawPointer) {
        let coefficients = Coefficients(share: moment.step == 1 && !biasCorrection ? 1 : 1 - beta)
        target.storeBytes(of: coefficients, as: Coefficients.self)
    }

    package var kernel: KernelKey { .momo }
}
