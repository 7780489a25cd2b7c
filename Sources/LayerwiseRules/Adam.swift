// SPDX-License-Identifier: Apache-2.0

/// Adaptive moment estimation, with AMSGrad.
///
///     g′ = g + λ·w                       (coupled decay)
///     m ← β₁·m + (1 − β₁)·g′
///     v ← β₂·v + (1 − β₂)·g′²            (AMSGrad: v̂ from the largest v so far)
///     m̂ = m / (1 − β₁ᵗ),  v̂ = v / (1 − β₂ᵗ)
///     w ← w − γ·m̂ / (√v̂ + ε)           (`epsilonBeforeCorrection`: m̂ / ((√v + ε)/√(1 − β₂ᵗ)))
///     w ← w − γ·λ·w_old                  (decoupled decay instead of the coupled one)
///
/// t counts the steps of the tensor itself.
///
/// Source: Kingma and Ba 2015, algorithm 1 (arXiv:1412.6980); Reddi et al. 2018 (arXiv:1904.09237).  Equals
/// `torch.optim.Adam` and `optax.adam`, and with `epsilonBeforeCorrection` Keras's, whose ε is the paper's ε̂ of section 2.  ggml adds ε
/// after √(v·β₂); ELECTRA has no bias correction.
public struct Adam: AdjustableRule {
    /// Learning rate γ.
    public var learningRate = 1e-3
    /// Decay β₁ of the first moment.
    public var beta1 = 0.9
    /// Decay β₂ of the second moment.
    public var beta2 = 0.999
    /// Number ε that is added to the denominator.
    public var epsilon = 1e-8
    /// Decay coefficient λ.
    public var weightDecay = 0.0
    /// Divide by the largest second moment so far.
    public var amsgrad = false
    /// Decay the weights in place of the gradient, as AdamW does.
    public var decoupledWeightDecay = false
    /// Add ε to √v before that is corrected for its start.
    public var epsilonBeforeCorrection = false
    /// What is done with the change before the weights take it.
    public var updateOptions = UpdateOptions()

    public init() {}

    /// Creates the rule from its hyperparameters, which the properties document.
    public init(
        lr: Double, betas: (Double, Double) = (0.9, 0.999), eps: Double = 1e-8, weightDecay: Double = 0,
        amsgrad: Bool = false, decoupledWeightDecay: Bool = false
    ) {
        learningRate = lr
        (beta1, beta2) = betas
        epsilon = eps
        self.weightDecay = weightDecay
        self.amsgrad = amsgrad
        self.decoupledWeightDecay = decoupledWeightDecay
    }

    package static let declaration = Declaration(
        name: "adam", title: "Adam",
        summary: "Adaptive moments",
        details: """
            g += weight_decay * w;  m = beta1 * m + (1 - beta1) * g;  v = beta2 * v + (1 - beta2) * g * g;  \
            w -= lr * (m / (1 - beta1**t)) / (sqrt(v / (1 - beta2**t)) + eps).  With amsgrad, v is replaced by its maximum so \
            far, which is the third state.  With decoupled_weight_decay it is AdamW.
            """,
        equation: "m ← β₁m + (1−β₁)g; v ← β₂v + (1−β₂)g²; w ← w − γ·m̂/(√v̂ + ε)",
        source: "Kingma and Ba 2015, algorithm 1, arXiv:1412.6980; AMSGrad: arXiv:1904.09237; equals torch.optim.Adam",
        states: [.parameter("exp_avg"), .parameter("exp_avg_sq"), .parameter("max_exp_avg_sq")])

    package static let parameters: [Parameter<Self>] =
        [
            .number("lr", \.learningRate, .nonNegative, "learning rate γ"),
            .number("beta1", \.beta1, .fraction, "decay β₁ of the first moment"),
            .number("beta2", \.beta2, .fraction, "decay β₂ of the second moment"),
            .number("eps", \.epsilon, .nonNegative, "number ε that is added to the denominator"),
            .number("weight_decay", \.weightDecay, .nonNegative, "decay coefficient λ"),
            .flag("amsgrad", \.amsgrad, "divide by the largest second moment so far"),
            .flag(
                "decoupled_weight_decay", \.decoupledWeightDecay,
                "decay the weights in place of the gradient, as AdamW does"),
            .flag(
                "eps_before_correction", \.epsilonBeforeCorrection,
                "add ε to √v before that is corrected for its start, as Keras and TensorFlow do"
            ).omittedAtDefault,
        ] + updateParameters

    package var decouplesDecay: Bool { decoupledWeightDecay }

    package var states: StateSet { .first(amsgrad ? 3 : 2) }

    /// What `AdamArithmetic` reads.
    package struct Coefficients: BitwiseCopyable {
        package let coupledDecay, decay, firstShare, secondShare, stepSize, epsilon: Double
    }

    package func plan(_ moment: StepInput, powers: inout BiasCorrectionCache, into target: UnsafeMutableRawPointer) {
        // √v̂ = √v / √(1 − β₂ᵗ), and its root moves into the step and into ε: one rounding less for every element.
        let root = powers.complement(beta2, moment.step).squareRoot()
        let decay = weightDecay * decayScale(moment.tensor)
        let coefficients = Coefficients(
            coupledDecay: decoupledWeightDecay ? 0 : decay,
            decay: decoupledWeightDecay ? moment.decayRate * decay : 0,
            firstShare: 1 - beta1, secondShare: 1 - beta2,
            stepSize: moment.learningRate * root / powers.complement(beta1, moment.step),
            epsilon: epsilonBeforeCorrection ? epsilon : epsilon * root)
        target.storeBytes(of: coefficients, as: Coefficients.self)
    }

    package var kernel: KernelKey { amsgrad ? .amsgrad : .adam }
}
