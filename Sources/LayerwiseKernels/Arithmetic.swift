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
    func direction(weight: Values, gradient: Values, state: inout State) -> Values
}

/// A rule's states for one group of lanes.
protocol StateLanes {
    associatedtype Values: Lanes
    init(_ tile: lwk_tile, _ offset: Int)
    func store(_ tile: lwk_tile, _ offset: Int)
}

/// Pass of a rule that needs only one: w ← w − δ, in place.
@inline(__always)
func update<A: Arithmetic>(_: A.Type, _ tile: UnsafePointer<lwk_tile>) {
    let tile = tile.pointee
    let rule = A(tile)
    var offset = 0
    while offset < tile.bytes {
        let weight = A.Values.load(tile.weights, offset)
        let gradient = A.Values.load(tile.gradients, offset)
        var state = A.State(tile, offset)
        let change = rule.change(weight: weight, gradient: gradient, state: &state)
        (weight - change).store(tile.weights, offset)
        state.store(tile, offset)
        offset &+= groupBytes
    }
}

/// The same, but leaves the weights and writes δ to `directions`, for the stations that follow.
@inline(__always)
func propose<A: Arithmetic>(_: A.Type, _ tile: UnsafePointer<lwk_tile>) {
    let tile = tile.pointee
    guard let directions = tile.directions else { return }
    let rule = A(tile)
    var offset = 0
    while offset < tile.bytes {
        let weight = A.Values.load(tile.weights, offset)
        let gradient = A.Values.load(tile.gradients, offset)
        var state = A.State(tile, offset)
        rule.change(weight: weight, gradient: gradient, state: &state).store(directions, offset)
        state.store(tile, offset)
        offset &+= groupBytes
    }
}

/// First pass of a rule with a trust ratio: advances the state and writes the direction to `directions`.
@inline(__always)
func advance<A: TrustRatioArithmetic>(_: A.Type, _ tile: UnsafePointer<lwk_tile>) {
    let tile = tile.pointee
    guard let directions = tile.directions else { return }
    let rule = A(tile)
    var offset = 0
    while offset < tile.bytes {
        let weight = A.Values.load(tile.weights, offset)
        let gradient = A.Values.load(tile.gradients, offset)
        var state = A.State(tile, offset)
        rule.direction(weight: weight, gradient: gradient, state: &state).store(directions, offset)
        state.store(tile, offset)
        offset &+= groupBytes
    }
}

extension lwk_tile {
    /// The bytes of the tile's lanes.  (A counted loop over a range would carry a trap for a negative count.)
    @inline(__always)
    var bytes: Int { Int(truncatingIfNeeded: groups) &* groupBytes }
}
