// SPDX-License-Identifier: Apache-2.0

/// What a message adds about a name that is not known: ` (did you mean "…"?)` where a known name is nearly the same, else
/// nothing.
///
/// Letters are compared without case.  One of three may be wrong, and at most two: a letter that is missing, one too many,
/// another one, or two that are swapped.
package func hint(for name: String, among known: [String]) -> String {
    let letters = comparable(name)
    // Nobody misspells a text that long, and the work grows with the square of it.
    guard (2...64).contains(letters.count) else { return "" }
    var nearest: (name: String, distance: Int)?
    for other in known {
        let others = comparable(other)
        let most = min(2, max(letters.count, others.count) / 3)
        guard others.count <= 64, abs(others.count - letters.count) <= most else { continue }
        let distance = distance(letters, others)
        if distance <= most && distance < nearest?.distance ?? .max { nearest = (other, distance) }
    }
    return nearest.map { " (did you mean \"\($0.name)\"?)" } ?? ""
}

/// The bytes of a name, with capitals of ASCII as small letters.
private func comparable(_ name: String) -> [UInt8] {
    name.utf8.map { UInt8(ascii: "A")...UInt8(ascii: "Z") ~= $0 ? $0 | 0x20 : $0 }
}

/// How many changes make one name of another, where two neighbours that are swapped are one change (optimal string alignment).
private func distance(_ first: [UInt8], _ second: [UInt8]) -> Int {
    var before = [Int](repeating: 0, count: second.count + 1)
    var previous = Array(0...second.count)
    for row in 1...first.count {
        var current = [row]
        for column in second.indices.map({ $0 + 1 }) {
            let differs = first[row - 1] == second[column - 1] ? 0 : 1
            var least = min(previous[column] + 1, current[column - 1] + 1, previous[column - 1] + differs)
            if row > 1, column > 1, first[row - 1] == second[column - 2], first[row - 2] == second[column - 1] {
                least = min(least, before[column - 2] + 1)
            }
            current.append(least)
        }
        (before, previous) = (previous, current)
    }
    return previous[second.count]
}
