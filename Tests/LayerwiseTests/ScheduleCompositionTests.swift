// SPDX-License-Identifier: Apache-2.0
import Glibc
import Layerwise
import XCTest

/// Schedules made of schedules.
final class ScheduleCompositionTests: XCTestCase {
    private static let steps: [Int64] = Array(0..<60) + [99, 1000, 1 << 53]

    private static func parts() throws -> [any DeclaredSchedule] {
        [
            try Cosine(totalSteps: 20, warmupSteps: 5, minRate: 0.01), try Exponential(gamma: 0.9),
            try Linear(totalSteps: 12, minRate: 0.02, floor: .absolute), try Cyclic(stepSizeUp: 3),
            try Tanh(totalSteps: 15, minFactor: 0.1), try Cosine(totalSteps: 20, minRate: 0.03, floor: .relative),
        ]
    }

    // MARK: - Sequential

    func testPartsCountFromWhereTheyBegin() throws {
        for first in try Self.parts() {
            for second in try Self.parts() {
                let schedule = try Sequential([first, second, Constant()], milestones: [7, 30])
                for t in Self.steps {
                    let wanted =
                        if t < 7 {
                            first.factor(at: t, base: 0.1)
                        } else if t < 30 {
                            second.factor(at: t - 7, base: 0.1)
                        } else {
                            Factor(1)
                        }
                    XCTAssertEqual(schedule.factor(at: t, base: 0.1), wanted, "\(schedule.spec) at \(t)")
                }
                XCTAssertNil(schedule.floor(base: 1), "of the last part")
            }
        }
        let floored = try Sequential([Constant(), try Cosine(totalSteps: 9, minRate: 0.5)], milestones: [3])
        XCTAssertEqual(floored.floor(base: 1), Factor(0, scaled: 0.5))
    }

    func testSequencesNest() throws {
        let inner = try Sequential([try Linear(totalSteps: 5), try Constant(factor: 0.5)], milestones: [5])
        let outer = try Sequential([Constant(), inner], milestones: [10])
        let values = [0, 9, 10, 12, 15, 400].map { outer.value(at: $0) }
        XCTAssertEqual(values, [1, 1, 1, 0.6, 0.5, 0.5])
    }

    func testMilestonesAreRefused() {
        func assert(_ message: String, _ milestones: [Int], line: UInt = #line) {
            assertRefused(.invalid("sequential: \(message)"), line: line) {
                _ = try Sequential([Constant(), Constant(), Constant()], milestones: milestones)
            }
        }
        assert("expected 2 milestones for 3 schedules, found 1", [1])
        assert("expected 2 milestones for 3 schedules, found 3", [1, 2, 3])
        assert("milestones must rise, found 5 after 5", [5, 5])
        assert("the first milestone must be at least 1, found 0", [0, 5])
    }

    // MARK: - Product

    /// Each acts on what those before it made: what the first is for a rate, the second is for the result.
    func testProductActsInTurn() throws {
        for first in try Self.parts() {
            for second in try Self.parts() {
                let both = try Product([first, second])
                for t in Self.steps {
                    let one = first.factor(at: t, base: 0.1)
                    let two = second.factor(at: t, base: 0.1)
                    let found = both.factor(at: t, base: 0.1)
                    for scale in [1, 0.25] {
                        let made = one.gain * 0.1 * scale + one.scaled * scale + one.absolute
                        let wanted = two.gain * made + two.scaled * scale + two.absolute
                        let rate = found.gain * 0.1 * scale + found.scaled * scale + found.absolute
                        XCTAssertEqual(rate, wanted, accuracy: 1e-16, "\(both.spec) at \(t)")
                    }
                }
            }
        }
    }

    func testProductOfFactors() throws {
        let schedule = try Product([
            try StepDecay(every: 10, gamma: 0.5), try Warmup(steps: 4), try MultiStep(milestones: [20], gamma: 0.1),
        ])
        XCTAssertEqual([0, 2, 4, 10, 20].map { schedule.value(at: $0) }, [0, 0.5, 1, 0.5, 0.25 * 0.1])
    }

    // MARK: - Warm-up

    /// Up to the first value of what follows, whose steps then begin.
    func testWarmupRisesToWhatFollows() throws {
        for part in try Self.parts() {
            let schedule = try Warmup(steps: 8, start: 0.25, part)
            for t in Self.steps {
                let share = 0.25 + 0.75 * Double(t) / 8
                let first = part.factor(at: 0, base: 0.1)
                let wanted =
                    t < 8
                    ? Factor(first.gain * share, scaled: first.scaled * share, absolute: first.absolute * share)
                    : part.factor(at: t - 8, base: 0.1)
                XCTAssertEqual(schedule.factor(at: t, base: 0.1), wanted, "\(schedule.spec) at \(t)")
            }
            XCTAssertEqual(schedule.floor(base: 2), part.floor(base: 2))
        }
    }

    func testOverlappingWarmupLetsTheOtherRun() throws {
        for part in try Self.parts() {
            let schedule = try Warmup(steps: 8, start: 0.25, overlap: true, part)
            for t in Self.steps {
                let wanted = t < 8 ? Factor(0.25 + 0.75 * Double(t) / 8) : part.factor(at: t, base: 0.1)
                XCTAssertEqual(schedule.factor(at: t, base: 0.1), wanted, "\(schedule.spec) at \(t)")
            }
        }
    }

    /// timm: a linear warm-up from warmup_lr_init, with warmup_prefix the cosine from there.
    func testTimmsCosineWithWarmupPrefix() throws {
        let (base, low, warmup, epochs, initial) = (0.1, 0.004, 5, 30, 0.001)
        let schedule = try Warmup(
            steps: warmup, start: initial / base, try Cosine(totalSteps: epochs, minRate: low))
        for t in 0..<60 {
            let wanted =
                if t < warmup {
                    initial + Double(t) * (base - initial) / Double(warmup)
                } else if t - warmup < epochs {
                    low + 0.5 * (base - low) * (1 + cos(.pi * Double(t - warmup) / Double(epochs)))
                } else {
                    low
                }
            XCTAssertEqual(schedule.value(at: Int64(t), base: base), wanted, accuracy: 1e-16, "\(t)")
        }
    }

    /// Hugging Face's cosine_with_min_lr: a warm-up from 0, and then down to the floor.
    func testHuggingFacesCosineWithMinLR() throws {
        let (base, low, warmup, total) = (0.1, 0.004, 5, 30)
        let schedule = try Cosine(totalSteps: total, warmupSteps: warmup, minRate: low, floor: .relative)
        for t in 0..<total {
            let progress = Double(t - warmup) / Double(total - warmup)
            let share = 0.5 * (1 + cos(.pi * progress)) * (1 - low / base) + low / base
            let wanted = t < warmup ? base * Double(t) / Double(warmup) : base * share
            XCTAssertEqual(schedule.value(at: Int64(t), base: base), wanted, accuracy: 1e-16, "\(t)")
        }
    }
}
