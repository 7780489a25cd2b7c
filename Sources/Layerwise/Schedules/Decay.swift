// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

/// A schedule that falls from 1 to a floor over a known number of steps, after a linear warm-up.
///
///     t < W:  factor = t/W                                  (W = warmup_steps)
///     else:   factor = decay(p) above the floor, p = (t − W)/(T − W), at most 1   (T = total_steps)
///
/// A conforming schedule gives `decay`, from 1 at p = 0 to 0 at p = 1.  The warm-up is that of Hugging Face's
/// schedules; for other kinds put `Warmup` in front.
package protocol Decay: Spanned {
    /// The share of the way above the floor, for 0 ≤ p ≤ 1.
    func decay(_ p: Double) -> Double
}

/// A schedule that ends at a known step, at a floor.
package protocol Spanned: Floored {
    /// Steps, warm-up and floor.
    var span: DecaySpan { get set }
}

/// The steps and the floor of a `Spanned` schedule.
public struct DecaySpan: Sendable {
    /// T, warm-up included; 0 until it is given.
    public var totalSteps = 0
    /// W.
    public var warmupSteps = 0
    /// What the schedule falls to.
    public var floor = Floor()

    init() {}

    init(_ totalSteps: Int, _ warmupSteps: Int, _ minRate: Double, _ floor: FloorKind, _ minFactor: Double) {
        self.totalSteps = totalSteps
        self.warmupSteps = warmupSteps
        self.floor = Floor(minRate, floor, minFactor)
    }
}

extension Spanned {
    /// What the schedule falls to.
    package var floor: Floor {
        get { span.floor }
        set { span.floor = newValue }
    }

    /// The settings that all share.
    static var spanParameters: [Parameter<Self>] {
        [
            .integer("total_steps", \.span.totalSteps, 1...mostSteps, "T: steps to the end, warm-up included"),
            .integer("warmup_steps", \.span.warmupSteps, 0...mostSteps, "W: steps of warm-up"),
        ] + floorParameters
    }

    func validateSpan() throws(SettingError) {
        try require("total_steps", span.totalSteps)
        if span.warmupSteps > span.totalSteps {
            throw .invalid(
                "warmup_steps must not exceed total_steps, found \(span.warmupSteps) and \(span.totalSteps)")
        }
        try span.floor.validate()
    }

    package func validate() throws(SettingError) { try validateSpan() }
}

extension Decay {
    package func factor(at step: Int64, base: Double) -> Factor {
        let warmup = Int64(span.warmupSteps)
        if step < warmup { return Factor(Double(step) / Double(warmup)) }
        let rest = Int64(span.totalSteps) &- warmup
        let time = step &- warmup
        let p = time >= rest ? 1 : Double(time) / Double(rest)
        return span.floor.above(decay(p), base: base)
    }
}
