// SPDX-License-Identifier: Apache-2.0
import CLayerwiseKernels

/// How elements lie in memory, and how they become lanes.
protocol Decoding<Values> {
    associatedtype Values: Lanes
    /// Bytes of one number as a lane.
    static var laneBytes: Int { get }
    /// Bytes of one group of lanes in this storage.
    static var bytes: Int { get }
    static func load(_ memory: UnsafeRawPointer, _ offset: Int) -> Values
}

/// A storage of parameters: lanes become elements again.
protocol Storage<Values>: Decoding {
    /// The largest finite number.
    static var largest: Double { get }
    /// The largest magnitude that is stored as a finite number.  Whatever `allFinite` says of the group, a number up to this is stored as
    /// it is, and its states with it, so that no result depends on its neighbours.
    static var bound: Double { get }
    static func store(_ values: Values, _ memory: UnsafeMutableRawPointer, _ offset: Int)
    /// Whether all numbers are finite and not near the end of what can be stored, and all `states` finite.  It may be false,
    /// too, where numbers are large.
    static func allFinite(_ values: Values, with states: Values?) -> Bool
    /// Stores numbers that are all finite.
    static func storeFinite(_ values: Values, _ memory: UnsafeMutableRawPointer, _ offset: Int)
    /// Whether numbers are rounded when they are stored.
    static var rounds: Bool { get }
    /// Whether numbers may be rounded behind the kernel, by the tile's `rounding`.
    static var mayRoundLater: Bool { get }
    /// What stored lanes become where they are rounded behind the kernel.
    static func rounded(_ values: Values, _ rounding: Int32) -> Values
}

/// A storage of 16 bits, whose lanes are float32.  (A requirement that they be `FloatLanes` would make the compiler emit that
/// type's metadata, and with it functions that the copies of this module would share.)
protocol HalfStorage: Storage {
    static func pack(_ values: Values) -> SIMD16<UInt16>
    static func unpack(_ bits: SIMD16<UInt16>) -> Values
    /// Whether a number is packed as anything else than `bits`; it may also say so where one is not finite or lies halfway
    /// between two that are stored.
    static func differs(_ values: Values, from bits: SIMD16<UInt16>) -> Bool
}

extension Storage {
    @inline(__always) static func allFinite(_ values: Values, with states: Values?) -> Bool {
        values.allFinite(with: states)
    }
    @inline(__always) static func storeFinite(_ values: Values, _ memory: UnsafeMutableRawPointer, _ offset: Int) {
        store(values, memory, offset)
    }
    static var rounds: Bool { false }
    static var mayRoundLater: Bool { false }
    @inline(__always) static func rounded(_ values: Values, _ rounding: Int32) -> Values { values }
}

extension HalfStorage {
    static var laneBytes: Int { 4 }
    static var bytes: Int { 32 }
    static var rounds: Bool { true }
    /// What comes back of lanes that are stored.
    @inline(__always) static func image(_ values: Values) -> Values { unpack(pack(values)) }
    @inline(__always) static func load(_ memory: UnsafeRawPointer, _ offset: Int) -> Values {
        unpack(memory.loadUnaligned(fromByteOffset: offset, as: SIMD16<UInt16>.self))
    }
    @inline(__always) static func store(_ values: Values, _ memory: UnsafeMutableRawPointer, _ offset: Int) {
        memory.storeBytes(of: pack(values), toByteOffset: offset, as: SIMD16<UInt16>.self)
    }
}

/// Calls `body` with the byte offset of each whole group in `source`, then, if elements remain, with a zero-padded copy of
/// them: no byte past the last element is read.
@inline(__always)
func forEachGroup<S: Decoding>(
    _: S.Type, _ source: UnsafeRawPointer, count: Int, _ body: (_ values: S.Values, _ index: Int) -> Void
) {
    let lanes = groupBytes / S.laneBytes
    let whole = count / lanes
    let ahead = lwk_prefetch_distance()
    var index = 0
    while index < whole {
        lwk_prefetch_read(source + (index &* S.bytes &+ ahead))
        body(S.load(source, index &* S.bytes), index)
        index &+= 1
    }
    let rest = count &- whole &* lanes
    if rest > 0 {
        var padded = SIMD16<UInt32>(repeating: 0)
        withUnsafeMutableBytes(of: &padded) { pad in
            guard let memory = pad.baseAddress else { return }
            memory.copyMemory(from: source + whole &* S.bytes, byteCount: rest &* (S.bytes / lanes))
            body(S.load(memory, 0), whole)
        }
    }
}

/// Decode and condition: gradients as lanes, times `factor`, clamped to ±`limit`.  A finite gradient stays finite.
@inline(__always)
func condition<S: Decoding>(
    _: S.Type, _ source: UnsafeRawPointer, _ count: Int, _ factor: Double, _ limit: Double,
    _ target: UnsafeMutableRawPointer
) {
    let scale = S.Values(factor)
    let bound = S.Values(limit)
    let unbounded = limit == .infinity
    let mayOverflow = unbounded && factor.magnitude > 1
    forEachGroup(S.self, source, count: count) { values, index in
        var scaled = values * scale
        if !unbounded {
            scaled = scaled.clamped(to: bound)
        } else if mayOverflow, _slowPath(!scaled.allFinite(with: nil)) {
            scaled = scaled.settled(operand: values)
        }
        scaled.store(target, index &* groupBytes)
    }
}

/// Conditions by a factor that the lanes cannot hold: `factor` · `power`², where `power` is a power of two.
@inline(__always)
func conditionWide<S: Decoding>(
    _: S.Type, _ source: UnsafeRawPointer, _ count: Int, _ factor: Double, _ power: Double, _ limit: Double,
    _ target: UnsafeMutableRawPointer
) {
    // The powers come first, so that nothing is rounded before the factor is there.
    forEachGroup(S.self, source, count: count) { values, index in
        values.scaled(by: factor, power, limit: limit).store(target, index &* groupBytes)
    }
}

/// Decode without conditions: weights as lanes.
@inline(__always)
func decode<S: Decoding>(
    _: S.Type, _ source: UnsafeRawPointer, _ count: Int, _ target: UnsafeMutableRawPointer
) {
    forEachGroup(S.self, source, count: count) { values, index in values.store(target, index &* groupBytes) }
}

/// Encode: the first `count` numbers of the lanes, to storage.  `saturates`: a finite number stays finite.
@inline(__always)
func encode<S: Storage>(
    _: S.Type, _ source: UnsafeRawPointer, _ count: Int, _ target: UnsafeMutableRawPointer, saturates: Bool = false
) {
    let largest = S.Values(S.largest)
    let lanes = groupBytes / S.laneBytes
    let whole = count / lanes
    var index = 0
    while index < whole {
        let values = S.Values.load(source, index &* groupBytes)
        if !saturates {
            S.store(values, target, index &* S.bytes)
        } else if _fastPath(S.allFinite(values, with: nil)) {
            S.storeFinite(values, target, index &* S.bytes)
        } else {
            S.store(values.saturated(at: largest), target, index &* S.bytes)
        }
        index &+= 1
    }
    let rest = count &- whole &* lanes
    if rest > 0 {
        var padded = SIMD16<UInt32>(repeating: 0)
        withUnsafeMutableBytes(of: &padded) { pad in
            guard let memory = pad.baseAddress else { return }
            let values = S.Values.load(source, whole &* groupBytes)
            S.store(saturates ? values.saturated(at: largest) : values, memory, 0)
            (target + whole &* S.bytes).copyMemory(from: memory, byteCount: rest &* (S.bytes / lanes))
        }
    }
}

/// e ← e + factor·(state − e); a finite number stays finite.
@inline(__always)
func blend<S: Storage>(
    _: S.Type, _ state: UnsafeRawPointer, _ count: Int, _ factor: Double, _ elements: UnsafeMutableRawPointer
) {
    let scale = S.Values(factor)
    let largest = S.Values(S.largest)
    func blended(_ own: S.Values, _ other: S.Values) -> S.Values {
        S.Values.fma(scale, other - own, own).settled(operand: own).saturated(at: largest)
    }
    let lanes = groupBytes / S.laneBytes
    let whole = count / lanes
    let ahead = lwk_prefetch_distance()
    var index = 0
    while index < whole {
        lwk_prefetch_write(elements + (index &* S.bytes &+ ahead))
        let own = S.load(elements, index &* S.bytes)
        let other = S.Values.load(state, index &* groupBytes)
        let sum = S.Values.fma(scale, other - own, own)
        if _fastPath(S.allFinite(sum, with: nil)) {
            S.storeFinite(sum, elements, index &* S.bytes)
        } else {
            S.store(blended(own, other), elements, index &* S.bytes)
        }
        index &+= 1
    }
    let rest = count &- whole &* lanes
    if rest > 0 {
        var padded = SIMD16<UInt32>(repeating: 0)
        withUnsafeMutableBytes(of: &padded) { pad in
            guard let memory = pad.baseAddress else { return }
            let place = elements + whole &* S.bytes
            let bytes = rest &* (S.bytes / lanes)
            memory.copyMemory(from: place, byteCount: bytes)
            // A state is padded to whole groups.
            S.store(blended(S.load(memory, 0), .load(state, whole &* groupBytes)), memory, 0)
            place.copyMemory(from: memory, byteCount: bytes)
        }
    }
}

/// Where a parameter is not what its master copy is stored as, it was changed from outside, and the master copy takes its
/// value.
@inline(__always)
func adopt<S: HalfStorage>(
    _: S.Type, _ parameters: UnsafeRawPointer, _ count: Int, _ master: UnsafeMutableRawPointer
) {
    let whole = count / 16
    let ahead = lwk_prefetch_distance()
    var index = 0
    while index < whole {
        let offset = index &* S.bytes
        lwk_prefetch_write(parameters + (offset &+ ahead))
        lwk_prefetch_write(master + (index &* groupBytes &+ ahead))
        adopt(
            S.self, parameters.loadUnaligned(fromByteOffset: offset, as: SIMD16<UInt16>.self),
            master + index &* groupBytes)
        index &+= 1
    }
    let rest = count &- whole &* 16
    if rest > 0 {
        var padded = SIMD16<UInt16>(repeating: 0)
        withUnsafeMutableBytes(of: &padded) {
            $0.baseAddress?.copyMemory(from: parameters + whole &* S.bytes, byteCount: rest &* 2)
        }
        adopt(S.self, padded, master + whole &* groupBytes)
    }
}

@inline(__always)
private func adopt<S: HalfStorage>(_: S.Type, _ parameters: SIMD16<UInt16>, _ master: UnsafeMutableRawPointer) {
    let own = S.Values.load(master, 0)
    if _slowPath(S.differs(own, from: parameters)) {
        let image = S.pack(own.saturated(at: S.Values(S.largest)))
        let taken = S.unpack(parameters)
        withUnsafeBytes(of: image ^ parameters) { difference in
            withUnsafeBytes(of: taken) { taken in
                guard let difference = difference.baseAddress, let taken = taken.baseAddress else { return }
                for lane in 0..<16 where difference.loadUnaligned(fromByteOffset: lane &* 2, as: UInt16.self) != 0 {
                    (master + lane &* 4).copyMemory(from: taken + lane &* 4, byteCount: 4)
                }
            }
        }
    }
}

/// The sum of squares of stored numbers, conditioned as gradients are.
@inline(__always)
func squareSum<S: Decoding>(
    _: S.Type, _ source: UnsafeRawPointer, _ count: Int, _ factor: Double, _ limit: Double
) -> Double {
    let scale = S.Values(factor)
    let bound = S.Values(limit)
    let unconditioned = factor == 1 && limit == .infinity
    // Two sums, in turn, so that one addition need not wait for the last.
    var even = SquareSum()
    var odd = SquareSum()
    forEachGroup(S.self, source, count: count) { values, index in
        let values = unconditioned ? values : (values * scale).clamped(to: bound)
        if index & 1 == 0 { values.addSquares(to: &even) } else { values.addSquares(to: &odd) }
    }
    return even.total + odd.total
}
