// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

/// Discriminative rates: each layer's is a fixed fraction of that of the layer above.
///
///     scale = factor^−(layers above it)
///
/// Source: Howard and Ruder 2018 (ULMFiT, arXiv:1801.06146), §3.2: η^(l−1) = η^l / 2.6.  AllenNLP's SlantedTriangular has
/// the same with decay_factor 0.38, about 1/2.6.  Layers count by their different depths, in each tower by itself.
public struct ULMFiT: DeclaredPolicy {
    /// Ratio between neighbouring layers.
    public var factor = 2.6

    public init() {}

    /// Creates the policy; throws if a value is outside its range.  The properties document the settings.
    public init(factor: Double) throws(SettingError) {
        self.factor = factor
        try settle()
    }

    package static let declaration = Declaration(
        name: "ulmfit", title: "ULMFiT", summary: "each layer's rate is a fraction of that of the layer above",
        details: """
            scale = factor ** -(layers above it).  Layers count by their different depths, in each tower by itself.
            """,
        equation: "scale = factor^−(layers above)",
        source: "Howard and Ruder 2018, arXiv:1801.06146, §3.2",
        positional: ["factor"])

    package static let depthDependence = DepthDependence.always

    package static let parameters: [Parameter<Self>] = [
        .number("factor", \.factor, .atLeastOne, "ratio between neighbouring layers")
    ]

    package func shares(of layers: [LayerDescriptor]) -> [LayerScaling] {
        let towers = TowerDepths(layers)
        return layers.map { layer in
            let above = towers.count(layer) - 1 - towers.rank(layer)
            return LayerScaling(scale: 1 / integerPower(factor, Int64(above)), origin: Self.declaration.name)
        }
    }
}
