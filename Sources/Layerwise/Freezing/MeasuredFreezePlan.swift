// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

/// A freezing plan that goes by what steps measure of the layers: what it freezes stays frozen.
///
/// A layer that is frozen by hand, or has no gradient, is not measured and keeps what it has.  Averages, counts and decisions are
/// saved in checkpoints.  To measure costs what telemetry costs.  To add one, copy `GradES.swift` and list it in `allFreezePlans`.
package protocol MeasuredFreezePlan: DeclaredFreezePlan {
    /// β of `average ← β · average + (1 − β) · value`.
    var averaging: Double { get }

    /// The value of a layer at the step that was taken; nil where it is undefined.
    func value(of layer: LayerMeasurement) -> Double?

    /// What of each element is watched for it, beside the norms: magnitudes, for which nothing is kept.
    var watching: Watching { get }

    /// Sets the target of each layer that freezes after this step to 0; all others are 1.  It may keep two numbers in the memory of
    /// each layer.
    func decide(_ layers: UnsafeMutableBufferPointer<LayerMeasurement>, step: Int64)
}

extension MeasuredFreezePlan {
    package var measuredPart: (any MeasuredFreezePlan)? { self }
    package var watching: Watching { [] }

    /// All layers train until they are measured.
    package func activities(of layers: [LayerDescriptor]) -> [Activity] { layers.map { _ in .always } }

    /// Takes the values of the step at t into averages, and freezes layers: their scale is 0.  Whether it froze any.
    func advance(_ layers: UnsafeMutableBufferPointer<LayerMeasurement>, step: Int64) -> Bool {
        for index in layers.indices {
            layers[index].target = 1
            if !layers[index].isStepped { continue }
            guard let value = value(of: layers[index]), value.isFinite else {
                layers[index].isStepped = false
                continue
            }
            let old = layers[index].average
            layers[index].average = old.isNaN ? value : old + (1 - averaging) * (value - old)
            if layers[index].count < Int64(mostSteps) { layers[index].count += 1 }
        }
        decide(layers, step: step)
        var freezes = false
        for index in layers.indices where layers[index].target == 0 && layers[index].scale != 0 {
            layers[index].scale = 0
            freezes = true
        }
        return freezes
    }
}

extension Optimizer {
    /// The numbers that a measured plan keeps of a layer: average, count, whether it is frozen, and two more.
    static let planNumbers = 5

    /// Makes room for what the freezing plan measures of all layers.
    func reserveFreezeMeasurements() throws(LayerwiseError) {
        measuredPlan = freezePlan?.measuredPart
        if measuredPlan == nil { return freezeMeasurements.removeAll() }
        guard freezeMeasurements.reserve(layers.count) else { throw .outOfMemory("the freezing plan's measurements") }
        while freezeMeasurements.count < layers.count { freezeMeasurements.append(LayerMeasurement()) }
        for layer in 0..<layers.count {
            freezeMeasurements.elements[layer].depth = places[layer].depth
            freezeMeasurements.elements[layer].unit = layers.elements[layer].whole
        }
    }

    /// Whether a measured plan has frozen a layer.
    func isFrozenByMeasurement(_ layer: Int) -> Bool {
        let whole = layers.elements[layer].whole
        return whole < freezeMeasurements.count && freezeMeasurements.elements[whole].scale == 0
    }

    /// Clears the states of layers that the plan freezes after this step, where it says so.
    func clearStates(_ stepped: Range<Int>) {
        if !timeline.clearsStates || timeline.window.contains(currentStep + 1) { return }
        for layer in stepped where !layers.elements[layer].frozen {
            if frozenBy(layer, at: currentStep + 1) != .plan { continue }
            let record = layers.elements[layer]
            let declared = declaredStates(of: layer)
            for index in record.firstTensor..<record.firstTensor + record.tensorCount {
                tensors.elements[index].clear(declared, givesBack: memory.isLibrary)
            }
        }
    }
}
