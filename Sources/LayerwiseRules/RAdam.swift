// SPDX-License-Identifier: Apache-2.0

/// Adam that takes its second moment in only when that is known well enough, and then with a factor for how well.
///
///     g′ = g + λ·w                                            (coupled decay)
///     m ← β₁·m + (1 − β₁)·g′;  v ← β₂·v + (1 − β₂)·g′²
///     ρ∞ = 2/(1 − β₂) − 1;  ρ = ρ∞ − 2·t·β₂ᵗ/(1 − β₂ᵗ)
///     ρ > 5:  r = √((ρ − 4)·(ρ − 2)·ρ∞ / ((ρ∞ − 4)·(ρ∞ − 2)·ρ));  w ← w − γ·r·m̂·√(1 − β₂ᵗ) / (√v + ε)
///     else:   w ← w − γ·m̂                                     with m̂ = m/(1 − β₁ᵗ)
///     w ← w − γ·λ·w_old                                       (decoupled decay instead of the coupled one)
///
/// Source: Liu et al. 2020, algorithm 2 (arXiv:1908.03265), which has 4 in place of 5 and no ε.  Equals `torch.optim.RAdam`.
/// optax adds ε to √v̂.
public struct RAdam: AdjustableRule {
    /// Learning rate γ.
    public var learningRate = 1e-3
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
    /// What is done with the change before the weights take it.
    public var updateOptions = UpdateOptions()

    public init() {}

    /// Creates the rule from its hyperparameters, which the properties document.
    public init(
        lr: Double, betas: (Double, Double) = (0.9, 0.999), eps: Double = 1e-8, weightDecay: Double = 0,
        decoupledWeightDecay: Bool = false
    ) {
        learningRate = lr
        (beta1, beta2) = betas
        epsilon = eps
        self.weightDecay = weightDecay
        self.decoupledWeightDecay = decoupledWeightDecay
    }

    package static let declaration = Declaration(
        name: "radam", title: "RAdam",
        summary: "Adam whose first steps leave out the second moment, until it is known well enough",
        details: """
            m and v as in Adam;  rho_inf = 2 / (1 - beta2) - 1;  rho = rho_inf - 2 * t * beta2**t / (1 - beta2**t).  Where \
            rho > 5, w -= lr * r * m_hat * sqrt(1 - beta2**t) / (sqrt(v) + eps), with \
            r = sqrt((rho - 4) * (rho - 2) * rho_inf / ((rho_inf - 4) * (rho_inf - 2) * rho)); else w -= lr * m_hat, with \
            m_hat = m / (1 - beta1**t).
            """,
        equation: "ρ > 5: w ← w − γ·r·m̂·√(1−β₂ᵗ)/(√v + ε); else w ← w − γ·m̂",
        source: "Liu et al. 2020, algorithm 2, arXiv:1908.03265; equals torch.optim.RAdam",
        states: [.parameter("exp_avg"), .parameter("exp_avg_sq")])

    package static let parameters: [Parameter<Self>] =
        [
            .number("lr", \.learningRate, .nonNegative, "learning rate γ"),
            .number("beta1", \.beta1, .fraction, "decay β₁ of the first moment"),
            .number("beta2", \.beta2, .fraction, "decay β₂ of the second moment"),
            .number("eps", \.epsilon, .nonNegative, "number ε that is added to the denominator"),
            .number("weight_decay", \.weightDecay, .nonNegative, "decay coefficient λ"),
            .flag(
                "decoupled_weight_decay", \.decoupledWeightDecay,
                "decay the weights in place of the gradient, as AdamW does"),
        ] + updateParameters

    package var decouplesDecay: Bool { decoupledWeightDecay }

    /// What `RAdamArithmetic` reads.
    package struct Coefficients: BitwiseCopyable {
        package let coupledDecay, decay, firstShare, secondShare, stepSize, epsilon: Double
        package let isRectified: Bool
    }

    package func plan(_ moment: StepInput, powers: inout BiasCorrectionCache, into target: UnsafeMutableRawPointer) {
        let complement = powers.complement(beta2, moment.step)
        let rectification = rectification(beta2, moment.step, complement, above: 5)
        let decay = weightDecay * decayScale(moment.tensor)
        let rate = moment.learningRate / powers.complement(beta1, moment.step)
        let coefficients = Coefficients(
            coupledDecay: decoupledWeightDecay ? 0 : decay,
            decay: decoupledWeightDecay ? moment.decayRate * decay : 0,
            firstShare: 1 - beta1, secondShare: 1 - beta2,
            stepSize: rectification.map { rate * $0 * complement.squareRoot() } ?? rate,
            epsilon: epsilon, isRectified: rectification != nil)
        target.storeBytes(of: coefficients, as: Coefficients.self)
    }

    package var kernel: KernelKey { .radam }
}

/// r at step t, or nil where the second moment is not taken in since ρ is no more than `threshold`; `complement` is 1 − β₂ᵗ.
func rectification(_ beta2: Double, _ step: Int64, _ complement: Double, above threshold: Double) -> Double? {
    let limit = 2 / (1 - beta2) - 1
    let length = limit - 2 * Double(step) * integerPower(beta2, step) / complement
    if !(length > threshold) { return nil }
    return ((length - 4) * (length - 2) * limit / ((limit - 4) * (limit - 2) * length)).squareRoot()
}
