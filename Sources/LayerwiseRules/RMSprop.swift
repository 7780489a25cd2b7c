// SPDX-License-Identifier: Apache-2.0

/// The gradient over a running root mean square of itself.
///
///     g′ = g + λ·w
///     s ← α·s + (1 − α)·g′²
///     q = √s + ε                                              (centered: ḡ ← α·ḡ + (1 − α)·g′;  q = √(s − ḡ²) + ε)
///     b ← μ·b + g′/q;  w ← w − γ·b                            (without momentum: w ← w − γ·g′/q)
///
/// `eps_in_sqrt`: q = √(s + ε).  `lr_in_momentum`: b ← μ·b + γ·g′/q;  w ← w − b, so that a new rate acts over the following steps.
/// s starts at `initial_square_avg`, at the tensor's first step and whatever the state holds.
///
/// Source: Hinton 2012, lecture 6e; centered: Graves 2013 (arXiv:1308.0850), equations 38–45.  Equals `torch.optim.RMSprop`,
/// but where rounding makes s − ḡ² negative: it counts as 0 here, and makes NaN there.  With `eps_in_sqrt` and `lr_in_momentum` it
/// equals `optax.rmsprop`, and TensorFlow's, which timm's `RMSpropTF` follows, with `initial_square_avg` 1 as well.
public struct RMSprop: AdjustableRule {
    /// Learning rate γ.
    public var learningRate = 1e-2
    /// Decay α of the mean square.
    public var alpha = 0.99
    /// Number ε that is added to the denominator.
    public var epsilon = 1e-8
    /// Decay coefficient λ.
    public var weightDecay = 0.0
    /// Momentum factor μ; 0 keeps no velocity, from 1 on it grows without bound.
    public var momentum = 0.0
    /// Divide by the standard deviation in place of the root mean square.
    public var centered = false
    /// Add ε under the root.
    public var epsilonInRoot = false
    /// Multiply by the rate before the momentum, not after it.
    public var rateInMomentum = false
    /// What the mean square starts at.
    public var initialSquare = 0.0
    /// What is done with the change before the weights take it.
    public var updateOptions = UpdateOptions()

    public init() {}

    /// Creates the rule from its hyperparameters, which the properties document.
    public init(
        lr: Double, alpha: Double = 0.99, eps: Double = 1e-8, weightDecay: Double = 0, momentum: Double = 0,
        centered: Bool = false
    ) {
        learningRate = lr
        self.alpha = alpha
        epsilon = eps
        self.weightDecay = weightDecay
        self.momentum = momentum
        self.centered = centered
    }

    package static let declaration = Declaration(
        name: "rmsprop", title: "RMSprop",
        summary: "Gradients divided by their root mean square",
        details: """
            g += weight_decay * w;  s = alpha * s + (1 - alpha) * g * g;  b = momentum * b + g / (sqrt(s) + eps);  w -= lr * b.  \
            With centered, the square of the mean gradient is taken from s before the root.  momentum_buffer is there once \
            momentum is not 0, and grad_avg with centered.  TensorFlow's form, timm's RMSpropTF, has eps_in_sqrt, lr_in_momentum \
            and initial_square_avg=1; optax's has the first two.
            """,
        equation: "s ← αs + (1−α)g²; b ← μb + g/(√s + ε); w ← w − γ·b",
        source: "Hinton 2012, lecture 6e; centered: Graves 2013, arXiv:1308.0850; equals torch.optim.RMSprop",
        states: [.parameter("square_avg"), .parameter("momentum_buffer"), .parameter("grad_avg")],
        needsStep: false)

    package static let parameters: [Parameter<Self>] =
        [
            .number("lr", \.learningRate, .nonNegative, "learning rate γ"),
            .number("alpha", \.alpha, .fraction, "decay α of the mean square"),
            .number("eps", \.epsilon, .nonNegative, "number ε that is added to the denominator"),
            .number("weight_decay", \.weightDecay, .nonNegative, "decay coefficient λ"),
            .number(
                "momentum", \.momentum, .nonNegative,
                "momentum factor μ; 0 keeps no velocity, from 1 on it grows without bound"),
            .flag("centered", \.centered, "divide by the standard deviation in place of the root mean square"),
            .flag("eps_in_sqrt", \.epsilonInRoot, "add ε under the root"),
            .flag("lr_in_momentum", \.rateInMomentum, "multiply by the rate before the momentum, not after it"),
            .number("initial_square_avg", \.initialSquare, .nonNegative, "what the mean square starts at"),
        ] + updateParameters

    package var states: StateSet {
        var states = StateSet.state(0)
        if momentum > 0 { states.insert(.state(1)) }
        if centered { states.insert(.state(2)) }
        return states
    }

    /// What `RMSpropArithmetic` reads.
    package struct Coefficients: BitwiseCopyable {
        package let coupledDecay, share, innerEpsilon, epsilon, momentum, innerRate, rate, start: Double
        package let keepsVelocity, centered, isFirst: Bool
    }

    package func plan(_ moment: StepInput, powers: inout BiasCorrectionCache, into target: UnsafeMutableRawPointer) {
        let coefficients = Coefficients(
            coupledDecay: weightDecay * decayScale(moment.tensor), share: 1 - alpha,
            innerEpsilon: epsilonInRoot ? epsilon : 0, epsilon: epsilonInRoot ? 0 : epsilon, momentum: momentum,
            innerRate: rateInMomentum ? moment.learningRate : 1, rate: rateInMomentum ? 1 : moment.learningRate,
            start: initialSquare, keepsVelocity: momentum > 0, centered: centered, isFirst: moment.step == 1)
        target.storeBytes(of: coefficients, as: Coefficients.self)
    }

    package var kernel: KernelKey { .rmsprop }
}
