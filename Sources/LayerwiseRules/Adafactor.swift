// SPDX-License-Identifier: Apache-2.0
import LayerwisePlatform

/// Adam with a second moment that is kept by rows and columns, and a change that is relative to the size of the weights.
///
///     s = t^β₂decay                                        (how much of the step's squares enters the second moment)
///     R ← R + s·(mean of g² over a row − R);  C ← C + s·(mean of g² over a column − C);  v = R·C / mean(R)
///     v ← v + s·(g² − v)                                   (for tensors of rank 0 and 1)
///     u = g / √v;  û = u / max(1, RMS(u)/d)
///     α = ρ·max(ε₂, RMS(w)),  ρ = min(γ, 1/√t)
///     w ← w − α·û − γ·λ·w
///
/// Rows and columns are the last two axes; axes before them make matrices of their own.  ε₁ bounds v: with `epsilonPosition`
/// floor, √v is at least ε₁ and the mean of R too, and with added, ε₁ is added to g².  `stepSize` says what ρ is, `decay` says
/// whether the weights decay by γ·λ or by α·λ.  With `beta1` above 0 the weights move by a running average of α·û.
///
/// γ is the layer's rate: with capped steps it is the cap, and with relative ones a factor.
///
/// Source: Shazeer and Stern 2018, algorithms 4 and 5 (arXiv:1804.04235).  The default equals `torch.optim.Adafactor`, and the
/// preset `transformers` equals `transformers.Adafactor` with its own defaults.  timm and optax do not factor small matrices, and
/// timm factors the first two axes of convolutions.
public struct Adafactor: AdjustableRule {
    /// What ρ is at step t.
    public enum StepSize: String, Choice {
        /// min(γ, 1/√t)
        case capped
        /// γ·min(0.01, 1/√t)
        case relative
        /// γ·min(10⁻⁶·t, 1/√t)
        case warmup
        /// γ
        case constant
    }

    /// Where ε₁ acts.
    public enum EpsilonPosition: String, Choice {
        case floor, added
    }

    /// What multiplies λ.
    public enum Decay: String, Choice {
        case lr, step
    }

    /// Learning rate γ.
    public var learningRate = 1e-2
    /// Power β₂decay of t, the weight of a step in the second moment.
    public var beta2Decay = -0.8
    /// Bound ε₁ of √v; 0 is the epsilon of the parameter's type.
    public var epsilon1 = 0.0
    /// Least size ε₂ of the weights.
    public var epsilon2 = 1e-3
    /// Largest root mean square d of u.
    public var clip = 1.0
    /// Decay coefficient λ.
    public var weightDecay = 0.0
    /// Decay β₁ of the average of changes; 0 keeps none.
    public var beta1 = 0.0
    /// `capped` is min(γ, 1/√t) (torch), `relative` γ·min(0.01, 1/√t), `warmup` γ·min(1e-6·t, 1/√t), `constant` γ.
    public var stepSize = StepSize.capped
    /// Multiply the change by max(ε₂, RMS(w)).
    public var scaleParameter = true
    /// `floor` bounds √v from below (torch), `added` adds ε₁ to g² (transformers).
    public var epsilonPosition = EpsilonPosition.floor
    /// The weights decay by `lr` times λ (torch), or by `step`, all that multiplies u, times λ.
    public var decay = Decay.lr
    /// What is done with the change before the weights take it.
    public var updateOptions = UpdateOptions()

    public init() {}

    /// Creates the rule from its hyperparameters, which the properties document.
    public init(lr: Double, beta2Decay: Double = -0.8, d: Double = 1, weightDecay: Double = 0) {
        learningRate = lr
        self.beta2Decay = beta2Decay
        clip = d
        self.weightDecay = weightDecay
    }

    package static let declaration = Declaration(
        name: "adafactor", title: "Adafactor",
        summary: "Adam whose second moment is kept by rows and columns, and whose change is relative to the weights",
        details: """
            s = t ** beta2_decay;  row_var and col_var are means of g * g over rows and columns, averaged with weight s;  v = \
            row_var * col_var / mean(row_var), or v = v + s * (g * g - v) for tensors of rank 0 and 1;  u = g / sqrt(v);  w -= \
            min(lr, 1 / sqrt(t)) * max(eps2, RMS(w)) * u / max(1, RMS(u) / d) + lr * weight_decay * w.  Rows and columns are \
            the last two axes.  The first of eps may be None, which is the epsilon of the parameter's type.
            """,
        equation: "u = g/√(RC/mean(R)); w ← w − min(γ, 1/√t)·max(ε₂, RMS(w))·u/max(1, RMS(u)/d) − γλw",
        source: "Shazeer and Stern 2018, algorithms 4 and 5, arXiv:1804.04235; equals torch.optim.Adafactor",
        states: StateDeclaration.factored("variance", rows: "row_var", columns: "col_var") + [.parameter("exp_avg")])

    package static let parameters: [Parameter<Self>] =
        [
            .number("lr", \.learningRate, .nonNegative, "learning rate γ"),
            .number(
                "beta2_decay", \.beta2Decay, .nonPositive,
                "power β₂decay of t, the weight of a step in the second moment"),
            .number(
                "eps1", \.epsilon1, .nonNegative, "bound ε₁ of √v; 0 is the epsilon of the parameter's type", none: 0),
            .number("eps2", \.epsilon2, .nonNegative, "least size ε₂ of the weights"),
            .number("d", \.clip, .positive, "largest root mean square d of u"),
            .number("weight_decay", \.weightDecay, .nonNegative, "decay coefficient λ"),
            .number("beta1", \.beta1, .fraction, "decay β₁ of the average of changes; 0 keeps none", none: 0),
            .choice(
                "step_size", \.stepSize,
                "\"capped\" is min(γ, 1/√t) (torch), \"relative\" γ·min(0.01, 1/√t), \"warmup\" γ·min(1e-6·t, 1/√t), "
                    + "\"constant\" γ"),
            .flag("scale_parameter", \.scaleParameter, "multiply the change by max(ε₂, RMS(w))"),
            .choice(
                "eps_position", \.epsilonPosition,
                "\"floor\" bounds √v from below (torch), \"added\" adds ε₁ to g² (transformers)"),
            .choice(
                "decay", \.decay,
                "the weights decay by \"lr\" times λ (torch), or by \"step\", all that multiplies u, times λ"),
        ] + updateParameters

    package static let presets = [
        Preset(
            "torch",
            [Setting("step_size", "capped"), Setting("eps_position", "floor"), Setting("decay", "lr")]),
        Preset(
            "transformers",
            [
                Setting("step_size", "relative"), Setting("eps_position", "added"), Setting("decay", "step"),
                Setting("eps1", 1e-30),
            ]),
    ]

    package var states: StateSet { beta1 > 0 ? .first(4) : .first(3) }

    package func states(of tensor: TensorTraits) -> StateSet {
        states.subtracting(tensor.isMatrix ? .state(0) : [.state(1), .state(2)])
    }

    package var stages: [Stage] { [.factor, .measure(over: .tensor), .change()] }

    package var decouplesDecay: Bool { true }

    private func bound(_ tensor: TensorTraits) -> Double { epsilon1 == 0 ? tensor.epsilon : epsilon1 }

    private func share(_ step: Int64) -> Double { pow(Double(step), beta2Decay) }

    /// ρ at step t, for a learning rate or what takes its place in the decay.
    private func size(_ rate: Double, _ step: Int64) -> Double {
        let t = Double(step)
        let root = 1 / t.squareRoot()
        return switch stepSize {
        case .capped: min(rate, root)
        case .relative: rate * min(1e-2, root)
        case .warmup: rate * min(1e-6 * t, root)
        case .constant: rate
        }
    }

    package func factorAverage(_ stage: Int, _ moment: StepInput) -> FactorAverage {
        let bound = bound(moment.tensor)
        let isFloor = epsilonPosition == .floor
        return FactorAverage(share: share(moment.step), offset: isFloor ? 0 : bound, floor: isFloor ? bound : 0)
    }

    /// What `AdafactorArithmetic` reads.
    package struct Coefficients: BitwiseCopyable {
        package let share, offset, floor, momentumShare: Double
    }

    package func plan(_ moment: StepInput, powers: inout BiasCorrectionCache, into target: UnsafeMutableRawPointer) {
        let bound = bound(moment.tensor)
        let isFloor = epsilonPosition == .floor
        let coefficients = Coefficients(
            share: moment.tensor.isMatrix ? 0 : share(moment.step), offset: isFloor ? 0 : bound,
            floor: isFloor ? bound * bound : 0, momentumShare: 1 - beta1)
        target.storeBytes(of: coefficients, as: Coefficients.self)
    }

    package func gather(_ first: Double, _ second: Double, of moment: StepInput, into sums: inout StageSums) {
        TrustNorms.add(weights: first, directions: second, decayScale: 1, to: &sums)
    }

    package func betterScales(_ sums: StageSums) -> StageScales? { TrustNorms.betterScales(sums) }

    package func finish(_ stage: Int, _ sums: StageSums, _ moment: StepInput) -> StageNumbers {
        let norms = TrustNorms(sums)
        let root = moment.elements.squareRoot()
        let scale = scaleParameter ? max(epsilon2, norms.weights / root) : 1
        let change = size(moment.learningRate, moment.step) * scale / max(1, norms.directions / root / clip)
        let decayRate = decay == .lr ? moment.decayRate : size(moment.decayRate, moment.step) * scale
        return [change, decayRate * weightDecay * decayScale(moment.tensor), 0, 0]
    }

    package func separateDecay(_ moment: StepInput) -> Double { moment.numbers[1] }

    package var kernel: KernelKey { beta1 > 0 ? .adafactorMomentum : .adafactor }
}
