// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

/// What steps have changed besides tensors: of this optimizer, for a snapshot, or read from a checkpoint and found to fit.
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
        do throws(JSONError) {
            return try readProgress(Fields(try Checkpoint.value(of: "progress", checkpoint.header)), renames, &report)
        } catch { throw LayerwiseError(.corrupt, "\(name): progress: \(error.message)") }
    }

    private func readProgress(
        _ fields: Fields, _ renames: [NameKey: NameKey], _ report: inout LoadReport
    ) throws(JSONError) -> RunState {
        var progress = RunState(
            rate: try fields.rate("lr"), nextStep: try fields.count("next_step"), round: nil,
            steps: try fields.count("steps"), skippedSteps: try fields.count("skipped_steps"), schedules: schedules,
            entries: entries, rounds: [],
            shared: shared.elements.pointee,
            layerShared: (0..<layers.count).map { layerShared.elements[2 * $0] }, mode: mode)
        // Checkpoints without an average say no mode.
        if hasEvaluation && (fields.has("mode") || settings.average == .none) {
            guard let mode = Mode(rawValue: try fields.text("mode")) else {
                throw fields.fail("mode must be training or evaluation")
            }
            progress.mode = mode
        } else {
            progress.mode = .training
        }
        // A layer that the checkpoint lacks was stepped before its next step, at the latest.
        progress.rounds = (0..<layers.count).map { min(layers.elements[$0].round, progress.nextStep - 1) }
        let sharedStates = sharedStates
        if fields.has("layer_states") || entries.indices.contains(where: { !ownSharedStates(of: $0).isEmpty }) {
            for (saved, value) in try fields.object("layer_states") {
                // A layer that is not here is a difference of the identity.
                guard let layer = layerIndex[renames[saved] ?? saved] else { continue }
                let own = try Fields(value)
                for state in ownSharedStates(of: layer) {
                    let value = try own.number(state.name)
                    if !value.isFinite { throw own.fail("\(state.name) must be finite, found \(value)") }
                    progress.layerShared[layer][state.slot] = value
                }
            }
        }
        if !sharedStates.isEmpty && !rule.sharesByLayer {
            let own = try Fields(try fields.value("shared_states"))
            for state in sharedStates {
                let value = try own.number(state.name)
                if !value.isFinite { throw own.fail("\(state.name) must be finite, found \(value)") }
                progress.shared[state.slot] = value
            }
        }
        if measures {
            measuredPolicy = policy.measuredPart
            progress.measurements = try readMeasurements(fields, renames, "measurements", ofPlan: false, &report)
            try readTargets(fields, renames, into: &progress.measurements)
        }
        if freezePlan?.measuredPart != nil {
            progress.freezeMeasurements = try readMeasurements(
                fields, renames, "freezing_measurements", ofPlan: true, &report)
        }
        if try fields.value("round") != .null {
            let round = try fields.count("round")
            guard round + 1 == progress.nextStep else {
                throw fields.fail("round must be next_step - 1, \(progress.nextStep - 1), found \(round)")
            }
            progress.round = round
        }
        try restore(&progress.schedules, try fields.object("schedule_states"), "the schedule of ", &report)
        for (saved, value) in try fields.object("layers").sorted(by: { $0.key < $1.key }) {
            let own = try Fields(value)
            // A layer that is not here is a difference of the identity.
            guard let layer = layerIndex[renames[saved] ?? saved] else { continue }
            guard let frozen = LayerSettings.Frozen(rawValue: try own.text("frozen")) else {
                throw own.fail("frozen must be plan, yes or no")
            }
            progress.entries[layer].settings.frozen = frozen
            progress.entries[layer].rate = try own.value("lr") == .null ? .nan : try own.rate("lr")
            let round = try own.number("round")
            guard let whole = Int64(exactly: round), whole >= -1, whole < progress.nextStep else {
                throw own.fail("round must be from -1 to next_step - 1, \(progress.nextStep - 1), found \(round)")
            }
            progress.rounds[layer] = whole
            let states = try own.object("schedule_states")
            try restore(&progress.entries[layer].schedules, states, "\(subject(layer)): the schedule of ", &report)
        }
        return progress
    }

    /// What a checkpoint says that policy or freezing plan have measured.  A layer that it lacks keeps what was measured here.
    private func readMeasurements(
        _ fields: Fields, _ renames: [NameKey: NameKey], _ key: String, ofPlan: Bool, _ report: inout LoadReport
    ) throws(JSONError) -> [LayerMeasurement] {
        let start = ofPlan ? LayerMeasurement() : policy.measuredPart?.start ?? LayerMeasurement()
        var found = (0..<layers.count).map { layer in
            if ofPlan { return layer < freezeMeasurements.count ? freezeMeasurements.elements[layer] : start }
            return layer < measurements.count ? measurements.elements[layer] : start
        }
        if !fields.has(key) {
            report.add(
                difference: "what the \(ofPlan ? "freezing plan" : "policy") has measured: not in the checkpoint")
            return found
        }
        for (saved, value) in try fields.object(key).sorted(by: { $0.key < $1.key }) {
            guard let layer = layerIndex[renames[saved] ?? saved] else { continue }
            guard case .array(let items) = value,
                let own = measurement(
                    items.map { item in
                        switch item {
                        case .number(let x): x
                        default: .nan
                        }
                    }, ofPlan: ofPlan)
            else { throw fields.fail("\(key) of \(saved.text) must be an average, a count and a scale") }
            found[layer] = own
        }
        return found
    }

    /// What the policy wanted the scales to be, which is only shown: an earlier version did not save it.
    private func readTargets(
        _ fields: Fields, _ renames: [NameKey: NameKey], into measurements: inout [LayerMeasurement]
    ) throws(JSONError) {
        if !fields.has("measured_targets") { return }
        for (saved, value) in try fields.object("measured_targets") {
            guard let layer = layerIndex[renames[saved] ?? saved] else { continue }
            measurements[layer].target = if case .number(let target) = value { target } else { .nan }
        }
    }

    /// Puts states back into schedules.
    private func restore(
        _ schedules: inout [String: any DeclaredSchedule], _ states: [NameKey: JsonValue], _ what: String,
        _ report: inout LoadReport
    ) throws(JSONError) {
        for (key, value) in states.sorted(by: { $0.key < $1.key }).map({ ($0.key.text, $0.value) }) {
            guard case .array(let items) = value else { throw JSONError(message: "a state is a list", position: 0) }
            var state: [Double] = []
            for item in items {
                guard case .number(let x) = item else { throw JSONError(message: "a state has numbers", position: 0) }
                state.append(x)
            }
            guard var schedule = schedules[key], schedule.state.count == state.count else {
                report.add(
                    difference: "\(what)\(key): a state of \(state.count) numbers in the checkpoint, none such here")
                continue
            }
            schedule.state = state
            if schedule.state != state {
                throw JSONError(message: "\(what)\(key): \(state) is no state that reports leave behind", position: 0)
            }
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

/// The fields of a JSON object, of which each must be there and of its kind.
private struct Fields {
    private let fields: [NameKey: JsonValue]

    init(_ value: JsonValue) throws(JSONError) {
        guard case .object(let fields) = value else { throw JSONError(message: "expected an object", position: 0) }
        self.fields = fields
    }

    func fail(_ message: String) -> JSONError { JSONError(message: message, position: 0) }

    func has(_ key: String) -> Bool { fields[NameKey(key)] != nil }

    func value(_ key: String) throws(JSONError) -> JsonValue {
        guard let value = fields[NameKey(key)] else { throw fail("\(key) is missing") }
        return value
    }

    func object(_ key: String) throws(JSONError) -> [NameKey: JsonValue] {
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
        let number = try number(key)
        guard let count = Int64(exactly: number), count >= 0, count <= mostSteps else {
            throw fail("\(key) must be a whole number from 0 to 2^53, found \(number)")
        }
        return count
    }
}
