// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

/// The declaration of a rule as one line of JSON, or nil if there is none of that name.
public func describeRule(_ name: String) -> String? {
    allRules.first { $0.declaration.name == name }.map { describe($0) }
}

/// The declaration of a policy as one line of JSON, or nil if there is none of that name.
public func describePolicy(_ name: String) -> String? {
    allPolicies.first { $0.declaration.name == name }.map { describe($0, $0.depthDependence) }
}

/// The declaration of a schedule as one line of JSON, or nil if there is none of that name.
public func describeSchedule(_ name: String) -> String? {
    allSchedules.first { $0.declaration.name == name }.map { describe($0) }
}

/// The declaration of a freezing plan as one line of JSON, or nil if there is none of that name.
public func describeFreezePlan(_ name: String) -> String? {
    allFreezePlans.first { $0.declaration.name == name }.map { describe($0, $0.depthDependence) }
}

private func describe<R: Rule>(_: R.Type) -> String {
    let declaration = R.declaration
    return Json.object([
        ("name", Json.quoted(declaration.name)), ("title", Json.quoted(declaration.title)),
        ("summary", Json.quoted(declaration.summary)), ("details", Json.quoted(declaration.details)),
        ("equation", Json.quoted(declaration.equation)), ("source", Json.quoted(declaration.source)),
        ("hyperparameters", describe(R())),
        (
            "presets",
            Json.object(R.presets.map { ($0.name, Json.object($0.settings.map { ($0.key, Json.value($0.value)) })) })
        ),
        ("states", Json.array(declaration.states.map { Json.quoted($0.name) })),
        ("state_shapes", Json.object(declaration.states.map { ($0.name, Json.quoted($0.shape.rawValue)) })),
        ("state_starts", Json.object(declaration.states.map { ($0.name, describe($0.start)) })),
        ("needs_step", declaration.needsStep ? "true" : "false"),
        (
            "default_states",
            Json.array(
                declaration.states.enumerated().filter { R().states.contains(.state($0.offset)) }
                    .map { Json.quoted($0.element.name) })
        ),
        ("steps_together", R().stages.contains { $0.scope == .optimizer } ? "true" : "false"),
        ("has_sums", R().stages.count > 1 ? "true" : "false"),
    ])
}

/// What a state starts as: a number, the key of a hyperparameter, or "parameters".
private func describe(_ start: StateDeclaration.Start) -> String {
    switch start {
    case .value(let value): Json.number(value)
    case .setting(let key): Json.quoted(key)
    case .parameters: Json.quoted("parameters")
    }
}

private func describe<R: Recipe>(_: R.Type, _ depthDependence: DepthDependence? = nil) -> String {
    let declaration = R.declaration
    return Json.object(
        [
            ("name", Json.quoted(declaration.name)), ("doc", Json.quoted(declaration.doc)),
            ("equation", Json.quoted(declaration.equation)), ("source", Json.quoted(declaration.source)),
            ("settings", describe(R())), ("values", declaration.values.map(Json.quoted) ?? "null"),
            ("parts", declaration.parts.map(Json.quoted) ?? "null"),
        ] + (depthDependence.map { [("depends_on_depth", Json.quoted($0.rawValue))] } ?? []))
}

private func describe<C: Configurable>(_ value: C) -> String {
    Json.array(
        C.parameters.map { parameter in
            var fields = [("key", Json.quoted(parameter.key))]
            switch parameter.kind {
            case .number(let range):
                fields += [("kind", Json.quoted("number")), ("range", Json.quoted(range.description))]
            case .integer(let range):
                fields += [
                    ("kind", Json.quoted("number")), ("integer", "true"),
                    ("range", Json.quoted("[\(range.lowerBound), \(range.upperBound)]")),
                ]
            case .flag: fields.append(("kind", Json.quoted("flag")))
            case .choice(let names):
                fields += [("kind", Json.quoted("choice")), ("choices", Json.array(names.map(Json.quoted)))]
            case .text: fields.append(("kind", Json.quoted("text")))
            }
            // What starts outside its range must be given, or is none until it is.
            let start = parameter.read(value)
            if (try? parameter.check(start)) != nil { fields.append(("default", Json.value(start))) }
            if let none = parameter.none { fields.append(("none", Json.number(none))) }
            fields.append(("doc", Json.quoted(parameter.doc)))
            return Json.object(fields)
        })
}

/// The layers that rules and the names of a model's tensors tell of, as one line of JSON.
public func describePlacedLayers(_ names: [String], rules: [LayerRule]) throws(SettingError) -> String {
    Json.array(
        try placeLayers(names, rules: rules).map { layer in
            Json.object([
                ("name", Json.quoted(layer.name)), ("depth", String(layer.depth)), ("tower", Json.quoted(layer.tower)),
                ("role", Json.quoted(layer.role)), ("scale", Json.number(layer.scale)),
                ("tensors", Json.array(layer.tensors.map { String($0) })), ("reason", Json.quoted(layer.reason)),
                ("guess", layer.isGuess ? "true" : "false"),
            ])
        })
}

/// The layers that the names of a model's tensors tell of, as one line of JSON.
public func describeLayers(_ names: [String]) -> String {
    Json.array(
        inferLayers(names).map { layer in
            Json.object([
                ("name", Json.quoted(layer.name)), ("depth", String(layer.depth)), ("tower", Json.quoted(layer.tower)),
                ("role", Json.quoted(layer.role.rawValue)), ("tensors", Json.array(layer.tensors.map { String($0) })),
                ("reason", Json.quoted(layer.reason)), ("guess", layer.isGuess ? "true" : "false"),
            ])
        })
}
