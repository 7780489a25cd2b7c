// SPDX-License-Identifier: Apache-2.0

/// Evolved sign momentum: every weight moves by the learning rate, in the direction of an interpolated momentum.
///
///     c = β₁·m + (1 − β₁)·g
///     w ← w − γ·(sign(c) + λ·w)
///     m ← β₂·m + (1 − β₂)·g
///
/// The sign of 0 is 0.  Since all weights move by γ, γ is three to ten times smaller than AdamW's and λ as much larger.
///
/// Source: Chen et al. 2023, algorithm 2 (arXiv:2302.06675).  Equals lion-pytorch, timm's `Lion` and `optax.lion`, whose default
/// decay is 0.001, and `pytorch_optimizer.Lion` with decoupled decay.
public struct Lion: AdjustableRule {
    /// Learning rate γ.
    public var learningRate = 1e-4
    /// Share β₁ of the momentum in the direction.
    public var beta1 = 0.9
    /// Decay β₂ of the momentum that is kept.
    public var beta2 = 0.99
    /// Decay coefficient λ.
    public var weightDecay = 0.0
    /// What is done with the change before the weights take it.
    public var updateOptions = UpdateOptions()

    public init() {}

    /// Creates the rule from its hyperparameters, which the properties document.
    public init(lr: Double, betas: (Double, Double) = (0.9, 0.99), weightDecay: Double = 0) {
        learningRate = lr
        (beta1, beta2) = betas
        self.weightDecay = weightDecay
    }

    package static let declaration = Declaration(
        name: "lion", title: "Lion",
        summary: "The sign of a momentum, with decoupled weight decay: every weight moves by lr at every step",
        details: """
            w -= lr * (sign(beta1 * m + (1 - beta1) * g) + weight_decay * w);  m = beta2 * m + (1 - beta2) * g.  The paper takes \
            a rate 3 to 10 times smaller than AdamW's, and a decay as much larger.
            """,
        equation: "w ← w − γ·(sign(β₁m + (1−β₁)g) + λw); m ← β₂m + (1−β₂)g",
        source: "Chen et al. 2023, algorithm 2, arXiv:2302.06675; equals timm and optax",
        states: [.parameter("exp_avg")], needsStep: false)

    package static let parameters: [Parameter<Self>] =
        [
            .number("lr", \.learningRate, .nonNegative, "learning rate γ"),
            .number("beta1", \.beta1, .fraction, "share β₁ of the momentum in the direction"),
            .number("beta2", \.beta2, .fraction, "decay β₂ of the momentum that is kept"),
            .number("weight_decay", \.weightDecay, .nonNegative, "decay coefficient λ"),
        ] + updateParameters

    package var decouplesDecay: Bool { true }

    /// What `LionArithmetic` reads.
    package struct Coefficients: BitwiseCopyable {
        package let decay, directionShare, momentShare, rate: Double
    }

    package func plan(_ moment: StepInput, powers: inout BiasCorrectionCache, into target: UnsafeMutableRawPointer) {
        let coefficients = Coefficients(
            decay: moment.decayRate * weightDecay * decayScale(moment.tensor),
            directionShare: 1 - beta1, momentShare: 1 - beta2, rate: moment.learningRate)
        target.storeBytes(of: coefficients, as: Coefficients.self)
    }

    package var kernel: KernelKey { .lion }
}
