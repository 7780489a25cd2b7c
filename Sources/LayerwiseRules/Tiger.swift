// SPDX-License-Identifier: Apache-2.0

/// The sign of a momentum, which is Lion with one β.
///
///     m ← β·m + (1 − β)·g
///     w ← w − γ·(sign(m) + λ·w)
///
/// The sign of 0 is 0.
///
/// Source: Su 2023, "Tiger: a tight-fisted optimizer" (github.com/bojone/tiger), whose decay, β and rate these are; without its
/// scales by the kind of layer.  Equals `pytorch_optimizer.Tiger`.
public struct Tiger: AdjustableRule {
    /// Learning rate γ.
    public var learningRate = 1e-3
    /// Decay β of the momentum.
    public var beta = 0.965
    /// Decay coefficient λ.
    public var weightDecay = 0.01
    /// What is done with the change before the weights take it.
    public var updateOptions = UpdateOptions()

    public init() {}

    /// Creates the rule from its hyperparameters, which the properties document.
    public init(lr: Double, beta: Double = 0.965, weightDecay: Double = 0.01) {
        learningRate = lr
        self.beta = beta
        self.weightDecay = weightDecay
    }

    package static let declaration = Declaration(
        name: "tiger", title: "Tiger",
        summary: "The sign of a momentum, with decoupled weight decay and one state",
        details: """
            m = beta * m + (1 - beta) * g;  w -= lr * (sign(m) + weight_decay * w).  It is Lion with both betas equal, and moves \
            every weight by lr at every step.
            """,
        equation: "m ← βm + (1−β)g; w ← w − γ·(sign(m) + λw)",
        source: "Su 2023, github.com/bojone/tiger; equals pytorch_optimizer.Tiger",
        states: [.parameter("exp_avg")], needsStep: false)

    package static let parameters: [Parameter<Self>] =
        [
            .number("lr", \.learningRate, .nonNegative, "learning rate γ"),
            .number("beta", \.beta, .fraction, "decay β of the momentum"),
            .number("weight_decay", \.weightDecay, .nonNegative, "decay coefficient λ"),
        ] + updateParameters

    package var decouplesDecay: Bool { true }

    package func plan(_ moment: StepInput, powers: inout BiasCorrectionCache, into target: UnsafeMutableRawPointer) {
        Lion(lr: learningRate, betas: (beta, beta), weightDecay: weightDecay)
            .plan(moment, powers: &powers, into: target)
    }

    package var kernel: KernelKey { .lion }
}
