// SPDX-License-Identifier: Apache-2.0
import LayerwisePlatform
import LayerwiseRules

/// Rates that rise geometrically from the first layer to the last, in each tower.
///
///     scale = lowest · (highest / lowest)^(depth / top)
///
/// A single layer has the scale `highest`.  `RateSlice` says the same in rates, as fastai does.
public struct GeometricRange: DeclaredPolicy {
    /// Scale at depth 0, at most highest.
    public var lowest = 0.01
    /// Scale at the highest depth.
    public var highest = 1.0

    public init() {}

    /// Creates the policy; throws if a value is outside its range.  The properties document the settings.
    public init(lowest: Double, highest: Double = 1) throws(SettingError) {
        self.lowest = lowest
        self.highest = highest
        try settle()
    }

    package static let declaration = Declaration(
        name: "geometric_range", formerNames: ["range"], title: "GeometricRange",
        summary: "rates that rise geometrically from depth 0 to the top",
        details: """
            scale = lowest * (highest / lowest) ** (depth / top_depth), in each tower.  `RateSlice` says the same in \
            rates.
            """,
        equation: "scale = lowest·(highest/lowest)^(depth/top)",
        source: "fastai's slice(lo, hi), as multipliers",
        positional: ["lowest", "highest"])

    package static let depthDependence = DepthDependence.always

    package static let parameters: [Parameter<Self>] = [
        .number("lowest", \.lowest, .positive, "scale at depth 0, at most highest").required,
        .number("highest", \.highest, .positive, "scale at the highest depth"),
    ]

    package func validate() throws(SettingError) {
        if lowest > highest { throw .invalid("lowest must not exceed highest, found \(lowest) and \(highest)") }
    }

    package func shares(of layers: [LayerDescriptor]) -> [LayerScaling] {
        let towers = TowerDepths(layers)
        return layers.map { layer in
            let top = towers.top(layer)
            let scale =
                layer.depth == top ? highest : lowest * pow(highest / lowest, Double(layer.depth) / Double(top))
            return LayerScaling(scale: scale, origin: Self.declaration.name)
        }
    }
}
