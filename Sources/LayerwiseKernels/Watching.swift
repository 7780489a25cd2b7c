// SPDX-License-Identifier: Apache-2.0
import CLayerwiseKernels

// What measured policies watch of each element, beside the norms that every observed step has.

/// Adds ⟨g, last⟩ and ‖last‖² to `sums`, and keeps the change old − new as the last.
@inline(__always)
func watchProducts<V: Lanes>(
    _: V.Type, _ old: UnsafeRawPointer, _ new: UnsafeRawPointer, _ gradients: UnsafeRawPointer,
    _ last: UnsafeMutableRawPointer, _ count: Int, _ sums: UnsafeMutablePointer<Double>
) {
    var products = SquareSum()
    var squares = SquareSum()
    let ahead = lwk_prefetch_distance()
    let next = new + count &* (groupBytes / V.count)
    forEachGroup(V.self, count) { offset, valid in
        lwk_prefetch_write(last + (offset &+ ahead))
        // The weights of the next tile are copied before anything else is done with them.
        lwk_prefetch_write(next + offset)
        let before = V.load(last, offset)
        V.load(gradients, offset).first(valid).addProducts(before, to: &products)
        before.addSquares(to: &squares)
        (V.load(old, offset) - V.load(new, offset)).first(valid).store(last, offset)
    }
    sums[0] += products.total
    sums[1] += squares.total
}

/// Adds to `sums` how many elements have kept the sign of their last change less those that have not, and how many had two
/// changes other than 0; keeps the signs of the changes old − new, a byte each, as the last.  NaN has no sign.
@inline(__always)
func watchSigns<V: Lanes>(
    _: V.Type, _ old: UnsafeRawPointer, _ new: UnsafeRawPointer, _ last: UnsafeMutableRawPointer, _ count: Int,
    _ sums: UnsafeMutablePointer<Double>
) {
    let ahead = lwk_prefetch_distance()
    let next = new + count &* (groupBytes / V.count)
    var start = 0
    while start < count {
        // A byte counts so many groups of lanes.
        let end = min(start &+ 64 &* V.count, count)
        var counts = SignCounts()
        var index = start
        while index < end {
            let offset = index &* (groupBytes / V.count)
            lwk_prefetch_write(last + (index &+ ahead))
            // The weights of the next tile are copied before anything else is done with them.
            lwk_prefetch_write(next + offset)
            let (before, after) = (V.load(old, offset), V.load(new, offset))
            let valid = Int64(end &- index)
            if index &+ V.count <= end {
                V.compareSigns(before, after, last + index, &counts)
            } else {
                V.compareSigns(before.prefix(valid), after.prefix(valid), last + index, &counts)
            }
            index &+= V.count
        }
        sums[0] += counts.kept
        sums[1] += counts.compared
        start = end
    }
}

/// Adds ‖new − start‖² to `sums`.
@inline(__always)
func watchDistance<V: Lanes>(
    _: V.Type, _ new: UnsafeRawPointer, _ start: UnsafeRawPointer, _ count: Int, _ sums: UnsafeMutablePointer<Double>
) {
    var squares = SquareSum()
    let ahead = lwk_prefetch_distance()
    forEachGroup(V.self, count) { offset, valid in
        lwk_prefetch_read(start + (offset &+ ahead))
        (V.load(new, offset) - V.load(start, offset)).first(valid).addSquares(to: &squares)
    }
    sums[0] += squares.total
}

/// Adds Σ|g| to `sums`.
@inline(__always)
func watchMagnitudes<V: Lanes>(
    _: V.Type, _ gradients: UnsafeRawPointer, _ count: Int, _ sums: UnsafeMutablePointer<Double>
) {
    addMagnitudes(V.self, count, sums) { V.load(gradients, $0) }
}

/// Adds Σ|new − old| to `sums`.
@inline(__always)
func watchChanges<V: Lanes>(
    _: V.Type, _ old: UnsafeRawPointer, _ new: UnsafeRawPointer, _ count: Int, _ sums: UnsafeMutablePointer<Double>
) {
    let next = new + count &* (groupBytes / V.count)
    addMagnitudes(V.self, count, sums) {
        // The weights of the next tile are copied before anything else is done with them.
        lwk_prefetch_write(next + $0)
        return V.load(new, $0) - V.load(old, $0)
    }
}

/// Adds up the magnitudes of the numbers at every offset: eight groups as they are, two by two, and what comes of them in float64.  To
/// widen every number would take three times as long.
@inline(__always)
private func addMagnitudes<V: Lanes>(
    _: V.Type, _ count: Int, _ sums: UnsafeMutablePointer<Double>, _ numbers: (_ offset: Int) -> V
) {
    var total = SquareSum()
    var index = 0
    while index &+ 8 &* V.count <= count {
        @inline(__always)
        func pair(_ group: Int) -> V {
            let first = (index &+ group &* V.count) &* (groupBytes / V.count)
            return numbers(first).positive() + numbers(first &+ groupBytes).positive()
        }
        ((pair(0) + pair(2)) + (pair(4) + pair(6))).add(to: &total)
        index &+= 8 &* V.count
    }
    while index < count {
        let own = numbers(index &* (groupBytes / V.count)).positive()
        (index &+ V.count <= count ? own : own.prefix(Int64(count &- index))).add(to: &total)
        index &+= V.count
    }
    sums[0] += total.total
}

/// The offset of each group of lanes in bytes, and how many of its numbers count: nil for all, as in every group but the last.
@inline(__always)
private func forEachGroup<V: Lanes>(_: V.Type, _ count: Int, _ body: (_ offset: Int, _ valid: Int64?) -> Void) {
    var index = 0
    while index &+ V.count <= count {
        body(index &* (groupBytes / V.count), nil)
        index &+= V.count
    }
    if index < count { body(index &* (groupBytes / V.count), Int64(count &- index)) }
}

extension Lanes {
    /// The first `valid` numbers and zeros; nil leaves all.
    @inline(__always)
    fileprivate func first(_ valid: Int64?) -> Self {
        if let valid { prefix(valid) } else { self }
    }

    /// The magnitude of each number, in two instructions.
    @inline(__always)
    fileprivate func positive() -> Self { maximum(-self) }
}
