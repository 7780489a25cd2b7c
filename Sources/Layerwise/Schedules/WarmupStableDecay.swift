// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

/// Up, level, and down.
///
///     t < W:      f = rise(t/W) above the floor                   (W = warmup_steps)
///     t < T − D:  f = 1                                           (T = total_steps, D = decay_steps)
///     t < T:      f = 1 − p, ½(1 + cos(2π·cycles·p)) or 1 − √p above the floor, p = (t − T + D)/D
///     else:       the floor
///
/// Source: Hu et al. 2024 (MiniCPM, arXiv:2404.06395); Hugging Face's `warmup_stable_decay`, which it equals with its
/// min_lr_ratio as `min_factor` and its decay_type, cosine by default, as `decay`.  Unlike that of `Decay`, the warm-up
/// starts at the floor.
public struct WarmupStableDecay: Spanned {
    /// Steps, warm-up and floor.
    public var span = DecaySpan()
    /// D: steps down, the last of total_steps.
    public var decaySteps = 0
    /// The curve up.
    public var warmup = Ramp.linear
    /// The curve down.
    public var decay = Ramp.linear
    /// Waves of the cosine down; 0.5 is down once.
    public var cycles = 0.5

    public init() {}

    /// Creates the schedule; throws if a value is outside its range.  The properties document the settings.
    public init(
        totalSteps: Int, decaySteps: Int, warmupSteps: Int = 0, warmup: Ramp = .linear, decay: Ramp = .linear,
        cycles: Double = 0.5, minRate: Double = 0, floor: FloorKind = .scaled, minFactor: Double = 0
    ) throws(SettingError) {
        span = DecaySpan(totalSteps, warmupSteps, minRate, floor, minFactor)
        self.decaySteps = decaySteps
        self.warmup = warmup
        self.decay = decay
        self.cycles = cycles
        try settle()
    }

    package static let declaration = Declaration(
        name: "warmup_stable_decay", formerNames: ["wsd"], title: "WarmupStableDecay",
        summary: "up, level, and down",
        details: """
            f rises from the floor to 1 over W steps, is 1 until t = T - D, falls to the floor over D steps, and stays \
            there.  After a share x of the steps it has gone x of the way ("linear"), 0.5 * (1 - cos(pi * x)) \
            ("cosine"), or 1 - sqrt(1 - x) up and sqrt(x) down ("one_minus_sqrt").  Equals Hugging Face's with its \
            min_lr_ratio as min_factor and its decay_type, "cosine" by default, as decay.
            """,
        equation: "f: 0 → 1 over W, 1, 1 → 0 over the last D",
        source: "Hu et al. 2024, arXiv:2404.06395; Hugging Face warmup_stable_decay",
        positional: ["total_steps", "decay_steps"])

    package static let parameters: [Parameter<Self>] =
        spanParameters + [
            .integer("decay_steps", \.decaySteps, 1...mostSteps, "D: steps down, the last of total_steps"),
            .choice("warmup", \.warmup, "the curve up"),
            .choice("decay", \.decay, "the curve down"),
            .number("cycles", \.cycles, .positive, "waves of the cosine down; 0.5 is down once"),
        ]

    package func validate() throws(SettingError) {
        try validateSpan()
        try require("decay_steps", decaySteps)
        if span.warmupSteps &+ decaySteps > span.totalSteps {
            throw .invalid(
                "warmup_steps + decay_steps must not exceed total_steps, found \(span.warmupSteps) + \(decaySteps) "
                    + "and \(span.totalSteps)")
        }
        if cycles != 0.5 && decay != .cosine {
            throw .invalid("cycles must be 0.5 unless decay is cosine, found \(cycles)")
        }
    }

    package func factor(at step: Int64, base: Double) -> Factor {
        let time = Double(step)
        let warmupSteps = Double(span.warmupSteps)
        let decaySteps = Double(decaySteps)
        let total = Double(span.totalSteps)
        if time < warmupSteps { return span.floor.above(warmup.rise(time / warmupSteps), base: base) }
        if time < total - decaySteps { return Factor(1) }
        return span.floor.above(time < total ? fall((time - (total - decaySteps)) / decaySteps) : 0, base: base)
    }

    private func fall(_ p: Double) -> Double {
        switch decay {
        case .linear: 1 - p
        case .cosine: halfWave(2 * .pi * cycles * p)
        case .oneMinusSquareRoot: 1 - p.squareRoot()
        }
    }
}
