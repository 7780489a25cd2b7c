// SPDX-License-Identifier: Apache-2.0

/// Momentum of gradients that are divided by a running average of the norm of their tensor.
///
///     v ← β₂·v + (1 − β₂)·‖g‖²                                (v = ‖g‖² at a tensor's first step, unless `initZero`)
///     d = g / (√(v + ε′) + ε) + λ·w
///     m ← β₁·m + d                                            (m = d at a tensor's first step)
///     w ← w − γ·m
///
/// With `gradAveraging` m ← β₁·m + (1 − β₁)·d, also at the first step if `averageFirst`.  With decoupled decay γ·λ·w is subtracted from
/// the weights, and λ is not in d.  `moment` raw: m is of g + λ·w, and the change is divided in its place.  `biasCorrection`: m is divided
/// by 1 − β₁ᵗ and v by 1 − β₂ᵗ.
///
/// Source: Ginsburg et al. 2019, algorithm 1 (arXiv:1905.11286), which the default equals, with the authors' later β.  Libraries of
/// this name disagree; the presets say how: `timm`, `optax`, `apex` (with the 2-norm).  pytorch_optimizer's is the default.
public struct NovoGrad: DeclaredRule {
    /// What the first moment is of.
    public enum Moment: String, Choice {
        case normalized, raw
    }

    /// Learning rate γ.
    public var learningRate = 1e-3
    /// Decay β₁ of the first moment.
    public var beta1 = 0.95
    /// Decay β₂ of the squared norm.
    public var beta2 = 0.98
    /// Number ε that is added to the denominator.
    public var epsilon = 1e-8
    /// Number ε′ that is added to v under the root, as in optax.
    public var epsilonInRoot = 0.0
    /// Decay coefficient λ.
    public var weightDecay = 0.0
    /// Decay the weights in place of the direction, as AdamW does.
    public var decoupledWeightDecay = false
    /// Weigh the direction by 1 − β₁ in the first moment.
    public var gradAveraging = false
    /// Weigh a tensor's first direction so too, as in timm and apex.
    public var averageFirst = false
    /// Start the average of squared norms at 0.
    public var initZero = false
    /// Correct both averages for their start at 0, as in apex.
    public var biasCorrection = false
    /// The first moment is of `normalized` gradients (the paper), or of `raw` ones, and then divided (apex).
    public var moment = Moment.normalized
    /// One norm for each `tensor`, or for each `layer`.
    public var scope = TrustRatioScope.tensor

    public init() {}

    /// Creates the rule from its hyperparameters, which the properties document.
    public init(lr: Double, betas: (Double, Double) = (0.95, 0.98), eps: Double = 1e-8, weightDecay: Double = 0) {
        learningRate = lr
        (beta1, beta2) = betas
        epsilon = eps
        self.weightDecay = weightDecay
    }

    package static let declaration = Declaration(
        name: "novograd", title: "NovoGrad",
        summary: "Momentum of gradients that are divided by a running average of the norm of their tensor",
        details: """
            v = beta2 * v + (1 - beta2) * |g|**2, which starts as |g|**2;  d = g / (sqrt(v) + eps) + weight_decay * w;  m = beta1 * m + d;  w -= \
            lr * m.  The state grad_norm is sqrt(v), one number for each tensor.  Libraries differ, so each difference is an option, \
            and `variant` sets them all at once; options given as well override it.  An option left at None is the variant's, else the library's default.
            """,
        equation: "v ← β₂v + (1−β₂)‖g‖²; m ← β₁m + g/(√v + ε) + λw; w ← w − γ·m",
        source: "Ginsburg et al. 2019, algorithm 1, arXiv:1905.11286; equals pytorch_optimizer.NovoGrad",
        states: [.parameter("exp_avg"), .scalar("grad_norm", start: 0)])

    package static let parameters: [Parameter<Self>] = [
        .number("lr", \.learningRate, .nonNegative, "learning rate γ"),
        .number("beta1", \.beta1, .fraction, "decay β₁ of the first moment"),
        .number("beta2", \.beta2, .fraction, "decay β₂ of the squared norm"),
        .number("eps", \.epsilon, .nonNegative, "number ε that is added to the denominator"),
        .number("eps_root", \.epsilonInRoot, .nonNegative, "number ε′ that is added to v under the root, as in optax"),
        .number("weight_decay", \.weightDecay, .nonNegative, "decay coefficient λ"),
        .flag(
            "decoupled_weight_decay", \.decoupledWeightDecay,
            "decay the weights in place of the direction, as AdamW does"),
        .flag("grad_averaging", \.gradAveraging, "weigh the direction by 1 − β₁ in the first moment"),
        .flag("average_first", \.averageFirst, "weigh a tensor's first direction so too, as in timm and apex"),
        .flag("init_zero", \.initZero, "start the average of squared norms at 0"),
        .flag("bias_correction", \.biasCorrection, "correct both averages for their start at 0, as in apex"),
        .choice(
            "moment", \.moment,
            "the first moment is of \"normalized\" gradients (the paper), or of \"raw\" ones, and then divided (apex)"),
        .choice("norm_scope", \.scope, "one norm for each \"tensor\", or for each \"layer\""),
    ]

    package static let presets = [
        Preset("paper", [Setting("moment", "normalized"), Setting("grad_averaging", 0), Setting("beta1", 0.95)]),
        Preset("timm", [Setting("moment", "normalized"), Setting("average_first", 1), Setting("beta1", 0.95)]),
        Preset(
            "optax",
            [
                Setting("moment", "normalized"), Setting("beta1", 0.9), Setting("beta2", 0.25), Setting("eps", 1e-6),
            ]),
        Preset(
            "apex",
            [
                Setting("moment", "raw"), Setting("beta1", 0.9), Setting("beta2", 0.999), Setting("grad_averaging", 1),
                Setting("average_first", 1), Setting("bias_correction", 1), Setting("decoupled_weight_decay", 1),
            ]),
    ]

    package var decouplesDecay: Bool { decoupledWeightDecay }

    package var stages: [Stage] { [.measure(over: scope == .tensor ? .tensor : .layer), .change()] }

    /// What `NovoGradArithmetic` reads.
    package struct Coefficients: BitwiseCopyable {
        package let coupledDecay, decay, forget, share, stepSize: Double
    }

    package func plan(_ moment: StepInput, powers: inout BiasCorrectionCache, into target: UnsafeMutableRawPointer) {
        let decay = weightDecay * decayScale(moment.tensor)
        let averages = gradAveraging && (averageFirst || moment.step > 1)
        let coefficients = Coefficients(
            coupledDecay: decoupledWeightDecay ? 0 : decay,
            decay: decoupledWeightDecay ? moment.decayRate * decay : 0,
            forget: 1 - beta1, share: averages ? 1 - beta1 : 1,
            stepSize: biasCorrection
                ? moment.learningRate / powers.complement(beta1, moment.step) : moment.learningRate)
        target.storeBytes(of: coefficients, as: Coefficients.self)
    }

    package func gather(_ first: Double, _ second: Double, of moment: StepInput, into sums: inout StageSums) {
        TrustNorms.add(weights: first, directions: second, decayScale: 1, to: &sums)
    }

    package func betterScales(_ sums: StageSums) -> StageScales? { TrustNorms.betterScales(sums) }

    package func advance(_ moment: StepInput, after stage: Int, _ sums: StageSums) -> StateScalars {
        let norm = TrustNorms(sums).directions
        if moment.step == 1 && !initZero { return StateScalars(norm, 0) }
        // Of the two norms' squares, neither overflows.
        let old = moment.scalars[0]
        let largest = max(old, norm)
        if largest == 0 || !largest.isFinite { return StateScalars(largest, 0) }
        let (a, b) = (old / largest, norm / largest)
        return StateScalars(largest * (beta2 * a * a + (1 - beta2) * b * b).squareRoot(), 0)
    }

    package func finish(_ stage: Int, _ sums: StageSums, _ moment: StepInput) -> StageNumbers {
        var norm = moment.scalars[0]
        if biasCorrection { norm /= powerComplement(beta2, moment.step).squareRoot() }
        if epsilonInRoot > 0 { norm = (norm * norm + epsilonInRoot).squareRoot() }
        let divisor = min(norm + epsilon, .greatestFiniteMagnitude)
        // A finite number divided by 0 is 0.
        return self.moment == .normalized ? [divisor, 1, 0, 0] : [1, divisor == 0 ? 0 : 1 / divisor, 0, 0]
    }

    package var kernel: KernelKey { .novoGrad }
}
