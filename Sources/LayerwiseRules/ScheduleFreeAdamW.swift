// SPDX-License-Identifier: Apache-2.0

/// AdamW without a schedule: the weights that are evaluated are an average of those that are stepped.
///
/// Three sequences: z is stepped, x is the average of z, and the gradient is taken at y, between both.  The parameters hold y
/// while the optimizer trains, and x while it evaluates (`Optimizer.setMode`).
///
///     γₜ = γ·min(1, t/warmup_steps);  c = κₜ/Σκ, κₜ = tʳ·max(γ₁ … γₜ)^p
///     v ← β₂·v + (1 − β₂)·g²
///     u = g / (√(v/(1 − β₂ᵗ)) + ε) + λ·y
///     y ← (1 − c)·y + c·z − γₜ·(1 − β₁·(1 − c))·u
///     z ← z − γₜ·u
///     x = y + (1 − 1/β₁)·(z − y)
///
/// z is the parameters at the tensor's first step; t, Σκ and the largest rate are the tensor's own, so a layer that thaws late
/// begins its own average.  Where all rates so far were 0, c is 0.
///
/// Source: Defazio et al. 2024, algorithm 1 (arXiv:2405.15682).  Equals schedulefree's `AdamWScheduleFree`.
public struct ScheduleFreeAdamW: ScheduleFreeRule {
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
    /// Steps of linear warm-up, counted by each tensor.
    public var warmupSteps = 0
    /// Power r of t in the weight of the average.
    public var stepPower = 0.0
    /// Power p of the largest rate in that weight.
    public var ratePower = 2.0

    public init() {}

    /// Creates the rule from its hyperparameters, which the properties document.
    public init(
        lr: Double, betas: (Double, Double) = (0.9, 0.999), eps: Double = 1e-8, weightDecay: Double = 0,
        warmupSteps: Int = 0
    ) {
        learningRate = lr
        (beta1, beta2) = betas
        epsilon = eps
        self.weightDecay = weightDecay
        self.warmupSteps = warmupSteps
    }

    package static let declaration = Declaration(
        name: "schedule_free_adamw", title: "Schedule-Free AdamW",
        summary: "AdamW without a schedule: the weights that are evaluated are an average of those that are stepped",
        details: """
            Call `eval` before the weights are evaluated or saved for use, and `train` before the next step.  u = g / \
            (sqrt(v_hat) + eps) + weight_decay * y;  y = (1 - c) * y + c * z - lr * (1 - beta1 * (1 - c)) * u;  z -= lr * u, \
            where c is the weight of this step in the average.
            """,
        equation: "u = g/(√v̂ + ε) + λy; y ← (1−c)y + cz − γ(1 − β₁(1−c))u; z ← z − γu",
        source: "Defazio et al. 2024, algorithm 1, arXiv:2405.15682; equals schedulefree.AdamWScheduleFree",
        states: [.parameterCopy("z"), .parameter("exp_avg_sq")] + averageStates)

    package static let parameters: [Parameter<Self>] = [
        .number("lr", \.learningRate, .nonNegative, "learning rate γ"),
        .number("beta1", \.beta1, .openFraction, "how near β₁ the parameters are to the average"),
        .number("beta2", \.beta2, .fraction, "decay β₂ of the second moment"),
        .number("eps", \.epsilon, .nonNegative, "number ε that is added to the denominator"),
        .number("weight_decay", \.weightDecay, .nonNegative, "decay coefficient λ"),
        .integer("warmup_steps", \.warmupSteps, 0...1 << 53, "steps of linear warm-up, counted by each tensor"),
        .number("r", \.stepPower, .nonNegative, "power r of t in the weight of the average"),
        .number("weight_lr_power", \.ratePower, .nonNegative, "power p of the largest rate in that weight"),
    ]

    package var decouplesDecay: Bool { true }

    var averaging: Double { beta1 }

    func rateFactor(_ step: Int64) -> Double { linearWarmup(step, over: warmupSteps) }

    /// What `ScheduleFreeAdamWArithmetic` reads.
    package struct Coefficients: BitwiseCopyable {
        package let decay, secondShare, rate, rootShare, epsilon, average, step: Double
    }

    package func plan(_ moment: StepInput, powers: inout BiasCorrectionCache, into target: UnsafeMutableRawPointer) {
        let root = powers.complement(beta2, moment.step).squareRoot()
        let warmup = rateFactor(moment.step)
        let c = share(moment)
        let coefficients = Coefficients(
            decay: warmup * moment.decayRate * weightDecay * decayScale(moment.tensor), secondShare: 1 - beta2,
            rate: warmup * moment.learningRate * root, rootShare: 1, epsilon: epsilon * root, average: c,
            step: 1 - beta1 * (1 - c))
        target.storeBytes(of: coefficients, as: Coefficients.self)
    }

    package var kernel: KernelKey { .scheduleFreeAdamW }
}
