// SPDX-License-Identifier: Apache-2.0
import CLayerwiseKernels

/// float32, worked on as it is.
enum Float32Storage: Storage {
    static var laneBytes: Int { 4 }
    static var bytes: Int { 64 }
    static var largest: Double { largestFloat }
    @inline(__always) static func mark(_ values: FloatLanes) -> FloatLanes { values.mark }
    @inline(__always) static func stored(_ values: FloatLanes, _ rounding: Int32) -> FloatLanes {
        switch rounding {
        case lwk_rounding_float16:
            Float16Storage.stored(values.saturated(at: FloatLanes(Float16Storage.largest)), rounding)
        case lwk_rounding_bfloat16:
            BFloat16Storage.stored(values.saturated(at: FloatLanes(BFloat16Storage.largest)), rounding)
        default: values
        }
    }
    @inline(__always) static func moved(
        _ weight: FloatLanes, stored: FloatLanes, change: FloatLanes, _ rounding: Int32
    ) -> FloatLanes { rounding == lwk_rounding_none ? change : weight.difference(from: stored) }
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
    static var largest: Double { largestDouble }
    @inline(__always) static func mark(_ values: DoubleLanes) -> DoubleLanes { values.mark }
    @inline(__always) static func stored(_ values: DoubleLanes, _ rounding: Int32) -> DoubleLanes { values }
    @inline(__always) static func moved(
        _ weight: DoubleLanes, stored: DoubleLanes, change: DoubleLanes, _ rounding: Int32
    ) -> DoubleLanes { change }
    @inline(__always) static func load(_ memory: UnsafeRawPointer, _ offset: Int) -> DoubleLanes {
        .load(memory, offset)
    }
    @inline(__always) static func store(_ values: DoubleLanes, _ memory: UnsafeMutableRawPointer, _ offset: Int) {
        values.store(memory, offset)
    }
}

/// float16, worked on as float32.
enum Float16Storage: HalfStorage {
    static var laneBytes: Int { 4 }
    static var bytes: Int { 32 }
    static var largest: Double { 65504 }
    @inline(__always) static func pack(_ values: FloatLanes) -> SIMD16<UInt16> { lwk_to_float16(values.vector) }
    @inline(__always) static func unpack(_ bits: SIMD16<UInt16>) -> FloatLanes { FloatLanes(lwk_from_float16(bits)) }
    @inline(__always) static func differs(_ values: FloatLanes, from bits: SIMD16<UInt16>) -> Bool {
        lwk_any_short(pack(values) ^ bits) != 0
    }
    /// Numbers near the largest are marked too: times this they overflow.
    @inline(__always) static func mark(_ values: FloatLanes) -> FloatLanes { (values * FloatLanes(0x1.004p+112)).mark }
    @inline(__always) static func stored(_ values: FloatLanes, _ rounding: Int32) -> FloatLanes {
        unpack(pack(values))
    }
    @inline(__always) static func moved(
        _ weight: FloatLanes, stored: FloatLanes, change: FloatLanes, _ rounding: Int32
    ) -> FloatLanes { weight.difference(from: stored) }
    @inline(__always) static func load(_ memory: UnsafeRawPointer, _ offset: Int) -> FloatLanes {
        FloatLanes(lwk_from_float16(memory.loadUnaligned(fromByteOffset: offset, as: SIMD16<UInt16>.self)))
    }
    @inline(__always) static func store(_ values: FloatLanes, _ memory: UnsafeMutableRawPointer, _ offset: Int) {
        memory.storeBytes(of: lwk_to_float16(values.vector), toByteOffset: offset, as: SIMD16<UInt16>.self)
    }
}

/// bfloat16, worked on as float32.
enum BFloat16Storage: HalfStorage {
    static var laneBytes: Int { 4 }
    static var bytes: Int { 32 }
    static var largest: Double { 0x1.fep+127 }
    @inline(__always) static func pack(_ values: FloatLanes) -> SIMD16<UInt16> { lwk_to_bfloat16(values.vector) }
    @inline(__always) static func unpack(_ bits: SIMD16<UInt16>) -> FloatLanes { FloatLanes(lwk_from_bfloat16(bits)) }
    @inline(__always) static func differs(_ values: FloatLanes, from bits: SIMD16<UInt16>) -> Bool {
        lwk_differs_from_bfloat16(values.vector, bits) != 0
    }
    /// Numbers near the largest are marked too: times this they overflow.
    @inline(__always) static func mark(_ values: FloatLanes) -> FloatLanes { (values * FloatLanes(0x1.02p+0)).mark }
    @inline(__always) static func stored(_ values: FloatLanes, _ rounding: Int32) -> FloatLanes {
        unpack(pack(values))
    }
    @inline(__always) static func moved(
        _ weight: FloatLanes, stored: FloatLanes, change: FloatLanes, _ rounding: Int32
    ) -> FloatLanes { weight.difference(from: stored) }
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
