// SPDX-License-Identifier: Apache-2.0

/// A step size for every weight, which grows while the gradient keeps its sign and shrinks where it changes.
///
///     g′ = g + λ·w
///     η ← clamp(η·c, η_min, η_max), where c is η⁺ if g′ has the sign of p, η⁻ if it has the opposite one, else 1
///     g″ = 0 where the sign changed, else g′
///     w ← w − η·sign(g″);  p ← g″
///
/// η starts at the rate of the tensor's first step, which is all that the rate is for: a schedule does nothing after it, and a
/// layer's scale multiplies the first step size alone.  It is for gradients of whole data sets: on small batches signs are noise.
///
/// Source: Riedmiller and Braun 1993, in the form without backtracking (Igel and Hüsken 2000, iRprop⁻).  Equals
/// `torch.optim.Rprop`, which has no weight decay and takes the sign of the product g·p, so that signs count as equal to 0 where
/// the product underflows.
public struct Rprop: DeclaredRule {
    /// First step size of every weight.
    public var learningRate = 1e-2
    /// Factor η⁻ of the step size where the sign changes.
    public var shrink = 0.5
    /// Factor η⁺ of the step size where the sign stays.
    public var growth = 1.2
    /// Smallest step size.
    public var smallest = 1e-6
    /// Largest step size.
    public var largest = 50.0
    /// Decay coefficient λ.
    public var weightDecay = 0.0

    public init() {}

    /// Creates the rule from its hyperparameters, which the properties document.
    public init(
        lr: Double, etas: (Double, Double) = (0.5, 1.2), stepSizes: (Double, Double) = (1e-6, 50),
        weightDecay: Double = 0
    ) {
        learningRate = lr
        (shrink, growth) = etas
        (smallest, largest) = stepSizes
        self.weightDecay = weightDecay
    }

    package static let declaration = Declaration(
        name: "rprop", title: "Rprop",
        summary: "A step size for every weight, which grows while the gradient keeps its sign",
        details: """
            Where g has the sign of the gradient before, step_size *= etas[1]; where it has the opposite sign, step_size *= etas[0] \
            and g = 0; step_size is kept within step_sizes;  w -= step_size * sign(g).  step_size starts at the rate of the \
            tensor's first step, and no later change of the rate matters.  It is for gradients of whole data sets.
            """,
        equation: "η ← clamp(η·(η⁺ or η⁻)); w ← w − η·sign(g)",
        source: "Riedmiller and Braun 1993; equals torch.optim.Rprop",
        states: [.parameter("prev"), .parameter("step_size")])

    package static let parameters: [Parameter<Self>] = [
        .number("lr", \.learningRate, .nonNegative, "first step size of every weight"),
        .number("eta1", \.shrink, .openFraction, "factor η⁻ of the step size where the sign changes"),
        .number("eta2", \.growth, .atLeastOne, "factor η⁺ of the step size where the sign stays"),
        .number("step_size1", \.smallest, .nonNegative, "smallest step size"),
        .number("step_size2", \.largest, .positive, "largest step size"),
        .number("weight_decay", \.weightDecay, .nonNegative, "decay coefficient λ"),
    ]

    /// What `RpropArithmetic` reads.
    package struct Coefficients: BitwiseCopyable {
        package let coupledDecay, start, shrink, growth, smallest, largest: Double
        package let isFirst: Bool
    }

    package func plan(_ moment: StepInput, powers: inout BiasCorrectionCache, into target: UnsafeMutableRawPointer) {
        let coefficients = Coefficients(
            coupledDecay: weightDecay * decayScale(moment.tensor), start: moment.learningRate, shrink: shrink,
            growth: growth, smallest: smallest, largest: largest, isFirst: moment.step == 1)
        target.storeBytes(of: coefficients, as: Coefficients.self)
    }

    package var kernel: KernelKey { .rprop }
}
