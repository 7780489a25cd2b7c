// SPDX-License-Identifier: Apache-2.0
import CLayerwiseKernels

/// The arithmetic of a rule whose first stage advances the states and leaves two sums, and whose second changes the weights.
protocol SummingArithmetic: Arithmetic {
    /// What the first stage advances.
    associatedtype SummedState: StateLanes where SummedState.Values == Values

    /// Advances the state; the first sum is that of `left` · `right`.
    func advance(weight: Values, gradient: Values, state: inout SummedState) -> Summands<Values>

    /// Adds what a state adds to the second sum.
    func addSecond(_ state: SummedState, to sum: inout SquareSum)
}

/// The factors of what one group adds to the first sum of a stage.
struct Summands<Values: Lanes> {
    let left: Values
    let right: Values
}

/// The passes of a rule whose first stage sums.
@inline(__always)
func runWithSums<A: SummingArithmetic, C: SummingArithmetic, S: Storage<A.Values>>(
    _: A.Type, _: C.Type, _: S.Type, _ pass: Int32, _ tile: UnsafePointer<lwk_tile>,
    _ sums: UnsafeMutablePointer<lwk_sums>
) where C.Values == CarefulLanes {
    if pass == lwk_pass_advance {
        advanceWithSums(A.self, C.self, S.self, tile, sums)
    } else {
        run(A.self, C.self, S.self, pass, tile, sums)
    }
}

/// First stage: advances the states, and adds to `weights` the first and to `updates` the second sum.
@inline(never)
private func advanceWithSums<A: SummingArithmetic, C: SummingArithmetic, S: Storage<A.Values>>(
    _: A.Type, _: C.Type, _: S.Type, _ source: UnsafePointer<lwk_tile>, _ sums: UnsafeMutablePointer<lwk_sums>
) where C.Values == CarefulLanes {
    let tile = source.pointee
    let rule = A(tile)
    let factor = A.Values(tile.gradient_factor)
    var products = SquareSum()
    var second = SquareSum()
    var index = 0
    while index < tile.groups {
        let (place, offset) = (index &* S.bytes, index &* groupBytes)
        tile.prefetch(place, offset, A.SummedState.self)
        let weight = S.load(tile.weights, place)
        let gradient = S.load(tile.gradients, place) * factor
        var state = A.SummedState(tile, offset)
        var own = rule.advance(weight: weight, gradient: gradient, state: &state)
        if _fastPath((own.left + own.right).allFinite(with: state.unbounded)) {
            state.store(tile, offset)
        } else {
            (own, state) = sumCarefully(A.self, C.self, S.self, source, index)
        }
        index &+= 1
        // Padding is 0, and so is what it adds.
        own.left.addProducts(own.right, to: &products)
        rule.addSecond(state, to: &second)
    }
    sums.pointee.weights += products.total
    sums.pointee.updates += second.total
}

/// Advances the states of a group as the loop would, and computes again in float64 the lanes that need it; finite operands leave
/// finite states and summands.
@inline(never)
private func sumCarefully<A: SummingArithmetic, C: SummingArithmetic, S: Storage<A.Values>>(
    _: A.Type, _: C.Type, _: S.Type, _ source: UnsafePointer<lwk_tile>, _ index: Int
) -> (Summands<A.Values>, A.SummedState) where C.Values == CarefulLanes {
    let tile = source.pointee
    let offset = index &* groupBytes
    let weight = S.load(tile.weights, index &* S.bytes)
    let gradient = S.load(tile.gradients, index &* S.bytes)
    var state = A.SummedState(tile, offset)
    let scaled = gradient * A.Values(tile.gradient_factor)
    let own = A(tile).advance(weight: weight, gradient: scaled, state: &state)
    let place = GroupPlace(index, S.self, A.SummedState.self, factor: tile.gradient_factor)
    /// The group with `change` repaired, which `factor` takes from the summands.
    func repaired(
        _ change: A.Values, _ factor: (Summands<CarefulLanes>) -> CarefulLanes
    ) -> Group<A.Values, A.SummedState> {
        var group = Group(weight: weight, gradient: gradient, new: weight, change: change, state: state)
        withUnsafeMutablePointer(to: &group) {
            repair($0, source, place, subtracts: false) { wide, offset in
                var state = C.SummedState(wide, offset)
                let own = C(wide).advance(
                    weight: .load(wide.weights, offset), gradient: .load(wide.gradients, offset), state: &state)
                state.store(wide, offset)
                return factor(own)
            }
        }
        return group
    }
    // Both begin with the states before the stage.
    let left = repaired(own.left) { $0.left }
    // An infinite weight is no distance.
    let right = repaired(own.right) { $0.right }.change.replaced(by: A.Values(0), whereNotFinite: weight)
    left.state.store(tile, offset)
    return (Summands(left: left.change, right: right), left.state)
}
