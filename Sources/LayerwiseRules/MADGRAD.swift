// SPDX-License-Identifier: Apache-2.0

/// Dual averaging with momentum: the weights follow their start less the weighted sum of all gradients, over a cube root.
///
///     g′ = g + λ·w
///     l = (γ + ε)·√t                                          (0 where γ is 0)
///     q ← q + l·g′²
///     s ← s + l·g′
///     z = x₀ − s / (∛q + ε)
///     w ← μ·w + (1 − μ)·z
///     w ← w − γ·λ·w_old                                       (decoupled decay instead of the coupled one)
///
/// x₀ is the parameters at the tensor's first step, and t counts the tensor's own steps.  A rate or a layer's scale weighs the
/// gradients of its step in s and, in the power 1/3, in ∛q: with a scale that never changes, changes are its power 2/3.  The cube root
/// is made of divisions and multiplications, so that it is the same on every processor.
///
/// Source: Defazio and Jelassi 2022, algorithm 1 (arXiv:2101.11075), with ε added to γ as in the authors' package, which it equals,
/// and `pytorch_optimizer.MADGRAD`, whose default rate is 1e-3 and whose decoupled decay is (γ + ε)·λ.  With momentum 0 both compute
/// x₀ from the weights at each step, which has other rounding errors.
public struct MADGRAD: DeclaredRule {
    /// Learning rate γ.
    public var learningRate = 1e-2
    /// Momentum factor μ.
    public var momentum = 0.9
    /// Number ε that is added to the rate and to the denominator.
    public var epsilon = 1e-6
    /// Decay coefficient λ.
    public var weightDecay = 0.0
    /// Decay the weights in place of the gradient, as AdamW does.
    public var decoupledWeightDecay = false

    public init() {}

    /// Creates the rule from its hyperparameters, which the properties document.
    public init(
        lr: Double, momentum: Double = 0.9, eps: Double = 1e-6, weightDecay: Double = 0,
        decoupledWeightDecay: Bool = false
    ) {
        learningRate = lr
        self.momentum = momentum
        epsilon = eps
        self.weightDecay = weightDecay
        self.decoupledWeightDecay = decoupledWeightDecay
    }

    package static let declaration = Declaration(
        name: "madgrad", title: "MADGRAD",
        summary: "Dual averaging with momentum: the start less the sum of all gradients, over a cube root",
        details: """
            g += weight_decay * w;  l = (lr + eps) * sqrt(t);  q += l * g * g;  s += l * g;  \
            w = momentum * w + (1 - momentum) * (x0 - s / (cbrt(q) + eps)).  x0 is the parameters at the tensor's first step.  A layer's \
            scale acts on changes by its power 2/3.
            """,
        equation: "q ← q + γ√t·g²; s ← s + γ√t·g; w ← μw + (1−μ)(x₀ − s/(∛q + ε))",
        source: "Defazio and Jelassi 2022, algorithm 1, arXiv:2101.11075; "
            + "equals the authors' package and pytorch_optimizer.MADGRAD",
        states: [.parameter("grad_sum_sq"), .parameter("s"), .parameterCopy("x0")])

    package static let parameters: [Parameter<Self>] = [
        .number("lr", \.learningRate, .nonNegative, "learning rate γ"),
        .number("momentum", \.momentum, .fraction, "momentum factor μ"),
        .number("eps", \.epsilon, .nonNegative, "number ε that is added to the rate and to the denominator"),
        .number("weight_decay", \.weightDecay, .nonNegative, "decay coefficient λ"),
        .flag(
            "decoupled_weight_decay", \.decoupledWeightDecay,
            "decay the weights in place of the gradient, as AdamW does"),
    ]

    package var decouplesDecay: Bool { decoupledWeightDecay }

    /// What `MADGRADArithmetic` reads.
    package struct Coefficients: BitwiseCopyable {
        package let coupledDecay, decay, weight, epsilon, share: Double
    }

    package func plan(_ moment: StepInput, powers: inout BiasCorrectionCache, into target: UnsafeMutableRawPointer) {
        let rate = moment.learningRate == 0 ? 0 : moment.learningRate + epsilon
        let decay = weightDecay * decayScale(moment.tensor)
        let coefficients = Coefficients(
            coupledDecay: decoupledWeightDecay ? 0 : decay,
            decay: decoupledWeightDecay ? moment.decayRate * decay : 0,
            weight: rate * Double(moment.step).squareRoot(), epsilon: epsilon, share: 1 - momentum)
        target.storeBytes(of: coefficients, as: Coefficients.self)
    }

    package var kernel: KernelKey { .madgrad }
}
