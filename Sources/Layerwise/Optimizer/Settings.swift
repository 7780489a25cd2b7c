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

/// What a step does in which no layer that trains has a gradient.
public enum EmptyStep: String, Choice {
    /// Refuse it with an error: nothing changes, and the schedules' clock stands.
    case `raise`
    /// Take it: nothing is trained, the step counts, and the schedules' clock runs.
    case allow
}

/// What multiplies λ where the decay is decoupled.
public enum DecayFollows: String, Choice {
    /// The layer's effective rate, as in torch: a layer with a lower rate decays less.
    case layerLR = "layer_lr"
    /// The rate of a layer with scale 1: all layers decay alike, as the schedule says.
    case baseLR = "base_lr"
    /// The schedule's factor alone, without the rate (Loshchilov and Hutter 2019, algorithm 2: η·λ).
    case independent
}

/// Whose memory the states lie in, and the work of steps.
public enum MemoryOwner: String, Choice {
    /// The library's, which allocates it.
    case library
    /// The caller's, given by `Optimizer.setMemory`.  A step then allocates nothing and starts no thread.
    case caller
}

/// The average of the weights that an optimizer keeps for evaluation.
public enum AverageKind: String, Choice, BitwiseCopyable {
    /// None is kept.
    case none
    /// An exponential moving average: a ← d·a + (1 − d)·w.
    case ema
    /// A polynomial-decay average: a ← (1 − c)·a + c·w, with c = (γ + 1)/(γ + t) at its t-th weights.  γ = 0 is the mean of all.
    case polynomial
}

/// What an optimizer does besides its rule.
public struct Settings: Configurable {
    /// What a step does about a gradient that is NaN or infinite.
    public var nonfinite = NonFinite.raise
    /// What a step does in which no layer that trains has a gradient.
    public var emptyStep = EmptyStep.raise
    /// The largest Euclidean norm of all gradients together; infinity is no limit.
    public var clipGlobalNorm = Double.infinity
    /// The largest norm of one layer's gradients.
    public var clipLayerNorm = Double.infinity
    /// The largest magnitude of one gradient element.
    public var clipValue = Double.infinity
    /// λ: the largest norm of the gradients of a unit over that of its weights, which is taken to be at least `clipUnitEpsilon`.  A unit
    /// is a part of a tensor along its first axis, or a tensor of rank 0 or 1.  Infinity is no limit.
    public var clipUnitRatio = Double.infinity
    /// Least norm that the weights of a unit are taken to have.
    public var clipUnitEpsilon = 1e-3
    /// Take the mean of each unit from its gradients, in tensors of rank 2 and more.
    public var centralizeGradients = false
    /// η: the variance of the normal noise that gradients get at a tensor's first step.
    public var gradientNoise = 0.0
    /// γ: the variance of the noise is η/(1 + t)^γ after t steps.
    public var gradientNoiseDecay = 0.55
    /// Seed of the noise.
    public var gradientNoiseSeed = 0
    /// The average of the weights that is kept for evaluation (`Optimizer.setMode`).  The first weights that it takes in are its start.
    public var average = AverageKind.none
    /// d of `ema`.
    public var averageDecay = 0.999
    /// d of `ema` is at most (1 + n)/(10 + n) after n weights.
    public var averageWarmup = false
    /// γ of `polynomial`.
    public var averageGamma = 8.0
    /// Steps before the average takes in weights for the first time, at least 1.
    public var averageStart = 0
    /// Steps from one time to the next.
    public var averagePeriod = 1
    /// k of Lookahead: every k steps, slow weights φ ← φ + α·(w − φ) replace the weights; 0 is no Lookahead.
    public var lookaheadPeriod = 0
    /// α of Lookahead.
    public var lookaheadRate = 0.5
    /// Ascend instead of descend.
    public var maximize = false
    /// Keep norms per layer.
    public var telemetry = false
    /// What decoupled decay follows.
    public var decayFollows = DecayFollows.layerLR
    /// Layers have no memory: nothing can be stepped, but all that the optimizer would do can be seen.
    public var dryRun = false
    /// The most threads that a step may use; 0 is as many as the machine grants.
    public var threads = 0

    /// Whose memory the states lie in.
    public var memory = MemoryOwner.library

    /// Everything at its default.
    public init() {}

    package static let parameters: [Parameter<Self>] = [
        .choice("nonfinite", \.nonfinite, "what a step does about a gradient that is NaN or infinite"),
        .choice("empty_step", \.emptyStep, "what a step does in which no layer that trains has a gradient"),
        .number("clip_global_norm", \.clipGlobalNorm, .limit, "largest norm of all gradients"),
        .number("clip_layer_norm", \.clipLayerNorm, .limit, "largest norm of one layer's gradients"),
        .number("clip_value", \.clipValue, .limit, "largest magnitude of a gradient element"),
        .number(
            "clip_unit_ratio", \.clipUnitRatio, .limit, "largest norm of a unit's gradients over that of its weights"
        ).omittedAtDefault,
        .number(
            "clip_unit_eps", \.clipUnitEpsilon, .positive, "least norm that the weights of a unit are taken to have"
        ).omittedAtDefault,
        .flag(
            "centralize_gradients", \.centralizeGradients, "take the mean of each unit from its gradients"
        ).omittedAtDefault,
        .number(
            "gradient_noise", \.gradientNoise, .nonNegative,
            "variance of the noise that gradients get at the first step"
        ).omittedAtDefault,
        .number(
            "gradient_noise_decay", \.gradientNoiseDecay, .nonNegative,
            "power of 1 + t by which the variance of the noise is divided"
        ).omittedAtDefault,
        .integer(
            "gradient_noise_seed", \.gradientNoiseSeed, 0...Int(Int32.max), "seed of the noise"
        ).omittedAtDefault,
        .choice("average", \.average, "average of the weights that is kept for evaluation").omittedAtDefault,
        .number("average_decay", \.averageDecay, .fraction, "what an ema keeps of itself").omittedAtDefault,
        .flag("average_warmup", \.averageWarmup, "an ema keeps less of itself at first").omittedAtDefault,
        .number(
            "average_gamma", \.averageGamma, .nonNegative, "how fast a polynomial average forgets; 0: the mean of all"
        ).omittedAtDefault,
        .integer(
            "average_start", \.averageStart, 0...mostSteps, "steps before the average takes in weights"
        ).omittedAtDefault,
        .integer(
            "average_period", \.averagePeriod, 1...mostSteps, "steps from one time to the next"
        ).omittedAtDefault,
        .integer(
            "lookahead_period", \.lookaheadPeriod, 0...mostSteps,
            "steps from one exchange with the slow weights of Lookahead to the next; 0: none"
        ).omittedAtDefault,
        .number(
            "lookahead_rate", \.lookaheadRate, .positiveFraction, "share of the weights that the slow weights take"
        ).omittedAtDefault,
        .flag("maximize", \.maximize, "ascend instead of descend"),
        .flag("telemetry", \.telemetry, "keep norms per layer"),
        .choice("decay_follows", \.decayFollows, "what multiplies decoupled decay"),
        .flag("dry_run", \.dryRun, "layers have no memory: nothing steps, explain and preview work"),
        .integer("threads", \.threads, 0...1024, "most threads of a step; 0: as many as the machine grants"),
        .choice("memory", \.memory, "whose memory the states lie in: the library's, or the caller's"),
    ]

    /// Refuses what excludes each other.
    package func validate() throws(SettingError) {
        guard memory == .caller else { return }
        if threads > 1 {
            throw .invalid("threads must be 0 or 1 with memory = caller, whose steps start no thread, found \(threads)")
        }
        if dryRun { throw .invalid("memory = caller and dry_run exclude each other: a dry run has no memory") }
    }
}

/// What a layer can be given besides hyperparameters of its own.
struct LayerSettings: Configurable {
    enum Role: String, Choice {
        /// By its depth: the lowest of its tower is the stem, the highest the head.
        case depth
        case stem, block, norm, head
    }

    enum Frozen: String, Choice {
        /// As the freezing plan says; without one, no.
        case plan
        case yes, no
    }

    /// The layer's scale in place of the policy's; NaN is none.
    var scale = Double.nan
    /// Position from the input; -1 is the order of registration.
    var depth = -1
    var tower = ""
    var role = Role.depth
    /// The layer's schedules count their steps from here.
    var start = 0
    var frozen = Frozen.plan
    /// The name of the whole layer that this one is a part of; "" if it is a whole.
    var partOf = ""
    /// 1 to ascend, 0 to descend; NaN follows the optimizer's own setting.
    var maximize = Double.nan

    static let parameters: [Parameter<Self>] = [
        .number("scale", \.scale, .nonNegative, "rate multiplier, in place of the policy's"),
        .integer("depth", \.depth, 0...Int(Int32.max), "position from the input"),
        .text("tower", \.tower, "the stack it belongs to, which has depths of its own"),
        .choice("role", \.role, "what it is: by its depth, or stem, block, norm, head"),
        .integer("start", \.start, 0...mostSteps, "its schedules count their steps from here"),
        .choice("frozen", \.frozen, "as the freezing plan says, yes or no"),
        .text("part_of", \.partOf, "the layer of which it is a part: policies and freezing plans see one layer"),
        .number("maximize", \.maximize, .closedFraction, "1: ascend, 0: descend, in place of what the optimizer does"),
    ]

    func validate() throws(SettingError) {
        if maximize > 0 && maximize < 1 { throw .invalid("maximize must be 0 or 1, found \(maximize)") }
    }

    /// Puts the default back.
    mutating func unset(_ key: String) {
        for parameter in Self.parameters where parameter.key == key { parameter.put(parameter.read(Self()), in: &self) }
    }
}

/// The names of the choices that a layer has.
package let layerChoiceNames = LayerSettings.choiceNames
