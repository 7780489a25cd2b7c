// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

/// Layers freeze for good from the input on, as far as their gradients have settled.
///
///     a = Σ ‖g‖ of a layer over the steps of an interval,  a′ that of the interval before
///     η = |a′ − a| / a′
///     frozen: the layers before the first, from the input, with η ≥ the quantile of η of all that train
///
/// Source: Liu et al. 2021 (AutoFreeze, arXiv:2102.01386).  Theirs takes the 1-norm of a gradient that is summed over the interval,
/// which needs a copy of all gradients; here norms of the steps are added up.  Layers of one depth freeze together, and the layer with
/// the largest η never does.
public struct AutoFreeze: MeasuredFreezePlan {
    /// Steps of an interval.
    public var every = 0
    /// Which of the changes of all layers that train is the limit.
    public var quantile = 0.5

    public init() {}

    /// Creates the plan; throws if a value is outside its range.  The properties document the settings.
    public init(every: Int, quantile: Double = 0.5) throws(SettingError) {
        self.every = every
        self.quantile = quantile
        try settle()
    }

    package static let declaration = Declaration(
        name: "auto_freeze", title: "AutoFreeze",
        summary: "layers freeze for good from the input on, as far as their gradients have settled",
        details: """
            At the end of each interval of `every` steps, eta = |a' - a| / a' of each layer that trains, where a is the sum of |g| over \
            the interval and a' that of the one before.  The layers before the first, from the input, whose eta reaches that \
            quantile of all freeze.  Layers of one depth freeze together.  What was measured is saved in checkpoints.  It costs what \
            telemetry costs.
            """,
        equation: "frozen: the first layers with |a′ − a|/a′ below the quantile, a = Σ‖g‖ of an interval",
        source: "Liu et al. 2021, arXiv:2102.01386, from norms in place of summed gradients",
        positional: ["every"])

    package static let depthDependence = DepthDependence.always

    package static let parameters: [Parameter<Self>] = [
        .integer("every", \.every, 1...mostSteps, "steps of an interval"),
        .number("quantile", \.quantile, .closedFraction, "which of the changes of all layers that train is the limit"),
    ]

    package func validate() throws(SettingError) { try require("every", every) }

    package var averaging: Double { 0 }

    package func value(of layer: LayerMeasurement) -> Double? { layer.gradientNorm }

    package func decide(_ layers: UnsafeMutableBufferPointer<LayerMeasurement>, step: Int64) {
        for index in layers.indices where layers[index].isStepped {
            layers[index].memory[0] = min(layers[index].memory[0] + layers[index].average, .greatestFiniteMagnitude)
        }
        if (step + 1) % Int64(every) != 0 { return }
        freeze(layers)
        for index in layers.indices {
            layers[index].memory[1] = layers[index].memory[0]
            layers[index].memory[0] = 0
        }
    }

    /// η; nil for a layer that does not train, or had no gradient in the interval before.
    private func change(_ layer: LayerMeasurement) -> Double? {
        if layer.isFrozen || layer.scale == 0 || !(layer.memory[1] > 0) { return nil }
        return (layer.memory[1] - layer.memory[0]).magnitude / layer.memory[1]
    }

    private func freeze(_ layers: UnsafeMutableBufferPointer<LayerMeasurement>) {
        withUnsafeTemporaryAllocation(of: Double.self, capacity: max(1, layers.count)) { changes in
            var count = 0
            for layer in layers {
                guard let own = change(layer) else { continue }
                // Sorted as they come.
                var place = count
                while place > 0 && changes[place - 1] > own {
                    changes[place] = changes[place - 1]
                    place -= 1
                }
                changes[place] = own
                count += 1
            }
            if count == 0 { return }
            let position = quantile * Double(count - 1)
            let below = min(Int(position), count - 1)
            let above = min(below + 1, count - 1)
            let limit = changes[below] + (position - Double(below)) * (changes[above] - changes[below])
            freezePrefix(layers, limit)
        }
    }

    /// Freezes depth after depth, as long as all layers of a depth that train are below the limit.
    private func freezePrefix(_ layers: UnsafeMutableBufferPointer<LayerMeasurement>, _ limit: Double) {
        var depth = -1
        while true {
            var next = Int.max
            for layer in layers where layer.count > 0 && !layer.isFrozen && layer.scale != 0 && layer.depth > depth {
                next = min(next, layer.depth)
            }
            if next == .max { return }
            depth = next
            func isHere(_ layer: LayerMeasurement) -> Bool {
                layer.count > 0 && !layer.isFrozen && layer.scale != 0 && layer.depth == depth
            }
            for layer in layers where isHere(layer) {
                guard let own = change(layer), own < limit else { return }
            }
            for index in layers.indices where isHere(layers[index]) { layers[index].target = 0 }
        }
    }
}
