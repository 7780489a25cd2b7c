// SPDX-License-Identifier: Apache-2.0
import LayerwisePlatform
import LayerwiseRules

/// Down half a cosine, again and again.
///
///     t < W:  f = t/W                                                             (W = warmup_steps)
///     cycle i of length Tᵢ = cycle_steps·cycle_multⁱ, Tcur steps after its start:
///             f = ½·(1 + cos(π·Tcur/Tᵢ)) of the way from the floor to amplitudeⁱ times the rate
///
/// Amplitude is that of timm: it lowers the peak and not the floor, so for a scaled floor m the rate is
/// scale·(m + (base·amplitudeⁱ − m)·f).
///
/// Source: Loshchilov and Hutter 2017 (SGDR, arXiv:1608.03983), equation 5.  Equals torch's CosineAnnealingWarmRestarts
/// (floor: absolute); Hugging Face's `cosine_with_restarts` with cycle_steps = (T − W)/num_cycles and cycle_limit =
/// num_cycles; fastai's fit_sgdr; timm's cosine with cycle_mul, cycle_decay (amplitude) and cycle_limit; Keras's
/// CosineDecayRestarts where m_mul is 1 or alpha is 0.  Where a cycle is longer than the one before, timm finds the
/// cycle by a logarithm and misses some restarts; Hugging Face and fastai miss some by rounding.
public struct CosineRestarts: Floored {
    /// T₀: steps of the first cycle, not always whole.
    public var cycleSteps = 0.0
    /// How much longer each cycle is than the one before.
    public var cycleMult = 1.0
    /// Each peak over the one before.
    public var amplitude = 1.0
    /// Cycles, then the floor; 0: no end.
    public var cycleLimit = 0
    /// W: steps of linear warm-up from 0.
    public var warmupSteps = 0
    /// What the schedule falls to.
    public var floor = Floor()

    public init() {}

    /// Creates the schedule; throws if a value is outside its range.  The properties document the settings.
    public init(
        cycleSteps: Double, cycleMult: Double = 1, amplitude: Double = 1, cycleLimit: Int = 0, warmupSteps: Int = 0,
        minRate: Double = 0, floor: FloorKind = .scaled, minFactor: Double = 0
    ) throws(SettingError) {
        self.floor = Floor(minRate, floor, minFactor)
        self.cycleSteps = cycleSteps
        self.cycleMult = cycleMult
        self.amplitude = amplitude
        self.cycleLimit = cycleLimit
        self.warmupSteps = warmupSteps
        try settle()
    }

    package static let declaration = Declaration(
        name: "cosine_restarts", title: "CosineRestarts", summary: "down half a cosine, again and again",
        details: """
            f = t / W for t < W; then cycle i takes T_i = cycle_steps * cycle_mult ** i steps, and T_cur steps after \
            its start f = 0.5 * (1 + cos(pi * T_cur / T_i)) of the way from the floor to amplitude ** i times the \
            rate.  Equals torch's CosineAnnealingWarmRestarts (floor "absolute"), Hugging Face's \
            `cosine_with_restarts` with cycle_steps = (T - W) / num_cycles and cycle_limit = num_cycles, and timm's \
            cosine with cycle_mul, cycle_decay (amplitude) and cycle_limit.
            """,
        equation: "f = ½(1 + cos(π·Tcur/Tᵢ)), Tᵢ = cycle_steps·cycle_multⁱ",
        source: "Loshchilov and Hutter 2017, arXiv:1608.03983; torch CosineAnnealingWarmRestarts, Hugging Face, timm",
        positional: ["cycle_steps"])

    package static let parameters: [Parameter<Self>] =
        [
            .number("cycle_steps", \.cycleSteps, .atLeastOne, "T₀: steps of the first cycle, not always whole"),
            .number("cycle_mult", \.cycleMult, .atLeastOne, "how much longer each cycle is than the one before"),
            .number("amplitude", \.amplitude, .positiveFraction, "each peak over the one before"),
            .integer("cycle_limit", \.cycleLimit, 0...mostSteps, "cycles, then the floor; 0: no end"),
            .integer("warmup_steps", \.warmupSteps, 0...mostSteps, "W: steps of linear warm-up from 0"),
        ] + floorParameters

    package func validate() throws(SettingError) {
        try require("cycle_steps", cycleSteps, .atLeastOne)
        try floor.validate()
    }

    package func factor(at step: Int64, base: Double) -> Factor {
        let warmup = Int64(warmupSteps)
        if step < warmup { return Factor(Double(step) / Double(warmup)) }
        let (cycle, length, elapsed) = cycle(at: Double(step &- warmup))
        if cycleLimit > 0 && cycle >= Double(cycleLimit) { return floor.above(0, base: base) }
        let peak = amplitude == 1 ? 1 : pow(amplitude, cycle)
        return floor.above(halfWave(.pi * elapsed / length), peak: peak, base: base)
    }

    /// The cycle at `time` ≥ 0: its number from 0, its length, and the time since its start.
    ///
    /// A restart less than 2⁻⁴⁶ of the time ahead has come: where cycle_steps or cycle_mult is not a whole number,
    /// rounding would put it a step late.
    private func cycle(at time: Double) -> (number: Double, length: Double, elapsed: Double) {
        let slack = time * 0x1p-46
        if cycleMult == 1 {
            let elapsed = time.truncatingRemainder(dividingBy: cycleSteps)
            let number = ((time - elapsed) / cycleSteps).rounded()
            return cycleSteps - elapsed <= slack ? (number + 1, cycleSteps, 0) : (number, cycleSteps, elapsed)
        }
        let growth = min(time / cycleSteps * (cycleMult - 1), .greatestFiniteMagnitude)
        var number = (log1p(growth) / log(cycleMult)).rounded(.down)
        // The logarithms may be one off at a restart.
        if start(number + 1) <= time + slack {
            number += 1
        } else if start(number) > time + slack {
            number -= 1
        }
        return (number, cycleSteps * pow(cycleMult, number), max(0, time - start(number)))
    }

    /// When cycle `number` starts, for cycle_mult > 1; exact where the settings are whole numbers.
    private func start(_ number: Double) -> Double {
        cycleSteps * ((pow(cycleMult, number) - 1) / (cycleMult - 1))
    }
}
