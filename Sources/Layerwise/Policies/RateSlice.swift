// SPDX-License-Identifier: Apache-2.0
import LayerwisePlatform
import LayerwiseRules

/// Rates, not multipliers, from the first layer to the last, in place of the optimizer's.
///
///     slice(lowest, highest):  rate = lowest · (highest / lowest)^(i / (n − 1)),  i = 0 … n − 1
///     slice(highest):          rate = highest for the last layer, highest / 10 for the others
///
/// Source: fastai's `slice` in `set_hyper` (`even_mults`), which it equals.  Layers of one depth share a rate, as fastai's
/// groups do; each tower has its own slice.
public struct RateSlice: DeclaredPolicy {
    /// Rate of the first layer, at most highest.
    public var lowest = Double.nan
    /// Rate of the last layer.
    public var highest = Double.nan

    public init() {}

    /// Creates the policy; throws if a value is outside its range.  The properties document the settings.
    public init(_ lowest: Double, _ highest: Double) throws(SettingError) {
        self.lowest = try Self.given("lowest", lowest)
        self.highest = try Self.given("highest", highest)
        try settle()
    }

    /// Creates the policy; throws if a value is outside its range.  The properties document the settings.
    public init(_ highest: Double) throws(SettingError) {
        self.highest = try Self.given("highest", highest)
        try settle()
    }

    package static let declaration = Declaration(
        name: "rate_slice", formerNames: ["slice"], title: "RateSlice",
        summary: "fastai's slice: rates from the first layer to the last",
        details: """
            RateSlice(lowest, highest): rate = lowest * (highest / lowest) ** (i / (n - 1)) for layer i of n; \
            RateSlice(highest): rate = highest for the last layer, highest / 10 for the others.  Rates, not multipliers, \
            in place of the optimizer's lr; it equals fastai's slice.  Layers of one depth share a rate; each tower \
            has its own slice.
            """,
        equation: "rate = lowest·(highest/lowest)^(i/(n−1)); without lowest: highest/10 below the last layer",
        source: "fastai, even_mults",
        positional: ["lowest", "highest"])

    package static let depthDependence = DepthDependence.always

    package static let parameters: [Parameter<Self>] = [
        .number("lowest", \.lowest, .positive, "rate of the first layer, at most highest").optional,
        .number("highest", \.highest, .positive, "rate of the last layer").required,
    ]

    package func validate() throws(SettingError) {
        if highest.isNaN { throw .invalid("highest must be given, in \(ValidRange.positive)") }
        if lowest > highest { throw .invalid("lowest must not exceed highest, found \(lowest) and \(highest)") }
    }

    package func shares(of layers: [LayerDescriptor]) -> [LayerScaling] {
        let towers = TowerDepths(layers)
        return layers.map { layer in
            LayerScaling(rate: rate(towers.rank(layer), of: towers.count(layer)), origin: Self.declaration.name)
        }
    }

    private func rate(_ index: Int, of count: Int) -> Double {
        if index == count - 1 { return highest }
        if lowest.isNaN { return highest / 10 }
        return lowest * pow(highest / lowest, Double(index) / Double(count - 1))
    }
}
