// SPDX-License-Identifier: Apache-2.0

/// Momentum whose direction is made orthogonal, for matrices; AdamW for tensors of rank 0 and 1.
///
///     m ← m + (1 − μ)·(g − m)
///     u = g + μ·(m − g)        (Nesterov)      or  u = m
///     O = NewtonSchulz(u)                      (`NewtonSchulz`: all singular values are moved towards 1)
///     w ← w − γ·s·O − γ·λ·w
///
/// s depends on the matrix, of R rows and C columns: `original` is √max(1, R/C), `matchRMSAdamW` is 0.2·√max(R, C), with which
/// a rate and decay found for AdamW may be kept, `spectral` is √(R/C), and `none` is 1.
///
/// Tensors of rank 0 and 1 are stepped by AdamW with the rate `adamWRateScale`·γ, the decay λ and the moments' own β and ε; their first
/// moment is the state `momentum_buffer`.  Embeddings and the output layer are better left to AdamW too: give these layers a rule
/// of their own.
///
/// The matrix of a tensor of rank 3 and more is the first axis against all others; with `axes` last, the last two axes are
/// matrices.  A matrix is worked on in a fixed order, so that the result does not depend on the number of threads; in the type of its
/// lanes, or with `precision` bfloat16 rounded to that after each product, as torch does.  A matrix that is spread over processes is
/// refused.
///
/// Source: Jordan et al. 2024 (kellerjordan.github.io/posts/muon); Liu et al. 2025 (arXiv:2502.16982) for `matchRMSAdamW`.  Equals
/// `torch.optim.Muon`, whose `precision` is bfloat16 and which takes matrices only.  timm and optax step other tensors by AdamW too.
public struct Muon: DeclaredRule {
    /// What the rate of a matrix is multiplied by.
    public enum AdjustLR: String, Choice {
        case original
        case matchRMSAdamW = "match_rms_adamw"
        case spectral, none
    }

    /// Learning rate γ.
    public var learningRate = 1e-3
    /// Decay coefficient λ.
    public var weightDecay = 0.1
    /// Decay μ of the momentum.
    public var momentum = 0.95
    /// Look ahead along the momentum.
    public var nesterov = true
    /// Coefficient a of a constant schedule.
    public var coefficientA = 3.4445
    /// Coefficient b of a constant schedule.
    public var coefficientB = -4.775
    /// Coefficient c of a constant schedule.
    public var coefficientC = 2.0315
    /// Least norm ε that a matrix is divided by.
    public var epsilon = 1e-7
    /// How many times the polynomial is applied.
    public var steps = 5
    /// Factor s of the rate: `original` is √max(1, R/C), `match_rms_adamw` 0.2·√max(R, C), `spectral` √(R/C), `none` 1.
    public var adjustLR = AdjustLR.original
    /// Coefficients of the iterations: `constant` takes ns_coefficients in all, `quintic` five polynomials found
    /// together, `polar_express` those of arXiv:2505.16932.
    public var schedule = NewtonSchulz.Schedule.constant
    /// A tensor of rank 3 and more is one matrix, the `first` axis against the others, or matrices of the `last` two
    /// axes.
    public var axes = NewtonSchulz.Axes.first
    /// What the matrices of the iterations are rounded to: nothing, or bfloat16 as in torch.
    public var precision = NewtonSchulz.Precision.full
    /// The rate of tensors of rank 0 and 1, in units of γ.
    public var adamWRateScale = 1.0
    /// Decay of the first moment of tensors of rank 0 and 1.
    public var adamWBeta1 = 0.9
    /// Decay of the second moment of tensors of rank 0 and 1.
    public var adamWBeta2 = 0.95
    /// Number that is added to the denominator of theirs.
    public var adamWEpsilon = 1e-10

    public init() {}

    /// Creates the rule from its hyperparameters, which the properties document.
    public init(
        lr: Double, weightDecay: Double = 0.1, momentum: Double = 0.95, nesterov: Bool = true,
        adjustLR: AdjustLR = .original
    ) {
        learningRate = lr
        self.weightDecay = weightDecay
        self.momentum = momentum
        self.nesterov = nesterov
        self.adjustLR = adjustLR
    }

    package static let declaration = Declaration(
        name: "muon", title: "Muon",
        summary: "Momentum whose direction is made orthogonal, for matrices, and AdamW for tensors of rank 0 and 1",
        details: """
            m = m + (1 - momentum) * (g - m);  u = g + momentum * (m - g) with nesterov, or m;  O = u / max(norm(u), eps), and \
            ns_steps times  A = O @ O.T,  O = a * O + (b * A + c * A @ A) @ O;  w -= lr * s * O + lr * weight_decay * w.  s is \
            sqrt(max(1, R / C)) for a matrix of R rows and C columns, as adjust_lr_fn says.  Tensors of rank 0 and 1 are \
            stepped by AdamW with the rate adamw_lr_scale * lr, whose first moment is the state momentum_buffer.  Embeddings \
            and the output layer are better left to AdamW too: give these layers a rule of their own.
            """,
        equation: "m ← m + (1−μ)(g − m); O = NewtonSchulz(g + μ(m − g)); w ← w − γ·s·O − γλw",
        source:
            "Jordan et al. 2024, kellerjordan.github.io/posts/muon; equals torch.optim.Muon with ns_precision=\"bfloat16\"",
        states: [.parameter("momentum_buffer"), .parameter("exp_avg_sq")], matricesNeedStep: false)

    package static let parameters: [Parameter<Self>] = [
        .number("lr", \.learningRate, .nonNegative, "learning rate γ"),
        .number("weight_decay", \.weightDecay, .nonNegative, "decay coefficient λ"),
        .number("momentum", \.momentum, .fraction, "decay μ of the momentum"),
        .flag("nesterov", \.nesterov, "look ahead along the momentum"),
        .number("ns_coefficients1", \.coefficientA, .finite, "coefficient a of a constant schedule"),
        .number("ns_coefficients2", \.coefficientB, .finite, "coefficient b of a constant schedule"),
        .number("ns_coefficients3", \.coefficientC, .finite, "coefficient c of a constant schedule"),
        .number("eps", \.epsilon, .positive, "least norm ε that a matrix is divided by"),
        .integer("ns_steps", \.steps, 1...99, "how many times the polynomial is applied"),
        .choice(
            "adjust_lr_fn", \.adjustLR,
            "factor s of the rate: \"original\" is √max(1, R/C), \"match_rms_adamw\" 0.2·√max(R, C), \"spectral\" √(R/C), "
                + "\"none\" 1", none: .original),
        .choice(
            "ns_schedule", \.schedule,
            "coefficients of the iterations: \"constant\" takes ns_coefficients in all, \"quintic\" five polynomials found "
                + "together, \"polar_express\" those of arXiv:2505.16932"),
        .choice(
            "axes", \.axes,
            "a tensor of rank 3 and more is one matrix, the \"first\" axis against the others, or matrices of the \"last\" "
                + "two axes"),
        .choice(
            "ns_precision", \.precision,
            "what the matrices of the iterations are rounded to: \"full\" nothing, \"bfloat16\" that type after each product, as "
                + "torch does"
        ).omittedAtDefault,
        .number("adamw_lr_scale", \.adamWRateScale, .nonNegative, "the rate of tensors of rank 0 and 1, in units of γ"),
        .number("adamw_beta1", \.adamWBeta1, .fraction, "decay of the first moment of tensors of rank 0 and 1"),
        .number("adamw_beta2", \.adamWBeta2, .fraction, "decay of the second moment of tensors of rank 0 and 1"),
        .number("adamw_eps", \.adamWEpsilon, .nonNegative, "number that is added to the denominator of theirs"),
    ]

    package func states(of tensor: TensorTraits) -> StateSet { tensor.isMatrix ? .first(1) : .first(2) }

    package var stages: [Stage] { [.orthogonalize, .change()] }

    package var decouplesDecay: Bool { true }

    package var orthogonalization: NewtonSchulz? {
        NewtonSchulz(
            steps: steps, schedule: schedule, coefficients: [coefficientA, coefficientB, coefficientC],
            epsilon: epsilon, axes: axes, precision: precision)
    }

    /// What `MuonArithmetic` reads.
    package struct Coefficients: BitwiseCopyable {
        package let share, lookahead, decay: Double
    }

    package func plan(_ moment: StepInput, powers: inout BiasCorrectionCache, into target: UnsafeMutableRawPointer) {
        if moment.tensor.isMatrix {
            let decay = moment.decayRate * weightDecay * decayScale(moment.tensor)
            let coefficients = Coefficients(
                share: 1 - momentum, lookahead: nesterov ? 1 - momentum : 0, decay: decay)
            return target.storeBytes(of: coefficients, as: Coefficients.self)
        }
        var moment = moment
        moment.learningRate *= adamWRateScale
        moment.decayRate *= adamWRateScale
        Adam(
            lr: moment.learningRate, betas: (adamWBeta1, adamWBeta2), eps: adamWEpsilon, weightDecay: weightDecay,
            decoupledWeightDecay: true
        ).plan(moment, powers: &powers, into: target)
    }

    package func finish(_ stage: Int, _ sums: StageSums, _ moment: StepInput) -> StageNumbers {
        let (rows, columns) = (moment.rows, moment.columns)
        let scale =
            switch adjustLR {
            case .original: max(1, rows / columns).squareRoot()
            case .matchRMSAdamW: 0.2 * max(rows, columns).squareRoot()
            case .spectral: (rows / columns).squareRoot()
            case .none: 1.0
            }
        return [moment.learningRate * scale, 0, 0, 0]
    }

    package var kernel: KernelKey { .muon }
    package var vectorKernel: KernelKey { .adam }
}
