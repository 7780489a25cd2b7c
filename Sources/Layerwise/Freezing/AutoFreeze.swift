// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

/// Layers freeze for good from the input on, as far as their gradients have settled.
///
///     a = Σ ‖g‖ of a layer over the steps of an interval,  a′ that of the interval before;  Σ |g|₁ with norm "l1"
///     η = |a′ − a| / a′
///     frozen: the layers before the first, from the input, with η ≥ the quantile of η of all that train
///
/// Source: Liu et al. 2021 (AutoFreeze, arXiv:2102.01386).  Theirs takes the 1-norm of a gradient that is summed over the interval,
/// which needs a copy of all gradients; here norms of the steps are added up, 2-norms or 1-norms.  Layers of one depth freeze together, and the layer with
/// the largest η never does.
public struct AutoFreeze: MeasuredFreezePlan {
    /// Steps of an interval.
    public var every = 0
    /// Which of the changes of all layers that train is the limit.
    public var quantile = 0.5
    /// The norm that is added up.
    public var norm = Norm.l2

    /// A norm of gradients: `l2` is the root of the sum of squares, `l1` the sum of magnitudes.
    public enum Norm: String, Choice {
        case l2, l1
    }

    public init() {}

    /// Creates the plan; throws if a value is outside its range.  The properties document the settings.
    public init(every: Int, quantile: Double = 0.5, norm: Norm = .l2) throws(SettingError) {
        self.every = every
        self.quantile = quantile
        self.norm = norm
        try settle()
    }

    package static let declaration = Declaration(
        name: "auto_freeze", title: "AutoFreeze",
        summary: "layers freeze for good from the input on, as far as their gradients have settled",
        details: """
            At the end of each interval of `every` steps, eta = |a' - a| / a' of each layer that trains, where a is the sum of ||g|| over \
            the interval and a' that of the one before.  The layers before the first, from the input, whose eta reaches that \
            quantile of all freeze.  Layers of one depth freeze together.  What was measured is saved in checkpoints.  It costs what \
            telemetry costs.  Norm "l1" adds up magnitudes, as the authors do, for a little more; it is less of outliers than the \
            norm "l2".
            """,
        equation: "frozen: the first layers with |a′ − a|/a′ below the quantile, a = Σ‖g‖ of an interval",
        source: "Liu et al. 2021, arXiv:2102.01386, from norms in place of summed gradients",
        positional: ["every"])

    package static let depthDependence = DepthDependence.always

    package static let parameters: [Parameter<Self>] = [
        .integer("every", \.every, 1...mostSteps, "steps of an interval"),
        .number("quantile", \.quantile, .closedFraction, "which of the changes of all layers that train is the limit"),
        .choice("norm", \.norm, "the norm that is added up: \"l2\" or \"l1\"").omittedAtDefault,
    ]

    package func validate() throws(SettingError) { try require("every", every) }

    package var averaging: Double { 0 }

    package var watching: Watching { norm == .l1 ? .gradientMagnitudes : [] }

    package func value(of layer: LayerMeasurement) -> Double? {
        norm == .l1 ? layer.gradientMagnitude : layer.gradientNorm
    }

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
