// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

/// From the top, one layer more at each stage.
///
///     a layer with d layers above it trains from step max(0, d − (first − 1))·every·steps_per_epoch on
///
/// Source: Howard and Ruder 2018 (ULMFiT, arXiv:1801.06146), §3.3, with one epoch a stage.  Layers of one depth thaw
/// together, and towers side by side.
public struct GradualUnfreezing: DeclaredFreezePlan {
    /// How long a stage takes.
    public var stageLength = StageLength()
    /// Layers that train from the start.
    public var first = 1
    /// Layers with the role norm always train.
    public var trainNorms = false

    public init() {}

    /// Creates the plan; throws if a value is outside its range.  The properties document the settings.
    public init(every: Int, stepsPerEpoch: Int = 1, first: Int = 1, trainNorms: Bool = false) throws(SettingError) {
        stageLength = StageLength(every: every, stepsPerEpoch: stepsPerEpoch)
        self.first = first
        self.trainNorms = trainNorms
        try settle()
    }

    package static let declaration = Declaration(
        name: "gradual_unfreezing", title: "GradualUnfreezing", summary: "from the top, one layer more at each stage",
        details: """
            A layer with d layers above it trains from step max(0, d - (first - 1)) * every * steps_per_epoch on.  The \
            paper has one epoch a stage.
            """,
        equation: "active from max(0, layers above − (first − 1))·stage",
        source: "Howard and Ruder 2018, arXiv:1801.06146",
        positional: ["every"])

    package static let depthDependence = DepthDependence.always

    package static let parameters: [Parameter<Self>] =
        StageLength.parameters.map { $0.lifted(\.stageLength) } + [
            .integer("first", \.first, 1...1 << 20, "layers that train from the start"),
            .flag("train_norms", \.trainNorms, "layers with the role norm always train"),
        ]

    package func validate() throws(SettingError) { try stageLength.check() }

    package func activities(of layers: [LayerDescriptor]) -> [Activity] {
        let towers = TowerDepths(layers)
        return layers.map { layer in
            if trainNorms && layer.role == .norm { return .always }
            let above = towers.count(layer) - 1 - towers.rank(layer)
            return Activity(spans: [stageLength.begin(max(0, above - (first - 1)))..<Int64.max])
        }
    }
}
