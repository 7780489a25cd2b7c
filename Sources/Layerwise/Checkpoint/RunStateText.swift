// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

// The run state as a text, for a program that keeps all else of an optimizer in a format of its own, as torch's state dicts do.
//
// It is the progress of a checkpoint, in the same words, and is read by the same function.  Two things differ.  Rates are not in it:
// such a program has them, and may change them there.  And what is as an optimizer begins is left out, since the text may stand in
// many places; an optimizer that took no step and has nothing else to say gives "{}".

/// How a text of a run state is taken.
package struct RunStateOptions {
    /// Leave out what the text says of layers and schedules that are not here; else it is refused.
    package var knownOnly: Bool
    /// Refuse what would be refused, and change nothing.
    package var checkOnly: Bool

    package init(knownOnly: Bool = false, checkOnly: Bool = false) {
        self.knownOnly = knownOnly
        self.checkOnly = checkOnly
    }
}

extension Optimizer {
    /// The version of the text.  Texts without one are of version 0.1.0 of the library, or between it and the next.
    private static let textVersion = 2

    /// The run state as one line of JSON.
    package func runStateText() -> String {
        settleSpectra()
        var fields: [(String, String)] = []
        func add(_ key: String, _ values: [(String, String)]) {
            if !values.isEmpty { fields.append((key, JSON.object(values))) }
        }
        if clock.isTouched { fields.append(("round", String(clock.round))) }
        if summary.steps != 0 { fields.append(("steps", String(summary.steps))) }
        if summary.skippedSteps != 0 { fields.append(("skipped_steps", String(summary.skippedSteps))) }
        if mode != .training { fields.append(("mode", JSON.quoted(mode.rawValue))) }
        add("schedule_states", states(of: schedules))
        add("measurements", measurementTexts(measures ? measurements.count : 0, ofPlan: false))
        add(
            "freezing_measurements",
            measurementTexts(freezePlan?.measuredPart == nil ? 0 : freezeMeasurements.count, ofPlan: true))
        add(
            "measured_targets",
            (0..<(measures ? measurements.count : 0)).compactMap { layer in
                let target = measurements.elements[layer].target
                return target.isFinite ? (entries[layer].name, number(target)) : nil
            })
        if !rule.sharesByLayer {
            add("shared_states", numbers(sharedStates, shared.elements.pointee, Self.start(ofShared: rule)))
        }
        add(
            "layer_states",
            entries.indices.compactMap { layer in
                let own = numbers(
                    ownSharedStates(of: layer), layerShared.elements[2 * layer],
                    Self.start(ofShared: rules[layers.elements[layer].rule]))
                return own.isEmpty ? nil : (entries[layer].name, JSON.object(own))
            })
        add("layers", entries.indices.compactMap { layer in layerText(layer).map { (entries[layer].name, $0) } })
        if fields.isEmpty && clock.next == 0 && !(0..<tensors.count).contains(where: { tensors.elements[$0].steps > 0 })
        {
            return "{}"
        }
        return JSON.object([("version", String(Self.textVersion)), ("next_step", String(clock.next))] + fields)
    }

    /// What steps have changed of one layer; nil where nothing is to be said.
    private func layerText(_ layer: Int) -> String? {
        let entry = entries[layer]
        var fields: [(String, String)] = []
        if entry.settings.frozen != .plan { fields.append(("frozen", JSON.quoted(entry.settings.frozen.rawValue))) }
        let round = layers.elements[layer].round
        // Where no step was taken since the clock was set, rounds mean nothing.
        if clock.isTouched && round != clock.round { fields.append(("round", String(round))) }
        let states = states(of: entry.schedules)
        if !states.isEmpty { fields.append(("schedule_states", JSON.object(states))) }
        return fields.isEmpty ? nil : JSON.object(fields)
    }

    private func states(of schedules: [String: any DeclaredSchedule]) -> [(String, String)] {
        schedules.sorted { $0.key < $1.key }.compactMap { key, schedule in
            schedule.state.isEmpty ? nil : (key, JSON.array(schedule.state.map(number)))
        }
    }

    /// The measurements of the first `count` layers, as far as anything was measured.
    private func measurementTexts(_ count: Int, ofPlan: Bool) -> [(String, String)] {
        if count == 0 { return [] }
        let start = startOfMeasurement(ofPlan: ofPlan)
        return (0..<count).compactMap { layer in
            let own = measurementNumbers(layer, ofPlan: ofPlan)
            let none = start.state(own.count)
            if zip(own, none).allSatisfy({ $0 == $1 || ($0.isNaN && $1.isNaN) }) { return nil }
            return (entries[layer].name, JSON.array(own.map { $0.isNaN ? "null" : number($0) }))
        }
    }

    /// Those of some shared numbers that are no longer as they start.
    private func numbers(
        _ states: [StateDeclaration], _ values: SharedScalars, _ start: SharedScalars
    ) -> [(String, String)] {
        states.compactMap { state in
            values[state.slot] == start[state.slot] ? nil : (state.name, number(values[state.slot]))
        }
    }

    // MARK: - Taking it back

    /// Puts back what `runStateText` gave, all of it or, where it is refused, nothing.
    ///
    /// An empty text is of a program that keeps no run state: layers stay frozen as they are, and schedules and counts of steps as
    /// they are too; measurements begin again, and the weights are those for training.
    ///
    /// - Parameters:
    ///   - text: UTF-8.
    ///   - steps: t of the next step, if the text says none.
    /// - Returns: t of the next step as the text says it; nil if it says none.
    @discardableResult
    package func setRunState(
        _ text: UnsafeRawBufferPointer, _ options: RunStateOptions = RunStateOptions(), steps: Int64
    ) throws(LayerwiseError) -> Int64? {
        if isTorn { throw Self.torn }
        if steps < 0 || steps > mostSteps {
            throw LayerwiseError(.outOfRange, "the step must be from 0 to \(mostSteps), found \(steps)")
        }
        // As for the header of a checkpoint.
        try Memory.require(36 * min(text.count, 1 << 40))
        let (progress, said) = try readText(text, options, steps)
        if options.checkOnly { return said }
        try prepare(for: progress)
        try reserveWatching()
        // What the last step came to is no part of it.
        var summary = summary
        adopt(progress)
        (summary.steps, summary.skippedSteps, summary.nextStep) = (progress.steps, progress.skippedSteps, clock.next)
        self.summary = summary
        return said
    }

    private func readText(
        _ text: UnsafeRawBufferPointer, _ options: RunStateOptions, _ steps: Int64
    ) throws(LayerwiseError) -> (RunState, said: Int64?) {
        let source = RunStateSource(name: "the run state", saysAll: false, mayHaveOtherLayers: options.knownOnly)
        do throws(JSONError) {
            var fields: [NameKey: JsonValue] = [:]
            if !text.isEmpty { fields = try Self.fields(ofText: text) }
            let saysStep = fields["next_step"] != nil
            if saysStep && fields["version"] == nil {
                fields = try inPresentWords(fields)
            } else if !fields.isEmpty && fields["version"] != JsonValue.number(Double(Self.textVersion)) {
                let found = fields["version"]?.json ?? "none"
                throw JSONError(message: "version must be \(Self.textVersion), found \(found)", position: 0)
            }
            if !saysStep { fields["next_step"] = .number(Double(steps)) }
            var report = LoadReport()
            var progress = try readProgress(.object(fields), source, &report)
            if !options.knownOnly, let difference = report.differences.first {
                throw JSONError(message: difference, position: 0)
            }
            if text.isEmpty {
                for layer in entries.indices {
                    progress.entries[layer].settings.frozen = entries[layer].settings.frozen
                }
                (progress.steps, progress.skippedSteps) = (summary.steps, summary.skippedSteps)
            }
            return (progress, saysStep ? progress.nextStep : nil)
        } catch {
            throw LayerwiseError(.invalidArgument, "run state: \(error.message)", layer: error.layer)
        }
    }

    /// The fields of a text.
    private static func fields(ofText text: UnsafeRawBufferPointer) throws(JSONError) -> [NameKey: JsonValue] {
        func fail(_ why: String) -> JSONError {
            let start = String(decoding: text.prefix(40), as: UTF8.self) + (text.count > 40 ? "…" : "")
            return JSONError(message: "expected the text of one, found \(JSON.quoted(start)): \(why)", position: 0)
        }
        var reader = JSONReader(text)
        let value: JsonValue
        do throws(JSONError) {
            value = try reader.value()
            try reader.expectEnd()
        } catch { throw fail("\(error.message) (byte \(error.position))") }
        guard case .object(let fields) = value else { throw fail("it is no object") }
        return fields
    }

    /// A text of version 0.1.0, which had words of its own, in those of a checkpoint.
    private func inPresentWords(_ old: [NameKey: JsonValue]) throws(JSONError) -> [NameKey: JsonValue] {
        let fields = try Fields(.object(old), isWhole: false)
        var new: [NameKey: JsonValue] = [:]
        for key in ["next_step", "mode"] { new[NameKey(key)] = old[NameKey(key)] }
        new["schedule_states"] = .object(try fields.object("schedules"))
        // It counted no steps.
        new["steps"] = .number(Double(min(summary.steps, Int64(mostSteps))))
        new["skipped_steps"] = .number(Double(min(summary.skippedSteps, Int64(mostSteps))))
        var layers = try fields.object("frozen").mapValues { [NameKey("frozen"): $0] }
        for (layer, states) in try fields.object("layer_schedules") {
            layers[layer, default: [:]]["schedule_states"] = states
        }
        new["layers"] = .object(layers.mapValues { .object($0) })
        // The numbers of a policy and of a freezing plan stood in one list.
        let ofPolicy = policy.measuredPart.map { 3 + type(of: $0).memoryCount } ?? 0
        var measured: [NameKey: JsonValue] = [:]
        var ofPlan: [NameKey: JsonValue] = [:]
        for (layer, value) in try fields.object("measurements").sorted(by: { $0.key < $1.key }) {
            guard case .array(let numbers) = value else {
                throw fields.fail("measurements of \(layer.text) must be a list")
            }
            measured[layer] = .array(Array(numbers.prefix(ofPolicy)))
            ofPlan[layer] = .array(Array(numbers.dropFirst(ofPolicy)))
        }
        new["measurements"] = .object(measured)
        new["freezing_measurements"] = .object(ofPlan)
        return new
    }
}
