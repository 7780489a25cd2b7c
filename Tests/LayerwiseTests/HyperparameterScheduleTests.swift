// SPDX-License-Identifier: Apache-2.0
import Layerwise
import XCTest

/// Schedules of other numbers than the rate: the same as setting the value by hand before each step.
final class HyperparameterScheduleTests: XCTestCase {
    private static let shapes = [[[40], [5, 7]], [[333]]]

    /// Every number of every rule under a schedule that keeps it in its range.
    private static func cases() throws -> [(RuleCase, String, any DeclaredSchedule)] {
        let falling = try Exponential(gamma: 0.8)
        let waving = try Cyclic(stepSizeUp: 3, lowest: 0.25)
        let momentum = try OneCycleMomentum(totalSteps: 9, pctStart: 0.5)
        return [
            (try RuleCase("sgd", ["lr": 0.1, "momentum": 0.9]), "momentum", falling),
            (try RuleCase("sgd", ["lr": 0.1, "momentum": 0.9]), "momentum", momentum),
            (
                try RuleCase("sgd", ["lr": 0.1, "momentum": 0.5, "nesterov": 1]), "momentum",
                try CyclicMomentum(stepSizeUp: 4)
            ),
            (try RuleCase("sgd", ["lr": 0.1, "momentum": 0.9, "dampening": 0.5]), "dampening", waving),
            (try RuleCase("sgd", ["lr": 0.1, "weight_decay": 0.3]), "weight_decay", falling),
            (
                try RuleCase("sgd", ["lr": 0.1, "weight_decay": 0.3, "decoupled_weight_decay": 1]), "weight_decay",
                try Linear(totalSteps: 6)
            ),
            (try RuleCase("lars", ["lr": 0.7, "weight_decay": 0.1]), "weight_decay", try Linear(totalSteps: 6)),
            (try RuleCase("lars", ["lr": 0.7]), "trust_coefficient", waving),
            (try RuleCase("lars", ["lr": 0.7, "eps": 0.1]), "eps", falling),
            (try RuleCase("lars", ["lr": 0.7]), "momentum", momentum),
            (try RuleCase("adam", ["lr": 0.1]), "beta1", momentum),
            (try RuleCase("adam", ["lr": 0.1]), "beta2", try Warmup(steps: 5, start: 0.9)),
            (try RuleCase("adam", ["lr": 0.1, "amsgrad": 1]), "eps", falling),
            (try RuleCase("adamw", ["lr": 0.1, "weight_decay": 0.3]), "weight_decay", waving),
            (try RuleCase("adamw", ["lr": 0.1, "weight_decay": 0.3]), "beta1", falling),
            (try RuleCase("lamb", ["lr": 0.1, "weight_decay": 0.3]), "weight_decay", falling),
            (try RuleCase("lamb", ["lr": 0.1, "weight_norm_max": 2]), "weight_norm_max", waving),
            (try RuleCase("lamb", ["lr": 0.1, "ratio_max": 3]), "ratio_max", falling),
            (try RuleCase("lamb", ["lr": 0.1, "ratio_min": 1]), "ratio_min", waving),
            (
                try RuleCase("lamb", ["lr": 0.1, "adapt": "decayed", "weight_decay": 0.1]), "weight_decay",
                try Linear(totalSteps: 4)
            ),
            (
                try RuleCase("lamb", ["lr": 0.1, "weight_decay": 0.3, "trust_ratio_scope": "layer"]), "beta2",
                try Linear(totalSteps: 20)
            ),
        ]
    }

    private func number(_ model: Model, _ key: String, layer: Int? = nil) throws -> Double {
        let value = try layer.map { try model.optimizer.value(of: key, layer: $0) } ?? model.optimizer.value(of: key)
        guard case .number(let x) = value else { throw LayerwiseError(.invalidArgument, key) }
        return x
    }

    func testSameAsByHand() throws {
        for (ruleCase, key, schedule) in try Self.cases() {
            for kind in [Kind(.float32), Kind(.float64)] {
                let scheduled = try Model(ruleCase.rule, kind, shapes: Self.shapes)
                let manual = try Model(ruleCase.rule, kind, shapes: Self.shapes)
                let base = try number(scheduled, key)
                try scheduled.optimizer.setSchedule(schedule, for: key)
                for t: Int64 in 0..<12 {
                    try manual.optimizer.set([Setting(key, schedule.value(at: t, base: base))])
                    for model in [scheduled, manual] {
                        model.drawGradients()
                        try model.optimizer.step()
                    }
                    XCTAssertEqual(try scheduled.digest(), try manual.digest(), "\(ruleCase), \(key), step \(t)")
                }
                XCTAssertEqual(try number(scheduled, key), base, "what is set is not what is scheduled")
            }
        }
    }

    /// A layer's own schedule, value and start count for that layer alone.
    func testSameAsByHandForLayers() throws {
        let optimizers = try Exponential(gamma: 0.5)
        let layers = try Cyclic(stepSizeUp: 2, lowest: 0.5)
        let rule = AdamW(lr: 0.1, betas: (0.8, 0.9), weightDecay: 0.3)
        let shapes = Array(repeating: [[40]], count: 4)
        let scheduled = try Model(rule, shapes: shapes)
        let manual = try Model(rule, shapes: shapes)
        try scheduled.optimizer.setSchedule(optimizers, for: "weight_decay")
        try scheduled.optimizer.setSchedule(layers, for: "weight_decay", layer: 1)
        try scheduled.optimizer.setSchedule(layers, for: "beta1", layer: 1)
        try scheduled.optimizer.setLayer(2, settings(["weight_decay": 0.7]))
        try scheduled.optimizer.setLayer(3, settings(["start": 4]))
        for t: Int64 in 0..<10 {
            try manual.optimizer.setLayer(0, [Setting("weight_decay", optimizers.value(at: t, base: 0.3))])
            try manual.optimizer.setLayer(
                1,
                [
                    Setting("weight_decay", layers.value(at: t, base: 0.3)),
                    Setting("beta1", layers.value(at: t, base: 0.8)),
                ])
            try manual.optimizer.setLayer(2, [Setting("weight_decay", optimizers.value(at: t, base: 0.7))])
            try manual.optimizer.setLayer(3, [Setting("weight_decay", optimizers.value(at: max(0, t - 4), base: 0.3))])
            XCTAssertEqual(try scheduled.infos().map(\.weightDecay), try manual.infos().map(\.weightDecay), "step \(t)")
            for model in [scheduled, manual] { try model.optimizer.step() }
            XCTAssertEqual(try scheduled.digest(), try manual.digest(), "step \(t)")
        }
        try scheduled.optimizer.setSchedule(nil, for: "weight_decay", layer: 1)
        XCTAssertEqual(
            try scheduled.infos().map(\.weightDecay),
            [10, 10, 10, 6].map { optimizers.value(at: $0, base: 1) }
                .enumerated().map { $1 * ($0 == 2 ? 0.7 : 0.3) })
    }

    /// A schedule may be set before or after the layers, and a value under it changed in between.
    func testValuesUnderAScheduleCanBeSet() throws {
        let schedule = try StepDecay(every: 1, gamma: 0.5)
        let scheduled = try Model(AdamW(lr: 0.1), shapes: [[[40]]])
        let manual = try Model(AdamW(lr: 0.1), shapes: [[[40]]])
        try scheduled.optimizer.setSchedule(schedule, for: "weight_decay")
        for t: Int64 in 0..<6 {
            let base = 0.1 * Double(t + 1)
            try scheduled.optimizer.set([Setting("weight_decay", base)])
            try manual.optimizer.set([Setting("weight_decay", schedule.value(at: t, base: base))])
            for model in [scheduled, manual] { try model.optimizer.step() }
            XCTAssertEqual(try scheduled.digest(), try manual.digest(), "step \(t)")
        }
    }

    /// A rate that is set between the steps, which changes no rule otherwise, is that of every rule that is moved.
    func testRatesAreSetBesideASchedule() throws {
        let schedule = try StepDecay(every: 1, gamma: 0.5)
        let scheduled = try Model(AdamW(lr: 0.1, weightDecay: 0.3), sizes: [40, 50, 60])
        let manual = try Model(AdamW(lr: 0.1, weightDecay: 0.3), sizes: [40, 50, 60])
        try scheduled.optimizer.setSchedule(schedule, for: "weight_decay")
        try scheduled.optimizer.setLayer(1, settings(["start": 2]))
        for model in [scheduled, manual] { try model.optimizer.setLayer(2, settings(["lr": 0.7])) }
        for t: Int64 in 0..<6 {
            for model in [scheduled, manual] { try model.optimizer.setLearningRate(0.1 * Double(t + 1)) }
            try manual.optimizer.set([Setting("weight_decay", schedule.value(at: t, base: 0.3))])
            try manual.optimizer.setLayer(1, [Setting("weight_decay", schedule.value(at: max(0, t - 2), base: 0.3))])
            for model in [scheduled, manual] { try model.optimizer.step() }
            XCTAssertEqual(try scheduled.digest(), try manual.digest(), "step \(t)")
            XCTAssertEqual(try scheduled.infos().map(\.baseRate), try manual.infos().map(\.baseRate))
        }
    }

    /// Single layers and given gradients take the hyperparameters of their t.
    func testSingleLayers() throws {
        let schedule = try StepDecay(every: 1, gamma: 0.5)
        let whole = try Model(AdamW(lr: 0.1, weightDecay: 0.5), sizes: [40, 50])
        let single = try Model(AdamW(lr: 0.1, weightDecay: 0.5), sizes: [40, 50])
        for model in [whole, single] { try model.optimizer.setSchedule(schedule, for: "weight_decay") }
        for _ in 0..<4 {
            try whole.optimizer.step()
            for layer in [1, 0] { try single.optimizer.step(StepOptions(layer: layer)) }
            XCTAssertEqual(try single.digest(), try whole.digest())
        }
    }

    // MARK: - Refusals

    func testLeavingTheRangeRefusesTheStep() throws {
        let leaving: [(any DeclaredRule, String, [Double], String)] = [
            (LARS(lr: 0.1), "momentum", [1, 2], "momentum must be in [0, 1), found 1.8"),
            (Adam(lr: 0.1), "beta1", [0.5, 1 / 0.9], "beta1 must be in [0, 1), found 1.0"),
            (
                AdamW(lr: 0.1, weightDecay: 1e300), "weight_decay", [1, 1e300],
                "weight_decay must be in [0, inf), found inf"
            ),
            (LARS(lr: 0.1), "trust_coefficient", [1, 0], "trust_coefficient must be in (0, inf), found 0.0"),
            (
                SGD(lr: 0.1, momentum: 0.5, nesterov: true), "momentum", [1, 0],
                "nesterov needs momentum > 0 and dampening 0, found momentum 0.0 and dampening 0.0"
            ),
        ]
        for (rule, key, factors, message) in leaving {
            let model = try Model(rule, sizes: [40, 50])
            try model.optimizer.setSchedule(try FactorTable(factors), for: key)
            try model.optimizer.step()
            let before = try model.digest()
            // Values that exclude each other are those of several schedules.
            let text =
                (rule is SGD && factors[1] == 0 ? "the schedules" : "the schedule of \(key)") + " at step 1: \(message)"
            assertRefused(.outOfRange, message: text) { try model.optimizer.step() }
            assertRefused(.outOfRange, message: text) { try model.optimizer.step(StepOptions(layer: 1)) }
            assertRefused(.outOfRange, message: text) { _ = try model.optimizer.info(0) }
            XCTAssertEqual(try model.digest(), before)
            XCTAssertEqual(model.optimizer.summary.nextStep, 1)
            XCTAssertEqual(model.optimizer.summary.steps, 1)
            try model.optimizer.setSchedule(nil, for: key)
            try model.optimizer.step()
        }
    }

    /// A velocity is kept for the momentum that is set, so 0 must not be where it starts.
    func testMomentumFromZeroIsRefused() throws {
        for rule in [SGD(lr: 0.1), LARS(lr: 0.1, momentum: 0)] as [any DeclaredRule] {
            let model = try Model(rule, sizes: [40])
            try model.optimizer.setSchedule(try OneCycleMomentum(totalSteps: 9), for: "momentum")
            let before = try model.digest()
            assertRefused(
                .outOfRange,
                message:
                    "the schedule of momentum at step 0: momentum must not be 0 to begin with, since a tensor's state "
                    + "is made for the value that is set"
            ) { try model.optimizer.step() }
            XCTAssertEqual(try model.digest(), before)
            try model.optimizer.set(settings(["momentum": 0.5]))
            try model.optimizer.step()
        }
    }

    /// Momentum that passes through 0 keeps its velocity.
    func testMomentumThroughZero() throws {
        let model = try Model(SGD(lr: 1, momentum: 0.5), Kind(.float64), sizes: [1])
        try model.optimizer.setSchedule(try FactorTable([1, 0, 1]), for: "momentum")
        model.parameters[0][0][0] = 0
        model.gradients[0][0][0] = 1
        for wanted in [-1.0, -2, -3.5] {
            try model.optimizer.step()
            XCTAssertEqual(model.parameters[0][0][0], wanted)
        }
    }

    /// Values that must fit each other are looked at together, not one after the other.
    func testValuesThatMoveTogether() throws {
        let model = try Model(try RuleCase("lamb", ["ratio_min": 1, "ratio_max": 2]).rule, sizes: [40])
        for key in ["ratio_min", "ratio_max"] {
            try model.optimizer.setSchedule(try FactorTable([0.25, 4]), for: key)
        }
        XCTAssertNoThrow(try model.optimizer.step(), "0.25 to 0.5")
        XCTAssertNoThrow(try model.optimizer.step(), "4 to 8")
    }
}
