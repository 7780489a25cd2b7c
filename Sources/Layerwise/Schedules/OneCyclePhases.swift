// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

/// A schedule with the phases of one cycle.
package protocol OneCyclePhased: DeclaredSchedule {
    /// The form of the cycle.
    var phases: OneCyclePhases { get set }
}

/// When the phases of one cycle begin and end, and how a value goes through them.
///
///     two phases:    start → peak over pct_start of the steps, peak → end
///     three phases:  start → peak, peak → start over as many steps, start → end
public struct OneCyclePhases: Sendable {
    /// T; 0 until it is given.
    public var totalSteps = 0
    /// The share of the steps in which the rate rises.
    public var pctStart = 0.3
    /// The shape of a phase.
    public var anneal = Anneal.cosine
    /// Whether the rate first falls back to where it began.
    public var threePhase = false
    /// Which steps phases end at.
    public var timing = OneCycleTiming.torch

    init() {}

    init(_ totalSteps: Int, _ pctStart: Double, _ anneal: Anneal, _ threePhase: Bool, _ timing: OneCycleTiming) {
        self.totalSteps = totalSteps
        self.pctStart = pctStart
        self.anneal = anneal
        self.threePhase = threePhase
        self.timing = timing
    }
}

/// Which step a phase ends at.
public enum OneCycleTiming: String, Choice {
    /// pct_start·T − 1, with three phases 2·pct_start·T − 2, and T − 1: the last step has the last value (torch).
    case torch
    /// pct_start·T, with three phases 2·pct_start·T, and T: the step after the last would have the last value (fastai,
    /// optax).
    case fraction
}

extension OneCyclePhases {
    /// The value at `step`; after the end it stays.
    func value(at step: Int64, start: Double, peak: Double, end: Double) -> Double {
        let time = Double(step)
        let lag: Double = timing == .torch ? 1 : 0
        let top = pctStart * Double(totalSteps) - lag
        if time < top { return anneal.between(start, peak, time / top) }
        var last = (begin: top, value: peak)
        if threePhase {
            let back = 2 * pctStart * Double(totalSteps) - 2 * lag
            if time < back { return anneal.between(peak, start, (time - top) / (back - top)) }
            last = (back, start)
        }
        // A phase without length is passed at once; torch divides by 0.
        let length = Double(totalSteps) - lag - last.begin
        return anneal.between(last.value, end, length > 0 ? min(1, (time - last.begin) / length) : 1)
    }
}

extension OneCyclePhased {
    /// The settings that all share.
    static var phaseParameters: [Parameter<Self>] {
        [
            .integer("total_steps", \.phases.totalSteps, 1...mostSteps, "T: steps to the end"),
            .number(
                "pct_start", \.phases.pctStart, .closedFraction,
                "share of the steps up to the peak; at most 0.5 with three_phase"),
            .choice("anneal", \.phases.anneal, "the curve of each phase"),
            .flag("three_phase", \.phases.threePhase, "down as it went up, and only then to the end"),
            .choice(
                "timing", \.phases.timing,
                "which steps phases end at: \"torch\", pct_start·T − 1 and T − 1; \"fraction\", pct_start·T and T"),
        ]
    }

    func validatePhases() throws(SettingError) {
        try require("total_steps", phases.totalSteps)
        if phases.threePhase && phases.pctStart > 0.5 {
            throw .invalid("pct_start must be in [0, 0.5] with three_phase, found \(phases.pctStart)")
        }
    }
}
