// SPDX-License-Identifier: Apache-2.0

/// The gradient over the root of the sum of all squares so far.
///
///     g′ = g + λ·w
///     s ← s + g′²                                             (s starts at `initial_accumulator_value`)
///     w ← w − γ/(1 + (t − 1)·lr_decay) · g′ / (√s + ε)    (`epsilonInRoot`: g′ / √(s + ε))
///
/// t counts the steps of the tensor itself.  s takes its start at the tensor's first step, whatever the state holds.
///
/// Source: Duchi, Hazan and Singer 2011, figure 1 with a diagonal matrix (JMLR 12, 2121–2159).  Equals `torch.optim.Adagrad`,
/// and with the presets `optax` and `keras` these libraries', which start s at 0.1 and have ε = 1e-7 inside the root.
public struct Adagrad: DeclaredRule {
    /// Learning rate γ.
    public var learningRate = 1e-2
    /// Decay η of the rate: it is divided by 1 + (t − 1)·η.
    public var rateDecay = 0.0
    /// Decay coefficient λ.
    public var weightDecay = 0.0
    /// What the sum of squares starts at.
    public var initialSum = 0.0
    /// Number ε that is added to the denominator.
    public var epsilon = 1e-10
    /// Add ε to s, inside the root.
    public var epsilonInRoot = false

    public init() {}

    /// Creates the rule from its hyperparameters, which the properties document.
    public init(
        lr: Double, lrDecay: Double = 0, weightDecay: Double = 0, initialAccumulatorValue: Double = 0,
        eps: Double = 1e-10
    ) {
        learningRate = lr
        rateDecay = lrDecay
        self.weightDecay = weightDecay
        initialSum = initialAccumulatorValue
        epsilon = eps
    }

    package static let declaration = Declaration(
        name: "adagrad", title: "Adagrad",
        summary: "Gradients divided by the root of the sum of all their squares so far",
        details: """
            g += weight_decay * w;  s += g * g;  w -= lr / (1 + (t - 1) * lr_decay) * g / (sqrt(s) + eps).  s starts at \
            initial_accumulator_value at the tensor's first step.
            """,
        equation: "s ← s + g²; w ← w − γ/(1 + (t−1)η)·g/(√s + ε)",
        source: "Duchi, Hazan and Singer 2011, figure 1; equals torch.optim.Adagrad",
        states: [.parameter("sum")])

    package static let parameters: [Parameter<Self>] = [
        .number("lr", \.learningRate, .nonNegative, "learning rate γ"),
        .number("lr_decay", \.rateDecay, .nonNegative, "decay η of the rate: it is divided by 1 + (t − 1)·η"),
        .number("weight_decay", \.weightDecay, .nonNegative, "decay coefficient λ"),
        .number("initial_accumulator_value", \.initialSum, .nonNegative, "what the sum of squares starts at"),
        .number("eps", \.epsilon, .nonNegative, "number ε that is added to the denominator"),
        .flag("eps_in_sqrt", \.epsilonInRoot, "add ε inside the root, as optax and Keras do").omittedAtDefault,
    ]

    package static let presets = ["optax", "keras"].map { library in
        Preset(
            library, [Setting("initial_accumulator_value", 0.1), Setting("eps", 1e-7), Setting("eps_in_sqrt", 1)])
    }

    /// What `AdagradArithmetic` reads.
    package struct Coefficients: BitwiseCopyable {
        package let coupledDecay, start, rate, innerEpsilon, epsilon: Double
        package let isFirst: Bool
    }

    package func plan(_ moment: StepInput, powers: inout BiasCorrectionCache, into target: UnsafeMutableRawPointer) {
        let coefficients = Coefficients(
            coupledDecay: weightDecay * decayScale(moment.tensor), start: initialSum,
            rate: moment.learningRate / (1 + Double(moment.step - 1) * rateDecay),
            innerEpsilon: epsilonInRoot ? epsilon : 0,
            epsilon: epsilonInRoot ? 0 : epsilon,
            isFirst: moment.step == 1)
        target.storeBytes(of: coefficients, as: Coefficients.self)
    }

    package var kernel: KernelKey { .adagrad }
}
