// SPDX-License-Identifier: Apache-2.0
import CLayerwiseKernels

extension Storage {
    static var bound: Double { largest }
}

/// float32, worked on as it is.
enum Float32Storage: Storage {
    static var laneBytes: Int { 4 }
    static var bytes: Int { 64 }
    static var largest: Double { largestFloat }
    static var mayRoundLater: Bool { true }
    @inline(__always) static func rounded(_ values: FloatLanes, _ rounding: Int32) -> FloatLanes {
        rounding == lwk_rounding_float16
            ? Float16Storage.image(values.saturated(at: FloatLanes(Float16Storage.largest)))
            : BFloat16Storage.image(values.saturated(at: FloatLanes(BFloat16Storage.largest)))
    }
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
    @inline(__always) static func load(_ memory: UnsafeRawPointer, _ offset: Int) -> DoubleLanes {
        .load(memory, offset)
    }
    @inline(__always) static func store(_ values: DoubleLanes, _ memory: UnsafeMutableRawPointer, _ offset: Int) {
        values.store(memory, offset)
    }
}

/// float16, worked on as float32.
enum Float16Storage: HalfStorage {
    typealias Values = FloatLanes
    static var largest: Double { 65504 }
    // What is nearer to 65504 than to 65536 is rounded to the former.
    static var bound: Double { 65519.99609375 }
    @inline(__always) static func pack(_ values: FloatLanes) -> SIMD16<UInt16> { lwk_to_float16(values.vector) }
    @inline(__always) static func unpack(_ bits: SIMD16<UInt16>) -> FloatLanes { FloatLanes(lwk_from_float16(bits)) }
    @inline(__always) static func differs(_ values: FloatLanes, from bits: SIMD16<UInt16>) -> Bool {
        lwk_any_short(pack(values) ^ bits) != 0
    }
    @inline(__always) static func allFinite(_ values: FloatLanes, with states: FloatLanes?) -> Bool {
        if let states { return lwk_both_finite_float16(values.vector, states.vector) != 0 }
        return lwk_all_finite_float16(values.vector) != 0
    }
}

/// bfloat16, worked on as float32.
enum BFloat16Storage: HalfStorage {
    typealias Values = FloatLanes
    static var largest: Double { 0x1.fep+127 }
    @inline(__always) static func pack(_ values: FloatLanes) -> SIMD16<UInt16> { lwk_to_bfloat16(values.vector) }
    @inline(__always) static func unpack(_ bits: SIMD16<UInt16>) -> FloatLanes { FloatLanes(lwk_from_bfloat16(bits)) }
    @inline(__always) static func differs(_ values: FloatLanes, from bits: SIMD16<UInt16>) -> Bool {
        lwk_differs_from_bfloat16(values.vector, bits) != 0
    }
    @inline(__always) static func allFinite(_ values: FloatLanes, with states: FloatLanes?) -> Bool {
        if let states { return lwk_both_finite_bfloat16(values.vector, states.vector) != 0 }
        return lwk_all_finite_bfloat16(values.vector) != 0
    }
    @inline(__always) static func storeFinite(_ values: FloatLanes, _ memory: UnsafeMutableRawPointer, _ offset: Int) {
        memory.storeBytes(of: lwk_finite_to_bfloat16(values.vector), toByteOffset: offset, as: SIMD16<UInt16>.self)
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
