// SPDX-License-Identifier: Apache-2.0

/// Adam whose learning rate is estimated from the distance that the weights travel.
///
///     δ = d·γ·c                                               (c = √(1 − β₂ᵗ)/(1 − β₁ᵗ) with bias correction, else 1)
///     N ← β₃·N + (d/d₀)·δ·Σ⟨g, w₀ − w⟩
///     m ← β₁·m + (1 − β₁)·d·g;  v ← β₂·v + (1 − β₂)·d²·g²
///     s ← β₃·s + (d/d₀)·δ·g                                   (safeguardWarmup: (d/d₀)·d·g)
///     d̂ = d_coef·N / Σ r·‖s‖₁;  d ← max(d, d̂) while d = d₀;  d_max ← max(d_max, d̂);  d ← min(d_max, growth_rate·d)
///     w ← w − δ·r·m/(√v + d·ε) − δ·r·λ·w
///
/// The sums run over all tensors of the optimizer.  r is a layer's rate over the base rate, so policies, a layer's own rate and
/// its own schedule keep their meaning.  With `layerScale` numerator r is a factor of N's terms too, as in D-Adaptation: d then
/// adapts to the layers whose rate is large.  For rates that are all equal both are the published rule.  w₀ are the weights at the
/// tensor's first step.  Where no gradient was ever different from 0, d and the weights stay as they are.
///
/// With `estimateScope` layer the sums run over the tensors of each layer, d is the layer's, and γ is the layer's rate, as if it had an
/// optimizer of its own.
///
/// With `sliceP` above 1, N and s take every p-th element of each tensor in row-major order, and s and w₀ have a number for these
/// alone: nearly half of the memory of the states.  The authors recommend 11.
///
/// Source: Mishchenko and Defazio 2024, algorithm 4 (arXiv:2306.06101).  Equals prodigyopt's `Prodigy`, which takes one rate only;
/// unequal rates as the reference for D-Adaptation has them are `layer_scale = both`.
public struct Prodigy: DeclaredRule {
    /// Where a layer's rate over the base rate counts in the estimate.
    public enum LayerScale: String, Choice {
        /// In the sum of ‖s‖₁ alone.
        case denominator
        /// In both sums.
        case both
    }

    /// Factor γ of the estimated rate.
    public var learningRate = 1.0
    /// Decay β₁ of the first moment.
    public var beta1 = 0.9
    /// Decay β₂ of the second moment.
    public var beta2 = 0.999
    /// Decay β₃ of the estimate; 0 is √β₂.
    public var beta3 = 0.0
    /// Number ε that is added to the denominator, times d.
    public var epsilon = 1e-8
    /// Decay coefficient λ.
    public var weightDecay = 0.0
    /// Decay the weights in place of the gradient.
    public var decoupledWeightDecay = true
    /// First estimate d₀ of the distance.
    public var d0 = 1e-6
    /// Factor of the estimate.
    public var dCoefficient = 1.0
    /// Largest growth of d in one step.
    public var growthRate = Double.infinity
    /// Correct the rate for the moments' start at 0.
    public var biasCorrection = false
    /// Leave the rate out of s, for schedules that warm up.
    public var safeguardWarmup = false
    /// Where a layer's rate counts in the estimate.
    public var layerScale = LayerScale.denominator
    /// The estimate takes every p-th element of a tensor.  It cannot change once there are states.
    public var sliceP = 1
    /// Over what the estimate is taken.
    public var estimateScope = EstimateScope.optimizer

    public init() {}

    /// Creates the rule from its hyperparameters, which the properties document.
    public init(
        lr: Double = 1, betas: (Double, Double) = (0.9, 0.999), eps: Double = 1e-8, weightDecay: Double = 0,
        d0: Double = 1e-6, dCoefficient: Double = 1, sliceP: Int = 1
    ) {
        learningRate = lr
        (beta1, beta2) = betas
        epsilon = eps
        self.weightDecay = weightDecay
        self.d0 = d0
        self.dCoefficient = dCoefficient
        self.sliceP = sliceP
    }

    package static let declaration = Declaration(
        name: "prodigy", title: "Prodigy",
        summary: "Adam whose learning rate is estimated from the distance that the weights travel",
        details: """
            d grows from d0 to the estimate d_coef * N / sum |s|, where N adds up <g, p0 - w> and s the gradients; w -= d * lr * \
            m / (sqrt(v) + d * eps).  The sums run over all layers, so layers cannot be stepped one by one; \
            with estimate_scope="layer" each layer has sums and an estimate of its own.  Rates by layer count \
            in the denominator, or in both sums with layer_scale="both"; with equal rates both are the published rule.  With slice_p \
            above 1 the sums take every slice_p-th element of each tensor, for which alone s and p0 are kept; it cannot change once \
            there are states.
            """,
        equation: "d̂ = N/Σr‖s‖₁; w ← w − d·γ·m/(√v + dε)",
        source: "Mishchenko and Defazio 2024, algorithm 4, arXiv:2306.06101; equals prodigyopt",
        states: [
            .parameter("exp_avg"), .parameter("exp_avg_sq"), .strided("s", by: "slice_p"),
            .stridedCopy("p0", by: "slice_p"),
            .shared("d", startKey: "d0"), .shared("d_max", startKey: "d0"), .shared("d_numerator", start: 0),
        ])

    package static let parameters: [Parameter<Self>] = [
        .number("lr", \.learningRate, .nonNegative, "factor γ of the estimated rate"),
        .number("beta1", \.beta1, .fraction, "decay β₁ of the first moment"),
        .number("beta2", \.beta2, .fraction, "decay β₂ of the second moment"),
        .number("eps", \.epsilon, .nonNegative, "number ε that is added to the denominator, times d"),
        .number("beta3", \.beta3, .fraction, "decay β₃ of the estimate; 0 is √β₂"),
        .number("weight_decay", \.weightDecay, .nonNegative, "decay coefficient λ"),
        .flag("decoupled_weight_decay", \.decoupledWeightDecay, "decay the weights in place of the gradient"),
        .number("d0", \.d0, .positive, "first estimate d₀ of the distance"),
        .number("d_coef", \.dCoefficient, .positive, "factor of the estimate"),
        .number("growth_rate", \.growthRate, .limit, "largest growth of d in one step"),
        .flag("use_bias_correction", \.biasCorrection, "correct the rate for the moments' start at 0"),
        .flag("safeguard_warmup", \.safeguardWarmup, "leave the rate out of s, for schedules that warm up"),
        .choice("layer_scale", \.layerScale, "where a layer's rate counts in the estimate"),
        .integer(
            "slice_p", \.sliceP, 1...Int(Int32.max),
            "the estimate takes every slice_p-th element; the authors recommend 11"
        ).omittedAtDefault,
        .choice(
            "estimate_scope", \.estimateScope,
            "one estimate for the \"optimizer\", as published, or one for each \"layer\""
        ).omittedAtDefault,
    ]

    package var decouplesDecay: Bool { decoupledWeightDecay }

    package var stages: [Stage] { [.measure(over: estimateScope.ofStage), .change(readsGradients: false)] }

    private var decayOfEstimate: Double { beta3 == 0 ? beta2.squareRoot() : beta3 }

    private static func d(_ shared: SharedScalars) -> Double { shared[0] }

    /// c.
    private func correction(_ step: Int64) -> Double {
        biasCorrection ? (1 - integerPower(beta2, step)).squareRoot() / (1 - integerPower(beta1, step)) : 1
    }

    /// What `ProdigyArithmetic` reads.
    package struct Coefficients: BitwiseCopyable {
        package let coupledDecay, decay, firstShare, secondShare, firstScale, secondScale: Double
        package let distanceDecay, distanceScale, stepSize: Double
    }

    package func plan(_ moment: StepInput, powers: inout BiasCorrectionCache, into target: UnsafeMutableRawPointer) {
        let d = Self.d(moment.shared)
        let decay = weightDecay * decayScale(moment.tensor)
        let correction = correction(moment.step)
        let coefficients = Coefficients(
            coupledDecay: decoupledWeightDecay ? 0 : decay,
            decay: decoupledWeightDecay ? d * correction * moment.decayRate * decay : 0,
            firstShare: 1 - beta1, secondShare: 1 - beta2,
            firstScale: d * (1 - beta1), secondScale: d,
            distanceDecay: decayOfEstimate,
            distanceScale: d / d0 * (safeguardWarmup ? d : d * correction * moment.baseRate),
            stepSize: d * correction * moment.learningRate)
        target.storeBytes(of: coefficients, as: Coefficients.self)
    }

    package func gather(_ first: Double, _ second: Double, of moment: StepInput, into sums: inout StageSums) {
        let d = Self.d(moment.shared)
        let rate = d * correction(moment.step) * moment.baseRate
        let scale = layerScale == .both ? moment.scale : 1
        sums.values[0] += d / d0 * rate * scale * first
        sums.values[1] += moment.scale * second
    }

    package func advance(_ shared: SharedScalars, _ sums: StageSums) -> SharedScalars {
        var shared = shared
        // Beyond float64's range the sum is infinite or, by ∞ − ∞, not a number: such a step tells nothing of the distance.
        let gain = sums.values[0].isFinite ? sums.values[0] : 0
        let numerator = decayOfEstimate * shared[2] + gain
        shared[2] = min(max(numerator, -.greatestFiniteMagnitude), .greatestFiniteMagnitude)
        if sums.values[1] == 0 { return shared }
        let estimate = min(dCoefficient * shared[2] / sums.values[1], .greatestFiniteMagnitude)
        if shared[0] == d0 { shared[0] = max(shared[0], estimate) }
        shared[1] = max(shared[1], estimate)
        shared[0] = min(shared[1], shared[0] * growthRate)
        return shared
    }

    package func finish(_ stage: Int, _ sums: StageSums, _ moment: StepInput) -> StageNumbers {
        // Without any distance nothing moves: not even by 0/0.
        sums.values[1] == 0 ? [1, 0, 0, 0] : [Self.d(moment.shared) * epsilon, 1, 0, 0]
    }

    package var kernel: KernelKey { .prodigy }
}
