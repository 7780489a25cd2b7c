// SPDX-License-Identifier: Apache-2.0
import CLayerwise
import Layerwise

@_cdecl("lw_abi_version") @implementation
public func lw_abi_version() -> Int32 { LW_ABI_VERSION }

@_cdecl("lw_version") @implementation
public func lw_version() -> UnsafePointer<CChar>! { InternedCString.of(layerwiseVersion) }

@_cdecl("lw_instruction_set") @implementation
public func lw_instruction_set() -> UnsafePointer<CChar>! { InternedCString.of(InstructionSet.current.rawValue) }

@_cdecl("lw_available_threads") @implementation
public func lw_available_threads() -> Int32 { Int32(clamping: availableThreads()) }

@_cdecl("lw_error_name") @implementation
public func lw_error_name(_ code: Int32) -> UnsafePointer<CChar>! {
    InternedCString.of(errorName(code))
}

/// The enumerator of a code.
func errorName(_ code: Int32) -> String {
    if code == 0 { return "LW_OK" }
    let name =
        switch LayerwiseError.Code(rawValue: code) {
        case .invalidArgument: "INVALID_ARGUMENT"
        case .unknownName: "UNKNOWN_NAME"
        case .outOfRange: "OUT_OF_RANGE"
        case .shape: "SHAPE"
        case .dtype: "DTYPE"
        case .overlap: "OVERLAP"
        case .duplicate: "DUPLICATE"
        case .notFound: "NOT_FOUND"
        case .staleHandle: "STALE_HANDLE"
        case .busy: "BUSY"
        case .nonfinite: "NONFINITE"
        case .outOfMemory: "OUT_OF_MEMORY"
        case .structSize: "STRUCT_SIZE"
        case .forked: "FORKED"
        case .bufferTooSmall: "BUFFER_TOO_SMALL"
        case .io: "IO"
        case .corrupt: "CORRUPT"
        case .mismatch: "MISMATCH"
        case .reduce: "REDUCE"
        case nil: "UNKNOWN"
        }
    return "LW_ERROR_" + name
}

@_cdecl("lw_rule_count") @implementation
public func lw_rule_count() -> Int32 { Int32(allRules.count) }

@_cdecl("lw_rule_name") @implementation
public func lw_rule_name(_ index: Int32) -> UnsafePointer<CChar>! {
    componentName(index, of: allRules.map { $0.declaration })
}

@_cdecl("lw_rule_describe") @implementation
public func lw_rule_describe(
    _ name: UnsafePointer<CChar>!, _ text: UnsafeMutablePointer<CChar>!, _ capacity: Int64,
    _ needed: UnsafeMutablePointer<Int64>!, _ error: UnsafeMutablePointer<lw_error>!
) -> Int32 {
    describeComponent("rule", describeRule, name, text, capacity, needed, error)
}
