// SPDX-License-Identifier: Apache-2.0

/// Which bytes registered buffers take.
///
/// Sorted by address, in chunks: to insert or remove one interval moves the intervals of one chunk and none of the others,
/// so that registering n tensors takes time proportional to n for all practical n.
struct IntervalSet {
    struct Interval {
        let start: UInt
        let end: UInt
        let layer: Int
        let tensor: Int

        /// Whether it comes before another in the set's order, in which no two are equal.
        fileprivate func isBefore(_ other: Interval) -> Bool {
            (start, layer, tensor) < (other.start, other.layer, other.tensor)
        }
    }

    private struct Chunk {
        /// Never empty.
        var intervals: [Interval]
        /// The highest end of its intervals.
        var end: UInt

        init(_ intervals: [Interval]) {
            self.intervals = intervals
            end = Self.end(intervals)
        }

        static func end(_ intervals: [Interval]) -> UInt { intervals.reduce(0) { max($0, $1.end) } }
    }

    private var chunks: [Chunk] = []
    private static let chunkLimit = 512
    /// Whether no two of them share a byte, for which the caller who inserts them is responsible.
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
        if chunks.isEmpty { return chunks.append(Chunk([new])) }
        let index = max(0, Self.count(chunks) { !new.isBefore($0.intervals[0]) } - 1)
        let position = Self.count(chunks[index].intervals) { $0.isBefore(new) }
        chunks[index].intervals.insert(new, at: position)
        chunks[index].end = max(chunks[index].end, new.end)
        if chunks[index].intervals.count > Self.chunkLimit {
            let intervals = chunks[index].intervals
            let half = intervals.count / 2
            chunks[index] = Chunk(Array(intervals[..<half]))
            chunks.insert(Chunk(Array(intervals[half...])), at: index + 1)
        }
    }

    /// Removes an interval, if it is there.
    mutating func remove(_ old: Interval) {
        let index = Self.count(chunks) { !old.isBefore($0.intervals[0]) } - 1
        if index < 0 { return }
        let position = Self.count(chunks[index].intervals) { $0.isBefore(old) }
        if position == chunks[index].intervals.count || old.isBefore(chunks[index].intervals[position]) { return }
        if chunks[index].intervals.count == 1 {
            chunks.remove(at: index)
        } else {
            chunks[index].intervals.remove(at: position)
            if chunks[index].end == old.end { chunks[index].end = Chunk.end(chunks[index].intervals) }
        }
    }

    /// An interval that shares a byte with `other`.
    func firstSharing(_ other: Interval) -> Interval? {
        if other.start == other.end { return nil }
        var index = Self.count(chunks) { $0.intervals[0].start < other.end }
        while index > 0 {
            index -= 1
            if chunks[index].end <= other.start {
                // No interval further down can reach up to `other`.
                if areDisjoint { return nil }
                continue
            }
            let intervals = chunks[index].intervals
            var position = Self.count(intervals) { $0.start < other.end }
            while position > 0 {
                position -= 1
                if intervals[position].end > other.start { return intervals[position] }
                if areDisjoint { return nil }
            }
        }
        return nil
    }

    /// How many elements come before the first that does not satisfy `isBefore`.
    private static func count<Element>(_ elements: [Element], while isBefore: (Element) -> Bool) -> Int {
        var low = 0
        var high = elements.count
        while low < high {
            let middle = (low + high) / 2
            if isBefore(elements[middle]) { low = middle + 1 } else { high = middle }
        }
        return low
    }
}
