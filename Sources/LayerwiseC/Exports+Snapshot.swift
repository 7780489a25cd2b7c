// SPDX-License-Identifier: Apache-2.0
import CLayerwise
import Layerwise

@_cdecl("lw_optimizer_snapshot") @implementation
public func lw_optimizer_snapshot(
    _ optimizer: OpaquePointer!, _ out: UnsafeMutablePointer<OpaquePointer?>!, _ error: UnsafeMutablePointer<lw_error>!
) -> Int32 {
    out?.pointee = nil
    return withOptimizer(optimizer, error) { optimizer throws(LayerwiseError) in
        let out = try require(out, "out")
        guard let handle = HandleTable.snapshots.insert(try optimizer.snapshot()) else {
            throw LayerwiseError(.outOfMemory, "there is no handle left")
        }
        out.pointee = handle
    }
}

@_cdecl("lw_optimizer_restore") @implementation
public func lw_optimizer_restore(
    _ optimizer: OpaquePointer!, _ snapshot: OpaquePointer!, _ error: UnsafeMutablePointer<lw_error>!
) -> Int32 {
    withOptimizer(optimizer, error) { optimizer throws(LayerwiseError) in
        try withSnapshot(snapshot) { snapshot throws(LayerwiseError) in try optimizer.restore(snapshot) }
    }
}

@_cdecl("lw_snapshot_get_size") @implementation
public func lw_snapshot_get_size(
    _ snapshot: OpaquePointer!, _ size: UnsafeMutablePointer<Int64>!, _ error: UnsafeMutablePointer<lw_error>!
) -> Int32 {
    boundary(error) { () throws(LayerwiseError) in
        try withSnapshot(snapshot) { snapshot throws(LayerwiseError) in
            try require(size, "size").pointee = Int64(snapshot.byteCount)
        }
    }
}

@_cdecl("lw_snapshot_destroy") @implementation
public func lw_snapshot_destroy(_ snapshot: OpaquePointer!, _ error: UnsafeMutablePointer<lw_error>!) -> Int32 {
    boundary(error) { () throws(LayerwiseError) in try HandleTable.snapshots.remove(snapshot) }
}

/// Calls `body` with the snapshot of a handle.
private func withSnapshot(
    _ handle: OpaquePointer?, _ body: (Snapshot) throws(LayerwiseError) -> Void
) throws(LayerwiseError) {
    do throws(LayerwiseError) {
        try HandleTable.snapshots.with(handle, body)
    } catch {
        if error.code != .forked { throw error }
        // The optimizer, unlike the snapshot, was idle when the process forked, and stays usable.
        throw LayerwiseError(.staleHandle, error.message)
    }
}
