// SPDX-License-Identifier: Apache-2.0

/// SGD whose rate is a squared distance to the start over the root of the sum of all squared gradients, weighed by such distances.
///
///     g′ = g + λ·w
///     r² ← max(r², ‖w − w₀‖²),  and `initSquaredDistance` at first
///     S ← S + r²·‖g′‖²
///     w ← w − γ·r²/(√S + ε)·g′
///
/// The norms run over all tensors of the optimizer, or with `estimateScope` layer over those of each layer.  w₀ are the weights at the
/// tensor's first step.  A layer's scale multiplies its changes.
///
/// Source: Khaled, Mishchenko and Jin 2023, algorithm 1 (arXiv:2305.16284).  Equals `optax.contrib.dowg`.
public struct DoWG: DistanceRule {
    /// Factor γ of the rate.
    public var learningRate = 1.0
    /// First squared distance; 0 is ε.
    public var initSquaredDistance = 0.0
    /// Number ε that is added to the denominator.
    public var epsilon = 1e-4
    /// Decay coefficient λ.
    public var weightDecay = 0.0
    /// Over what the estimate is taken.
    public var estimateScope = EstimateScope.optimizer

    public init() {}

    /// Creates the rule from its hyperparameters, which the properties document.
    public init(lr: Double = 1, eps: Double = 1e-4, weightDecay: Double = 0) {
        learningRate = lr
        epsilon = eps
        self.weightDecay = weightDecay
    }

    package static let declaration = Declaration(
        name: "dowg", title: "DoWG",
        summary: "SGD whose rate is a squared distance to the start over the root of a weighed sum of squares",
        details: """
            g += weight_decay * w;  r2 = max(r2, |w - w0|**2), and init_estim_sq_dist at first;  S += r2 * |g|**2;  \
            w -= lr * r2 / (sqrt(S) + eps) * g.  The norms run over all layers, so layers cannot be stepped one by one; \
            with estimate_scope="layer" each layer has its own.
            """,
        equation: "r² ← max(r², ‖w − w₀‖²); S ← S + r²‖g‖²; w ← w − γ·r²/(√S + ε)·g",
        source: "Khaled, Mishchenko and Jin 2023, algorithm 1, arXiv:2305.16284; equals optax.contrib.dowg",
        states: [
            .parameterCopy("init_params"), .shared("estim_sq_dist", start: 0),
            .shared("weighted_sq_norm_grads", start: 0),
        ])

    package static let parameters: [Parameter<Self>] = [
        .number("lr", \.learningRate, .nonNegative, "factor γ of the rate"),
        .number(
            "init_estim_sq_dist", \.initSquaredDistance, .nonNegative, "first squared distance; 0 is ε", none: 0),
        .number("eps", \.epsilon, .nonNegative, "number ε that is added to the denominator"),
        .number("weight_decay", \.weightDecay, .nonNegative, "decay coefficient λ"),
        .choice(
            "estimate_scope", \.estimateScope,
            "one estimate for the \"optimizer\", as published, or one for each \"layer\""
        ).omittedAtDefault,
    ]

    var distanceScope: Stage.Scope { estimateScope.ofStage }

    package func advance(_ shared: SharedScalars, _ sums: StageSums) -> SharedScalars {
        let sums = DistanceSums(sums)
        let first = initSquaredDistance > 0 ? initSquaredDistance : epsilon
        let distance = max(max(shared[0], first), sums.distanceSquare)
        let weighed = min(shared[1] + distance * sums.gradientSquares, .greatestFiniteMagnitude)
        return SharedScalars(distance, weighed, 0, 0, 0, 0, 0, 0)
    }

    package func finish(_ stage: Int, _ sums: StageSums, _ moment: StepInput) -> StageNumbers {
        let denominator = moment.shared[1].squareRoot() + epsilon
        let step = denominator == 0 ? 0 : min(moment.shared[0] / denominator, .greatestFiniteMagnitude)
        return StageNumbers(repeating: moment.learningRate * step)
    }
}
