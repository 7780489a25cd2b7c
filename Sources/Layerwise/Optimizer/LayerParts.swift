// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

// A layer whose tensors need different hyperparameters is registered in parts: the first is the whole, and each of the
// others names it with the setting "part_of".  Hyperparameters and rates are each part's own.  To everything that goes by
// layers the parts are one: they have the name, tower, depth and role of the whole in policies and freezing plans, and
// clip_layer_norm limits the norm of all of them.

extension Optimizer {
    /// The parts of a layer besides itself.
    func parts(of layer: Int) -> [Int] { partsOfLayers[layer] ?? [] }

    /// Whether a setting that a whole is given holds for its parts too.
    static func isShared(_ key: String) -> Bool { LayerSettings.has(key) && key != "part_of" && key != "maximize" }

    /// Makes the entry of a new layer a part of its whole, whose index is returned; nil where it is part of none.
    func join(_ entry: inout LayerConfiguration, _ given: [Setting]) throws(LayerwiseError) -> Int? {
        let name = entry.settings.partOf
        if name.isEmpty { return nil }
        guard let whole = layerIndex[NameKey(name)] else {
            throw LayerwiseError(
                .unknownName,
                "layer \"\(entry.name)\": part_of: no layer is called \"\(name)\" yet: add the whole first")
        }
        if layers.elements[whole].whole != whole {
            throw LayerwiseError(
                .invalidArgument,
                "layer \"\(entry.name)\": part_of must name a whole layer; \"\(name)\" is itself a part of "
                    + "\"\(entries[whole].settings.partOf)\"")
        }
        if let own = given.first(where: { Self.isPlace($0.key) }) {
            throw LayerwiseError(
                .invalidArgument,
                "layer \"\(entry.name)\": a part has the \(own.key) of its whole, \"\(name)\", and none of its own")
        }
        let keys = Set(given.map(\.key))
        entry.settings.tower = entries[whole].settings.tower
        entry.settings.role = entries[whole].settings.role
        entry.settings.depth = entries[whole].settings.depth
        if !keys.contains("start") { entry.settings.start = entries[whole].settings.start }
        if !keys.contains("frozen") { entry.settings.frozen = entries[whole].settings.frozen }
        entry.schedules = entries[whole].schedules
        return whole
    }

    /// Changes of layers, those of a whole repeated for its parts where they hold for them.
    func withParts(
        _ changes: [(layer: Int, settings: [Setting])]
    ) throws(LayerwiseError) -> [(layer: Int, settings: [Setting])] {
        for change in changes {
            try check(layer: change.layer)
            try refuseForPart(change.layer, change.settings.map(\.key))
        }
        if partsOfLayers.isEmpty { return changes }
        var all: [(layer: Int, settings: [Setting])] = []
        for change in changes {
            all.append(change)
            let shared = change.settings.filter { Self.isShared($0.key) }
            if !shared.isEmpty { all += parts(of: change.layer).map { ($0, shared) } }
        }
        return all
    }

    /// Refuses to change where a part belongs.
    func refuseForPart(_ layer: Int, _ keys: [String]) throws(LayerwiseError) {
        if keys.contains("part_of") {
            throw LayerwiseError(
                .invalidArgument, "\(subject(layer)): part_of can only be given when a layer is added", layer: layer)
        }
        let whole = layers.elements[layer].whole
        if whole != layer, let key = keys.first(where: Self.isPlace) {
            throw LayerwiseError(
                .invalidArgument, "\(subject(layer)): a part has the \(key) of its whole: set it for \(subject(whole))",
                layer: layer)
        }
    }

    private static func isPlace(_ key: String) -> Bool { key == "depth" || key == "tower" || key == "role" }

    /// Whether a layer ascends.
    static func ascends(_ entry: LayerConfiguration, _ settings: Settings) -> Bool {
        entry.settings.maximize.isNaN ? settings.maximize : entry.settings.maximize == 1
    }

    /// The gradient norm of each layer stepped, with those of its parts that are stepped too.
    func gatherWholeNorms(_ stepped: Range<Int>) {
        let layers = layers.elements
        for layer in stepped { layers[layers[layer].whole].wholeNorm = ScaledNumber(0) }
        for layer in stepped {
            let whole = layers + layers[layer].whole
            let norm = layers[layer].gradientNorm
            let sum = whole.pointee.wholeNorm
            whole.pointee.wholeNorm = sum.value == 0 ? norm : norm.value == 0 ? sum : hypotenuse(sum, norm)
        }
    }
}

/// √(x² + y²) of norms.
private func hypotenuse(_ x: ScaledNumber, _ y: ScaledNumber) -> ScaledNumber {
    let exponent = max(x.exponent, y.exponent)
    return ScaledNumber(
        hypotenuse(
            .scaled(x.value, by: x.exponent - exponent), .scaled(y.value, by: y.exponent - exponent)),
        exponent: exponent)
}
