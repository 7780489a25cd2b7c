// SPDX-License-Identifier: Apache-2.0
import LayerwisePlatform
import LayerwiseRules

/// Steps the parameters of a network, layer by layer, in the caller's memory.
///
///     let optimizer = try Optimizer(AdamW(lr: 3e-4, weightDecay: 0.05), policy: LayerDecay(0.75))
///     try optimizer.addLayer("embed", [TensorDescription("weight", parameters: w0, gradients: g0)])
///     try optimizer.addLayer("head", [TensorDescription("weight", parameters: w1, gradients: g1)])
///     try optimizer.step()
///
/// An optimizer belongs to one thread at a time, which Swift's concurrency checks enforce: it is not `Sendable`.  A call
/// that throws has changed nothing.  Registered memory must stay where it is until the tensor is bound to other memory or
/// the optimizer is gone.
public final class Optimizer {
    var rule: any DeclaredRule
    var policy: any DeclaredPolicy
    /// By the hyperparameter they move; a layer's own take precedence.
    var schedules: [String: any DeclaredSchedule] = [:]
    var freezePlan: (any DeclaredFreezePlan)?
    var settings: Settings

    // Layers and tensors.
    var entries: [LayerConfiguration] = []
    var layerIndex: [NameKey: Int] = [:]
    var layers = UnsafeArray<LayerStepData>()
    var tensors = UnsafeArray<TensorStepData>()
    var parameterIntervals = IntervalSet(areDisjoint: true)
    var gradientIntervals = IntervalSet(areDisjoint: false)
    /// What must live as long as the optimizer (`TensorMemory`).
    var owners: [AnyObject] = []

    // Derived from the settings.  The first rule is the optimizer's own; each other one belongs to one layer, its owner.
    //
    // Worker threads read the rules and the timeline inside a step, in which nothing writes them.  Where access is checked at run
    // time, the check allocates memory on each thread that meets it for the first time.
    @exclusivity(unchecked) var rules: [any DeclaredRule]
    var ruleOwners = [-1]
    var ruleRecords = UnsafeArray<RuleRecord>()
    /// What the rules in force do between them; `refresh` keeps it.
    var rulesInForce = RulesInForce()

    /// The states that all tensors share, which stay where they are; and as the step under way leaves them.
    var shared = UnsafeArray<SharedScalars>()
    var nextShared = SharedScalars()
    /// Those of each layer whose rule keeps them by layer: two to a layer, before and after the step under way.
    var layerShared = UnsafeArray<SharedScalars>()

    /// The loss of the next step, where it was said ahead of it.
    var nextLoss: Double?

    /// What the parameters hold.
    public internal(set) var mode = Mode.training
    /// Whether something followed the weights in the last step.
    var hasFollowed = false

    // What follows from policy, schedules and freezing plan.
    /// Whether the policy must be asked again before the next step.
    var scalesAreStale = true
    /// The policy or the part of it that measures layers; `refresh` keeps it, since to ask allocates.
    var measuredPolicy: (any MeasuredPolicy)?
    /// What it keeps, by layer; empty with other policies.
    var measurements = UnsafeArray<LayerMeasurement>()
    /// The measured policy, where it goes by singular values.
    var spectralPolicy: (any SpectralPolicy)?
    /// Singular values that a thread computes now, and the step from which on they are in force; .max where none are under way.
    var spectraJob: SpectraJob?
    var spectraDue = Int64.max
    /// The freezing plan or the part of it that goes by measurement, and what it keeps, by layer.
    var measuredPlan: (any MeasuredFreezePlan)?
    var freezeMeasurements = UnsafeArray<LayerMeasurement>()
    /// What they see of the layers, as it was when they were asked.
    var places: [LayerDescriptor] = []
    /// Whether layers, depths, towers or roles have changed since.
    var placesAreStale = true
    @exclusivity(unchecked) var timeline = Timeline()
    var clock = Clock()
    /// t of the step under way.
    var currentStep: Int64 = 0
    /// Whether the process forked inside a step whose work was shared with threads, which the child does not have.
    var isTorn = false

    // What follows from layers and rules, for the step (WorkList.swift).
    var work = WorkList()
    var unitList = UnitList()
    var matrixMemory = MatrixMemory()
    var coefficients = WorkMemory()
    var scratch = WorkMemory()
    /// Where the memory of states and of the work of steps is from.
    var memory = MemorySource.library
    /// The bytes that the caller gave, if there are such.
    var memoryInterval: IntervalSet.Interval?
    /// The elements of the tensors that the step under way takes.
    var steppedElements = 0
    /// Whether the step under way wakes workers that sleep.
    var wakesWorkers = false
    /// When the last step that was worth sharing ended, in nanoseconds of the monotonic clock.
    var lastStepEnd: UInt64 = 0
    var powers = BiasCorrectionCache()

    /// The parts of each layer that has some, in the order of registration (LayerParts.swift).
    var partsOfLayers: [Int: [Int]] = [:]

    /// What the last step did.
    public internal(set) var summary = StepSummary()

    /// What tells its snapshots from those of other optimizers.
    let snapshotOwner = SnapshotOwner()

    /// What the last load found, also one that was refused.
    public internal(set) var loadReport = LoadReport()

    /// An optimizer without layers.
    public init(
        _ rule: any Rule, policy: any Policy = Uniform(), schedule: (any Schedule)? = nil,
        freezePlan: (any FreezePlan)? = nil, settings: Settings = Settings()
    ) throws(LayerwiseError) {
        let (rule, schedule) = (rule.implementation.rule, schedule?.implementation.schedule)
        self.rule = rule
        self.policy = policy.implementation.policy
        self.freezePlan = freezePlan?.implementation.plan
        schedules["lr"] = schedule
        self.settings = settings
        if settings.memory == .caller { memory = .promised }
        rules = [rule]
        do {
            try rule.check()
            try settings.check()
            try Self.check(settings, [rule])
            try schedule?.checkWhole()
        } catch { throw LayerwiseError(error, of: type(of: rule).declaration.title) }
        guard ruleRecords.reserve(1) else { throw .outOfMemory("kernel table") }
        ruleRecords.append(RuleRecord(rule))
        guard shared.reserve(1) else { throw .outOfMemory("the optimizer's state") }
        shared.append(Self.start(ofShared: rule))
    }

    /// An optimizer by name and keys: the rule's hyperparameters and the optimizer's settings, in any order.
    public convenience init(rule name: String, settings: [Setting]) throws(LayerwiseError) {
        guard let type = allRules.first(where: { $0.declaration.name == name }) else {
            throw LayerwiseError(.unknownName, Self.noRule(name))
        }
        var rule: any DeclaredRule = type.init()
        var own = Settings()
        try Self.assign(settings, &rule, &own)
        try self.init(rule, settings: own)
    }

    deinit {
        guard memory.isLibrary else { return }
        for index in 0..<tensors.count {
            tensors.elements[index].freeStates(declaredStates(of: tensors.elements[index].layer))
        }
    }
}

extension LayerwiseError {
    static func outOfMemory(_ what: String, layer: Int? = nil) -> LayerwiseError {
        LayerwiseError(.outOfMemory, "no memory for \(what)", layer: layer)
    }
}
