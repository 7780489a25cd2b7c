// SPDX-License-Identifier: Apache-2.0
import LayerwisePlatform

/// Adam with Nesterov momentum, whose coefficient may follow a schedule of its own.
///
///     g′ = g + λ·w                                            (coupled decay)
///     μₜ = β₁·(1 − ½·0.96^(t·ψ)), or β₁;  Πₜ = Πₜ₋₁·μₜ        (Π₀ = 1)
///     m ← β₁·m + (1 − β₁)·g′
///     v ← β₂·v + (1 − β₂)·g′²
///     m̂ = μₜ₊₁·m / (1 − Πₜ·μₜ₊₁) + (1 − μₜ)·g′ / (1 − Πₜ);  v̂ = v / (1 − β₂ᵗ)
///     w ← w − γ·m̂ / (√v̂ + ε)
///     w ← w − γ·λ·w_old                                       (decoupled decay instead of the coupled one)
///
/// Π is a state of each tensor, so that it stays right where β₁ or ψ changes.
///
/// With `momentumSchedule` constantPresent m̂ is μ·m / (1 − Πₜ) + (1 − μ)·g′ / (1 − Πₜ).
///
/// Source: Dozat 2016 (OpenReview OM0jvwB8jIp57ZJjtNEZ).  Equals `torch.optim.NAdam`, which keeps Π in float32; with the presets
/// `optax`, `timm` and `keras` these libraries' (timm's is `NAdamW`).
public struct NAdam: AdjustableRule {
    /// What the momentum's coefficient μₜ is.
    public enum MomentumSchedule: String, Choice {
        /// β₁·(1 − ½·0.96^(t·ψ)), which rises to β₁.
        case rising
        /// β₁.
        case constant
        /// β₁, and the moment is corrected for its start as the gradient is, by this step's product and not by the next one's.
        case constantPresent = "constant_present"
    }

    /// Learning rate γ.
    public var learningRate = 2e-3
    /// Decay β₁ of the first moment.
    public var beta1 = 0.9
    /// Decay β₂ of the second moment.
    public var beta2 = 0.999
    /// Number ε that is added to the denominator.
    public var epsilon = 1e-8
    /// Decay coefficient λ.
    public var weightDecay = 0.0
    /// Decay ψ of the momentum's schedule.
    public var momentumDecay = 4e-3
    /// What the momentum's coefficient is.
    public var momentumSchedule = MomentumSchedule.rising
    /// Decay the weights in place of the gradient, as AdamW does.
    public var decoupledWeightDecay = false
    /// What is done with the change before the weights take it.
    public var updateOptions = UpdateOptions()

    public init() {}

    /// Creates the rule from its hyperparameters, which the properties document.
    public init(
        lr: Double, betas: (Double, Double) = (0.9, 0.999), eps: Double = 1e-8, weightDecay: Double = 0,
        momentumDecay: Double = 4e-3, decoupledWeightDecay: Bool = false
    ) {
        learningRate = lr
        (beta1, beta2) = betas
        epsilon = eps
        self.weightDecay = weightDecay
        self.momentumDecay = momentumDecay
        self.decoupledWeightDecay = decoupledWeightDecay
    }

    package static let declaration = Declaration(
        name: "nadam", title: "NAdam",
        summary: "Adam with Nesterov momentum, whose coefficient may follow a schedule of its own",
        details: """
            mu_t = beta1 * (1 - 0.5 * 0.96**(t * momentum_decay)), or beta1 where momentum_schedule is "constant";  P = P * mu_t, from 1;  m and v as in Adam;  \
            w -= lr * (mu_{t+1} * m / (1 - P * mu_{t+1}) + (1 - mu_t) * g / (1 - P)) / (sqrt(v / (1 - beta2**t)) + eps).  P is \
            the state mu_product, one float64 for each tensor, which torch keeps in float32.
            """,
        equation: "m̂ = μₜ₊₁m/(1 − Πμₜ₊₁) + (1−μₜ)g/(1 − Π); w ← w − γ·m̂/(√v̂ + ε)",
        source: "Dozat 2016; equals torch.optim.NAdam",
        states: [.parameter("exp_avg"), .parameter("exp_avg_sq"), .scalar("mu_product", start: 1)])

    package static let parameters: [Parameter<Self>] =
        [
            .number("lr", \.learningRate, .nonNegative, "learning rate γ"),
            .number("beta1", \.beta1, .fraction, "decay β₁ of the first moment"),
            .number("beta2", \.beta2, .fraction, "decay β₂ of the second moment"),
            .number("eps", \.epsilon, .nonNegative, "number ε that is added to the denominator"),
            .number("weight_decay", \.weightDecay, .nonNegative, "decay coefficient λ"),
            .number("momentum_decay", \.momentumDecay, .nonNegative, "decay ψ of the momentum's schedule"),
            .choice(
                "momentum_schedule", \.momentumSchedule,
                "the momentum's coefficient: \"rising\" with momentum_decay as in torch, \"constant\" β₁ as in optax, "
                    + "\"constant_present\" β₁ with this step's correction as in timm"
            ).omittedAtDefault,
            .flag(
                "decoupled_weight_decay", \.decoupledWeightDecay,
                "decay the weights in place of the gradient, as AdamW does"),
        ] + updateParameters

    package static let presets = [
        Preset("optax", [Setting("momentum_schedule", "constant"), Setting("eps", 1e-8)]),
        Preset("timm", [Setting("momentum_schedule", "constant_present"), Setting("eps", 1e-8)]),
        Preset(
            "keras", [Setting("momentum_schedule", "rising"), Setting("momentum_decay", 1), Setting("eps", 1e-7)]),
    ]

    package var decouplesDecay: Bool { decoupledWeightDecay }

    /// μₜ.
    private func mu(_ step: Double) -> Double {
        momentumSchedule == .rising ? beta1 * (1 - 0.5 * pow(0.96, step * momentumDecay)) : beta1
    }

    package func advance(_ scalars: StateScalars, _ moment: StepInput) -> StateScalars {
        StateScalars(scalars[0] * mu(Double(moment.step)), scalars[1])
    }

    /// What `NAdamArithmetic` reads.
    package struct Coefficients: BitwiseCopyable {
        package let coupledDecay, decay, firstShare, secondShare, gradientShare, momentShare, stepSize, epsilon: Double
    }

    package func plan(_ moment: StepInput, powers: inout BiasCorrectionCache, into target: UnsafeMutableRawPointer) {
        let root = powers.complement(beta2, moment.step).squareRoot()
        let decay = weightDecay * decayScale(moment.tensor)
        let product = moment.scalars[0]
        let (now, next) = (mu(Double(moment.step)), mu(Double(moment.step) + 1))
        let coefficients = Coefficients(
            coupledDecay: decoupledWeightDecay ? 0 : decay,
            decay: decoupledWeightDecay ? moment.decayRate * decay : 0,
            firstShare: 1 - beta1, secondShare: 1 - beta2,
            gradientShare: (1 - now) / (1 - product),
            momentShare: momentumSchedule == .constantPresent ? now / (1 - product) : next / (1 - product * next),
            stepSize: moment.learningRate * root, epsilon: epsilon * root)
        target.storeBytes(of: coefficients, as: Coefficients.self)
    }

    package var kernel: KernelKey { .nadam }
}
