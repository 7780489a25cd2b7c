// SPDX-License-Identifier: Apache-2.0
import LayerwisePlatform
import LayerwiseRules

/// Down a hyperbolic tangent: long level, then steep, then long level.
///
///     decay(p) = ½·(1 − tanh(lower·(1 − p) + upper·p)) for p < 1, and 0 at p = 1
///
/// It starts a little below 1, at ½(1 − tanh(lower)), and what is left at the end, ½(1 − tanh(upper)), goes at once.
///
/// Source: Hsueh et al. 2018 (arXiv:1806.01593); timm's tanh, which it equals (floor: scaled).  timm's warm-up
/// with warmup_prefix rises to the full rate, as a `Sequential` of `Warmup` and this does; `Warmup` in front rises to the
/// curve's start, which is ½(1 + tanh(−lower)).
public struct Tanh: Decay {
    /// Steps, warm-up and floor.
    public var span = DecaySpan()
    /// Argument of the tangent at the start.
    public var lower = -7.0
    /// Argument of the tangent at the end, above lower.
    public var upper = 3.0

    public init() {}

    /// Creates the schedule; throws if a value is outside its range.  The properties document the settings.
    public init(
        totalSteps: Int, lower: Double = -7, upper: Double = 3, warmupSteps: Int = 0, minRate: Double = 0,
        floor: FloorKind = .scaled, minFactor: Double = 0
    ) throws(SettingError) {
        span = DecaySpan(totalSteps, warmupSteps, minRate, floor, minFactor)
        self.lower = lower
        self.upper = upper
        try settle()
    }

    package static let declaration = Declaration(
        name: "tanh", title: "Tanh", summary: "down a hyperbolic tangent",
        details: """
            f = t / W for t < W, else 0.5 * (1 - tanh(lower * (1 - p) + upper * p)) above the floor, p = (t - W) / (T \
            - W), and the floor from T on.  Equals timm's (floor "scaled").
            """,
        equation: "f = ½(1 − tanh(lower·(1 − p) + upper·p))",
        source: "Hsueh et al. 2018, arXiv:1806.01593; timm tanh",
        positional: ["total_steps"])

    package static let parameters: [Parameter<Self>] =
        spanParameters + [
            .number("lower", \.lower, .finite, "argument of the tangent at the start"),
            .number("upper", \.upper, .finite, "argument of the tangent at the end, above lower"),
        ]

    package func validate() throws(SettingError) {
        try validateSpan()
        if lower >= upper { throw .invalid("lower must be less than upper, found \(lower) and \(upper)") }
    }

    package func decay(_ p: Double) -> Double {
        p < 1 ? 0.5 * (1 - tanh(lower * (1 - p) + upper * p)) : 0
    }
}
