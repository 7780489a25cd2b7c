// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

/// From the top, one layer more at each stage.
///
///     a layer with d layers above it trains from step max(0, d − (first − 1))·every·steps_per_epoch on
///
/// Source: Howard and Ruder 2018 (ULMFiT, arXiv:1801.06146), §3.3, with one epoch a stage.  Layers of one depth thaw
/// together, and towers side by side.
public struct GradualUnfreezing: FreezePlan {
    public var stageLength = StageLength()
    public var first = 1
    public var trainNorms = false

    public init() {}

    public init(every: Int, stepsPerEpoch: Int = 1, first: Int = 1, trainNorms: Bool = false) throws(SettingError) {
        try self.init(
            Spec(
                "gradual_unfreezing",
                [
                    Setting("every", Double(every)), Setting("steps_per_epoch", Double(stepsPerEpoch)),
                    Setting("first", Double(first)), Setting("train_norms", trainNorms ? 1 : 0),
                ]))
    }

    public static let declaration = RecipeDeclaration(
        name: "gradual_unfreezing", doc: "from the top, one layer more at each stage",
        equation: "active from max(0, layers above − (first − 1))·stage",
        source: "Howard and Ruder 2018, arXiv:1801.06146")

    public static let depthDependence = DepthDependence.always

    public static let parameters: [Parameter<Self>] =
        StageLength.parameters.map { $0.lifted(\.stageLength) } + [
            .integer("first", \.first, 1...1 << 20, "layers that train from the start"),
            .flag("train_norms", \.trainNorms, "layers with the role norm always train"),
        ]

    public func validate() throws(SettingError) { try stageLength.check() }

    public func activities(of layers: [LayerDescriptor]) -> [Activity] {
        let towers = TowerDepths(layers)
        return layers.map { layer in
            if trainNorms && layer.role == .norm { return .always }
            let above = towers.count(layer) - 1 - towers.rank(layer)
            return Activity(spans: [stageLength.begin(max(0, above - (first - 1)))..<Int64.max])
        }
    }
}
