// SPDX-License-Identifier: Apache-2.0
import LayerwisePlatform
import LayerwiseRules

/// A policy whose scales follow from what a step measures of the layers.
///
///     average ← β · average + (1 − β) · value         after each step of the layer whose value is finite
///     scale = min(max(target, min_scale), max_scale)      every `period` steps of the layer, from `warmup` on
///
/// With `ramp`, the scale goes over from `start_scale` in equal ratios.
///
/// The value and the target are the policy's own.  Norms are those of the whole layer: of all its tensors that were stepped, and of
/// its parts.  Scales take effect at the layer's next step, and multiply those of other policies (`Combine`).  A layer that
/// is frozen or has no gradient keeps its average and its scale.  A value that is undefined, NaN or infinite is passed over;
/// as long as a layer has none, its scale is `start_scale`.  Averages, counts, scales and what else a policy keeps are saved in
/// checkpoints.
///
/// To measure costs what telemetry costs; what `watching` asks for besides costs more.  To add one, copy `RelativeGradientNorm.swift` and list it in `allPolicies`.
package protocol MeasuredPolicy: DeclaredPolicy {
    /// How it averages, bounds and ramps.
    var measuring: Measuring { get }

    /// The value of a layer at the step that was taken; nil where it is undefined.
    func value(of layer: LayerMeasurement) -> Double?

    /// Sets the target of every layer that has an average, from the averages of all.
    func setTargets(_ layers: UnsafeMutableBufferPointer<LayerMeasurement>)

    /// What of each element is watched for it, beside the norms.
    var watching: Watching { get }

    /// Whether it goes by `Optimizer.measureMicrobatch`.
    var countsMicrobatches: Bool { get }

    /// Whether its scales are of the weight decay; else they are of the rate.
    var scalesDecay: Bool { get }

    /// How many numbers of `LayerMeasurement.memory` it keeps from step to step.
    static var memoryCount: Int { get }

    /// The target of a layer as `explain` shows it; NaN where there is none.
    func shownTarget(of layer: LayerMeasurement) -> Double
}

/// What can be watched of each element of a step.
package struct Watching: OptionSet, Sendable, BitwiseCopyable {
    package let rawValue: UInt8

    package init(rawValue: UInt8) { self.rawValue = rawValue }

    /// The product of the gradient with the last change, which every tensor then keeps.
    package static let gradientProducts = Self(rawValue: 1)
    /// Whether a change has the sign of the last one.  Every tensor then keeps the signs of its last change.
    package static let signs = Self(rawValue: 2)
    /// The distance from the weights at the start, of which every tensor then keeps a copy.
    package static let distance = Self(rawValue: 4)
    /// Σ|g|.
    package static let gradientMagnitudes = Self(rawValue: 8)
    /// Σ|Δw|.
    package static let updateMagnitudes = Self(rawValue: 16)

    // A policy asks for one of the first three at most: tensors keep a state for it.

    /// Whether tensors keep their last change.
    var keepsLastChange: Bool { contains(.gradientProducts) }
    /// Whether tensors keep their weights at the start.
    var keepsStart: Bool { contains(.distance) }
    // Asked for each block, so that these must not make a list of options.

    /// Whether the weights before the step are needed behind it.
    @inline(__always)
    var comparesWeights: Bool { rawValue & (1 | 2 | 16) != 0 }
    /// Whether a policy watches.
    @inline(__always)
    var comparesWithStates: Bool { rawValue & (1 | 2 | 4) != 0 }
    /// Whether magnitudes are added up.
    @inline(__always)
    var countsMagnitudes: Bool { rawValue & (8 | 16) != 0 }
}

/// How a measured policy averages, bounds and ramps.
public struct Measuring: Configurable {
    /// β, in [0, 1): 0 takes the last step's value alone.
    public var average = 0.9
    /// Steps of a layer that are measured before its scale may change.
    public var warmup = 1
    /// Steps of a layer from one change of its scale to the next.
    public var period = 1
    /// Steps of a layer, from the warm-up on, over which its scale goes from 1 to what is measured.
    public var ramp = 0
    /// No measured scale is lower.
    public var minScale = 0.0
    /// No measured scale is higher.
    public var maxScale = 1.0
    /// The scale until it is measured.
    public var startScale = 1.0
    /// What has a scale of its own: each `layer`, or each `tower`, whose norms are those of all its layers.
    public var unit = Unit.layer

    /// What is measured as one, and has one scale.
    public enum Unit: String, Choice {
        case layer, tower
    }

    /// Everything at its default.
    public init() {}

    package static let parameters: [Parameter<Self>] = [
        .number("average", \.average, .fraction, "share of the average that a step keeps; 0: the last value alone"),
        .integer("warmup", \.warmup, 1...mostSteps, "steps of a layer that are measured before its scale changes"),
        .integer("period", \.period, 1...mostSteps, "steps of a layer from one change of its scale to the next"),
        .integer("ramp", \.ramp, 0...mostSteps, "steps over which the scale goes from start_scale to what is measured"),
        .number("min_scale", \.minScale, .nonNegative, "no measured scale is lower"),
        .number("max_scale", \.maxScale, .positive, "no measured scale is higher"),
        .number("start_scale", \.startScale, .positive, "the scale of the steps before the first that is measured"),
        .choice("unit", \.unit, "what has a scale of its own: each \"layer\", or each \"tower\" as a whole"),
    ]

    /// The parameters of a policy that averages nothing.
    static let withoutAverage = parameters.filter { $0.key != "average" }

    package func validate() throws(SettingError) {
        if minScale > maxScale {
            throw .invalid("min_scale must not exceed max_scale, found \(minScale) and \(maxScale)")
        }
    }

    /// The scale of a layer that has had `count` measured steps.
    func scale(_ target: Double, count: Int64) -> Double {
        let bounded = min(max(target, minScale), maxScale)
        let done = count - Int64(warmup) + 1
        if done > Int64(ramp) { return bounded }
        // 0 to the power of a small share is no ramp.
        let share = Double(done) / Double(ramp + 1)
        return startScale * (bounded > 0 ? pow(bounded / startScale, share) : 1 - share)
    }
}

/// What a measured policy knows of a layer.
package struct LayerMeasurement: Sendable, BitwiseCopyable {
    /// ‖g‖ of the step that was taken, after the gradient scale and before clipping.
    package internal(set) var gradientNorm = 0.0
    /// ‖w‖ before the step.
    package internal(set) var weightNorm = 0.0
    /// ‖Δw‖.
    package internal(set) var updateNorm = 0.0
    /// The effective rate of the step.
    package internal(set) var rate = 0.0
    /// The rate without schedule, freezing plan and measured scale.
    package internal(set) var baseRate = 0.0
    /// The scale that other policies give the layer.
    package internal(set) var givenScale = 1.0
    /// λ of the step; that of its first tensor that was stepped.
    package internal(set) var weightDecay = 0.0
    /// How many elements the step took.
    package internal(set) var elements = 0.0
    /// ⟨g, w_(t−1) − w_t⟩ with the change of the step before, after clipping; 0 unless `Watching.gradientProducts` is asked for.
    package internal(set) var gradientProduct = 0.0
    /// ‖w_(t−1) − w_t‖ of the step before, and ‖g‖ after clipping, likewise.
    package internal(set) var lastUpdateNorm = 0.0
    /// The norm of the gradients as the rule saw them.
    package internal(set) var clippedGradientNorm = 0.0
    /// The share of elements whose change has the sign of the last, of those with two changes other than 0; NaN where there are
    /// none, and unless `Watching.signs` is asked for.
    package internal(set) var signAgreement = Double.nan
    /// ‖w − w₀‖ after the step; 0 unless `Watching.distance` is asked for.
    package internal(set) var distance = 0.0
    /// Σ|g| of the step, after the gradient scale and before norms are clipped; 0 unless `Watching.gradientMagnitudes` is asked for.
    package internal(set) var gradientMagnitude = 0.0
    /// Σ|Δw|, of the weights as they are stored; 0 unless `Watching.updateMagnitudes` is asked for.
    package internal(set) var updateMagnitude = 0.0
    /// The layer's place from the input.
    package internal(set) var depth = 0
    /// Whether it is the first layer or the head of its tower.
    package internal(set) var isEnd = false
    /// Whether it is the head of its tower.
    package internal(set) var isHead = false
    /// The tower that it belongs to, by number.
    package internal(set) var tower = 0
    /// Whether the step took the layer.
    package internal(set) var isStepped = false
    /// Whether the layer is out of training now.
    package internal(set) var isFrozen = false

    /// Of the values; NaN before the first.
    package internal(set) var average = Double.nan
    /// How many values it is an average of.
    package internal(set) var count: Int64 = 0
    /// The scale in force.
    package internal(set) var scale = 1.0
    /// What the policy wants the scale to be; NaN before it was computed, also where averages were loaded from a checkpoint.
    package var target = Double.nan
    /// What the policy keeps besides, as many as its `memoryCount` says; 0 before the first step.
    package var memory = SIMD4<Double>()

    /// Of the micro-batches since the last step.
    var microbatches = MicrobatchSums()
    /// The layer with whose measurements this one's are added up: itself, or the first layer of its tower.
    var unit = 0
    /// Elements whose signs were compared, and squares that are being added up.
    var compared = 0.0
    var squares = 0.0
    /// Room for a policy to put layers in order: the numbers of two layers, which belong to a place in the order and not to this layer.
    var first = 0
    var second = 0

    /// For tests of policies.
    package init() {}

    /// What there is before the first step.
    init(scale: Double) { self.scale = scale }

    /// The rate of the step without the measured scale.
    var unscaledRate: Double { scale > 0 ? rate / scale : baseRate }
}

extension MeasuredPolicy {
    package static var depthDependence: DepthDependence { .never }
    package var measuredPart: (any MeasuredPolicy)? { self }
    package var watching: Watching { [] }
    package var countsMicrobatches: Bool { false }
    package var scalesDecay: Bool { false }
    package static var memoryCount: Int { 0 }
    package func shownTarget(of layer: LayerMeasurement) -> Double { layer.target }

    /// What a layer starts with.
    var start: LayerMeasurement { LayerMeasurement(scale: measuring.startScale) }

    /// The scales are measured; nothing is given beforehand.
    package func shares(of layers: [LayerDescriptor]) -> [LayerScaling] {
        layers.map { _ in LayerScaling(origin: Self.declaration.name) }
    }

    /// Takes the values of a step into averages and scales.
    func advance(_ layers: UnsafeMutableBufferPointer<LayerMeasurement>) {
        let measuring = measuring
        for index in layers.indices where layers[index].isStepped {
            guard let value = value(of: layers[index]), value.isFinite else {
                layers[index].isStepped = false
                continue
            }
            let old = layers[index].average
            layers[index].average = old.isNaN ? value : old + (1 - measuring.average) * (value - old)
            if layers[index].count < .max { layers[index].count += 1 }
        }
        setTargets(layers)
        for index in layers.indices where layers[index].isStepped {
            let count = layers[index].count
            if count < Int64(measuring.warmup) || count % Int64(measuring.period) != 0 { continue }
            if layers[index].target.isFinite {
                layers[index].scale = measuring.scale(layers[index].target, count: count)
            }
        }
    }
}
