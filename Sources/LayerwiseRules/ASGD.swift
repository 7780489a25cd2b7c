// SPDX-License-Identifier: Apache-2.0
import LayerwisePlatform

/// Stochastic gradient descent with a rate that falls, and the average of the weights beside it.
///
///     g′ = g + weight_decay·w
///     ηₜ = γ / (1 + λ·γ·(t − 1))^α
///     w ← w − ηₜ·λ·w − ηₜ·g′
///     a ← a + (w − a) / max(1, t − 1 − t₀)
///
/// a, the state `ax`, is the average of the weights since step t₀, and equals them until then.  The states `eta` and `mu` are
/// what torch keeps: η and the weight of the average for the next step, at this step's rate.
///
/// Source: Polyak and Juditsky 1992; Bottou 2010, section 5.  Equals `torch.optim.ASGD`, which keeps η and the weight in float32,
/// and in which a new rate acts one step later.
public struct ASGD: DeclaredRule {
    /// Learning rate γ.
    public var learningRate = 1e-2
    /// Decay λ of the weights, and of the rate.
    public var lambda = 1e-4
    /// Power α of the rate's decay.
    public var alpha = 0.75
    /// Step t₀ at which the average begins.
    public var averagesFrom = 1e6
    /// Decay coefficient that is added to the gradient.
    public var weightDecay = 0.0

    public init() {}

    /// Creates the rule from its hyperparameters, which the properties document.
    public init(lr: Double, lambd: Double = 1e-4, alpha: Double = 0.75, t0: Double = 1e6, weightDecay: Double = 0) {
        learningRate = lr
        lambda = lambd
        self.alpha = alpha
        averagesFrom = t0
        self.weightDecay = weightDecay
    }

    package static let declaration = Declaration(
        name: "asgd", title: "ASGD",
        summary: "Stochastic gradient descent with a rate that falls, and the average of the weights beside it",
        details: """
            g += weight_decay * w;  eta = lr / (1 + lambd * lr * (t - 1))**alpha;  w -= eta * (lambd * w + g);  \
            ax += (w - ax) / max(1, t - 1 - t0).  ax is the average of the weights since step t0: evaluate with it.  eta and mu are \
            what torch keeps for the next step.  A new rate acts at once, in torch one step later.
            """,
        equation: "η = γ/(1 + λγ(t−1))^α; w ← w − η·(λw + g); a ← a + (w − a)/max(1, t−1−t₀)",
        source: "Polyak and Juditsky 1992; Bottou 2010; equals torch.optim.ASGD",
        states: [.parameter("ax"), .scalar("eta", start: 0), .scalar("mu", start: 1)])

    package static let parameters: [Parameter<Self>] = [
        .number("lr", \.learningRate, .nonNegative, "learning rate γ"),
        .number("lambd", \.lambda, .nonNegative, "decay λ of the weights, and of the rate"),
        .number("alpha", \.alpha, .nonNegative, "power α of the rate's decay"),
        .number("t0", \.averagesFrom, .nonNegative, "step t₀ at which the average begins"),
        .number("weight_decay", \.weightDecay, .nonNegative, "decay coefficient that is added to the gradient"),
    ]

    /// η after `steps` steps.
    private func eta(_ rate: Double, _ steps: Int64) -> Double { rate / pow(1 + lambda * rate * Double(steps), alpha) }

    /// The weight of the new weights in the average, after `steps` steps.
    private func mu(_ steps: Int64) -> Double { 1 / max(1, Double(steps) - averagesFrom) }

    package func advance(_ scalars: StateScalars, _ moment: StepInput) -> StateScalars {
        StateScalars(eta(moment.learningRate, moment.step), mu(moment.step))
    }

    /// What `ASGDArithmetic` reads.
    package struct Coefficients: BitwiseCopyable {
        package let coupledDecay, decay, rate, share: Double
    }

    package func plan(_ moment: StepInput, powers: inout BiasCorrectionCache, into target: UnsafeMutableRawPointer) {
        let rate = eta(moment.learningRate, moment.step - 1)
        let coefficients = Coefficients(
            coupledDecay: weightDecay * decayScale(moment.tensor), decay: lambda * rate, rate: rate,
            share: mu(moment.step - 1))
        target.storeBytes(of: coefficients, as: Coefficients.self)
    }

    package var kernel: KernelKey { .asgd }
}
