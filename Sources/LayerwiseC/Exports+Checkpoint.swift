// SPDX-License-Identifier: Apache-2.0
import CLayerwise
import Layerwise
import LayerwiseRules

@_cdecl("lw_optimizer_save") @implementation
public func lw_optimizer_save(
    _ optimizer: OpaquePointer!, _ path: UnsafePointer<CChar>!, _ options: UnsafePointer<lw_setting>!,
    _ option_count: Int64, _ error: UnsafeMutablePointer<lw_error>!
) -> Int32 {
    withOptimizer(optimizer, error) { optimizer throws(LayerwiseError) in
        try optimizer.save(
            to: try LayerwiseC.path(path), try configure(SaveOptions(), options, option_count, "save"))
    }
}

@_cdecl("lw_optimizer_export") @implementation
public func lw_optimizer_export(
    _ optimizer: OpaquePointer!, _ buffer: UnsafeMutableRawPointer!, _ capacity: Int64,
    _ needed: UnsafeMutablePointer<Int64>!, _ options: UnsafePointer<lw_setting>!, _ option_count: Int64,
    _ error: UnsafeMutablePointer<lw_error>!
) -> Int32 {
    withOptimizer(optimizer, error) { optimizer throws(LayerwiseError) in
        if capacity < 0 || (buffer == nil && capacity > 0) {
            throw LayerwiseError(
                .invalidArgument, "buffer is \(buffer == nil ? "NULL" : "given"), but capacity is \(capacity)")
        }
        let size = try optimizer.export(
            into: UnsafeMutableRawBufferPointer(start: buffer, count: index(capacity)),
            try configure(SaveOptions(), options, option_count, "export"))
        needed?.pointee = Int64(size)
        if size > index(capacity) {
            throw LayerwiseError(.bufferTooSmall, "the checkpoint takes \(size) bytes, the buffer has \(capacity)")
        }
    }
}

@_cdecl("lw_optimizer_load") @implementation
public func lw_optimizer_load(
    _ optimizer: OpaquePointer!, _ path: UnsafePointer<CChar>!, _ options: UnsafePointer<lw_setting>!,
    _ option_count: Int64, _ renames: UnsafePointer<lw_rename>!, _ rename_count: Int64,
    _ error: UnsafeMutablePointer<lw_error>!
) -> Int32 {
    withOptimizer(optimizer, error) { optimizer throws(LayerwiseError) in
        let path = try LayerwiseC.path(path)
        try optimizer.load(from: path, try loadOptions(options, option_count, renames, rename_count, "load"))
    }
}

@_cdecl("lw_optimizer_import") @implementation
public func lw_optimizer_import(
    _ optimizer: OpaquePointer!, _ bytes: UnsafeRawPointer!, _ size: Int64, _ options: UnsafePointer<lw_setting>!,
    _ option_count: Int64, _ renames: UnsafePointer<lw_rename>!, _ rename_count: Int64,
    _ error: UnsafeMutablePointer<lw_error>!
) -> Int32 {
    withOptimizer(optimizer, error) { optimizer throws(LayerwiseError) in
        if size < 0 || (bytes == nil && size > 0) {
            throw LayerwiseError(
                .invalidArgument, "bytes is \(bytes == nil ? "NULL" : "given"), but size is \(size)")
        }
        try optimizer.load(
            UnsafeRawBufferPointer(start: bytes, count: index(size)),
            try loadOptions(options, option_count, renames, rename_count, "import"))
    }
}

@_cdecl("lw_optimizer_get_load_report") @implementation
public func lw_optimizer_get_load_report(
    _ optimizer: OpaquePointer!, _ text: UnsafeMutablePointer<CChar>!, _ capacity: Int64,
    _ needed: UnsafeMutablePointer<Int64>!, _ error: UnsafeMutablePointer<lw_error>!
) -> Int32 {
    withOptimizer(optimizer, error) { optimizer throws(LayerwiseError) in
        try copy(optimizer.loadReport.json, text, capacity, needed)
    }
}

@_cdecl("lw_checkpoint_describe") @implementation
public func lw_checkpoint_describe(
    _ path: UnsafePointer<CChar>!, _ progress: lw_progress!, _ context: UnsafeMutableRawPointer!,
    _ text: UnsafeMutablePointer<CChar>!, _ capacity: Int64, _ needed: UnsafeMutablePointer<Int64>!,
    _ error: UnsafeMutablePointer<lw_error>!
) -> Int32 {
    boundary(error) { () throws(LayerwiseError) in
        let description = try describeCheckpoint(at: try LayerwiseC.path(path)) { done, total in
            progress?(Int64(done), Int64(total), context)
        }
        try copy(description, text, capacity, needed)
    }
}

/// Options from C.
private func configure<Options: Configurable>(
    _ options: Options, _ settings: UnsafePointer<lw_setting>?, _ count: Int64, _ what: String
) throws(LayerwiseError) -> Options {
    var options = options
    let settings = try LayerwiseC.settings(settings, count)
    do throws(SettingError) {
        try refuseDuplicates(settings)
        for setting in settings { try options.assign(setting) }
    } catch { throw LayerwiseError(error, of: what) }
    return options
}

private func loadOptions(
    _ options: UnsafePointer<lw_setting>?, _ count: Int64, _ renames: UnsafePointer<lw_rename>?, _ renameCount: Int64,
    _ what: String
) throws(LayerwiseError) -> LoadOptions {
    var result = try configure(LoadOptions(), options, count, what)
    if renameCount < 0 || renameCount > 1 << 20 || (renames == nil && renameCount > 0) {
        throw LayerwiseError(
            .invalidArgument,
            "rename_count must be from 0 to 1048576, and renames NULL only if it is 0, found \(renameCount)")
    }
    guard let renames else { return result }
    for position in 0..<index(renameCount) {
        let from = try string(renames[position].from, "from of rename \(position)")
        let to = try string(renames[position].to, "to of rename \(position)")
        if !result.rename(from, to: to) {
            throw LayerwiseError(.duplicate, "\(what): the layer \"\(from)\" is renamed twice")
        }
    }
    return result
}
