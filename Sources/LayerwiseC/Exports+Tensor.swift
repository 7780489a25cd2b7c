// SPDX-License-Identifier: Apache-2.0
import CLayerwise
import Layerwise

@_cdecl("lw_tensor_bind") @implementation
public func lw_tensor_bind(
    _ optimizer: OpaquePointer!, _ layer: Int64, _ tensor: Int64, _ parameters: UnsafeMutableRawPointer!,
    _ gradients: UnsafeRawPointer!, _ error: UnsafeMutablePointer<lw_error>!
) -> Int32 {
    withOptimizer(optimizer, error) { optimizer throws(LayerwiseError) in
        try optimizer.bind(layer: index(layer), tensor: index(tensor), parameters: parameters, gradients: gradients)
    }
}

@_cdecl("lw_tensor_get_spectrum") @implementation
public func lw_tensor_get_spectrum(
    _ optimizer: OpaquePointer!, _ layer: Int64, _ tensor: Int64, _ spectrum: UnsafeMutablePointer<lw_spectrum>!,
    _ error: UnsafeMutablePointer<lw_error>!
) -> Int32 {
    withOptimizer(optimizer, error) { optimizer throws(LayerwiseError) in
        let target = try require(spectrum, "spectrum")
        try check(size: target.pointee.struct_size, of: "lw_spectrum", expected: MemoryLayout<lw_spectrum>.size)
        let found = try optimizer.spectrum(layer: index(layer), tensor: index(tensor))
        target.pointee.count = Int64(found.squares.count)
        target.pointee.alpha = found.tailExponent ?? .nan
        target.pointee.stable_rank = found.stableRank ?? .nan
        target.pointee.norm = found.norm
    }
}

@_cdecl("lw_tensor_state_count") @implementation
public func lw_tensor_state_count(
    _ optimizer: OpaquePointer!, _ layer: Int64, _ tensor: Int64, _ count: UnsafeMutablePointer<Int64>!,
    _ error: UnsafeMutablePointer<lw_error>!
) -> Int32 {
    withOptimizer(optimizer, error) { optimizer throws(LayerwiseError) in
        let states = try optimizer.states(layer: index(layer), tensor: index(tensor))
        try require(count, "count").pointee = Int64(states.count)
    }
}

@_cdecl("lw_tensor_get_state_info") @implementation
public func lw_tensor_get_state_info(
    _ optimizer: OpaquePointer!, _ layer: Int64, _ tensor: Int64, _ position: Int64,
    _ info: UnsafeMutablePointer<lw_state_info>!, _ error: UnsafeMutablePointer<lw_error>!
) -> Int32 {
    withOptimizer(optimizer, error) { optimizer throws(LayerwiseError) in
        let target = try require(info, "info")
        try check(size: target.pointee.struct_size, of: "lw_state_info", expected: MemoryLayout<lw_state_info>.size)
        let states = try optimizer.states(layer: index(layer), tensor: index(tensor))
        guard states.indices.contains(index(position)) else {
            throw LayerwiseError(
                .notFound, "no state has index \(position), expected 0 to \(states.count - 1)", layer: index(layer),
                tensor: index(tensor))
        }
        let state = states[index(position)]
        target.pointee.dtype = state.dtype.rawValue
        target.pointee.count = Int64(state.count)
        withUnsafeMutableBytes(of: &target.pointee.name) { name in
            let utf8 = Array(state.name.utf8.prefix(name.count - 1)) + [0]
            name.copyBytes(from: utf8)
        }
    }
}

@_cdecl("lw_tensor_read_state") @implementation
public func lw_tensor_read_state(
    _ optimizer: OpaquePointer!, _ layer: Int64, _ tensor: Int64, _ name: UnsafePointer<CChar>!,
    _ buffer: UnsafeMutableRawPointer!, _ size: Int64, _ error: UnsafeMutablePointer<lw_error>!
) -> Int32 {
    withOptimizer(optimizer, error) { optimizer throws(LayerwiseError) in
        try optimizer.readState(
            layer: index(layer), tensor: index(tensor), name: try string(name, "name"),
            into: UnsafeMutableRawBufferPointer(start: buffer, count: try stateSize(buffer, size)))
    }
}

@_cdecl("lw_tensor_write_state") @implementation
public func lw_tensor_write_state(
    _ optimizer: OpaquePointer!, _ layer: Int64, _ tensor: Int64, _ name: UnsafePointer<CChar>!,
    _ buffer: UnsafeRawPointer!, _ size: Int64, _ error: UnsafeMutablePointer<lw_error>!
) -> Int32 {
    withOptimizer(optimizer, error) { optimizer throws(LayerwiseError) in
        try optimizer.writeState(
            layer: index(layer), tensor: index(tensor), name: try string(name, "name"),
            from: UnsafeRawBufferPointer(start: buffer, count: try stateSize(buffer, size)))
    }
}

@_cdecl("lw_tensor_get_state_address") @implementation
public func lw_tensor_get_state_address(
    _ optimizer: OpaquePointer!, _ layer: Int64, _ tensor: Int64, _ name: UnsafePointer<CChar>!,
    _ address: UnsafeMutablePointer<UnsafeMutableRawPointer?>!, _ error: UnsafeMutablePointer<lw_error>!
) -> Int32 {
    withOptimizer(optimizer, error) { optimizer throws(LayerwiseError) in
        let address = try require(address, "address")
        address.pointee = try optimizer.stateAddress(
            layer: index(layer), tensor: index(tensor), name: try string(name, "name"))
    }
}

@_cdecl("lw_optimizer_get_step_counts") @implementation
public func lw_optimizer_get_step_counts(
    _ optimizer: OpaquePointer!, _ counts: UnsafeMutablePointer<Int64>!, _ count: Int64,
    _ error: UnsafeMutablePointer<lw_error>!
) -> Int32 {
    withOptimizer(optimizer, error) { optimizer throws(LayerwiseError) in
        if count < 0 || (counts == nil && count > 0) {
            throw LayerwiseError(
                .invalidArgument, "counts is \(counts == nil ? "NULL" : "given"), but count is \(count)")
        }
        try optimizer.stepCounts(into: UnsafeMutableBufferPointer(start: counts, count: index(count)))
    }
}

/// A buffer's size from C.
private func stateSize(_ buffer: UnsafeRawPointer?, _ size: Int64) throws(LayerwiseError) -> Int {
    guard size >= 0, let size = Int(exactly: size) else {
        throw LayerwiseError(.invalidArgument, "size must not be negative, found \(size)")
    }
    if buffer == nil && size > 0 { throw LayerwiseError(.invalidArgument, "buffer is NULL, but size is \(size)") }
    return size
}
