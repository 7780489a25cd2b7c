// SPDX-License-Identifier: Apache-2.0

/// A scale for each layer, by name.
///
/// Matching is strict: a name that no layer has is an error, and so is a layer without a name here, unless the key "*"
/// gives a scale to every other layer.
public struct Explicit: Policy {
    public static let name = "explicit"
    public static let doc = "a scale for each layer by name; \"*\" is every other layer"

    /// The key that stands for every layer that is not named.
    public static let others = "*"

    private let names: [String]
    private let table: [String: Double]

    public init(_ scales: [String: Double]) throws(SettingError) {
        try self.init(settings: scales.sorted { $0.key < $1.key }.map { Setting($0.key, $0.value) })
    }

    public init(settings: [Setting]) throws(SettingError) {
        var table: [String: Double] = [:]
        for setting in settings {
            guard case .number(let scale) = setting.value, ValidRange.nonNegative.contains(scale) else {
                throw .invalid("the scale of layer \"\(setting.key)\" must be a number in \(ValidRange.nonNegative)")
            }
            if table.updateValue(scale, forKey: setting.key) != nil {
                throw .duplicate("layer \"\(setting.key)\" is named twice")
            }
        }
        names = settings.map(\.key)
        self.table = table
    }

    public func scales(of layers: [LayerPlace]) throws(SettingError) -> [Double] {
        let known = Set(layers.map(\.name))
        let strangers = names.filter { $0 != Self.others && !known.contains($0) }
        if !strangers.isEmpty { throw .unknown("no layer is called \(list(strangers))") }
        let rest = table[Self.others]
        let missing = layers.map(\.name).filter { table[$0] == nil }
        if rest == nil && !missing.isEmpty { throw .invalid("no scale for layer \(list(missing))") }
        return layers.map { table[$0.name] ?? rest ?? 1 }
    }

    private func list(_ names: [String]) -> String {
        let shown = names.prefix(8).map { "\"\($0)\"" }.joined(separator: ", ")
        return names.count > 8 ? "\(shown) and \(names.count - 8) more" : shown
    }
}
