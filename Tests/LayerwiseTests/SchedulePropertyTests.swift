// SPDX-License-Identifier: Apache-2.0
import Layerwise
import XCTest

/// What holds for every schedule with any valid settings at any step, and which settings are not valid.
final class SchedulePropertyTests: XCTestCase {
    private static let rounds = 120

    /// Each kind of schedule with many random settings, and some steps.
    private func forEach(_ body: (any DeclaredSchedule, [Int64]) throws -> Void) rethrows {
        var recipes = RandomRecipes(seed: 20)
        for kind in allSchedules {
            for _ in 0..<Self.rounds {
                let schedule = recipes.schedule(kind)
                try body(schedule, recipes.steps())
            }
        }
    }

    func testFactorsAreFiniteAndNotNegative() {
        forEach { schedule, steps in
            for base in [1, 0, 1e-3, 1e-300, 1e9] {
                for step in steps {
                    let factor = schedule.factor(at: step, base: base)
                    for number in [factor.gain, factor.scaled, factor.absolute, schedule.value(at: step, base: base)]
                    where !(number >= 0 && number.isFinite) {
                        XCTFail("\(schedule.spec) at \(step) of base \(base): \(factor)")
                        return
                    }
                }
            }
        }
    }

    /// A schedule in words says everything of it, also of one whose settings were left at their defaults.
    func testWordsSayEverything() throws {
        try forEach { schedule, steps in
            let again = try Layerwise.schedule(schedule.spec)
            XCTAssertEqual(again.spec, schedule.spec)
            XCTAssertEqual(again.state, schedule.state)
            for step in steps where again.factor(at: step, base: 0.3) != schedule.factor(at: step, base: 0.3) {
                XCTFail("\(schedule.spec) at \(step)")
            }
        }
    }

    /// A floor is what the schedule says in the end, where it says that it has one.
    func testFloorsAreReached() throws {
        forEach { schedule, _ in
            for base in [1, 0.01] {
                guard let floor = schedule.floor(base: base), !schedule.takesMetric else { continue }
                XCTAssertTrue(floor.gain >= 0 && floor.scaled >= 0 && floor.absolute >= 0, "\(schedule.spec): \(floor)")
                XCTAssertTrue(floor.gain.isFinite && floor.scaled.isFinite, "\(schedule.spec): \(floor)")
            }
        }
        let ends: [any DeclaredSchedule] = [
            try Linear(totalSteps: 9, minRate: 0.25), try Cosine(totalSteps: 9, minRate: 0.25, floor: .absolute),
            try Polynomial(totalSteps: 9, power: 3, minRate: 0.25, floor: .relative),
            try Tanh(totalSteps: 9, minFactor: 0.25), try FlatCosine(totalSteps: 9, minFactor: 0.25),
            try WarmupStableDecay(totalSteps: 9, decaySteps: 3, minRate: 0.25),
            try CosineRestarts(cycleSteps: 3, cycleLimit: 3, minRate: 0.25),
        ]
        for schedule in ends {
            for step: Int64 in [9, 10, 1 << 53] {
                XCTAssertEqual(schedule.factor(at: step, base: 2), schedule.floor(base: 2), "\(schedule.spec)")
            }
        }
    }

    // MARK: - Refusals

    func testInvalidSettingsAreRefusedWithWhatIsValid() {
        func check<S: DeclaredSchedule>(_: S.Type, _ good: Spec) {
            for parameter in S.parameters {
                for (setting, message) in RandomRecipes.invalid(parameter) {
                    var spec = good
                    spec.settings.removeAll { $0.key == setting.key }
                    spec.settings.append(setting)
                    XCTAssertThrowsError(try schedule(spec), "\(spec)") {
                        XCTAssertTrue("\($0)".contains("\(spec.name): \(setting.key) \(message)"), "\($0)")
                    }
                }
            }
            var spec = good
            spec.settings.append(Setting("nonsense", 1))
            let known = S.keys.joined(separator: ", ")
            assertRefused(.unknown("\(good.name): unknown setting \"nonsense\", expected one of \(known)")) {
                _ = try schedule(spec)
            }
            spec = good
            spec.settings = [Setting("twice", 1), Setting("twice", 1)]
            assertRefused(.duplicate("\(good.name): twice is given twice")) { _ = try schedule(spec) }
        }
        var recipes = RandomRecipes(seed: 21)
        for kind in allSchedules { for _ in 0..<5 { check(kind, recipes.schedule(kind).spec) } }
    }

    func testListsAndPartsWhereNoneBelong() {
        var recipes = RandomRecipes(seed: 22)
        for kind in allSchedules {
            let name = kind.declaration.name
            if kind.declaration.values == nil {
                var spec = recipes.schedule(kind).spec
                spec.values = [1, 2]
                assertRefused(.invalid("\(name): takes no list of numbers, found 2")) { _ = try schedule(spec) }
            } else {
                var spec = recipes.schedule(kind).spec
                for bad in [Double.nan, .infinity, -.infinity] {
                    spec.values[0] = bad
                    assertRefused(.invalid("\(name): number 0 of the list must be finite, found \(bad)")) {
                        _ = try schedule(spec)
                    }
                }
            }
            if kind.declaration.parts == nil {
                var spec = recipes.schedule(kind).spec
                spec.parts = [Spec("constant")]
                assertRefused(.invalid("\(name): has no parts, found 1")) { _ = try schedule(spec) }
            } else {
                var spec = recipes.schedule(kind).spec
                spec.parts = [Spec("nonsense")]
                XCTAssertThrowsError(try schedule(spec)) {
                    XCTAssertTrue("\($0)".contains("\(name): part 0: no schedule is called"), "\($0)")
                }
            }
        }
    }

    func testListsThatAreRefused() {
        func assert(_ message: String, _ name: String, _ values: [Double], line: UInt = #line) {
            assertRefused(.invalid("\(name): \(message)"), line: line) { _ = try schedule(Spec(name, values: values)) }
        }
        let whole = "must be whole numbers from 0 to 9007199254740992, found"
        assert("milestones must be given, at least one", "multi_step", [])
        assert("milestones must rise, found 3 after 3", "multi_step", [1, 3, 3])
        assert("milestones must rise, found 2 after 3", "multi_step", [3, 2])
        assert("milestones \(whole) 0.5", "multi_step", [0.5])
        assert("milestones \(whole) -1.0", "multi_step", [-1])
        assert("milestones \(whole) 1e+300", "multi_step", [1e300])
        assert("expected pairs of a step and its factor, found 0 numbers", "piecewise", [])
        assert("expected pairs of a step and its factor, found 3 numbers", "piecewise", [1, 0.5, 2])
        assert("steps of points must rise, found 1 after 1", "piecewise", [1, 0.5, 1, 0.25])
        assert("steps of points \(whole) 0.5", "piecewise", [0.5, 1])
        assert("factors must not be negative, found -0.5 at 1", "piecewise", [1, 0.5, 2, -0.5])
        assert("factors must be given, at least one", "factor_table", [])
        assert("factors must not be negative, found -0.5 at 1", "factor_table", [1, -0.5])
    }

    /// Settings without a default must be given.
    func testRequiredSettings() {
        for name in [
            "linear", "cosine", "polynomial", "tanh", "flat_cosine", "warmup_stable_decay", "one_cycle",
            "one_cycle_momentum",
            "slanted_triangular",
        ] {
            assertRefused(
                .invalid("\(name): total_steps must be given, a whole number from 1 to 9007199254740992")
            ) { _ = try schedule(Spec(name)) }
        }
        for (name, key) in [("cosine_restarts", "cycle_steps"), ("exponential", "gamma"), ("inverse_time", "rate")] {
            XCTAssertThrowsError(try schedule(Spec(name))) {
                XCTAssertTrue("\($0)".contains("\(name): \(key) must be given, in "), "\($0)")
            }
        }
        for (name, key) in [("step_decay", "every"), ("noam", "model_size"), ("warmup", "steps")] {
            assertRefused(.invalid("\(name): \(key) must be given, a whole number from 1 to 9007199254740992")) {
                _ = try schedule(Spec(name))
            }
        }
    }

    func testValuesThatExcludeEachOther() {
        func assert(_ message: String, _ name: String, _ options: Options, parts: [Spec] = [], line: UInt = #line) {
            assertRefused(.invalid("\(name): \(message)"), line: line) {
                _ = try schedule(Spec(name, settings(options), parts: parts))
            }
        }
        assert(
            "warmup_steps must not exceed total_steps, found 11 and 10", "linear",
            ["total_steps": 10, "warmup_steps": 11])
        assert(
            "the floor is min_lr or min_factor, not both, found 0.1 and 0.2", "cosine",
            ["total_steps": 10, "min_lr": 0.1, "min_factor": 0.2])
        assert(
            "floor says what min_lr is for a layer, and has no effect on min_factor", "cosine",
            ["total_steps": 10, "floor": "absolute", "min_factor": 0.2])
        assert(
            "warmup_steps + decay_steps must not exceed total_steps, found 6 + 5 and 10", "warmup_stable_decay",
            ["total_steps": 10, "warmup_steps": 6, "decay_steps": 5])
        assert(
            "cycles must be 0.5 unless decay is cosine, found 1.0", "warmup_stable_decay",
            ["total_steps": 10, "decay_steps": 5, "cycles": 1])
        assert("lower must be less than upper, found 1.0 and 1.0", "tanh", ["total_steps": 10, "lower": 1, "upper": 1])
        assert(
            "pct_start must be in [0, 0.5] with three_phase, found 0.75", "one_cycle",
            ["total_steps": 10, "pct_start": 0.75, "three_phase": 1])
        assert("gamma must be 1 unless mode is exp_range, found 0.5", "cyclic", ["gamma": 0.5])
        assert("factor must be in (0, 1), found 1", "reduce_on_plateau", ["factor": 1])
        assert("start must be in (0, 1] if shape is exponential", "warmup", ["steps": 5, "shape": "exponential"])
        assert("steps must be at least 2 if shape is log", "warmup", ["steps": 1, "shape": "log"])
        assert(
            "count_from must be 0 if shape is constant, found 1", "warmup",
            ["steps": 5, "shape": "constant", "count_from": 1])
        assert("overlap must be 0 without a schedule that follows", "warmup", ["steps": 5, "overlap": 1])
        let one = Spec("constant")
        assert("expected at most one schedule, found 2", "warmup", ["steps": 5], parts: [one, one])
        assert("expected at least two schedules, found 1", "product", [:], parts: [one])
        assert("expected at least two schedules, found 0", "sequential", [:])
        assert("expected 1 milestones for 2 schedules, found 0", "sequential", [:], parts: [one, one])
    }

    func testUnknownScheduleIsRefused() {
        let names = allSchedules.map { $0.declaration.name }.joined(separator: ", ")
        assertRefused(.unknown("no schedule is called \"cosin\" (did you mean \"cosine\"?), expected one of \(names)"))
        {
            _ = try schedule(Spec("cosin"))
        }
    }
}
