// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

/// What a step knows of a rule in force: plain values.
struct RuleRecord: BitwiseCopyable {
    /// The kernels of each stage.
    private let kernels: (RuleKernels, RuleKernels, RuleKernels, RuleKernels, RuleKernels)
    /// Those of tensors of rank 0 and 1, in all stages.
    let vectorKernels: RuleKernels
    /// Room for five stages; the rule has the first `stageCount`.
    private let stages: (Stage, Stage, Stage, Stage, Stage)
    let stageCount: Int
    /// What is done with the change before the weights take it.
    let cautious: UpdateOptions.Cautious
    /// The kernels that take such a change from the weights.
    let cautiousKernels: RuleKernels
    /// The stage behind which the second pair of rows and columns is in force.
    let secondFactors: Int
    /// Whether a stage takes mean squares by row and by column.
    let factors: Bool
    /// Whether a stage makes the directions of matrices orthogonal.
    let orthogonalizes: Bool
    /// Whether the first of the numbers that stages leave is a trust ratio.
    let hasTrustRatio: Bool
    /// Whether each step needs the loss.
    let needsLoss: Bool
    /// Whether tensors have states of one number.
    let hasScalars: Bool
    /// Whether its shared states are numbers of each layer.
    let sharesByLayer: Bool
    /// Whether a state starts as the parameters.
    let copiesParameters: Bool
    /// Whether states are kept by axes.
    let keepsAxes: Bool
    /// The slots of states that have a number for every p-th element.
    let stridedSlots: StateSet
    /// The slot of the state that weights are blended with for evaluation.
    let evaluationSlot: Int

    init(_ rule: any DeclaredRule) {
        let own = rule.stagesInForce
        stageCount = own.count
        func stage(_ index: Int) -> Stage { index < own.count ? own[index] : .change() }
        func kernels(_ index: Int) -> RuleKernels {
            // The stage that counts agreements does what the last does, on copies.
            let index = index < own.count && own[index].countsAgreement ? index + 1 : index
            let isAdded = rule.stages.count < own.count && index == own.count - 1
            return InstructionSet.current.kernels(of: rule.kernel(of: isAdded ? index - 1 : index))
        }
        self.kernels = (kernels(0), kernels(1), kernels(2), kernels(3), kernels(4))
        vectorKernels = InstructionSet.current.kernels(of: rule.vectorKernel)
        stages = (stage(0), stage(1), stage(2), stage(3), stage(4))
        cautious = rule.updateOptions.cautious
        cautiousKernels = InstructionSet.current.kernels(of: cautious == .decay ? .cautiousDecay : .cautiousUpdate)
        secondFactors = own.firstIndex { $0.factorsDirections } ?? .max
        factors = own.contains { $0.factors }
        orthogonalizes = own.contains { $0.orthogonalizes }
        hasTrustRatio = rule.hasTrustRatio
        needsLoss = rule.needsLoss
        let states = type(of: rule).declaration.states
        hasScalars = states.contains { $0.shape == .scalar }
        sharesByLayer = rule.sharesByLayer
        copiesParameters = states.contains { $0.start == .parameters }
        keepsAxes = states.contains { $0.shape == .axes }
        stridedSlots = states.reduce(into: []) { if $1.shape == .strided { $0.insert(.state($1.slot)) } }
        evaluationSlot = rule.evaluation?.stateSlot ?? 0
    }

    // Inlined: the record is large, and a call would copy it.
    @inline(__always)
    func stage(_ index: Int) -> Stage {
        switch index {
        case 0: stages.0
        case 1: stages.1
        case 2: stages.2
        case 3: stages.3
        default: stages.4
        }
    }

    /// The kernels of a stage, for tensors of rank 2 and more or for others.
    @inline(__always)
    func kernels(_ stage: Int, isMatrix: Bool) -> RuleKernels {
        if !isMatrix { return vectorKernels }
        return switch stage {
        case 0: kernels.0
        case 1: kernels.1
        case 2: kernels.2
        case 3: kernels.3
        default: kernels.4
        }
    }

    /// The stage that changes the weights.
    var last: Int { stageCount - 1 }

    /// The stage after which the rule has so many left; nil where it has fewer.
    func stage(left: Int) -> Int? { left > last ? nil : last - left }

    /// The first stage that reads weights.
    var firstOfWeights: Int { stages.0.factors ? 1 : 0 }

    /// What a unit of the rule is: the widest scope of its stages within the optimizer.
    var scope: Stage.Scope {
        var widest = Stage.Scope.tensor
        for index in 0..<stageCount where stage(index).scope == .layer { widest = .layer }
        return widest
    }

    /// Whether a stage takes sums over the optimizer.
    var sumsOverOptimizer: Bool { (0..<stageCount).contains { stage($0).scope == .optimizer } }

    /// Whether a stage before the last can leave its directions for the last.
    var keepsDirections: Bool { stage(last).keepsDirections }
}

/// What the rules in force do between them.
struct RulesInForce: BitwiseCopyable {
    /// The most stages that a rule has before the one that changes the weights.
    private(set) var last = 0
    /// Whether a state of some rule starts as the parameters.
    private(set) var copiesParameters = false
    /// Whether shared states of some rule are numbers of each layer.
    private(set) var sharesByLayer = false
    /// Whether a rule can use directions that a stage kept.
    private(set) var keepsDirections = false
    /// Whether a rule makes directions orthogonal.
    private(set) var orthogonalizes = false
    /// Whether a rule needs the loss of each step.
    private(set) var needsLoss = false
    /// Whether states are kept by axes.
    private(set) var keepsAxes = false

    init() {}

    init(_ rules: borrowing UnsafeArray<RuleRecord>) {
        for index in 0..<rules.count {
            let rule = rules.elements + index
            last = max(last, rule.pointee.last)
            copiesParameters = copiesParameters || rule.pointee.copiesParameters
            sharesByLayer = sharesByLayer || rule.pointee.sharesByLayer
            keepsDirections = keepsDirections || rule.pointee.keepsDirections
            orthogonalizes = orthogonalizes || rule.pointee.orthogonalizes
            needsLoss = needsLoss || rule.pointee.needsLoss
            keepsAxes = keepsAxes || rule.pointee.keepsAxes
        }
    }

    /// Whether a rule has stages before the one that changes the weights.
    var hasStages: Bool { last > 0 }
}
