// SPDX-License-Identifier: Apache-2.0
import CLayerwiseKernels

// Slices are parts of a tensor of one length, side by side: what its first axis counts, or the whole tensor.

/// Adds `count` lanes and their squares to the sums of their slices.  The first lane is element `start` of its tensor.
///
/// `sums`, which may be nil, and `squares` begin with the slice of the first element; the next slice's are `stride` numbers further.
@inline(__always)
func addSliceSums<V: Lanes>(
    _: V.Type, _ source: UnsafeRawPointer, _ count: Int, _ start: Int, _ length: Int, _ stride: Int,
    _ sums: UnsafeMutablePointer<Double>?, _ squares: UnsafeMutablePointer<Double>
) {
    let laneBytes = groupBytes / V.count
    let firstSlice = start / length
    forEachRun(start, count, length) { slice, _, run in
        var (sum, square) = (SquareSum(), SquareSum())
        var (restSum, restSquare) = (0.0, 0.0)
        var done = 0
        while done &+ V.count <= run.count {
            let values = V.load(source, (run.lowerBound &+ done) &* laneBytes)
            values.add(to: &sum)
            values.addSquares(to: &square)
            done &+= V.count
        }
        while done < run.count {
            let x = V.number(source, run.lowerBound &+ done)
            restSum += x
            restSquare = restSquare.addingProduct(x, x)
            done &+= 1
        }
        let place = (slice &- firstSlice) &* stride
        if let sums { sums[place] += sum.total + restSum }
        squares[place] += square.total + restSquare
    }
}

/// target = factor·x − offset for `count` lanes x.  The first is element `start` of its tensor.  `numbers` holds factor and
/// offset of every slice of the tensor.  Up to a group of lanes behind the target is written; a group that is not whole is padded
/// with zeros.
@inline(__always)
func adjustSlices<V: Lanes>(
    _: V.Type, _ source: UnsafeRawPointer, _ count: Int, _ start: Int, _ length: Int,
    _ numbers: UnsafePointer<Double>, _ target: UnsafeMutableRawPointer
) {
    let laneBytes = groupBytes / V.count
    forEachRun(start, count, length) { slice, _, run in
        let (factor, offset) = (V(numbers[2 &* slice]), V(numbers[2 &* slice &+ 1]))
        var done = 0
        while done < run.count {
            let at = (run.lowerBound &+ done) &* laneBytes
            let values = V.load(source, at)
            // What is finite stays finite.
            let adjusted = V.fma(factor, values, -offset).settled(operand: values)
            (run.count &- done < V.count ? adjusted.prefix(Int64(run.count &- done)) : adjusted).store(target, at)
            done &+= V.count
        }
    }
}
