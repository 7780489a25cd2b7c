// SPDX-License-Identifier: Apache-2.0

/// An update rule with its hyperparameters, such as `AdamW`.
///
/// The rules of this module are all there are: no other type can conform.
public protocol Rule: Sendable {
    /// γ, the base learning rate.
    var learningRate: Double { get set }

    /// λ, the weight decay.
    var weightDecay: Double { get set }

    /// The rule as the library reads it.  Only the library can create such a value.
    var implementation: RuleImplementation { get }
}

/// A rule as the library reads it.
public struct RuleImplementation: Sendable {
    package let rule: any DeclaredRule
}

/// What the library reads of a rule: its hyperparameters, and what the arithmetic needs to know at a step.
///
/// A rule declares itself once, here; its arithmetic is in `LayerwiseKernels`.  To add one, copy `SGD.swift` and
/// `SGDArithmetic.swift`, and list it in `allRules` and in `KernelKey`.
package protocol DeclaredRule: Rule, Component {
    /// The states that tensors need with these hyperparameters; all that are declared, unless the rule says otherwise.
    var states: StateSet { get }

    /// The passes over a tensor; by default the one that changes the weights.
    var stages: [Stage] { get }

    /// Whether the first of the numbers that `finish` gives is a trust ratio, which telemetry shows.
    var hasTrustRatio: Bool { get }

    /// Adds the two sums of a block of the tensor that `moment` describes to those of its stage.
    func gather(_ first: Double, _ second: Double, of moment: StepInput, into sums: inout StageSums)

    /// Where squares of float64 numbers overflowed or lost digits, the powers of two with which they are taken again.
    func betterScales(_ sums: StageSums) -> StageScales?

    /// The shared numbers after a stage whose scope is the optimizer.
    func advance(_ shared: SharedScalars, _ sums: StageSums) -> SharedScalars

    /// The shared numbers after such a stage, for a rule that needs the loss or the base rate of the step.
    func advance(_ shared: SharedScalars, _ sums: StageSums, _ step: OptimizerStep) -> SharedScalars

    /// Whether each step needs the loss.
    var needsLoss: Bool { get }

    /// How `stage`, which factors, averages the mean squares of the tensor that `moment` describes.
    func factorAverage(_ stage: Int, _ moment: StepInput) -> FactorAverage

    /// How the directions that a stage of matrices leaves are made orthogonal.
    var orthogonalization: NewtonSchulz? { get }

    /// What the stages behind `stage` need to know, for a tensor with these rates: the tensor's own, or the layer's where
    /// the sums are the layer's.
    func finish(_ stage: Int, _ sums: StageSums, _ moment: StepInput) -> StageNumbers

    /// Those of them that a tensor of this kind needs.
    func states(of tensor: TensorTraits) -> StateSet

    /// A tensor's scalars after the step that `moment` describes, where they are `scalars` before it.
    func advance(_ scalars: StateScalars, _ moment: StepInput) -> StateScalars

    /// A tensor's scalars after a stage with these sums, where they are `moment.scalars` before it.
    func advance(_ moment: StepInput, after stage: Int, _ sums: StageSums) -> StateScalars

    /// Writes the arithmetic's coefficients for one step into `target`, which holds `coefficientBytes` bytes.
    func plan(_ moment: StepInput, powers: inout BiasCorrectionCache, into target: UnsafeMutableRawPointer)

    /// Whether the decay acts on the weights themselves, by a rate of its own, and not through the gradient or the ratio.
    var decouplesDecay: Bool { get }

    /// What λ is multiplied by for a tensor of this kind; 0 where its weights do not decay.
    func decayScale(_ tensor: TensorTraits) -> Double

    /// What is done with the change before the weights take it.  A rule that has such options conforms to `AdjustableRule`.
    var updateOptions: UpdateOptions { get }

    /// What a weight is multiplied by and then decays by at the step that `moment` describes, apart from the change: d/w.
    /// `moment.numbers` are those of the last stage.
    func separateDecay(_ moment: StepInput) -> Double

    /// How the weights for evaluation follow from those for training; nil where they are the same.
    var evaluation: Evaluation? { get }

    /// The arithmetic.
    var kernel: KernelKey { get }

    /// The arithmetic of a stage, if another than `kernel`, with the same coefficients.  Tensors of rank 0 and 1 have
    /// `vectorKernel` in all stages.
    func kernel(of stage: Int) -> KernelKey

    /// The arithmetic of tensors of rank 0 and 1, with the coefficients that `plan` writes for these.
    var vectorKernel: KernelKey { get }
}

extension DeclaredRule {
    public var implementation: RuleImplementation { RuleImplementation(rule: self) }
    package var states: StateSet { .first(Self.declaration.states.count) }
    package func states(of tensor: TensorTraits) -> StateSet { states }
    package func advance(_ scalars: StateScalars, _ moment: StepInput) -> StateScalars { scalars }
    package func advance(_ moment: StepInput, after stage: Int, _ sums: StageSums) -> StateScalars { moment.scalars }
    package var stages: [Stage] { [.change()] }
    package var hasTrustRatio: Bool { false }
    package var evaluation: Evaluation? { nil }
    package func gather(_ first: Double, _ second: Double, of moment: StepInput, into sums: inout StageSums) {
        sums.values[0] += first
        sums.values[1] += second
    }
    package func betterScales(_ sums: StageSums) -> StageScales? { nil }
    package func advance(_ shared: SharedScalars, _ sums: StageSums) -> SharedScalars { shared }
    package func advance(_ shared: SharedScalars, _ sums: StageSums, _ step: OptimizerStep) -> SharedScalars {
        advance(shared, sums)
    }
    package var needsLoss: Bool { false }
    package func finish(_ stage: Int, _ sums: StageSums, _ moment: StepInput) -> StageNumbers { .init(repeating: 1) }
    package func factorAverage(_ stage: Int, _ moment: StepInput) -> FactorAverage { FactorAverage(share: 1) }
    package var orthogonalization: NewtonSchulz? { nil }
    package func kernel(of stage: Int) -> KernelKey { kernel }
    package var vectorKernel: KernelKey { kernel }
    package var decouplesDecay: Bool { false }
    package var updateOptions: UpdateOptions { UpdateOptions() }
    package func separateDecay(_ moment: StepInput) -> Double {
        decouplesDecay ? moment.decayRate * weightDecay * decayScale(moment.tensor) : 0
    }

    /// The distance in the parameter between two numbers of a strided state; 1 for a rule that has none.
    package var stateStride: Int {
        guard let key = Self.declaration.states.lazy.compactMap(\.strideKey).first,
            case .number(let value) = value(of: key)
        else { return 1 }
        return Int(value)
    }

    /// The stages with those that options add.
    package var stagesInForce: [Stage] {
        guard updateOptions.cautious == .update, let last = stages.last else { return stages }
        return stages.dropLast() + [.countAgreement, last]
    }
    package func decayScale(_ tensor: TensorTraits) -> Double { tensor.decayScale }
}

/// What a rule may treat a tensor by.
package struct TensorTraits: Sendable, Equatable, BitwiseCopyable {
    /// Whether the tensor has rank 2 or more.
    package let isMatrix: Bool
    /// What the policy multiplies λ by; 0 is no decay.
    package let decayScale: Double
    /// Whether the policy lets a trust ratio adapt it.
    package let mayAdapt: Bool
    /// The distance from 1 to the next larger number of the parameters' type.
    package let epsilon: Double

    /// Creates the traits of a tensor.
    package init(isMatrix: Bool, decayScale: Double = 1, mayAdapt: Bool = true, epsilon: Double = 0x1p-23) {
        self.isMatrix = isMatrix
        self.decayScale = decayScale
        self.mayAdapt = mayAdapt
        self.epsilon = epsilon
    }
}

/// What all tensors of a step share.
package struct OptimizerStep: Sendable, BitwiseCopyable {
    /// The loss, finite, where the rule needs it.
    package let loss: Double
    /// The rate that the schedule makes of the rule's own, before a policy scales it.
    package let baseRate: Double

    /// Creates the values of a step.
    package init(loss: Double, baseRate: Double) {
        self.loss = loss
        self.baseRate = baseRate
    }
}

/// What a rule's plan may depend on, besides its hyperparameters.
package struct StepInput: Sendable {
    /// The tensor's effective learning rate at this step.
    package var learningRate: Double
    /// What multiplies λ where the decay is decoupled: the learning rate, unless "decay_follows" says otherwise.
    package var decayRate: Double
    /// t: the tensor's own step, counted from 1.
    package let step: Int64
    /// The tensor.
    package let tensor: TensorTraits
    /// The tensor's scalars after this step, as far as the stages done so far tell.
    package var scalars = StateScalars()
    /// Where a stage is finished: what the stage before it left.
    package var numbers = StageNumbers(repeating: 1)
    /// The optimizer's scalars: before the step where it is planned, after it where a stage is finished.
    package var shared = SharedScalars()
    /// The rate that the schedule makes of the rule's own, before a policy scales it.
    package var baseRate = 0.0
    /// How many elements the sums of a stage are taken over.
    package var elements = 0.0
    /// The rows and columns of the matrices whose directions were made orthogonal.
    package var rows = 0.0
    /// How many columns its matrices have.
    package var columns = 0.0
    /// The scale that the policy gives, for steps at which the base rate is 0.
    package var policyScale = 1.0

    /// The learning rate over the base rate.
    package var scale: Double { baseRate == 0 ? policyScale : learningRate / baseRate }

    /// Creates what a plan knows of a step.
    package init(learningRate: Double, decayRate: Double, step: Int64, tensor: TensorTraits) {
        self.learningRate = learningRate
        self.decayRate = decayRate
        self.step = step
        self.tensor = tensor
    }
}

/// The bytes that a rule's coefficients may take.
package let coefficientBytes = 128

/// Every rule, in the order of the documentation.
package let allRules: [any DeclaredRule.Type] = [
    SGD.self, LARS.self, Adam.self, AdamW.self, LAMB.self, Lion.self, NAdam.self, RMSprop.self,
    Adagrad.self, Adadelta.self, Adamax.self, RAdam.self, Rprop.self, ASGD.self,
    AdaBelief.self, Yogi.self, Adan.self, ADOPT.self, AdEMAMix.self, SimplifiedAdEMAMix.self, LaProp.self,
    MADGRAD.self, Tiger.self, SignSGD.self, Fromage.self, StableAdamW.self, MARS.self, NovoGrad.self, LANS.self,
    DoG.self, LDoG.self, DoWG.self, Prodigy.self, DAdaptAdam.self, DAdaptSGD.self, MoMo.self, MoMoAdam.self,
    ScheduleFreeAdamW.self, ScheduleFreeSGD.self, ScheduleFreeRAdam.self, Adafactor.self, CAME.self,
    SM3.self, AdamMini.self,
    Muon.self,
]
