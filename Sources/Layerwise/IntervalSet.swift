// SPDX-License-Identifier: Apache-2.0

/// Which bytes registered buffers take.
struct IntervalSet {
    struct Interval {
        let start: UInt
        let end: UInt
        let layer: Int
        let tensor: Int
    }

    /// Sorted by start.
    private var intervals: [Interval] = []
    private var longest: UInt = 0
    /// Whether no two of them share a byte, for which whoever inserts them answers.
    private let areDisjoint: Bool

    init(areDisjoint: Bool) { self.areDisjoint = areDisjoint }

    /// The bytes of a buffer, or nil where it would pass the end of the address space.
    static func interval(_ start: UnsafeRawPointer?, _ bytes: Int, layer: Int, tensor: Int) -> Interval? {
        let start = UInt(bitPattern: start)
        let (end, overflow) = start.addingReportingOverflow(UInt(bytes))
        return overflow ? nil : Interval(start: start, end: end, layer: layer, tensor: tensor)
    }

    mutating func insert(_ new: Interval) {
        if new.start == new.end { return }
        intervals.insert(new, at: firstIndex(startingAtOrAfter: new.start))
        longest = max(longest, new.end - new.start)
    }

    mutating func remove(layer: Int, tensor: Int) {
        intervals.removeAll { $0.layer == layer && $0.tensor == tensor }
    }

    /// An interval that shares a byte with `other` and is not `except`.
    func firstSharing(_ other: Interval, except: (layer: Int, tensor: Int)? = nil) -> Interval? {
        if other.start == other.end { return nil }
        var index = firstIndex(startingAtOrAfter: other.end)
        while index > 0 {
            index -= 1
            let candidate = intervals[index]
            if candidate.end > other.start,
                except.map({ candidate.layer != $0.layer || candidate.tensor != $0.tensor }) ?? true
            {
                return candidate
            }
            // No interval further down can reach up to `other`.
            if areDisjoint && candidate.end <= other.start { return nil }
            if other.start >= longest, candidate.start <= other.start - longest { return nil }
        }
        return nil
    }

    private func firstIndex(startingAtOrAfter address: UInt) -> Int {
        var low = 0
        var high = intervals.count
        while low < high {
            let middle = (low + high) / 2
            if intervals[middle].start < address { low = middle + 1 } else { high = middle }
        }
        return low
    }
}
