// SPDX-License-Identifier: Apache-2.0

/// Adam whose second moment moves by the size of the squared gradient alone, so that it falls no faster than it grows.
///
///     g′ = g + λ·w                                            (coupled decay)
///     m ← β₁·m + (1 − β₁)·g′
///     v ← v − (1 − β₂)·sign(v − g′²)·g′²
///     w ← w − γ·m̂ / (√v̂ + ε)                                  with m̂ = m/(1 − β₁ᵗ), v̂ = v/(1 − β₂ᵗ)
///     w ← w − γ·λ·w_old                                       (decoupled decay, the default, instead of the coupled one)
///
/// m and v start at `initial_accumulator`, at the tensor's first step and whatever the states hold.
///
/// Source: Zaheer et al. 2018, algorithm 2 (NeurIPS), which has neither the correction of the moments nor a start.  Equals
/// `optax.yogi` and `pytorch_optimizer.Yogi`.
public struct Yogi: AdjustableRule {
    /// Learning rate γ.
    public var learningRate = 1e-2
    /// Decay β₁ of the first moment.
    public var beta1 = 0.9
    /// Decay β₂ of the second moment.
    public var beta2 = 0.999
    /// Number ε that is added to the denominator.
    public var epsilon = 1e-3
    /// What both moments start at.
    public var initialAccumulator = 1e-6
    /// Decay coefficient λ.
    public var weightDecay = 0.0
    /// Decay the weights in place of the gradient.
    public var decoupledWeightDecay = true
    /// What is done with the change before the weights take it.
    public var updateOptions = UpdateOptions()

    public init() {}

    /// Creates the rule from its hyperparameters, which the properties document.
    public init(
        lr: Double, betas: (Double, Double) = (0.9, 0.999), eps: Double = 1e-3, initialAccumulator: Double = 1e-6,
        weightDecay: Double = 0, decoupledWeightDecay: Bool = true
    ) {
        learningRate = lr
        (beta1, beta2) = betas
        epsilon = eps
        self.initialAccumulator = initialAccumulator
        self.weightDecay = weightDecay
        self.decoupledWeightDecay = decoupledWeightDecay
    }

    package static let declaration = Declaration(
        name: "yogi", title: "Yogi",
        summary: "Adam whose second moment falls no faster than it grows",
        details: """
            m = beta1 * m + (1 - beta1) * g;  v -= (1 - beta2) * sign(v - g * g) * g * g;  \
            w -= lr * (m / (1 - beta1**t)) / (sqrt(v / (1 - beta2**t)) + eps).  m and v start at initial_accumulator at the \
            tensor's first step.  The decay acts on the weights, unless decoupled_weight_decay is off.
            """,
        equation: "v ← v − (1−β₂)·sign(v − g²)·g²; w ← w − γ·m̂/(√v̂ + ε)",
        source: "Zaheer et al. 2018, algorithm 2; equals optax and pytorch_optimizer.Yogi",
        states: [.parameter("exp_avg"), .parameter("exp_avg_sq")])

    package static let parameters: [Parameter<Self>] =
        [
            .number("lr", \.learningRate, .nonNegative, "learning rate γ"),
            .number("beta1", \.beta1, .fraction, "decay β₁ of the first moment"),
            .number("beta2", \.beta2, .fraction, "decay β₂ of the second moment"),
            .number("eps", \.epsilon, .nonNegative, "number ε that is added to the denominator"),
            .number("initial_accumulator", \.initialAccumulator, .nonNegative, "what both moments start at"),
            .number("weight_decay", \.weightDecay, .nonNegative, "decay coefficient λ"),
            .flag("decoupled_weight_decay", \.decoupledWeightDecay, "decay the weights in place of the gradient"),
        ] + updateParameters

    package var decouplesDecay: Bool { decoupledWeightDecay }

    /// What `YogiArithmetic` reads.
    package struct Coefficients: BitwiseCopyable {
        package let coupledDecay, decay, firstShare, secondShare, stepSize, epsilon, start: Double
        package let isFirst: Bool
    }

    package func plan(_ moment: StepInput, powers: inout BiasCorrectionCache, into target: UnsafeMutableRawPointer) {
        let root = powers.complement(beta2, moment.step).squareRoot()
        let decay = weightDecay * decayScale(moment.tensor)
        let coefficients = Coefficients(
            coupledDecay: decoupledWeightDecay ? 0 : decay,
            decay: decoupledWeightDecay ? moment.decayRate * decay : 0,
            firstShare: 1 - beta1, secondShare: 1 - beta2,
            stepSize: moment.learningRate * root / powers.complement(beta1, moment.step),
            epsilon: epsilon * root, start: initialAccumulator, isFirst: moment.step == 1)
        target.storeBytes(of: coefficients, as: Coefficients.self)
    }

    package var kernel: KernelKey { .yogi }
}
