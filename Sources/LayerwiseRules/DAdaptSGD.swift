// SPDX-License-Identifier: Apache-2.0

/// Dual averaging with momentum whose learning rate is estimated from the gradients: D-Adaptation.
///
///     g′ = g + λ·w
///     G = √Σ r·‖g‖²  at the first step
///     N ← N + Σ d·γ·⟨g′, s⟩;  s ← s + r·d·γ·g′
///     d ← max(d, min(2·N / (G·√Σ ‖s‖²/r), growth_rate·d))
///     w ← μ·w + (1 − μ)·(w₀ − s/G)
///
/// The sums run over all tensors of the optimizer, and r is a layer's rate over the base rate.  w₀ are the weights at the tensor's first
/// step.  Until a gradient is different from 0 nothing moves, and while γ is 0, d stays as it is.  With `estimateScope` layer the sums run
/// over the tensors of each layer, d and G are the layer's, and γ is the layer's rate, as if it had an optimizer of its own.
///
/// Source: Defazio and Mishchenko 2023, algorithm 4 (arXiv:2301.07733), version 3.  Equals dadaptation's `DAdaptSGD`, whose s and N are
/// s/G and N/G² here, and which takes one rate only.
public struct DAdaptSGD: DeclaredRule {
    /// Factor γ of the estimated rate.
    public var learningRate = 1.0
    /// Momentum factor μ.
    public var momentum = 0.0
    /// Decay coefficient λ.
    public var weightDecay = 0.0
    /// First estimate d₀ of the distance.
    public var d0 = 1e-6
    /// Largest growth of d in one step.
    public var growthRate = Double.infinity
    /// Over what the estimate is taken.
    public var estimateScope = EstimateScope.optimizer

    public init() {}

    /// Creates the rule from its hyperparameters, which the properties document.
    public init(lr: Double = 1, momentum: Double = 0, weightDecay: Double = 0, d0: Double = 1e-6) {
        learningRate = lr
        self.momentum = momentum
        self.weightDecay = weightDecay
        self.d0 = d0
    }

    package static let declaration = Declaration(
        name: "dadapt_sgd", title: "DAdaptSGD",
        summary: "Dual averaging with momentum whose learning rate is estimated from the gradients: D-Adaptation",
        details: """
            d grows from d0 to the estimate 2 * N / (G * |s|), where s sums the gradients times d * lr, N sums d * lr * <g, s>, and G is the \
            norm of the first gradient;  w = momentum * w + (1 - momentum) * (x0 - s / G).  The sums run over all layers, so layers \
            cannot be stepped one by one; with estimate_scope="layer" each layer has sums and an estimate of its own.
            """,
        equation: "d̂ = 2N/(G‖s‖); s ← s + dγg; w ← μw + (1−μ)(w₀ − s/G)",
        source: "Defazio and Mishchenko 2023, algorithm 4, arXiv:2301.07733; equals dadaptation.DAdaptSGD",
        states: [
            .parameter("s"), .parameterCopy("x0"), .shared("d", startKey: "d0"),
            .shared("numerator_weighted", start: 0), .shared("g0_norm", start: 0),
        ])

    package static let parameters: [Parameter<Self>] = [
        .number("lr", \.learningRate, .nonNegative, "factor γ of the estimated rate"),
        .number("momentum", \.momentum, .fraction, "momentum factor μ"),
        .number("weight_decay", \.weightDecay, .nonNegative, "decay coefficient λ"),
        .number("d0", \.d0, .positive, "first estimate d₀ of the distance"),
        .number("growth_rate", \.growthRate, .limit, "largest growth of d in one step"),
        .choice(
            "estimate_scope", \.estimateScope,
            "one estimate for the \"optimizer\", as published, or one for each \"layer\""
        ).omittedAtDefault,
    ]

    package var stages: [Stage] { [.measure(over: estimateScope.ofStage), .change(readsGradients: false)] }

    /// Whether no step before had a gradient.
    private static func isFirst(_ shared: SharedScalars) -> Bool { shared[2] == 0 }

    /// What `DAdaptSGDArithmetic` reads.
    package struct Coefficients: BitwiseCopyable {
        package let coupledDecay, summedDecay, gradientShare, distanceScale, share: Double
    }

    package func plan(_ moment: StepInput, powers: inout BiasCorrectionCache, into target: UnsafeMutableRawPointer) {
        let decay = weightDecay * decayScale(moment.tensor)
        let isFirst = Self.isFirst(moment.shared)
        let coefficients = Coefficients(
            coupledDecay: decay, summedDecay: isFirst ? 0 : decay, gradientShare: isFirst ? 1 : 0,
            distanceScale: moment.shared[0] * moment.learningRate, share: 1 - momentum)
        target.storeBytes(of: coefficients, as: Coefficients.self)
    }

    package func gather(_ first: Double, _ second: Double, of moment: StepInput, into sums: inout StageSums) {
        let scale = moment.scale
        if Self.isFirst(moment.shared) {
            sums.values[0] += scale * first
        } else {
            sums.values[0] += moment.shared[0] * moment.baseRate * first
        }
        if scale > 0 { sums.values[1] += second / scale }
        sums.values[2] = max(sums.values[2], moment.baseRate)
    }

    package func advance(_ shared: SharedScalars, _ sums: StageSums) -> SharedScalars {
        var shared = shared
        // Beyond float64's range the sum is infinite or, by ∞ − ∞, not a number.
        if Self.isFirst(shared) {
            shared[2] = min(sums.values[0].squareRoot(), .greatestFiniteMagnitude)
            return shared
        }
        let numerator = shared[1] + (sums.values[0].isFinite ? sums.values[0] : 0)
        shared[1] = min(max(numerator, -.greatestFiniteMagnitude), .greatestFiniteMagnitude)
        if sums.values[1] == 0 || sums.values[2] == 0 { return shared }
        let estimate = min(2 * shared[1] / shared[2] / sums.values[1].squareRoot(), .greatestFiniteMagnitude)
        shared[0] = max(shared[0], min(estimate, shared[0] * growthRate))
        return shared
    }

    package func finish(_ stage: Int, _ sums: StageSums, _ moment: StepInput) -> StageNumbers {
        let norm = moment.shared[2]
        return StageNumbers(repeating: norm == 0 ? 0 : min(1 / norm, .greatestFiniteMagnitude))
    }

    package var kernel: KernelKey { .dAdaptSGD }
}
