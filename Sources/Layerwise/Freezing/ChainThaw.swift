// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

/// Each layer by itself, one after another, and then all together.
///
///     stage 0: the top layer; stage 1 … n − 1: layers 0 … n − 2, each alone; from stage n on: all
///
/// Source: Felbo et al. 2017 (DeepMoji, arXiv:1708.00524), §3.3, whose order it follows.  There a stage lasts until the
/// validation loss converges, here a fixed time.
public struct ChainThaw: DeclaredFreezePlan {
    /// How long a stage takes.
    public var stageLength = StageLength()
    /// Layers with the role norm always train.
    public var trainNorms = false

    public init() {}

    /// Creates the plan; throws if a value is outside its range.  The properties document the settings.
    public init(every: Int, stepsPerEpoch: Int = 1, trainNorms: Bool = false) throws(SettingError) {
        stageLength = StageLength(every: every, stepsPerEpoch: stepsPerEpoch)
        self.trainNorms = trainNorms
        try settle()
    }

    package static let declaration = Declaration(
        name: "chain_thaw", title: "ChainThaw",
        summary: "each layer by itself, the top one first, then from the bottom, and then all",
        details: """
            Stage 0 is the top layer, stages 1 ... n - 1 are layers 0 ... n - 2, and from stage n on all train.  The \
            order is the paper's; there a stage lasts until the loss converges.
            """,
        equation: "active in one stage, and from stage n on",
        source: "Felbo et al. 2017, arXiv:1708.00524",
        positional: ["every"])

    package static let depthDependence = DepthDependence.always

    package static let parameters: [Parameter<Self>] =
        StageLength.parameters.map { $0.lifted(\.stageLength) } + [
            .flag("train_norms", \.trainNorms, "layers with the role norm always train")
        ]

    package func validate() throws(SettingError) { try stageLength.check() }

    package func activities(of layers: [LayerDescriptor]) -> [Activity] {
        let towers = TowerDepths(layers)
        return layers.map { layer in
            if trainNorms && layer.role == .norm { return .always }
            let count = towers.count(layer)
            let rank = towers.rank(layer)
            let turn = rank == count - 1 ? 0 : rank + 1
            let begin = stageLength.begin(turn)
            let end = stageLength.begin(turn + 1)
            let all = stageLength.begin(count)
            return Activity(spans: end >= all ? [begin..<Int64.max] : [begin..<end, all..<Int64.max])
        }
    }
}
