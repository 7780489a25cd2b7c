// SPDX-License-Identifier: Apache-2.0
import CLayerwiseKernels

// What states need that are kept by rows and columns, or by axes: the sums of squared gradients, and the products of both; the
// least of an element's axes, and the largest by row and by column.

/// Calls `body` with each run of `count` elements that lies in one row of `length` elements: the row, the run's place in it, and the
/// run itself.  The first element is element `start` of its tensor; the elements of runs are counted from it.
@inline(__always)
func forEachRun(
    _ start: Int, _ count: Int, _ length: Int, _ body: (_ row: Int, _ place: Int, _ run: Range<Int>) -> Void
) {
    var row = start / length
    var place = start % length
    var index = 0
    while index < count {
        let end = index &+ min(length &- place, count &- index)
        body(row, place, Range(uncheckedBounds: (index, end)))
        index = end
        place = 0
        row &+= 1
    }
}

/// Adds the squares of `count` lanes, of which the first is element `start` of its tensor, to the sums of their rows and of
/// their columns.  `rowSums` begins with the row of the first element, `columnSums` with the columns of its matrix.
@inline(__always)
func addSquares<V: Lanes>(
    _: V.Type, _ source: UnsafeRawPointer, _ count: Int, _ start: Int, _ rows: Int, _ columns: Int,
    _ rowSums: UnsafeMutablePointer<Double>, _ columnSums: UnsafeMutablePointer<Double>
) {
    let firstRow = start / columns
    var columnSums = columnSums
    var left = rows &- firstRow % rows
    forEachRun(start, count, columns) { row, column, run in
        if left == 0 {
            columnSums += columns
            left = rows
        }
        left &-= 1
        let columnSums = columnSums + column
        var rest = 0.0
        if run.count < V.count {
            for place in 0..<run.count {
                let x = V.number(source, run.lowerBound &+ place)
                rest = rest.addingProduct(x, x)
                columnSums[place] = columnSums[place].addingProduct(x, x)
            }
            rowSums[row &- firstRow] += rest
            return
        }
        var squares = SquareSum()
        var done = 0
        while done &+ V.count <= run.count {
            let values = V.load(source, (run.lowerBound &+ done) &* (groupBytes / V.count))
            values.addSquares(to: &squares)
            values.addSquares(to: columnSums + done)
            done &+= V.count
        }
        while done < run.count {
            let x = V.number(source, run.lowerBound &+ done)
            rest = rest.addingProduct(x, x)
            columnSums[done] = columnSums[done].addingProduct(x, x)
            done &+= 1
        }
        rowSums[row &- firstRow] += squares.total + rest
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
    let (matrix, firstRow) = (start / columns).quotientAndRemainder(dividingBy: rows)
    var columnValues = columnValues + matrix &* columns &* laneBytes
    var left = rows &- firstRow
    forEachRun(start, count, columns) { row, column, run in
        if left == 0 {
            columnValues += columns &* laneBytes
            left = rows
        }
        left &-= 1
        let factor = V(rowFactors[row])
        let own = columnValues + column &* laneBytes
        let place = target + run.lowerBound &* laneBytes
        var done = 0
        while done < run.count {
            let values = V.load(own, done &* laneBytes)
            // What is finite stays finite.
            (factor * values).settled(operand: values).store(place, done &* laneBytes)
            done &+= V.count
        }
    }
}

/// The least of what rows and columns have for `count` elements, of which the first is element `start` of its tensor, whose rows of
/// `columns` elements have the same columns.  `rowValues` and `columnValues` begin with the first row and column.  Up to a group of
/// lanes behind the columns is read, and behind the target written.
@inline(__always)
func minimizeFactors<V: Lanes>(
    _: V.Type, _ rowValues: UnsafePointer<Double>, _ columnValues: UnsafeRawPointer, _ start: Int, _ count: Int,
    _ columns: Int, _ target: UnsafeMutableRawPointer
) {
    let laneBytes = groupBytes / V.count
    forEachRun(start, count, columns) { row, column, run in
        let negative = -V(rowValues[row])
        let own = columnValues + column &* laneBytes
        let place = target + run.lowerBound &* laneBytes
        var done = 0
        while done < run.count {
            (-(negative.maximum(-V.load(own, done &* laneBytes)))).store(place, done &* laneBytes)
            done &+= V.count
        }
    }
}

/// Raises the largest numbers by row and by column to those of `count` lanes, of which the first is element `start` of its tensor.
/// No lane is below 0, and NaN changes nothing.  `rowMaxima` begins with the row of the first element, `columnMaxima`, which
/// holds lanes, with the first column.
@inline(__always)
func addMaxima<V: Lanes>(
    _: V.Type, _ source: UnsafeRawPointer, _ count: Int, _ start: Int, _ columns: Int,
    _ rowMaxima: UnsafeMutablePointer<Double>, _ columnMaxima: UnsafeMutableRawPointer
) {
    let laneBytes = groupBytes / V.count
    let firstRow = start / columns
    var padded = SIMD16<UInt32>(repeating: 0)
    withUnsafeMutableBytes(of: &padded) { pad in
        guard let pad = pad.baseAddress else { return }
        forEachRun(start, count, columns) { row, column, run in
            let own = columnMaxima + column &* laneBytes
            if run.count < V.count {
                var most = rowMaxima[row &- firstRow]
                for place in 0..<run.count {
                    let x = V.number(source, run.lowerBound &+ place)
                    most = x > most ? x : most
                    if x > V.number(own, place) {
                        (own + place &* laneBytes).copyMemory(
                            from: source + (run.lowerBound &+ place) &* laneBytes, byteCount: laneBytes)
                    }
                }
                rowMaxima[row &- firstRow] = most
                return
            }
            var largest = V(0)
            var done = 0
            while done &+ V.count <= run.count {
                let values = V.load(source, (run.lowerBound &+ done) &* laneBytes)
                largest = largest.maximum(values)
                V.load(own, done &* laneBytes).maximum(values).store(own, done &* laneBytes)
                done &+= V.count
            }
            if done < run.count {
                // Behind the columns are those of another block.
                let rest = (run.count &- done) &* laneBytes
                pad.copyMemory(from: own + done &* laneBytes, byteCount: rest)
                let values = V.load(source, (run.lowerBound &+ done) &* laneBytes).prefix(Int64(run.count &- done))
                largest = largest.maximum(values)
                V.load(pad, 0).maximum(values).store(pad, 0)
                (own + done &* laneBytes).copyMemory(from: pad, byteCount: rest)
            }
            largest.store(pad, 0)
            var most = rowMaxima[row &- firstRow]
            for lane in 0..<V.count {
                let x = V.number(pad, lane)
                most = x > most ? x : most
            }
            rowMaxima[row &- firstRow] = most
        }
    }
}
