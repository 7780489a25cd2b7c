// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

// What a measured policy keeps of the layers, and how steps bring it up to date.

extension Optimizer {
    /// Whether the policy measures layers, or a part of it does.
    var measures: Bool { policy.measuredPart != nil }

    /// Makes room for the measurements of all layers, where the policy measures.
    func reserveMeasurements() throws(LayerwiseError) {
        measuredPolicy = policy.measuredPart
        if measuredPolicy == nil { return measurements.removeAll() }
        guard measurements.reserve(layers.count) else { throw .outOfMemory("the policy's measurements") }
        while measurements.count < layers.count { measurements.append(LayerMeasurement()) }
    }

    /// The measured scale of a layer: that of the whole, where it is a part.
    func measuredScale(_ layer: Int) -> Double {
        let whole = layers.elements[layer].whole
        return whole < measurements.count ? measurements.elements[whole].scale : 1
    }

    /// Takes what was observed of the layers stepped into the policy's averages and scales, for the steps to come.
    func measure(_ stepped: Range<Int>) {
        guard measurements.count == layers.count, let policy = measuredPolicy else { return }
        let layers = layers.elements
        let all = UnsafeMutableBufferPointer(start: measurements.elements, count: measurements.count)
        for index in all.indices {
            all[index].gradientNorm = 0
            all[index].weightNorm = 0
            all[index].updateNorm = 0
            all[index].isStepped = false
            all[index].isFrozen = layers[index].frozen
        }
        // Squares are added, of a layer and its parts.
        for layer in stepped where hasActiveTensor(layer) {
            let (whole, telemetry) = (layers[layer].whole, layers[layer].telemetry)
            all[whole].gradientNorm += telemetry.gradientNorm * telemetry.gradientNorm
            all[whole].weightNorm += telemetry.weightNorm * telemetry.weightNorm
            all[whole].updateNorm += telemetry.updateNorm * telemetry.updateNorm
            all[whole].rate = layers[whole].effectiveRate
            all[whole].baseRate = layers[whole].plainRate
            all[whole].isStepped = true
        }
        for index in all.indices where all[index].isStepped {
            all[index].gradientNorm = all[index].gradientNorm.squareRoot()
            all[index].weightNorm = all[index].weightNorm.squareRoot()
            all[index].updateNorm = all[index].updateNorm.squareRoot()
        }
        policy.advance(all)
        for layer in 0..<self.layers.count where layers[layer].isMeasured {
            layers[layer].scale = layers[layer].share * all[layers[layer].whole].scale
        }
    }

    private func hasActiveTensor(_ layer: Int) -> Bool {
        let record = layers.elements[layer]
        return (record.firstTensor..<record.firstTensor + record.tensorCount).contains { tensors.elements[$0].active }
    }

    // MARK: - Saving and restoring

    /// What the policy has measured, for a checkpoint: average, count and scale of each layer, in order of registration; empty
    /// where it measures nothing.  An average is NaN before the first value.
    public func measurementState() throws(LayerwiseError) -> [Double] {
        if !measures { return [] }
        try refresh()
        return (0..<measurements.count).flatMap { measurements.elements[$0].state }
    }

    /// Puts back what `measurementState` gave.
    public func setMeasurementState(_ state: [Double]) throws(LayerwiseError) {
        try refresh()
        if state.count != 3 * measurements.count {
            throw LayerwiseError(
                .shape,
                "the policy \(type(of: policy).declaration.name) keeps \(3 * measurements.count) numbers, found \(state.count)"
            )
        }
        for layer in 0..<measurements.count where LayerMeasurement(state: state[(3 * layer)..<(3 * layer + 3)]) == nil {
            throw LayerwiseError(
                .outOfRange, "\(subject(layer)): these are no average, count and scale of a measured policy",
                layer: layer)
        }
        for layer in 0..<measurements.count {
            if let own = LayerMeasurement(state: state[(3 * layer)..<(3 * layer + 3)]) {
                measurements.elements[layer] = own
            }
        }
        scalesAreStale = true
    }
}

extension LayerMeasurement {
    /// Average, count and scale.
    var state: [Double] { [average, Double(count), scale] }

    /// A measurement that left this state behind; nil if none can.
    init?(state: some Collection<Double>) {
        let numbers = Array(state)
        guard numbers.count == 3, let count = Int64(exactly: numbers[1]), count >= 0, count <= mostSteps,
            count == 0 ? numbers[0].isNaN : numbers[0].isFinite, numbers[2] >= 0, numbers[2] < .infinity
        else { return nil }
        self.init()
        average = numbers[0]
        self.count = count
        scale = numbers[2]
    }
}
