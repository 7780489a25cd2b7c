// SPDX-License-Identifier: Apache-2.0

/// What the library keeps of a layer, besides what a step needs (`LayerRecord`).
struct LayerEntry {
    let name: String
    let tensorNames: [String]
    let firstTensor: Int
    var settings = LayerSettings()
    /// The layer's own values of the rule, in the order they were given.
    var overrides: [Setting] = []

    func depth(index: Int) -> Int { settings.depth >= 0 ? settings.depth : index }
}

/// What a step knows of a layer: plain values, side by side in memory.
struct LayerRecord: BitwiseCopyable {
    let firstTensor: Int
    let tensorCount: Int
    var frozen = false
    /// Which of the optimizer's `rules` applies.
    var rule = 0
    var scale = 1.0

    // For the step under way.
    var effectiveRate = 0.0
    var clipFactor = 1.0
    var gradientNorm = 0.0

    var telemetry = LayerTelemetry()
}

/// One layer at its last step.  Norms are Euclidean, over all tensors of the layer that were stepped.
public struct LayerTelemetry: Sendable, BitwiseCopyable {
    /// After the gradient scale, before clipping.
    public var gradientNorm = 0.0
    /// Before the update.
    public var weightNorm = 0.0
    /// Of the change, before it is rounded to the storage type.
    public var updateNorm = 0.0
    /// The mean over the layer's tensors; 1 where the rule has none.
    public var trustRatio = 1.0
    /// The product of the clipping by global and by layer norm.
    public var clipFactor = 1.0
    /// γ·scale.
    public var effectiveRate = 0.0
    /// Gradient elements that were NaN or infinite, also of a skipped or refused step.
    public var nonfiniteCount = 0

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
}

/// What a layer is, and what it will get at the next step.
public struct LayerInfo: Sendable {
    /// Who set the scale.
    public enum ScaleSource: String, CaseIterable, Sendable {
        case policy, layer
    }

    public let name: String
    public let depth: Int
    public let tensorCount: Int
    public let parameterCount: Int
    public let stateBytes: Int
    /// The highest step count of its tensors.
    public let steps: Int64
    public let frozen: Bool
    public let scale: Double
    public let scaleSource: ScaleSource
    public let effectiveRate: Double
    public let weightDecay: Double
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

    public init(
        layer: Int? = nil, gradientScale: Double = 1, gradients: UnsafeBufferPointer<UnsafeRawPointer?>? = nil
    ) {
        self.layer = layer
        self.gradientScale = gradientScale
        self.gradients = gradients
    }
}
