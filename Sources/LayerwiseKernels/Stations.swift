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
    static func store(_ values: Values, _ memory: UnsafeMutableRawPointer, _ offset: Int)
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

/// Decode and condition: gradients as lanes, times `factor`, clamped to ±`limit`.
@inline(__always)
func condition<S: Decoding>(
    _: S.Type, _ source: UnsafeRawPointer, _ count: Int, _ factor: Double, _ limit: Double,
    _ target: UnsafeMutableRawPointer
) {
    let scale = S.Values(factor)
    let bound = S.Values(limit)
    let unbounded = limit == .infinity
    forEachGroup(S.self, source, count: count) { values, index in
        let scaled = values * scale
        (unbounded ? scaled : scaled.clamped(to: bound)).store(target, index &* groupBytes)
    }
}

/// Decode without conditions: weights as lanes.
@inline(__always)
func decode<S: Decoding>(
    _: S.Type, _ source: UnsafeRawPointer, _ count: Int, _ target: UnsafeMutableRawPointer
) {
    forEachGroup(S.self, source, count: count) { values, index in values.store(target, index &* groupBytes) }
}

/// Encode: the first `count` numbers of the lanes, to storage.
@inline(__always)
func encode<S: Storage>(
    _: S.Type, _ source: UnsafeRawPointer, _ count: Int, _ target: UnsafeMutableRawPointer
) {
    let lanes = groupBytes / S.laneBytes
    let whole = count / lanes
    var index = 0
    while index < whole {
        S.store(.load(source, index &* groupBytes), target, index &* S.bytes)
        index &+= 1
    }
    let rest = count &- whole &* lanes
    if rest > 0 {
        var padded = SIMD16<UInt32>(repeating: 0)
        withUnsafeMutableBytes(of: &padded) { pad in
            guard let memory = pad.baseAddress else { return }
            S.store(.load(source, whole &* groupBytes), memory, 0)
            (target + whole &* S.bytes).copyMemory(from: memory, byteCount: rest &* (S.bytes / lanes))
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
