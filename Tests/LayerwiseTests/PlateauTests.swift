// SPDX-License-Identifier: Apache-2.0
import Layerwise
import XCTest

/// Rates that fall when a metric has stopped improving, against torch's ReduceLROnPlateau.
final class PlateauTests: XCTestCase {
    /// `torch.optim.lr_scheduler.ReduceLROnPlateau` with eps = 0, statement by statement.
    private struct Torch {
        var lr: Double
        let minLR: Double
        let settings: ReduceOnPlateau
        var best: Double
        var numBadEpochs = 0
        var cooldownCounter = 0

        init(lr: Double, _ settings: ReduceOnPlateau) {
            self.lr = lr
            minLR = lr * settings.minFactor
            self.settings = settings
            best = settings.mode == .min ? .infinity : -.infinity
        }

        mutating func step(_ current: Double) {
            if isBetter(current, best) {
                best = current
                numBadEpochs = 0
            } else {
                numBadEpochs += 1
            }
            if cooldownCounter > 0 {
                cooldownCounter -= 1
                numBadEpochs = 0
            }
            if numBadEpochs > settings.patience {
                let oldLR = lr
                let newLR = max(oldLR * settings.factor, minLR)
                if oldLR - newLR > 0 { lr = newLR }
                cooldownCounter = settings.cooldown
                numBadEpochs = 0
            }
        }

        private func isBetter(_ a: Double, _ best: Double) -> Bool {
            if settings.mode == .min && settings.thresholdMode == .signed {
                let relEpsilon = 1.0 - settings.threshold
                return a < best * relEpsilon
            } else if settings.mode == .min && settings.thresholdMode == .absolute {
                return a < best - settings.threshold
            } else if settings.mode == .max && settings.thresholdMode == .signed {
                let relEpsilon = settings.threshold + 1.0
                return a > best * relEpsilon
            } else {
                return a > best + settings.threshold
            }
        }
    }

    private func randomSettings(_ random: inout Random) throws -> ReduceOnPlateau {
        try ReduceOnPlateau(
            mode: Bool.random(using: &random) ? .min : .max,
            factor: [0.1, 0.5, 0.9].randomElement(using: &random) ?? 0.1,
            patience: Int.random(in: 0...4, using: &random),
            threshold: [0, 1e-4, 0.1, 2].randomElement(using: &random) ?? 0,
            thresholdMode: [.signed, .absolute].randomElement(using: &random) ?? .signed,
            cooldown: Int.random(in: 0...3, using: &random),
            minFactor: [0, 0.01, 0.3].randomElement(using: &random) ?? 0)
    }

    private func randomMetric(_ random: inout Random) -> Double {
        switch Int.random(in: 0..<12, using: &random) {
        case 0: .nan
        case 1: .infinity
        case 2: -.infinity
        case 3: 0
        default: random.uniform()
        }
    }

    func testIsTorchs() throws {
        var random = Random(seed: 60)
        for run in 0..<200 {
            let schedule = try randomSettings(&random)
            let optimizer = try Optimizer(SGD(lr: 0.3), schedule: schedule)
            let (weight, gradient) = (Buffer(.float64, [0]), Buffer(.float64, [1]))
            try optimizer.addLayer(
                "0",
                [
                    TensorDescription(
                        "w", parameters: weight.start, gradients: gradient.start, shape: [1], dtype: .float64)
                ])
            var torch = Torch(lr: 0.3, schedule)
            for step in 0..<60 {
                let metric = randomMetric(&random)
                torch.step(metric)
                try optimizer.report(metric)
                weight[0] = 0
                try optimizer.step()
                XCTAssertEqual(
                    -weight[0], torch.lr, accuracy: 1e-13 * torch.lr, "run \(run), step \(step): \(schedule.spec)")
                let state = try optimizer.scheduleState()
                XCTAssertEqual(
                    Array(state[1...]), [torch.best, Double(torch.numBadEpochs), Double(torch.cooldownCounter)],
                    "run \(run), step \(step)")
            }
        }
    }

    /// With metrics that are not negative, the share of the magnitude is that of torch's share, to the bit.
    func testRelativeIsTorchsForPositiveMetrics() throws {
        var random = Random(seed: 62)
        for run in 0..<200 {
            var signed = try randomSettings(&random)
            signed.thresholdMode = .signed
            var relative = signed
            relative.thresholdMode = .relative
            for _ in 0..<60 {
                let metric = randomMetric(&random)
                let positive = metric == -.infinity ? 0 : abs(metric)
                signed.report(positive)
                relative.report(positive)
                XCTAssertEqual(relative.state, signed.state, "run \(run)")
            }
        }
    }

    /// A metric below zero counts as its mirror image does with the other mode.
    func testRelativeOfNegativeMetrics() throws {
        var random = Random(seed: 63)
        for run in 0..<200 {
            var schedule = try randomSettings(&random)
            schedule.thresholdMode = .relative
            var mirrored = schedule
            mirrored.mode = schedule.mode == .min ? .max : .min
            // Of threshold 1 and more, torch takes no first loss for a better one than infinity.
            if schedule.threshold >= 1 { continue }
            for _ in 0..<60 {
                let metric = randomMetric(&random)
                schedule.report(metric)
                mirrored.report(-metric)
                XCTAssertEqual(mirrored.state[0], schedule.state[0], "run \(run)")
                XCTAssertEqual(mirrored.state[1], -schedule.state[1], "run \(run)")
                XCTAssertEqual(mirrored.state[2...], schedule.state[2...], "run \(run)")
            }
        }
    }

    /// Eight times −1: a plateau, except as torch has it.
    func testFlatNegativeMetric() throws {
        for (mode, factor) in [
            (ReduceOnPlateau.ThresholdMode.relative, 0.01), (.absolute, 0.01), (.signed, 1),
        ] {
            var schedule: any DeclaredSchedule = try ReduceOnPlateau(factor: 0.1, patience: 2, thresholdMode: mode)
            for _ in 0..<8 { schedule.report(-1) }
            XCTAssertEqual(schedule.value(at: 0), factor, accuracy: 1e-15, "\(mode)")
        }
    }

    func testByHand() throws {
        var schedule: any DeclaredSchedule = try ReduceOnPlateau(factor: 0.5, patience: 1, threshold: 0)
        var values: [Double] = []
        for metric in [3, 2, 2, 2, 1, 1, .nan, 0.5, 1, 1] {
            schedule.report(metric)
            values.append(schedule.value(at: 0))
        }
        XCTAssertEqual(values, [1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.125])
        XCTAssertEqual(schedule.value(at: 1 << 53), 0.125, "not a function of the step")
    }

    /// Reports between two steps take effect at the next; without reports the rate stays.
    func testReportsActAtTheNextStep() throws {
        let model = try Model(SGD(lr: 1), Kind(.float64), sizes: [1])
        try model.optimizer.setSchedule(try ReduceOnPlateau(factor: 0.5, patience: 0))
        model.gradients[0][0][0] = 1
        func step() throws -> Double {
            model.parameters[0][0][0] = 0
            try model.optimizer.step()
            return -model.parameters[0][0][0]
        }
        XCTAssertEqual(try (0..<3).map { _ in try step() }, [1, 1, 1])
        for metric in [5.0, 5, 5] { try model.optimizer.report(metric) }
        XCTAssertEqual(try step(), 0.25)
        try model.optimizer.seek(0)
        XCTAssertEqual(try step(), 0.25, "a seek takes no report back")
        try model.optimizer.setSchedule(try ReduceOnPlateau(factor: 0.5, patience: 0))
        XCTAssertEqual(try step(), 1, "a new schedule starts anew")
    }

    /// Every schedule that takes a metric receives it: the optimizer's, a layer's, one for another key, one within others.
    func testEveryTakerIsTold() throws {
        let model = try Model(AdamW(lr: 1, weightDecay: 1), sizes: [1, 1])
        let plateau = try ReduceOnPlateau(factor: 0.5, patience: 0)
        try model.optimizer.setSchedule(try Warmup(steps: 1, try Product([plateau, try Constant(factor: 0.5)])))
        try model.optimizer.setSchedule(try Sequential([plateau, plateau], milestones: [5]), layer: 1)
        try model.optimizer.setSchedule(plateau, for: "weight_decay")
        for _ in 0..<3 { try model.optimizer.report(1) }
        XCTAssertEqual(try (0..<2).map { try model.optimizer.info($0, at: 3).effectiveRate }, [0.125, 0.25])
        XCTAssertEqual(try model.optimizer.info(1, at: 7).effectiveRate, 0.25)
        XCTAssertEqual(try model.infos().map(\.weightDecay), [0.25, 0.25])
        XCTAssertEqual(try model.optimizer.scheduleState(), [0.25, 1, 0, 0])
        XCTAssertEqual(try model.optimizer.scheduleState(layer: 1), [0.25, 1, 0, 0, 0.25, 1, 0, 0])
        XCTAssertEqual(try model.optimizer.scheduleState(for: "weight_decay"), [0.25, 1, 0, 0])
    }

    func testRefusedWithoutATaker() throws {
        func assertNotFound(_ optimizer: Optimizer, line: UInt = #line) {
            assertRefused(
                .notFound, message: "no schedule takes a metric, as reduce_on_plateau does", line: line
            ) { try optimizer.report(1) }
        }
        let model = try Model(SGD(lr: 1), sizes: [1])
        assertNotFound(model.optimizer)
        try model.optimizer.setSchedule(try Warmup(steps: 3, try Product([Constant(), Constant()])))
        assertNotFound(model.optimizer)
        try model.optimizer.setSchedule(ReduceOnPlateau(), layer: 0)
        try model.optimizer.report(1)
        try model.optimizer.setSchedule(nil, layer: 0)
        assertNotFound(model.optimizer)
    }

    // MARK: - State

    /// Saved in the middle of a run and put into a new schedule, it goes on as before.
    func testStateRoundTrip() throws {
        var random = Random(seed: 61)
        for run in 0..<100 {
            let plateau = try randomSettings(&random)
            let schedules: [any DeclaredSchedule] = [
                plateau, try Warmup(steps: 3, plateau), try Product([plateau, try Exponential(gamma: 0.9), plateau]),
                try Sequential([try Linear(totalSteps: 4), try Product([plateau, plateau])], milestones: [4]),
            ]
            for schedule in schedules {
                let whole = try Optimizer(SGD(lr: 1), schedule: schedule)
                let resumed = try Optimizer(SGD(lr: 1), schedule: schedule)
                let fresh = try resumed.scheduleState()
                XCTAssertEqual(fresh.count, schedule.state.count)
                for _ in 0..<Int.random(in: 0...20, using: &random) { try whole.report(randomMetric(&random)) }
                try resumed.setScheduleState(try whole.scheduleState())
                for _ in 0..<20 {
                    XCTAssertEqual(
                        try resumed.scheduleState(), try whole.scheduleState(), "run \(run): \(schedule.spec)")
                    let metric = randomMetric(&random)
                    for optimizer in [whole, resumed] { try optimizer.report(metric) }
                }
                try resumed.setScheduleState(fresh)
                XCTAssertEqual(try resumed.scheduleState(), fresh)
            }
        }
    }

    func testStatesThatAreRefused() throws {
        let model = try Model(AdamW(lr: 1), sizes: [1, 1])
        try model.optimizer.setSchedule(ReduceOnPlateau())
        try model.optimizer.setSchedule(Constant(), for: "weight_decay")
        try model.optimizer.report(3)
        let before = try model.fullDigest()
        for state: [Double] in [[], [1, 3, 0], [1, 3, 0, 0, 0]] {
            assertRefused(.shape, message: "the schedule of lr has 4 numbers of state, found \(state.count)") {
                try model.optimizer.setScheduleState(state)
            }
        }
        assertRefused(.shape, message: "the schedule of weight_decay has 0 numbers of state, found 1") {
            try model.optimizer.setScheduleState([1], for: "weight_decay")
        }
        for key in ["beta1", "nonsense"] {
            assertRefused(.notFound, message: "\(key) has no schedule") {
                _ = try model.optimizer.scheduleState(for: key)
            }
        }
        assertRefused(.notFound, message: "lr has no schedule in layer \"1\"") {
            try model.optimizer.setScheduleState([1, 3, 0, 0], layer: 1)
        }
        assertRefused(.notFound) { _ = try model.optimizer.scheduleState(layer: 2) }
        XCTAssertEqual(try model.fullDigest(), before)
        XCTAssertEqual(try model.optimizer.scheduleState(for: "weight_decay"), [])
    }

    /// Numbers that no reports can leave behind are refused: what is not taken must not seem to be.
    func testImpossibleStatesAreRefused() throws {
        let model = try Model(SGD(lr: 1), sizes: [1])
        try model.optimizer.setSchedule(ReduceOnPlateau())
        let before = try model.fullDigest()
        for state in [
            [.nan, 3, 0, 0], [2, 3, 0, 0], [-0.5, 3, 0, 0], [0.5, .nan, 0, 0], [0.5, 3, -1, 0], [0.5, 3, 0.5, 0],
            [0.5, 3, 0, .infinity], [0.5, 3, 0, 1e300],
        ] {
            assertRefused(.outOfRange, "\(state)") { try model.optimizer.setScheduleState(state) }
            XCTAssertEqual(try model.fullDigest(), before, "\(state)")
        }
    }
}
