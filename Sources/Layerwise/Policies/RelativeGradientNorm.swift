// SPDX-License-Identifier: Apache-2.0
import LayerwisePlatform
import LayerwiseRules

/// Rates that follow the relative size of the gradients: the layers whose gradients are large beside their weights learn.
///
///     value = ‖g‖ / ‖w‖
///     target = (average / max of all averages)^power
///
/// Source: Lee et al. 2023 (Surgical Fine-Tuning, arXiv:2210.11466), Auto-RGN, whose power is 1.  The authors measure each tensor
/// over five mini-batches before every epoch, without stepping, and rebuild Adam; here each layer is measured at every step, and
/// the rule keeps its moments.  The default power is 2, which did better in the experiment of `make demo-auto`.
///
/// *Edge cases*: a layer whose weights are all 0 has no value and keeps scale 1, where the authors' code would give every other
/// layer 0.  A gradient of 0 is a value of 0.  Frozen layers do not count for the maximum.
public struct RelativeGradientNorm: MeasuredPolicy {
    /// Exponent of the ratio to the largest: 1 as published; 2 singles layers out more sharply.
    public var power = 2.0
    public var measuring = Measuring()

    public init() {}

    /// Creates the policy; throws if a value is outside its range.  The properties document the settings.
    public init(power: Double = 2, measuring: Measuring = Measuring()) throws(SettingError) {
        self.power = power
        self.measuring = measuring
        try settle()
    }

    package static let declaration = Declaration(
        name: "relative_gradient_norm", title: "RelativeGradientNorm",
        summary: "rates that follow the relative gradient norm of each layer, as measured at every step",
        details: """
            value = |g| / |w|, of all tensors of the layer;  scale = (average / largest average of all layers) ** power.  The
            layers whose gradients are large beside their weights learn.  The scales are those of the next step, are saved in
            checkpoints, and multiply those of other policies in `Combine`.  A layer whose weights are all 0 keeps scale 1.
            The published power is 1.  It helps where labels changed; where the input changed, it may point
            the wrong way.  It costs what telemetry costs.
            """,
        equation: "scale = (EMA(‖g‖/‖w‖) / max)^power",
        source: "Lee et al. 2023, arXiv:2210.11466, Auto-RGN, which measures tensors once an epoch",
        positional: ["power"])

    package static let parameters: [Parameter<Self>] =
        [
            .number(
                "power", \.power, .positive,
                "exponent of the ratio to the largest: 1 as published; 2 singles layers out more sharply")
        ]
        + Measuring.parameters.map { $0.lifted(\.measuring) }

    package func validate() throws(SettingError) { try measuring.validate() }

    package func value(of layer: LayerMeasurement) -> Double? {
        layer.weightNorm > 0 ? layer.gradientNorm / layer.weightNorm : nil
    }

    package func setTargets(_ layers: UnsafeMutableBufferPointer<LayerMeasurement>) {
        var largest = 0.0
        for layer in layers where !layer.isFrozen && layer.average > largest { largest = layer.average }
        for index in layers.indices where !layers[index].average.isNaN {
            // Frozen layers may have had larger ones.
            let share = largest > 0 ? min(layers[index].average / largest, 1) : 1
            layers[index].target = Int64(exactly: power).map { integerPower(share, $0) } ?? pow(share, power)
        }
    }
}
