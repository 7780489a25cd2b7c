// SPDX-License-Identifier: Apache-2.0
import LayerwisePlatform
import LayerwiseRules

// A snapshot holds what a checkpoint lists (CheckpointEntry), with the parameters, and the progress that a checkpoint saves
// (RunState).  A checkpoint is compared with rule, settings, policy, schedules and freezing plan; a snapshot puts them back.

extension Optimizer {
    /// Copies everything that the results of later steps depend on: parameters, states, rule, policy, schedules, freezing plan,
    /// settings, measurements and clocks.
    public func snapshot() throws(LayerwiseError) -> Snapshot {
        if isTorn { throw Self.torn }
        try requireMemory()
        let entries = try pieces(parameters: true)
        guard let copies = TensorCopies(of: entries, kept: (0..<tensors.count).map { tensors.elements[$0].kept }) else {
            throw .outOfMemory("a snapshot")
        }
        try copy(
            zip(entries, copies.offsets).map { entry, offset in
                MemoryCopy(from: entry.start, to: copies.memory + offset, count: entry.bytes.count)
            })
        return Snapshot(copies, of: self)
    }

    /// Puts everything back as it was when this optimizer made the snapshot, so that it goes on with the same bits.
    ///
    /// States that the rule did not have yet begin again.  The settings "threads", "telemetry" and "empty_step" stay as they are.
    /// Refused, with nothing changed, if another optimizer made the snapshot, or layers were added since.
    public func restore(_ snapshot: Snapshot) throws(LayerwiseError) {
        if isTorn { throw Self.torn }
        guard snapshot.owner === snapshotOwner else {
            throw LayerwiseError(.mismatch, "the snapshot is of another optimizer")
        }
        if snapshot.run.entries.count != entries.count {
            throw LayerwiseError(
                .mismatch, "the snapshot has \(snapshot.run.entries.count) layers, the optimizer \(entries.count)")
        }
        try requireMemory()
        let copies = try copies(from: snapshot)
        guard let list = Self.parts(of: copies) else { throw .outOfMemory("restoring a snapshot") }
        try prepare(for: snapshot.run)
        try adoptConfiguration(of: snapshot)
        copy(list, byteCount: snapshot.byteCount)
        for index in 0..<tensors.count {
            let added = tensors.elements[index].kept.subtracting(snapshot.tensors.kept[index])
            if !added.isEmpty {
                tensors.elements[index].restart(added, declaredStates(of: tensors.elements[index].layer))
            }
        }
        adopt(snapshot.run)
        summary = snapshot.summary
        for (layer, telemetry) in snapshot.telemetry.enumerated() { layers.elements[layer].telemetry = telemetry }
    }

    /// Where each tensor of a snapshot goes.  States are never taken away, so each of them is here.
    private func copies(from snapshot: Snapshot) throws(LayerwiseError) -> [MemoryCopy] {
        var copies: [MemoryCopy] = []
        let keys = snapshot.tensors.keys
        // Both lists have one order.
        for entry in try pieces(parameters: true) where copies.count < keys.count && entry.key == keys[copies.count] {
            copies.append(
                MemoryCopy(
                    from: snapshot.tensors.memory + snapshot.tensors.offsets[copies.count], to: entry.start,
                    count: entry.bytes.count))
        }
        if copies.count != keys.count {
            throw LayerwiseError(.mismatch, "the snapshot has \(keys[copies.count]), which is not here")
        }
        return copies
    }

    /// Puts rule, settings, policy, schedules and freezing plan of a snapshot in force, all or none.
    private func adoptConfiguration(of snapshot: Snapshot) throws(LayerwiseError) {
        var settings = snapshot.settings
        // Results do not depend on these.
        settings.threads = self.settings.threads
        settings.memory = self.settings.memory
        settings.telemetry = self.settings.telemetry
        settings.emptyStep = self.settings.emptyStep
        let (entries, mode) = (self.entries, self.mode)
        self.entries = snapshot.run.entries
        // The weights for training or evaluation come back with the rule that they follow from.
        self.mode = .training
        do throws(LayerwiseError) {
            try adopt(snapshot.rule, snapshot.run.schedules, settings)
        } catch {
            (self.entries, self.mode) = (entries, mode)
            throw error
        }
        policy = snapshot.policy
        freezePlan = snapshot.freezePlan
        measurements.removeAll()
        freezeMeasurements.removeAll()
    }

    // MARK: - Copying

    /// The most bytes that a thread takes at once.
    private static let copyBytes = 1 << 20

    private func copy(_ copies: [MemoryCopy]) throws(LayerwiseError) {
        guard let list = Self.parts(of: copies) else { throw .outOfMemory("a snapshot") }
        copy(list, byteCount: copies.reduce(0) { $0 + $1.count })
    }

    /// Copies in parts that threads share; nil if there is no memory for the list.
    private static func parts(of copies: [MemoryCopy]) -> MemoryCopies? {
        let count = copies.reduce(0) { $0 + ($1.count + copyBytes - 1) / copyBytes }
        guard var list = MemoryCopies(count) else { return nil }
        for copy in copies {
            for start in stride(from: 0, to: copy.count, by: copyBytes) {
                list.append(
                    MemoryCopy(from: copy.from + start, to: copy.to + start, count: min(copyBytes, copy.count - start)))
            }
        }
        return list
    }

    private func copy(_ list: borrowing MemoryCopies, byteCount: Int) {
        // Memory is the limit, which one thread alone does not reach.
        let threads = byteCount >= 4 * Self.copyBytes ? threadLimit : 1
        let isDone = ThreadPool.shared.run(
            copyItem, UnsafeMutableRawPointer(list.elements), count: list.count, threads: threads, wakes: threads > 1)
        // In a child that a signal handler forked meanwhile there are no threads; all can be copied again.
        if !isDone { for item in 0..<list.count { copyItem(UnsafeMutableRawPointer(list.elements), item, 0) } }
    }
}

private struct MemoryCopy: BitwiseCopyable {
    let from: UnsafeMutableRawPointer
    let to: UnsafeMutableRawPointer
    /// Bytes.
    let count: Int
}

/// A list of copies in memory of the C allocator.
private struct MemoryCopies: ~Copyable {
    private var list = UnsafeArray<MemoryCopy>()

    init?(_ capacity: Int) { if !list.reserve(capacity) { return nil } }

    mutating func append(_ copy: MemoryCopy) { list.append(copy) }

    var count: Int { list.count }
    var elements: UnsafeMutablePointer<MemoryCopy> { list.elements }
}

private let copyItem: ThreadPool.Job = { memory, item, _ in
    let copy = memory.assumingMemoryBound(to: MemoryCopy.self)[item]
    memcpy(copy.to, copy.from, copy.count)
}
