// SPDX-License-Identifier: Apache-2.0

/// Adam with decoupled weight decay: the weights decay by γ·λ, apart from the gradient and its moments.
///
///     w ← w − γ·(m̂ / (√v̂ + ε) + λ·w)
///
/// with m̂ and v̂ of `Adam`, from the gradient alone.
///
/// Source: Loshchilov and Hutter 2019, algorithm 2 (arXiv:1711.05101), with the schedule inside γ.  Equals
/// `torch.optim.AdamW`, whose default decay of 0.01 it shares; optax's default is 0.0001, and Keras's 0.004 with
/// `epsilonBeforeCorrection`.
public struct AdamW: AdjustableRule {
    /// Learning rate γ.
    public var learningRate = 1e-3
    /// Decay β₁ of the first moment.
    public var beta1 = 0.9
    /// Decay β₂ of the second moment.
    public var beta2 = 0.999
    /// Number ε that is added to the denominator.
    public var epsilon = 1e-8
    /// Decay coefficient λ.
    public var weightDecay = 1e-2
    /// Divide by the largest second moment so far.
    public var amsgrad = false
    /// Add ε to √v before that is corrected for its start.
    public var epsilonBeforeCorrection = false
    /// What is done with the change before the weights take it.
    public var updateOptions = UpdateOptions()

    public init() {}

    /// Creates the rule from its hyperparameters, which the properties document.
    public init(
        lr: Double, betas: (Double, Double) = (0.9, 0.999), eps: Double = 1e-8, weightDecay: Double = 1e-2,
        amsgrad: Bool = false
    ) {
        learningRate = lr
        (beta1, beta2) = betas
        epsilon = eps
        self.weightDecay = weightDecay
        self.amsgrad = amsgrad
    }

    package static let declaration = Declaration(
        name: "adamw", title: "AdamW",
        summary: "Adam with decoupled weight decay",
        details: """
            w *= 1 - lr * weight_decay, then Adam's update with the bare gradient.  With amsgrad there is a third state.
            """,
        equation: "m ← β₁m + (1−β₁)g; v ← β₂v + (1−β₂)g²; w ← w − γ·(m̂/(√v̂ + ε) + λw)",
        source: "Loshchilov and Hutter 2019, algorithm 2, arXiv:1711.05101; equals torch.optim.AdamW",
        states: Adam.declaration.states)

    package static let parameters: [Parameter<Self>] =
        [
            .number("lr", \.learningRate, .nonNegative, "learning rate γ"),
            .number("beta1", \.beta1, .fraction, "decay β₁ of the first moment"),
            .number("beta2", \.beta2, .fraction, "decay β₂ of the second moment"),
            .number("eps", \.epsilon, .nonNegative, "number ε that is added to the denominator"),
            .number("weight_decay", \.weightDecay, .nonNegative, "decay coefficient λ"),
            .flag("amsgrad", \.amsgrad, "divide by the largest second moment so far"),
            .flag(
                "eps_before_correction", \.epsilonBeforeCorrection,
                "add ε to √v before that is corrected for its start, as Keras and TensorFlow do"
            ).omittedAtDefault,
        ] + updateParameters

    /// The same rule, said as Adam.
    private var adam: Adam {
        var adam = Adam(
            lr: learningRate, betas: (beta1, beta2), eps: epsilon, weightDecay: weightDecay, amsgrad: amsgrad,
            decoupledWeightDecay: true)
        adam.epsilonBeforeCorrection = epsilonBeforeCorrection
        return adam
    }

    package var decouplesDecay: Bool { true }

    package var states: StateSet { adam.states }

    package func plan(_ moment: StepInput, powers: inout BiasCorrectionCache, into target: UnsafeMutableRawPointer) {
        adam.plan(moment, powers: &powers, into: target)
    }

    package var kernel: KernelKey { adam.kernel }
}
