// SPDX-License-Identifier: Apache-2.0
import LayerwisePlatform

/// Adagrad whose sums of squares are bounded by one number for each place along each axis, in place of one for each element.
///
///     ν = min(μ of the element's places) + g²                  (β above 0: β·min(μ) + (1 − β)·g²)
///     μ of a place ← max(ν of its elements)                    (β above 0 and `monotone`: at least what it was)
///     m ← m + (1 − μ₁)·(g / √(ν + ε) − m)                      (μ₁ is `momentum`; 0: m is g / √(ν + ε))
///     w ← w − γ·m − γ·λ·w
///
/// A matrix of R rows and C columns keeps R + C numbers.  A tensor of rank 0 or 1 keeps one for each element, as Adagrad does.
///
/// A NaN among the gradients enters no μ.  Tensors may not be spread over processes: μ would need the largest numbers of others.
///
/// Source: Anil et al. 2019, algorithm SM3-II (arXiv:1901.11150).  Equals `pytorch_optimizer.SM3`, whose default momentum is 0, and
/// with the preset `optax` `optax.sm3`.
public struct SM3: DeclaredRule {
    /// Learning rate γ.
    public var learningRate = 0.1
    /// Decay of the average of changes; 0 keeps none.
    public var momentum = 0.9
    /// Decay β of the squares; 0 is their sum.
    public var beta = 0.0
    /// Number ε that is added to ν.
    public var epsilon = 1e-30
    /// Decay coefficient λ.
    public var weightDecay = 0.0
    /// With β above 0, the largest numbers never fall.
    public var monotone = true

    public init() {}

    /// Creates the rule from its hyperparameters, which the properties document.
    public init(lr: Double, momentum: Double = 0.9, beta: Double = 0, eps: Double = 1e-30, weightDecay: Double = 0) {
        learningRate = lr
        self.momentum = momentum
        self.beta = beta
        epsilon = eps
        self.weightDecay = weightDecay
    }

    package static let declaration = Declaration(
        name: "sm3", title: "SM3",
        summary: "Adagrad whose sums of squares are kept by row, by column, and by place along further axes",
        details: """
            nu = min(accumulators of the element's places) + g * g, or beta * min + (1 - beta) * g * g;  each place's accumulator \
            becomes the largest nu of its elements;  m = momentum * m + (1 - momentum) * g / sqrt(nu + eps);  w -= lr * m + lr * \
            weight_decay * w.  Tensors may not be spread over processes.
            """,
        equation: "ν = min(μ) + g²; μ ← max(ν) by place along each axis; m ← μ₁m + (1−μ₁)·g/√(ν + ε); w ← w − γm − γλw",
        source: "Anil et al. 2019, SM3-II, arXiv:1901.11150; equals pytorch_optimizer.SM3",
        states: [.axes("accumulator"), .parameter("momentum_buffer")], needsStep: false)

    package static let parameters: [Parameter<Self>] = [
        .number("lr", \.learningRate, .nonNegative, "learning rate γ"),
        .number("momentum", \.momentum, .fraction, "decay of the average of changes; 0 keeps none"),
        .number("beta", \.beta, .fraction, "decay β of the squares; 0: their sum"),
        .number("eps", \.epsilon, .nonNegative, "number ε that is added to ν"),
        .number("weight_decay", \.weightDecay, .nonNegative, "decay coefficient λ"),
        .flag("monotone", \.monotone, "with β above 0, the largest numbers never fall"),
    ]

    package static let presets = [
        Preset("pytorch_optimizer", [Setting("momentum", 0), Setting("eps", 1e-30), Setting("monotone", 1)]),
        Preset("optax", [Setting("momentum", 0.9), Setting("eps", 1e-8), Setting("monotone", 0)]),
    ]

    package var states: StateSet { .first(momentum > 0 ? 2 : 1) }

    package var decouplesDecay: Bool { true }

    package func factorAverage(_ stage: Int, _ moment: StepInput) -> FactorAverage {
        FactorAverage(keepsMaxima: monotone && beta > 0)
    }

    /// What `SM3Arithmetic` reads.
    package struct Coefficients: BitwiseCopyable {
        package let kept, share, momentumShare, rate, decay, epsilon: Double
    }

    package func plan(_ moment: StepInput, powers: inout BiasCorrectionCache, into target: UnsafeMutableRawPointer) {
        let coefficients = Coefficients(
            kept: beta > 0 ? beta : 1, share: 1 - beta, momentumShare: 1 - momentum, rate: moment.learningRate,
            decay: moment.decayRate * weightDecay * decayScale(moment.tensor), epsilon: epsilon)
        target.storeBytes(of: coefficients, as: Coefficients.self)
    }

    package var kernel: KernelKey { momentum > 0 ? .sm3Momentum : .sm3 }
}
