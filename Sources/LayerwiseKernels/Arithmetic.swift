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
    /// Asks for the states at `offset` ahead of their use.
    static func prefetch(_ tile: lwk_tile, _ offset: Int)
}

// A kernel is one of these, made for one arithmetic and one storage of weights and gradients.

/// The passes of a rule without a trust ratio.
@inline(__always)
func run<A: Arithmetic, S: Storage<A.Values>>(
    _: A.Type, _: S.Type, _ pass: Int32, _ tile: UnsafePointer<lwk_tile>, _ sums: UnsafeMutablePointer<lwk_sums>
) {
    if pass == lwk_pass_observe { observe(A.self, S.self, tile, sums) } else { update(A.self, S.self, tile) }
}

/// The passes of a rule with a trust ratio.
@inline(__always)
func runWithRatio<A: TrustRatioArithmetic, S: Storage<A.Values>>(
    _: A.Type, _: S.Type, _ pass: Int32, _ tile: UnsafePointer<lwk_tile>, _ sums: UnsafeMutablePointer<lwk_sums>
) {
    if pass == lwk_pass_advance { advance(A.self, S.self, tile, sums) } else { run(A.self, S.self, pass, tile, sums) }
}

/// The passes of a rule with a trust ratio that keeps its directions.
@inline(__always)
func runWithDirections<A: DirectionArithmetic, S: Storage<A.Values>>(
    _: A.Type, _: S.Type, _ pass: Int32, _ tile: UnsafePointer<lwk_tile>, _ sums: UnsafeMutablePointer<lwk_sums>
) {
    if pass == lwk_pass_finish { finish(A.self, S.self, tile) } else { runWithRatio(A.self, S.self, pass, tile, sums) }
}

/// Changes the weights: w ← w − δ, in place.
@inline(__always)
private func update<A: Arithmetic, S: Storage<A.Values>>(_: A.Type, _: S.Type, _ tile: UnsafePointer<lwk_tile>) {
    let tile = tile.pointee
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
        S.store(weight - change, tile.weights, place)
        state.store(tile, offset)
        index &+= 1
    }
}

/// The same, and adds the squares of gradients, old weights and changes to `sums`.
@inline(__always)
private func observe<A: Arithmetic, S: Storage<A.Values>>(
    _: A.Type, _: S.Type, _ tile: UnsafePointer<lwk_tile>, _ sums: UnsafeMutablePointer<lwk_sums>
) {
    let tile = tile.pointee
    let rule = A(tile)
    let factor = A.Values(tile.gradient_factor)
    var gradients = SquareSum()
    var weights = SquareSum()
    var updates = SquareSum()
    var index = 0
    while index < tile.groups {
        let (place, offset) = (index &* S.bytes, index &* groupBytes)
        tile.prefetch(place, offset, A.State.self)
        let weight = S.load(tile.weights, place)
        let gradient = S.load(tile.gradients, place) * factor
        var state = A.State(tile, offset)
        let change = rule.change(weight: weight, gradient: gradient, state: &state)
        S.store(weight - change, tile.weights, place)
        state.store(tile, offset)
        index &+= 1
        let isWhole = index < tile.groups || tile.lastIsWhole(A.Values.self)
        gradient.addSquares(to: &gradients)
        weight.addSquares(to: &weights)
        (isWhole ? change : change.prefix(tile.last_count)).addSquares(to: &updates)
    }
    sums.pointee.gradients += gradients.total
    sums.pointee.weights += weights.total
    sums.pointee.updates += updates.total
}

/// First pass of a rule with a trust ratio: advances the state, keeps the directions where there is room for them, and adds
/// the squares of weights and directions to `sums`.
@inline(__always)
private func advance<A: TrustRatioArithmetic, S: Storage<A.Values>>(
    _: A.Type, _: S.Type, _ tile: UnsafePointer<lwk_tile>, _ sums: UnsafeMutablePointer<lwk_sums>
) {
    let tile = tile.pointee
    let rule = A(tile)
    let factor = A.Values(tile.gradient_factor)
    var weights = SquareSum()
    var directions = SquareSum()
    var index = 0
    while index < tile.groups {
        let (place, offset) = (index &* S.bytes, index &* groupBytes)
        tile.prefetch(place, offset, A.MeasuredState.self)
        let weight = S.load(tile.weights, place)
        let gradient = S.load(tile.gradients, place) * factor
        var state = A.MeasuredState(tile, offset)
        let direction = rule.direction(weight: weight, gradient: gradient, state: &state)
        state.store(tile, offset)
        if let directions = tile.directions { direction.store(directions, offset) }
        index &+= 1
        let isWhole = index < tile.groups || tile.lastIsWhole(A.Values.self)
        weight.addSquares(to: &weights)
        (isWhole ? direction : direction.prefix(tile.last_count)).addSquares(to: &directions)
    }
    sums.pointee.weights += weights.total
    sums.pointee.updates += directions.total
}

/// Second pass of a rule with a trust ratio, from directions that were kept.
@inline(__always)
private func finish<A: DirectionArithmetic, S: Storage<A.Values>>(
    _: A.Type, _: S.Type, _ tile: UnsafePointer<lwk_tile>
) {
    let tile = tile.pointee
    guard let directions = tile.directions else { return }
    let rule = A(tile)
    var index = 0
    while index < tile.groups {
        let (place, offset) = (index &* S.bytes, index &* groupBytes)
        lwk_prefetch_write(tile.weights + (place &+ Int(truncatingIfNeeded: tile.ahead)))
        lwk_prefetch_read(directions + (offset &+ Int(truncatingIfNeeded: tile.states_ahead)))
        let weight = S.load(tile.weights, place)
        let direction = A.Values.load(directions, offset)
        S.store(weight - rule.change(weight: weight, direction: direction), tile.weights, place)
        index &+= 1
    }
}

extension lwk_tile {
    /// Asks for what is used soon: weights and gradients at `place`, states at `offset`.
    @inline(__always)
    fileprivate func prefetch<S: StateLanes>(_ place: Int, _ offset: Int, _: S.Type) {
        lwk_prefetch_write(weights + (place &+ Int(truncatingIfNeeded: ahead)))
        lwk_prefetch_read(gradients + (place &+ Int(truncatingIfNeeded: ahead)))
        S.prefetch(self, offset &+ Int(truncatingIfNeeded: states_ahead))
    }

    /// Whether the last group has no padding.  Weights and gradients are padded with zeros, which add nothing to a sum, but
    /// what a rule makes of them may be 0/0.
    @inline(__always)
    fileprivate func lastIsWhole<V: Lanes>(_: V.Type) -> Bool { Int(truncatingIfNeeded: last_count) == V.count }
}
