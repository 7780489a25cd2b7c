// SPDX-License-Identifier: Apache-2.0

/// Stochastic gradient descent, with momentum.
///
///     d = g + λ·w                        (coupled decay)
///     b ← μ·b + (1 − τ)·d                (b ← d at a tensor's first step)
///     w ← w − γ·b                        (Nesterov: w ← w − γ·(d + μ·b))
///     w ← w − γ·λ·w_old                  (decoupled decay instead of the coupled one)
///
/// Source: Sutskever et al. 2013, in the form of `torch.optim.SGD`, which it equals, including the undamped first step.
/// optax's and Keras's momentum start from b = 0 and so damp the first step too.  Differs from torch in one case: where
/// momentum is switched on after a tensor's first step, b starts from 0.
public struct SGD: AdjustableRule {
    /// Learning rate γ.
    public var learningRate = 1e-3
    /// Momentum factor μ; 0 keeps no velocity, from 1 on it grows without bound.
    public var momentum = 0.0
    /// Share τ of the gradient that is left out of the velocity.
    public var dampening = 0.0
    /// Decay coefficient λ.
    public var weightDecay = 0.0
    /// Nesterov momentum, which looks ahead along the velocity; needs momentum > 0 and dampening 0.
    public var nesterov = false
    /// Decay the weights in place of the gradient.
    public var decoupledWeightDecay = false
    /// What is done with the change before the weights take it.
    public var updateOptions = UpdateOptions()

    public init() {}

    /// Creates the rule from its hyperparameters, which the properties document.
    public init(
        lr: Double, momentum: Double = 0, dampening: Double = 0, weightDecay: Double = 0, nesterov: Bool = false,
        decoupledWeightDecay: Bool = false
    ) {
        learningRate = lr
        self.momentum = momentum
        self.dampening = dampening
        self.weightDecay = weightDecay
        self.nesterov = nesterov
        self.decoupledWeightDecay = decoupledWeightDecay
    }

    package static let declaration = Declaration(
        name: "sgd", title: "SGD",
        summary: "Stochastic gradient descent with momentum",
        details: """
            g += weight_decay * w;  b = momentum * b + (1 - dampening) * g, at the first step b = g;  d = g + momentum * b with \
            nesterov, else b;  w -= lr * d.  With decoupled_weight_decay, g is left alone and w *= 1 - lr * weight_decay comes \
            first.  The order of lr and momentum is torch's.  The state is there once momentum is not 0.
            """,
        equation: "d = g + λw; b ← μb + (1−τ)d; w ← w − γ·b",
        source: "Sutskever et al. 2013; equals torch.optim.SGD",
        states: [.parameter("momentum_buffer")], needsStep: false)

    package static let parameters: [Parameter<Self>] =
        [
            .number("lr", \.learningRate, .nonNegative, "learning rate γ"),
            .number(
                "momentum", \.momentum, .nonNegative,
                "momentum factor μ; 0 keeps no velocity, from 1 on it grows without bound"),
            .number(
                "dampening", \.dampening, .closedFraction, "share τ of the gradient that is left out of the velocity"),
            .number("weight_decay", \.weightDecay, .nonNegative, "decay coefficient λ"),
            .flag(
                "nesterov", \.nesterov,
                "Nesterov momentum, which looks ahead along the velocity; needs momentum > 0 and dampening 0"),
            .flag("decoupled_weight_decay", \.decoupledWeightDecay, "decay the weights in place of the gradient"),
        ] + updateParameters

    package func validate() throws(SettingError) {
        try validateNesterov(nesterov, momentum, dampening)
        try validateUpdateOptions()
    }

    package var decouplesDecay: Bool { decoupledWeightDecay }

    package var states: StateSet { momentum > 0 ? .state(0) : [] }

    /// What `SGDArithmetic` reads.
    package struct Coefficients: BitwiseCopyable {
        package let coupledDecay, decay, momentum, fresh, rate: Double
        package let nesterov: Bool
    }

    package func plan(_ moment: StepInput, powers: inout BiasCorrectionCache, into target: UnsafeMutableRawPointer) {
        let decay = weightDecay * decayScale(moment.tensor)
        let coefficients = Coefficients(
            coupledDecay: decoupledWeightDecay ? 0 : decay,
            decay: decoupledWeightDecay ? moment.decayRate * decay : 0,
            momentum: momentum,
            fresh: freshShare(dampening: dampening, momentum: momentum, step: moment.step),
            rate: moment.learningRate, nesterov: nesterov)
        target.storeBytes(of: coefficients, as: Coefficients.self)
    }

    package var kernel: KernelKey { states.isEmpty ? .sgd : .momentum }
}

/// Nesterov momentum looks ahead along the velocity, so it needs one that is not damped.
func validateNesterov(_ nesterov: Bool, _ momentum: Double, _ dampening: Double) throws(SettingError) {
    if nesterov && (momentum == 0 || dampening != 0) {
        throw .invalid(
            "nesterov needs momentum > 0 and dampening 0, found momentum \(momentum) and dampening \(dampening)")
    }
}

/// The share of the new direction in the velocity: all of it at a tensor's first step, and without momentum.
func freshShare(dampening: Double, momentum: Double, step: Int64) -> Double {
    step == 1 || momentum == 0 ? 1 : 1 - dampening
}
