// SPDX-License-Identifier: Apache-2.0
import Glibc
import Layerwise
import XCTest

/// Every schedule at some steps, by hand.
final class ScheduleTests: XCTestCase {
    /// The values of a rate of 1, or of `base`, at these steps.
    private func assertValues(
        _ schedule: any DeclaredSchedule, base: Double = 1, _ wanted: KeyValuePairs<Int64, Double>, line: UInt = #line
    ) {
        for (step, value) in wanted {
            XCTAssertEqual(
                schedule.value(at: step, base: base), value, accuracy: 4e-16 * max(1, value.magnitude),
                "\(type(of: schedule).declaration.name) at \(step)", line: line)
        }
    }

    func testConstant() throws {
        assertValues(Constant(), [0: 1, 1 << 53: 1])
        assertValues(try Constant(factor: 0.3), base: 0.5, [0: 0.15, 77: 0.15])
        assertValues(try Constant(factor: 0), [0: 0])
    }

    // MARK: - Down to a floor

    func testLinear() throws {
        assertValues(try Linear(totalSteps: 10), [0: 1, 5: 0.5, 9: 0.1, 10: 0, 11: 0, 1 << 53: 0])
        assertValues(try Linear(totalSteps: 10, warmupSteps: 4), [0: 0, 1: 0.25, 4: 1, 7: 0.5, 10: 0, 99: 0])
        assertValues(try Linear(totalSteps: 10, minFactor: 0.2), [0: 1, 5: 0.6, 10: 0.2, 99: 0.2])
        assertValues(try Linear(totalSteps: 4, warmupSteps: 4), [0: 0, 3: 0.75, 4: 0, 9: 0])
    }

    func testCosine() throws {
        assertValues(try Cosine(totalSteps: 100), [0: 1, 25: 0.5 + 0.125.squareRoot(), 50: 0.5, 100: 0, 150: 0])
        assertValues(try Cosine(totalSteps: 110, warmupSteps: 10), [5: 0.5, 10: 1, 60: 0.5, 110: 0])
        assertValues(try Cosine(totalSteps: 100, minRate: 0.1), [0: 1, 50: 0.55, 100: 0.1, 1000: 0.1])
        var schedule = try Cosine(totalSteps: 100)
        schedule.kDecay = 2
        assertValues(schedule, [50: 0.5 + 0.125.squareRoot(), 100: 0])
        schedule.kDecay = 1
        schedule.exponent = 2
        assertValues(schedule, [0: 1, 50: 0.25, 100: 0])
        schedule.exponent = 1
        schedule.cycles = 1.5
        assertValues(schedule, [0: 1, 50: 0.5])
        XCTAssertEqual(schedule.value(at: 33), 0, accuracy: 1e-3, "a first trough at a third")
        XCTAssertEqual(schedule.value(at: 67), 1, accuracy: 1e-3)
    }

    func testCosineRestarts() throws {
        assertValues(
            try CosineRestarts(cycleSteps: 10), [0: 1, 5: 0.5, 10: 1, 15: 0.5, 20: 1, 1_000_000: 1, 1_000_005: 0.5])
        assertValues(
            try CosineRestarts(cycleSteps: 10, cycleMult: 2),
            [0: 1, 5: 0.5, 10: 1, 20: 0.5, 30: 1, 50: 0.5, 70: 1, 110: 0.5, 150: 1])
        assertValues(
            try CosineRestarts(cycleSteps: 10, amplitude: 0.5, minFactor: 0.1),
            [0: 1, 5: 0.55, 10: 0.5, 15: 0.3, 20: 0.25, 30: 0.125])
        assertValues(
            try CosineRestarts(cycleSteps: 10, cycleMult: 2, cycleLimit: 2, minFactor: 0.1),
            [0: 1, 10: 1, 20: 0.55, 30: 0.1, 70: 0.1])
        assertValues(try CosineRestarts(cycleSteps: 10, warmupSteps: 4), [0: 0, 1: 0.25, 4: 1, 9: 0.5, 14: 1])
        // Hugging Face: `cos(pi * ((num_cycles * progress) % 1.0))`, with 3 cycles over 100 steps.
        let thirds = try CosineRestarts(cycleSteps: 100.0 / 3, cycleLimit: 3)
        for t in 0..<100 where t != 67 {
            let turns = (3 * Double(t) / 100).truncatingRemainder(dividingBy: 1)
            XCTAssertEqual(thirds.value(at: Int64(t)), 0.5 * (1 + cos(.pi * turns)), accuracy: 1e-13, "\(t)")
        }
    }

    func testPolynomial() throws {
        assertValues(try Polynomial(totalSteps: 10, power: 2), [0: 1, 5: 0.25, 9: 0.01, 10: 0, 20: 0])
        assertValues(try Polynomial(totalSteps: 100, power: 0.5), [0: 1, 19: 0.9, 75: 0.5, 100: 0])
        assertValues(try Polynomial(totalSteps: 10, kDecay: 2), [0: 1, 5: 0.75, 10: 0])
        // Hugging Face, lr_init 1, lr_end 0.1: (1 − 0.1)·(1 − p)² + 0.1.
        assertValues(
            try Polynomial(totalSteps: 10, power: 2, minRate: 0.1, floor: .relative), [5: 0.9 * 0.25 + 0.1, 10: 0.1])
    }

    func testTanh() throws {
        let schedule = try Tanh(totalSteps: 100)
        assertValues(schedule, [0: 0.5 * (1 - tanh(-7)), 85: 0.5 * (1 - tanh(1.5)), 100: 0, 200: 0])
        XCTAssertEqual(schedule.value(at: 70), 0.5, accuracy: 1e-15)
        assertValues(try Tanh(totalSteps: 10, lower: -3, upper: 3, minFactor: 0.5), [5: 0.75, 10: 0.5])
    }

    func testFlatCosine() throws {
        assertValues(
            try FlatCosine(totalSteps: 100, pctStart: 0.5), [0: 1, 49: 1, 50: 1, 75: 0.5, 100: 0, 101: 0])
        assertValues(try FlatCosine(totalSteps: 100, pctStart: 1), [0: 1, 99: 1, 100: 0])
        assertValues(try FlatCosine(totalSteps: 100, pctStart: 0), [0: 1, 50: 0.5, 100: 0])
    }

    func testWarmupStableDecay() throws {
        let schedule = try WarmupStableDecay(totalSteps: 100, decaySteps: 20, warmupSteps: 10, minFactor: 0.2)
        assertValues(schedule, [0: 0.2, 5: 0.6, 10: 1, 80: 1, 90: 0.6, 100: 0.2, 500: 0.2])
        let cosine = try WarmupStableDecay(
            totalSteps: 100, decaySteps: 20, warmupSteps: 10, warmup: .cosine, decay: .cosine)
        assertValues(cosine, [0: 0, 5: 0.5, 10: 1, 85: 0.5 + 0.125.squareRoot(), 90: 0.5, 100: 0])
        let roots = try WarmupStableDecay(
            totalSteps: 100, decaySteps: 16, warmupSteps: 4, warmup: .oneMinusSquareRoot, decay: .oneMinusSquareRoot)
        assertValues(roots, [0: 0, 3: 0.5, 4: 1, 84: 1, 88: 0.5, 93: 0.25, 100: 0])
    }

    // MARK: - By factors

    func testExponential() throws {
        assertValues(try Exponential(gamma: 0.5), [0: 1, 1: 0.5, 10: 0x1p-10])
        assertValues(try Exponential(gamma: 0.25, every: 10), [0: 1, 5: 0.5, 10: 0.25, 20: 0.0625])
        assertValues(
            try Exponential(gamma: 0.25, every: 10, staircase: true), [0: 1, 9: 1, 10: 0.25, 19: 0.25, 20: 0.0625])
        assertValues(try Exponential(gamma: 0.5, lowest: 0.1), [3: 0.125, 4: 0.1, 1 << 53: 0.1])
        assertValues(try Exponential(gamma: 1), [1 << 53: 1])
    }

    func testStepDecay() throws {
        assertValues(try StepDecay(every: 30), [0: 1, 29: 1, 30: 0.1, 59: 0.1, 60: 0.01, 1 << 53: 0])
        assertValues(try StepDecay(every: 1, gamma: 0.5), [0: 1, 1: 0.5, 2: 0.25])
    }

    func testMultiStep() throws {
        assertValues(
            try MultiStep(milestones: [3, 8, 9]), [0: 1, 2: 1, 3: 0.1, 7: 0.1, 8: 0.01, 9: 0.001, 1 << 53: 0.001])
        assertValues(try MultiStep(milestones: [0, 4], gamma: 0.5), [0: 0.5, 3: 0.5, 4: 0.25])
    }

    func testInverseSquareRoot() throws {
        assertValues(try InverseSqrt(warmupSteps: 4), [0: 0, 2: 0.5, 4: 1, 16: 0.5, 36: 1 / 3.0])
        assertValues(InverseSqrt(), [0: 1, 30_000: 0.5])
        assertValues(try InverseSqrt(warmupSteps: 2, timescale: 5), [0: 0, 1: 0.5, 2: 1, 17: 0.5])
    }

    func testInverseTime() throws {
        assertValues(try InverseTime(rate: 0.5, every: 10), [0: 1, 10: 1 / 1.5, 20: 0.5, 60: 0.25])
        assertValues(try InverseTime(rate: 0.5, every: 10, staircase: true), [9: 1, 10: 1 / 1.5, 19: 1 / 1.5, 20: 0.5])
    }

    /// `model_size ** -0.5 * min(step ** -0.5, step * warmup ** -1.5)`, steps from 1.
    func testNoam() throws {
        let schedule = try Noam(modelSize: 512, warmupSteps: 4000)
        for step in [1.0, 2, 3999, 4000, 4001, 16000, 1e6] {
            let wanted = pow(512, -0.5) * min(pow(step, -0.5), step * pow(4000, -1.5))
            XCTAssertEqual(schedule.value(at: Int64(step) - 1), wanted, accuracy: 1e-15 * wanted, "\(step)")
        }
        assertValues(try Noam(modelSize: 4, warmupSteps: 4), [0: 0.0625, 3: 0.25, 15: 0.125])
    }

    // MARK: - Up and down

    /// torch: the peak is at pct_start·T − 1 and the end at T − 1.
    func testOneCycle() throws {
        let end = 1 / 25.0 / 1e4
        let schedule = try OneCycle(totalSteps: 10, pctStart: 0.5)
        assertValues(schedule, [0: 0.04, 2: 0.52, 4: 1, 9: end, 10: end, 500: end])
        let linear = try OneCycle(totalSteps: 10, pctStart: 0.5, divFactor: 10, finalDivFactor: 10, anneal: .linear)
        assertValues(linear, [0: 0.1, 1: 0.325, 4: 1, 5: 1 - 0.99 / 5, 9: 0.01])
        let three = try OneCycle(
            totalSteps: 10, pctStart: 0.3, divFactor: 4, finalDivFactor: 4, anneal: .linear, threePhase: true)
        assertValues(three, [0: 0.25, 1: 0.625, 2: 1, 3: 0.625, 4: 0.25, 9: 0.0625, 99: 0.0625])
        let fraction = try OneCycle(totalSteps: 10, pctStart: 0.25, timing: .fraction)
        assertValues(fraction, [0: 0.04, 10: end, 99: end])
        XCTAssertEqual(fraction.value(at: 5), end + (1 - end) * 0.5 * (1 + cos(.pi * 2.5 / 7.5)), accuracy: 1e-15)
    }

    /// It is the value itself, whatever it schedules.
    func testOneCycleMomentum() throws {
        let schedule = try OneCycleMomentum(totalSteps: 10, pctStart: 0.5)
        for base in [0.0, 0.3, 0.9] {
            assertValues(schedule, base: base, [0: 0.95, 2: 0.9, 4: 0.85, 9: 0.95, 100: 0.95])
        }
    }

    func testSlantedTriangular() throws {
        assertValues(
            try SlantedTriangular(totalSteps: 100),
            [0: 1 / 32.0, 5: 16.5 / 32, 10: 1, 55: 16.5 / 32, 100: 1 / 32.0, 101: 1 / 32.0])
        // ⌊7·0.3⌋ = 2.
        assertValues(try SlantedTriangular(totalSteps: 7, cutFraction: 0.3, ratio: 2), [0: 0.5, 1: 0.75, 2: 1, 7: 0.5])
        assertValues(try SlantedTriangular(totalSteps: 4, cutFraction: 0.01, ratio: 3), [0: 1, 2: 2 / 3.0, 4: 1 / 3.0])
    }

    func testCyclic() throws {
        let schedule = try Cyclic(stepSizeUp: 4, stepSizeDown: 6, lowest: 0.2)
        assertValues(schedule, [0: 0.2, 2: 0.6, 4: 1, 7: 0.6, 10: 0.2, 12: 0.6, 14: 1, 1_000_004: 1])
        let halved = try Cyclic(stepSizeUp: 4, lowest: 0.2, mode: .triangular2)
        assertValues(halved, [4: 1, 8: 0.2, 12: 0.6, 20: 0.4, 28: 0.3])
        let falling = try Cyclic(stepSizeUp: 4, lowest: 0.2, mode: .expRange, gamma: 0.5)
        assertValues(falling, [0: 0.2, 2: 0.2 + 0.8 * 0.5 * 0.25, 4: 0.25, 12: 0.2 + 0.8 * 0x1p-12])
    }

    func testCyclicMomentum() throws {
        let schedule = try CyclicMomentum(stepSizeUp: 4, stepSizeDown: 6)
        for base in [0.0, 0.5] { assertValues(schedule, base: base, [0: 0.9, 2: 0.85, 4: 0.8, 7: 0.85, 10: 0.9]) }
    }

    // MARK: - Lists

    func testPiecewise() throws {
        let points = [(10, 0.5), (20, 0.1), (30, 2)]
        assertValues(
            try Piecewise(points), [0: 1, 9: 1, 10: 0.5, 19: 0.5, 20: 0.1, 30: 2, 1 << 53: 2])
        assertValues(try Piecewise(points, interpolation: .linear), [0: 1, 5: 0.75, 10: 0.5, 15: 0.3, 25: 1.05, 31: 2])
        assertValues(
            try Piecewise(points, interpolation: .cosine),
            [0: 1, 5: 0.75, 10: 0.5, 15: 0.3, 20: 0.1, 30: 2])
        assertValues(try Piecewise([(0, 0.25), (4, 0.75)], interpolation: .linear), [0: 0.25, 2: 0.5, 4: 0.75])
    }

    func testTable() throws {
        assertValues(try FactorTable([1, 0.25, 3]), base: 2, [0: 2, 1: 0.5, 2: 6, 3: 6, 1 << 53: 6])
        assertValues(try FactorTable([0]), [0: 0, 5: 0])
    }

    // MARK: - Warm-up

    func testWarmupShapes() throws {
        func warmup(_ steps: Int, _ shape: Warmup.Shape, _ start: Double = 0, from: Int = 0) throws -> Warmup {
            try Warmup(steps: steps, shape: shape, start: start, countFrom: from)
        }
        assertValues(try warmup(10, .linear), [0: 0, 5: 0.5, 9: 0.9, 10: 1, 500: 1])
        assertValues(try warmup(10, .linear, 0.2), [0: 0.2, 5: 0.6, 10: 1])
        assertValues(try warmup(10, .linear, from: 1), [0: 0.1, 4: 0.5, 9: 1, 10: 1])
        assertValues(try warmup(10, .constant, 1 / 3.0), [0: 1 / 3.0, 9: 1 / 3.0, 10: 1])
        assertValues(try warmup(8, .cosine), [0: 0, 2: 0.5 - 0.125.squareRoot(), 4: 0.5, 8: 1])
        assertValues(try warmup(10, .exponential, 0.01), [0: 0.01, 5: 0.1, 10: 1])
        assertValues(try warmup(4, .squareRoot), [0: 0, 1: 0.5, 4: 1])
        assertValues(try warmup(4, .squareRoot, 0.5), [0: 0.5, 1: 0.75])
        assertValues(try warmup(4, .oneMinusSquareRoot), [0: 0, 3: 0.5, 4: 1])
        assertValues(try warmup(8, .logarithmic), [0: 0, 1: 1 / 3.0, 3: 2 / 3.0, 7: 1, 8: 1])
        assertValues(try warmup(1, .linear), [0: 0, 1: 1])
    }
}
