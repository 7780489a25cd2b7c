// SPDX-License-Identifier: Apache-2.0

/// AdamW whose rate falls for a tensor while its squared gradients are larger than their average.
///
///     g′ = g + λ·w                                            (coupled decay)
///     β̂ = 1 − (1 − β)/(1 − βᵗ)
///     m ← β̂₁·m + (1 − β̂₁)·g′;  v ← β̂₂·v + (1 − β̂₂)·g′²
///     η = γ / max(1, RMS(g′ / max(√v, ε)))
///     w ← w − η·(m / (√v + ε) + λ·w)                          (coupled decay: without λ·w)
///
/// The root mean square is that of a tensor.  With decoupled decay the clipped rate multiplies λ too.
///
/// Source: Wortsman et al. 2023, algorithm 2 (arXiv:2304.13013).  Equals `pytorch_optimizer.StableAdamW` and, with ε = 1e-6,
/// optimi's `StableAdamW` without `decouple_lr`; their Kahan sums are what a float32 master copy is for.
public struct StableAdamW: AdjustableRule {
    /// Learning rate γ.
    public var learningRate = 1e-3
    /// Decay β₁ of the first moment.
    public var beta1 = 0.9
    /// Decay β₂ of the second moment.
    public var beta2 = 0.99
    /// Number ε that is added to the denominator.
    public var epsilon = 1e-8
    /// Decay coefficient λ.
    public var weightDecay = 1e-2
    /// Decay the weights in place of the gradient.
    public var decoupledWeightDecay = true
    /// What is done with the change before the weights take it.
    public var updateOptions = UpdateOptions()

    public init() {}

    /// Creates the rule from its hyperparameters, which the properties document.
    public init(
        lr: Double, betas: (Double, Double) = (0.9, 0.99), eps: Double = 1e-8, weightDecay: Double = 1e-2,
        decoupledWeightDecay: Bool = true
    ) {
        learningRate = lr
        (beta1, beta2) = betas
        epsilon = eps
        self.weightDecay = weightDecay
        self.decoupledWeightDecay = decoupledWeightDecay
    }

    package static let declaration = Declaration(
        name: "stable_adamw", title: "StableAdamW",
        summary: "AdamW whose rate falls for a tensor while its squared gradients are larger than their average",
        details: """
            share = (1 - beta) / (1 - beta**t) takes the place of 1 - beta in m and v;  rms = sqrt(mean(g * g / max(v, eps**2))) \
            over each tensor;  w -= lr / max(1, rms) * (m / (sqrt(v) + eps) + weight_decay * w).
            """,
        equation: "η = γ/max(1, RMS(g/max(√v, ε))); w ← w − η·(m/(√v + ε) + λw)",
        source: "Wortsman et al. 2023, algorithm 2, arXiv:2304.13013; equals pytorch_optimizer.StableAdamW and optimi",
        states: [.parameter("exp_avg"), .parameter("exp_avg_sq")])

    package static let parameters: [Parameter<Self>] =
        [
            .number("lr", \.learningRate, .nonNegative, "learning rate γ"),
            .number("beta1", \.beta1, .fraction, "decay β₁ of the first moment"),
            .number("beta2", \.beta2, .fraction, "decay β₂ of the second moment"),
            .number("eps", \.epsilon, .nonNegative, "number ε that is added to the denominator"),
            .number("weight_decay", \.weightDecay, .nonNegative, "decay coefficient λ"),
            .flag("decoupled_weight_decay", \.decoupledWeightDecay, "decay the weights in place of the gradient"),
        ] + updateParameters

    package var decouplesDecay: Bool { decoupledWeightDecay }

    package var stages: [Stage] { [.measure(over: .tensor), .change(readsGradients: false)] }

    /// What `StableAdamWArithmetic` reads.
    package struct Coefficients: BitwiseCopyable {
        package let coupledDecay, firstShare, secondShare, epsilon: Double
    }

    package func plan(_ moment: StepInput, powers: inout BiasCorrectionCache, into target: UnsafeMutableRawPointer) {
        let coefficients = Coefficients(
            coupledDecay: decoupledWeightDecay ? 0 : weightDecay * decayScale(moment.tensor),
            firstShare: (1 - beta1) / powers.complement(beta1, moment.step),
            secondShare: (1 - beta2) / powers.complement(beta2, moment.step), epsilon: epsilon)
        target.storeBytes(of: coefficients, as: Coefficients.self)
    }

    package func gather(_ first: Double, _ second: Double, of moment: StepInput, into sums: inout StageSums) {
        TrustNorms.add(weights: first, directions: second, decayScale: 1, to: &sums)
    }

    package func betterScales(_ sums: StageSums) -> StageScales? { TrustNorms.betterScales(sums) }

    package func finish(_ stage: Int, _ sums: StageSums, _ moment: StepInput) -> StageNumbers {
        let clip = max(1, TrustNorms(sums).directions / max(1, moment.elements).squareRoot())
        let decay = decoupledWeightDecay ? moment.decayRate * weightDecay * decayScale(moment.tensor) : 0
        return [moment.learningRate / clip, decay / clip, 0, 0]
    }

    package func separateDecay(_ moment: StepInput) -> Double { moment.numbers[1] }

    package var kernel: KernelKey { .stableAdamW }
}
