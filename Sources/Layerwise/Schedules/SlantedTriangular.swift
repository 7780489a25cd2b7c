// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

/// Up a short straight line, and down a long one.
///
///     cut = ⌊T·cut_frac⌋                                          (T = total_steps)
///     t < cut:  p = t/cut
///     else:     p = 1 − (t − cut)/(T − cut), at least 0
///     f(t) = (1 + p·(ratio − 1))/ratio
///
/// Source: Howard and Ruder 2018 (ULMFiT, arXiv:1801.06146), section 3.2, where the way down is cut·(1/cut_frac − 1)
/// long: the same where T·cut_frac is whole.  Equals AllenNLP's SlantedTriangular, whose trainer asks for step t + 1.
public struct SlantedTriangular: DeclaredSchedule {
    /// T: steps to the end.
    public var totalSteps = 0
    /// Share of the steps up.
    public var cutFraction = 0.1
    /// The peak over both ends.
    public var ratio = 32.0

    public init() {}

    /// Creates the schedule; throws if a value is outside its range.  The properties document the settings.
    public init(totalSteps: Int, cutFraction: Double = 0.1, ratio: Double = 32) throws(SettingError) {
        self.totalSteps = totalSteps
        self.cutFraction = cutFraction
        self.ratio = ratio
        try settle()
    }

    package static let declaration = Declaration(
        name: "slanted_triangular", title: "SlantedTriangular",
        summary: "up a short straight line, and down a long one",
        details: """
            f = (1 + p * (ratio - 1)) / ratio; cut = floor(T * cut_frac); p = t / cut for t < cut, else 1 - (t - cut) \
            / (T - cut), at least 0.  Equals AllenNLP's, whose trainer asks for step t + 1.
            """,
        equation: "f = (1 + p·(ratio − 1))/ratio",
        source: "Howard and Ruder 2018, arXiv:1801.06146; AllenNLP",
        positional: ["total_steps"])

    package static let parameters: [Parameter<Self>] = [
        .integer("total_steps", \.totalSteps, 1...mostSteps, "T: steps to the end"),
        .number("cut_frac", \.cutFraction, .positiveFraction, "share of the steps up"),
        .number("ratio", \.ratio, .atLeastOne, "the peak over both ends"),
    ]

    package func validate() throws(SettingError) { try require("total_steps", totalSteps) }

    package func factor(at step: Int64, base: Double) -> Factor {
        let time = Double(step)
        let total = Double(totalSteps)
        let cut = (total * cutFraction).rounded(.down)
        let height: Double
        if time >= total {
            height = 0
        } else if time < cut {
            height = time / cut
        } else {
            height = 1 - (time - cut) / (total - cut)
        }
        return Factor((1 + height * (ratio - 1)) / ratio)
    }
}
