// SPDX-License-Identifier: Apache-2.0
import Glibc

/// Rates that rise geometrically from the first layer to the last.
///
///     scale = lowest · (highest / lowest)^(depth / top)
///
/// Source: fastai's `slice(lo, hi)`, which it equals for layers that each have a depth of their own, with a base rate of
/// `hi`, `lowest` = lo / hi and `highest` = 1.  A single layer has the scale `highest`, as there.
public struct GeometricRange: Policy, Configurable {
    public static let name = "range"
    public static let doc = "rates that rise geometrically from depth 0 to the top"

    public var lowest = 0.01
    public var highest = 1.0

    public init(lowest: Double, highest: Double = 1) throws(SettingError) {
        try self.init(settings: [Setting("lowest", lowest), Setting("highest", highest)])
    }

    init() {}
    public init(settings: [Setting]) throws(SettingError) { try self.init(Self(), settings) }

    public static let parameters: [Parameter<Self>] = [
        .number("lowest", \.lowest, .positive, "scale at depth 0"),
        .number("highest", \.highest, .positive, "scale at the highest depth"),
    ]

    public func validate() throws(SettingError) {
        if lowest > highest { throw .invalid("lowest must not exceed highest, found \(lowest) and \(highest)") }
    }

    public func scales(of layers: [LayerPlace]) -> [Double] {
        guard let top = layers.map(\.depth).max(), top > 0 else { return layers.map { _ in highest } }
        return layers.map { layer in
            layer.depth == top ? highest : lowest * pow(highest / lowest, Double(layer.depth) / Double(top))
        }
    }
}
