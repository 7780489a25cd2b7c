// SPDX-License-Identifier: Apache-2.0
import CLayerwiseKernels

/// The arithmetic of a rule of which a stage advances the states and takes the squares of two numbers for each element.
protocol SquaresArithmetic: Arithmetic {
    /// What that stage advances.
    associatedtype MeasuredState: StateLanes where MeasuredState.Values == Values

    /// Whether a stage before it takes the squares of weights and gradients.  Its `finish` leaves 0 as the last number.
    static var measuresNormsFirst: Bool { get }

    /// Advances the state, and returns the two numbers.
    func measure(weight: Values, gradient: Values, state: inout MeasuredState) -> Measured<Values>
}

/// The two numbers whose squares are added up.
struct Measured<Values: Lanes> {
    var first: Values
    var second: Values
}

/// The passes of a rule with such a stage.
@inline(__always)
func runWithSquares<A: SquaresArithmetic, C: SquaresArithmetic, S: Storage<A.Values>>(
    _: A.Type, _: C.Type, _: S.Type, _ pass: Int32, _ tile: UnsafePointer<lwk_tile>,
    _ sums: UnsafeMutablePointer<lwk_sums>
) where C.Values == CarefulLanes {
    if pass != lwk_pass_advance {
        run(A.self, C.self, S.self, pass, tile, sums)
    } else if A.measuresNormsFirst && tile.pointee.numbers.3 != 0 {
        addNorms(S.self, tile, sums)
    } else {
        advanceWithSquares(A.self, C.self, S.self, tile, sums)
    }
}

/// Adds up the squares of weights and gradients.  Infinite weights count as 0.
@inline(never)
private func addNorms<S: Storage>(
    _: S.Type, _ source: UnsafePointer<lwk_tile>, _ sums: UnsafeMutablePointer<lwk_sums>
) {
    let tile = source.pointee
    let factor = S.Values(tile.gradient_factor)
    var weights = SquareSum()
    var gradients = SquareSum()
    var index = 0
    while index < tile.groups {
        let place = index &* S.bytes
        tile.prefetch(place, 0, NoState<S.Values>.self)
        S.load(tile.weights, place).zeroIfInfinite.addSquares(to: &weights)
        let gradient = S.load(tile.gradients, place)
        (gradient * factor).settled(operand: gradient).addSquares(to: &gradients)
        index &+= 1
    }
    sums.pointee.weights += weights.total
    sums.pointee.updates += gradients.total
}

/// Advances the states, and adds the squares of the two numbers to `weights` and `updates`.
@inline(never)
private func advanceWithSquares<A: SquaresArithmetic, C: SquaresArithmetic, S: Storage<A.Values>>(
    _: A.Type, _: C.Type, _: S.Type, _ source: UnsafePointer<lwk_tile>, _ sums: UnsafeMutablePointer<lwk_sums>
) where C.Values == CarefulLanes {
    let tile = source.pointee
    let rule = A(tile)
    let factor = A.Values(tile.gradient_factor)
    var first = SquareSum()
    var second = SquareSum()
    var index = 0
    while index < tile.groups {
        let (place, offset) = (index &* S.bytes, index &* groupBytes)
        tile.prefetch(place, offset, A.MeasuredState.self)
        let weight = S.load(tile.weights, place)
        let gradient = S.load(tile.gradients, place) * factor
        var state = A.MeasuredState(tile, offset)
        var own = rule.measure(weight: weight, gradient: gradient, state: &state)
        if _fastPath((own.first + own.second).allFinite(with: state.unbounded)) {
            state.store(tile, offset)
        } else {
            own = squareCarefully(A.self, C.self, S.self, source, index)
        }
        index &+= 1
        // A rule may compute 0/0 from the padding.
        if index == tile.groups && Int(truncatingIfNeeded: tile.last_count) != A.Values.count {
            own = Measured(first: own.first.prefix(tile.last_count), second: own.second.prefix(tile.last_count))
        }
        own.first.addSquares(to: &first)
        own.second.addSquares(to: &second)
    }
    sums.pointee.weights += first.total
    sums.pointee.updates += second.total
}

/// Advances the states of a group as the loop would, and computes again in float64 the lanes that need it; finite operands leave
/// finite states and numbers.
@inline(never)
private func squareCarefully<A: SquaresArithmetic, C: SquaresArithmetic, S: Storage<A.Values>>(
    _: A.Type, _: C.Type, _: S.Type, _ source: UnsafePointer<lwk_tile>, _ index: Int
) -> Measured<A.Values> where C.Values == CarefulLanes {
    let tile = source.pointee
    let offset = index &* groupBytes
    let weight = S.load(tile.weights, index &* S.bytes)
    let gradient = S.load(tile.gradients, index &* S.bytes)
    var state = A.MeasuredState(tile, offset)
    let scaled = gradient * A.Values(tile.gradient_factor)
    let own = A(tile).measure(weight: weight, gradient: scaled, state: &state)
    let place = GroupPlace(index, S.self, A.MeasuredState.self, factor: tile.gradient_factor)
    /// The group with `change` repaired, which `number` takes from what is measured.
    func repaired(
        _ change: A.Values, _ number: (Measured<CarefulLanes>) -> CarefulLanes
    ) -> Group<A.Values, A.MeasuredState> {
        var group = Group(weight: weight, gradient: gradient, new: weight, change: change, state: state)
        withUnsafeMutablePointer(to: &group) {
            repair($0, source, place, subtracts: false) { wide, offset in
                var state = C.MeasuredState(wide, offset)
                let own = C(wide).measure(
                    weight: .load(wide.weights, offset), gradient: .load(wide.gradients, offset), state: &state)
                state.store(wide, offset)
                return number(own)
            }
        }
        return group
    }
    // Both begin with the states before the stage.
    let first = repaired(own.first) { $0.first }
    let second = repaired(own.second) { $0.second }
    first.state.store(tile, offset)
    return Measured(first: first.change, second: second.change)
}
