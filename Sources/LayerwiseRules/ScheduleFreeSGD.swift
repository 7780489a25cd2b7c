// SPDX-License-Identifier: Apache-2.0

/// SGD without a schedule: the weights that are evaluated are an average of those that are stepped.
///
///     γₜ = γ·min(1, t/warmup_steps);  c = κₜ/Σκ, κₜ = tʳ·max(γ₁ … γₜ)^p
///     g′ = g + λ·y
///     y ← (1 − c)·y + c·z − γₜ·(1 − μ·(1 − c))·g′
///     z ← z − γₜ·g′
///     x = y + (1 − 1/μ)·(z − y)
///
/// The parameters hold y while the optimizer trains, and x while it evaluates (`Optimizer.setMode`).  z is the parameters at the
/// tensor's first step; t, Σκ and the largest rate are the tensor's own.  Where all rates so far were 0, c is 0.
///
/// Source: Defazio et al. 2024, equations 2 to 4 (arXiv:2405.15682).  Equals schedulefree's `SGDScheduleFree`.
public struct ScheduleFreeSGD: ScheduleFreeRule {
    /// Learning rate γ.
    public var learningRate = 1.0
    /// How near μ the parameters are to the average.
    public var momentum = 0.9
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
    public init(lr: Double, momentum: Double = 0.9, weightDecay: Double = 0, warmupSteps: Int = 0) {
        learningRate = lr
        self.momentum = momentum
        self.weightDecay = weightDecay
        self.warmupSteps = warmupSteps
    }

    package static let declaration = Declaration(
        name: "schedule_free_sgd", title: "Schedule-Free SGD",
        summary: "SGD without a schedule: the weights that are evaluated are an average of those that are stepped",
        details: """
            Call `eval` before the weights are evaluated or saved for use, and `train` before the next step.  g += weight_decay * y;  \
            y = (1 - c) * y + c * z - lr * (1 - momentum * (1 - c)) * g;  z -= lr * g, where c is the weight of this step in the average.
            """,
        equation: "y ← (1−c)y + cz − γ(1 − μ(1−c))(g + λy); z ← z − γ(g + λy)",
        source: "Defazio et al. 2024, equations 2 to 4, arXiv:2405.15682; equals schedulefree.SGDScheduleFree",
        states: [.parameterCopy("z")] + averageStates)

    package static let parameters: [Parameter<Self>] = [
        .number("lr", \.learningRate, .nonNegative, "learning rate γ"),
        .number("momentum", \.momentum, .openFraction, "how near μ the parameters are to the average"),
        .number("weight_decay", \.weightDecay, .nonNegative, "decay coefficient λ"),
        .integer("warmup_steps", \.warmupSteps, 0...1 << 53, "steps of linear warm-up, counted by each tensor"),
        .number("r", \.stepPower, .nonNegative, "power r of t in the weight of the average"),
        .number("weight_lr_power", \.ratePower, .nonNegative, "power p of the largest rate in that weight"),
    ]

    var averaging: Double { momentum }

    func rateFactor(_ step: Int64) -> Double { linearWarmup(step, over: warmupSteps) }

    /// What `ScheduleFreeSGDArithmetic` reads.
    package struct Coefficients: BitwiseCopyable {
        package let coupledDecay, rate, average, step: Double
    }

    package func plan(_ moment: StepInput, powers: inout BiasCorrectionCache, into target: UnsafeMutableRawPointer) {
        let c = share(moment)
        let coefficients = Coefficients(
            coupledDecay: weightDecay * decayScale(moment.tensor), rate: rateFactor(moment.step) * moment.learningRate,
            average: c, step: 1 - momentum * (1 - c))
        target.storeBytes(of: coefficients, as: Coefficients.self)
    }

    package var kernel: KernelKey { .scheduleFreeSGD }
}
