// SPDX-License-Identifier: Apache-2.0
import Glibc
import Layerwise
import Synchronization

/// Tickets for optimizers.
///
/// What C holds is no address but an index and a generation, so that a stale or invented handle is refused and never
/// followed.  A ticket also says whether a thread is inside: one compare-and-swap enters, one store leaves.
enum HandleTable {
    private static let capacity = 1 << 20

    /// What a slot's `state` says in its lowest bits; the rest is its generation.
    private enum Status: UInt64 {
        case vacant = 0
        case idle = 1
        case busy = 2
    }

    private struct Slot: ~Copyable {
        let state: Atomic<UInt64>
        /// How often the process had forked when a thread entered.
        var forks: Int
        var optimizer: Unmanaged<Optimizer>?
    }

    /// Zeroed pages that the system provides when they are touched.
    private nonisolated(unsafe) static let slots: UnsafeMutablePointer<Slot>? = {
        let memory = mmap(
            nil, capacity * MemoryLayout<Slot>.stride, PROT_READ | PROT_WRITE,
            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
        return memory == MAP_FAILED ? nil : memory?.assumingMemoryBound(to: Slot.self)
    }()

    /// Where the search for a vacant slot begins.
    private static let hint = Atomic<Int>(0)

    private static func state(_ generation: UInt64, _ status: Status) -> UInt64 { generation << 2 | status.rawValue }

    /// Gives an optimizer a ticket, or returns nil where all are taken.
    static func insert(_ optimizer: Optimizer) -> OpaquePointer? {
        guard let slots else { return nil }
        let start = hint.load(ordering: .relaxed)
        for step in 0..<capacity {
            let index = (start + step) % capacity
            let found = slots[index].state.load(ordering: .relaxed)
            if found & 3 != Status.vacant.rawValue { continue }
            let generation = (found >> 2) & 0x7fff_ffff
            let claimed = slots[index].state.compareExchange(
                expected: found, desired: state(generation, .busy), ordering: .acquiring)
            if !claimed.exchanged { continue }
            slots[index].optimizer = Unmanaged.passRetained(optimizer)
            slots[index].state.store(state(generation, .idle), ordering: .releasing)
            hint.store((index + 1) % capacity, ordering: .relaxed)
            // Never NULL, never an address: bit 0 is set.
            return OpaquePointer(bitPattern: UInt(generation) << 32 | UInt(index) << 1 | 1)
        }
        return nil
    }

    private static func locate(
        _ handle: OpaquePointer?
    ) throws(LayerwiseError) -> (slot: UnsafeMutablePointer<Slot>, generation: UInt64) {
        guard let handle else { throw LayerwiseError(.invalidArgument, "optimizer is NULL") }
        let bits = UInt(bitPattern: handle)
        let index = Int((bits & 0xffff_ffff) >> 1)
        guard bits & 1 == 1, bits >> 63 == 0, index < capacity, let slots else { throw stale }
        return (slots + index, UInt64(bits >> 32))
    }

    private static var stale: LayerwiseError {
        LayerwiseError(.staleHandle, "the optimizer was destroyed, or the pointer never was an optimizer")
    }

    /// Takes a ticket's optimizer for the calling thread.
    private static func enter(
        _ slot: UnsafeMutablePointer<Slot>, _ generation: UInt64
    ) throws(LayerwiseError) -> Unmanaged<Optimizer> {
        let result = slot.pointee.state.compareExchange(
            expected: state(generation, .idle), desired: state(generation, .busy), ordering: .acquiring)
        if result.exchanged {
            slot.pointee.forks = processForks()
            if let optimizer = slot.pointee.optimizer { return optimizer }
            throw stale
        }
        if result.original != state(generation, .busy) { throw stale }
        if slot.pointee.forks != processForks() {
            throw LayerwiseError(
                .forked,
                "the process forked while another thread was inside this optimizer, which can only be destroyed")
        }
        throw LayerwiseError(.busy, "another thread is inside this optimizer")
    }

    /// Calls `body` with a ticket's optimizer, alone.
    static func with(
        _ handle: OpaquePointer?, _ body: (Optimizer) throws(LayerwiseError) -> Void
    ) throws(LayerwiseError) {
        let (slot, generation) = try locate(handle)
        let optimizer = try enter(slot, generation)
        defer { slot.pointee.state.store(state(generation, .idle), ordering: .releasing) }
        try body(optimizer.takeUnretainedValue())
    }

    /// Takes a ticket back and lets its optimizer go.  NULL is a no-op.
    static func remove(_ handle: OpaquePointer?) throws(LayerwiseError) {
        if handle == nil { return }
        let (slot, generation) = try locate(handle)
        do throws(LayerwiseError) {
            try enter(slot, generation).release()
        } catch {
            // After a fork the thread that was inside does not exist; what it was writing is torn and is left alone.
            if error.code != .forked { throw error }
        }
        slot.pointee.optimizer = nil
        slot.pointee.state.store(state((generation + 1) & 0x7fff_ffff, .vacant), ordering: .releasing)
    }
}
