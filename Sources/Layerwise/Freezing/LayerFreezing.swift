// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

/// Layers freeze one after another, from the input, over the second part of a run.
///
///     frozen(t) = ⌊level·(t/T − start)/(1 − start)·(n − 1)⌋ first layers; the last never
///
/// Source: MosaicML Composer's LayerFreezing (freeze_start, freeze_level), which it equals.
public struct LayerFreezing: DeclaredFreezePlan {
    /// T: steps to the end.
    public var totalSteps = 0
    /// Share of the steps after which the first layer may freeze.
    public var start = 0.5
    /// Share of the layers that are frozen in the end.
    public var level = 1.0
    /// Layers with the role norm always train.
    public var trainNorms = false

    public init() {}

    /// Creates the plan; throws if a value is outside its range.  The properties document the settings.
    public init(totalSteps: Int, start: Double = 0.5, level: Double = 1, trainNorms: Bool = false) throws(SettingError)
    {
        self.totalSteps = totalSteps
        self.start = start
        self.level = level
        self.trainNorms = trainNorms
        try settle()
    }

    package static let declaration = Declaration(
        name: "layer_freezing", title: "LayerFreezing",
        summary: "layers freeze one after another, from the input; the last never",
        details: """
            The first floor(level * (t / T - start) / (1 - start) * (n - 1)) layers are frozen.  It equals Composer's \
            (freeze_start, freeze_level).
            """,
        equation: "frozen layers = ⌊level·(t/T − start)/(1 − start)·(n − 1)⌋",
        source: "Composer LayerFreezing",
        positional: ["total_steps"])

    package static let depthDependence = DepthDependence.always

    package static let parameters: [Parameter<Self>] = [
        .integer("total_steps", \.totalSteps, 1...mostSteps, "T: steps to the end"),
        .number("start", \.start, .fraction, "share of the steps after which the first layer may freeze"),
        .number("level", \.level, .closedFraction, "share of the layers that are frozen in the end"),
        .flag("train_norms", \.trainNorms, "layers with the role norm always train"),
    ]

    package func validate() throws(SettingError) { try require("total_steps", totalSteps) }

    /// How many of the first layers are frozen at step t, where `count` may be.
    private func frozen(at step: Int64, of count: Int) -> Int {
        let progress = min(1, Double(step) / Double(totalSteps))
        return progress <= start ? 0 : Int(level * ((progress - start) / (1 - start)) * Double(count))
    }

    package func activities(of layers: [LayerDescriptor]) -> [Activity] {
        let towers = TowerDepths(layers)
        return layers.map { layer in
            if trainNorms && layer.role == .norm { return .always }
            let count = towers.count(layer) - 1
            let rank = towers.rank(layer)
            if rank >= count || frozen(at: Int64(totalSteps), of: count) <= rank { return .always }
            // The first step at which more than `rank` layers are frozen; the number only rises.
            var low: Int64 = 0
            var high = Int64(totalSteps)
            while low < high {
                let middle = (low + high) / 2
                if frozen(at: middle, of: count) > rank { high = middle } else { low = middle + 1 }
            }
            return Activity(spans: low > 0 ? [0..<low] : [])
        }
    }
}
