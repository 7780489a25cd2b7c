// SPDX-License-Identifier: Apache-2.0
import CLayerwise
import Layerwise

// The run state as a text, for the wrapper of torch.

@_cdecl("lw_optimizer_get_run_state") @implementation
public func lw_optimizer_get_run_state(
    _ optimizer: OpaquePointer!, _ text: UnsafeMutablePointer<CChar>!, _ capacity: Int64,
    _ needed: UnsafeMutablePointer<Int64>!, _ error: UnsafeMutablePointer<lw_error>!
) -> Int32 {
    withOptimizer(optimizer, error) { optimizer throws(LayerwiseError) in
        try copy(optimizer.runStateText(), text, capacity, needed)
    }
}

@_cdecl("lw_optimizer_set_run_state") @implementation
public func lw_optimizer_set_run_state(
    _ optimizer: OpaquePointer!, _ text: UnsafePointer<CChar>!, _ length: Int64, _ flags: Int32, _ steps: Int64,
    _ said: UnsafeMutablePointer<Int64>!, _ error: UnsafeMutablePointer<lw_error>!
) -> Int32 {
    withOptimizer(optimizer, error) { optimizer throws(LayerwiseError) in
        let (knownOnly, checkOnly) = (Int32(LW_RUN_STATE_KNOWN.rawValue), Int32(LW_RUN_STATE_CHECK.rawValue))
        if flags & ~(knownOnly | checkOnly) != 0 {
            throw LayerwiseError(
                .invalidArgument, "flags must be of LW_RUN_STATE_KNOWN and LW_RUN_STATE_CHECK, found \(flags)")
        }
        guard length >= 0, text != nil || length == 0, let length = Int(exactly: length) else {
            throw LayerwiseError(
                .invalidArgument, "text is \(text == nil ? "NULL" : "given"), but length is \(length)")
        }
        let found = try optimizer.setRunState(
            UnsafeRawBufferPointer(start: text, count: length),
            RunStateOptions(knownOnly: flags & knownOnly != 0, checkOnly: flags & checkOnly != 0), steps: steps)
        said?.pointee = found ?? -1
    }
}
