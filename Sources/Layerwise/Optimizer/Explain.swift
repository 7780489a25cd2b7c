// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

extension Optimizer {
    /// A text table, one row a layer: what it is, what it gets at step t, by default the next, and why; and its norms at the
    /// last step where telemetry is on.
    public func explain(at step: Int64? = nil) throws(LayerwiseError) -> String {
        let infos = try infos(at: step)
        let hasTowers = infos.contains { !$0.tower.isEmpty }
        let moves = freezePlan != nil || timeline.sources.contains { $0.base == nil }
        let hasFloors = infos.contains { $0.floor != nil }
        let hasRules = entries.contains { $0.rule != nil }
        let hasExceptions = infos.contains { !$0.exceptions.isEmpty }
        var header = ["layer", "depth"]
        if hasTowers { header.append("tower") }
        if hasRules { header.append("rule") }
        header += ["tensors", "parameters", "scale", "from"]
        if measures { header += ["measured", "target", "measured scale"] }
        if moves { header.append("schedule") }
        if hasFloors { header.append("floor") }
        header += ["rate", "decay"]
        if hasExceptions { header.append("apart") }
        header += ["steps", "state"]
        let hasLosses = settings.telemetry && infos.indices.contains { layers.elements[$0].telemetry.lostCount > 0 }
        if settings.telemetry { header += ["|g|", "|w|", "|dw|/|w|", "trust"] }
        if hasLosses { header.append("lost") }
        var rows = [header]
        for (layer, info) in infos.enumerated() {
            var row = [info.name, String(info.depth)]
            if hasTowers { row.append(info.tower) }
            if hasRules { row.append(info.rule) }
            row += [String(info.tensorCount), String(info.parameterCount), text(info.scale), info.origin]
            if measures { row += [info.measuredValue, info.measuredTarget, info.measuredScale].map(measuredText) }
            if moves { row.append(info.factor.isNaN ? "" : text(info.factor)) }
            if hasFloors { row.append(info.floor.map(text) ?? "") }
            row += [text(info.effectiveRate), text(info.weightDecay)]
            if hasExceptions { row.append(info.exceptions.isEmpty ? "" : String(info.exceptions.count)) }
            row += [String(info.steps), state(info)]
            if settings.telemetry {
                let telemetry = layers.elements[layer].telemetry
                row += [
                    text(telemetry.gradientNorm), text(telemetry.weightNorm), text(telemetry.updateRatio),
                    text(telemetry.trustRatio),
                ]
                if hasLosses { row.append(String(telemetry.lostCount)) }
            }
            rows.append(row)
        }
        return title(at: step) + "\n" + table(rows)
    }

    /// Explains as one line of JSON: {"rule", "base_lr", "policy", "schedule", "freezing", "step", "layers": [{…}]}.
    public func explainJSON(at step: Int64? = nil) throws(LayerwiseError) -> String {
        let infos = try infos(at: step)
        return JSON.object([
            ("rule", JSON.quoted(type(of: rule).declaration.name)), ("base_lr", JSON.number(rule.learningRate)),
            ("policy", JSON.quoted(type(of: policy).declaration.name)),
            ("schedule", schedules["lr"].map { JSON.quoted(type(of: $0).declaration.name) } ?? "null"),
            ("freezing", freezePlan.map { JSON.quoted(type(of: $0).declaration.name) } ?? "null"),
            ("step", String(step ?? clock.next)),
            ("layers", JSON.array(infos.enumerated().map { json($1, layers.elements[$0].telemetry) })),
        ])
    }

    private func measuredText(_ number: Double) -> String { number.isNaN ? "" : text(number) }

    private func title(at step: Int64?) -> String {
        var title =
            "\(type(of: rule).declaration.title), base rate \(text(rule.learningRate)), policy "
            + type(of: policy).declaration.name
        if let schedule = schedules["lr"] { title += ", schedule \(type(of: schedule).declaration.name)" }
        if let freezePlan { title += ", freezing \(type(of: freezePlan).declaration.name)" }
        return title + ", step \(step ?? clock.next)"
    }

    private func state(_ info: LayerInfo) -> String {
        switch (info.frozenBy, info.changesAt) {
        case (.layer, _): "frozen"
        case (.plan, nil): "frozen for good"
        case (.plan, let step?): "frozen until \(step)"
        case (.nobody, nil): "active"
        case (.nobody, let step?): "active until \(step)"
        }
    }

    private func json(_ info: LayerInfo, _ telemetry: LayerTelemetry) -> String {
        var fields = [
            ("layer", JSON.quoted(info.name)),
            ("part_of", info.partOf.isEmpty ? "null" : JSON.quoted(info.partOf)), ("depth", String(info.depth)),
            ("tower", JSON.quoted(info.tower)),
            ("role", JSON.quoted(info.role.rawValue)), ("rule", JSON.quoted(info.rule)),
            ("tensors", String(info.tensorCount)),
            ("parameters", String(info.parameterCount)), ("state_bytes", String(info.stateBytes)),
            ("scale", JSON.number(info.scale)), ("scale_from", JSON.quoted(info.origin)),
            ("base_lr", JSON.number(info.baseRate)), ("schedule_factor", JSON.number(info.factor)),
            ("floor_lr", JSON.number(info.floor)), ("effective_lr", JSON.number(info.effectiveRate)),
            ("weight_decay", JSON.number(info.weightDecay)), ("steps", String(info.steps)),
            ("frozen", info.frozen ? "true" : "false"),
            ("frozen_by", info.frozen ? JSON.quoted(info.frozenBy.rawValue) : "null"),
            ("changes_at", info.changesAt.map { String($0) } ?? "null"),
            ("apart", JSON.array(info.exceptions.map(json))),
        ]
        if measures {
            fields += [
                ("measured", JSON.number(info.measuredValue)), ("target", JSON.number(info.measuredTarget)),
                ("measured_scale", JSON.number(info.measuredScale)),
            ]
        }
        if settings.telemetry {
            fields += [
                ("gradient_norm", JSON.number(telemetry.gradientNorm)),
                ("weight_norm", JSON.number(telemetry.weightNorm)),
                ("update_ratio", JSON.number(telemetry.updateRatio)),
                ("trust_ratio", JSON.number(telemetry.trustRatio)),
                ("lost_count", String(telemetry.lostCount)),
            ]
        }
        return JSON.object(fields)
    }

    private func json(_ exception: TensorOverride) -> String {
        JSON.object([
            ("tensor", JSON.quoted(exception.name)), ("scale", JSON.number(exception.scale)),
            ("decay_scale", JSON.number(exception.decayScale)), ("adapts", exception.mayAdapt ? "true" : "false"),
        ])
    }
}
