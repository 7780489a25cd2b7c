// SPDX-License-Identifier: Apache-2.0

/// Schedule-Free RAdam: Schedule-Free AdamW whose rate grows by RAdam's rectification, so that it needs no warm-up.
///
///     ρ∞ = 2/(1 − β₂) − 1;  ρ = ρ∞ − 2·t·β₂ᵗ/(1 − β₂ᵗ)
///     ρ > 4:  r = √((ρ − 4)·(ρ − 2)·ρ∞ / ((ρ∞ − 4)·(ρ∞ − 2)·ρ));  else r = 0, and 1 without `silentSGDPhase`
///     γₜ = γ·r;  c = κₜ/Σκ, κₜ = tʳ·max(γ₁ … γₜ)^p
///     v ← β₂·v + (1 − β₂)·g²
///     u = g / (√(v/(1 − β₂ᵗ)) + ε) + λ·y                      (u = g + λ·y where ρ ≤ 4)
///     y ← (1 − c)·y + c·z − γₜ·(1 − β₁·(1 − c))·u
///     z ← z − γₜ·u
///     x = y + (1 − 1/β₁)·(z − y)
///
/// The parameters hold y while the optimizer trains, and x while it evaluates (`Optimizer.setMode`).  z is the parameters at the
/// tensor's first step; t, Σκ and the largest rate are the tensor's own.  Where all rates so far were 0, c is 0.
///
/// Source: Defazio et al. 2024 (arXiv:2405.15682) with Liu et al. 2020, algorithm 2 (arXiv:1908.03265).  Equals schedulefree's
/// `RAdamScheduleFree`.
public struct ScheduleFreeRAdam: ScheduleFreeRule {
    /// Learning rate γ.
    public var learningRate = 2.5e-3
    /// How near β₁ the parameters are to the average.
    public var beta1 = 0.9
    /// Decay β₂ of the second moment.
    public var beta2 = 0.999
    /// Number ε that is added to the denominator.
    public var epsilon = 1e-8
    /// Decay coefficient λ.
    public var weightDecay = 0.0
    /// Power r of t in the weight of the average.
    public var stepPower = 0.0
    /// Power p of the largest rate in that weight.
    public var ratePower = 2.0
    /// Leave the weights alone while the second moment is not known well enough, in place of steps of SGD.
    public var silentSGDPhase = true

    public init() {}

    /// Creates the rule from its hyperparameters, which the properties document.
    public init(
        lr: Double, betas: (Double, Double) = (0.9, 0.999), eps: Double = 1e-8, weightDecay: Double = 0,
        silentSGDPhase: Bool = true
    ) {
        learningRate = lr
        (beta1, beta2) = betas
        epsilon = eps
        self.weightDecay = weightDecay
        self.silentSGDPhase = silentSGDPhase
    }

    package static let declaration = Declaration(
        name: "schedule_free_radam", title: "Schedule-Free RAdam",
        summary: "Schedule-Free AdamW whose rate grows by RAdam's rectification, so that it needs no warm-up",
        details: """
            Call `eval` before the weights are evaluated or saved for use, and `train` before the next step.  rho and r as in \
            RAdam, with rho > 4;  u = g / (sqrt(v_hat) + eps) + weight_decay * y;  y = (1 - c) * y + c * z - lr * r * (1 - beta1 \
            * (1 - c)) * u;  z -= lr * r * u, where c is the weight of this step in the average.  While rho <= 4, which is 4 \
            steps with beta2 = 0.999, r is 0; without silent_sgd_phase it is 1 and u = g + weight_decay * y.
            """,
        equation: "u = g/(√v̂ + ε) + λy; y ← (1−c)y + cz − γr(1 − β₁(1−c))u; z ← z − γr·u",
        source: "Defazio et al. 2024, arXiv:2405.15682; equals schedulefree.RAdamScheduleFree",
        states: [.parameterCopy("z"), .parameter("exp_avg_sq")] + averageStates)

    package static let parameters: [Parameter<Self>] = [
        .number("lr", \.learningRate, .nonNegative, "learning rate γ"),
        .number("beta1", \.beta1, .openFraction, "how near β₁ the parameters are to the average"),
        .number("beta2", \.beta2, .fraction, "decay β₂ of the second moment"),
        .number("eps", \.epsilon, .nonNegative, "number ε that is added to the denominator"),
        .number("weight_decay", \.weightDecay, .nonNegative, "decay coefficient λ"),
        .number("r", \.stepPower, .nonNegative, "power r of t in the weight of the average"),
        .number("weight_lr_power", \.ratePower, .nonNegative, "power p of the largest rate in that weight"),
        .flag(
            "silent_sgd_phase", \.silentSGDPhase,
            "leave the weights alone while the second moment is not known well enough, in place of steps of SGD"),
    ]

    package var decouplesDecay: Bool { true }

    var averaging: Double { beta1 }

    func rateFactor(_ step: Int64) -> Double {
        rectification(beta2, step, powerComplement(beta2, step), above: 4) ?? (silentSGDPhase ? 0 : 1)
    }

    package func plan(_ moment: StepInput, powers: inout BiasCorrectionCache, into target: UnsafeMutableRawPointer) {
        let complement = powers.complement(beta2, moment.step)
        let rectification = rectification(beta2, moment.step, complement, above: 4)
        let factor = rectification ?? (silentSGDPhase ? 0 : 1)
        let root = complement.squareRoot()
        let c = share(moment)
        let decay = factor * moment.decayRate * weightDecay * decayScale(moment.tensor)
        // g / (0·√v + 1) is g.
        let coefficients = ScheduleFreeAdamW.Coefficients(
            decay: decay, secondShare: 1 - beta2,
            rate: factor * moment.learningRate * (rectification == nil ? 1 : root),
            rootShare: rectification == nil ? 0 : 1, epsilon: rectification == nil ? 1 : epsilon * root, average: c,
            step: 1 - beta1 * (1 - c))
        target.storeBytes(of: coefficients, as: ScheduleFreeAdamW.Coefficients.self)
    }

    package var kernel: KernelKey { .scheduleFreeAdamW }
}
