// SPDX-License-Identifier: Apache-2.0
import Layerwise
import LayerwisePlatform
import Synchronization

/// Tickets for optimizers, and for snapshots.
///
/// What C holds is no address but an index and a generation, so that a stale or invented handle is refused and never
/// followed.  A ticket also says whether a thread is inside: one compare-and-swap enters, one store leaves.
enum HandleTable {
    static let optimizers = Tickets<Optimizer>("optimizer", salt: 0x2b7e_1516)
    static let snapshots = Tickets<Snapshot>("snapshot", salt: 0x57a4_e0c2)
}

/// The tickets of one kind of object.
final class Tickets<Object: AnyObject>: Sendable {
    private let capacity = 1 << 20
    /// What messages call an object.
    private let kind: String

    /// What a slot's `state` says in its lowest bits.  Above them are, 31 bits each, how often the process had forked when
    /// a thread entered, and the slot's generation.
    private enum Status: UInt64 {
        case vacant = 0
        case idle = 1
        case busy = 2
    }

    private struct Slot: ~Copyable {
        let state: Atomic<UInt64>
        var object: Unmanaged<Object>?
    }

    /// Zeroed pages that the system provides when they are touched.
    private nonisolated(unsafe) let slots: UnsafeMutablePointer<Slot>?

    /// Where the search for a vacant slot begins.
    private let hint = Atomic<Int>(0)

    private let mask: UInt64 = 0x7fff_ffff

    /// Mixed into the generation of a handle, so that a small number is none, nor a handle of another kind.
    private let salt: UInt64

    init(_ kind: String, salt: UInt64) {
        self.kind = kind
        self.salt = salt
        let memory = mmap(
            nil, capacity * MemoryLayout<Slot>.stride, PROT_READ | PROT_WRITE,
            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
        slots = memory == MAP_FAILED ? nil : memory?.assumingMemoryBound(to: Slot.self)
    }

    private func idle(_ generation: UInt64) -> UInt64 { generation << 33 | Status.idle.rawValue }
    private func vacant(_ generation: UInt64) -> UInt64 { (generation & mask) << 33 }
    private func busy(_ generation: UInt64) -> UInt64 {
        generation << 33 | (UInt64(processForks()) & mask) << 2 | Status.busy.rawValue
    }

    /// Gives an object a ticket, or returns nil where all are taken.
    func insert(_ object: Object) -> OpaquePointer? {
        guard let slots else { return nil }
        let start = hint.load(ordering: .relaxed)
        for step in 0..<capacity {
            let index = (start + step) % capacity
            let found = slots[index].state.load(ordering: .relaxed)
            if found & 3 != Status.vacant.rawValue { continue }
            let generation = found >> 33
            let claimed = slots[index].state.compareExchange(
                expected: found, desired: busy(generation), ordering: .acquiring)
            if !claimed.exchanged { continue }
            slots[index].object = Unmanaged.passRetained(object)
            slots[index].state.store(idle(generation), ordering: .releasing)
            hint.store((index + 1) % capacity, ordering: .relaxed)
            // Never NULL and never an address: bit 0 is set.
            return OpaquePointer(bitPattern: UInt(generation ^ salt) << 32 | UInt(index) << 1 | 1)
        }
        return nil
    }

    private func locate(
        _ handle: OpaquePointer?
    ) throws(LayerwiseError) -> (slot: UnsafeMutablePointer<Slot>, generation: UInt64) {
        guard let handle else { throw LayerwiseError(.invalidArgument, "\(kind) is NULL") }
        let bits = UInt(bitPattern: handle)
        let index = Int((bits & 0xffff_ffff) >> 1)
        guard bits & 1 == 1, bits >> 63 == 0, index < capacity, let slots else { throw stale }
        return (slots + index, UInt64(bits >> 32) ^ salt)
    }

    private var stale: LayerwiseError {
        let article = kind == "optimizer" ? "an" : "a"
        return LayerwiseError(
            .staleHandle, "the \(kind) was destroyed, or the pointer never was \(article) \(kind)")
    }

    /// Takes a ticket's object for the calling thread.
    private func enter(
        _ slot: UnsafeMutablePointer<Slot>, _ generation: UInt64
    ) throws(LayerwiseError) -> Unmanaged<Object> {
        let busy = busy(generation)
        let result = slot.pointee.state.compareExchange(
            expected: idle(generation), desired: busy, ordering: .acquiring)
        if result.exchanged {
            if let object = slot.pointee.object { return object }
            throw stale
        }
        if result.original == busy { throw LayerwiseError(.busy, "another thread is inside this \(kind)") }
        if result.original >> 33 != generation || result.original & 3 != Status.busy.rawValue { throw stale }
        throw LayerwiseError(
            .forked, "the process forked while another thread was inside this \(kind), which can only be destroyed")
    }

    /// Calls `body` with a ticket's object, alone.
    func with(
        _ handle: OpaquePointer?, _ body: (Object) throws(LayerwiseError) -> Void
    ) throws(LayerwiseError) {
        let (slot, generation) = try locate(handle)
        let object = try enter(slot, generation)
        do throws(LayerwiseError) { try body(object.takeUnretainedValue()) } catch {
            // In a forked child whose optimizer is torn the ticket stays as it was when the parent entered.
            if error.code != .forked { slot.pointee.state.store(idle(generation), ordering: .releasing) }
            throw error
        }
        slot.pointee.state.store(idle(generation), ordering: .releasing)
    }

    /// Takes a ticket back and lets its object go.  NULL is a no-op.
    func remove(_ handle: OpaquePointer?) throws(LayerwiseError) {
        if handle == nil { return }
        let (slot, generation) = try locate(handle)
        do throws(LayerwiseError) {
            let object = try enter(slot, generation)
            slot.pointee.object = nil
            slot.pointee.state.store(vacant(generation + 1), ordering: .releasing)
            object.release()
        } catch {
            if error.code != .forked { throw error }
            // The thread that was inside does not exist in this process: what it was writing is torn, and left alone.
            let torn = slot.pointee.state.load(ordering: .relaxed)
            let vacated = slot.pointee.state.compareExchange(
                expected: torn, desired: vacant(generation + 1), ordering: .relaxed)
            if torn >> 33 != generation || !vacated.exchanged { throw stale }
        }
    }
}
