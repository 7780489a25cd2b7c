// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

/// Everything that the results of later steps depend on, as it was when `Optimizer.snapshot()` made it: parameters, states, settings
/// and progress.  It can be restored any number of times, into the optimizer that made it.
public final class Snapshot {
    /// The tensors, one after another.
    let tensors: TensorCopies
    let run: RunState
    let rule: any DeclaredRule
    let policy: any DeclaredPolicy
    let freezePlan: (any DeclaredFreezePlan)?
    let settings: Settings
    /// What was only shown.
    let summary: StepSummary
    let telemetry: [LayerTelemetry]
    let owner: SnapshotOwner

    init(_ tensors: consuming TensorCopies, of optimizer: Optimizer) {
        self.tensors = tensors
        run = optimizer.runState
        rule = optimizer.rule
        policy = optimizer.policy
        freezePlan = optimizer.freezePlan
        settings = optimizer.settings
        summary = optimizer.summary
        telemetry = (0..<optimizer.layers.count).map { optimizer.layers.elements[$0].telemetry }
        owner = optimizer.snapshotOwner
    }

    /// The bytes that its copies of parameters and states take.
    public var byteCount: Int { tensors.byteCount }
}

/// Stands for one optimizer in its snapshots, which may be there longer.
final class SnapshotOwner {}

/// Copies of all parameters and states of an optimizer.
struct TensorCopies: ~Copyable {
    /// The keys under which a checkpoint holds them (CheckpointEntry), in its order, and where each begins.
    private(set) var keys: [String] = []
    private(set) var offsets: [Int] = []
    /// Which states each tensor had.
    let kept: [StateSet]
    let memory: UnsafeMutableRawPointer
    let byteCount: Int

    /// Memory for these entries, not written yet; nil if there is none.
    init?(of entries: [CheckpointEntry], kept: [StateSet]) {
        var size = 0
        for entry in entries {
            keys.append(entry.key)
            offsets.append(size)
            // Each begins at a cache line.
            size += (entry.bytes.count + 63) / 64 * 64
        }
        guard let memory = Memory.allocateZeroed(size) else { return nil }
        self.memory = memory
        self.kept = kept
        byteCount = size
    }

    deinit { Memory.free(memory, byteCount) }
}
