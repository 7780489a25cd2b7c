// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

/// Layers freeze for good once they hardly change.
///
///     value = ‖Δw‖/√n or ‖g‖/√n of a layer, n its elements;  Σ|Δw| or Σ|g| with norm "l1"
///     frozen from the step after the first with t ≥ start · T and average < threshold
///
/// Source: Wen et al. 2025 (GradES, arXiv:2509.01842).  The paper measures the change of the gradients of each matrix, the authors'
/// code the sum of |Δw|, from a copy; both grow with the size of a matrix.  Here it is a root mean square of the layer, so that
/// thresholds are other ones than theirs, or with norm "l1" the sum of their code.  Neither needs a copy.
public struct GradES: MeasuredFreezePlan {
    /// What is measured.
    public enum Measure: String, Choice {
        case update, gradient
    }

    /// How a layer's elements are taken together: as their root mean square, or as the sum of their magnitudes.
    public enum Norm: String, Choice {
        case rms, l1
    }

    /// A layer whose average is lower freezes.
    public var threshold = Double.nan
    /// T: steps to the end.
    public var totalSteps = 0
    /// Share of the steps before which no layer freezes.
    public var start = 0.55
    /// What is measured: the `update` or the `gradient`.
    public var measure = Measure.update
    /// Share of the average that a step keeps; 0: the last value alone.
    public var average = 0.9
    /// How a layer's elements are taken together.
    public var norm = Norm.rms

    public init() {}

    /// Creates the plan; throws if a value is outside its range.  The properties document the settings.
    public init(
        threshold: Double, totalSteps: Int, start: Double = 0.55, measure: Measure = .update, average: Double = 0.9,
        norm: Norm = .rms
    ) throws(SettingError) {
        self.threshold = threshold
        self.totalSteps = totalSteps
        self.start = start
        self.measure = measure
        self.average = average
        self.norm = norm
        try settle()
    }

    package static let declaration = Declaration(
        name: "grades", title: "GradES",
        summary: "layers freeze for good once they hardly change, as measured at every step",
        details: """
            value = |dw| / sqrt(n) of a layer of n elements, or |g| / sqrt(n) with measure "gradient".  With norm \
            "l1" it is the sum of |dw| or of |g|, which grows with the size of a layer, as the authors' thresholds do.  From step start * T on, a \
            layer freezes after the first step at which the average is below the threshold.  A schedule that lowers the rate lowers \
            |dw| with it.  What was measured is saved in checkpoints.  It costs what telemetry costs.
            """,
        equation: "frozen once EMA(‖Δw‖/√n) < threshold, from start·T on",
        source: "Wen et al. 2025, arXiv:2509.01842, whose measure is a sum that grows with the size",
        positional: ["threshold", "total_steps"])

    package static let depthDependence = DepthDependence.never

    package static let parameters: [Parameter<Self>] = [
        .number("threshold", \.threshold, .positive, "a layer whose average is lower freezes").required,
        .integer("total_steps", \.totalSteps, 1...mostSteps, "T: steps to the end"),
        .number("start", \.start, .closedFraction, "share of the steps before which no layer freezes"),
        .choice("measure", \.measure, "what is measured: the \"update\" or the \"gradient\""),
        .number("average", \.average, .fraction, "share of the average that a step keeps; 0: the last value alone"),
        .choice("norm", \.norm, "a layer's value: the root mean square \"rms\", or the sum of magnitudes \"l1\"")
            .omittedAtDefault,
    ]

    package func validate() throws(SettingError) {
        if threshold.isNaN { throw .invalid("threshold must be given") }
        try require("total_steps", totalSteps)
    }

    package var averaging: Double { average }

    package var watching: Watching {
        norm == .rms ? [] : measure == .update ? .updateMagnitudes : .gradientMagnitudes
    }

    package func value(of layer: LayerMeasurement) -> Double? {
        if layer.elements == 0 { return nil }
        if norm == .l1 { return measure == .update ? layer.updateMagnitude : layer.gradientMagnitude }
        return (measure == .update ? layer.updateNorm : layer.gradientNorm) / layer.elements.squareRoot()
    }

    package func decide(_ layers: UnsafeMutableBufferPointer<LayerMeasurement>, step: Int64) {
        if Double(step) < start * Double(totalSteps) { return }
        for index in layers.indices where layers[index].isStepped && layers[index].average < threshold {
            layers[index].target = 0
        }
    }
}
