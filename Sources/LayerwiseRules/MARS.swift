// SPDX-License-Identifier: Apache-2.0

/// AdamW or Lion on gradients that are corrected by the change since the last step, which lowers their variance.
///
///     c = g + γ̂·β₁/(1 − β₁)·(g − g_before)                    (g_before is 0 at a tensor's first step)
///     c ← c / max(1, ‖c‖)
///     m ← β₁·m + (1 − β₁)·c
///     adamw:  v ← β₂·v + (1 − β₂)·c²;  w ← w − γ·(m̂ / (√v̂ + ε) + λ·w)    (AMSGrad: v̂ from the largest v so far)
///     lion:   w ← w − γ·(sign(m) + λ·w)
///
/// with γ̂ the strength `gamma`, and the norm that of a tensor.  Unless `optimize1D`, tensors of rank 0 and 1 are stepped by AdamW with the
/// rate `rateScale1D`·γ, and β and λ of their own.  Without `correctFirst` a tensor's first gradient is taken as it is, and is not
/// bounded.
///
/// Source: Yuan et al. 2024, algorithms 2 and 3 (arXiv:2411.10438), in the form of the authors' package with `is_approx`, which it equals, with
/// their defaults; their `lr_1d` is the rate itself.  `timm` is `Mars` of timm, which has one λ for all tensors.
/// pytorch_optimizer divides ε by √(1 − β₂ᵗ) too.
public struct MARS: AdjustableRule {
    /// What the corrected gradient is given to.
    public enum Kind: String, Choice {
        case adamw, lion
    }

    /// Learning rate γ.
    public var learningRate = 3e-3
    /// Decay β₁ of the first moment.
    public var beta1 = 0.95
    /// Decay β₂ of the second moment.
    public var beta2 = 0.99
    /// Number ε that is added to the denominator.
    public var epsilon = 1e-8
    /// Decay coefficient λ.
    public var weightDecay = 0.0
    /// Divide by the largest second moment so far.
    public var amsgrad = false
    /// Strength γ̂ of the correction.
    public var gamma = 0.025
    /// What the corrected gradient is given to.
    public var kind = Kind.adamw
    /// Correct a tensor's first gradient too, as if one of 0 came before.
    public var correctFirst = true
    /// Treat tensors of rank 0 and 1 as all others.
    public var optimize1D = false
    /// Else their rate, in units of γ.
    public var rateScale1D = 1.0
    /// Else the decay of their first moment.
    public var beta1Of1D = 0.9
    /// Else the decay of their second moment.
    public var beta2Of1D = 0.95
    /// Else their decay coefficient.
    public var weightDecay1D = 0.1
    /// What is done with the change before the weights take it.
    public var updateOptions = UpdateOptions()

    public init() {}

    /// Creates the rule from its hyperparameters, which the properties document.
    public init(
        lr: Double, betas: (Double, Double) = (0.95, 0.99), eps: Double = 1e-8, weightDecay: Double = 0,
        gamma: Double = 0.025, kind: Kind = .adamw, optimize1D: Bool = false
    ) {
        learningRate = lr
        (beta1, beta2) = betas
        epsilon = eps
        self.weightDecay = weightDecay
        self.gamma = gamma
        self.kind = kind
        self.optimize1D = optimize1D
    }

    package static let declaration = Declaration(
        name: "mars", title: "MARS",
        summary: "AdamW or Lion on gradients that are corrected by the change since the last step",
        details: """
            c = g + gamma * beta1 / (1 - beta1) * (g - last_grad);  c /= max(1, |c|), the norm of each tensor;  m = beta1 * m + \
            (1 - beta1) * c;  and w -= lr * (m_hat / (sqrt(v_hat) + eps) + weight_decay * w) with v of c, or with \
            mars_type="lion" w -= lr * (sign(m) + weight_decay * w).  Unless optimize_1d, tensors of rank 0 and 1 are stepped by \
            AdamW with the rate lr_1d_factor * lr, betas_1d and weight_decay_1d.  An option left at None is the variant's, else \
            the library's default; timm's has one weight_decay for all tensors.
            """,
        equation: "c = g + γ̂·β₁/(1−β₁)·(g − g_before); m, v of c/max(1, ‖c‖); w ← w − γ·(m̂/(√v̂ + ε) + λw)",
        source: "Yuan et al. 2024, arXiv:2411.10438; equals the authors' MARS",
        states: [
            .parameter("last_grad"), .parameter("exp_avg"), .parameter("exp_avg_sq"), .parameter("max_exp_avg_sq"),
        ])

    package static let parameters: [Parameter<Self>] =
        [
            .number("lr", \.learningRate, .nonNegative, "learning rate γ"),
            .number("beta1", \.beta1, .fraction, "decay β₁ of the first moment"),
            .number("beta2", \.beta2, .fraction, "decay β₂ of the second moment"),
            .number("eps", \.epsilon, .nonNegative, "number ε that is added to the denominator"),
            .number("weight_decay", \.weightDecay, .nonNegative, "decay coefficient λ"),
            .flag("amsgrad", \.amsgrad, "divide by the largest second moment so far"),
            .number("gamma", \.gamma, .nonNegative, "strength γ̂ of the correction"),
            .choice("mars_type", \.kind, "what the corrected gradient is given to"),
            .flag("correct_first", \.correctFirst, "correct a tensor's first gradient too, as if one of 0 came before"),
            .flag("optimize_1d", \.optimize1D, "treat tensors of rank 0 and 1 as all others"),
            .number("lr_1d_factor", \.rateScale1D, .nonNegative, "else their rate, in units of γ"),
            .number("beta1_1d", \.beta1Of1D, .fraction, "else the decay of their first moment"),
            .number("beta2_1d", \.beta2Of1D, .fraction, "else the decay of their second moment"),
            .number("weight_decay_1d", \.weightDecay1D, .nonNegative, "else their decay coefficient"),
        ] + updateParameters

    package static let presets = [
        Preset(
            "paper",
            [
                Setting("correct_first", 1), Setting("beta1", 0.95), Setting("beta1_1d", 0.9),
                Setting("beta2_1d", 0.95), Setting("weight_decay_1d", 0.1),
            ]),
        Preset(
            "timm",
            [
                Setting("correct_first", 0), Setting("beta1", 0.9), Setting("beta1_1d", 0.9),
                Setting("beta2_1d", 0.99), Setting("weight_decay_1d", 0),
            ]),
    ]

    package var decouplesDecay: Bool { true }

    package func separateDecay(_ moment: StepInput) -> Double {
        let isCorrected = isCorrected(moment.tensor)
        return (isCorrected ? 1 : rateScale1D) * moment.decayRate * (isCorrected ? weightDecay : weightDecay1D)
            * decayScale(moment.tensor)
    }

    package var states: StateSet { .first(kind == .lion && optimize1D ? 2 : amsgrad ? 4 : 3) }

    package func states(of tensor: TensorTraits) -> StateSet { isLion(tensor) ? .first(2) : .first(amsgrad ? 4 : 3) }

    package var stages: [Stage] { [.measure(over: .tensor), .change()] }

    private func isCorrected(_ tensor: TensorTraits) -> Bool { tensor.isMatrix || optimize1D }

    private func isLion(_ tensor: TensorTraits) -> Bool { kind == .lion && isCorrected(tensor) }

    /// Whether a tensor's gradient of this step is bounded and corrected.
    private func corrects(_ moment: StepInput) -> Bool {
        isCorrected(moment.tensor) && (correctFirst || moment.step > 1)
    }

    /// What `MARSArithmetic` and `MARSLionArithmetic` read.
    package struct Coefficients: BitwiseCopyable {
        package let decay, correction, firstShare, secondShare, stepSize, epsilon: Double
    }

    package func plan(_ moment: StepInput, powers: inout BiasCorrectionCache, into target: UnsafeMutableRawPointer) {
        let isCorrected = isCorrected(moment.tensor)
        let scale = isCorrected ? 1 : rateScale1D
        let (b1, b2) = isCorrected ? (beta1, beta2) : (beta1Of1D, beta2Of1D)
        let rate = scale * moment.learningRate
        let root = powers.complement(b2, moment.step).squareRoot()
        let coefficients = Coefficients(
            decay: separateDecay(moment),
            correction: corrects(moment) ? gamma * (b1 / (1 - b1)) : 0,
            firstShare: 1 - b1, secondShare: 1 - b2,
            stepSize: isLion(moment.tensor) ? rate : rate * root / powers.complement(b1, moment.step),
            epsilon: epsilon * root)
        target.storeBytes(of: coefficients, as: Coefficients.self)
    }

    package func gather(_ first: Double, _ second: Double, of moment: StepInput, into sums: inout StageSums) {
        if corrects(moment) { TrustNorms.add(weights: first, directions: second, decayScale: 1, to: &sums) }
    }

    package func betterScales(_ sums: StageSums) -> StageScales? { TrustNorms.betterScales(sums) }

    package func finish(_ stage: Int, _ sums: StageSums, _ moment: StepInput) -> StageNumbers {
        corrects(moment) ? [1 / max(1, TrustNorms(sums).directions), 0, 0, 0] : [1, 0, 0, 0]
    }

    package var kernel: KernelKey { kind == .lion ? .marsLion : amsgrad ? .marsAMSGrad : .mars }
    package var vectorKernel: KernelKey { kind == .lion && optimize1D ? .marsLion : amsgrad ? .marsAMSGrad : .mars }
}
