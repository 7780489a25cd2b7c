// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

/// What the library keeps of a layer, besides what a step needs (`LayerStepData`).
struct LayerConfiguration {
    let name: String
    let tensors: [TensorDescriptor]
    let firstTensor: Int
    var settings = LayerSettings()
    /// The layer's own rule, as it was given; nil where the layer follows the optimizer's.
    var rule: (any DeclaredRule)?
    /// The layer's own rate; NaN is none.
    var rate = Double.nan
    /// The layer's own values of the rule, besides its rate, in the order they were given.
    var overrides: [Setting] = []
    /// The layer's own schedules, by the hyperparameter they move.
    var schedules: [String: any DeclaredSchedule] = [:]
    /// Which policy, or which of its patterns, says the scale.
    var origin = ""
}

/// What a step knows of a layer: plain values, side by side in memory.
struct LayerStepData: BitwiseCopyable {
    let firstTensor: Int
    let tensorCount: Int
    var frozen = false
    /// The index of the whole layer that this one is a part of; its own index if it is a whole (LayerParts.swift).
    var whole = 0
    /// Whether it ascends.
    var ascends = false
    /// Which of the optimizer's `rules` applies.
    var rule = 0
    /// What the policy gives beforehand, or the layer's own scale.
    var share = 1.0
    /// The share times the measured scale.
    var scale = 1.0
    /// Whether a measured scale multiplies the share.
    var isMeasured = false
    /// The rate in place of the rule's: the layer's own, or one that the policy gives; NaN is none.
    var ownRate = Double.nan
    /// Which track its rate follows; -1 is none.
    var track = -1
    /// What the freezing plan multiplies its rate by.
    var annealing = 1.0
    /// The round in which it was last stepped (Clock).
    var round: Int64 = -1

    // For the step under way.
    /// What its rule keeps for the layer and not for the optimizer: before the step, and after it.  nil with other rules.
    var ownShared: UnsafeMutablePointer<SharedScalars>?
    var effectiveRate = 0.0
    var decayRate = 0.0
    /// What the schedule makes of the rule's own rate.
    var baseRate = 0.0
    /// The rate without schedule, freezing plan and measured scale.
    var plainRate = 0.0
    var clipFactor = ScaledNumber(1)
    var gradientNorm = ScaledNumber(0)
    /// The norm before values are clipped.
    var unclippedNorm = ScaledNumber(0)
    /// Of the whole layer and all its parts, in the record of the whole.
    var wholeNorm = ScaledNumber(0)

    var telemetry = LayerTelemetry()
    var watched = WatchedSums()
}

extension LayerStepData {
    /// The rate that is scaled: one of the layer's own, if there is one, in place of the rule's.
    @inline(__always)
    func base(_ ruleRate: Double) -> Double { ownRate.isNaN ? ruleRate : ownRate }
}

/// One layer at its last step.  Norms are Euclidean, over all tensors of the layer that were stepped.
public struct LayerTelemetry: Sendable, BitwiseCopyable {
    /// After the gradient scale, before clipping.
    public var gradientNorm = 0.0
    /// Before the update.
    public var weightNorm = 0.0
    /// Of what moved: for float16 and bfloat16 without a master copy the difference of the stored parameters; else the
    /// change δ, which is as good as that.
    public var updateNorm = 0.0
    /// The mean over the layer's tensors; 1 where the rule has none.
    public var trustRatio = 1.0
    /// The product of the clipping by global and by layer norm.
    public var clipFactor = 1.0
    /// Base rate as the schedule moved it, times scale; 0 if the layer was frozen.
    public var effectiveRate = 0.0
    /// Gradient elements that were NaN or infinite, also of a skipped or refused step.
    public var nonfiniteCount = 0
    /// Elements of float16 and bfloat16 parameters without a master copy whose update was not zero and whose stored value did
    /// not move, as it was below half a spacing.  Those of all other parameters are not counted.
    public var lostCount = 0

    /// ‖Δw‖ / ‖w‖; NaN where the weights are all zero.
    public var updateRatio: Double { weightNorm > 0 || weightNorm.isNaN ? updateNorm / weightNorm : .nan }
}

/// The last step of an optimizer.
public struct StepSummary: Sendable {
    /// Steps taken.
    public var steps: Int64 = 0
    /// Steps skipped because of a non-finite gradient.
    public var skippedSteps: Int64 = 0
    /// Of all gradients of the last step, scaled, before clipping; NaN where it was not needed.
    public var gradientNorm = Double.nan
    /// Of clipping by the global norm, at the last step.
    public var clipFactor = 1.0
    /// t: what schedules and freezing plans are asked about by the next step of all layers.
    public var nextStep: Int64 = 0
}

/// What a layer is, and what it gets at a step.
public struct LayerInfo: Sendable {
    /// The origin of the scale.
    public enum ScaleSource: String, CaseIterable, Sendable {
        case policy, layer
    }

    /// The reason for which a layer is frozen.
    public enum FrozenBy: String, CaseIterable, Sendable {
        case nobody = ""
        case plan, layer
    }

    /// The name.
    public let name: String
    /// The name of the whole layer that this one is a part of; "" if it is a whole.
    public let partOf: String
    /// The position from the input.
    public let depth: Int
    /// The tower that it belongs to.
    public let tower: String
    /// Whether it is a stem, a block, a norm or a head.
    public let role: LayerRole
    /// The key of the rule that steps it, such as "adamw": its own or the optimizer's.
    public let rule: String
    /// How many tensors it has.
    public let tensorCount: Int
    /// How many elements its tensors have together.
    public let parameterCount: Int
    /// The memory of its states.
    public let stateBytes: Int
    /// The highest step count of its tensors.
    public let steps: Int64
    /// What freezes it, if anything.
    public let frozenBy: FrozenBy
    /// The step at which the freezing plan next freezes or thaws it; nil if it does not.
    public let changesAt: Int64?
    /// The factor of its rate.
    public let scale: Double
    /// Where the scale comes from.
    public let scaleSource: ScaleSource
    /// The policy or pattern that says the scale, or "layer".
    public let origin: String
    /// The rate that is scaled: the optimizer's, the layer's own or the policy's.
    public let baseRate: Double
    /// The factor of schedule and freezing plan: effective rate / (base rate × scale); NaN where that is 0.
    public let factor: Double
    /// The rate that its schedule falls to; nil where it has no floor.
    public let floor: Double?
    /// 0 while it is frozen.
    public let effectiveRate: Double
    /// λ; 0 where no tensor of the layer decays.
    public let weightDecay: Double
    /// Tensors whose share differs from the layer's.
    public let exceptions: [TensorOverride]
    /// What a measured policy has measured of it, in the mean; NaN where there is nothing yet, or nothing is measured.
    public let measuredValue: Double
    /// The scale that the policy computes from it, before period, ramp and bounds, likewise; also until a step after a checkpoint was loaded.
    public let measuredTarget: Double
    /// The scale of the rate, or of the decay, that is in force for it; NaN where nothing is measured.
    public let measuredScale: Double

    /// Whether it rests.
    public var frozen: Bool { frozenBy != .nobody }
}

/// A tensor that the policy treats apart from its layer.
public struct TensorOverride: Sendable, Equatable {
    /// The name.
    public let name: String
    /// On top of the layer's scale.
    public let scale: Double
    /// On top of the layer's decay.
    public let decayScale: Double
    /// Whether it may have a trust ratio.
    public let mayAdapt: Bool
}

/// How to take a step.
public struct StepOptions {
    /// Step this layer only.
    public var layer: Int?
    /// Every gradient is divided by it: a loss scale, or the number of accumulated batches.
    public var gradientScale: Double
    /// One address for each tensor of the layers stepped, in order of registration, in place of the bound buffers; nil
    /// skips the tensor.
    public var gradients: UnsafeBufferPointer<UnsafeRawPointer?>?
    /// The loss, for rules that need it, such as MoMo; else what `setLoss` said.
    public var loss: Double?
    /// Where tensors are spread over processes, each of which steps a part: adds up sums over all of them, in place.
    public var reduce: Reducer?

    /// Replaces each number by its sum over all processes; false if that failed.
    public typealias Reduce = (UnsafeMutableBufferPointer<Double>) -> Bool

    /// Creates the options of a step of all layers, or of one.
    public init(
        layer: Int? = nil, gradientScale: Double = 1, gradients: UnsafeBufferPointer<UnsafeRawPointer?>? = nil,
        loss: Double? = nil, reduce: Reduce? = nil
    ) {
        self.layer = layer
        self.gradientScale = gradientScale
        self.gradients = gradients
        self.loss = loss
        self.reduce = reduce.map { .closure($0) }
    }
}

/// What adds up sums over processes: a closure, or a function of C, for which nothing need be allocated.
public enum Reducer {
    case closure(StepOptions.Reduce)
    case function(
        @convention(c) (UnsafeMutablePointer<Double>?, Int64, UnsafeMutableRawPointer?) -> Int32,
        context: UnsafeMutableRawPointer?)

    func callAsFunction(_ sums: UnsafeMutableBufferPointer<Double>) -> Bool {
        switch self {
        case .closure(let reduce): reduce(sums)
        case .function(let reduce, let context): reduce(sums.baseAddress, Int64(sums.count), context) == 0
        }
    }
}
