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

    /// What a slot's `state` says in its lowest bits.  Above them are, 31 bits each, how often the process had forked when
    /// a thread entered, and the slot's generation.
    private enum Status: UInt64 {
        case vacant = 0
        case idle = 1
        case busy = 2
    }

    private struct Slot: ~Copyable {
        let state: Atomic<UInt64>
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

    private static let mask: UInt64 = 0x7fff_ffff

    /// Mixed into the generation of a handle, so that a small number is none.
    private static let salt: UInt64 = 0x2b7e_1516

    private static func idle(_ generation: UInt64) -> UInt64 { generation << 33 | Status.idle.rawValue }
    private static func vacant(_ generation: UInt64) -> UInt64 { (generation & mask) << 33 }
    private static func busy(_ generation: UInt64) -> UInt64 {
        generation << 33 | (UInt64(processForks()) & mask) << 2 | Status.busy.rawValue
    }

    /// Gives an optimizer a ticket, or returns nil where all are taken.
    static func insert(_ optimizer: Optimizer) -> OpaquePointer? {
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
            slots[index].optimizer = Unmanaged.passRetained(optimizer)
            slots[index].state.store(idle(generation), ordering: .releasing)
            hint.store((index + 1) % capacity, ordering: .relaxed)
            // Never NULL and never an address: bit 0 is set.
            return OpaquePointer(bitPattern: UInt(generation ^ salt) << 32 | UInt(index) << 1 | 1)
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
        return (slots + index, UInt64(bits >> 32) ^ salt)
    }

    private static var stale: LayerwiseError {
        LayerwiseError(.staleHandle, "the optimizer was destroyed, or the pointer never was an optimizer")
    }

    /// Takes a ticket's optimizer for the calling thread.
    private static func enter(
        _ slot: UnsafeMutablePointer<Slot>, _ generation: UInt64
    ) throws(LayerwiseError) -> Unmanaged<Optimizer> {
        let busy = busy(generation)
        let result = slot.pointee.state.compareExchange(
            expected: idle(generation), desired: busy, ordering: .acquiring)
        if result.exchanged {
            if let optimizer = slot.pointee.optimizer { return optimizer }
            throw stale
        }
        if result.original == busy { throw LayerwiseError(.busy, "another thread is inside this optimizer") }
        if result.original >> 33 != generation || result.original & 3 != Status.busy.rawValue { throw stale }
        throw LayerwiseError(
            .forked, "the process forked while another thread was inside this optimizer, which can only be destroyed")
    }

    /// Calls `body` with a ticket's optimizer, alone.
    static func with(
        _ handle: OpaquePointer?, _ body: (Optimizer) throws(LayerwiseError) -> Void
    ) throws(LayerwiseError) {
        let (slot, generation) = try locate(handle)
        let optimizer = try enter(slot, generation)
        do throws(LayerwiseError) { try body(optimizer.takeUnretainedValue()) } catch {
            // In a forked child whose optimizer is torn the ticket stays as it was when the parent entered.
            if error.code != .forked { slot.pointee.state.store(idle(generation), ordering: .releasing) }
            throw error
        }
        slot.pointee.state.store(idle(generation), ordering: .releasing)
    }

    /// Takes a ticket back and lets its optimizer go.  NULL is a no-op.
    static func remove(_ handle: OpaquePointer?) throws(LayerwiseError) {
        if handle == nil { return }
        let (slot, generation) = try locate(handle)
        do throws(LayerwiseError) {
            let optimizer = try enter(slot, generation)
            slot.pointee.optimizer = nil
            slot.pointee.state.store(vacant(generation + 1), ordering: .releasing)
            optimizer.release()
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
