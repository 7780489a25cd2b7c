// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

/// How a pattern of names is written.
public enum PatternSyntax: String, Choice {
    /// The whole name, letter for letter.
    case exact
    /// As in a shell: `*` any text, `?` any character, `[a-c]` one of these (`Glob`).
    case glob
    /// A regular expression that matches the whole name, in the syntax of Swift, which is that of PCRE without look-behind.
    case regex
}

/// A pattern of names of layers or tensors.
struct NamePattern {
    let text: String
    private let matcher: Matcher

    private enum Matcher {
        case exact
        case glob(Glob)
        case regex(Regex<AnyRegexOutput>)
    }

    init(_ text: String, _ syntax: PatternSyntax) throws(SettingError) {
        self.text = text
        if text.isEmpty { throw .invalid("a pattern must not be empty") }
        switch syntax {
        case .exact: matcher = .exact
        case .glob: matcher = .glob(try Glob(text))
        case .regex:
            // By scalars, and not by characters with their accents, as Python's expressions go.
            do { matcher = .regex(try Regex(text).matchingSemantics(.unicodeScalar)) } catch {
                throw .invalid("\"\(text)\" is not a regular expression: \(error)")
            }
        }
    }

    func matches(_ name: String) -> Bool {
        switch matcher {
        case .exact: NameKey(name) == NameKey(text)
        case .glob(let glob): glob.matches(name)
        case .regex(let regex): (try? regex.wholeMatch(in: name)) != nil
        }
    }
}

/// Whether each of some names matches a pattern, for who has rules of their own by patterns.
package func matchNames(_ pattern: String, _ syntax: PatternSyntax, _ names: [String]) throws(SettingError) -> [Bool] {
    let pattern = try NamePattern(pattern, syntax)
    return names.map(pattern.matches)
}

/// Names for a message: the first eight.
func list(_ names: [String]) -> String {
    let shown = names.prefix(8).map { "\"\($0)\"" }.joined(separator: ", ")
    return names.count > 8 ? "\(shown) and \(names.count - 8) more" : shown
}

/// Each name once, in order: the parts of a layer share its name.
func unique(_ names: [String]) -> [String] {
    var seen: Set<NameKey> = []
    return names.filter { seen.insert(NameKey($0)).inserted }
}
