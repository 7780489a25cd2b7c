// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

// What layers are and what they get at a step, now or later.

extension Optimizer {
    /// What a layer is, and what it gets at step t, by default the next.
    public func info(_ layer: Int, at step: Int64? = nil) throws(LayerwiseError) -> LayerInfo {
        try check(layer: layer)
        let step = try prepareInfo(at: step)
        return info(layer, at: step, moved: try rules(at: step))
    }

    /// The info of all layers, in the order of registration.
    public func infos(at step: Int64? = nil) throws(LayerwiseError) -> [LayerInfo] {
        let step = try prepareInfo(at: step)
        let moved = try rules(at: step)
        return entries.indices.map { info($0, at: step, moved: moved) }
    }

    /// The rules as a step at t would find them.
    private func rules(at step: Int64) throws(LayerwiseError) -> [any DeclaredRule] {
        if timeline.movements.isEmpty { return rules }
        return try movedRules(at: step) { timeline.factor(of: $0, at: step, learningRate: rule.learningRate) }
    }

    private func prepareInfo(at step: Int64?) throws(LayerwiseError) -> Int64 {
        if let step, step < 0 || step > mostSteps {
            throw LayerwiseError(.outOfRange, "the step must be from 0 to \(mostSteps), found \(step)")
        }
        try refresh()
        return step ?? clock.next
    }

    private func info(_ layer: Int, at step: Int64, moved: [any DeclaredRule]) -> LayerInfo {
        let record = layers.elements[layer]
        let entry = entries[layer]
        let place = places[layer]
        let rule = moved[record.rule]
        let activity = layer < timeline.activities.count ? timeline.activities[layer] : nil
        let annealing = annealing(layer, at: step)
        let factor = timeline.factor(of: record.track, at: step, learningRate: self.rule.learningRate)
        let baseRate = record.base(rule.learningRate)
        let rate = factor.rate(base: baseRate, scale: record.scale, annealing: annealing)
        let frozenBy = frozenBy(layer, at: step)
        let floor = timeline.source(of: record.track)?.schedule.floor(base: self.rule.learningRate).map {
            $0.rate(base: baseRate, scale: record.scale, annealing: annealing)
        }
        let own = (record.firstTensor..<record.firstTensor + record.tensorCount).map { tensors.elements[$0] }
        let decayScale = own.map(\.kind.decayScale).max() ?? 1
        let measured = measurement(of: layer)
        return LayerInfo(
            name: entry.name, partOf: entry.settings.partOf, depth: place.depth, tower: place.tower, role: place.role,
            rule: type(of: rule).declaration.name, tensorCount: record.tensorCount,
            parameterCount: own.reduce(0) { $0.addingReportingOverflow($1.count).partialValue },
            stateBytes: own.reduce(0) { $0 + $1.keptBytes(declaredStates(of: layer)) },
            steps: own.map(\.steps).max() ?? 0,
            frozenBy: frozenBy,
            changesAt: entry.settings.frozen == .plan ? activity?.nextChange(after: step) : nil,
            scale: record.scale, scaleSource: entry.settings.scale.isNaN ? .policy : .layer,
            origin: entry.origin.isEmpty ? type(of: policy).declaration.name : entry.origin,
            baseRate: baseRate, factor: rate / (baseRate * record.scale), floor: floor,
            effectiveRate: frozenBy == .nobody ? rate : 0,
            weightDecay: rule.weightDecay * (own.map { rule.decayScale($0.kind) }.max() ?? 1),
            exceptions: exceptions(entry, own, decayScale),
            measuredValue: measured?.average ?? .nan,
            measuredTarget: measured.flatMap { measuredPolicy?.shownTarget(of: $0) } ?? .nan,
            measuredScale: measured?.scale ?? .nan)
    }

    private func exceptions(
        _ entry: LayerConfiguration, _ own: [TensorStepData], _ decayScale: Double
    ) -> [TensorOverride] {
        zip(entry.tensors, own).compactMap { place, tensor in
            let kind = tensor.kind
            if tensor.scale == 1 && kind.decayScale == decayScale && kind.mayAdapt { return nil }
            return TensorOverride(
                name: place.name, scale: tensor.scale, decayScale: decayScale == 0 ? 1 : kind.decayScale / decayScale,
                mayAdapt: kind.mayAdapt)
        }
    }
}
