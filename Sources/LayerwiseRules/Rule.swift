// SPDX-License-Identifier: Apache-2.0

/// An update rule: its hyperparameters, and what the arithmetic needs to know at a step.
///
/// A rule declares itself once, here; its arithmetic is in `LayerwiseKernels`.  To add one, copy `SGD.swift` and
/// `SGDArithmetic.swift`, and list it in `allRules` and in `kernelTable()`.
public protocol Rule: Configurable {
    /// Every hyperparameter at its default.
    init()

    static var declaration: Declaration { get }

    /// γ, the base learning rate.
    var learningRate: Double { get set }

    /// λ, the weight decay.
    var weightDecay: Double { get set }

    /// The names of the states that a tensor needs with these hyperparameters, in the order of the arithmetic.
    var states: [String] { get }

    /// Where the trust ratio is taken, for rules that have one.
    var trustRatioScope: TrustRatioScope? { get }

    /// Writes the arithmetic's coefficients for one step into `target`, which holds `coefficientBytes` bytes.
    func plan(_ moment: PlanMoment, powers: inout PowerMemo, into target: UnsafeMutableRawPointer)

    /// Whether a trust ratio adapts a tensor of this kind; the ratio of others is 1.
    func adapts(isMatrix: Bool) -> Bool

    /// Whether weights of a tensor of this kind decay.
    func decays(isMatrix: Bool) -> Bool

    /// The trust ratio of tensors that are adapted together, from their norms and the effective rate.
    func trustRatio(_ norms: TrustNorms, learningRate: Double) -> Double

    /// The arithmetic, among the kernels of one instruction set.
    func kernels(in table: KernelTable.Rules) -> Kernels
}

extension Rule {
    public var trustRatioScope: TrustRatioScope? { nil }
    public func adapts(isMatrix: Bool) -> Bool { false }
    public func decays(isMatrix: Bool) -> Bool { true }
    public func trustRatio(_ norms: TrustNorms, learningRate: Double) -> Double { 1 }
}

/// The Euclidean norms that a trust ratio is made of, over all tensors that share it.
public struct TrustNorms: Sendable {
    /// ‖w‖, before the step.
    public let weights: Double
    /// ‖w‖ of the tensors whose weights decay.
    public let decayingWeights: Double
    /// ‖direction‖, as the first pass measured it.
    public let directions: Double

    public init(weights: Double, decayingWeights: Double, directions: Double) {
        self.weights = weights
        self.decayingWeights = decayingWeights
        self.directions = directions
    }
}

/// What a rule says of itself.
public struct Declaration: Sendable {
    /// The key in C and in checkpoints, such as "adamw".
    public let name: String
    /// The name in prose, such as "AdamW".
    public let title: String
    public let equation: String
    public let source: String
    /// Every state that the rule can have.
    public let states: [String]

    init(name: String, title: String, equation: String, source: String, states: [String]) {
        self.name = name
        self.title = title
        self.equation = equation
        self.source = source
        self.states = states
    }
}

/// What a rule's plan may depend on, besides its hyperparameters.
public struct PlanMoment: Sendable {
    /// γ·scale: the layer's effective learning rate at this step.
    public let learningRate: Double
    /// t: the tensor's own step, counted from 1.
    public let step: Int64
    /// Whether the tensor has rank 2 or more.
    public let isMatrix: Bool

    public init(learningRate: Double, step: Int64, isMatrix: Bool) {
        self.learningRate = learningRate
        self.step = step
        self.isMatrix = isMatrix
    }
}

/// The bytes that a rule's coefficients may take.
package let coefficientBytes = 128

/// Over what a trust ratio is taken.
public enum TrustRatioScope: String, Choice {
    /// Each tensor has its own, as in every reference implementation.
    case tensor
    /// One for all tensors of a layer.
    case layer
}

/// Which tensors a trust ratio adapts; the others have the ratio 1.
public enum Adapt: String, Choice {
    case all
    /// Only where there is weight decay.
    case decayed
    /// Only tensors of rank 2 or more.
    case matrices

    func includes(isMatrix: Bool, weightDecay: Double) -> Bool {
        switch self {
        case .all: true
        case .decayed: weightDecay != 0
        case .matrices: isMatrix
        }
    }
}

/// Every rule, in the order of the documentation.
public let allRules: [any Rule.Type] = [SGD.self, LARS.self, Adam.self, AdamW.self, LAMB.self]
