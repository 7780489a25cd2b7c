// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

/// The schedule of the Transformer: up a straight line, then down with the square root of time.
///
///     f(t) = model_size^−½·min(s^−½, s·W^−1.5), s = t + 1        (W = warmup_steps)
///
/// Source: Vaswani et al. 2017 (arXiv:1706.03762), section 5.3, which counts steps from 1, and AllenNLP's NoamLR, whose
/// `factor` is the base rate; it equals both.
public struct Noam: DeclaredSchedule {
    /// Width of the model.
    public var modelSize = 0
    /// W: steps up.
    public var warmupSteps = 0

    public init() {}

    /// Creates the schedule; throws if a value is outside its range.  The properties document the settings.
    public init(modelSize: Int, warmupSteps: Int) throws(SettingError) {
        self.modelSize = modelSize
        self.warmupSteps = warmupSteps
        try settle()
    }

    package static let declaration = Declaration(
        name: "noam", title: "Noam", summary: "up a straight line, then down with the square root of time",
        details: """
            f = model_size ** -0.5 * min(s ** -0.5, s * W ** -1.5), s = t + 1.  Equals that of section 5.3 of the \
            paper, which counts steps from 1, and AllenNLP's, whose factor is the base rate.
            """,
        equation: "f = model_size^−½·min(s^−½, s·W^−1.5), s = t + 1",
        source: "Vaswani et al. 2017, arXiv:1706.03762; AllenNLP NoamLR",
        positional: ["model_size", "warmup_steps"])

    package static let parameters: [Parameter<Self>] = [
        .integer("model_size", \.modelSize, 1...mostSteps, "width of the model"),
        .integer("warmup_steps", \.warmupSteps, 1...mostSteps, "W: steps up"),
    ]

    package func validate() throws(SettingError) {
        try require("model_size", modelSize)
        try require("warmup_steps", warmupSteps)
    }

    package func factor(at step: Int64, base: Double) -> Factor {
        let time = Double(step) + 1
        let warmup = Double(warmupSteps)
        let shape = min(1 / time.squareRoot(), time / (warmup * warmup.squareRoot()))
        return Factor(shape / Double(modelSize).squareRoot())
    }
}
