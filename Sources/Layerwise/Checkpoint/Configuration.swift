// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

// What a checkpoint says besides its tensors, as JSON.
//
// It has two parts.  The identity is what the program that resumes must have set up alike: rule, settings, policy, schedules,
// freezing plan, layers and tensors.  The progress is what steps have changed, and is put back: the clock, counts, what
// metrics have left in schedules, the base rate, layers that were frozen by hand.

extension Optimizer {
    /// Whether policy or freezing plan go by the depths of layers.  Else layers may be registered in any order.
    var goesByDepth: Bool { policy.dependsOnDepth || freezePlan?.dependsOnDepth == true }

    /// The identity, in which the order of layers does not matter.
    func identity() -> String {
        let goesByDepth = goesByDepth
        return JSON.object([
            ("rule", JSON.quoted(type(of: rule).declaration.name)),
            ("hyperparameters", rule.values(without: ["lr"])),
            (
                "settings",
                settings.values(without: ["threads", "telemetry", "dry_run", "empty_step", "memory"], Settings())
            ),
            ("policy", describe(policy.identity)),
            ("schedules", describe(schedules) { $0.identity }),
            ("freezing", freezePlan.map { describe($0.identity) } ?? "null"),
            (
                "layers",
                JSON.object(entries.enumerated().map { ($1.name, identity(of: $0, goesByDepth)) }.sorted(by: byName))
            ),
        ])
    }

    private func identity(of layer: Int, _ goesByDepth: Bool) -> String {
        let entry = entries[layer]
        let record = layers.elements[layer]
        let tensors = entry.tensors.enumerated().map { index, place -> (String, String) in
            let tensor = self.tensors.elements[record.firstTensor + index]
            var fields = [
                ("shape", JSON.array(place.part.map { String($0) })),
                ("dtype", JSON.quoted(tensor.dtype.name)),
                ("gradient_dtype", JSON.quoted(tensor.gradientDType.name)),
                ("master", tensor.master == nil ? "false" : "true"),
            ]
            if place.part != place.shape {
                fields.append(("whole_shape", JSON.array(place.shape.map { String($0) })))
            }
            return (place.name, JSON.object(fields))
        }
        // Files of versions that had no rule of a layer do not say it.
        let rule = entry.rule.map { [("rule", JSON.quoted(type(of: $0).declaration.name))] } ?? []
        return JSON.object(
            rule + [
                ("depth", goesByDepth && layer < places.count ? String(places[layer].depth) : "null"),
                // Files of version 0.1.0 do not say of what a layer is a part, and its name and place are compared.
                ("settings", entry.settings.values(without: ["depth", "frozen", "part_of"], LayerSettings())),
                (
                    "hyperparameters",
                    entry.rule == nil ? JSON.object(overrides(entry)) : rules[record.rule].values(without: ["lr"])
                ),
                ("schedules", describe(entry.schedules) { $0.identity }),
                ("tensors", JSON.object(tensors.sorted(by: byName))),
            ])
    }

    /// What steps have changed.
    func progress() -> String {
        JSON.object(
            [
                ("lr", number(rule.learningRate)),
                ("next_step", String(clock.next)),
                // If layers are stepped one by one, this distinguishes the layers of this round from the others.
                ("round", clock.isTouched ? String(clock.round) : "null"),
                ("steps", String(summary.steps)),
                ("skipped_steps", String(summary.skippedSteps)),
                ("schedule_states", describe(schedules.mapValues(\.state))),
            ] + sharedProgress() + [
                (
                    "layers",
                    JSON.object(
                        entries.map { entry in
                            (
                                entry.name,
                                JSON.object([
                                    ("frozen", JSON.quoted(entry.settings.frozen.rawValue)),
                                    ("lr", ownRate(entry).map(number) ?? "null"),
                                    ("round", String(layers.elements[layerIndex[NameKey(entry.name)] ?? 0].round)),
                                    ("schedule_states", describe(entry.schedules.mapValues(\.state))),
                                ])
                            )
                        }.sorted(by: byName))
                )
            ])
    }

    /// The mode, the numbers that all tensors share, and what the policy has measured, where there are such.
    private func sharedProgress() -> [(String, String)] {
        let states = sharedStates
        settleSpectra()
        var mode = hasEvaluation ? [("mode", JSON.quoted(mode.rawValue))] : []
        for (key, count) in [
            ("measurements", measures ? measurements.count : -1),
            ("freezing_measurements", freezePlan?.measuredPart == nil ? -1 : freezeMeasurements.count),
        ] where count >= 0 {
            let all = (0..<count).map { layer -> (String, String) in
                let own = measurementNumbers(layer, ofPlan: key != "measurements")
                return (entries[layer].name, JSON.array(own.map { $0.isNaN ? "null" : number($0) }))
            }
            mode.append((key, JSON.object(all.sorted(by: byName))))
        }
        if measures && measurements.count > 0 {
            let targets = (0..<measurements.count).map {
                (entries[$0].name, JSON.number(measurements.elements[$0].target))
            }
            mode.append(("measured_targets", JSON.object(targets.sorted(by: byName))))
        }
        let byLayer = entries.indices.compactMap { layer -> (String, String)? in
            let own = ownSharedStates(of: layer)
            if own.isEmpty { return nil }
            let values = layerShared.elements[2 * layer]
            return (entries[layer].name, JSON.object(own.map { ($0.name, number(values[$0.slot])) }))
        }
        if !byLayer.isEmpty { mode.append(("layer_states", JSON.object(byLayer.sorted(by: byName)))) }
        if states.isEmpty || rule.sharesByLayer { return mode }
        return mode + [
            ("shared_states", JSON.object(states.map { ($0.name, number(shared.elements.pointee[$0.slot])) }))
        ]
    }

    /// The rate that a layer has of its own.
    private func ownRate(_ entry: LayerConfiguration) -> Double? {
        entry.rate.isNaN ? entry.rule?.learningRate : entry.rate
    }

    private func overrides(_ entry: LayerConfiguration) -> [(String, String)] {
        entry.overrides.map { ($0.key, describe($0.value)) }.sorted { $0.0 < $1.0 }
    }
}

extension Configurable {
    /// Every value that there is, by key.  `start` has every setting at its default.
    fileprivate func values(without excluded: Set<String>, _ start: Self) -> String {
        JSON.object(
            Self.parameters.compactMap { parameter -> (String, String)? in
                let value = parameter.read(self)
                if case .number(let x) = value, x.isNaN { return nil }
                if parameter.isOmittedAtDefault && value == parameter.read(start) { return nil }
                return excluded.contains(parameter.key) ? nil : (parameter.key, describe(value))
            })
    }
}

extension Component {
    fileprivate func values(without excluded: Set<String>) -> String { values(without: excluded, Self()) }

    /// The component in words, without settings that are left out at their defaults.
    fileprivate var identity: Spec {
        let start = Self()
        var spec = spec
        spec.settings.removeAll { setting in
            Self.parameters.contains {
                $0.key == setting.key && $0.isOmittedAtDefault && $0.read(self) == $0.read(start)
            }
        }
        spec.parts = components.map { $0.identity }
        return spec
    }
}

/// The order of an object's keys, by their bytes.
private func byName(_ a: (String, String), _ b: (String, String)) -> Bool { NameKey(a.0) < NameKey(b.0) }

private func describe(_ spec: Spec) -> String {
    JSON.object([
        ("name", JSON.quoted(spec.name)), ("settings", JSON.object(spec.settings.map { ($0.key, describe($0.value)) })),
        ("values", JSON.array(spec.values.map(number))), ("parts", JSON.array(spec.parts.map { describe($0) })),
    ])
}

private func describe(_ schedules: [String: any DeclaredSchedule], _ spec: (any DeclaredSchedule) -> Spec) -> String {
    JSON.object(schedules.sorted { $0.key < $1.key }.map { ($0.key, describe(spec($0.value))) })
}

private func describe(_ states: [String: [Double]]) -> String {
    JSON.object(
        states.filter { !$0.value.isEmpty }.sorted { $0.key < $1.key }.map {
            ($0.key, JSON.array($0.value.map(number)))
        })
}

extension JsonValue {
    /// An identity in which policies, schedules and freezing plans have the names of this version.
    func withPresentNames() -> JsonValue {
        guard case .object(var fields) = self else { return self }
        let schedules = allSchedules.map { $0.declaration }
        fields["policy"] = fields["policy"]?.named(among: allPolicies.map { $0.declaration })
        fields["freezing"] = fields["freezing"]?.named(among: allFreezePlans.map { $0.declaration })
        fields["schedules"] = fields["schedules"]?.mapped { $0.named(among: schedules) }
        fields["layers"] = fields["layers"]?.mapped { layer in
            guard case .object(var own) = layer else { return layer }
            own["schedules"] = own["schedules"]?.mapped { $0.named(among: schedules) }
            return .object(own)
        }
        return .object(fields)
    }

    /// A component in words, and its parts, with the names that `declarations` have now.
    private func named(among declarations: [Declaration]) -> JsonValue {
        guard case .object(var spec) = self else { return self }
        if case .string(let name) = spec["name"], let own = declarations.first(where: { $0.isCalled(name) }) {
            spec["name"] = .string(own.name)
        }
        if case .array(let parts) = spec["parts"] {
            spec["parts"] = .array(parts.map { $0.named(among: declarations) })
        }
        return .object(spec)
    }

    /// An object with changed values; what is no object stays.
    private func mapped(_ change: (JsonValue) -> JsonValue) -> JsonValue {
        guard case .object(let fields) = self else { return self }
        return .object(fields.mapValues(change))
    }

    /// An identity of version 0.1.0 in which layers have a `variant` among their own hyperparameters: the settings that it
    /// stands for, which the layer's other hyperparameters override.  nil if there is no preset.
    ///
    /// Those files do not tell in which order the settings were given.  Later ones hold the settings that are in force.
    func withPresetsExpanded() -> JsonValue? {
        guard case .object(var fields) = self, case .string(let name) = fields["rule"],
            let rule = allRules.first(where: { $0.declaration.name == name }),
            case .object(var layers) = fields["layers"]
        else { return nil }
        var isChanged = false
        for (key, layer) in layers {
            guard case .object(var layer) = layer, case .object(let own) = layer["hyperparameters"],
                case .string(let variant) = own["variant"],
                let preset = rule.presets.first(where: { $0.name == variant })
            else { continue }
            var values: [NameKey: JsonValue] = [:]
            for setting in preset.settings {
                switch setting.value {
                case .number(let x): values[NameKey(setting.key)] = .number(x)
                case .choice(let text): values[NameKey(setting.key)] = .string(text)
                }
            }
            for (key, value) in own where key != "variant" { values[key] = value }
            layer["hyperparameters"] = .object(values)
            layers[key] = .object(layer)
            isChanged = true
        }
        fields["layers"] = .object(layers)
        return isChanged ? .object(fields) : nil
    }

    /// An identity without the depths of layers, which version 0.1.0 wrote for some policies and plans that do not go by them.
    func withoutDepths() -> JsonValue {
        guard case .object(var fields) = self, case .object(var layers) = fields["layers"] else { return self }
        for (key, layer) in layers {
            guard case .object(var layer) = layer, case .number = layer["depth"] else { continue }
            layer["depth"] = .null
            layers[key] = .object(layer)
        }
        fields["layers"] = .object(layers)
        return .object(fields)
    }

    /// As JSON, in which keys stand in the order of their bytes.
    var json: String {
        switch self {
        case .null: "null"
        case .bool(let flag): flag ? "true" : "false"
        case .number(let x): Layerwise.number(x)
        case .string(let text): JSON.quoted(text)
        case .array(let items): JSON.array(items.map(\.json))
        case .object(let fields):
            JSON.object(fields.sorted { $0.key < $1.key }.map { ($0.key.text, $0.value.json) })
        }
    }
}

private func describe(_ value: Setting.Value) -> String {
    switch value {
    case .number(let x): number(x)
    case .choice(let text): JSON.quoted(text)
    }
}

/// A number that reads back as the same bits; JSON has no infinity, but a number this large is read as one.
func number(_ x: Double) -> String { x.isFinite ? "\(x)" : x > 0 ? "1e999" : "-1e999" }
