// SPDX-License-Identifier: Apache-2.0

/// The sign of the gradient, or of a momentum (Signum): every weight moves by the learning rate.
///
///     b ← μ·b + (1 − μ)·g                                     (without momentum, b = g)
///     w ← w − γ·(sign(b) + λ·w)
///
/// The sign of 0 is 0.
///
/// Source: Bernstein et al. 2018, algorithm 1, with λ and momentum in appendix D (arXiv:1802.04434).  Equals
/// `pytorch_optimizer.SignSGD`, whose default momentum is 0.9, and without momentum `optax.sign_sgd`.
public struct SignSGD: AdjustableRule {
    /// Learning rate γ.
    public var learningRate = 1e-3
    /// Momentum factor μ; 0 keeps no velocity.
    public var momentum = 0.0
    /// Decay coefficient λ.
    public var weightDecay = 0.0
    /// What is done with the change before the weights take it.
    public var updateOptions = UpdateOptions()

    public init() {}

    /// Creates the rule from its hyperparameters, which the properties document.
    public init(lr: Double, momentum: Double = 0, weightDecay: Double = 0) {
        learningRate = lr
        self.momentum = momentum
        self.weightDecay = weightDecay
    }

    package static let declaration = Declaration(
        name: "signsgd", title: "SignSGD",
        summary: "The sign of the gradient, or of a momentum (Signum), with decoupled weight decay",
        details: """
            b = momentum * b + (1 - momentum) * g;  w -= lr * (sign(b) + weight_decay * w).  With momentum it is Signum.  The state \
            is there once momentum is not 0.
            """,
        equation: "b ← μb + (1−μ)g; w ← w − γ·(sign(b) + λw)",
        source: "Bernstein et al. 2018, algorithm 1, arXiv:1802.04434; equals pytorch_optimizer.SignSGD",
        states: [.parameter("momentum_buffer")], needsStep: false)

    package static let parameters: [Parameter<Self>] =
        [
            .number("lr", \.learningRate, .nonNegative, "learning rate γ"),
            .number("momentum", \.momentum, .fraction, "momentum factor μ; 0 keeps no velocity"),
            .number("weight_decay", \.weightDecay, .nonNegative, "decay coefficient λ"),
        ] + updateParameters

    package var decouplesDecay: Bool { true }

    package var states: StateSet { momentum > 0 ? .state(0) : [] }

    package func plan(_ moment: StepInput, powers: inout BiasCorrectionCache, into target: UnsafeMutableRawPointer) {
        Lion(lr: learningRate, betas: (momentum, momentum), weightDecay: weightDecay)
            .plan(moment, powers: &powers, into: target)
    }

    package var kernel: KernelKey { momentum > 0 ? .lion : .signSGD }
}
