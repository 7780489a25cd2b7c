// SPDX-License-Identifier: Apache-2.0
import CLayerwiseKernels

/// float32, worked on as it is.
enum Float32Storage: Storage {
    static var laneBytes: Int { 4 }
    static var bytes: Int { 64 }
    @inline(__always) static func load(_ memory: UnsafeRawPointer, _ offset: Int) -> FloatLanes {
        .load(memory, offset)
    }
    @inline(__always) static func store(_ values: FloatLanes, _ memory: UnsafeMutableRawPointer, _ offset: Int) {
        values.store(memory, offset)
    }
}

/// float64, worked on as it is.
enum Float64Storage: Storage {
    static var laneBytes: Int { 8 }
    static var bytes: Int { 64 }
    @inline(__always) static func load(_ memory: UnsafeRawPointer, _ offset: Int) -> DoubleLanes {
        .load(memory, offset)
    }
    @inline(__always) static func store(_ values: DoubleLanes, _ memory: UnsafeMutableRawPointer, _ offset: Int) {
        values.store(memory, offset)
    }
}

/// float16, worked on as float32.
enum Float16Storage: Storage {
    static var laneBytes: Int { 4 }
    static var bytes: Int { 32 }
    @inline(__always) static func load(_ memory: UnsafeRawPointer, _ offset: Int) -> FloatLanes {
        FloatLanes(lwk_from_float16(memory.loadUnaligned(fromByteOffset: offset, as: SIMD16<UInt16>.self)))
    }
    @inline(__always) static func store(_ values: FloatLanes, _ memory: UnsafeMutableRawPointer, _ offset: Int) {
        memory.storeBytes(of: lwk_to_float16(values.vector), toByteOffset: offset, as: SIMD16<UInt16>.self)
    }
}

/// bfloat16, worked on as float32.
enum BFloat16Storage: Storage {
    static var laneBytes: Int { 4 }
    static var bytes: Int { 32 }
    @inline(__always) static func load(_ memory: UnsafeRawPointer, _ offset: Int) -> FloatLanes {
        FloatLanes(lwk_from_bfloat16(memory.loadUnaligned(fromByteOffset: offset, as: SIMD16<UInt16>.self)))
    }
    @inline(__always) static func store(_ values: FloatLanes, _ memory: UnsafeMutableRawPointer, _ offset: Int) {
        memory.storeBytes(of: lwk_to_bfloat16(values.vector), toByteOffset: offset, as: SIMD16<UInt16>.self)
    }
}

/// float32 gradients of float64 parameters.
enum WidenedFloat32: Decoding {
    static var laneBytes: Int { 8 }
    static var bytes: Int { 32 }
    @inline(__always) static func load(_ memory: UnsafeRawPointer, _ offset: Int) -> DoubleLanes {
        DoubleLanes(lwk_widen(memory.loadUnaligned(fromByteOffset: offset, as: SIMD8<Float>.self)))
    }
}
