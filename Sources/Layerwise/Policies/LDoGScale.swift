// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

/// Rates from the distance that a layer has come, for any rule: the step size of L-DoG as a scale.
///
///     r̄ = max(r̄, ‖w − w₀‖),  at first reps_rel · (1 + ‖w‖)
///     G = Σ ‖u‖²,  u the change per unit of rate
///     scale = r̄ / √G
///
/// The rule's learning rate is a factor of it, and 1 is usual.  With SGD without momentum and decay u is the gradient, and the scale is
/// that of the rule LDoG, one step later.
///
/// Source: Ivgi, Hinder, Carmon 2023 (DoG is SGD's Best Friend, arXiv:2302.12022), L-DoG, for SGD and each tensor; here any rule and
/// each layer.  The authors want the average of the weights to be used.
///
/// *Edge cases*: the first step has `start_scale`, the authors' `init_eta`, as nothing is measured before.  Decay and clipping
/// change what is measured.  A step that does not move, or whose rate is 0, has no value.
public struct LDoGScale: MeasuredPolicy {
    /// The first distance, relative to 1 + ‖w‖.
    public var repsRel = 1e-6
    public var measuring = LDoGScale.usual

    public init() {}

    /// Creates the policy; throws if a value is outside its range.  The properties document the settings.
    public init(_ repsRel: Double = 1e-6, measuring: Measuring = LDoGScale.usual) throws(SettingError) {
        self.repsRel = repsRel
        self.measuring = measuring
        try settle()
    }

    /// No bounds that matter, and a first step of a millionth.
    public static let usual: Measuring = {
        var measuring = Measuring()
        measuring.average = 0
        measuring.maxScale = 1e6
        measuring.startScale = 1e-6
        return measuring
    }()

    package static let declaration = Declaration(
        name: "ldog_scale", title: "LDoGScale",
        summary: "rates from the distance that a layer has come, for any rule",
        details: """
            With r the largest |w - w0| of a layer so far, at first reps_rel * (1 + |w|), and G the sum of |u|**2 over its steps, u the \
            change per unit of rate: scale = r / sqrt(G).  Set the rule's lr to 1 or near it.  The scales are those of the next \
            step, and are saved in checkpoints; the first step has start_scale.  Each tensor keeps its weights at the start, \
            4 bytes for a float32 parameter; the page on policies has the time that it costs.
            """,
        equation: "scale = max‖w − w₀‖ / √Σ‖u‖²",
        source: "Ivgi, Hinder, Carmon 2023, arXiv:2302.12022, L-DoG, as a scale", positional: ["reps_rel"])

    package static let parameters: [Parameter<Self>] =
        [.number("reps_rel", \.repsRel, .positive, "the first distance, relative to 1 + ‖w‖")]
        + Measuring.withoutAverage.map { $0.lifted(\.measuring) }

    package func validate() throws(SettingError) { try measuring.validate() }

    package var watching: Watching { .distance }

    /// r̄ and G.
    package static var memoryCount: Int { 2 }

    package func value(of layer: LayerMeasurement) -> Double? {
        layer.rate > 0 && layer.updateNorm > 0 ? layer.updateNorm / layer.rate : nil
    }

    package func setTargets(_ layers: UnsafeMutableBufferPointer<LayerMeasurement>) {
        for index in layers.indices where layers[index].isStepped {
            let first = layers[index].memory[0] > 0 ? 0 : repsRel * (1 + layers[index].weightNorm)
            let distance = max(layers[index].memory[0], first, layers[index].distance)
            let sum = layers[index].memory[1] + layers[index].average * layers[index].average
            if distance.isFinite { layers[index].memory[0] = distance }
            if sum.isFinite { layers[index].memory[1] = sum }
            layers[index].target = layers[index].memory[0] / layers[index].memory[1].squareRoot()
        }
    }
}
