// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

// What a checkpoint says besides its tensors, as JSON.
//
// It has two parts.  The identity is what the program that resumes must have set up alike: rule, settings, policy, schedules,
// freezing plan, layers and tensors.  The progress is what steps have changed, and is put back: the clock, counts, what
// metrics have left in schedules, the base rate, layers that were frozen by hand.

extension Optimizer {
    /// The identity, in which the order of layers does not matter.
    func identity() -> String {
        Json.object([
            ("rule", Json.quoted(type(of: rule).declaration.name)),
            ("hyperparameters", rule.values(without: ["lr"])),
            ("settings", settings.values(without: ["threads", "telemetry", "dry_run"])),
            ("policy", describe(policy.spec)),
            ("schedules", describe(schedules) { $0.spec }),
            ("freezing", freezePlan.map { describe($0.spec) } ?? "null"),
            (
                "layers",
                Json.object(entries.enumerated().map { ($1.name, identity(of: $0)) }.sorted { $0.0 < $1.0 })
            ),
        ])
    }

    private func identity(of layer: Int) -> String {
        let entry = entries[layer]
        let record = layers.elements[layer]
        let tensors = entry.tensors.enumerated().map { index, place -> (String, String) in
            let tensor = self.tensors.elements[record.firstTensor + index]
            var fields = [
                ("shape", Json.array(place.part.map { String($0) })),
                ("dtype", Json.quoted(tensor.dtype.name)),
                ("gradient_dtype", Json.quoted(tensor.gradientDType.name)),
                ("master", tensor.master == nil ? "false" : "true"),
            ]
            if place.part != place.shape {
                fields.append(("whole_shape", Json.array(place.shape.map { String($0) })))
            }
            return (place.name, Json.object(fields))
        }
        let matters = policy.dependsOnDepth || freezePlan != nil
        return Json.object([
            // Where nothing goes by depth, layers may be registered in any order.
            ("depth", matters && layer < places.count ? String(places[layer].depth) : "null"),
            // Files of version 0.1.0 do not say of what a layer is a part, and its name and place are compared.
            ("settings", entry.settings.values(without: ["depth", "frozen", "part_of"])),
            ("hyperparameters", Json.object(overrides(entry))),
            ("schedules", describe(entry.schedules) { $0.spec }),
            ("tensors", Json.object(tensors.sorted { $0.0 < $1.0 })),
        ])
    }

    /// What steps have changed.
    func progress() -> String {
        Json.object([
            ("lr", number(rule.learningRate)),
            ("next_step", String(clock.next)),
            // Where layers are stepped one by one, those of this round are told from the others.
            ("round", clock.isTouched ? String(clock.round) : "null"),
            ("steps", String(summary.steps)),
            ("skipped_steps", String(summary.skippedSteps)),
            ("schedule_states", describe(schedules.mapValues(\.state))),
            (
                "layers",
                Json.object(
                    entries.map { entry in
                        (
                            entry.name,
                            Json.object([
                                ("frozen", Json.quoted(entry.settings.frozen.rawValue)),
                                ("lr", entry.rate.isNaN ? "null" : number(entry.rate)),
                                ("round", String(layers.elements[layerIndex[entry.name] ?? 0].round)),
                                ("schedule_states", describe(entry.schedules.mapValues(\.state))),
                            ])
                        )
                    }.sorted { $0.0 < $1.0 })
            ),
        ])
    }

    private func overrides(_ entry: LayerEntry) -> [(String, String)] {
        entry.overrides.map { ($0.key, describe($0.value)) }.sorted { $0.0 < $1.0 }
    }
}

extension Configurable {
    /// Every value that there is, by key.
    fileprivate func values(without excluded: Set<String>) -> String {
        Json.object(
            Self.parameters.compactMap { parameter in
                let value = parameter.read(self)
                if case .number(let x) = value, x.isNaN { return nil }
                return excluded.contains(parameter.key) ? nil : (parameter.key, describe(value))
            })
    }
}

private func describe(_ spec: Spec) -> String {
    Json.object([
        ("name", Json.quoted(spec.name)), ("settings", Json.object(spec.settings.map { ($0.key, describe($0.value)) })),
        ("values", Json.array(spec.values.map(number))), ("parts", Json.array(spec.parts.map { describe($0) })),
    ])
}

private func describe(_ schedules: [String: any Schedule], _ spec: (any Schedule) -> Spec) -> String {
    Json.object(schedules.sorted { $0.key < $1.key }.map { ($0.key, describe(spec($0.value))) })
}

private func describe(_ states: [String: [Double]]) -> String {
    Json.object(
        states.filter { !$0.value.isEmpty }.sorted { $0.key < $1.key }.map {
            ($0.key, Json.array($0.value.map(number)))
        })
}

private func describe(_ value: Setting.Value) -> String {
    switch value {
    case .number(let x): number(x)
    case .choice(let text): Json.quoted(text)
    }
}

/// A number that reads back as the same bits; JSON has no infinity, but a number this large is read as one.
private func number(_ x: Double) -> String { x.isFinite ? "\(x)" : x > 0 ? "1e999" : "-1e999" }
