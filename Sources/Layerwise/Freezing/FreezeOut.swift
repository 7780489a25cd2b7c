// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

/// Layers anneal to zero and freeze one after another, from the input.
///
///     tᵢ = φ(t₀ + (1 − t₀)·i/(n − 1)),  φ(x) = x, x² or x³
///     rate × ½(1 + cos(π·t/(tᵢ·T)))  for t < tᵢ·T, then frozen          (scaled: × 1/tᵢ)
///
/// Source: Brock et al. 2017 (FreezeOut, arXiv:1706.04983).  The last layer has tᵢ = 1.  It multiplies the schedule; the paper
/// has a constant one.  Every layer trains for at least one step, so tᵢ is at least 1/T, which the paper's code does not ask.
public struct FreezeOut: DeclaredFreezePlan {
    /// φ.
    public enum Spacing: String, Choice {
        case linear, squared, cubic
    }

    /// T: steps to the end.
    public var totalSteps = 0
    /// T₀: share of the steps that the first layer trains, before φ.
    public var start = 0.8
    /// Φ.
    public var spacing = Spacing.cubic
    /// Rates × 1/tᵢ, so that all layers move as far.
    public var scaled = true
    /// Layers with the role norm always train.
    public var trainNorms = false

    public init() {}

    /// Creates the plan; throws if a value is outside its range.  The properties document the settings.
    public init(
        totalSteps: Int, start: Double = 0.8, spacing: Spacing = .cubic, scaled: Bool = true, trainNorms: Bool = false
    ) throws(SettingError) {
        self.totalSteps = totalSteps
        self.start = start
        self.spacing = spacing
        self.scaled = scaled
        self.trainNorms = trainNorms
        try settle()
    }

    package static let declaration = Declaration(
        name: "freeze_out", title: "FreezeOut",
        summary: "layers anneal to zero and freeze one after another, from the input",
        details: """
            t_i = phi(start + (1 - start) * i / (n - 1)) for layer i of n; the rate is multiplied by 0.5 * (1 + cos(pi \
            * t / (t_i * T))), and the layer is frozen from t_i * T on.  In the paper it multiplies a constant rate.
            """,
        equation: "tᵢ = φ(t₀ + (1−t₀)·i/(n−1)); rate × ½(1 + cos(πt/(tᵢT))), frozen from tᵢT",
        source: "Brock et al. 2017, arXiv:1706.04983",
        positional: ["total_steps"])

    package static let depthDependence = DepthDependence.always

    package static let parameters: [Parameter<Self>] = [
        .integer("total_steps", \.totalSteps, 1...mostSteps, "T: steps to the end"),
        .number("start", \.start, .positiveFraction, "t₀: share of the steps that the first layer trains, before φ"),
        .choice("spacing", \.spacing, "φ"),
        .flag("scaled", \.scaled, "rates × 1/tᵢ, so that all layers move as far"),
        .flag("train_norms", \.trainNorms, "layers with the role norm always train"),
    ]

    package func validate() throws(SettingError) { try require("total_steps", totalSteps) }

    package func activities(of layers: [LayerDescriptor]) -> [Activity] {
        let towers = TowerDepths(layers)
        return layers.map { layer in
            if trainNorms && layer.role == .norm { return .always }
            let last = towers.count(layer) - 1
            let place = last == 0 ? 1 : Double(towers.rank(layer)) / Double(last)
            let x = start + (1 - start) * place
            let share =
                switch spacing {
                case .linear: x
                case .squared: x * x
                case .cubic: x * x * x
                }
            let steps = max(1, share * Double(totalSteps))
            return Activity(
                spans: [0..<Int64(steps.rounded(.up))], annealingSteps: steps,
                annealingGain: scaled ? Double(totalSteps) / steps : 1)
        }
    }
}
