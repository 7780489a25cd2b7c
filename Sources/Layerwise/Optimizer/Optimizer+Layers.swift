// SPDX-License-Identifier: Apache-2.0
import LayerwisePlatform
import LayerwiseRules

// Registering layers, and what can be done to one.

extension Optimizer {
    /// How many layers there are.
    public var layerCount: Int { entries.count }

    /// The index of the layer called `name`.
    public func layer(named name: String) throws(LayerwiseError) -> Int {
        if let index = layerIndex[NameKey(name)] { return index }
        let known = entries.prefix(8).map { "\"\($0.name)\"" }.joined(separator: ", ")
        let more = entries.count > 8 ? " and \(entries.count - 8) more" : ""
        throw LayerwiseError(
            .unknownName,
            "no layer is called \"\(name)\"\(hint(for: name, among: entries.map(\.name))), expected one of \(known)\(more)"
        )
    }

    /// The name of a layer.
    public func layerName(_ layer: Int) throws(LayerwiseError) -> String {
        try check(layer: layer)
        return entries[layer].name
    }

    /// Adds a layer of one or more tensors and returns its index, counted from 0 in order of registration.
    ///
    /// State starts at zero, a master copy at the parameters.
    ///
    /// - Parameters:
    ///   - rule: The rule that steps the layer in place of the optimizer's, with its own learning rate; policy, schedules and
    ///     clipping apply to it as to every layer.  It stays the layer's rule.  A rule that takes sums over all layers, such as
    ///     `Prodigy`, can only be the optimizer's.
    ///   - settings: Values of the layer's own: hyperparameters of its rule, "scale", "depth" and others.  "rule" names a rule,
    ///     which then begins with its defaults.
    @discardableResult
    public func addLayer(
        _ name: String, _ descriptions: [TensorDescription], rule: (any Rule)? = nil, settings: [Setting] = []
    ) throws(LayerwiseError) -> Int {
        let layer = entries.count
        if memory.isGiven {
            throw LayerwiseError(
                .invalidArgument, "layer \"\(name)\": layers must be added before the optimizer is given its memory")
        }
        try Self.check(name: name, of: "layer")
        if layerIndex[NameKey(name)] != nil {
            throw LayerwiseError(.duplicate, "a layer is called \"\(name)\" already")
        }
        if descriptions.isEmpty {
            throw LayerwiseError(.invalidArgument, "layer \"\(name)\": expected at least one tensor, found none")
        }
        var entry = LayerConfiguration(
            name: name,
            tensors: descriptions.map {
                TensorDescriptor(name: $0.name, shape: $0.wholeShape ?? $0.shape, part: $0.shape)
            },
            firstTensor: tensors.count)
        if let rule = rule?.implementation.rule {
            do { try rule.check() } catch { throw LayerwiseError(error, of: "layer \"\(name)\"") }
            entry.rule = rule
        }
        entry = try assign(settings, to: entry, layer: layer)
        let whole = try join(&entry, settings) ?? layer
        var ownRule: (any DeclaredRule)?
        if Self.needsOwnRule(entry, schedules) {
            do { ownRule = try self.rule(of: entry) } catch { throw LayerwiseError(error, of: "layer \"\(name)\"") }
        }
        let inForce = ownRule ?? self.rule
        let declared = type(of: inForce).declaration.states
        var records: [TensorStepData] = []
        do throws(LayerwiseError) {
            var names: Set<NameKey> = []
            for (index, description) in descriptions.enumerated() {
                let subject = "layer \"\(name)\": tensor \"\(description.name)\""
                do throws(LayerwiseError) {
                    if !names.insert(NameKey(description.name)).inserted {
                        throw LayerwiseError(.duplicate, "\(subject): the layer has a tensor of this name already")
                    }
                    var record = try record(description, layer: layer, subject: subject)
                    record.stride = Int32(truncatingIfNeeded: inForce.stateStride)
                    record.noiseKey = NormalNoise.key(of: name, description.name)
                    if !self.settings.dryRun {
                        try claim((record.parameters, record.boundGradient), record, (layer, index), subject)
                    }
                    records.append(record)
                } catch { throw error.at(layer: nil, tensor: index) }
            }
            guard layers.reserve(layer + 1), layerShared.reserve(2 * (layer + 1)),
                tensors.reserve(tensors.count + records.count),
                ruleRecords.reserve(rules.count + 1)
            else { throw .outOfMemory("layer \"\(name)\"") }
            for index in records.indices where !self.settings.dryRun {
                // The master copy comes first: a state may start as the parameters.
                guard !descriptions[index].master || records[index].addMaster(&memory),
                    records[index].addStates(inForce.states(of: records[index].kind), declared, &memory),
                    records[index].watch(policy.measuredPart?.watching ?? [], &memory),
                    records[index].follow(self.settings, &memory)
                else { throw .outOfMemory("the state of layer \"\(name)\"") }
            }
        } catch {
            for (index, record) in records.enumerated() {
                record.freeStates(declared)
                if !self.settings.dryRun {
                    release((record.parameters, record.boundGradient), record, (layer, index))
                }
            }
            throw error
        }

        entries.append(entry)
        owners += descriptions.compactMap(\.owner)
        layerIndex[NameKey(name)] = layer
        var record = LayerStepData(firstTensor: tensors.count, tensorCount: records.count)
        record.whole = whole
        record.ascends = Self.ascends(entry, self.settings)
        layers.append(record)
        for _ in 0..<2 { layerShared.append(Self.start(ofShared: inForce)) }
        if whole != layer { partsOfLayers[whole, default: []].append(layer) }
        for record in records { tensors.append(record) }
        if let ownRule { giveOwnRule(ownRule, to: layer) }
        work.isStale = true
        placesAreStale = true
        scalesAreStale = true
        timeline.isStale = true
        return layer
    }

    /// A frozen layer is not updated, not decayed and not counted; its gradients are not read, and its state is kept.
    /// What is said here takes precedence over the freezing plan, until the setting "frozen" is "plan" again.
    public func setFrozen(_ layer: Int, _ frozen: Bool) throws(LayerwiseError) {
        try check(layer: layer)
        for index in CollectionOfOne(layer) + parts(of: layer) {
            entries[index].settings.frozen = frozen ? .yes : .no
        }
        timeline.window = 0..<0
    }

    /// Forgets what the library keeps for a layer: step counts are 0, states are what they start as, a master copy is the
    /// parameters again, and a policy's measurements begin again.
    public func reset(_ layer: Int) throws(LayerwiseError) {
        try check(layer: layer)
        if mode == .evaluation && settings.average != .none {
            throw LayerwiseError(
                .invalidArgument,
                "\(subject(layer)): the parameters hold the average for evaluation: set the mode to training first",
                layer: layer)
        }
        let record = layers.elements[layer]
        let declared = declaredStates(of: layer)
        for index in record.firstTensor..<record.firstTensor + record.tensorCount {
            tensors.elements[index].restart(declared)
        }
        if record.whole == layer && layer < measurements.count {
            let depth = measurements.elements[layer].depth
            measurements.elements[layer] = policy.measuredPart?.start ?? LayerMeasurement()
            measurements.elements[layer].depth = depth
            scalesAreStale = true
        }
        if record.whole == layer && layer < freezeMeasurements.count {
            freezeMeasurements.elements[layer] = LayerMeasurement()
            scalesAreStale = true
        }
    }

    /// Binds a tensor to other buffers of the same type and shape, and keeps its state.
    public func bind(
        layer: Int, tensor: Int, parameters: UnsafeMutableRawPointer?, gradients: UnsafeRawPointer?
    ) throws(LayerwiseError) {
        try check(layer: layer, tensor: tensor)
        let index = layers.elements[layer].firstTensor + tensor
        let record = tensors.elements[index]
        let subject = subject(layer, tensor)
        if parameters == nil && record.count > 0 {
            throw LayerwiseError(.invalidArgument, "\(subject): parameters are NULL", layer: layer, tensor: tensor)
        }
        release((record.parameters, record.boundGradient), record, (layer, tensor))
        do throws(LayerwiseError) {
            try claim((parameters, gradients), record, (layer, tensor), subject)
        } catch {
            enter((record.parameters, record.boundGradient), record, (layer, tensor))
            throw error.at(layer: layer, tensor: tensor)
        }
        tensors.elements[index].parameters = parameters
        tensors.elements[index].boundGradient = gradients
    }

    /// The telemetry of a layer at its last step with the setting "telemetry" on.
    public func telemetry(_ layer: Int) throws(LayerwiseError) -> LayerTelemetry {
        try check(layer: layer)
        return layers.elements[layer].telemetry
    }

    // MARK: - Implementation

    static func check(name: String, of kind: String) throws(LayerwiseError) {
        let length = name.utf8.count
        if length == 0 || length > 255 {
            throw LayerwiseError(.invalidArgument, "a \(kind)'s name must have 1 to 255 bytes, found \(length)")
        }
        if holdsControlCharacters(name) {
            throw LayerwiseError(.invalidArgument, "a \(kind)'s name must not hold control characters")
        }
    }

    /// A tensor's record, without memory.
    private func record(
        _ description: TensorDescription, layer: Int, subject: String
    ) throws(LayerwiseError) -> TensorStepData {
        try Self.check(name: description.name, of: "tensor")
        let (rank, highest) = (description.shape.count, TensorDescription.highestRank)
        if rank > highest {
            throw LayerwiseError(.shape, "\(subject): rank must be from 0 to \(highest), found \(rank)")
        }
        if description.shape.contains(where: { $0 < 0 }) {
            throw LayerwiseError(.shape, "\(subject): extents must not be negative, found shape \(description.shape)")
        }
        guard let count = description.count else {
            throw LayerwiseError(.shape, "\(subject): shape \(description.shape) has too many elements")
        }
        if let whole = description.wholeShape,
            whole.count != description.shape.count || zip(whole, description.shape).contains(where: { $0 < $1 })
        {
            throw LayerwiseError(
                .shape, "\(subject): shape \(description.shape) is no part of the whole shape \(whole)")
        }
        if !description.dtype.isFloatingPoint {
            throw LayerwiseError(
                .dtype, "\(subject): parameters must be floating point, found \(description.dtype.name)")
        }
        if description.gradientDType != description.dtype && description.gradientDType != .float32 {
            let expected = description.dtype == .float32 ? "float32" : "\(description.dtype.name) or float32"
            throw LayerwiseError(
                .dtype, "\(subject): gradients must be \(expected), found \(description.gradientDType.name)")
        }
        if description.master && description.dtype != .float16 && description.dtype != .bfloat16 {
            throw LayerwiseError(
                .dtype, "\(subject): a master copy is for float16 and bfloat16, found \(description.dtype.name)")
        }
        if description.parameters == nil && count > 0 && !settings.dryRun {
            throw LayerwiseError(.invalidArgument, "\(subject): parameters are NULL")
        }
        return TensorStepData(
            layer: layer, count: count, dtype: description.dtype, gradientDType: description.gradientDType,
            matrices: MatrixShape(description.shape, of: description.wholeShape ?? description.shape),
            kind: TensorTraits(isMatrix: description.shape.count >= 2, epsilon: description.dtype.epsilon),
            parameters: description.parameters, boundGradient: description.gradients)
    }

    private typealias Buffers = (parameters: UnsafeMutableRawPointer?, gradients: UnsafeRawPointer?)

    /// Enters a tensor's buffers, unless they share bytes with others that a step writes.
    private func claim(
        _ buffers: Buffers, _ record: TensorStepData, _ owner: (Int, Int), _ subject: String
    ) throws(LayerwiseError) {
        try Self.checkAlignment(
            buffers.parameters.map { UnsafeRawPointer($0) }, record.dtype, "\(subject): parameters")
        try Self.checkAlignment(buffers.gradients, record.gradientDType, "\(subject): gradients")
        guard let (written, read) = Self.intervals(buffers, record, owner) else {
            throw LayerwiseError(.overlap, "\(subject): the buffer runs past the end of the address space")
        }
        if written.start < read.end && read.start < written.end {
            throw LayerwiseError(.overlap, "\(subject): parameters and gradients share bytes")
        }
        if let other = parameterIntervals.firstSharing(written) {
            throw LayerwiseError(.overlap, "\(subject): parameters share bytes with \(label("those", other, owner.0))")
        }
        if let other = gradientIntervals.firstSharing(written) {
            throw LayerwiseError(
                .overlap, "\(subject): parameters share bytes with \(label("the gradients", other, owner.0))")
        }
        if let other = parameterIntervals.firstSharing(read) {
            throw LayerwiseError(
                .overlap, "\(subject): gradients share bytes with \(label("the parameters", other, owner.0))")
        }
        enter(buffers, record, owner)
    }

    /// Enters a tensor's buffers, which were checked.
    private func enter(_ buffers: Buffers, _ record: TensorStepData, _ owner: (Int, Int)) {
        guard let (written, read) = Self.intervals(buffers, record, owner) else { return }
        parameterIntervals.insert(written)
        gradientIntervals.insert(read)
    }

    /// Takes a tensor's buffers out again.
    private func release(_ buffers: Buffers, _ record: TensorStepData, _ owner: (Int, Int)) {
        guard let (written, read) = Self.intervals(buffers, record, owner) else { return }
        parameterIntervals.remove(written)
        gradientIntervals.remove(read)
    }

    /// The bytes of a tensor's buffers, or nil where one would pass the end of the address space.
    private static func intervals(
        _ buffers: Buffers, _ record: TensorStepData, _ owner: (Int, Int)
    ) -> (written: IntervalSet.Interval, read: IntervalSet.Interval)? {
        guard
            let written = IntervalSet.interval(
                buffers.parameters.map { UnsafeRawPointer($0) },
                buffers.parameters == nil ? 0 : record.count * record.dtype.size, layer: owner.0, tensor: owner.1),
            let read = IntervalSet.interval(
                buffers.gradients, buffers.gradients == nil ? 0 : record.count * record.gradientDType.size,
                layer: owner.0, tensor: owner.1)
        else { return nil }
        return (written, read)
    }

    /// Refuses an address that no element of this type can have.
    static func checkAlignment(
        _ address: UnsafeRawPointer?, _ dtype: DType, _ what: @autoclosure () -> String
    ) throws(LayerwiseError) {
        // A type's size is a power of two.
        if UInt(bitPattern: address) & UInt(dtype.size - 1) != 0 {
            throw LayerwiseError(
                .invalidArgument, "\(what()) must be aligned to \(dtype.size) bytes, as \(dtype.name) is")
        }
    }

    /// How messages name a buffer, whose owner may be the layer that is just being added, or the optimizer itself.
    func label(_ what: String, _ interval: IntervalSet.Interval, _ layer: Int) -> String {
        if interval.layer < 0 { return "the memory that the optimizer was given" }
        return what + " of "
            + (interval.layer < entries.count
                ? subject(interval.layer, interval.tensor) : "tensor \(interval.tensor) of this layer")
    }
}

extension LayerwiseError {
    func at(layer: Int?, tensor: Int?) -> LayerwiseError {
        var error = self
        error.layer = layer
        error.tensor = tensor
        return error
    }
}
