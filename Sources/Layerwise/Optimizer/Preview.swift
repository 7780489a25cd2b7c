// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

extension Optimizer {
    /// The effective rates that steps will use, as long as nothing is changed and no metric is reported: layers × steps.
    ///
    /// `rates[layer·count + i]` is the rate of a layer at step `first + i·stride`, 0 where it is frozen; the same bits as the
    /// step itself uses.  Tensors that the policy treats apart from their layer are not included (`LayerInfo.exceptions`).
    public func preview(
        from first: Int64, count: Int, stride: Int64 = 1, into rates: UnsafeMutableBufferPointer<Double>
    ) throws(LayerwiseError) {
        if first < 0 || first > mostSteps || count < 0 || stride < 1 || stride > mostSteps {
            throw LayerwiseError(
                .outOfRange,
                "preview: first must be from 0 to \(mostSteps), count at least 0 and stride at least 1, found \(first), "
                    + "\(count) and \(stride)")
        }
        let (total, overflow) = count.multipliedReportingOverflow(by: entries.count)
        let (span, spanOverflow) = Int64(count).multipliedReportingOverflow(by: stride)
        if spanOverflow || span > Int64(mostSteps) {
            throw LayerwiseError(.outOfRange, "preview: \(count) steps every \(stride) reach beyond \(mostSteps)")
        }
        if overflow || rates.count != total {
            throw LayerwiseError(
                .shape, "preview: expected room for \(entries.count) × \(count) rates, found \(rates.count)")
        }
        try refresh()
        guard total > 0, let target = rates.baseAddress else { return }
        // Layers of one track side by side, so that a chunk asks each track once.
        let order = entries.indices.sorted { layers.elements[$0].track < layers.elements[$1].track }
        order.withUnsafeBufferPointer { order in
            guard let layers = order.baseAddress else { return }
            let task = PreviewTask(
                optimizer: Unmanaged.passUnretained(self), layers: layers, first: first, count: count, stride: stride,
                rates: target)
            withUnsafePointer(to: task) { task in
                let (task, chunks) = (
                    UnsafeMutableRawPointer(mutating: task), (count + PreviewTask.chunk - 1) / PreviewTask.chunk
                )
                // In a forked child the work of its threads is done over.
                if !ThreadPool.shared.run(previewItem, task, count: chunks, threads: threadLimit, wakes: true) {
                    _ = ThreadPool.shared.run(previewItem, task, count: chunks, threads: 1, wakes: false)
                }
            }
        }
    }

    /// The rates of `steps` of all layers.
    fileprivate func previewChunk(_ task: PreviewTask, _ steps: Range<Int>, _ factors: UnsafeMutablePointer<Factor>) {
        var known = -2
        for position in entries.indices {
            let layer = task.layers[position]
            let track = layers.elements[layer].track
            if track != known {
                fill(factors, track, task, steps)
                known = track
            }
            previewRow(layer, task, steps, factors)
        }
    }

    /// What a track says at `steps`.
    private func fill(
        _ factors: UnsafeMutablePointer<Factor>, _ track: Int, _ task: PreviewTask, _ steps: Range<Int>
    ) {
        guard let source = timeline.source(of: track) else {
            return factors.update(repeating: Self.unscheduled, count: steps.count)
        }
        let start = timeline.starts[track]
        withUnsafeTemporaryAllocation(of: Int64.self, capacity: steps.count) { places in
            guard let places = places.baseAddress else { return }
            for index in 0..<steps.count {
                let step = task.first + Int64(steps.lowerBound + index) * task.stride
                places[index] = Timeline.place(start, at: step)
            }
            source.schedule.factors(
                at: places, count: steps.count, base: source.base ?? rule.learningRate, into: factors)
        }
    }

    private func previewRow(
        _ layer: Int, _ task: PreviewTask, _ steps: Range<Int>, _ factors: UnsafeMutablePointer<Factor>
    ) {
        let record = layers.elements[layer]
        let base = record.base(rules[record.rule].learningRate)
        let row = task.rates + layer * task.count + steps.lowerBound
        let frozen = entries[layer].settings.frozen
        let activity = frozen == .plan && layer < timeline.activities.count ? timeline.activities[layer] : .always
        if frozen == .yes || (frozen == .plan && isFrozenByMeasurement(layer)) {
            return row.update(repeating: 0, count: steps.count)
        }
        for index in 0..<steps.count {
            row[index] = factors[index].rate(base: base, scale: record.scale)
        }
        if activity == .always { return }
        for index in 0..<steps.count {
            let step = task.first + Int64(steps.lowerBound + index) * task.stride
            row[index] =
                activity.isActive(at: step)
                ? factors[index].rate(base: base, scale: record.scale, annealing: activity.annealing(at: step))
                : 0
        }
    }
}

/// What the threads of a preview share.
private struct PreviewTask {
    let optimizer: Unmanaged<Optimizer>
    /// Layers in the order of their tracks.
    let layers: UnsafePointer<Int>
    let first: Int64
    let count: Int
    let stride: Int64
    let rates: UnsafeMutablePointer<Double>

    /// Steps that a thread takes at a time: their factors stay in the L1 cache.
    static let chunk = 1024
}

private let previewItem: ThreadPool.Job = { memory, item, _ in
    let task = memory.load(as: PreviewTask.self)
    let start = item * PreviewTask.chunk
    let steps = start..<min(start + PreviewTask.chunk, task.count)
    withUnsafeTemporaryAllocation(of: Factor.self, capacity: PreviewTask.chunk) { factors in
        guard let factors = factors.baseAddress else { return }
        task.optimizer._withUnsafeGuaranteedRef { $0.previewChunk(task, steps, factors) }
    }
}
