// SPDX-License-Identifier: Apache-2.0
import CLayerwise
import Layerwise
import LayerwisePlatform

// Crossing the border: C values become Swift values, or the call is refused; errors become codes and messages.

/// Runs `body` and reports what it throws.
func boundary(
    _ error: UnsafeMutablePointer<lw_error>?, _ body: () throws(LayerwiseError) -> Void
) -> Int32 {
    // A struct of unknown size is not written to, so a caller with one could not see an error.
    if let error, error.pointee.struct_size != MemoryLayout<lw_error>.size {
        return LayerwiseError.Code.structSize.rawValue
    }
    do {
        try body()
        return 0
    } catch let failure {
        if let error { fill(error, failure) }
        return failure.code.rawValue
    }
}

/// Runs `body` with the optimizer of a handle, and reports what either throws.
func withOptimizer(
    _ handle: OpaquePointer?, _ error: UnsafeMutablePointer<lw_error>?,
    _ body: (Optimizer) throws(LayerwiseError) -> Void
) -> Int32 {
    boundary(error) { () throws(LayerwiseError) in try HandleTable.optimizers.with(handle, body) }
}

/// Copies the declaration of the component called `name` out, as JSON.  `what`: its kind, in messages.
func describeComponent(
    _ what: String, _ declaration: (String) -> String?, _ name: UnsafePointer<CChar>?,
    _ text: UnsafeMutablePointer<CChar>?, _ capacity: Int64, _ needed: UnsafeMutablePointer<Int64>?,
    _ error: UnsafeMutablePointer<lw_error>?
) -> Int32 {
    boundary(error) { () throws(LayerwiseError) in
        let name = try string(name, "name")
        guard let description = declaration(name) else {
            throw LayerwiseError(.unknownName, "no \(what) is called \"\(name)\"")
        }
        try copy(description, text, capacity, needed)
    }
}

/// The name of a component by its position among those of its kind, or NULL.
func componentName(_ index: Int32, of declarations: [Declaration]) -> UnsafePointer<CChar>? {
    declarations.indices.contains(Int(index)) ? InternedCString.of(declarations[Int(index)].name) : nil
}

private func fill(_ error: UnsafeMutablePointer<lw_error>, _ failure: LayerwiseError) {
    error.pointee.code = failure.code.rawValue
    error.pointee.layer = Int64(failure.layer ?? -1)
    error.pointee.tensor = Int64(failure.tensor ?? -1)
    error.pointee.element = Int64(failure.element ?? -1)
    withUnsafeMutableBytes(of: &error.pointee.message) { message in
        var text = failure.message
        text.withUTF8 { utf8 in
            var count = min(utf8.count, message.count - 1)
            // Not in the middle of a character.
            while count < utf8.count && count > 0 && utf8[count] & 0xc0 == 0x80 { count -= 1 }
            message.copyBytes(from: utf8.prefix(count))
            message[count] = 0
            // What a caller wrote may be quoted; a message is one line all the same.
            for position in 0..<count {
                let length = controlBytes(UnsafeRawBufferPointer(message), position, count)
                for offset in 0..<length { message[position + offset] = UInt8(ascii: "?") }
            }
        }
    }
}

/// How many bytes the control character or line separator has that begins at `position` of some UTF-8; 0 if none does.
private func controlBytes(_ text: UnsafeRawBufferPointer, _ position: Int, _ count: Int) -> Int {
    func byte(_ offset: Int) -> UInt8 { position + offset < count ? text[position + offset] : 0 }
    return switch byte(0) {
    case 0..<0x20, 0x7f: 1
    // U+0080 to U+009F.
    case 0xc2 where (0x80...0x9f).contains(byte(1)): 2
    // U+2028 and U+2029.
    case 0xe2 where byte(1) == 0x80 && (0xa8...0xa9).contains(byte(2)): 3
    default: 0
    }
}

/// A pointer that must not be NULL.
func require<T>(_ pointer: UnsafeMutablePointer<T>?, _ name: String) throws(LayerwiseError) -> UnsafeMutablePointer<T> {
    if let pointer { return pointer }
    throw LayerwiseError(.invalidArgument, "\(name) is NULL")
}

/// Text from C: not NULL, at most 1,023 bytes, UTF-8.
func string(_ text: UnsafePointer<CChar>?, _ name: String) throws(LayerwiseError) -> String {
    guard let text else { throw LayerwiseError(.invalidArgument, "\(name) is NULL") }
    let length = strnlen(text, 1024)
    if length == 1024 { throw LayerwiseError(.invalidArgument, "\(name) is longer than 1023 bytes") }
    let bytes = UnsafeRawBufferPointer(start: text, count: length)
    guard let string = String(validating: bytes, as: UTF8.self) else {
        throw LayerwiseError(.invalidArgument, "\(name) is not UTF-8")
    }
    return string
}

/// A path from C.
func path(_ path: UnsafePointer<CChar>?) throws(LayerwiseError) -> String {
    guard let path else { throw LayerwiseError(.invalidArgument, "path is NULL") }
    guard let text = String(validatingCString: path) else {
        throw LayerwiseError(.invalidArgument, "path is not UTF-8")
    }
    return text
}

/// An index from C.
func index(_ value: Int64) -> Int { Int(exactly: value) ?? -1 }

/// Settings from C.
func settings(_ settings: UnsafePointer<lw_setting>?, _ count: Int64) throws(LayerwiseError) -> [Setting] {
    if count == 0 { return [] }
    if count < 0 || count > 1 << 20 {
        throw LayerwiseError(.invalidArgument, "setting_count must be from 0 to 1048576, found \(count)")
    }
    guard let settings else {
        throw LayerwiseError(.invalidArgument, "settings is NULL, but setting_count is \(count)")
    }
    var result: [Setting] = []
    for position in 0..<Int(count) {
        let key = try string(settings[position].key, "key of setting \(position)")
        if settings[position].choice == nil {
            result.append(Setting(key, settings[position].number))
        } else {
            result.append(Setting(key, try string(settings[position].choice, "choice of setting \"\(key)\"")))
        }
    }
    return result
}

/// A list of numbers from C.
func values(_ values: UnsafePointer<Double>?, _ count: Int64) throws(LayerwiseError) -> [Double] {
    if count == 0 { return [] }
    if count < 0 || count > 1 << 26 {
        throw LayerwiseError(.invalidArgument, "a list of numbers must have from 0 to 67108864, found \(count)")
    }
    guard let values else { throw LayerwiseError(.invalidArgument, "values is NULL, but their count is \(count)") }
    return Array(UnsafeBufferPointer(start: values, count: Int(count)))
}

/// A tree from C, where each whole is followed by its parts.
func spec(_ specs: UnsafePointer<lw_spec>?, _ count: Int64) throws(LayerwiseError) -> Spec {
    if count < 1 || count > 1 << 20 {
        throw LayerwiseError(.invalidArgument, "spec_count must be from 1 to 1048576, found \(count)")
    }
    guard let specs else { throw LayerwiseError(.invalidArgument, "specs is NULL, but spec_count is \(count)") }
    var rest = UnsafeBufferPointer(start: specs, count: Int(count))[...]
    let spec = try takeSpec(&rest, level: 0)
    if !rest.isEmpty {
        throw LayerwiseError(
            .invalidArgument, "\(spec.name): \(rest.count) specs are left over; the part counts do not add up")
    }
    return spec
}

private func takeSpec(
    _ rest: inout Slice<UnsafeBufferPointer<lw_spec>>, level: Int
) throws(LayerwiseError) -> Spec {
    // Parts of parts are read by recursion, on the caller's stack.
    if level > 32 { throw LayerwiseError(.invalidArgument, "parts are nested more than 32 deep") }
    guard let own = rest.popFirst() else {
        throw LayerwiseError(.invalidArgument, "a part is missing; the part counts do not add up")
    }
    try check(size: own.struct_size, of: "lw_spec", expected: MemoryLayout<lw_spec>.size)
    let name = try string(own.name, "name of an lw_spec")
    if own.part_count < 0 {
        throw LayerwiseError(.invalidArgument, "\(name): part_count must not be negative, found \(own.part_count)")
    }
    // A count that was left at 0 would drop what it counts.
    if own.settings != nil && own.setting_count == 0 {
        throw LayerwiseError(.invalidArgument, "\(name): settings is given, but setting_count is 0")
    }
    if own.values != nil && own.value_count == 0 {
        throw LayerwiseError(.invalidArgument, "\(name): values is given, but value_count is 0")
    }
    var spec = Spec(
        name, try settings(own.settings, own.setting_count), values: try values(own.values, own.value_count))
    for _ in 0..<own.part_count { spec.parts.append(try takeSpec(&rest, level: level + 1)) }
    return spec
}

/// A policy, schedule or freezing plan, or why it was refused.
func recipe<Kind>(_ what: String, _ make: () throws(SettingError) -> Kind) throws(LayerwiseError) -> Kind {
    do { return try make() } catch { throw LayerwiseError(error, of: what) }
}

/// Refuses a struct whose size is not this library's.
func check(size: UInt32, of type: String, expected: Int) throws(LayerwiseError) {
    if size != expected {
        throw LayerwiseError(.structSize, "\(type): struct_size must be \(expected), found \(size)")
    }
}

/// Tensors of the layer `layer`, from C.
func tensors(
    _ tensors: UnsafePointer<lw_tensor>?, _ count: Int64, of layer: String
) throws(LayerwiseError) -> [TensorDescription] {
    if count < 1 || count > 1 << 24 {
        throw LayerwiseError(
            .invalidArgument, "layer \"\(layer)\": tensor_count must be from 1 to 16777216, found \(count)")
    }
    guard let tensors else { throw LayerwiseError(.invalidArgument, "layer \"\(layer)\": tensors is NULL") }
    var result: [TensorDescription] = []
    for position in 0..<Int(count) {
        do throws(LayerwiseError) {
            result.append(try tensor(tensors[position], position, of: layer))
        } catch {
            var error = error
            error.tensor = position
            throw error
        }
    }
    return result
}

private func tensor(
    _ tensor: lw_tensor, _ position: Int, of layer: String
) throws(LayerwiseError) -> TensorDescription {
    try check(
        size: tensor.struct_size, of: "layer \"\(layer)\": lw_tensor \(position)",
        expected: MemoryLayout<lw_tensor>.size)
    let name = try string(tensor.name, "layer \"\(layer)\": name of tensor \(position)")
    let subject = "layer \"\(layer)\": tensor \"\(name)\""
    guard let dtype = DType(rawValue: tensor.dtype) else {
        throw LayerwiseError(.dtype, "\(subject): no element type has the number \(tensor.dtype)")
    }
    let gradientNumber = tensor.gradient_dtype == 0 ? tensor.dtype : tensor.gradient_dtype
    guard let gradientDType = DType(rawValue: gradientNumber) else {
        throw LayerwiseError(.dtype, "\(subject): no element type has the number \(tensor.gradient_dtype)")
    }
    // Before so many extents are read.
    let highest = TensorDescription.highestRank
    if tensor.rank < 0 || tensor.rank > highest {
        throw LayerwiseError(.shape, "\(subject): rank must be from 0 to \(highest), found \(tensor.rank)")
    }
    if tensor.rank > 0 && tensor.shape == nil {
        throw LayerwiseError(.invalidArgument, "\(subject): shape is NULL, but rank is \(tensor.rank)")
    }
    if tensor.rank == 0 && (tensor.shape != nil || tensor.whole_shape != nil) {
        throw LayerwiseError(
            .shape,
            "\(subject): \(tensor.shape != nil ? "shape" : "whole_shape") is given, but rank is 0: set rank to the number of "
                + "extents, or for a tensor of one element leave the shape NULL")
    }
    if tensor.master != 0 && tensor.master != 1 {
        throw LayerwiseError(.invalidArgument, "\(subject): master must be 0 or 1, found \(tensor.master)")
    }
    if tensor.reserved != 0 {
        throw LayerwiseError(.invalidArgument, "\(subject): reserved must be 0, found \(tensor.reserved)")
    }
    func extents(_ shape: UnsafePointer<Int64>) -> [Int] { (0..<Int(tensor.rank)).map { Int(shape[$0]) } }
    return TensorDescription(
        name, parameters: tensor.parameters, gradients: tensor.gradients, shape: tensor.shape.map(extents) ?? [],
        wholeShape: tensor.whole_shape.map(extents), dtype: dtype, gradientDType: gradientDType,
        master: tensor.master == 1)
}

/// Copies text out, with its NUL; `needed` tells the size also where the text does not fit.
func copy(
    _ text: String, _ target: UnsafeMutablePointer<CChar>?, _ capacity: Int64, _ needed: UnsafeMutablePointer<Int64>?
) throws(LayerwiseError) {
    if capacity < 0 || (target == nil && capacity > 0) {
        throw LayerwiseError(
            .invalidArgument, "text is \(target == nil ? "NULL" : "given"), but capacity is \(capacity)")
    }
    var text = text
    let size = text.utf8.count + 1
    needed?.pointee = Int64(size)
    guard let target, capacity >= Int64(size) else {
        throw LayerwiseError(
            .bufferTooSmall, "the text takes \(size) bytes, the buffer has \(target == nil ? 0 : capacity)")
    }
    text.withUTF8 { utf8 in
        if let source = utf8.baseAddress { memcpy(target, source, utf8.count) }
        target[size - 1] = 0
    }
}

/// The number of a setting, refusing a choice.
func number(_ value: Setting.Value, _ key: String) throws(LayerwiseError) -> Double {
    switch value {
    case .number(let x): return x
    case .choice: throw LayerwiseError(.invalidArgument, "\(key) is a choice, not a number")
    }
}

/// The name of a choice as static C text, refusing a number.
func choice(_ value: Setting.Value, _ key: String) throws(LayerwiseError) -> UnsafePointer<CChar>? {
    switch value {
    case .choice(let name): return InternedCString.of(name)
    case .number: throw LayerwiseError(.invalidArgument, "\(key) is a number, not a choice")
    }
}
