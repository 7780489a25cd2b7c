// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

/// Each layer by itself, one after another, and then all together.
///
///     stage 0: the top layer; stage 1 … n − 1: layers 0 … n − 2, each alone; from stage n on: all
///
/// Source: Felbo et al. 2017 (DeepMoji, arXiv:1708.00524), §3.3, whose order it follows.  There a stage lasts until the
/// validation loss converges, here a fixed time.
public struct ChainThaw: FreezePlan {
    public var stageLength = StageLength()
    public var trainNorms = false

    public init() {}

    public init(every: Int, stepsPerEpoch: Int = 1, trainNorms: Bool = false) throws(SettingError) {
        try self.init(
            Spec(
                "chain_thaw",
                [
                    Setting("every", Double(every)), Setting("steps_per_epoch", Double(stepsPerEpoch)),
                    Setting("train_norms", trainNorms ? 1 : 0),
                ]))
    }

    public static let declaration = RecipeDeclaration(
        name: "chain_thaw", doc: "each layer by itself, the top one first, then from the bottom, and then all",
        equation: "active in one stage, and from stage n on", source: "Felbo et al. 2017, arXiv:1708.00524")

    public static let depthDependence = DepthDependence.always

    public static let parameters: [Parameter<Self>] =
        StageLength.parameters.map { $0.lifted(\.stageLength) } + [
            .flag("train_norms", \.trainNorms, "layers with the role norm always train")
        ]

    public func validate() throws(SettingError) { try stageLength.check() }

    public func activities(of layers: [LayerDescriptor]) -> [Activity] {
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
