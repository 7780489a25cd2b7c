// SPDX-License-Identifier: Apache-2.0
import LayerwisePlatform
import LayerwiseRules

/// Rates that grow while steps go on in the direction of the last one, and fall while they turn back.
///
/// With u the last change per unit of rate, (w_(t−1) − w_t) / γ_(t−1):
///
///     form cosine:    scale ← scale · exp(β · cos(g, u))
///     form published: scale ← scale + β · ⟨g, u⟩ / base rate
///
/// Source: Baydin et al. 2018 (Online Learning Rate Adaptation with Hypergradient Descent, arXiv:1703.04782).  With the form
/// "published" and the rule SGD or Adam it is their SGD-HD or Adam-HD, for each layer by itself, where theirs has one sum for all.
/// Their β has the unit of a rate over a squared gradient: 1e-6 for SGD-HD, 1e-8 for Adam-HD.  β of the form "cosine" has no unit.
///
/// The gradient is the clipped one.  The change is what the weights moved by, decay included.
///
/// *Edge cases*: a layer whose gradient or last change is 0, or that has had no step before, has no value.
public struct Hypergradient: MeasuredPolicy {
    /// How the product changes the scale.
    public enum Form: String, Choice {
        case cosine, published
    }

    /// How fast scales change.
    public var beta = 0.02
    /// How a product changes the scale: `cosine` or `published`.
    public var form = Form.cosine
    public var measuring = Hypergradient.usual

    public init() {}

    /// Creates the policy; throws if a value is outside its range.  The properties document the settings.
    public init(
        _ beta: Double = 0.02, form: Form = .cosine, measuring: Measuring = Hypergradient.usual
    ) throws(SettingError) {
        self.beta = beta
        self.form = form
        self.measuring = measuring
        try settle()
    }

    /// The last product alone; a thousandth to a thousandfold.
    public static let usual: Measuring = {
        var measuring = Measuring()
        measuring.average = 0
        measuring.minScale = 1e-3
        measuring.maxScale = 1e3
        return measuring
    }()

    package static let declaration = Declaration(
        name: "hypergradient", title: "Hypergradient",
        summary: "rates that grow while a layer's gradient agrees with its last change, and fall while it does not",
        details: """
            With u the last change of a layer per unit of its rate: form "cosine" has scale *= exp(beta * cos(g, u)), which depends on no \
            scale of the gradients; "published" has scale += beta * <g, u> / base rate, for which beta is 1e-6 with SGD and 1e-8 \
            with Adam.  The scales are those of the next step, and are saved in checkpoints.  Each tensor keeps its last change, \
            4 bytes for a float32 parameter; the page on policies has the time that it costs.
            """,
        equation: "scale ← scale · exp(β·cos(g, u)), u the last change",
        source: "Baydin et al. 2018, arXiv:1703.04782, for each layer", positional: ["beta"])

    package static let parameters: [Parameter<Self>] =
        [
            .number("beta", \.beta, .positive, "how fast scales change"),
            .choice("form", \.form, "how a product changes the scale: \"cosine\" or \"published\""),
        ]
        + Measuring.parameters.map { $0.lifted(\.measuring) }

    package func validate() throws(SettingError) { try measuring.validate() }

    package var watching: Watching { .gradientProducts }

    /// The scale before bounds' ramp, and the rate of the last step.
    package static var memoryCount: Int { 2 }

    package func value(of layer: LayerMeasurement) -> Double? {
        if !(layer.lastUpdateNorm > 0) { return nil }
        switch form {
        case .cosine:
            let norms = layer.clippedGradientNorm * layer.lastUpdateNorm
            return norms > 0 ? max(-1, min(layer.gradientProduct / norms, 1)) : nil
        case .published: return layer.memory[1] > 0 ? layer.gradientProduct / layer.memory[1] : nil
        }
    }

    package func setTargets(_ layers: UnsafeMutableBufferPointer<LayerMeasurement>) {
        for index in layers.indices {
            // The rate of a step without a value too.
            if layers[index].rate > 0 && layers[index].rate.isFinite { layers[index].memory[1] = layers[index].rate }
            if !layers[index].isStepped { continue }
            let old = layers[index].memory[0] > 0 ? layers[index].memory[0] : measuring.startScale
            let new =
                switch form {
                case .cosine: old * exp(beta * layers[index].average)
                case .published: old + beta * layers[index].average / layers[index].baseRate
                }
            // What the bounds hold back is not kept for later.
            let bounded = min(max(new, max(measuring.minScale, .leastNormalMagnitude)), measuring.maxScale)
            if bounded.isFinite { layers[index].memory[0] = bounded }
            layers[index].target = layers[index].memory[0]
        }
    }
}
