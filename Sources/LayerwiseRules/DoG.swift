// SPDX-License-Identifier: Apache-2.0

/// SGD whose rate is the distance to the start over the root of the sum of all squared gradients.
///
///     g′ = g + λ·w
///     r̄ ← max(r̄, ‖w − w₀‖),  and r_ε·(1 + ‖w₀‖) at first
///     G ← G + ‖g′‖²,  and ε at first
///     w ← w − γ·(r̄/√G)·g′
///
/// The norms run over all tensors of the optimizer (`LDoG` takes those of each tensor or layer).  w₀ are the weights at the tensor's
/// first step.  With `initEta` above 0, r̄ is 0 at first, and the first change is γ·initEta·g′.  A layer's scale multiplies its changes.
/// The weights that should be evaluated are an average of those that are stepped, which this rule does not keep.
///
/// Source: Ivgi, Hinder and Carmon 2023 (arXiv:2302.12022).  Equals the authors' dog-optimizer, and `optax.contrib.dog`.
public struct DoG: DistanceRule {
    /// Factor γ of the rate.
    public var learningRate = 1.0
    /// First distance r_ε, relative to 1 + ‖w₀‖.
    public var firstDistance = 1e-6
    /// Number ε that is added to the sum of squares.
    public var epsilon = 1e-8
    /// Decay coefficient λ.
    public var weightDecay = 0.0
    /// First rate, in place of reps_rel; 0 is none.
    public var initEta = 0.0

    public init() {}

    /// Creates the rule from its hyperparameters, which the properties document.
    public init(lr: Double = 1, repsRel: Double = 1e-6, eps: Double = 1e-8, weightDecay: Double = 0) {
        learningRate = lr
        firstDistance = repsRel
        epsilon = eps
        self.weightDecay = weightDecay
    }

    package static let declaration = Declaration(
        name: "dog", title: "DoG",
        summary: "SGD whose rate is the distance to the start over the root of the sum of all squared gradients",
        details: """
            g += weight_decay * w;  rbar = max(rbar, |w - w0|), and reps_rel * (1 + |w0|) at first;  G += |g|**2, and eps at \
            first;  w -= lr * rbar / sqrt(G) * g.  The norms run over all layers, so layers cannot be stepped one by one.  The authors \
            evaluate an average of the weights, such as that of `torch.optim.swa_utils`.
            """,
        equation: "r̄ ← max(r̄, ‖w − w₀‖); G ← G + ‖g‖²; w ← w − γ·(r̄/√G)·g",
        source: "Ivgi, Hinder and Carmon 2023, arXiv:2302.12022; equals dog-optimizer and optax.contrib.dog",
        states: [.parameterCopy("init_buffer"), .shared("rbar", start: 0), .shared("G", start: 0)])

    package static let parameters: [Parameter<Self>] = [
        .number("lr", \.learningRate, .nonNegative, "factor γ of the rate"),
        .number("reps_rel", \.firstDistance, .positive, "first distance r_ε, relative to 1 + ‖w₀‖"),
        .number("eps", \.epsilon, .nonNegative, "number ε that is added to the sum of squares"),
        .number("weight_decay", \.weightDecay, .nonNegative, "decay coefficient λ"),
        .number("init_eta", \.initEta, .nonNegative, "first rate, in place of reps_rel; 0 is none", none: 0),
    ]

    var distanceScope: Stage.Scope { .optimizer }

    private static func kept(_ shared: SharedScalars) -> DistanceOverGradients {
        DistanceOverGradients(distance: shared[0], squares: shared[1])
    }

    package func advance(_ shared: SharedScalars, _ sums: StageSums) -> SharedScalars {
        var kept = Self.kept(shared)
        kept.advance(DistanceSums(sums), firstDistance: initEta > 0 ? 0 : firstDistance, epsilon: epsilon)
        return SharedScalars(kept.distance, kept.squares, 0, 0, 0, 0, 0, 0)
    }

    package func finish(_ stage: Int, _ sums: StageSums, _ moment: StepInput) -> StageNumbers {
        StageNumbers(repeating: moment.learningRate * Self.kept(moment.shared).step(first: initEta))
    }
}
