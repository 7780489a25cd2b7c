// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

/// A pattern as shells have it: `*` any text, `?` any one character, `[a-c]` one of these, `[!a-c]` one that is none of
/// these, `\` before a character that stands for itself.
///
/// The C library's `fnmatch` is not used because it matches bytes or characters, and orders ranges, as the process's locale
/// says: the same pattern would mean one thing in a C program and another in Python.  Here characters are Unicode scalars,
/// ordered by their numbers, and "/" is one like any other.
struct Glob {
    private enum Part {
        case one(Unicode.Scalar)
        case anyOne
        case anyText
        case set([ClosedRange<Unicode.Scalar>], isExcluded: Bool)
    }

    private var parts: [Part] = []

    init(_ text: String) throws(SettingError) {
        let scalars = Array(text.unicodeScalars)
        var position = 0
        while position < scalars.count {
            let scalar = scalars[position]
            position += 1
            switch scalar {
            case "*": parts.append(.anyText)
            case "?": parts.append(.anyOne)
            case "[":
                guard let set = Self.set(scalars, &position) else {
                    throw .invalid("\"\(text)\" is not a pattern: a [ has no ]")
                }
                parts.append(set)
            case "\\":
                guard position < scalars.count else {
                    throw .invalid("\"\(text)\" is not a pattern: nothing follows the last \\")
                }
                parts.append(.one(scalars[position]))
                position += 1
            default: parts.append(.one(scalar))
            }
        }
    }

    /// What stands between [ and ]; a ] that comes first stands for itself.
    private static func set(_ scalars: [Unicode.Scalar], _ position: inout Int) -> Part? {
        var rest = position
        let isExcluded = rest < scalars.count && (scalars[rest] == "!" || scalars[rest] == "^")
        if isExcluded { rest += 1 }
        let first = rest
        var ranges: [ClosedRange<Unicode.Scalar>] = []
        while rest < scalars.count, scalars[rest] != "]" || rest == first {
            let low = scalars[rest]
            if rest + 2 < scalars.count, scalars[rest + 1] == "-", scalars[rest + 2] != "]" {
                // A range that falls holds nothing.
                if low <= scalars[rest + 2] { ranges.append(low...scalars[rest + 2]) }
                rest += 3
            } else {
                ranges.append(low...low)
                rest += 1
            }
        }
        if rest >= scalars.count { return nil }
        position = rest + 1
        return .set(ranges, isExcluded: isExcluded)
    }

    /// Whether the whole of `name` matches.  Takes at most parts × scalars steps.
    func matches(_ name: String) -> Bool {
        let scalars = Array(name.unicodeScalars)
        var part = 0
        var position = 0
        // The last * seen, and where the text that it stands for ends so far.
        var star = -1
        var resume = 0
        while position < scalars.count {
            if part < parts.count, case .anyText = parts[part] {
                star = part
                resume = position
                part += 1
            } else if part < parts.count, matches(parts[part], scalars[position]) {
                part += 1
                position += 1
            } else if star >= 0 {
                part = star + 1
                resume += 1
                position = resume
            } else {
                return false
            }
        }
        return parts[part...].allSatisfy { if case .anyText = $0 { true } else { false } }
    }

    private func matches(_ part: Part, _ scalar: Unicode.Scalar) -> Bool {
        switch part {
        case .one(let own): own == scalar
        case .anyOne, .anyText: true
        case .set(let ranges, let isExcluded): ranges.contains { $0.contains(scalar) } != isExcluded
        }
    }
}
