// SPDX-License-Identifier: Apache-2.0

/// An update rule: its hyperparameters, and what the arithmetic needs to know at a step.
///
/// A rule declares itself once, here; its arithmetic is in `LayerwiseKernels`.  To add one, copy `SGD.swift` and
/// `SGDArithmetic.swift`, and list it in `allRules` and in `KernelKey`.
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

    /// The passes over a tensor; by default the one that changes the weights.
    var stages: [Stage] { get }

    /// Whether the first of the numbers that `finish` gives is a trust ratio, which telemetry shows.
    var hasTrustRatio: Bool { get }

    /// Adds the two sums of a block of the tensor that `moment` describes to those of its stage.
    func gather(_ first: Double, _ second: Double, of moment: PlanMoment, into sums: inout StageSums)

    /// Where squares of float64 numbers overflowed or lost digits, the powers of two with which they are taken again.
    func betterScales(_ sums: StageSums) -> StageScales?

    /// The shared numbers after a stage whose scope is the optimizer.
    func advance(_ shared: SharedScalars, _ sums: StageSums) -> SharedScalars

    /// What the stages behind `stage` need to know, for a tensor with these rates: the tensor's own, or the layer's where
    /// the sums are the layer's.
    func finish(_ stage: Int, _ sums: StageSums, _ moment: PlanMoment) -> StageNumbers

    /// Those of them that a tensor of this kind needs.
    func states(of tensor: TensorKind) -> StateSet

    /// A tensor's scalars after the step that `moment` describes, where they are `scalars` before it.
    func advance(_ scalars: StateScalars, _ moment: PlanMoment) -> StateScalars

    /// Writes the arithmetic's coefficients for one step into `target`, which holds `coefficientBytes` bytes.
    func plan(_ moment: PlanMoment, powers: inout PowerMemo, into target: UnsafeMutableRawPointer)

    /// Whether the decay acts on the weights themselves, by a rate of its own, and not through the gradient or the ratio.
    var decouplesDecay: Bool { get }

    /// What λ is multiplied by for a tensor of this kind; 0 where its weights do not decay.
    func decayScale(_ tensor: TensorKind) -> Double

    /// How the weights for evaluation follow from those for training; nil where they are the same.
    var evaluation: Evaluation? { get }

    /// The arithmetic.
    var kernel: KernelKey { get }
}

extension Rule {
    public var states: StateSet { .first(Self.declaration.states.count) }
    public func states(of tensor: TensorKind) -> StateSet { states }
    public func advance(_ scalars: StateScalars, _ moment: PlanMoment) -> StateScalars { scalars }
    public var stages: [Stage] { [.change()] }
    public var hasTrustRatio: Bool { false }
    public var evaluation: Evaluation? { nil }
    public func gather(_ first: Double, _ second: Double, of moment: PlanMoment, into sums: inout StageSums) {
        sums.values[0] += first
        sums.values[1] += second
    }
    public func betterScales(_ sums: StageSums) -> StageScales? { nil }
    public func advance(_ shared: SharedScalars, _ sums: StageSums) -> SharedScalars { shared }
    public func finish(_ stage: Int, _ sums: StageSums, _ moment: PlanMoment) -> StageNumbers { .init(repeating: 1) }
    public var decouplesDecay: Bool { false }
    public func decayScale(_ tensor: TensorKind) -> Double { tensor.decayScale }
}

/// What a rule says of itself.
public struct Declaration: Sendable {
    /// The key in C and in checkpoints, such as "adamw".
    public let name: String
    /// The name in prose, such as "AdamW".
    public let title: String
    /// What the rule is, in a sentence.
    public let summary: String
    /// What a user should know besides, with the equation in the words of the settings; it may be empty.
    public let details: String
    public let equation: String
    public let source: String
    /// Every state that the rule can have, at most 32: at most four of the parameter's shape, two scalars and four shared ones.
    public let states: [StateDeclaration]
    /// Whether the plan needs t itself; else a state alone tells that a tensor has begun.
    public let needsStep: Bool

    init(
        name: String, title: String, summary: String = "", details: String = "", equation: String, source: String,
        states: [StateDeclaration], needsStep: Bool = true
    ) {
        self.name = name
        self.title = title
        self.summary = summary
        self.details = details
        self.needsStep = needsStep
        self.equation = equation
        self.source = source
        self.states = StateDeclaration.slotted(states)
    }
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
    public var learningRate: Double
    /// What multiplies λ where the decay is decoupled: the learning rate, unless "decay_follows" says otherwise.
    public var decayRate: Double
    /// t: the tensor's own step, counted from 1.
    public let step: Int64
    public let tensor: TensorKind
    /// The tensor's scalars after this step.
    public var scalars = StateScalars()
    /// The optimizer's scalars: before the step where it is planned, after it where a stage is finished.
    public var shared = SharedScalars()
    /// The rate that the schedule makes of the optimizer's own, before a policy scales it.
    public var baseRate = 0.0
    /// The scale that the policy gives, for steps at which the base rate is 0.
    package var policyScale = 1.0

    /// The learning rate over the base rate.
    public var scale: Double { baseRate == 0 ? policyScale : learningRate / baseRate }

    public init(learningRate: Double, decayRate: Double, step: Int64, tensor: TensorKind) {
        self.learningRate = learningRate
        self.decayRate = decayRate
        self.step = step
        self.tensor = tensor
    }
}

/// The bytes that a rule's coefficients may take.
package let coefficientBytes = 128

/// Every rule, in the order of the documentation.
public let allRules: [any Rule.Type] = [
    SGD.self, LARS.self, Adam.self, AdamW.self, LAMB.self, Lion.self, NAdam.self, RMSprop.self,
    Adagrad.self, Adadelta.self, Adamax.self, RAdam.self, Rprop.self, ASGD.self,
    AdaBelief.self, Yogi.self, Adan.self, ADOPT.self, AdEMAMix.self, LaProp.self,
    MADGRAD.self, Tiger.self, SignSGD.self, Fromage.self,
    Prodigy.self, ScheduleFreeAdamW.self,
]
