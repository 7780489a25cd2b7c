// SPDX-License-Identifier: Apache-2.0

/// What a step does about a gradient that is NaN or infinite.
public enum NonFinite: String, Choice {
    /// Refuse the whole step with an error that names the element; nothing changes.
    case `raise`
    /// Leave everything as it is, and count the step as skipped.
    case skip
    /// Do not look.
    case propagate
}

/// What an optimizer does besides its rule.
public struct Settings: Configurable {
    public var nonfinite = NonFinite.raise
    /// The largest Euclidean norm of all gradients together; infinity is no limit.
    public var clipGlobalNorm = Double.infinity
    /// The largest norm of one layer's gradients.
    public var clipLayerNorm = Double.infinity
    /// The largest magnitude of one gradient element.
    public var clipValue = Double.infinity
    /// Ascend instead of descend.
    public var maximize = false
    /// Keep norms per layer.
    public var telemetry = false
    /// The most threads that a step may use; 0 is as many as the machine grants.
    public var threads = 0

    public init() {}

    public static let parameters: [Parameter<Self>] = [
        .choice("nonfinite", \.nonfinite, "what a step does about a gradient that is NaN or infinite"),
        .number("clip_global_norm", \.clipGlobalNorm, .limit, "largest norm of all gradients"),
        .number("clip_layer_norm", \.clipLayerNorm, .limit, "largest norm of one layer's gradients"),
        .number("clip_value", \.clipValue, .limit, "largest magnitude of a gradient element"),
        .flag("maximize", \.maximize, "ascend instead of descend"),
        .flag("telemetry", \.telemetry, "keep norms per layer"),
        .integer("threads", \.threads, 0...1024, "most threads of a step; 0: as many as the machine grants"),
    ]
}

/// What a layer can be given besides hyperparameters of its own.
struct LayerSettings: Configurable {
    /// The layer's scale in place of the policy's; NaN is none.
    var scale = Double.nan
    /// Position from the input; -1 is the order of registration.
    var depth = -1

    static let parameters: [Parameter<Self>] = [
        .number("scale", \.scale, .nonNegative, "rate multiplier, in place of the policy's"),
        .integer("depth", \.depth, 0...Int(Int32.max), "position from the input"),
    ]
}
