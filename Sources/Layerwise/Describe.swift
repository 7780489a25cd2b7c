// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

/// The declaration of a rule as one line of JSON, or nil if there is none of that name.
public func describeRule(_ name: String) -> String? {
    allRules.first { $0.declaration.name == name }.map { describe($0) }
}

private func describe<R: Rule>(_: R.Type) -> String {
    let declaration = R.declaration
    return object([
        ("name", quoted(declaration.name)), ("title", quoted(declaration.title)),
        ("equation", quoted(declaration.equation)), ("source", quoted(declaration.source)),
        ("hyperparameters", describe(R())),
        ("presets", object(R.presets.map { ($0.name, object($0.settings.map { ($0.key, json($0.value)) })) })),
        ("states", array(declaration.states.map(quoted))),
    ])
}

/// The declaration of a policy as one line of JSON, or nil if there is none of that name.
public func describePolicy(_ name: String) -> String? {
    guard let type = allPolicies.first(where: { $0.name == name }) else { return nil }
    // Explicit has no settings of its own: its keys are layers.
    let settings = (try? type.init(settings: [])) as? any Configurable
    return object([
        ("name", quoted(type.name)), ("doc", quoted(type.doc)), ("settings", settings.map { describe($0) } ?? "[]"),
    ])
}

private func describe<C: Configurable>(_ value: C) -> String {
    array(
        C.parameters.map { parameter in
            var fields = [("key", quoted(parameter.key))]
            switch parameter.kind {
            case .number(let range): fields += [("kind", quoted("number")), ("range", quoted(range.description))]
            case .integer(let range):
                fields += [
                    ("kind", quoted("number")), ("range", quoted("[\(range.lowerBound), \(range.upperBound)]")),
                ]
            case .flag: fields.append(("kind", quoted("flag")))
            case .choice(let names):
                fields += [("kind", quoted("choice")), ("choices", array(names.map(quoted)))]
            }
            if let start = value.value(of: parameter.key) { fields.append(("default", json(start))) }
            fields.append(("doc", quoted(parameter.doc)))
            return object(fields)
        })
}

// JSON, as far as declarations need it: the library writes without Foundation, and reads none.

private func object(_ fields: [(String, String)]) -> String {
    "{" + fields.map { "\(quoted($0.0)): \($0.1)" }.joined(separator: ", ") + "}"
}

private func array(_ items: [String]) -> String { "[" + items.joined(separator: ", ") + "]" }

private func json(_ value: Setting.Value) -> String {
    switch value {
    case .number(let x): x.isFinite ? "\(x)" : "null"
    case .choice(let name): quoted(name)
    }
}

private func quoted(_ text: String) -> String {
    var out = "\""
    for scalar in text.unicodeScalars {
        switch scalar {
        case "\"": out += "\\\""
        case "\\": out += "\\\\"
        default: out.unicodeScalars.append(scalar)
        }
    }
    return out + "\""
}
