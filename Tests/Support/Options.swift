// SPDX-License-Identifier: Apache-2.0
import Layerwise

/// A setting's value, written as a literal.
enum Option: ExpressibleByFloatLiteral, ExpressibleByIntegerLiteral, ExpressibleByStringLiteral, CustomStringConvertible
{
    case number(Double)
    case choice(String)

    init(floatLiteral value: Double) { self = .number(value) }
    init(integerLiteral value: Int) { self = .number(Double(value)) }
    init(stringLiteral value: String) { self = .choice(value) }

    var description: String {
        switch self {
        case .number(let x): "\(x)"
        case .choice(let name): name
        }
    }
}

/// Settings as a literal: `["lr": 0.1, "norm": "decayed"]`.
typealias Options = KeyValuePairs<String, Option>

func settings(_ options: Options) -> [Setting] {
    options.map { key, value in
        switch value {
        case .number(let x): Setting(key, x)
        case .choice(let name): Setting(key, name)
        }
    }
}

/// A rule with some of its options, and how messages name it.
struct RuleCase: CustomStringConvertible {
    let rule: any DeclaredRule
    let description: String

    init(_ name: String, _ options: Options = [:]) throws {
        guard let type = allRules.first(where: { $0.declaration.name == name }) else {
            throw SettingError.unknown("no rule is called \(name)")
        }
        rule = try Self.make(type, settings(options))
        description = "\(name)(" + options.map { "\($0)=\($1)" }.joined(separator: ", ") + ")"
    }

    private static func make<R: DeclaredRule>(_: R.Type, _ settings: [Setting]) throws -> any DeclaredRule {
        var rule = R()
        for setting in settings { try rule.assign(setting) }
        try rule.check()
        return rule
    }
}

extension RuleCase {
    /// The cases for each way to store a tensor: one of every rule, and of every set of states that its options lead to.  Options with
    /// the same states take turns, so that each has a way and each way has every kernel.
    static func byKind() throws -> [(kind: Kind, cases: [RuleCase])] {
        let groups = Dictionary(grouping: try all()) { "\(type(of: $0.rule)) \($0.rule.states)" }
            .sorted { $0.key < $1.key }.map(\.value)
        return Kind.all.enumerated().map { number, kind in (kind, groups.map { $0[number % $0.count] }) }
    }
}
