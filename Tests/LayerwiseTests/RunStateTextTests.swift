// SPDX-License-Identifier: Apache-2.0
import Layerwise
import XCTest

/// The run state as a text: all that a checkpoint keeps besides tensors and rates comes back, or nothing changes.
final class RunStateTextTests: XCTestCase {
    /// A model that has gone some way.
    private struct Way: Sendable {
        let name: String
        let make: @Sendable () throws -> Model
        let go: @Sendable (Model) throws -> Void
    }

    private static let sizes = [[[3], [2, 2]], [[40]], [[5, 7]]]

    private static let ways: [Way] = [
        Way(name: "schedules, frozen layers and a round under way") {
            let model = try Model(SGD(lr: 0.5, momentum: 0.9), shapes: sizes)
            try model.optimizer.set([Setting("nonfinite", "skip")])
            try model.optimizer.setSchedule(try Product([ReduceOnPlateau(factor: 0.5, patience: 0), Warmup(steps: 9)]))
            try model.optimizer.setSchedule(try ReduceOnPlateau(factor: 0.25, patience: 0), for: "momentum")
            try model.optimizer.setSchedule(try ReduceOnPlateau(mode: .max, factor: 0.75, patience: 0), layer: 1)
            model.optimizer.setFreezePlan(try GradualUnfreezing(every: 2))
            return model
        } go: { model in
            for metric in [1.0, 2, 3] {
                try model.optimizer.step()
                try model.optimizer.report(metric)
            }
            model.gradients[2][0][0] = .nan
            try model.optimizer.step()
            model.gradients[2][0][0] = 0.5
            try model.optimizer.setFrozen(0, false)
            try model.optimizer.setFrozen(1, true)
            try model.optimizer.step(StepOptions(layer: 2))
        },
        Way(name: "policy and plan measure") {
            let model = try Model(AdamW(lr: 0.01), shapes: sizes, policy: SignAgreement())
            model.optimizer.setFreezePlan(try GradES(threshold: 10, totalSteps: 20))
            return model
        } go: { model in
            for _ in 0..<4 { try step(model) }
        },
        Way(name: "a plan measures") {
            let model = try Model(AdamW(lr: 0.01), shapes: sizes)
            model.optimizer.setFreezePlan(try GradES(threshold: 1e9, totalSteps: 4))
            return model
        } go: { model in
            for _ in 0..<4 { try step(model) }
        },
        Way(name: "numbers of the optimizer") {
            try Model(Prodigy(), shapes: sizes)
        } go: { model in
            for _ in 0..<4 { try step(model) }
        },
        Way(name: "numbers of layers") {
            var rule = Prodigy()
            rule.estimateScope = .layer
            return try Model(rule, shapes: sizes)
        } go: { model in
            for _ in 0..<4 { try step(model) }
        },
        Way(name: "evaluation") {
            try Model(ScheduleFreeAdamW(lr: 0.1), shapes: sizes)
        } go: { model in
            for _ in 0..<4 { try step(model) }
            try model.optimizer.setMode(.evaluation)
        },
        Way(name: "an average in evaluation") {
            let model = try Model(AdamW(lr: 0.1), shapes: sizes)
            try model.optimizer.set(settings(["average": "ema", "average_decay": 0.8]))
            return model
        } go: { model in
            for _ in 0..<4 { try step(model) }
            try model.optimizer.setMode(.evaluation)
        },
        Way(name: "the clock alone") {
            try Model(AdamW(lr: 0.1), shapes: sizes)
        } go: { model in
            try model.optimizer.seek(1 << 53)
        },
    ]

    private static func step(_ model: Model) throws {
        model.drawGradients()
        try model.optimizer.step()
    }

    /// Another optimizer with the same tensors and rates, whose run state is all wrong.
    private func wrong(_ way: Way, _ model: Model) throws -> Model {
        let other = try way.make()
        try other.optimizer.load(model.optimizer.exported(SaveOptions(parameters: true)))
        try other.optimizer.assumeMode(.training)
        try other.optimizer.restartMeasurements()
        for layer in 0..<other.optimizer.layerCount { try other.optimizer.setLayer(layer, [Setting("frozen", "yes")]) }
        for key in ["lr", "momentum"] {
            for layer in [nil, 1] as [Int?] {
                guard let state = try? other.optimizer.scheduleState(for: key, layer: layer), state.count == 4 else {
                    continue
                }
                try other.optimizer.setScheduleState([0.75, 5, 1, 1], for: key, layer: layer)
            }
        }
        for layer in 0..<other.optimizer.layerCount {
            for name in ["d", "d_max", "d_numerator"] {
                let value = 0.125
                try? withUnsafeBytes(of: value) {
                    try other.optimizer.writeState(layer: layer, tensor: 0, name: name, from: $0)
                }
            }
        }
        try other.optimizer.seek(77)
        return other
    }

    func testEverythingComesBack() throws {
        for way in Self.ways {
            let model = try way.make()
            try way.go(model)
            let text = model.optimizer.runStateText()
            let expected = try model.optimizer.exported(SaveOptions(parameters: true))
            let other = try wrong(way, model)
            XCTAssertNotEqual(try other.optimizer.exported(SaveOptions(parameters: true)), expected, way.name)
            XCTAssertEqual(try other.optimizer.check(text), model.optimizer.summary.nextStep, way.name)
            XCTAssertEqual(try other.optimizer.setRunState(text), model.optimizer.summary.nextStep, way.name)
            XCTAssertEqual(try other.optimizer.exported(SaveOptions(parameters: true)), expected, way.name)
            XCTAssertEqual(other.optimizer.runStateText(), text, way.name)
            XCTAssertEqual(try other.optimizer.explainJSON(), try model.optimizer.explainJSON(), way.name)
            // Nothing is lost by taking it a second time, and both go on alike.
            try other.optimizer.setRunState(text)
            if model.optimizer.summary.nextStep == 1 << 53 { continue }
            for each in [model, other] {
                try each.optimizer.setMode(.training)
                for (own, same) in zip(each.gradients.joined(), model.gradients.joined()) { own.values = same.values }
                for _ in 0..<3 { try each.optimizer.step() }
            }
            XCTAssertEqual(
                try other.optimizer.exported(SaveOptions(parameters: true)),
                try model.optimizer.exported(SaveOptions(parameters: true)), way.name)
        }
    }

    /// A check changes nothing, and nor does a look.
    func testCheckChangesNothing() throws {
        for way in Self.ways {
            let model = try way.make()
            try way.go(model)
            let text = model.optimizer.runStateText()
            let other = try wrong(way, model)
            let before = try (other.fullDigest(), other.optimizer.exported(SaveOptions(parameters: true)))
            try other.optimizer.check(text)
            XCTAssertEqual(try other.fullDigest(), before.0, way.name)
            XCTAssertEqual(try other.optimizer.exported(SaveOptions(parameters: true)), before.1, way.name)
        }
    }

    func testOnlyWhatIsNotAsItBegan() throws {
        let model = try Model(AdamW(lr: 0.1), shapes: Self.sizes)
        XCTAssertEqual(model.optimizer.runStateText(), "{}")
        try model.optimizer.step()
        try model.optimizer.setFrozen(1, true)
        XCTAssertEqual(
            model.optimizer.runStateText(),
            #"{"version": 2, "next_step": 1, "round": 0, "steps": 1, "layers": {"1": {"frozen": "yes"}}}"#)
        // The clock was set back: there are steps, so that "{}" would send it to their count.
        try model.optimizer.seek(0)
        try model.optimizer.setLayer(1, [Setting("frozen", "plan")])
        XCTAssertEqual(model.optimizer.runStateText(), #"{"version": 2, "next_step": 0, "steps": 1}"#)
    }

    func testTextsThatSayNoStep() throws {
        let model = try Model(SGD(lr: 0.1, momentum: 0.9), shapes: Self.sizes)
        try model.optimizer.setSchedule(try ReduceOnPlateau(factor: 0.5, patience: 0))
        try model.optimizer.report(1)
        try model.optimizer.step()
        try model.optimizer.setFrozen(0, true)
        let state = try model.optimizer.scheduleState()
        XCTAssertNil(try model.optimizer.setRunState("", steps: 5))
        XCTAssertEqual(model.optimizer.summary.nextStep, 5)
        XCTAssertEqual(model.optimizer.summary.steps, 1)
        XCTAssertEqual(try model.optimizer.value(of: "frozen", layer: 0), .choice("yes"))
        XCTAssertNil(try model.optimizer.setRunState("{}", steps: 6))
        XCTAssertEqual(model.optimizer.summary.nextStep, 6)
        XCTAssertEqual(model.optimizer.summary.steps, 0)
        XCTAssertEqual(try model.optimizer.value(of: "frozen", layer: 0), .choice("plan"))
        XCTAssertEqual(try model.optimizer.scheduleState(), state)
        for steps: Int64 in [-1, 1 << 53 + 1, .min, .max] {
            assertRefused(.outOfRange) { try model.optimizer.setRunState("{}", steps: steps) }
        }
        XCTAssertEqual(model.optimizer.summary.nextStep, 6)
    }

    /// What the last step came to is shown still.
    func testSummaryStays() throws {
        let model = try Model(SGD(lr: 0.1), shapes: Self.sizes)
        try model.optimizer.set(settings(["clip_global_norm": 0.125]))
        try model.optimizer.step()
        let summary = model.optimizer.summary
        try model.optimizer.setRunState(model.optimizer.runStateText())
        XCTAssertEqual(model.optimizer.summary.gradientNorm, summary.gradientNorm)
        XCTAssertEqual(model.optimizer.summary.clipFactor, summary.clipFactor)
    }

    /// Rates are no part of it.
    func testRatesStay() throws {
        let model = try Model(SGD(lr: 0.1), shapes: Self.sizes)
        try model.optimizer.setLayer(1, [Setting("lr", 0.5)])
        try model.optimizer.step()
        let text = model.optimizer.runStateText()
        try model.optimizer.setLearningRate(0.25)
        try model.optimizer.setLayer(1, [Setting("lr", 0.75)])
        try model.optimizer.setRunState(text)
        XCTAssertEqual(try model.infos().map(\.effectiveRate), [0.25, 0.75, 0.25])
    }

    // MARK: - Other layers

    func testKnownOnly() throws {
        let text =
            #"{"version": 2, "next_step": 9, "schedule_states": {"lr": [1, 2, 0, 0]}, "measurements": {"x": [1, 1, 1]}, "#
            + #""layers": {"2": {"frozen": "no", "schedule_states": {"lr": [1]}}, "x": {"frozen": "yes"}}}"#
        let model = try Model(SGD(lr: 0.1), shapes: Self.sizes)
        let before = try model.fullDigest()
        assertRefused(.invalidArgument) { try model.optimizer.setRunState(text) }
        XCTAssertEqual(try model.fullDigest(), before)
        try model.optimizer.setRunState(text, RunStateOptions(knownOnly: true))
        XCTAssertEqual(model.optimizer.summary.nextStep, 9)
        XCTAssertEqual(
            try (0..<3).map { try model.optimizer.value(of: "frozen", layer: $0) },
            [.choice("plan"), .choice("plan"), .choice("no")])
    }

    /// Layers that the text does not know go with those that it knows, also where layers are stepped one by one.
    func testLayersThatCame() throws {
        let model = try Model(SGD(lr: 0.1), shapes: Self.sizes)
        for layer in [0, 1, 2, 1, 2] { try model.optimizer.step(StepOptions(layer: layer)) }
        let text = model.optimizer.runStateText()
        XCTAssertTrue(text.contains(#""layers": {"0": {"round": 0}}"#), text)
        let more = try Model(SGD(lr: 0.1), shapes: Self.sizes + [[[6]]])
        try more.optimizer.setRunState(text, RunStateOptions(knownOnly: true))
        try more.optimizer.step(StepOptions(layer: 0))
        XCTAssertEqual(more.optimizer.summary.nextStep, 2)
        try more.optimizer.step(StepOptions(layer: 3))
        XCTAssertEqual(more.optimizer.summary.nextStep, 3)
    }

    // MARK: - Texts of version 0.1.0

    func testFormerTexts() throws {
        let model = try Model(AdamW(lr: 0.01), shapes: Self.sizes, policy: SignAgreement())
        model.optimizer.setFreezePlan(try GradES(threshold: 10, totalSteps: 20))
        try model.optimizer.setSchedule(try ReduceOnPlateau(factor: 0.5, patience: 0))
        try model.optimizer.setSchedule(try ReduceOnPlateau(factor: 0.25, patience: 0), layer: 1)
        for _ in 0..<2 { try Self.step(model) }
        let text =
            #"{"next_step": 4, "schedules": {"lr": [0.25, 1.0, 0.0, 0.0]}, "layer_schedules": {"1": {"lr": [0.5, 2.0, 1.0, 0.0]}}, "#
            + #""frozen": {"0": "yes", "1": "no"}, "measurements": {"2": [0.75, 3.0, 1.03, 1.5, 0.5, 4.0, 1.0, 0.25, 2.0], "#
            + #""0": [null, 0.0, 1.0, 1.0, null, 0, 1.0, 0.0, 0.0]}}"#
        XCTAssertEqual(try model.optimizer.setRunState(text), 4)
        XCTAssertEqual(model.optimizer.summary.nextStep, 4)
        XCTAssertEqual(model.optimizer.summary.steps, 2)
        XCTAssertEqual(try model.optimizer.scheduleState(), [0.25, 1, 0, 0])
        XCTAssertEqual(try model.optimizer.scheduleState(layer: 1), [0.5, 2, 1, 0])
        XCTAssertEqual(
            try (0..<3).map { try model.optimizer.value(of: "frozen", layer: $0) },
            [.choice("yes"), .choice("no"), .choice("plan")])
        let measured = try model.optimizer.measurementState()
        XCTAssertEqual(Array(measured[18...]), [0.75, 3, 1.03, 1.5, 0.5, 4, 1, 0.25, 2])
        XCTAssertTrue(measured[0].isNaN && measured[9].isNaN)
        XCTAssertEqual([measured[1], measured[10], measured[14]], [0, 0, 0])
        let free = try Model(ScheduleFreeAdamW(lr: 0.1), shapes: Self.sizes)
        try free.optimizer.setRunState(#"{"next_step": 4, "mode": "evaluation"}"#)
        XCTAssertEqual(free.optimizer.mode, .evaluation)
        try free.optimizer.setRunState(#"{"next_step": 4}"#)
        XCTAssertEqual(free.optimizer.mode, .training)
    }

    // MARK: - Refused

    func testRefusals() throws {
        let model = try Model(Prodigy(), shapes: Self.sizes, policy: RelativeGradientNorm())
        try model.optimizer.setSchedule(ReduceOnPlateau())
        try model.optimizer.setSchedule(ReduceOnPlateau(), for: "weight_decay", layer: 1)
        for _ in 0..<2 { try Self.step(model) }
        try model.optimizer.setFrozen(2, true)
        let before = try (model.fullDigest(), model.optimizer.exported())
        let start = #"{"version": 2, "next_step": 3"#
        let none = "run state: expected the text of one, found"
        let refusals: [(text: String, message: String, layer: Int?)] = [
            ("nonsense", "\(none) \"nonsense\": expected null (byte 1)", nil),
            ("{", "\(none) \"{\": expected \" (byte 1)", nil), ("[]", "\(none) \"[]\": it is no object", nil),
            ("{} {}", "\(none) \"{} {}\": expected the end (byte 3)", nil),
            (
                #"{"next_step": 1, "next_step": 1}"#,
                "\(none) \"{\\\"next_step\\\": 1, \\\"next_step\\\": 1}\": \"next_step\" is given twice (byte 31)", nil
            ),
            (
                String(repeating: "[", count: 100),
                "\(none) \"\(String(repeating: "[", count: 40))…\": nested more than 64 deep (byte 65)", nil
            ),
            (#"{"frozen": {"0": "yes"}}"#, "run state: version must be 2, found none", nil),
            (#"{"version": 3, "next_step": 1}"#, "run state: version must be 2, found 3.0", nil),
            (#"{"version": "2"}"#, "run state: version must be 2, found \"2\"", nil),
            (
                #"{"version": 2, "next_step": -1}"#,
                "run state: next_step must be a whole number from 0 to 2^53, found -1.0", nil
            ),
            (#"{"version": 2, "next_step": null}"#, "run state: next_step must be a number", nil),
            ("\(start), \"round\": 3}", "run state: round must be next_step - 1, 2, found 3", nil),
            ("\(start), \"mode\": \"sleep\"}", "run state: mode must be training or evaluation", nil),
            ("\(start), \"layers\": []}", "run state: layers must be an object", nil),
            ("\(start), \"layers\": {\"1\": 1}}", "run state: layer \"1\": expected an object", 1),
            (
                "\(start), \"layers\": {\"1\": {\"frozen\": \"maybe\"}}}",
                "run state: layer \"1\": frozen must be plan, yes or no", 1
            ),
            (
                "\(start), \"layers\": {\"2\": {\"round\": 3}}}",
                "run state: layer \"2\": round must be from -1 to next_step - 1, 2, found 3.0", 2
            ),
            (
                "\(start), \"layers\": {\"trunk\": {}}}",
                "run state: the run state speaks of the layer \"trunk\", and there is none of this name", nil
            ),
            (
                "\(start), \"schedule_states\": {\"beta1\": [1]}}",
                "run state: the schedule of beta1: a state of 1 numbers in the run state, none such here", nil
            ),
            (
                "\(start), \"schedule_states\": {\"lr\": [2, 1, 0, 0]}}",
                "run state: the schedule of lr: [2.0, 1.0, 0.0, 0.0] is no state that reports leave behind", nil
            ),
            (
                "\(start), \"layers\": {\"1\": {\"schedule_states\": {\"weight_decay\": [1, null, 0, 0]}}}}",
                "run state: layer \"1\": the schedule of weight_decay: a state has numbers", 1
            ),
            (
                "\(start), \"measurements\": {\"1\": [1, 2]}}",
                "run state: measurements of 1 must be an average, a count and a scale", 1
            ),
            (
                "\(start), \"measurements\": {\"1\": [1, 2.5, 1]}}",
                "run state: measurements of 1 must be an average, a count and a scale", 1
            ),
            ("\(start), \"shared_states\": {\"d\": 1e999}}", "run state: d must be finite, found inf", nil),
            ("\(start), \"shared_states\": {\"d\": \"1\"}}", "run state: d must be a number", nil),
            // Of several faults the same one is named each time.
            (
                #"{"next_step": 1, "measurements": {"2": 1, "1": 1, "0": 1, "3": 1}}"#,
                "run state: measurements of 0 must be a list", nil
            ),
        ]
        for (text, message, layer) in refusals {
            for options in [RunStateOptions(), RunStateOptions(checkOnly: true)] {
                assertRefused(.invalidArgument, message: message) { try model.optimizer.setRunState(text, options) }
            }
            assertRefused(.invalidArgument, layer: layer, message) { try model.optimizer.setRunState(text) }
            XCTAssertEqual(try model.fullDigest(), before.0, message)
            XCTAssertEqual(try model.optimizer.exported(), before.1, message)
        }
    }

    /// Bytes that are no UTF-8, and a text cut anywhere.
    func testDamagedBytes() throws {
        let way = Self.ways[0]
        let model = try way.make()
        try way.go(model)
        let text = Array(model.optimizer.runStateText().utf8)
        let before = try model.fullDigest()
        for count in 1..<text.count {
            assertRefused(.invalidArgument, "\(count) bytes") {
                try model.optimizer.setRunState(Array(text.prefix(count)))
            }
        }
        var damaged = text
        damaged[3] = 0xff
        assertRefused(.invalidArgument) { try model.optimizer.setRunState(damaged) }
        assertRefused(.invalidArgument) { try model.optimizer.setRunState(text + [0]) }
        XCTAssertEqual(try model.fullDigest(), before)
    }
}

extension Optimizer {
    @discardableResult
    fileprivate func setRunState(
        _ text: String, _ options: RunStateOptions = RunStateOptions(), steps: Int64 = 0
    ) throws -> Int64? {
        try setRunState(Array(text.utf8), options, steps: steps)
    }

    @discardableResult
    fileprivate func setRunState(
        _ text: [UInt8], _ options: RunStateOptions = RunStateOptions(), steps: Int64 = 0
    ) throws -> Int64? {
        try text.withUnsafeBytes { try setRunState($0, options, steps: steps) }
    }

    @discardableResult
    fileprivate func check(_ text: String) throws -> Int64? {
        try setRunState(text, RunStateOptions(checkOnly: true))
    }
}
