// SPDX-License-Identifier: Apache-2.0
import CLayerwiseKernels

// What states need that are kept by rows and columns: the sums of squared gradients, and the products of both.

/// Adds the squares of `count` lanes, of which the first is element `start` of its tensor, to the sums of their rows and of
/// their columns.  `rowSums` begins with the row of the first element, `columnSums` with the columns of its matrix.
@inline(__always)
func addSquares<V: Lanes>(
    _: V.Type, _ source: UnsafeRawPointer, _ count: Int, _ start: Int, _ rows: Int, _ columns: Int,
    _ rowSums: UnsafeMutablePointer<Double>, _ columnSums: UnsafeMutablePointer<Double>
) {
    var column = start % columns
    var row = start / columns % rows
    var rowSum = rowSums
    var columnSums = columnSums
    var index = 0
    while index < count {
        let run = min(columns &- column, count &- index)
        var squares = SquareSum()
        var rest = 0.0
        var done = 0
        while done &+ V.count <= run {
            let values = V.load(source, (index &+ done) &* (groupBytes / V.count))
            values.addSquares(to: &squares)
            values.addSquares(to: columnSums + (column &+ done))
            done &+= V.count
        }
        while done < run {
            let x = V.number(source, index &+ done)
            rest = rest.addingProduct(x, x)
            columnSums[column &+ done] = columnSums[column &+ done].addingProduct(x, x)
            done &+= 1
        }
        rowSum.pointee += squares.total + rest
        index &+= run
        column &+= run
        if column == columns {
            column = 0
            rowSum += 1
            row &+= 1
            if row == rows {
                row = 0
                columnSums += columns
            }
        }
    }
}

/// The products of rows and columns for `count` elements, of which the first is element `start` of its tensor.  `rowFactors` and
/// `columnValues` begin with the first row and column of the tensor.  Up to a group of lanes behind the columns is read, and
/// behind the target written.
@inline(__always)
func multiplyFactors<V: Lanes>(
    _: V.Type, _ rowFactors: UnsafePointer<Double>, _ columnValues: UnsafeRawPointer, _ start: Int, _ count: Int,
    _ rows: Int, _ columns: Int, _ target: UnsafeMutableRawPointer
) {
    let laneBytes = groupBytes / V.count
    var column = start % columns
    var row = start / columns
    var index = 0
    while index < count {
        let run = min(columns &- column, count &- index)
        let factor = V(rowFactors[row])
        let own = columnValues + (row / rows &* columns &+ column) &* laneBytes
        let place = target + index &* laneBytes
        var done = 0
        while done < run {
            let values = V.load(own, done &* laneBytes)
            // What is finite stays finite.
            (factor * values).settled(operand: values).store(place, done &* laneBytes)
            done &+= V.count
        }
        index &+= run
        column &+= run
        if column == columns {
            column = 0
            row &+= 1
        }
    }
}
