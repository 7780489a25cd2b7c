// SPDX-License-Identifier: Apache-2.0

/// Adafactor with momentum, whose change is divided by how far the step's own change is from the average.
///
///     R ← R + (1 − β₂)·(mean over a row of (g² + ε₁) − R);  C likewise over a column;  v = R·C / mean(R)
///     u = g / √v;  û = u / max(1, RMS(u)/d)
///     m ← m + (1 − β₁)·(û − m)
///     S ← S + (1 − β₃)·(mean over a row of ((û − m)² + ε₂) − S);  T likewise over a column;  i = S·T / mean(S)
///     w ← w − γ·m/√i − γ·λ·w
///
/// Rows and columns are the last two axes.  For tensors of rank 0 and 1, v is a state of their shape, and i is 1.  No average is
/// corrected for its start.
///
/// Source: Luo et al. 2023, algorithm 2 (arXiv:2307.02047), as the authors' code and `pytorch_optimizer.CAME` have it: the paper
/// averages u before it is clipped.
public struct CAME: AdjustableRule {
    /// Learning rate γ.
    public var learningRate = 2e-4
    /// Decay β₁ of the average of changes.
    public var beta1 = 0.9
    /// Decay β₂ of the second moment.
    public var beta2 = 0.999
    /// Decay β₃ of the disagreement.
    public var beta3 = 0.9999
    /// Number ε₁ that is added to g².
    public var epsilon1 = 1e-30
    /// Number ε₂ that is added to the square of the disagreement.
    public var epsilon2 = 1e-16
    /// Largest root mean square d of u.
    public var clip = 1.0
    /// Decay coefficient λ.
    public var weightDecay = 0.0
    /// What is done with the change before the weights take it.
    public var updateOptions = UpdateOptions()

    public init() {}

    /// Creates the rule from its hyperparameters, which the properties document.
    public init(
        lr: Double, betas: (Double, Double, Double) = (0.9, 0.999, 0.9999), eps: (Double, Double) = (1e-30, 1e-16),
        clipThreshold: Double = 1, weightDecay: Double = 0
    ) {
        learningRate = lr
        (beta1, beta2, beta3) = betas
        (epsilon1, epsilon2) = eps
        clip = clipThreshold
        self.weightDecay = weightDecay
    }

    package static let declaration = Declaration(
        name: "came", title: "CAME",
        summary: "Adafactor with momentum, slowed where the step's change and the average disagree",
        details: """
            row_sq and col_sq are means of g * g + eps1 over rows and columns;  u = g / sqrt(row_sq * col_sq / mean(row_sq)), \
            divided by max(1, RMS(u) / clip_threshold);  m = m + (1 - beta1) * (u - m);  row_res and col_res are means of \
            (u - m) ** 2 + eps2;  w -= lr * m / sqrt(row_res * col_res / mean(row_res)) + lr * weight_decay * w.  Rows and \
            columns are the last two axes.  Tensors of rank 0 and 1 keep their whole second moment, and move by lr * m.
            """,
        equation: "û = clip(g/√v); m ← m + (1−β₁)(û − m); i ← average of (û − m)²; w ← w − γ·m/√i − γλw",
        source: "Luo et al. 2023, algorithm 2, arXiv:2307.02047; equals pytorch_optimizer.CAME",
        states: StateDeclaration.factored("exp_avg_sq", rows: "exp_avg_sq_row", columns: "exp_avg_sq_col")
            + [.parameter("exp_avg")]
            + StateDeclaration.factored(rows: "exp_avg_res_row", columns: "exp_avg_res_col"),
        needsStep: false)

    package static let parameters: [Parameter<Self>] =
        [
            .number("lr", \.learningRate, .nonNegative, "learning rate γ"),
            .number("beta1", \.beta1, .fraction, "decay β₁ of the average of changes"),
            .number("beta2", \.beta2, .fraction, "decay β₂ of the second moment"),
            .number("beta3", \.beta3, .fraction, "decay β₃ of the disagreement"),
            .number("eps1", \.epsilon1, .nonNegative, "number ε₁ that is added to g²"),
            .number("eps2", \.epsilon2, .nonNegative, "number ε₂ that is added to the square of the disagreement"),
            .number("clip_threshold", \.clip, .positive, "largest root mean square d of u"),
            .number("weight_decay", \.weightDecay, .nonNegative, "decay coefficient λ"),
        ] + updateParameters

    package func states(of tensor: TensorTraits) -> StateSet {
        tensor.isMatrix
            ? [.state(1), .state(2), .state(3), .state(4), .state(5)] : [.state(0), .state(3)]
    }

    package var stages: [Stage] {
        [.factor, .measure(over: .tensor), .factorDirections, .change(readsGradients: false)]
    }

    package var decouplesDecay: Bool { true }

    package func factorAverage(_ stage: Int, _ moment: StepInput) -> FactorAverage {
        stage == 0
            ? FactorAverage(share: 1 - beta2, offset: epsilon1) : FactorAverage(share: 1 - beta3, offset: epsilon2)
    }

    /// What `CAMEArithmetic` reads, and, at its beginning, what `AdafactorArithmetic` does.
    package struct Coefficients: BitwiseCopyable {
        package let share, offset, floor, momentumShare, rate, decay: Double
    }

    package func plan(_ moment: StepInput, powers: inout BiasCorrectionCache, into target: UnsafeMutableRawPointer) {
        let coefficients = Coefficients(
            share: moment.tensor.isMatrix ? 0 : 1 - beta2, offset: epsilon1, floor: 0, momentumShare: 1 - beta1,
            rate: moment.learningRate, decay: moment.decayRate * weightDecay * decayScale(moment.tensor))
        target.storeBytes(of: coefficients, as: Coefficients.self)
    }

    package func gather(_ first: Double, _ second: Double, of moment: StepInput, into sums: inout StageSums) {
        TrustNorms.add(weights: first, directions: second, decayScale: 1, to: &sums)
    }

    package func betterScales(_ sums: StageSums) -> StageScales? { TrustNorms.betterScales(sums) }

    package func finish(_ stage: Int, _ sums: StageSums, _ moment: StepInput) -> StageNumbers {
        let norm = TrustNorms(sums).directions / max(1, moment.elements).squareRoot()
        return [1 / max(1, norm / clip), 0, 0, 0]
    }

    package var kernel: KernelKey { .came }
    package func kernel(of stage: Int) -> KernelKey { stage <= 1 ? .adafactor : .came }
    package var vectorKernel: KernelKey { .cameVector }
}
