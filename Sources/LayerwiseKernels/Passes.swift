// SPDX-License-Identifier: Apache-2.0
import CLayerwiseKernels

/// The arithmetic of one rule on one group of lanes.
///
/// A rule turns a weight, its conditioned gradient and its state into the *change* δ, and the loops below subtract it:
/// w ← w − δ.  So a rule knows nothing about storage, clipping or telemetry.
protocol Arithmetic {
    associatedtype Values: Lanes
    associatedtype State: StateLanes where State.Values == Values

    /// Reads the struct that the rule's plan wrote, once per tile.
    init(_ tile: lwk_tile)

    /// The change of one group; advances the state.
    func change(weight: Values, gradient: Values, state: inout State) -> Values
}

/// The arithmetic of a rule with a trust ratio, which takes two passes over a tensor: the first advances the state and
/// returns the direction, whose norm is measured; the second changes the weights, with the ratio known.
protocol TrustRatioArithmetic: Arithmetic {
    /// What the first pass needs of the state, which may be nothing.
    associatedtype MeasuredState: StateLanes where MeasuredState.Values == Values

    func direction(weight: Values, gradient: Values, state: inout MeasuredState) -> Values

    /// The same direction, behind the pass that advanced the state.
    func directionAgain(weight: Values, gradient: Values, state: State) -> Values
}

/// The arithmetic of a rule whose change follows from the weight and the direction alone, so that directions that were kept
/// spare making them again.
protocol DirectionArithmetic: TrustRatioArithmetic {
    func change(weight: Values, direction: Values) -> Values
}

/// A rule's states for one group of lanes.
protocol StateLanes {
    associatedtype Values: Lanes
    init(_ tile: lwk_tile, _ offset: Int)
    func store(_ tile: lwk_tile, _ offset: Int)
    /// The sum of the states that may become infinite while the new weight stays finite; nil if no state can.
    var unbounded: Values? { get }
    /// Asks for the states at `offset` ahead of their use.
    static func prefetch(_ tile: lwk_tile, _ offset: Int)
}

// A kernel is one of these, made for one arithmetic and one storage of weights and gradients.  C is the same arithmetic in
// lanes with which a group is worked out again whose results are not all finite (Careful.swift).
//
// A pass is not inlined: it would be optimized twice, as a function of its own and then in the kernel that calls it, which took a
// fifth of the compiler's time for this module.

/// The passes of a rule without a trust ratio.
@inline(__always)
func run<A: Arithmetic, C: Arithmetic, S: Storage<A.Values>>(
    _: A.Type, _: C.Type, _: S.Type, _ pass: Int32, _ tile: UnsafePointer<lwk_tile>,
    _ sums: UnsafeMutablePointer<lwk_sums>
) where C.Values == CarefulLanes {
    if pass == lwk_pass_observe {
        observe(A.self, C.self, S.self, tile, sums)
    } else {
        update(A.self, C.self, S.self, tile)
    }
}

/// The passes of a rule with a trust ratio.
@inline(__always)
func runWithRatio<A: TrustRatioArithmetic, C: TrustRatioArithmetic, S: Storage<A.Values>>(
    _: A.Type, _: C.Type, _: S.Type, _ pass: Int32, _ tile: UnsafePointer<lwk_tile>,
    _ sums: UnsafeMutablePointer<lwk_sums>
) where C.Values == CarefulLanes {
    switch pass {
    case lwk_pass_advance: advance(A.self, C.self, S.self, tile, sums)
    case lwk_pass_remeasure: remeasure(C.self, S.self, tile, sums)
    default: run(A.self, C.self, S.self, pass, tile, sums)
    }
}

/// The passes of a rule with a trust ratio that keeps its directions.
@inline(__always)
func runWithDirections<A: DirectionArithmetic, C: DirectionArithmetic, S: Storage<A.Values>>(
    _: A.Type, _: C.Type, _: S.Type, _ pass: Int32, _ tile: UnsafePointer<lwk_tile>,
    _ sums: UnsafeMutablePointer<lwk_sums>
) where C.Values == CarefulLanes {
    if pass == lwk_pass_finish {
        finish(A.self, C.self, S.self, tile)
    } else {
        runWithRatio(A.self, C.self, S.self, pass, tile, sums)
    }
}

/// Changes the weights: w ← w − δ, in place.
@inline(never)
private func update<A: Arithmetic, C: Arithmetic, S: Storage<A.Values>>(
    _: A.Type, _: C.Type, _: S.Type, _ source: UnsafePointer<lwk_tile>
) where C.Values == CarefulLanes {
    let tile = source.pointee
    let rule = A(tile)
    let factor = A.Values(tile.gradient_factor)
    var index = 0
    while index < tile.groups {
        let (place, offset) = (index &* S.bytes, index &* groupBytes)
        tile.prefetch(place, offset, A.State.self)
        let weight = S.load(tile.weights, place)
        let gradient = S.load(tile.gradients, place) * factor
        var state = A.State(tile, offset)
        let change = rule.change(weight: weight, gradient: gradient, state: &state)
        let new = weight - change
        if _fastPath(S.allFinite(new, with: state.unbounded)) {
            S.storeFinite(new, tile.weights, place)
            state.store(tile, offset)
        } else {
            _ = changeCarefully(A.self, C.self, S.self, source, index)
        }
        index &+= 1
    }
}

/// Updates as `update` does, adds the squares of gradients, old weights and changes to `sums`, and counts lost changes if
/// numbers are rounded to 16 bits.
@inline(never)
private func observe<A: Arithmetic, C: Arithmetic, S: Storage<A.Values>>(
    _: A.Type, _: C.Type, _: S.Type, _ source: UnsafePointer<lwk_tile>, _ sums: UnsafeMutablePointer<lwk_sums>
) where C.Values == CarefulLanes {
    if S.mayRoundLater && source.pointee.rounding != lwk_rounding_none {
        observe(A.self, C.self, S.self, source, sums, roundsLater: true)
    } else {
        observe(A.self, C.self, S.self, source, sums, roundsLater: false)
    }
}

@inline(__always)
private func observe<A: Arithmetic, C: Arithmetic, S: Storage<A.Values>>(
    _: A.Type, _: C.Type, _: S.Type, _ source: UnsafePointer<lwk_tile>, _ sums: UnsafeMutablePointer<lwk_sums>,
    roundsLater: Bool
) where C.Values == CarefulLanes {
    let tile = source.pointee
    let rule = A(tile)
    let factor = A.Values(tile.gradient_factor)
    var gradients = ReportSum()
    var weights = ReportSum()
    var updates = ReportSum()
    var losses = SIMD16<Int32>()
    /// A weight that is stored at `place`.
    @inline(__always) func stored(_ place: Int) -> A.Values {
        let stored = S.load(tile.weights, place)
        return roundsLater ? S.rounded(stored, tile.rounding) : stored
    }
    var index = 0
    while index < tile.groups {
        let (place, offset) = (index &* S.bytes, index &* groupBytes)
        tile.prefetch(place, offset, A.State.self)
        let weight = S.load(tile.weights, place)
        let gradient = S.load(tile.gradients, place) * factor
        var state = A.State(tile, offset)
        var change = rule.change(weight: weight, gradient: gradient, state: &state)
        var moved = change
        let new = weight - change
        if _fastPath(S.allFinite(new, with: state.unbounded)) {
            S.storeFinite(new, tile.weights, place)
            state.store(tile, offset)
            if S.rounds || roundsLater { moved = weight - stored(place) }
        } else {
            change = changeCarefully(A.self, C.self, S.self, source, index)
            moved = change
            if S.rounds || roundsLater {
                // An infinite weight loses nothing.
                moved = weight.difference(from: stored(place))
                change = change.replaced(by: moved, whereNotFinite: weight)
            }
        }
        index &+= 1
        let isWhole = index < tile.groups || tile.lastIsWhole(A.Values.self)
        if S.rounds || roundsLater { change.countLost(moved: moved, to: &losses) }
        gradient.addSquares(to: &gradients)
        weight.addSquares(to: &weights)
        (isWhole ? moved : moved.prefix(tile.last_count)).addSquares(to: &updates)
    }
    sums.pointee.gradients += gradients.total
    sums.pointee.weights += weights.total
    sums.pointee.updates += updates.total
    if S.rounds || roundsLater { sums.pointee.lost += Double(lwk_total_int(losses)) }
}

/// First pass of a rule with a trust ratio: advances the state, keeps the directions where there is room for them, and adds
/// the squares of weights and directions to `sums`.  Infinite weights count as 0.
@inline(never)
private func advance<A: TrustRatioArithmetic, C: TrustRatioArithmetic, S: Storage<A.Values>>(
    _: A.Type, _: C.Type, _: S.Type, _ source: UnsafePointer<lwk_tile>, _ sums: UnsafeMutablePointer<lwk_sums>
) where C.Values == CarefulLanes {
    let tile = source.pointee
    let rule = A(tile)
    let factor = A.Values(tile.gradient_factor)
    var weights = SquareSum()
    var directions = SquareSum()
    var index = 0
    while index < tile.groups {
        let (place, offset) = (index &* S.bytes, index &* groupBytes)
        tile.prefetch(place, offset, A.MeasuredState.self)
        var weight = S.load(tile.weights, place)
        let gradient = S.load(tile.gradients, place) * factor
        var state = A.MeasuredState(tile, offset)
        var direction = rule.direction(weight: weight, gradient: gradient, state: &state)
        if _fastPath(direction.allFinite(with: state.unbounded)) {
            state.store(tile, offset)
        } else {
            direction = directCarefully(A.self, C.self, S.self, source, index)
            weight = weight.zeroIfInfinite
        }
        if let directions = tile.directions { direction.store(directions, offset) }
        index &+= 1
        let isWhole = index < tile.groups || tile.lastIsWhole(A.Values.self)
        weight.addSquares(to: &weights)
        (isWhole ? direction : direction.prefix(tile.last_count)).addSquares(to: &directions)
    }
    let total = weights.total
    sums.pointee.weights += _fastPath(total.isFinite) ? total : finiteSquares(S.self, source)
    sums.pointee.updates += directions.total
}

/// The squares of a tile's weights without those that are infinite: directions may be finite where weights are not.
@inline(never)
private func finiteSquares<S: Storage>(_: S.Type, _ source: UnsafePointer<lwk_tile>) -> Double {
    let tile = source.pointee
    var squares = SquareSum()
    var index = 0
    while index < tile.groups {
        S.load(tile.weights, index &* S.bytes).zeroIfInfinite.addSquares(to: &squares)
        index &+= 1
    }
    return squares.total
}

/// Second pass of a rule with a trust ratio, from directions that were kept.
@inline(never)
private func finish<A: DirectionArithmetic, C: DirectionArithmetic, S: Storage<A.Values>>(
    _: A.Type, _: C.Type, _: S.Type, _ source: UnsafePointer<lwk_tile>
) where C.Values == CarefulLanes {
    let tile = source.pointee
    guard let directions = tile.directions else { return }
    let rule = A(tile)
    var index = 0
    while index < tile.groups {
        let (place, offset) = (index &* S.bytes, index &* groupBytes)
        lwk_prefetch_write(tile.weights + (place &+ Int(truncatingIfNeeded: tile.ahead)))
        lwk_prefetch_read(directions + (offset &+ Int(truncatingIfNeeded: tile.states_ahead)))
        let weight = S.load(tile.weights, place)
        let direction = A.Values.load(directions, offset)
        let new = weight - rule.change(weight: weight, direction: direction)
        if _fastPath(S.allFinite(new, with: nil)) {
            S.storeFinite(new, tile.weights, place)
        } else {
            finishCarefully(A.self, C.self, S.self, source, index)
        }
        index &+= 1
    }
}

extension lwk_tile {
    /// Asks for what is used soon: weights and gradients at `place`, states at `offset`.
    @inline(__always)
    func prefetch<S: StateLanes>(_ place: Int, _ offset: Int, _: S.Type) {
        lwk_prefetch_write(weights + (place &+ Int(truncatingIfNeeded: ahead)))
        lwk_prefetch_read(gradients + (place &+ Int(truncatingIfNeeded: ahead)))
        S.prefetch(self, offset &+ Int(truncatingIfNeeded: states_ahead))
    }

    /// Whether the last group has no padding.  Weights and gradients are padded with zeros, which add nothing to a sum, but
    /// a rule may compute 0/0 from them.
    @inline(__always)
    fileprivate func lastIsWhole<V: Lanes>(_: V.Type) -> Bool { Int(truncatingIfNeeded: last_count) == V.count }
}
