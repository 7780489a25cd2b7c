// SPDX-License-Identifier: Apache-2.0
import Layerwise
import XCTest

/// What steps have changed is put back: clock, counts, rates, what metrics left behind, layers frozen by hand.  A forged
/// progress, whose checksums are right, is refused.
final class CheckpointProgressTests: XCTestCase {
    // MARK: - Put back

    func testEverythingComesBack() throws {
        func make() throws -> Model {
            let model = try Model(SGD(lr: 0.5, momentum: 0.9), sizes: [3, 4, 5])
            try model.optimizer.set([Setting("nonfinite", "skip")])
            try model.optimizer.setSchedule(try Product([ReduceOnPlateau(factor: 0.5, patience: 0), Warmup(steps: 9)]))
            try model.optimizer.setSchedule(try ReduceOnPlateau(factor: 0.25, patience: 0), for: "momentum")
            try model.optimizer.setSchedule(try ReduceOnPlateau(mode: .max, factor: 0.75, patience: 0), layer: 1)
            return model
        }
        let model = try make()
        for metric in [1.0, 2, 3] {
            try model.optimizer.step()
            try model.optimizer.report(metric)
        }
        model.gradients[0][0][0] = .nan
        try model.optimizer.step()
        model.gradients[0][0][0] = 0.5
        try model.optimizer.seek(6)
        try model.optimizer.setLearningRate(0.375)
        try model.optimizer.setLayer(2, [Setting("lr", 0.0625)])
        try model.optimizer.setFrozen(0, true)
        try model.optimizer.setFrozen(1, false)
        try model.optimizer.step(StepOptions(layer: 2))
        let other = try make()
        let report = try other.optimizer.load(model.optimizer.exported(SaveOptions(parameters: true)))
        XCTAssertEqual(report.problems, [])
        XCTAssertEqual(other.optimizer.summary.steps, 4)
        XCTAssertEqual(other.optimizer.summary.skippedSteps, 1)
        XCTAssertEqual(other.optimizer.summary.nextStep, 7)
        XCTAssertEqual(try other.optimizer.value(of: "lr"), .number(0.375))
        XCTAssertEqual(try other.optimizer.value(of: "lr", layer: 2), .number(0.0625))
        XCTAssertEqual(
            try (0..<3).map { try other.optimizer.value(of: "frozen", layer: $0) },
            [.choice("yes"), .choice("no"), .choice("plan")])
        XCTAssertEqual(try other.optimizer.scheduleState(), [0.25, 1, 0, 0])
        XCTAssertEqual(try other.optimizer.scheduleState(for: "momentum"), [0.0625, 1, 0, 0])
        XCTAssertEqual(try other.optimizer.scheduleState(layer: 1), [1, 3, 0, 0])
        XCTAssertEqual(try other.digest(), try model.digest())
        XCTAssertEqual(try other.optimizer.explainJSON(), try model.optimizer.explainJSON())
        // The layers that have not had their step are in the same round.
        for model in [model, other] {
            model.gradients[1][0][0] = 0.25
            model.gradients[0][0][0] = 0.5
            try model.optimizer.step(StepOptions(layer: 1))
            try model.optimizer.step(StepOptions(layer: 2))
            try model.optimizer.step()
        }
        XCTAssertEqual(other.optimizer.summary.nextStep, model.optimizer.summary.nextStep)
        for (own, second) in zip(model.gradients.joined(), other.gradients.joined()) { second.values = own.values }
        for model in [model, other] { try model.optimizer.step() }
        XCTAssertEqual(try other.optimizer.explainJSON(), try model.optimizer.explainJSON())
    }

    /// A rate of a layer that was taken back since is taken back by the load.
    func testOwnRateIsTakenBack() throws {
        let model = try smallCheckpointModel()
        let bytes = try model.optimizer.exported()
        try model.optimizer.setLayer(0, [Setting("lr", 3)])
        try model.optimizer.setFrozen(1, true)
        try model.optimizer.load(bytes)
        XCTAssertEqual(try model.optimizer.value(of: "lr", layer: 0), .number(0.125))
        XCTAssertEqual(try model.optimizer.info(0).effectiveRate, 0.125)
        XCTAssertEqual(try model.optimizer.value(of: "frozen", layer: 1), .choice("plan"))
    }

    func testFirstAndLastStep() throws {
        for step: Int64 in [0, 1, 1 << 31, 1 << 53] {
            let model = try smallCheckpointModel()
            try model.optimizer.seek(step)
            let other = try smallCheckpointModel()
            try other.optimizer.load(model.optimizer.exported())
            XCTAssertEqual(other.optimizer.summary.nextStep, step)
        }
    }

    // MARK: - Forged

    private struct Forgery {
        let old: String
        let new: String
        let message: String

        init(_ old: String, _ new: String, _ message: String) {
            self.old = old
            self.new = new
            self.message = message
        }
    }

    func testForgedProgress() throws {
        let model = try Model(SGD(lr: 0.125, momentum: 0.5), sizes: [3])
        try model.optimizer.setSchedule(ReduceOnPlateau())
        try model.optimizer.setSchedule(try ReduceOnPlateau(patience: 3), for: "momentum", layer: 0)
        try model.optimizer.step()
        try model.optimizer.report(0.75)
        let good = try CheckpointFile(model.optimizer.exported())
        let numbers = [
            ("-1", "-1.0"), ("0.5", "0.5"), ("1e300", "1e+300"), ("1e999", "inf"), ("-1e999", "-inf"),
            ("9007199254740994", "9.007199254740994e+15"), ("1e19", "1e+19"),
            ("-9223372036854775809", "-9.223372036854776e+18"),
        ]
        var forgeries: [Forgery] = []
        let layer = "layer \"0\": "
        for (key, value) in [("next_step", "1"), ("round", "0"), ("steps", "1"), ("skipped_steps", "0")] {
            // That of the run, and not of the layer.
            let field = "\"\(key)\": \(value)" + (key == "round" ? ", \"steps\"" : "")
            for (number, shown) in numbers {
                forgeries.append(
                    Forgery(
                        field, field.replacingOccurrences(of: ": \(value)", with: ": \(number)"),
                        "\(key) must be a whole number from 0 to 2^53, found \(shown)"))
            }
            for wrong in ["true", "\"1\"", "[1]", "{}"] {
                forgeries.append(
                    Forgery(
                        field, field.replacingOccurrences(of: ": \(value)", with: ": \(wrong)"),
                        "\(key) must be a number"))
            }
            forgeries.append(
                Forgery(
                    field, field.replacingOccurrences(of: key, with: "x" + key), "\(key) is missing"))
        }
        for (number, shown) in [("-1", "-1.0"), ("-5e-324", "-5e-324"), ("1e999", "inf"), ("-1e999", "-inf")] {
            forgeries.append(
                Forgery("\"lr\": 0.125", "\"lr\": \(number)", "lr must be in [0, inf), found \(shown)"))
            forgeries.append(
                Forgery("\"lr\": null", "\"lr\": \(number)", "\(layer)lr must be in [0, inf), found \(shown)"))
        }
        let plateau = "[1.0, 0.75, 0.0, 0.0]"
        forgeries += [
            Forgery("\"lr\": 0.125", "\"lr\": \"0.125\"", "lr must be a number"),
            Forgery("\"lr\": 0.125", "\"lr\": null", "lr must be a number"),
            Forgery("\"lr\": 0.125", "\"Lr\": 1", "lr is missing"),
            Forgery("\"lr\": 0.125", "\"lr\": 1, \"lr\": 1", "\"lr\" is given twice"),
            Forgery("\"lr\": null", "\"lr\": true", "\(layer)lr must be a number"),
            Forgery("\"lr\": null", "\"LR\": null", "\(layer)lr is missing"),
            Forgery("\"frozen\": \"plan\"", "\"frozen\": \"maybe\"", "\(layer)frozen must be plan, yes or no"),
            Forgery("\"frozen\": \"plan\"", "\"frozen\": 1", "\(layer)frozen must be text"),
            Forgery("\"frozen\": \"plan\", ", "", "\(layer)frozen is missing"),
            Forgery(
                "\"round\": 0, \"sch", "\"round\": -2, \"sch",
                "\(layer)round must be from -1 to next_step - 1, 0, found -2.0"),
            Forgery(
                "\"round\": 0, \"sch", "\"round\": 0.5, \"sch",
                "\(layer)round must be from -1 to next_step - 1, 0, found 0.5"),
            Forgery(
                "\"round\": 0, \"sch", "\"round\": 1e300, \"sch",
                "\(layer)round must be from -1 to next_step - 1, 0, found 1e+300"),
            Forgery(
                "\"round\": 0, \"sch", "\"round\": 1, \"sch",
                "\(layer)round must be from -1 to next_step - 1, 0, found 1.0"),
            Forgery("\"round\": 0, \"sch", "\"round\": null, \"sch", "\(layer)round must be a number"),
            // The largest step count, behind which there would be one that no checkpoint holds.
            Forgery(
                "\"round\": 0, \"steps\"", "\"round\": 9007199254740992, \"steps\"",
                "round must be next_step - 1, 0, found 9007199254740992"),
            Forgery("\"next_step\": 1", "\"next_step\": 2", "round must be next_step - 1, 1, found 0"),
            Forgery("\"layers\": {", "\"layers\": [], \"x\": {", "layers must be an object"),
            Forgery("\"layers\": {", "\"layer\": {", "layers is missing"),
            Forgery("\"0\": {", "\"0\": 1, \"x\": {", "\(layer)expected an object"),
        ]
        for state in ["1", "true", "{}", "null", "\"[]\""] {
            let what = "a state is a list"
            forgeries.append(Forgery("\"lr\": \(plateau)", "\"lr\": \(state)", "the schedule of lr: \(what)"))
            forgeries.append(
                Forgery(
                    "\"momentum\": \(plateau)", "\"momentum\": \(state)",
                    "\(layer)the schedule of momentum: \(what)"))
        }
        for item in ["null", "\"1\"", "[1]", "true", "{}"] {
            forgeries.append(
                Forgery(
                    "\"lr\": \(plateau)", "\"lr\": [1.0, 0.75, \(item), 0.0]",
                    "the schedule of lr: a state has numbers"))
        }
        for (state, shown) in [
            ("[-1, 0.75, 0, 0]", "[-1.0, 0.75, 0.0, 0.0]"), ("[1, 0.75, -1, 0]", "[1.0, 0.75, -1.0, 0.0]"),
            ("[1, 0.75, 0.5, 0]", "[1.0, 0.75, 0.5, 0.0]"), ("[1, 0.75, 0, 1e300]", "[1.0, 0.75, 0.0, 1e+300]"),
            ("[2, 0.75, 0, 0]", "[2.0, 0.75, 0.0, 0.0]"), ("[1e999, 0.75, 0, 0]", "[inf, 0.75, 0.0, 0.0]"),
        ] {
            let what = "is no state that reports leave behind"
            forgeries.append(
                Forgery("\"lr\": \(plateau)", "\"lr\": \(state)", "the schedule of lr: \(shown) \(what)"))
            forgeries.append(
                Forgery(
                    "\"momentum\": \(plateau)", "\"momentum\": \(state)",
                    "layer \"0\": the schedule of momentum: \(shown) \(what)"))
        }
        for forgery in forgeries {
            for options in [LoadOptions(), LoadOptions(strict: false)] {
                var file = good
                file.replace(forgery.old, with: forgery.new, in: "progress")
                let what = forgery.message.hasSuffix("given twice") ? "\"progress\": " : ""
                try assertCorrupt(model, file.bytes(), "progress: \(what)\(forgery.message)", options)
            }
        }
        XCTAssertGreaterThan(forgeries.count, 90)
        // As it was, the file is good.
        try model.optimizer.load(good.bytes())
    }

    /// What a load without all layers leaves behind can be saved and loaded: a layer that the checkpoint lacks was stepped
    /// before the checkpoint's next step.
    func testAnEarlierCheckpointOfFewerLayers() throws {
        let early = try Model(AdamW(), sizes: [4])
        for _ in 0..<2 { try early.optimizer.step() }
        let model = try Model(AdamW(), sizes: [4, 5])
        for _ in 0..<5 { try model.optimizer.step() }
        try model.optimizer.load(early.optimizer.exported(), LoadOptions(strict: false))
        XCTAssertEqual(model.optimizer.summary.nextStep, 2)
        try model.optimizer.load(model.optimizer.exported())
        try model.optimizer.step()
        XCTAssertEqual(model.optimizer.summary.nextStep, 3)
    }

    /// States of schedules that are not here are differences, and not damage.
    func testForgedSchedules() throws {
        let model = try smallCheckpointModel()
        let good = try CheckpointFile(model.optimizer.exported())
        for (old, new, problem) in [
            (
                "\"skipped_steps\": 0, \"schedule_states\": {}",
                "\"skipped_steps\": 0, \"schedule_states\": {\"lr\": [1]}",
                "the schedule of lr: a state of 1 numbers in the checkpoint, none such here"
            ),
            (
                "\"0\": {\"frozen\": \"plan\", \"lr\": null, \"round\": 1, \"schedule_states\": {}",
                "\"0\": {\"frozen\": \"plan\", \"lr\": null, \"round\": 1, \"schedule_states\": {\"x\": []}",
                "layer \"0\": the schedule of x: a state of 0 numbers in the checkpoint, none such here"
            ),
        ] {
            var file = good
            file.replace(old, with: new, in: "progress")
            try assertMismatch(model, file.bytes(), [problem])
            XCTAssertEqual(
                try model.optimizer.load(file.bytes(), LoadOptions(strict: false)).differences, [problem])
        }
    }

    func testForgedStepCounts() throws {
        let model = try smallCheckpointModel()
        let good = try CheckpointFile(model.optimizer.exported())
        for count in [-1, Int64.min, -(1 << 53)] {
            for index in 0..<2 {
                var file = good
                file.tensors[index].bytes = withUnsafeBytes(of: count.littleEndian) { Array($0) }
                let before = try model.fullDigest()
                for options in [LoadOptions(), LoadOptions(strict: false, convert: true)] {
                    assertRefused(
                        .corrupt, message: "\(index)/0/step: a step count must not be negative, found \(count)"
                    ) { try model.optimizer.load(file.bytes(), options) }
                }
                XCTAssertEqual(try model.fullDigest(), before)
            }
        }
        var file = good
        file.tensors[0].bytes = withUnsafeBytes(of: Int64.max.littleEndian) { Array($0) }
        // As writeState takes it; the next step must bear it.
        try model.optimizer.load(file.bytes())
        try model.optimizer.step()
    }

    /// Counts that JSON holds exactly are loaded and saved; a save refuses what a load would.
    func testLargestCounts() throws {
        let most: Int64 = 1 << 53
        for (old, next) in [("\"steps\": 2", most), ("\"skipped_steps\": 0", most)] {
            let model = try smallCheckpointModel()
            var file = try CheckpointFile(model.optimizer.exported())
            let key = old.components(separatedBy: ":")[0]
            file.replace(", \(old),", with: ", \(key): \(next),", in: "progress")
            try model.optimizer.load(file.bytes())
            // It saves what it was given.
            XCTAssertEqual(
                try CheckpointFile(model.optimizer.exported()).metadata["progress"], file.metadata["progress"])
            if key == "\"skipped_steps\"" { continue }
            try model.optimizer.step()
            let before = model.parameters.map { $0.map(\.values) }
            assertRefused(.outOfRange, message: "a checkpoint counts steps up to 2^53, found \(most + 1)") {
                _ = try model.optimizer.exported()
            }
            XCTAssertEqual(model.parameters.map { $0.map(\.values) }, before)
        }
    }
}
