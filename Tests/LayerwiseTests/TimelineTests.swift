// SPDX-License-Identifier: Apache-2.0
import Layerwise
import XCTest

/// The rate that a step uses is the one that schedule, base rate and scale say.
final class TimelineTests: XCTestCase {
    /// SGD in float64 whose gradients are 1: what a step takes off a weight of 0 is the rate, exactly.
    private func ramp(layers: Int, lr: Double = 0.3, policy: any DeclaredPolicy = Uniform()) throws -> Model {
        let model = try Model(
            SGD(lr: lr), Kind(.float64), shapes: Array(repeating: [[3]], count: layers), policy: policy)
        for buffer in model.gradients.joined() { buffer.values = [1, 1, 1] }
        try model.optimizer.set(settings(["telemetry": 1]))
        return model
    }

    /// One step from weights of 0; the rates that it used, which telemetry says too.
    private func step(_ model: Model, layer: Int? = nil) throws -> [Double] {
        for buffer in model.parameters.joined() { buffer.values = [0, 0, 0] }
        try model.optimizer.step(StepOptions(layer: layer))
        return try model.parameters.enumerated().map { index, tensors in
            let rate = -tensors[0][0]
            if layer == nil || layer == index {
                XCTAssertEqual(try model.optimizer.telemetry(index).effectiveRate, rate)
            }
            return rate
        }
    }

    // MARK: - Rates

    func testRateIsFactorTimesBaseTimesScale() throws {
        let scales = [1, 0.5, 0.125]
        var recipes = RandomRecipes(seed: 30)
        for kind in allSchedules {
            let schedule = recipes.schedule(kind)
            let model = try ramp(layers: 3, policy: try Explicit(["0": 1, "1": 0.5, "2": 0.125]))
            try model.optimizer.setSchedule(schedule)
            for t: Int64 in 0..<40 {
                let factor = schedule.factor(at: t, base: 0.3)
                let wanted = scales.map { 0.3 * $0 * factor.gain + factor.scaled * $0 + factor.absolute }
                XCTAssertEqual(try model.infos().map(\.effectiveRate), wanted, "\(schedule.spec), \(t)")
                XCTAssertEqual(try step(model), wanted, "\(schedule.spec), \(t)")
            }
        }
    }

    func testScheduleOfTheInitializer() throws {
        let model = try ramp(layers: 2)
        let other = try Optimizer(SGD(lr: 0.3), schedule: try Linear(totalSteps: 3))
        let tensor = Buffer(.float64, [0])
        let gradient = Buffer(.float64, [1])
        try other.addLayer(
            "0",
            [TensorDescription("0", parameters: tensor.start, gradients: gradient.start, shape: [1], dtype: .float64)])
        try model.optimizer.setSchedule(try Linear(totalSteps: 3))
        for _ in 0..<5 {
            tensor[0] = 0
            try other.step()
            XCTAssertEqual(try step(model), [-tensor[0], -tensor[0]])
        }
        XCTAssertEqual(try other.scheduleInWords(), try model.optimizer.scheduleInWords())
    }

    /// A schedule that is changed between steps goes on at the t of the next step; taken away, the rate is the base.
    func testScheduleIsChangedBetweenSteps() throws {
        let model = try ramp(layers: 1, lr: 0.5)
        try model.optimizer.setSchedule(try Linear(totalSteps: 8))
        XCTAssertEqual(try step(model), [0.5])
        XCTAssertEqual(try step(model), [0.5 * 7 / 8])
        try model.optimizer.setSchedule(try StepDecay(every: 2, gamma: 0.5))
        XCTAssertEqual(try step(model), [0.25], "t is 2")
        try model.optimizer.setSchedule(nil)
        XCTAssertEqual(try step(model), [0.5])
        try model.optimizer.setSchedule(try Linear(totalSteps: 8))
        XCTAssertEqual(try step(model), [0.25], "t is 4")
        try model.optimizer.setLearningRate(1)
        XCTAssertEqual(try step(model), [3.0 / 8])
    }

    func testLayersScheduleTakesPrecedence() throws {
        let model = try ramp(layers: 3, lr: 0.5)
        try model.optimizer.setSchedule(try Linear(totalSteps: 4))
        try model.optimizer.setSchedule(try StepDecay(every: 1, gamma: 0.5), layer: 1)
        try model.optimizer.setLayer(2, settings(["lr": 2]))
        XCTAssertEqual(try step(model), [0.5, 0.5, 2])
        XCTAssertEqual(try step(model), [0.375, 0.25, 1.5])
        XCTAssertEqual(try model.optimizer.scheduleInWords(layer: 1)?.name, "step_decay")
        XCTAssertNil(try model.optimizer.schedule(layer: 0))
        try model.optimizer.setSchedule(nil, layer: 1)
        XCTAssertEqual(try step(model), [0.25, 0.25, 1])
        try model.optimizer.setSchedule(Constant(), layer: 1)
        XCTAssertEqual(try step(model), [0.125, 0.5, 0.5])
        try model.optimizer.setSchedule(nil)
        XCTAssertEqual(try step(model), [0.5, 0.5, 2])
    }

    /// A layer's schedules stand at their first step until its start, and then count from there.
    func testStart() throws {
        let model = try ramp(layers: 3, lr: 1)
        try model.optimizer.setSchedule(try Warmup(steps: 4, start: 0.25))
        try model.optimizer.setLayer(1, settings(["start": 3]))
        try model.optimizer.setLayer(2, settings(["start": 2]))
        try model.optimizer.setSchedule(try Linear(totalSteps: 4), layer: 2)
        let wanted: [[Double]] = [
            [0.25, 0.25, 1], [0.4375, 0.25, 1], [0.625, 0.25, 1], [0.8125, 0.25, 0.75], [1, 0.4375, 0.5],
            [1, 0.625, 0.25], [1, 0.8125, 0], [1, 1, 0],
        ]
        for rates in wanted { XCTAssertEqual(try step(model), rates) }
        try model.optimizer.unsetLayer(1, key: "start")
        try model.optimizer.seek(1)
        XCTAssertEqual(try step(model), [0.4375, 0.4375, 1])
    }

    func testStartOfALayerThatIsAddedLater() throws {
        let model = try ramp(layers: 1, lr: 1)
        try model.optimizer.setSchedule(try Linear(totalSteps: 8))
        for _ in 0..<3 { _ = try step(model) }
        let (late, gradient) = (Buffer(.float64, [0]), Buffer(.float64, [1]))
        try model.optimizer.addLayer(
            "late",
            [TensorDescription("w", parameters: late.start, gradients: gradient.start, shape: [1], dtype: .float64)],
            settings: settings(["start": 3]))
        XCTAssertEqual(try step(model), [5 / 8.0])
        XCTAssertEqual(late[0], -1)
        XCTAssertEqual(try step(model), [4 / 8.0])
        XCTAssertEqual(late[0], -1 - 7 / 8.0)
    }

    /// A rate that no number can hold refuses the step.
    func testRateThatOverflows() throws {
        let model = try ramp(layers: 2, lr: 1e10)
        try model.optimizer.setSchedule(try FactorTable([1, 1e300]), layer: 1)
        _ = try step(model)
        let before = try model.digest()
        assertRefused(.outOfRange, layer: 1) { try model.optimizer.step() }
        assertRefused(.outOfRange, layer: 1) { try model.optimizer.step(StepOptions(layer: 1)) }
        XCTAssertEqual(try model.digest(), before)
        XCTAssertEqual(model.optimizer.summary.nextStep, 1)
        try model.optimizer.setSchedule(nil, layer: 1)
        XCTAssertEqual(try step(model), [1e10, 1e10])
    }

    // MARK: - Refusals

    func testSchedulesAreSetForNumbersOfTheRule() throws {
        let keys = "lr, beta1, beta2, eps, weight_decay, ratio_min, ratio_max, weight_norm_max"
        func refused(_ key: String) -> RefusedCall {
            RefusedCall(.unknownName, "LAMB: no number is called \"\(key)\", expected one of \(keys)") {
                try $0.setSchedule(Constant(), for: key)
            }
        }
        try assertAllRefused([
            refused("momentum"), refused("decay"), refused("grad_averaging"), refused("clip_value"), refused("scale"),
            refused(""),
            RefusedCall(.notFound, "no layer has index 2, expected 0 to 1") {
                try $0.setSchedule(Constant(), layer: 2)
            },
            RefusedCall(.notFound, "no layer has index -1, expected 0 to 1") { try $0.setSchedule(nil, layer: -1) },
            RefusedCall(.notFound, "no layer has index 2, expected 0 to 1") { _ = try $0.schedule(layer: 2) },
            RefusedCall(.outOfRange, "the step must be from 0 to 9007199254740992, found -1") { try $0.seek(-1) },
            RefusedCall(
                .outOfRange, "the step must be from 0 to 9007199254740992, found 9223372036854775807",
                { try $0.seek(.max) }),
            RefusedCall(.outOfRange, "the step must be from 0 to 9007199254740992, found -1") {
                _ = try $0.info(0, at: -1)
            },
            RefusedCall(.outOfRange, "the step must be from 0 to 9007199254740992, found 9007199254740993") {
                _ = try $0.explain(at: (1 << 53) + 1)
            },
        ])
    }

    // MARK: - Clock

    private func clocked(layers: Int) throws -> Model {
        let model = try ramp(layers: layers, lr: 1)
        // At step t the rate is t + 1.
        try model.optimizer.setSchedule(try FactorTable((1...100).map(Double.init)))
        return model
    }

    func testFullStepsCount() throws {
        let model = try clocked(layers: 2)
        for t in 0..<5 {
            XCTAssertEqual(model.optimizer.summary.nextStep, Int64(t))
            XCTAssertEqual(try step(model), [Double(t + 1), Double(t + 1)])
        }
    }

    /// Layers that are stepped one by one share a t, in any order.
    func testRoundsOfSingleLayersCountOnce() throws {
        let model = try clocked(layers: 3)
        for (t, order) in [[0, 1, 2], [2, 1, 0], [1, 2, 0], [0, 2, 1]].enumerated() {
            for layer in order {
                XCTAssertEqual(try step(model, layer: layer)[layer], Double(t + 1), "layer \(layer) of round \(t)")
                XCTAssertEqual(model.optimizer.summary.nextStep, Int64(t + 1))
            }
        }
    }

    /// A layer that has had its step begins a new round; those that were left out join the round that is under way.
    func testALayerThatComesAgainBeginsANewRound() throws {
        let model = try clocked(layers: 3)
        XCTAssertEqual(try step(model, layer: 0)[0], 1)
        XCTAssertEqual(try step(model, layer: 0)[0], 2)
        XCTAssertEqual(try step(model, layer: 1)[1], 2)
        XCTAssertEqual(try step(model, layer: 0)[0], 3)
        XCTAssertEqual(try step(model, layer: 2)[2], 3)
        XCTAssertEqual(try step(model, layer: 2)[2], 4)
        XCTAssertEqual(try step(model), [5, 5, 5])
        XCTAssertEqual(try step(model, layer: 1)[1], 6)
        XCTAssertEqual(try step(model), [7, 7, 7], "a step of all layers is a round of its own")
    }

    func testSkippedAndRefusedStepsDoNotCount() throws {
        for nonfinite in ["skip", "raise"] {
            let model = try clocked(layers: 2)
            try model.optimizer.set([Setting("nonfinite", nonfinite)])
            _ = try step(model)
            model.gradients[1][0][1] = .nan
            for layer in [nil, 1] {
                for _ in 0..<3 { try? model.optimizer.step(StepOptions(layer: layer)) }
                XCTAssertEqual(model.optimizer.summary.nextStep, 1, nonfinite)
            }
            assertRefused(.outOfRange) { try model.optimizer.step(StepOptions(gradientScale: 0)) }
            model.gradients[1][0][1] = 1
            XCTAssertEqual(try step(model, layer: 1)[1], 2, nonfinite)
            XCTAssertEqual(try step(model, layer: 0)[0], 2, "\(nonfinite): the round of a refused step is not begun")
            XCTAssertEqual(try step(model), [3, 3], nonfinite)
        }
    }

    func testSeekBackAndForth() throws {
        let model = try clocked(layers: 2)
        for t: Int64 in [40, 3, 3, 0, 98, 1] {
            try model.optimizer.seek(t)
            XCTAssertEqual(model.optimizer.summary.nextStep, t)
            XCTAssertEqual(try step(model), [Double(t + 1), Double(t + 1)])
            XCTAssertEqual(model.optimizer.summary.nextStep, t + 1)
            XCTAssertEqual(try step(model, layer: 1)[1], Double(t + 2))
        }
        XCTAssertEqual(model.optimizer.summary.steps, 12, "steps taken are counted apart")
        try model.optimizer.seek(7)
        XCTAssertEqual(try step(model, layer: 1)[1], 8)
        XCTAssertEqual(try step(model, layer: 0)[0], 8)
        try model.optimizer.seek(1 << 53)
        XCTAssertEqual(try step(model), [100, 100])
        XCTAssertEqual(model.optimizer.summary.nextStep, 1 << 53 + 1)
        XCTAssertEqual(try step(model), [100, 100])
    }

    /// Looking at another step moves nothing.
    func testLookingAheadMovesNothing() throws {
        let model = try clocked(layers: 2)
        _ = try step(model)
        for t: Int64 in [0, 50, 1 << 53] {
            let info = try model.optimizer.info(1, at: t)
            XCTAssertEqual(info.effectiveRate, Double(min(t, 99) + 1))
            _ = try model.optimizer.explain(at: t)
        }
        XCTAssertEqual(model.optimizer.summary.nextStep, 1)
        XCTAssertEqual(try step(model), [2, 2])
    }
}
