// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

/// The declaration of a rule as one line of JSON, or nil if there is none of that name.
package func describeRule(_ name: String) -> String? {
    allRules.first { $0.declaration.isCalled(name) }.map { describe($0) }
}

/// The declaration of a policy as one line of JSON, or nil if there is none of that name.
package func describePolicy(_ name: String) -> String? {
    allPolicies.first { $0.declaration.isCalled(name) }.map { describe($0, $0.depthDependence) }
}

/// The declaration of a schedule as one line of JSON, or nil if there is none of that name.
package func describeSchedule(_ name: String) -> String? {
    allSchedules.first { $0.declaration.isCalled(name) }.map { describe($0) }
}

/// The declaration of a freezing plan as one line of JSON, or nil if there is none of that name.
package func describeFreezePlan(_ name: String) -> String? {
    allFreezePlans.first { $0.declaration.isCalled(name) }.map { describe($0, $0.depthDependence) }
}

private func describe<R: DeclaredRule>(_: R.Type) -> String {
    let declaration = R.declaration
    return JSON.object(
        text(declaration) + [
            ("hyperparameters", describe(R())),
            (
                "presets",
                JSON.object(
                    R.presets.map { ($0.name, JSON.object($0.settings.map { ($0.key, JSON.value($0.value)) })) })
            ),
            ("states", JSON.array(declaration.states.map { JSON.quoted($0.name) })),
            ("state_shapes", JSON.object(declaration.states.map { ($0.name, JSON.quoted($0.shape.rawValue)) })),
            (
                "state_strides",
                JSON.object(
                    declaration.states.compactMap { state in state.strideKey.map { (state.name, JSON.quoted($0)) } })
            ),
            ("state_starts", JSON.object(declaration.states.map { ($0.name, describe($0.start)) })),
            ("needs_step", declaration.needsStep ? "true" : "false"),
            ("matrices_need_step", declaration.matricesNeedStep ? "true" : "false"),
            (
                "default_states",
                JSON.array(
                    declaration.states.enumerated().filter { R().states.contains(.state($0.offset)) }
                        .map { JSON.quoted($0.element.name) })
            ),
            ("steps_together", R().stages.contains { $0.scope == .optimizer } ? "true" : "false"),
            ("needs_loss", R().needsLoss ? "true" : "false"),
            ("has_sums", R().stages.count > 1 ? "true" : "false"),
            (
                "depends_on_axes",
                R().stages.contains { $0.factors || $0.orthogonalizes }
                    || declaration.states.contains { $0.shape.standsForWhole } ? "true" : "false"
            ),
        ])
}

/// What a state starts as: a number, the key of a hyperparameter, or "parameters".
private func describe(_ start: StateDeclaration.Start) -> String {
    switch start {
    case .value(let value): JSON.number(value)
    case .setting(let key): JSON.quoted(key)
    case .parameters: JSON.quoted("parameters")
    }
}

private func describe<C: Component>(_: C.Type, _ depthDependence: DepthDependence? = nil) -> String {
    let declaration = C.declaration
    return JSON.object(
        text(declaration) + [
            // The name of `summary` in the first release.
            ("doc", JSON.quoted(declaration.summary)),
            ("settings", describe(C())), ("values", declaration.values.map(JSON.quoted) ?? "null"),
            ("parts", declaration.parts.map(JSON.quoted) ?? "null"),
            ("arguments", JSON.array(declaration.arguments.map(describe))),
            ("positional", JSON.array(declaration.positional.map(JSON.quoted))),
        ] + (depthDependence.map { [("depends_on_depth", JSON.quoted($0.rawValue))] } ?? []))
}

private func text(_ declaration: Declaration) -> [(String, String)] {
    [
        ("name", JSON.quoted(declaration.name)),
        ("former_names", JSON.array(declaration.formerNames.map(JSON.quoted))),
        ("title", JSON.quoted(declaration.title)),
        ("summary", JSON.quoted(declaration.summary)), ("details", JSON.quoted(declaration.details)),
        ("equation", JSON.quoted(declaration.equation)), ("source", JSON.quoted(declaration.source)),
    ]
}

private func describe(_ argument: Argument) -> String {
    var fields = [
        ("name", JSON.quoted(argument.name)), ("shape", JSON.quoted(argument.shape.rawValue)),
        ("doc", JSON.quoted(argument.doc)),
    ]
    if let part = argument.part {
        fields += [
            ("part", JSON.quoted(part.declaration.name)), ("keys", JSON.array(argument.keys.map(JSON.quoted))),
            ("settings", describe(settingsOf: part)),
        ]
    }
    return JSON.object(fields)
}

private func describe<C: Component>(settingsOf _: C.Type) -> String { describe(C()) }

private func describe<C: Configurable>(_ value: C) -> String {
    JSON.array(
        C.parameters.map { parameter in
            var fields = [("key", JSON.quoted(parameter.key))]
            switch parameter.kind {
            case .number(let range):
                fields += [("kind", JSON.quoted("number")), ("range", JSON.quoted(range.description))]
            case .integer(let range):
                fields += [
                    ("kind", JSON.quoted("number")), ("integer", "true"),
                    ("range", JSON.quoted("[\(range.lowerBound), \(range.upperBound)]")),
                ]
            case .flag: fields.append(("kind", JSON.quoted("flag")))
            case .choice(let names):
                fields += [("kind", JSON.quoted("choice")), ("choices", JSON.array(names.map(JSON.quoted)))]
            case .text: fields.append(("kind", JSON.quoted("text")))
            }
            // What starts outside its range must be given, or is none until it is.
            let start = parameter.read(value)
            if (try? parameter.check(start)) != nil { fields.append(("default", JSON.value(start))) }
            if parameter.presence != .usual { fields.append(("presence", JSON.quoted(parameter.presence.rawValue))) }
            if let none = parameter.none { fields.append(("none", JSON.value(none))) }
            if parameter.isOmittedAtDefault { fields.append(("omitted_at_default", "true")) }
            fields.append(("doc", JSON.quoted(parameter.doc)))
            return JSON.object(fields)
        })
}

/// The layers that rules and the names of a model's tensors tell of, as one line of JSON.
package func describePlacedLayers(_ names: [String], rules: [LayerRule]) throws(SettingError) -> String {
    JSON.array(
        try placeLayers(names, rules: rules).map { layer in
            JSON.object([
                ("name", JSON.quoted(layer.name)), ("depth", String(layer.depth)), ("tower", JSON.quoted(layer.tower)),
                ("role", JSON.quoted(layer.role)), ("scale", JSON.number(layer.scale)),
                ("tensors", JSON.array(layer.tensors.map { String($0) })), ("reason", JSON.quoted(layer.reason)),
                ("guess", layer.isGuess ? "true" : "false"),
            ])
        })
}

/// The layers that the names of a model's tensors tell of, as one line of JSON.
package func describeLayers(_ names: [String]) -> String {
    JSON.array(
        inferLayers(names).map { layer in
            JSON.object([
                ("name", JSON.quoted(layer.name)), ("depth", String(layer.depth)), ("tower", JSON.quoted(layer.tower)),
                ("role", JSON.quoted(layer.role.rawValue)), ("tensors", JSON.array(layer.tensors.map { String($0) })),
                ("reason", JSON.quoted(layer.reason)), ("guess", layer.isGuess ? "true" : "false"),
            ])
        })
}
