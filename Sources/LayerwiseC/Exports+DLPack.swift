// SPDX-License-Identifier: Apache-2.0
import CLayerwise
import Layerwise

@_cdecl("lw_dlpack_find_gradients") @implementation
public func lw_dlpack_find_gradients(
    _ lists: UnsafePointer<lw_dlpack_lists>!, _ addresses: UnsafeMutablePointer<UnsafeRawPointer?>!,
    _ position: UnsafeMutablePointer<Int64>!, _ absent_count: UnsafeMutablePointer<Int64>!,
    _ error: UnsafeMutablePointer<lw_error>!
) -> Int32 {
    boundary(error) { () throws(LayerwiseError) in
        guard let lists else { throw LayerwiseError(.invalidArgument, "lists is NULL") }
        let position = try require(position, "position")
        let pairs = try Pairs(lists.pointee)
        if position.pointee < 0 || position.pointee > pairs.count {
            throw LayerwiseError(
                .invalidArgument, "position must be from 0 to count = \(pairs.count), found \(position.pointee)")
        }
        let addresses = try require(addresses, "addresses")
        var index = Int(position.pointee)
        var absentCount: Int64 = 0
        search: while index < pairs.count {
            switch pairs.gradient(at: index) {
            case .at(let address): addresses[index] = address
            case .absent:
                addresses[index] = nil
                absentCount += 1
            case .unusual: break search
            }
            index += 1
        }
        position.pointee = Int64(index)
        absent_count?.pointee &+= absentCount
    }
}

/// Parameters and gradients side by side, checked.
private struct Pairs {
    let count: Int
    private let parameters: UnsafeMutableRawPointer
    private let gradients: UnsafeMutableRawPointer
    private let item: @convention(c) (UnsafeMutableRawPointer?, Int) -> UnsafeMutableRawPointer?
    private let view: @convention(c) (UnsafeMutableRawPointer?, UnsafeMutablePointer<lw_dlpack_tensor>?) -> Int32
    private let absent: UnsafeRawPointer?
    private let expected: UnsafePointer<lw_dlpack_tensor>
    private let gradientTypes: UnsafePointer<Int32>?

    init(_ lists: lw_dlpack_lists) throws(LayerwiseError) {
        try check(size: lists.struct_size, of: "lw_dlpack_lists", expected: MemoryLayout<lw_dlpack_lists>.size)
        if lists.reserved != 0 {
            throw LayerwiseError(.invalidArgument, "lw_dlpack_lists: reserved must be 0, found \(lists.reserved)")
        }
        // Any more could not have an address each.
        if lists.count < 0 || lists.count > 1 << 40 {
            throw LayerwiseError(
                .invalidArgument, "lw_dlpack_lists: count must be from 0 to 2^40, found \(lists.count)")
        }
        count = Int(lists.count)
        parameters = try given(lists.parameters, "parameters")
        gradients = try given(lists.gradients, "gradients")
        item = try given(lists.item, "item")
        view = try given(lists.view, "view")
        expected = try given(lists.expected, "expected")
        absent = lists.absent
        gradientTypes = lists.gradient_dtypes
    }

    enum Gradient {
        case at(UnsafeRawPointer)
        case absent
        /// It, or its parameter, is not as usual.
        case unusual
    }

    func gradient(at index: Int) -> Gradient {
        let known = expected[index]
        guard let type = known.dtype, let address = known.address,
            let object = item(parameters, index), let parameter = tensor(object),
            parameter.address == address, parameter.dtype == type, parameter.lies(as: known),
            let object = item(gradients, index)
        else { return .unusual }
        if UnsafeRawPointer(object) == absent { return .absent }
        guard let gradient = tensor(object), let address = gradient.address,
            gradient.dtype?.rawValue == gradientTypes?[index] ?? type.rawValue, gradient.lies(as: known)
        else { return .unusual }
        return .at(address)
    }

    private func tensor(_ object: UnsafeMutableRawPointer) -> lw_dlpack_tensor? {
        var tensor = lw_dlpack_tensor()
        return view(object, &tensor) == 0 ? tensor : nil
    }
}

/// A member of the lists that must not be NULL.
private func given<T>(_ value: T?, _ name: String) throws(LayerwiseError) -> T {
    if let value { return value }
    throw LayerwiseError(.invalidArgument, "lw_dlpack_lists: \(name) is NULL")
}

extension lw_dlpack_tensor {
    /// Where its first element lies.
    fileprivate var address: UnsafeRawPointer? {
        data == nil ? nil : UnsafeRawPointer(bitPattern: UInt(bitPattern: data) &+ UInt(byte_offset))
    }

    /// The type of its elements; nil if the library has none such, or they are not in the memory of the CPU.
    fileprivate var dtype: DType? {
        if device_type != 1 || type_lanes != 1 { return nil }
        return switch (type_code, type_bits) {
        case (2, 16): .float16
        case (2, 32): .float32
        case (2, 64): .float64
        case (4, 16): .bfloat16
        default: nil
        }
    }

    /// Whether it has the shape and strides of another, be the strides of extents of 1 what they may.
    fileprivate func lies(as other: lw_dlpack_tensor) -> Bool {
        if rank != other.rank || rank < 0 { return false }
        if rank == 0 { return true }
        guard let shape, let strides, let otherShape = other.shape, let otherStrides = other.strides else {
            return false
        }
        for axis in 0..<Int(rank) {
            if shape[axis] != otherShape[axis] { return false }
            if shape[axis] != 1 && strides[axis] != otherStrides[axis] { return false }
        }
        return true
    }
}
