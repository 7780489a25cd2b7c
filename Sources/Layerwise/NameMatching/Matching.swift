// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

/// How patterns are matched to names: strictly, unless a setting relaxes it.
public struct Matching: Sendable {
    /// What is done about a pattern that matches nothing.
    public enum Unused: String, Choice {
        case error, ignore
    }

    /// What is done about a name that no pattern matches.
    public enum Unmatched: String, Choice {
        case error, keep
    }

    /// What is done about a name that several patterns match.
    public enum Ambiguous: String, Choice {
        case error, first, last
    }

    /// The pattern that stands for every name that no other matches.
    public static let others = "*"

    /// How patterns are written: `exact`, `glob` or `regex`.
    public var syntax = PatternSyntax.exact
    /// What a pattern that matches no layer is: an `error`, or something to `ignore`.
    public var unused = Unused.error
    /// What a layer that no pattern matches is: an `error`, or one to `keep` as it is.
    public var unmatched = Unmatched.error
    /// What a layer that several patterns match is: an `error`, or one for the `first` or `last` of them, in the order
    /// of the arguments.
    public var ambiguous = Ambiguous.error

    static let parameters: [Parameter<Matching>] = [
        .choice("syntax", \.syntax, "how patterns are written: \"exact\", \"glob\" or \"regex\""),
        .choice(
            "unused", \.unused, "what a pattern that matches no layer is: an \"error\", or something to \"ignore\""),
        .choice(
            "unmatched", \.unmatched,
            "what a layer that no pattern matches is: an \"error\", or one to \"keep\" as it is"),
        .choice(
            "ambiguous", \.ambiguous,
            "what a layer that several patterns match is: an \"error\", or one for the \"first\" or \"last\" of them, in the order of the arguments"
        ),
    ]

    /// Refuses patterns that cannot be read, and a pattern that is given twice.
    func check(_ patterns: [String]) throws(SettingError) {
        var seen: Set<NameKey> = []
        for pattern in patterns {
            if !seen.insert(NameKey(pattern)).inserted { throw .duplicate("\"\(pattern)\" is given twice") }
            if pattern != Self.others { _ = try NamePattern(pattern, syntax) }
        }
    }

    /// Which of `patterns` each name takes; nil for a name that is kept as it is.  `kind`: what the names are, in messages.
    func assign(_ patterns: [String], to names: [String], _ kind: String) throws(SettingError) -> [Int?] {
        var taken = [Int?](repeating: nil, count: names.count)
        var used = [Bool](repeating: false, count: patterns.count)
        var clashes: [String] = []
        var indices: [NameKey: [Int]] = [:]
        if syntax == .exact {
            for (index, name) in names.enumerated() { indices[NameKey(name), default: []].append(index) }
        }
        for (position, text) in patterns.enumerated() where text != Self.others {
            let matched: [Int]
            if syntax == .exact {
                matched = indices[NameKey(text)] ?? []
            } else {
                let pattern = try NamePattern(text, syntax)
                matched = names.indices.filter { pattern.matches(names[$0]) }
            }
            used[position] = !matched.isEmpty
            for index in matched {
                if taken[index] == nil || ambiguous == .last {
                    taken[index] = position
                } else if ambiguous == .error {
                    clashes.append(names[index])
                }
            }
        }
        let strangers = patterns.indices.filter { !used[$0] && patterns[$0] != Self.others }
        if unused == .error && !strangers.isEmpty {
            let texts = list(strangers.map { patterns[$0] })
            let known = names.isEmpty ? "and there are no \(kind)s yet" : "expected one of \(list(unique(names)))"
            let nearest = strangers.count == 1 ? hint(for: patterns[strangers[0]], among: names) : ""
            throw .unknown(
                syntax == .exact
                    ? "no \(kind) is called \(texts)\(nearest), \(known)"
                    : "no name of a \(kind) matches \(texts), \(known)")
        }
        if !clashes.isEmpty { throw .invalid("more than one pattern matches \(kind) \(list(unique(clashes)))") }
        if let rest = patterns.firstIndex(of: Self.others) {
            for index in taken.indices where taken[index] == nil { taken[index] = rest }
        }
        let missing = taken.indices.filter { taken[$0] == nil }
        if unmatched == .error && !missing.isEmpty {
            throw .invalid("nothing is given for \(kind) \(list(unique(missing.map { names[$0] })))")
        }
        return taken
    }
}
