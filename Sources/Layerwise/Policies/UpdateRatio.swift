// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

/// Rates at which every layer moves by a given share of its weights at each step.
///
///     value = ‖Δw‖ / ‖w‖ / effective rate
///     target = ratio · scale of other policies / (average · base rate)
///
/// So ‖Δw‖/‖w‖ ≈ ratio × schedule × scales of other policies, whatever the rule: another policy beside it gives a profile over
/// depth.  The base rate has the scales of other policies in it, which therefore cancel out.  A change is taken to be proportional to the
/// rate, as it is but for weight decay through the gradient and what momentum still carries.  The base rate sets only the first
/// step.
///
/// Source: the ratio of update to weight norms as a diagnostic (about 1e-3) is folklore, as in Karpathy's lecture notes of CS231n;
/// Layerwise makes it the goal.  LARS and LAMB do so for each tensor within the step, with ratios that they derive from the
/// rate.
///
/// *Edge cases*: a layer whose weights are all 0, or whose rate is 0, has no value at that step.  A layer that does not move has
/// the highest scale.
public struct UpdateRatio: MeasuredPolicy {
    /// ‖Δw‖/‖w‖ of a step, where the schedule's factor is 1.
    public var ratio = 1e-3
    public var measuring = UpdateRatio.usual

    public init() {}

    /// Creates the policy; throws if a value is outside its range.  The properties document the settings.
    public init(_ ratio: Double, measuring: Measuring = UpdateRatio.usual) throws(SettingError) {
        self.ratio = ratio
        self.measuring = measuring
        try settle()
    }

    /// The bounds: a thousandth and a thousandfold.
    public static let usual: Measuring = {
        var measuring = Measuring()
        measuring.minScale = 1e-3
        measuring.maxScale = 1e3
        return measuring
    }()

    package static let declaration = Declaration(
        name: "update_ratio", title: "UpdateRatio",
        summary: "rates at which every layer moves by a given share of its weights at each step",
        details: """
            value = |dw| / |w| / effective rate;  scale = ratio / (average * base rate), so that |dw| / |w| is about ratio * factor
            of the schedule * scales of other policies.  The rule's learning rate sets only the first step.  The scales are
            those of the next step, and are saved in checkpoints.  A layer whose weights are all 0 keeps scale 1, and one that
            does not move gets max_scale.  It costs what telemetry costs.
            """,
        equation: "scale = ratio / EMA(‖Δw‖/‖w‖ per unit of rate) / base rate",
        source: "Layerwise; the ratio is a common diagnostic (Karpathy, CS231n notes)", positional: ["ratio"])

    package static let parameters: [Parameter<Self>] =
        [.number("ratio", \.ratio, .positive, "‖Δw‖/‖w‖ of a step, where the schedule's factor is 1")]
        + Measuring.parameters.map { $0.lifted(\.measuring) }

    package func validate() throws(SettingError) { try measuring.validate() }

    package func value(of layer: LayerMeasurement) -> Double? {
        layer.weightNorm > 0 && layer.rate > 0 ? layer.updateNorm / layer.weightNorm / layer.rate : nil
    }

    package func setTargets(_ layers: UnsafeMutableBufferPointer<LayerMeasurement>) {
        for index in layers.indices where !layers[index].average.isNaN {
            let movement = layers[index].average * layers[index].baseRate
            let own = ratio * layers[index].givenScale
            layers[index].target = movement > 0 ? min(own / movement, .greatestFiniteMagnitude) : measuring.maxScale
        }
    }
}
