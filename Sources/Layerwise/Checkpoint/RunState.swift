// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

/// What steps have changed besides tensors: of this optimizer, for a snapshot, or read from a checkpoint or a text and found to fit.
struct RunState {
    var rate: Double
    var nextStep: Int64
    /// The round under way, where layers are stepped one by one.
    var round: Int64?
    var steps: Int64
    var skippedSteps: Int64
    var schedules: [String: any DeclaredSchedule]
    var entries: [LayerConfiguration]
    var rounds: [Int64]
    /// The numbers that all tensors share.
    var shared: SharedScalars
    /// Those that rules keep by layer.
    var layerShared: [SharedScalars]
    var mode: Mode
    /// What the policy has measured, by layer; empty where it measures nothing.
    var measurements: [LayerMeasurement] = []
    /// What the freezing plan has measured, likewise.
    var freezeMeasurements: [LayerMeasurement] = []
}

/// Where a run state is read from, and what its layers are called here.
struct RunStateSource {
    /// How messages call it.
    let name: String
    /// Names here by names there.
    var renames: [NameKey: NameKey] = [:]
    /// A checkpoint says everything.  A text (RunStateText.swift) leaves out what is as an optimizer begins, and all rates.
    let saysAll: Bool
    /// Layers that are not here are left out: those of a checkpoint are a difference of its identity, those of a text are refused
    /// unless it is taken in part.
    let mayHaveOtherLayers: Bool
}

extension Optimizer {
    /// The run state as it is.
    var runState: RunState {
        settleSpectra()
        return RunState(
            rate: rule.learningRate, nextStep: clock.next, round: clock.isTouched ? clock.round : nil,
            steps: summary.steps, skippedSteps: summary.skippedSteps, schedules: schedules, entries: entries,
            rounds: (0..<layers.count).map { layers.elements[$0].round }, shared: shared.elements.pointee,
            layerShared: (0..<layers.count).map { layerShared.elements[2 * $0] }, mode: mode,
            measurements: (0..<measurements.count).map { measurements.elements[$0] },
            freezeMeasurements: (0..<freezeMeasurements.count).map { freezeMeasurements.elements[$0] })
    }

    /// Parses the run state of a checkpoint; entries without a counterpart here are reported as differences.
    func readProgress(
        _ checkpoint: borrowing Checkpoint, _ renames: [NameKey: NameKey], _ report: inout LoadReport
    ) throws(LayerwiseError) -> RunState {
        let name = checkpoint.source.name
        let source = RunStateSource(name: "the checkpoint", renames: renames, saysAll: true, mayHaveOtherLayers: true)
        do throws(JSONError) {
            return try readProgress(try Checkpoint.value(of: "progress", checkpoint.header), source, &report)
        } catch { throw LayerwiseError(.corrupt, "\(name): progress: \(error.message)") }
    }

    /// Parses a run state; schedules and measurements without a counterpart here or there are reported as differences.
    func readProgress(
        _ value: JsonValue, _ source: RunStateSource, _ report: inout LoadReport
    ) throws(JSONError) -> RunState {
        let fields = try Fields(value, isWhole: source.saysAll)
        var progress = try startOfProgress(fields, source)
        if fields.has("mode") || (source.saysAll && hasEvaluation && settings.average == .none) {
            guard let mode = Mode(rawValue: try fields.text("mode")) else {
                throw fields.fail("mode must be training or evaluation")
            }
            if hasEvaluation { progress.mode = mode }
        }
        if try fields.value("round") != .null {
            let round = try fields.count("round")
            guard round + 1 == progress.nextStep else {
                throw fields.fail("round must be next_step - 1, \(progress.nextStep - 1), found \(round)")
            }
            progress.round = round
            // A text names the layers that are not with the others.
            if !source.saysAll { progress.rounds = Array(repeating: round, count: layers.count) }
        }
        try readShared(fields, source, &progress)
        if measures {
            measuredPolicy = policy.measuredPart
            progress.measurements = try readMeasurements(fields, source, "measurements", ofPlan: false, &report)
            try readTargets(fields, source, into: &progress.measurements)
        }
        if freezePlan?.measuredPart != nil {
            progress.freezeMeasurements = try readMeasurements(
                fields, source, "freezing_measurements", ofPlan: true, &report)
        }
        try restore(&progress.schedules, try fields.object("schedule_states"), "the schedule of ", source, &report)
        for (layer, value) in try layers(of: fields, "layers", source) {
            let own = try Fields(value, isWhole: source.saysAll, of: subject(layer), layer)
            if own.isWhole || own.has("frozen") {
                guard let frozen = LayerSettings.Frozen(rawValue: try own.text("frozen")) else {
                    throw own.fail("frozen must be plan, yes or no")
                }
                progress.entries[layer].settings.frozen = frozen
            }
            if own.isWhole {
                progress.entries[layer].rate = try own.value("lr") == .null ? .nan : try own.rate("lr")
            }
            if own.isWhole || own.has("round") {
                let round = try own.number("round")
                guard let whole = Int64(exactly: round), whole >= -1, whole < progress.nextStep else {
                    throw own.fail(
                        "round must be from -1 to next_step - 1, \(progress.nextStep - 1), found \(round)")
                }
                progress.rounds[layer] = whole
            }
            try restore(
                &progress.entries[layer].schedules, try own.object("schedule_states"),
                "\(subject(layer)): the schedule of ", source, &report, layer)
        }
        return progress
    }

    /// What a run state is before its parts are read: the counts that it says, and else this optimizer's, or for a text what an
    /// optimizer begins with.
    private func startOfProgress(_ fields: Fields, _ source: RunStateSource) throws(JSONError) -> RunState {
        var progress = RunState(
            rate: source.saysAll ? try fields.rate("lr") : rule.learningRate, nextStep: try fields.count("next_step"),
            round: nil, steps: try fields.count("steps"), skippedSteps: try fields.count("skipped_steps"),
            schedules: schedules, entries: entries, rounds: [], shared: shared.elements.pointee,
            layerShared: (0..<layers.count).map { layerShared.elements[2 * $0] }, mode: .training)
        if source.saysAll {
            // A layer that the checkpoint lacks was stepped before its next step, at the latest.
            progress.rounds = (0..<layers.count).map { min(layers.elements[$0].round, progress.nextStep - 1) }
            return progress
        }
        progress.rounds = Array(repeating: -1, count: layers.count)
        progress.shared = Self.start(ofShared: rule)
        for layer in entries.indices {
            progress.entries[layer].settings.frozen = .plan
            progress.layerShared[layer] = Self.start(ofShared: rules[layers.elements[layer].rule])
        }
        return progress
    }

    /// The fields of a JSON object that has one for each layer, in the order of the layers' names there.
    private func layers(
        of fields: Fields, _ key: String, _ source: RunStateSource
    ) throws(JSONError) -> [(layer: Int, value: JsonValue)] {
        var found: [(layer: Int, value: JsonValue)] = []
        for (saved, value) in try fields.object(key).sorted(by: { $0.key < $1.key }) {
            if let layer = layerIndex[source.renames[saved] ?? saved] {
                found.append((layer, value))
            } else if !source.mayHaveOtherLayers {
                throw fields.fail(
                    "\(source.name) speaks of the layer \(JSON.quoted(saved.text)), and there is none of this name")
            }
        }
        return found
    }

    /// Reads the numbers that rules keep for all tensors or for each layer.
    private func readShared(
        _ fields: Fields, _ source: RunStateSource, _ progress: inout RunState
    ) throws(JSONError) {
        func read(_ states: [StateDeclaration], _ own: Fields, _ numbers: inout SharedScalars) throws(JSONError) {
            for state in states where own.isWhole || own.has(state.name) {
                let value = try own.number(state.name)
                if !value.isFinite { throw own.fail("\(state.name) must be finite, found \(value)") }
                numbers[state.slot] = value
            }
        }
        if fields.has("layer_states") || entries.indices.contains(where: { !ownSharedStates(of: $0).isEmpty }) {
            for (layer, value) in try layers(of: fields, "layer_states", source) {
                let own = try Fields(value, isWhole: source.saysAll, of: subject(layer), layer)
                try read(ownSharedStates(of: layer), own, &progress.layerShared[layer])
            }
        }
        if !sharedStates.isEmpty && !rule.sharesByLayer && (fields.isWhole || fields.has("shared_states")) {
            let own = try Fields(try fields.value("shared_states"), isWhole: source.saysAll)
            try read(sharedStates, own, &progress.shared)
        }
    }

    /// What is said to be measured by policy or freezing plan.  A layer that a checkpoint lacks keeps what was measured here, one
    /// that a text lacks begins.
    private func readMeasurements(
        _ fields: Fields, _ source: RunStateSource, _ key: String, ofPlan: Bool, _ report: inout LoadReport
    ) throws(JSONError) -> [LayerMeasurement] {
        let start = startOfMeasurement(ofPlan: ofPlan)
        var found = (0..<layers.count).map { layer in
            if !source.saysAll { return start }
            if ofPlan { return layer < freezeMeasurements.count ? freezeMeasurements.elements[layer] : start }
            return layer < measurements.count ? measurements.elements[layer] : start
        }
        if source.saysAll && !fields.has(key) {
            report.add(
                difference: "what the \(ofPlan ? "freezing plan" : "policy") has measured: not in \(source.name)")
            return found
        }
        for (layer, value) in try layers(of: fields, key, source) {
            guard case .array(let items) = value,
                let own = measurement(
                    items.map { item in
                        switch item {
                        case .number(let x): x
                        default: .nan
                        }
                    }, ofPlan: ofPlan)
            else {
                throw fields.fail("\(key) of \(entries[layer].name) must be an average, a count and a scale", layer)
            }
            found[layer] = own
        }
        return found
    }

    /// What a layer's measurement is before anything was measured.
    func startOfMeasurement(ofPlan: Bool) -> LayerMeasurement {
        ofPlan ? LayerMeasurement() : policy.measuredPart?.start ?? LayerMeasurement()
    }

    /// What the policy wanted the scales to be, which is only shown: an earlier version did not save it.
    private func readTargets(
        _ fields: Fields, _ source: RunStateSource, into measurements: inout [LayerMeasurement]
    ) throws(JSONError) {
        if !fields.has("measured_targets") { return }
        for (layer, value) in try layers(of: fields, "measured_targets", source) {
            measurements[layer].target = if case .number(let target) = value { target } else { .nan }
        }
    }

    /// Puts states back into schedules.
    private func restore(
        _ schedules: inout [String: any DeclaredSchedule], _ states: [NameKey: JsonValue], _ what: String,
        _ source: RunStateSource, _ report: inout LoadReport, _ layer: Int? = nil
    ) throws(JSONError) {
        for (key, value) in states.sorted(by: { $0.key < $1.key }).map({ ($0.key.text, $0.value) }) {
            func fail(_ message: String) -> JSONError {
                JSONError(message: "\(what)\(key): \(message)", position: 0, layer: layer)
            }
            guard case .array(let items) = value else { throw fail("a state is a list") }
            var state: [Double] = []
            for item in items {
                guard case .number(let x) = item else { throw fail("a state has numbers") }
                state.append(x)
            }
            guard var schedule = schedules[key], schedule.state.count == state.count else {
                report.add(
                    difference: "\(what)\(key): a state of \(state.count) numbers in \(source.name), none such here")
                continue
            }
            schedule.state = state
            if schedule.state != state { throw fail("\(state) is no state that reports leave behind") }
            schedules[key] = schedule
        }
    }

    /// Makes room for a run state of this optimizer, or one that `readProgress` has checked, so that to apply it cannot fail.
    ///
    /// What is measured may be of fewer layers, where some came since, and is never of more.
    func prepare(for progress: RunState) throws(LayerwiseError) {
        let counts = (progress.measurements.count, progress.freezeMeasurements.count)
        if progress.entries.count != layers.count || progress.rounds.count != layers.count
            || max(counts.0, counts.1) > layers.count
        {
            throw LayerwiseError(
                .mismatch,
                "the progress is of \(progress.entries.count) layers, with \(counts.0) and \(counts.1) measured, the "
                    + "optimizer has \(layers.count)")
        }
        guard measurements.reserve(counts.0), freezeMeasurements.reserve(counts.1) else {
            throw .outOfMemory("what policy and freezing plan have measured")
        }
    }

    /// Applies a run state for which `prepare` has made room.
    func adopt(_ progress: RunState) {
        dropSpectra()
        setCheckedRate(progress.rate)
        shared.elements.pointee = progress.shared
        for (layer, own) in progress.layerShared.enumerated() { layerShared.elements[2 * layer] = own }
        mode = progress.mode
        if !progress.measurements.isEmpty {
            measurements.removeAll()
            for own in progress.measurements { measurements.append(own) }
        }
        if !progress.freezeMeasurements.isEmpty {
            freezeMeasurements.removeAll()
            for own in progress.freezeMeasurements { freezeMeasurements.append(own) }
        }
        schedules = progress.schedules
        entries = progress.entries
        for (layer, round) in progress.rounds.enumerated() { layers.elements[layer].round = round }
        if let round = progress.round { clock.advance(to: round) } else { clock.seek(progress.nextStep) }
        summary = StepSummary(steps: progress.steps, skippedSteps: progress.skippedSteps)
        summary.nextStep = clock.next
        timeline.isStale = true
        timeline.window = 0..<0
        placesAreStale = true
        scalesAreStale = true
    }
}

/// The fields of a JSON object, each of its kind.
struct Fields {
    private let fields: [NameKey: JsonValue]
    /// Whether each must be there; else an object that is not there is empty, a count is 0, and other values are null.
    let isWhole: Bool
    /// How messages call what it belongs to, and its layer.
    private let subject: String
    private let layer: Int?

    init(_ value: JsonValue, isWhole: Bool, of subject: String = "", _ layer: Int? = nil) throws(JSONError) {
        (self.isWhole, self.subject, self.layer) = (isWhole, subject.isEmpty ? "" : "\(subject): ", layer)
        guard case .object(let fields) = value else {
            throw JSONError(message: "\(self.subject)expected an object", position: 0, layer: layer)
        }
        self.fields = fields
    }

    func fail(_ message: String, _ layer: Int? = nil) -> JSONError {
        JSONError(message: subject + message, position: 0, layer: layer ?? self.layer)
    }

    func has(_ key: String) -> Bool { fields[NameKey(key)] != nil }

    func value(_ key: String) throws(JSONError) -> JsonValue {
        guard let value = fields[NameKey(key)] else {
            if !isWhole { return .null }
            throw fail("\(key) is missing")
        }
        return value
    }

    func object(_ key: String) throws(JSONError) -> [NameKey: JsonValue] {
        if !isWhole && !has(key) { return [:] }
        guard case .object(let object) = try value(key) else { throw fail("\(key) must be an object") }
        return object
    }

    func text(_ key: String) throws(JSONError) -> String {
        guard case .string(let text) = try value(key) else { throw fail("\(key) must be text") }
        return text
    }

    func number(_ key: String) throws(JSONError) -> Double {
        guard case .number(let number) = try value(key) else { throw fail("\(key) must be a number") }
        return number
    }

    /// A learning rate.
    func rate(_ key: String) throws(JSONError) -> Double {
        let rate = try number(key)
        if !(rate >= 0 && rate < .infinity) { throw fail("\(key) must be in [0, inf), found \(rate)") }
        return rate
    }

    /// A number of steps.
    func count(_ key: String) throws(JSONError) -> Int64 {
        if !isWhole && !has(key) { return 0 }
        let number = try number(key)
        guard let count = Int64(exactly: number), count >= 0, count <= mostSteps else {
            throw fail("\(key) must be a whole number from 0 to 2^53, found \(number)")
        }
        return count
    }
}
