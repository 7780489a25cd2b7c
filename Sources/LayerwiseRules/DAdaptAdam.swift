// SPDX-License-Identifier: Apache-2.0

/// Adam whose learning rate is estimated from the gradients: D-Adaptation.
///
///     δ = d·γ·c                                               (c = √(1 − β₂ᵗ)/(1 − β₁ᵗ) with bias correction, else 1)
///     g′ = g + λ·w                                            (coupled decay)
///     a = Σ r·δ·⟨g′, s/(√v + ε)⟩                              (s and v as they were)
///     m ← β₁·m + (1 − β₁)·r·δ·g′;  v ← β₂·v + (1 − β₂)·g′²;  s ← β₃·s + (1 − β₃)·δ·g′          (β₃ = √β₂)
///     N ← β₃·N + (1 − β₃)·a
///     d ← max(d, min(N / ((1 − β₃)·Σ r·‖s‖₁), growth_rate·d))
///     w ← w − m/(√v + ε) − δ·r·λ·w                            (coupled decay: without the last term)
///
/// The sums run over all tensors of the optimizer.  r is a layer's rate over the base rate, which is `layer_scale` in the authors' package.
/// With `estimateScope` layer they run over the tensors of each layer, d is the layer's, and γ is the layer's rate, as if it had an
/// optimizer of its own.  Where no gradient was ever different from 0, and while γ is 0, d stays as it is.
///
/// Source: Defazio and Mishchenko 2023, algorithm 5 (arXiv:2301.07733), version 3.  Equals dadaptation's `DAdaptAdam`, whose decoupled
/// decay has no r.
public struct DAdaptAdam: DeclaredRule {
    /// Factor γ of the estimated rate.
    public var learningRate = 1.0
    /// Decay β₁ of the first moment.
    public var beta1 = 0.9
    /// Decay β₂ of the second moment.
    public var beta2 = 0.999
    /// Number ε that is added to the denominator.
    public var epsilon = 1e-8
    /// Decay coefficient λ.
    public var weightDecay = 0.0
    /// Decay the weights in place of the gradient, as AdamW does.
    public var decoupledWeightDecay = false
    /// First estimate d₀ of the distance.
    public var d0 = 1e-6
    /// Largest growth of d in one step.
    public var growthRate = Double.infinity
    /// Correct the rate for the moments' start at 0.
    public var biasCorrection = false
    /// Over what the estimate is taken.
    public var estimateScope = EstimateScope.optimizer

    public init() {}

    /// Creates the rule from its hyperparameters, which the properties document.
    public init(
        lr: Double = 1, betas: (Double, Double) = (0.9, 0.999), eps: Double = 1e-8, weightDecay: Double = 0,
        decoupledWeightDecay: Bool = false, d0: Double = 1e-6
    ) {
        learningRate = lr
        (beta1, beta2) = betas
        epsilon = eps
        self.weightDecay = weightDecay
        self.decoupledWeightDecay = decoupledWeightDecay
        self.d0 = d0
    }

    package static let declaration = Declaration(
        name: "dadapt_adam", title: "DAdaptAdam",
        summary: "Adam whose learning rate is estimated from the gradients: D-Adaptation",
        details: """
            d grows from d0 to the estimate N / ((1 - sqrt(beta2)) * sum |s|), where N averages <g, s / (sqrt(v) + eps)> and s the \
            gradients, all times d * lr; m too, and w -= m / (sqrt(v) + eps).  The sums run over all layers, so layers cannot be stepped one \
            by one; with estimate_scope="layer" each layer has sums and an estimate of its own.
            """,
        equation: "d̂ = N/((1−√β₂)Σr‖s‖₁); m ← β₁m + (1−β₁)dγg; w ← w − m/(√v + ε)",
        source: "Defazio and Mishchenko 2023, algorithm 5, arXiv:2301.07733; equals dadaptation.DAdaptAdam",
        states: [
            .parameter("exp_avg"), .parameter("exp_avg_sq"), .parameter("s"), .shared("d", startKey: "d0"),
            .shared("numerator_weighted", start: 0),
        ])

    package static let parameters: [Parameter<Self>] = [
        .number("lr", \.learningRate, .nonNegative, "factor γ of the estimated rate"),
        .number("beta1", \.beta1, .fraction, "decay β₁ of the first moment"),
        .number("beta2", \.beta2, .fraction, "decay β₂ of the second moment"),
        .number("eps", \.epsilon, .nonNegative, "number ε that is added to the denominator"),
        .number("weight_decay", \.weightDecay, .nonNegative, "decay coefficient λ"),
        .flag(
            "decoupled_weight_decay", \.decoupledWeightDecay,
            "decay the weights in place of the gradient, as AdamW does"),
        .number("d0", \.d0, .positive, "first estimate d₀ of the distance"),
        .number("growth_rate", \.growthRate, .limit, "largest growth of d in one step"),
        .flag("use_bias_correction", \.biasCorrection, "correct the rate for the moments' start at 0"),
        .choice(
            "estimate_scope", \.estimateScope,
            "one estimate for the \"optimizer\", as published, or one for each \"layer\""
        ).omittedAtDefault,
    ]

    package var decouplesDecay: Bool { decoupledWeightDecay }

    package var stages: [Stage] { [.measure(over: estimateScope.ofStage), .change(readsGradients: false)] }

    /// δ for a rate of 1.
    private func scale(_ moment: StepInput) -> Double {
        let d = moment.shared[0]
        if !biasCorrection { return d }
        return d * powerComplement(beta2, moment.step).squareRoot() / powerComplement(beta1, moment.step)
    }

    /// What `DAdaptAdamArithmetic` reads.
    package struct Coefficients: BitwiseCopyable {
        package let coupledDecay, decay, firstShare, firstScale, secondShare, epsilon: Double
        package let distanceDecay, distanceScale: Double
    }

    package func plan(_ moment: StepInput, powers: inout BiasCorrectionCache, into target: UnsafeMutableRawPointer) {
        let scale = scale(moment)
        let decay = weightDecay * decayScale(moment.tensor)
        let root = beta2.squareRoot()
        let coefficients = Coefficients(
            coupledDecay: decoupledWeightDecay ? 0 : decay,
            decay: decoupledWeightDecay ? scale * moment.decayRate * decay : 0,
            firstShare: 1 - beta1, firstScale: scale * moment.learningRate * (1 - beta1),
            secondShare: 1 - beta2, epsilon: epsilon, distanceDecay: root,
            distanceScale: scale * moment.baseRate * (1 - root))
        target.storeBytes(of: coefficients, as: Coefficients.self)
    }

    package func gather(_ first: Double, _ second: Double, of moment: StepInput, into sums: inout StageSums) {
        sums.values[0] += scale(moment) * moment.learningRate * first
        sums.values[1] += moment.scale * second
        sums.values[2] = max(sums.values[2], moment.baseRate)
    }

    package func advance(_ shared: SharedScalars, _ sums: StageSums) -> SharedScalars {
        var shared = shared
        let root = beta2.squareRoot()
        // Beyond float64's range the sum is infinite or, by ∞ − ∞, not a number: such a step tells nothing of the distance.
        let gain = sums.values[0].isFinite ? sums.values[0] : 0
        let numerator = root * shared[1] + (1 - root) * gain
        shared[1] = min(max(numerator, -.greatestFiniteMagnitude), .greatestFiniteMagnitude)
        if sums.values[1] == 0 || sums.values[2] == 0 { return shared }
        let estimate = min(shared[1] / ((1 - root) * sums.values[1]), .greatestFiniteMagnitude)
        shared[0] = max(shared[0], min(estimate, shared[0] * growthRate))
        return shared
    }

    package func finish(_ stage: Int, _ sums: StageSums, _ moment: StepInput) -> StageNumbers {
        // Without any gradient nothing moves, not even by 0/0.
        StageNumbers(repeating: sums.values[1] == 0 ? 0 : 1)
    }

    package var kernel: KernelKey { .dAdaptAdam }
}
