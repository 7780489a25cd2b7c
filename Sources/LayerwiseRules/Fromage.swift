// SPDX-License-Identifier: Apache-2.0

/// The gradient at the size of the weights, which are then shrunk, so that no step makes them larger by itself.
///
///     d = g + λ·w
///     w ← (w − γ·‖w‖/‖d‖·d) / √(1 + γ²)
///
/// Norms below `minNorm` count as that.  ‖w‖/‖d‖ is 1 where either is 0, and for tensors that the policy does not let adapt.
///
/// Source: Bernstein et al. 2020, algorithm 1 (arXiv:2002.03432), which has no λ.  Equals `pytorch_optimizer.Fromage` without
/// `p_bound`, and `optax.fromage`, whose `min_norm` is 1e-6.
public struct Fromage: TrustRatioRule {
    /// Learning rate γ.
    public var learningRate = 1e-2
    /// Decay coefficient λ.
    public var weightDecay = 0.0
    /// Least norm in the ratio; optax has 1e-6.
    public var minNorm = 0.0
    /// One ratio for each `tensor`, or for each `layer`.
    public var scope = TrustRatioScope.tensor

    public init() {}

    /// Creates the rule from its hyperparameters, which the properties document.
    public init(lr: Double, weightDecay: Double = 0, minNorm: Double = 0) {
        learningRate = lr
        self.weightDecay = weightDecay
        self.minNorm = minNorm
    }

    package static let declaration = Declaration(
        name: "fromage", title: "Fromage",
        summary: "The gradient scaled to the norm of the weights, which are then shrunk",
        details: """
            d = g + weight_decay * w;  w = (w - lr * |w| / |d| * d) / sqrt(1 + lr**2).  The ratio of norms is 1 where one of them \
            is 0, and norms below min_norm count as min_norm.
            """,
        equation: "w ← (w − γ·(‖w‖/‖g‖)·g)/√(1 + γ²)",
        source: "Bernstein et al. 2020, algorithm 1, arXiv:2002.03432; "
            + "equals pytorch_optimizer.Fromage and optax.fromage",
        states: [], needsStep: false)

    package static let parameters: [Parameter<Self>] = [
        .number("lr", \.learningRate, .nonNegative, "learning rate γ"),
        .number("weight_decay", \.weightDecay, .nonNegative, "decay coefficient λ"),
        .number("min_norm", \.minNorm, .nonNegative, "least norm in the ratio; optax has 1e-6"),
        .choice("trust_ratio_scope", \.scope, "one ratio for each \"tensor\", or for each \"layer\""),
    ]

    static let advancesFirst = false

    /// What `FromageArithmetic` reads.
    package struct Coefficients: BitwiseCopyable {
        package let coupledDecay, shrinkage, stepSize: Double
    }

    func adapts(_ tensor: TensorTraits) -> Bool { tensor.mayAdapt }

    package func plan(_ moment: StepInput, powers: inout BiasCorrectionCache, into target: UnsafeMutableRawPointer) {
        let rate = moment.learningRate
        // (w − q)/n = w − (q + (n − 1)·w)/n with n = √(1 + γ²), and n − 1 = γ·(γ/(n + 1)), in which nothing cancels.
        let length = rate.magnitude < 1e150 ? (1 + rate * rate).squareRoot() : rate
        let coefficients = Coefficients(
            coupledDecay: weightDecay * decayScale(moment.tensor),
            shrinkage: rate / length * (rate / (length + 1)), stepSize: rate / length)
        target.storeBytes(of: coefficients, as: Coefficients.self)
    }

    func trustRatio(_ norms: TrustNorms, rates: TrustRates) -> Double {
        let (weights, directions) = (max(norms.weights, minNorm), max(norms.directions, minNorm))
        return weights == 0 || directions == 0 ? 1 : weights / directions
    }

    package var kernel: KernelKey { .fromage }
}
