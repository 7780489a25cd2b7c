// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

// What a measured policy keeps of the layers, and how steps bring it up to date.

extension Optimizer {
    /// Whether the policy measures layers, or a part of it does.
    var measures: Bool { policy.measuredPart != nil }

    /// Makes room for the measurements of all layers, where the policy measures.
    func reserveMeasurements() throws(LayerwiseError) {
        measuredPolicy = policy.measuredPart
        spectralPolicy = measuredPolicy as? any SpectralPolicy
        if spectralPolicy == nil { dropSpectra() }
        try reserveFreezeMeasurements()
        if measuredPolicy == nil { return measurements.removeAll() }
        guard measurements.reserve(layers.count) else { throw .outOfMemory("the policy's measurements") }
        let first = measurements.count
        let start = measuredPolicy?.start ?? LayerMeasurement()
        while measurements.count < layers.count { measurements.append(start) }
        placeMeasurements()
        findPendingSpectra()
        if settings.dryRun { return }
        // Layers that begin to be measured begin to be watched.  What was written to their states stays.
        let watching = watching
        for index in 0..<tensors.count where tensors.elements[index].layer >= first {
            guard tensors.elements[index].watch(watching, &memory) else { throw noMemory("what the policy watches") }
        }
    }

    /// Tells measurements where their layers are, and with which others they are added up.
    private func placeMeasurements() {
        let byTower = measuredPolicy?.measuring.unit == .tower
        var towers: [NameKey: (number: Int, first: Int)] = [:]
        for layer in 0..<layers.count {
            let own = measurements.elements + layer
            let tower = NameKey(places[layer].tower)
            let (number, first) = towers[tower] ?? (towers.count, layer)
            towers[tower] = (number, first)
            own.pointee.depth = places[layer].depth
            own.pointee.isHead = places[layer].role == .head
            own.pointee.isEnd = places[layer].role == .stem || own.pointee.isHead
            own.pointee.tower = number
            own.pointee.unit = byTower ? first : layers.elements[layer].whole
        }
    }

    /// What policy and freezing plan watch of each element.
    var watching: Watching { (measuredPolicy?.watching ?? []).union(measuredPlan?.watching ?? []) }

    /// Whether steps keep norms, for telemetry or for what measures.
    var observes: Bool {
        settings.telemetry || (measuredPolicy != nil && spectralPolicy == nil) || measuredPlan != nil
    }

    /// What is measured of a layer: of the whole, where it is a part, or of its tower; nil where nothing is.
    func measurement(of layer: Int) -> LayerMeasurement? {
        layer < measurements.count ? measurements.elements[measurements.elements[layer].unit] : nil
    }

    /// The measured scale of a layer.
    func measuredScale(_ layer: Int) -> Double {
        layer < measurements.count ? measurements.elements[measurements.elements[layer].unit].scale : 1
    }

    /// Takes what was observed of the layers stepped into the policy's averages and scales, and into what the freezing plan goes
    /// by, for the steps to come.
    func measure(_ stepped: Range<Int>) {
        let layers = layers.elements
        if measurements.count == self.layers.count, let policy = measuredPolicy {
            let all = UnsafeMutableBufferPointer(start: measurements.elements, count: measurements.count)
            if spectralPolicy != nil {
                if rampSpectra(stepped) && policy.scalesDecay { scalesAreStale = true }
            } else {
                gather(stepped, into: all)
                policy.advance(all)
                for layer in all.indices { all[layer].microbatches = MicrobatchSums() }
            }
            for layer in 0..<self.layers.count where layers[layer].isMeasured {
                layers[layer].scale = layers[layer].share * measuredScale(layer)
            }
        }
        if freezeMeasurements.count == self.layers.count, let plan = measuredPlan {
            let all = UnsafeMutableBufferPointer(start: freezeMeasurements.elements, count: freezeMeasurements.count)
            gather(stepped, into: all)
            if plan.advance(all, step: currentStep) { timeline.window = 0..<0 }
        }
    }

    /// Fills in what was observed of the layers stepped.
    private func gather(_ stepped: Range<Int>, into all: UnsafeMutableBufferPointer<LayerMeasurement>) {
        let layers = layers.elements
        for index in all.indices {
            all[index].gradientNorm = 0
            all[index].weightNorm = 0
            all[index].updateNorm = 0
            all[index].gradientProduct = 0
            all[index].lastUpdateNorm = 0
            all[index].clippedGradientNorm = 0
            all[index].signAgreement = .nan
            all[index].compared = 0
            all[index].distance = 0
            all[index].gradientMagnitude = 0
            all[index].updateMagnitude = 0
            all[index].elements = 0
            all[index].isStepped = false
            all[index].isFrozen = true
        }
        for index in all.indices where !layers[index].frozen { all[all[index].unit].isFrozen = false }
        // Squares are added, of a layer and its parts; signs are counted, in two numbers.
        for layer in stepped where hasActiveTensor(layer) {
            let (telemetry, watched) = (layers[layer].telemetry, layers[layer].watched)
            let whole = all[layer].unit
            if !all[whole].isStepped {
                all[whole].weightDecay = weightDecay(layer)
                all[whole].signAgreement = 0
                all[whole].rate = layers[layers[layer].whole].effectiveRate
                all[whole].baseRate = layers[layers[layer].whole].plainRate
                all[whole].givenScale = layers[layers[layer].whole].share
            }
            all[whole].gradientNorm += telemetry.gradientNorm * telemetry.gradientNorm
            all[whole].weightNorm += telemetry.weightNorm * telemetry.weightNorm
            all[whole].updateNorm += telemetry.updateNorm * telemetry.updateNorm
            all[whole].gradientProduct += watched.product
            all[whole].lastUpdateNorm += watched.lastSquares
            all[whole].clippedGradientNorm += watched.gradientSquares
            all[whole].signAgreement += watched.signs
            all[whole].compared += watched.compared
            all[whole].distance += watched.distanceSquares
            all[whole].gradientMagnitude += watched.gradientMagnitudes / telemetry.clipFactor
            all[whole].updateMagnitude += watched.updateMagnitudes
            all[whole].elements += watched.elements
            all[whole].isStepped = true
        }
        for index in all.indices where all[index].isStepped {
            all[index].gradientNorm = all[index].gradientNorm.squareRoot()
            all[index].weightNorm = all[index].weightNorm.squareRoot()
            all[index].updateNorm = all[index].updateNorm.squareRoot()
            all[index].lastUpdateNorm = all[index].lastUpdateNorm.squareRoot()
            all[index].clippedGradientNorm = all[index].clippedGradientNorm.squareRoot()
            all[index].distance = all[index].distance.squareRoot()
            let compared = all[index].compared
            all[index].signAgreement =
                compared > 0 ? 0.5 + 0.5 * all[index].signAgreement / compared : .nan
        }
    }

    /// λ of the first tensor of a layer that was stepped.
    private func weightDecay(_ layer: Int) -> Double {
        let record = layers.elements[layer]
        let rule = ruleInForce(record.rule)
        for index in record.firstTensor..<record.firstTensor + record.tensorCount where tensors.elements[index].active {
            return rule.weightDecay * rule.decayScale(tensors.elements[index].kind)
        }
        return 0
    }

    func activeElements(_ layer: Int) -> Double {
        let record = layers.elements[layer]
        var count = 0.0
        for index in record.firstTensor..<record.firstTensor + record.tensorCount where tensors.elements[index].active {
            count += Double(tensors.elements[index].count)
        }
        return count
    }

    func hasActiveTensor(_ layer: Int) -> Bool {
        let record = layers.elements[layer]
        return (record.firstTensor..<record.firstTensor + record.tensorCount).contains { tensors.elements[$0].active }
    }

    // MARK: - Saving and restoring

    /// The numbers that the policy keeps of a layer.
    private var policyNumbers: Int { 3 + (measuredPolicy.map { type(of: $0).memoryCount } ?? 0) }

    /// The numbers that the freezing plan keeps of a layer.
    private var planNumbers: Int { freezePlan?.measuredPart == nil ? 0 : Self.planNumbers }

    /// What policy and freezing plan have measured, for a checkpoint: of each layer, in order of registration, average, count and
    /// scale, and what else the policy keeps; then those of the plan, whose scale is 0 for a layer that it has frozen.  Empty
    /// where nothing is measured.  An average is NaN before the first value.
    package func measurementState() throws(LayerwiseError) -> [Double] {
        if !measures && planNumbers == 0 { return [] }
        try refresh()
        settleSpectra()
        return (0..<layers.count).flatMap { layer in
            (layer < measurements.count ? measurementNumbers(layer, ofPlan: false) : [])
                + (layer < freezeMeasurements.count ? measurementNumbers(layer, ofPlan: true) : [])
        }
    }

    /// Puts back what `measurementState` gave.
    package func setMeasurementState(_ state: [Double]) throws(LayerwiseError) {
        try refresh()
        let ofPolicy = measures ? policyNumbers : 0
        let numbers = ofPolicy + planNumbers
        if state.count != numbers * layers.count {
            let keeper =
                planNumbers == 0
                ? "the policy \(type(of: policy).declaration.name) keeps" : "policy and freezing plan keep"
            throw LayerwiseError(.shape, "\(keeper) \(numbers * layers.count) numbers, found \(state.count)")
        }
        var found: [(policy: LayerMeasurement, plan: LayerMeasurement)] = []
        for layer in 0..<layers.count {
            let first = numbers * layer
            let start = LayerMeasurement()
            let ofThis =
                ofPolicy == 0 ? start : measurement(Array(state[first..<first + ofPolicy]), ofPlan: false)
            let ofItsPlan =
                planNumbers == 0 ? start : measurement(Array(state[first + ofPolicy..<first + numbers]), ofPlan: true)
            guard let ofThis, let ofItsPlan else {
                throw LayerwiseError(
                    .outOfRange, "\(subject(layer)): these are no average, count and scale of a measured policy",
                    layer: layer)
            }
            found.append((ofThis, ofItsPlan))
        }
        dropSpectra()
        for layer in 0..<measurements.count { measurements.elements[layer].adopt(found[layer].policy) }
        for layer in 0..<freezeMeasurements.count { freezeMeasurements.elements[layer].adopt(found[layer].plan) }
        scalesAreStale = true
    }

    /// Forgets what policy and freezing plan have measured.  What tensors keep for them stays.
    public func restartMeasurements() throws(LayerwiseError) {
        try refresh()
        dropSpectra()
        let start = measuredPolicy?.start ?? LayerMeasurement()
        for layer in 0..<measurements.count { measurements.elements[layer].adopt(start) }
        for layer in 0..<freezeMeasurements.count { freezeMeasurements.elements[layer].adopt(LayerMeasurement()) }
        scalesAreStale = true
    }

    /// What a checkpoint says of one layer; nil where nothing is measured.
    func measurementNumbers(_ layer: Int, ofPlan: Bool) -> [Double] {
        ofPlan
            ? freezeMeasurements.elements[layer].state(Self.planNumbers)
            : measurements.elements[layer].state(policyNumbers)
    }

    /// A layer's measurement as a checkpoint says it; nil if it cannot be one.
    func measurement(_ numbers: [Double], ofPlan: Bool) -> LayerMeasurement? {
        LayerMeasurement(state: numbers, numbers: ofPlan ? Self.planNumbers : policyNumbers)
    }
}

extension LayerMeasurement {
    /// Average, count and scale, and the memory that makes it `numbers`.
    func state(_ numbers: Int) -> [Double] {
        [average, Double(count), scale] + (0..<max(0, numbers - 3)).map { memory[$0] }
    }

    /// A measurement that left this state behind; nil if none can.
    init?(state: some Collection<Double>, numbers count: Int) {
        let numbers = Array(state)
        guard numbers.count == count, let count = Int64(exactly: numbers[1]), count >= 0, count <= mostSteps,
            count == 0 ? numbers[0].isNaN : numbers[0].isFinite, numbers[2] >= 0, numbers[2] < .infinity,
            numbers.dropFirst(3).allSatisfy(\.isFinite)
        else { return nil }
        self.init()
        average = numbers[0]
        self.count = count
        scale = numbers[2]
        for (index, number) in numbers.dropFirst(3).enumerated() { memory[index] = number }
    }

    /// Takes over what is saved of another.
    mutating func adopt(_ other: Self) {
        average = other.average
        count = other.count
        scale = other.scale
        memory = other.memory
        target = other.target
    }
}
