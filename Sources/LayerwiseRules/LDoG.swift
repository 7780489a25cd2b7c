// SPDX-License-Identifier: Apache-2.0

/// `DoG` with a rate for each tensor or layer.
///
///     g′ = g + λ·w
///     r̄ ← max(r̄, ‖w − w₀‖),  and r_ε·(1 + ‖w₀‖) at first
///     G ← G + ‖g′‖²,  and ε at first
///     w ← w − γ·(r̄/√G)·g′
///
/// with norms, r̄ and G of each tensor, or with `distanceScope` layer of each layer.  What `DoG` says of `initEta`, scales and averages
/// holds here too.
///
/// Source: Ivgi, Hinder and Carmon 2023 (arXiv:2302.12022), section 4.  Equals `LDoG` of the authors' dog-optimizer, of which a layer
/// is one tensor.
public struct LDoG: DistanceRule {
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
    /// Norms of each `tensor`, or of each `layer`.
    public var scope = TrustRatioScope.tensor

    public init() {}

    /// Creates the rule from its hyperparameters, which the properties document.
    public init(lr: Double = 1, repsRel: Double = 1e-6, eps: Double = 1e-8, weightDecay: Double = 0) {
        learningRate = lr
        firstDistance = repsRel
        epsilon = eps
        self.weightDecay = weightDecay
    }

    package static let declaration = Declaration(
        name: "ldog", title: "LDoG",
        summary: "DoG with a rate for each tensor or layer",
        details: """
            As DoG, with the norms, rbar and G of each tensor, or of each layer with distance_scope="layer".  The authors evaluate an average \
            of the weights.
            """,
        equation: "r̄ ← max(r̄, ‖w − w₀‖); G ← G + ‖g‖²; w ← w − γ·(r̄/√G)·g, for each tensor",
        source: "Ivgi, Hinder and Carmon 2023, section 4, arXiv:2302.12022; equals dog-optimizer's LDoG",
        states: [.parameterCopy("init_buffer"), .scalar("rbar", start: 0), .scalar("G", start: 0)])

    package static let parameters: [Parameter<Self>] = [
        .number("lr", \.learningRate, .nonNegative, "factor γ of the rate"),
        .number("reps_rel", \.firstDistance, .positive, "first distance r_ε, relative to 1 + ‖w₀‖"),
        .number("eps", \.epsilon, .nonNegative, "number ε that is added to the sum of squares"),
        .number("weight_decay", \.weightDecay, .nonNegative, "decay coefficient λ"),
        .number("init_eta", \.initEta, .nonNegative, "first rate, in place of reps_rel; 0 is none", none: 0),
        .choice("distance_scope", \.scope, "norms of each \"tensor\", or of each \"layer\""),
    ]

    var distanceScope: Stage.Scope { scope == .tensor ? .tensor : .layer }

    private static func kept(_ scalars: StateScalars) -> DistanceOverGradients {
        DistanceOverGradients(distance: scalars[0], squares: scalars[1])
    }

    package func advance(_ moment: StepInput, after stage: Int, _ sums: StageSums) -> StateScalars {
        var kept = Self.kept(moment.scalars)
        kept.advance(DistanceSums(sums), firstDistance: initEta > 0 ? 0 : firstDistance, epsilon: epsilon)
        return StateScalars(kept.distance, kept.squares)
    }

    package func finish(_ stage: Int, _ sums: StageSums, _ moment: StepInput) -> StageNumbers {
        StageNumbers(repeating: moment.learningRate * Self.kept(moment.scalars).step(first: initEta))
    }
}
