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

    /// The states that tensors need with these hyperparameters; all that are declared, unless the rule says otherwise.
    var states: StateSet { get }

    /// Where the trust ratio is taken, for rules that have one.
    var trustRatioScope: TrustRatioScope? { get }

    /// Those of them that a tensor of this kind needs.
    func states(of tensor: TensorKind) -> StateSet

    /// A tensor's scalars after the step that `moment` describes, where they are `scalars` before it.
    func advance(_ scalars: StateScalars, _ moment: PlanMoment) -> StateScalars

    /// Writes the arithmetic's coefficients for one step into `target`, which holds `coefficientBytes` bytes.
    func plan(_ moment: PlanMoment, powers: inout PowerMemo, into target: UnsafeMutableRawPointer)

    /// Whether the decay acts on the weights themselves, by a rate of its own, and not through the gradient or the ratio.
    var decouplesDecay: Bool { get }

    /// Whether a trust ratio adapts a tensor of this kind; the ratio of others is 1.
    func adapts(_ tensor: TensorKind) -> Bool

    /// What λ is multiplied by for a tensor of this kind; 0 where its weights do not decay.
    func decayScale(_ tensor: TensorKind) -> Double

    /// The trust ratio of tensors that are adapted together, from their norms and rates.
    func trustRatio(_ norms: TrustNorms, rates: TrustRates) -> Double

    /// The arithmetic, among the kernels of one instruction set.
    func kernels(in table: KernelTable.Rules) -> RuleKernels
}

extension Rule {
    public var states: StateSet { .first(Self.declaration.states.count) }
    public func states(of tensor: TensorKind) -> StateSet { states }
    public func advance(_ scalars: StateScalars, _ moment: PlanMoment) -> StateScalars { scalars }
    public var trustRatioScope: TrustRatioScope? { nil }
    public var decouplesDecay: Bool { false }
    public func adapts(_ tensor: TensorKind) -> Bool { false }
    public func decayScale(_ tensor: TensorKind) -> Double { tensor.decayScale }
    public func trustRatio(_ norms: TrustNorms, rates: TrustRates) -> Double { 1 }
}

/// The Euclidean norms that a trust ratio is made of, over all tensors that share it.
public struct TrustNorms: Sendable {
    private var weightSquares = 0.0
    private var directionSquares = 0.0
    /// Squares of the weights that decay, by the first and the second power of each tensor's share of the decay.
    private var decaying = (first: 0.0, second: 0.0)
    /// What weights and directions were multiplied by before they were squared.
    private var scales = (weights: 1.0, directions: 1.0)

    public init() {}

    /// Norms of numbers that are multiplied by powers of two before they are squared.
    package init(weightScale: Double, directionScale: Double) { scales = (weightScale, directionScale) }

    /// The powers of two that keep the squares in the range of float64, where plain ones overflowed or lost digits.
    package var betterScales: (weights: Double, directions: Double) {
        (Self.scale(for: weightSquares), Self.scale(for: directionSquares))
    }

    private static func scale(for sum: Double) -> Double { sum > 0x1p+1000 ? 0x1p-600 : sum < 0x1p-900 ? 0x1p+600 : 1 }

    /// The sums of squares, which may be added up over the parts of a tensor.
    package var sums: (Double, Double, Double, Double) {
        get { (weightSquares, directionSquares, decaying.first, decaying.second) }
        set { (weightSquares, directionSquares, decaying.first, decaying.second) = newValue }
    }

    /// Adds sums of squares of a tensor, or of a part of one, whose share of the decay is `decayScale`.
    public mutating func add(weights: Double, directions: Double, decayScale: Double) {
        weightSquares += weights
        directionSquares += directions
        decaying.first += decayScale * weights
        decaying.second += decayScale * decayScale * weights
    }

    /// ‖w‖, before the step.
    public var weights: Double { Self.norm(weightSquares, scales.weights) }

    /// ‖direction‖, as the first pass measured it.
    public var directions: Double { Self.norm(directionSquares, scales.directions) }

    /// ‖d·w‖, with each tensor's share of the decay d.
    public var decayingWeights: Double { Self.norm(decaying.second, scales.weights) }

    /// One that is beyond the largest number counts as that.
    private static func norm(_ squares: Double, _ scale: Double) -> Double {
        min(squares.squareRoot() / scale, .greatestFiniteMagnitude)
    }

    /// ‖w − x·d·w‖: what decay by x leaves of the weights.
    func weights(after x: Double) -> Double {
        Self.norm(
            max(
                0,
                weightSquares - decaying.second + ((1 - x) * (1 - x) * decaying.second)
                    - 2 * x * (decaying.first - decaying.second)), scales.weights)
    }
}

/// The rates that a trust ratio may depend on: the tensor's own, or the layer's where its tensors share a ratio.
public struct TrustRates: Sendable {
    public let learningRate: Double
    public let decayRate: Double

    public init(learningRate: Double, decayRate: Double) {
        self.learningRate = learningRate
        self.decayRate = decayRate
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
    /// Every state that the rule can have, at most 32: at most four of the parameter's shape, and two scalars.
    public let states: [StateDeclaration]

    init(name: String, title: String, equation: String, source: String, states: [StateDeclaration]) {
        self.name = name
        self.title = title
        self.equation = equation
        self.source = source
        self.states = StateDeclaration.slotted(states)
    }

    /// Whether a state is one number a tensor.
    public var hasScalars: Bool { states.contains { $0.shape == .scalar } }
}

/// What a rule may treat a tensor by.
public struct TensorKind: Sendable, Equatable, BitwiseCopyable {
    /// Whether the tensor has rank 2 or more.
    public let isMatrix: Bool
    /// What the policy multiplies λ by; 0 is no decay.
    public let decayScale: Double
    /// Whether the policy lets a trust ratio adapt it.
    public let mayAdapt: Bool

    public init(isMatrix: Bool, decayScale: Double = 1, mayAdapt: Bool = true) {
        self.isMatrix = isMatrix
        self.decayScale = decayScale
        self.mayAdapt = mayAdapt
    }
}

/// What a rule's plan may depend on, besides its hyperparameters.
public struct PlanMoment: Sendable {
    /// The tensor's effective learning rate at this step.
    public let learningRate: Double
    /// What multiplies λ where the decay is decoupled: the learning rate, unless "decay_follows" says otherwise.
    public let decayRate: Double
    /// t: the tensor's own step, counted from 1.
    public let step: Int64
    public let tensor: TensorKind
    /// The tensor's scalars after this step.
    public var scalars = StateScalars()

    public init(learningRate: Double, decayRate: Double, step: Int64, tensor: TensorKind) {
        self.learningRate = learningRate
        self.decayRate = decayRate
        self.step = step
        self.tensor = tensor
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

    /// `weightDecay`: λ as it is for this tensor.
    func includes(_ tensor: TensorKind, weightDecay: Double) -> Bool {
        guard tensor.mayAdapt else { return false }
        return switch self {
        case .all: true
        case .decayed: weightDecay != 0
        case .matrices: tensor.isMatrix
        }
    }
}

/// Every rule, in the order of the documentation.
public let allRules: [any Rule.Type] = [SGD.self, LARS.self, Adam.self, AdamW.self, LAMB.self]
