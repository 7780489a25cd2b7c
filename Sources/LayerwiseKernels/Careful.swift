// SPDX-License-Identifier: Apache-2.0
import CLayerwiseKernels

// What is done where a result is not finite.  The loops in Passes.swift look at every group of lanes before they store
// it, and a group with a result that is not finite is worked out again here.  Only those of its lanes that were not finite, or
// that the storage cannot hold, get the new results.

/// Eight float64 numbers, on which finite operands have finite results: what would overflow becomes the largest number of
/// its sign, and a finite number divided by 0 is 0.  Operands that are infinite or NaN have the results of IEEE 754.
///
/// float32 is worked on in these too, where nothing that float32 can hold overflows on the way.
struct CarefulLanes: Lanes {
    var lanes: DoubleLanes

    @inline(__always) init(_ lanes: DoubleLanes) { self.lanes = lanes }
    @inline(__always) init(_ value: Double) {
        lanes = DoubleLanes(value > largestDouble ? largestDouble : value < -largestDouble ? -largestDouble : value)
    }

    @inline(__always) init(_ coefficient: Double, ratio: Double) { self.init(coefficient * ratio) }

    @inline(__always) static func + (a: Self, b: Self) -> Self { settled(a.lanes + b.lanes, a.zero + b.zero) }
    @inline(__always) static func - (a: Self, b: Self) -> Self { settled(a.lanes - b.lanes, a.zero + b.zero) }
    @inline(__always) static func * (a: Self, b: Self) -> Self { settled(a.lanes * b.lanes, a.zero + b.zero) }
    @inline(__always) static func / (a: Self, b: Self) -> Self {
        let zero = a.zero + b.zero
        let quotient = settled(a.lanes / b.lanes, zero)
        return Self(.whereZero(zero, .whereZero(b.lanes, DoubleLanes(0), else: quotient.lanes), else: quotient.lanes))
    }
    @inline(__always) static prefix func - (a: Self) -> Self { Self(-a.lanes) }
    @inline(__always) static func fma(_ a: Self, _ b: Self, _ c: Self) -> Self {
        settled(.fma(a.lanes, b.lanes, c.lanes), a.zero + b.zero + c.zero)
    }
    @inline(__always) func squareRoot() -> Self { Self(lanes.squareRoot()) }
    @inline(__always) func cubeRoot() -> Self { Self(lanes.cubeRoot()) }
    @inline(__always) func maximum(_ other: Self) -> Self { Self(lanes.maximum(other.lanes)) }
    @inline(__always) func magnitude() -> Self { Self(lanes.magnitude()) }
    @inline(__always) func sign() -> Self { Self(lanes.sign()) }
    @inline(__always) func clamped(to limit: Self) -> Self { Self(lanes.clamped(to: limit.lanes)) }
    @inline(__always) static func broadcast(_ memory: UnsafeRawPointer, _ index: Int) -> Self {
        Self(DoubleLanes.broadcast(memory, index))
    }
    @inline(__always) static var count: Int { 8 }
    @inline(__always) func prefix(_ count: Int64) -> Self { self }
    @inline(__always) func addProducts(_ other: Self, to sum: inout SquareSum) {
        lanes.addProducts(other.lanes, to: &sum)
    }
    @inline(__always) func add(to sum: inout SquareSum) { lanes.add(to: &sum) }
    @inline(__always) static func compareSigns(
        _ old: Self, _ new: Self, _ last: UnsafeMutableRawPointer, _ counts: inout SignCounts
    ) {
        DoubleLanes.compareSigns(old.lanes, new.lanes, last, &counts)
    }
    @inline(__always) func addSquares(to sum: inout SquareSum) { lanes.addSquares(to: &sum) }
    @inline(__always) func addSquares(to sum: inout ReportSum) { lanes.addSquares(to: &sum) }
    @inline(__always) func addSquares(to sums: UnsafeMutablePointer<Double>) { lanes.addSquares(to: sums) }
    @inline(__always) static func number(_ memory: UnsafeRawPointer, _ index: Int) -> Double {
        DoubleLanes.number(memory, index)
    }
    @inline(__always) func bounded(by limit: Self) -> Self { saturated(at: limit) }
    @inline(__always) func saturated(at limit: Self) -> Self {
        Self(lanes.saturated(at: limit.lanes))
    }
    @inline(__always) func settled(operand: Self) -> Self { self }
    @inline(__always) func scaled(by factor: Double, _ power: Double, limit: Double) -> Self { self }
    @inline(__always) var mark: Self { Self(zero) }
    @inline(__always) func allFinite(with states: Self?) -> Bool {
        let marks = states.map { zero + $0.zero } ?? zero
        return (0..<8).allSatisfy { marks.vector[$0] == 0 }
    }
    @inline(__always) func difference(from stored: Self) -> Self { Self(lanes - stored.lanes) }
    @inline(__always) func countLost(moved: Self, to counts: inout SIMD16<Int32>) {}
    @inline(__always) var zeroIfInfinite: Self { Self(lanes.zeroIfInfinite) }
    @inline(__always) func replaced(by other: Self, whereNotFinite weight: Self) -> Self {
        Self(lanes.replaced(by: other.lanes, whereNotFinite: weight.lanes))
    }

    /// 0 where a number is finite, NaN where it is not.
    @inline(__always) private var zero: DoubleLanes { lanes.mark }

    /// A result, bounded where the operands, whose zeros are added up in `zero`, were finite.
    @inline(__always) private static func settled(_ result: DoubleLanes, _ zero: DoubleLanes) -> Self {
        Self(.whereZero(zero, result.clamped(to: DoubleLanes(largestDouble)), else: result))
    }
}

/// A group of lanes whose results were not all finite, as the loops have it: every member is a group of the loop's lanes.
struct Group<Values: Lanes, State> {
    let weight: Values
    /// As it is stored, without the factor; or the direction that was kept.
    let gradient: Values
    /// w − δ.  Behind the first pass of a rule with a trust ratio: w, and 0 where it is infinite.
    var new: Values
    /// δ, or the direction.
    var change: Values
    /// The states behind the pass.
    var state: State

    /// Where these begin, in groups.
    fileprivate static var places: (new: Int, change: Int, state: Int) { (2, 3, 4) }
}

/// What is known of a group, besides its numbers.
struct GroupPlace {
    /// Where its states begin in those of the tile, in bytes.
    let offset: Int
    /// How many states the pass has.
    let states: Int
    /// Whether lanes are float64.
    let isDouble: Bool
    /// The largest finite number that weights are stored as.
    let largest: Double
    /// The largest magnitude that they are stored with.
    let bound: Double
    /// What the group's gradients are multiplied by.
    let factor: Double

    @inline(__always)
    init<S: Storage, State>(_ index: Int, _: S.Type, _: State.Type, factor: Double) {
        offset = index &* groupBytes
        states = MemoryLayout<State>.size / groupBytes
        isDouble = S.laneBytes == 8
        largest = S.largest
        bound = S.bound
        self.factor = factor
    }
}

// The loops come here with nothing but the place of the group, so that they have no more to keep than without.

/// Changes the weights and the states of a group, as a loop would, and works out again the lanes that need it.  Returns the
/// change.
@inline(never)
func changeCarefully<A: Arithmetic, C: Arithmetic, S: Storage<A.Values>>(
    _: A.Type, _: C.Type, _: S.Type, _ source: UnsafePointer<lwk_tile>, _ index: Int
) -> A.Values where C.Values == CarefulLanes {
    let tile = source.pointee
    let offset = index &* groupBytes
    let weight = S.load(tile.weights, index &* S.bytes)
    let gradient = S.load(tile.gradients, index &* S.bytes)
    var state = A.State(tile, offset)
    let change = A(tile).change(
        weight: weight, gradient: gradient * A.Values(tile.gradient_factor), state: &state)
    var group = Group(weight: weight, gradient: gradient, new: weight - change, change: change, state: state)
    withUnsafeMutablePointer(to: &group) {
        repairChange(C.self, $0, source, GroupPlace(index, S.self, A.State.self, factor: tile.gradient_factor))
    }
    S.store(group.new, tile.weights, index &* S.bytes)
    group.state.store(tile, offset)
    return group.change
}

/// Repeats the first pass of a rule with a trust ratio for a group: changes the states, and returns the directions.
@inline(never)
func directCarefully<A: TrustRatioArithmetic, C: TrustRatioArithmetic, S: Storage<A.Values>>(
    _: A.Type, _: C.Type, _: S.Type, _ source: UnsafePointer<lwk_tile>, _ index: Int
) -> A.Values where C.Values == CarefulLanes {
    let tile = source.pointee
    let offset = index &* groupBytes
    let weight = S.load(tile.weights, index &* S.bytes)
    let gradient = S.load(tile.gradients, index &* S.bytes)
    var state = A.MeasuredState(tile, offset)
    let direction = A(tile).direction(
        weight: weight, gradient: gradient * A.Values(tile.gradient_factor), state: &state)
    var group = Group(weight: weight, gradient: gradient, new: weight, change: direction, state: state)
    withUnsafeMutablePointer(to: &group) {
        repairDirection(
            C.self, $0, source, GroupPlace(index, S.self, A.MeasuredState.self, factor: tile.gradient_factor))
    }
    group.state.store(tile, offset)
    return group.change
}

/// Repeats the second pass for a group, from directions that were kept.
@inline(never)
func finishCarefully<A: DirectionArithmetic, C: DirectionArithmetic, S: Storage<A.Values>>(
    _: A.Type, _: C.Type, _: S.Type, _ source: UnsafePointer<lwk_tile>, _ index: Int
) where C.Values == CarefulLanes {
    let tile = source.pointee
    let offset = index &* groupBytes
    guard let directions = tile.directions else { return }
    let weight = S.load(tile.weights, index &* S.bytes)
    let direction = A.Values.load(directions, offset)
    let change = A(tile).change(weight: weight, direction: direction)
    var group = Group(
        weight: weight, gradient: direction, new: weight - change, change: change,
        state: NoState<A.Values>(tile, offset))
    withUnsafeMutablePointer(to: &group) {
        repairFinish(C.self, $0, source, GroupPlace(index, S.self, NoState<A.Values>.self, factor: 1))
    }
    S.store(group.new, tile.weights, index &* S.bytes)
}

/// Works out w − δ again, for the lanes that need it.  `group` is a `Group` of the loop's lanes.
@inline(never)
func repairChange<C: Arithmetic>(
    _: C.Type, _ group: UnsafeMutableRawPointer, _ tile: UnsafePointer<lwk_tile>, _ place: GroupPlace
) where C.Values == CarefulLanes {
    repair(group, tile, place, subtracts: true) { tile, offset in
        var state = C.State(tile, offset)
        let change = C(tile).change(
            weight: .load(tile.weights, offset), gradient: .load(tile.gradients, offset), state: &state)
        state.store(tile, offset)
        return change
    }
}

/// Repairs the direction of the first pass of a rule with a trust ratio.
@inline(never)
func repairDirection<C: TrustRatioArithmetic>(
    _: C.Type, _ group: UnsafeMutableRawPointer, _ tile: UnsafePointer<lwk_tile>, _ place: GroupPlace
) where C.Values == CarefulLanes {
    repair(group, tile, place, subtracts: false) { tile, offset in
        var state = C.MeasuredState(tile, offset)
        let direction = C(tile).direction(
            weight: .load(tile.weights, offset), gradient: .load(tile.gradients, offset), state: &state)
        state.store(tile, offset)
        return direction
    }
}

/// Repairs the change that follows from a direction that was kept.
@inline(never)
func repairFinish<C: DirectionArithmetic>(
    _: C.Type, _ group: UnsafeMutableRawPointer, _ tile: UnsafePointer<lwk_tile>, _ place: GroupPlace
) where C.Values == CarefulLanes {
    repair(group, tile, place, subtracts: true) { tile, offset in
        C(tile).change(weight: .load(tile.weights, offset), direction: .load(tile.gradients, offset))
    }
}

/// Adds up the squares of weights and directions, each times its scale, of a tile whose states the first pass has advanced.
/// Infinite weights count as 0.
@inline(never)
func remeasure<C: TrustRatioArithmetic, S: Storage>(
    _: C.Type, _: S.Type, _ tile: UnsafePointer<lwk_tile>, _ sums: UnsafeMutablePointer<lwk_sums>
) where C.Values == CarefulLanes {
    var weights = SquareSum()
    var directions = SquareSum()
    var index = 0
    while index < tile.pointee.groups {
        var group = Group(
            weight: S.load(tile.pointee.weights, index &* S.bytes),
            gradient: S.load(tile.pointee.gradients, index &* S.bytes), new: S.Values(0), change: S.Values(0),
            state: NoNumbers())
        let isLast = index &+ 1 == tile.pointee.groups
        let count = isLast ? Int(truncatingIfNeeded: tile.pointee.last_count) : S.Values.count
        withUnsafeMutablePointer(to: &group) { group in
            withWide(
                UnsafeRawPointer(group), tile,
                GroupPlace(index, S.self, C.State.self, factor: tile.pointee.gradient_factor)
            ) { wide, memory in
                let rule = C(wide)
                for half in 0..<(S.laneBytes == 8 ? 1 : 2) {
                    let offset = half &* groupBytes
                    let weight = CarefulLanes.load(wide.weights, offset)
                    let direction = rule.directionAgain(
                        weight: weight, gradient: .load(wide.gradients, offset), state: C.State(wide, offset))
                    (weight * CarefulLanes(wide.weight_scale)).addSquares(to: &weights)
                    let scaled = direction * CarefulLanes(wide.direction_scale)
                    scaled.lanes.prefix(Int64(count &- half &* 8)).addSquares(to: &directions)
                }
            }
        }
        index &+= 1
    }
    sums.pointee.weights += weights.total
    sums.pointee.updates += directions.total
}

private struct NoNumbers {}

/// Sixteen numbers in float64.
private let wideBytes = 128

/// Calls `body` with a tile of this one group in float64: the weights, 0 where they are infinite; the gradients times their
/// factor; the states before the pass.  `memory` is where weights, gradients, changes and states are, one behind the other.
@inline(__always)
private func withWide(
    _ group: UnsafeRawPointer, _ tile: UnsafePointer<lwk_tile>, _ place: GroupPlace,
    _ body: (_ wide: lwk_tile, _ memory: UnsafeMutableRawPointer) -> Void
) {
    typealias Numbers = SIMD16<Double>
    var numbers = (Numbers(), Numbers(), Numbers(), Numbers(), Numbers(), Numbers(), Numbers())
    withUnsafeMutableBytes(of: &numbers) { numbers in
        guard let memory = numbers.baseAddress else { return }
        var wide = tile.pointee
        widen(group, place, memory, &wide)
        body(wide, memory)
    }
}

/// Writes the numbers of the group to `memory` and their addresses to `wide`, which is the group's tile before.
///
/// Neither this function nor `mend` is inlined, because every arithmetic calls them.
@inline(never)
private func widen(
    _ group: UnsafeRawPointer, _ place: GroupPlace, _ memory: UnsafeMutableRawPointer, _ wide: inout lwk_tile
) {
    let lanes = place.isDouble ? 8 : 16
    let largest = place.isDouble ? largestDouble : largestFloat
    for lane in 0..<lanes {
        let weight = number(group, lane, place)
        memory.storeBytes(of: weight.isInfinite ? 0 : weight, toByteOffset: lane &* 8, as: Double.self)
        let gradient = number(group + groupBytes, lane, place)
        let scaled = gradient * place.factor
        memory.storeBytes(
            of: gradient.isFinite ? bounded(scaled, largest) : scaled, toByteOffset: wideBytes &+ lane &* 8,
            as: Double.self)
    }
    wide.weights = memory
    wide.gradients = UnsafeRawPointer(memory + wideBytes)
    wide.gradient_factor = 1
    let states = memory + 3 &* wideBytes
    func widened(_ slot: Int, _ state: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
        guard slot < place.states, let state else { return nil }
        let target = states + slot &* wideBytes
        for lane in 0..<lanes {
            target.storeBytes(
                of: number(UnsafeRawPointer(state + place.offset), lane, place), toByteOffset: lane &* 8,
                as: Double.self)
        }
        return target
    }
    let own = wide.states
    wide.states = (widened(0, own.0), widened(1, own.1), widened(2, own.2), widened(3, own.3))
}

/// Computes the results of a group again by `work`, and puts them in the place of those that were not finite, or that the storage
/// cannot hold.
@inline(__always)
func repair(
    _ group: UnsafeMutableRawPointer, _ tile: UnsafePointer<lwk_tile>, _ place: GroupPlace, subtracts: Bool,
    _ work: (_ wide: lwk_tile, _ offset: Int) -> CarefulLanes
) {
    withWide(UnsafeRawPointer(group), tile, place) { wide, memory in
        let changes = memory + 2 &* wideBytes
        work(wide, 0).store(changes, 0)
        if !place.isDouble { work(wide, groupBytes).store(changes, groupBytes) }
        mend(group, place, memory, subtracts: subtracts)
    }
}

/// Takes changes and states from `memory`, for the lanes that need it.
@inline(never)
private func mend(
    _ group: UnsafeMutableRawPointer, _ place: GroupPlace, _ memory: UnsafeMutableRawPointer, subtracts: Bool
) {
    typealias Own = Group<CarefulLanes, NoNumbers>
    let changes = memory + 2 &* wideBytes
    let states = memory + 3 &* wideBytes
    let (newPlace, changePlace, statePlace) = Own.places
    let largest = place.isDouble ? largestDouble : largestFloat
    for lane in 0..<(place.isDouble ? 8 : 16) {
        let old = number(UnsafeRawPointer(group + newPlace &* groupBytes), lane, place)
        let oldChange = number(UnsafeRawPointer(group + changePlace &* groupBytes), lane, place)
        var isGood = old.magnitude <= place.bound && oldChange.isFinite
        for slot in 0..<place.states {
            let state = group + (statePlace &+ slot) &* groupBytes
            isGood = isGood && number(UnsafeRawPointer(state), lane, place).isFinite
        }
        if isGood { continue }
        let weight = number(UnsafeRawPointer(group), lane, place)
        let finite = memory.loadUnaligned(fromByteOffset: lane &* 8, as: Double.self)
        let change = changes.loadUnaligned(fromByteOffset: lane &* 8, as: Double.self)
        // Infinity less a finite change is itself; a sum of finite numbers may overflow, and is bounded.
        var new = subtracts ? weight - change : finite
        if weight.isFinite && change.isFinite { new = bounded(new, subtracts ? place.largest : largest) }
        put(new, group + newPlace &* groupBytes, lane, place)
        put(change.isFinite ? bounded(change, largest) : change, group + changePlace &* groupBytes, lane, place)
        for slot in 0..<place.states {
            let state = (states + slot &* wideBytes).loadUnaligned(fromByteOffset: lane &* 8, as: Double.self)
            put(
                state.isFinite ? bounded(state, largest) : state, group + (statePlace &+ slot) &* groupBytes,
                lane, place)
        }
    }
}

@inline(__always)
private func bounded(_ x: Double, _ limit: Double) -> Double { x > limit ? limit : x < -limit ? -limit : x }

/// One number of a group of the loop's lanes.
@inline(__always)
private func number(_ group: UnsafeRawPointer, _ lane: Int, _ place: GroupPlace) -> Double {
    place.isDouble
        ? group.loadUnaligned(fromByteOffset: lane &* 8, as: Double.self)
        : Double(group.loadUnaligned(fromByteOffset: lane &* 4, as: Float.self))
}

/// Puts a number in its place; every NaN has the same bits.
@inline(__always)
private func put(_ x: Double, _ group: UnsafeMutableRawPointer, _ lane: Int, _ place: GroupPlace) {
    let x = x.isNaN ? .nan : x
    if place.isDouble {
        group.storeBytes(of: x, toByteOffset: lane &* 8, as: Double.self)
    } else {
        group.storeBytes(of: Float(x), toByteOffset: lane &* 4, as: Float.self)
    }
}
