// SPDX-License-Identifier: Apache-2.0

/// Changes in the units of the weights: the gradient times the root mean square of the changes over that of the gradients.
///
///     g′ = g + λ·w
///     s ← ρ·s + (1 − ρ)·g′²
///     d = √(a + ε) / √(s + ε) · g′
///     a ← ρ·a + (1 − ρ)·d²
///     w ← w − γ·d
///
/// Source: Zeiler 2012, algorithm 1 (arXiv:1212.5701), which has γ = 1.  Equals `torch.optim.Adadelta`.  Keras takes
/// γ = 0.001 and ρ = 0.95.
public struct Adadelta: DeclaredRule {
    /// Learning rate γ.
    public var learningRate = 1.0
    /// Decay ρ of both mean squares.
    public var rho = 0.9
    /// Number ε that is added under both roots.
    public var epsilon = 1e-6
    /// Decay coefficient λ.
    public var weightDecay = 0.0

    public init() {}

    /// Creates the rule from its hyperparameters, which the properties document.
    public init(lr: Double, rho: Double = 0.9, eps: Double = 1e-6, weightDecay: Double = 0) {
        learningRate = lr
        self.rho = rho
        epsilon = eps
        self.weightDecay = weightDecay
    }

    package static let declaration = Declaration(
        name: "adadelta", title: "Adadelta",
        summary: "Gradients times the root mean square of past changes over that of past gradients",
        details: """
            g += weight_decay * w;  s = rho * s + (1 - rho) * g * g;  d = sqrt(a + eps) / sqrt(s + eps) * g;  \
            a = rho * a + (1 - rho) * d * d;  w -= lr * d.
            """,
        equation: "s ← ρs + (1−ρ)g²; d = √(a + ε)/√(s + ε)·g; a ← ρa + (1−ρ)d²; w ← w − γ·d",
        source: "Zeiler 2012, algorithm 1, arXiv:1212.5701; equals torch.optim.Adadelta",
        states: [.parameter("square_avg"), .parameter("acc_delta")], needsStep: false)

    package static let parameters: [Parameter<Self>] = [
        .number("lr", \.learningRate, .nonNegative, "learning rate γ"),
        .number("rho", \.rho, .fraction, "decay ρ of both mean squares"),
        .number("eps", \.epsilon, .nonNegative, "number ε that is added under both roots"),
        .number("weight_decay", \.weightDecay, .nonNegative, "decay coefficient λ"),
    ]

    /// What `AdadeltaArithmetic` reads.
    package struct Coefficients: BitwiseCopyable {
        package let coupledDecay, share, epsilon, rate: Double
    }

    package func plan(_ moment: StepInput, powers: inout BiasCorrectionCache, into target: UnsafeMutableRawPointer) {
        let coefficients = Coefficients(
            coupledDecay: weightDecay * decayScale(moment.tensor), share: 1 - rho, epsilon: epsilon,
            rate: moment.learningRate)
        target.storeBytes(of: coefficients, as: Coefficients.self)
    }

    package var kernel: KernelKey { .adadelta }
}
