// SPDX-License-Identifier: Apache-2.0
import Foundation
import Layerwise
import XCTest

/// Policies whose scales follow from what steps measure.
final class MeasuredPolicyTests: XCTestCase {
    private static let shapes = [[[40], [5, 7]], [[130, 300]], [[17, 3]]]

    private static func norm(_ buffers: [[Double]]) -> Double {
        buffers.joined().reduce(0) { $0 + $1 * $1 }.squareRoot()
    }

    /// Steps a model and computes with plain numbers what the policy should have made of it.
    private func assertFollows(
        _ policy: any MeasuredPolicy, _ rule: any DeclaredRule, kind: Kind = Kind(.float64),
        settings options: Options = [:],
        schedule: (any DeclaredSchedule)? = nil, steps: Int = 12, tolerance: Double = 1e-12,
        file: StaticString = #filePath,
        line: UInt = #line
    ) throws {
        let model = try Model(rule, kind, shapes: Self.shapes, policy: policy)
        try model.optimizer.set(settings(options))
        try model.optimizer.setSchedule(schedule)
        let measuring = policy.measuring
        var averages = [Double](repeating: .nan, count: 3)
        var scales = [1.0, 1, 1]
        for step in 1...steps {
            model.drawGradients()
            for (layer, info) in try model.infos().enumerated() {
                XCTAssertEqual(
                    info.scale, scales[layer], accuracy: tolerance * scales[layer], "step \(step)", file: file,
                    line: line)
            }
            let rates = try model.infos().map(\.effectiveRate)
            let before = model.parameters.map { $0.map(\.values) }
            try model.optimizer.step()
            for layer in 0..<3 {
                let after = model.parameters[layer].map(\.values)
                let moved = zip(before[layer], after).map { zip($0, $1).map { $1 - $0 } }
                let weights = Self.norm(before[layer])
                let gradients = Self.norm(model.gradients[layer].map(\.values))
                let value =
                    policy is UpdateRatio ? Self.norm(moved) / weights / rates[layer] : gradients / weights
                averages[layer] =
                    step == 1 ? value : measuring.average * averages[layer] + (1 - measuring.average) * value
            }
            if step < measuring.warmup || step % measuring.period != 0 { continue }
            for layer in 0..<3 {
                let target =
                    if let ratio = policy as? UpdateRatio {
                        ratio.ratio / (averages[layer] * rule.learningRate)
                    } else if let own = policy as? RelativeGradientNorm {
                        pow(averages[layer] / (averages.max() ?? 1), own.power)
                    } else { 1.0 }
                let bounded = min(max(target, measuring.minScale), measuring.maxScale)
                let share = min(1, Double(step - measuring.warmup + 1) / Double(measuring.ramp + 1))
                scales[layer] = pow(bounded, share)
            }
        }
    }

    private func measuring(_ change: (inout Measuring) -> Void) -> Measuring {
        var measuring = Measuring()
        change(&measuring)
        return measuring
    }

    func testRelativeGradientNorm() throws {
        let usual = RelativeGradientNorm()
        try assertFollows(usual, SGD(lr: 0.01))
        try assertFollows(usual, AdamW(lr: 0.01, weightDecay: 0.1), settings: ["clip_global_norm": 0.2])
        try assertFollows(try RelativeGradientNorm(power: 1), LAMB(lr: 0.01))
        let slow = measuring {
            ($0.average, $0.warmup, $0.period, $0.ramp, $0.minScale) = (0.5, 3, 2, 4, 0.3)
        }
        try assertFollows(try RelativeGradientNorm(power: 3, measuring: slow), AdamW(lr: 0.01))
        try assertFollows(usual, AdamW(lr: 0.01), schedule: try Cosine(totalSteps: 20))
    }

    func testUpdateRatio() throws {
        let usual = try UpdateRatio(1e-3)
        // The change is observed as float64 and compared with a difference of weights, whose last digits cancel.
        try assertFollows(usual, SGD(lr: 0.01), tolerance: 1e-9)
        try assertFollows(usual, AdamW(lr: 0.01, weightDecay: 0.1), tolerance: 1e-9)
        var slow = UpdateRatio.usual
        (slow.average, slow.warmup, slow.period, slow.ramp, slow.maxScale) = (0, 2, 3, 5, 0.5)
        try assertFollows(try UpdateRatio(0.02, measuring: slow), Lion(lr: 0.01), tolerance: 1e-9)
        try assertFollows(usual, AdamW(lr: 0.01), schedule: try Cosine(totalSteps: 20), tolerance: 1e-9)
    }

    /// The goal is reached: after some steps every layer moves by the given share of its weights.
    func testUpdateRatioIsKept() throws {
        for rule in [SGD(lr: 0.5), AdamW(lr: 1e-5), Lion(lr: 3)] as [any DeclaredRule] {
            let model = try Model(rule, shapes: Self.shapes, policy: try UpdateRatio(1e-3))
            try model.optimizer.set(settings(["telemetry": 1]))
            for _ in 0..<80 {
                model.drawGradients()
                try model.optimizer.step()
            }
            for layer in 0..<3 {
                // Each step draws new gradients: their norms vary by some percent in the smallest layer.
                XCTAssertEqual(try model.optimizer.telemetry(layer).updateRatio, 1e-3, accuracy: 2e-4, "\(rule)")
            }
        }
    }

    func testMultipliesOtherPoliciesAndOwnScalesGoBefore() throws {
        let both = try Combine([RelativeGradientNorm(), Explicit(["0": 0.5, "*": 1])])
        let model = try Model(SGD(lr: 0.01), shapes: Self.shapes, policy: both)
        let alone = try Model(SGD(lr: 0.01), shapes: Self.shapes, policy: RelativeGradientNorm())
        try model.optimizer.setLayer(2, settings(["scale": 3]))
        for both in [model, alone] { try both.optimizer.step() }
        let (found, measured) = (try model.infos().map(\.scale), try alone.infos().map(\.scale))
        XCTAssertEqual(found, [0.5 * measured[0], measured[1], 3])
        XCTAssertEqual(measured.max(), 1)
        XCTAssertEqual(try model.infos()[1].origin, "relative_gradient_norm × explicit *")
    }

    /// A frozen layer, and one without a gradient, keep what they have; neither counts as stepped.
    func testFrozenLayersAndMissingGradients() throws {
        let model = try Model(SGD(lr: 0.01), shapes: Self.shapes, policy: RelativeGradientNorm())
        try model.optimizer.step()
        let before = try model.optimizer.measurementState()
        try model.optimizer.setFrozen(1, true)
        let gradients: [Buffer?] = [model.gradients[0][0], model.gradients[0][1], model.gradients[1][0], nil]
        try model.step(gradients: gradients)
        let after = try model.optimizer.measurementState()
        XCTAssertEqual(Array(after[3...]), Array(before[3...]))
        XCTAssertEqual(after[1], 2)
    }

    func testEdgeCases() throws {
        let zero = try Model(SGD(lr: 0.01), shapes: Self.shapes, policy: RelativeGradientNorm())
        for buffer in zero.parameters[0] { buffer.values = [Double](repeating: 0, count: buffer.count) }
        for buffer in zero.gradients[2] { buffer.values = [Double](repeating: 0, count: buffer.count) }
        try zero.optimizer.step()
        XCTAssertEqual(try zero.infos().map(\.scale), [1, 1, 0], "no weights: unmeasured; no gradient: 0")

        let still = try Model(SGD(lr: 0.01), shapes: Self.shapes, policy: try UpdateRatio(1e-3))
        for buffer in still.gradients[2] { buffer.values = [Double](repeating: 0, count: buffer.count) }
        try still.optimizer.step()
        XCTAssertEqual(try still.infos()[2].scale, 1000)

        let huge = try Model(SGD(lr: 0), Kind(.float64), shapes: Self.shapes, policy: RelativeGradientNorm())
        try huge.optimizer.set(settings(["nonfinite": "propagate"]))
        huge.gradients[0][0][3] = 1e200
        huge.gradients[1][0][3] = .nan
        try huge.optimizer.step()
        XCTAssertEqual(try huge.infos().map(\.scale), [1, 1, 1], "the third is the largest of those that are finite")
        XCTAssertTrue(try huge.optimizer.measurementState()[0].isNaN)

        // A skipped step measures nothing.
        let skipped = try Model(SGD(lr: 0.1), shapes: Self.shapes, policy: RelativeGradientNorm())
        try skipped.optimizer.set(settings(["nonfinite": "skip"]))
        skipped.gradients[1][0][3] = .nan
        try skipped.optimizer.step()
        XCTAssertEqual(try skipped.optimizer.measurementState()[1], 0)
        skipped.optimizer.setPolicy(Uniform())
        XCTAssertEqual(try skipped.optimizer.measurementState(), [])
    }

    func testPartsAreMeasuredWithTheirLayer() throws {
        let whole = try Model(
            SGD(lr: 0.01), shapes: [[[40], [5, 7]], [[17, 3]]], policy: RelativeGradientNorm())
        let parts = try Optimizer(SGD(lr: 0.01), policy: RelativeGradientNorm())
        func tensor(_ layer: Int, _ index: Int, _ shape: [Int]) -> TensorDescription {
            TensorDescription(
                "\(index)", parameters: whole.parameters[layer][index].start,
                gradients: whole.gradients[layer][index].start,
                shape: shape, dtype: .float32)
        }
        try parts.addLayer("0", [tensor(0, 0, [40])])
        try parts.addLayer("1", [tensor(1, 0, [17, 3])])
        try parts.addLayer("0 (2)", [tensor(0, 1, [5, 7])], settings: [Setting("part_of", "0"), Setting("lr", 0.01)])
        let before = whole.parameters.map { $0.map(\.values) }
        try whole.optimizer.step()
        for (buffers, values) in zip(whole.parameters, before) {
            for (buffer, own) in zip(buffers, values) { buffer.values = own }
        }
        try parts.step()
        let (found, wanted) = (try parts.infos().map(\.scale), try whole.infos().map(\.scale))
        XCTAssertEqual(found[0], wanted[0], accuracy: 1e-6)
        XCTAssertEqual(found[0], found[2])
        XCTAssertEqual(found[1], wanted[1], accuracy: 1e-6)
    }

    func testSameBitsOverThreadsAndResume() throws {
        for policy in [try RelativeGradientNorm(power: 2), try UpdateRatio(1e-3)] as [any DeclaredPolicy] {
            func model() throws -> Model { try Model(AdamW(lr: 0.01), shapes: Self.shapes, policy: policy) }
            let (one, many, plain) = (try model(), try model(), try model())
            try one.optimizer.set(settings(["threads": 1]))
            try many.optimizer.set(settings(["threads": 4, "telemetry": 1]))
            for step in 0..<6 {
                for each in [one, many, plain] {
                    each.drawGradients()
                    try each.optimizer.step()
                }
                let saved = try one.optimizer.exported(SaveOptions(parameters: true))
                let resumed = try model()
                try resumed.optimizer.load(saved)
                XCTAssertEqual(
                    try resumed.optimizer.measurementState().map(\.bitPattern),
                    try one.optimizer.measurementState().map(\.bitPattern), "step \(step)")
                for (a, b) in zip(resumed.gradients.joined(), one.gradients.joined()) {
                    a.bytes.copyBytes(from: b.bytes)
                }
                let twin = try model()
                try twin.optimizer.load(saved)
                for (a, b) in zip(twin.gradients.joined(), one.gradients.joined()) { a.bytes.copyBytes(from: b.bytes) }
                for each in [resumed, twin] { try each.optimizer.step() }
                XCTAssertEqual(try resumed.digest(), try twin.digest())
            }
            XCTAssertEqual(try one.digest(), try many.digest())
            XCTAssertEqual(try one.digest(), try plain.digest(), "telemetry changes nothing")
            let resumed = try model()
            try resumed.optimizer.load(try one.optimizer.exported(SaveOptions(parameters: true)))
            for _ in 0..<3 {
                one.drawGradients()
                for (a, b) in zip(resumed.gradients.joined(), one.gradients.joined()) {
                    a.bytes.copyBytes(from: b.bytes)
                }
                for each in [resumed, one] { try each.optimizer.step() }
            }
            XCTAssertEqual(try resumed.digest(), try one.digest())
        }
    }

    /// Norms of parts are added up over processes: the scales are those of the whole.
    func testTensorsSpreadOverProcesses() throws {
        let whole = try Model(
            SGD(lr: 0.01), Kind(.float64), shapes: [[[8, 7]], [[6]]], policy: RelativeGradientNorm())
        let parts = try (0..<2).map { _ in
            try Model(SGD(lr: 0.01), Kind(.float64), shapes: [[[4, 7]], [[3]]], policy: RelativeGradientNorm())
        }
        for (index, part) in parts.enumerated() {
            for layer in 0..<2 {
                let count = part.parameters[layer][0].count
                for element in 0..<count {
                    part.parameters[layer][0][element] = whole.parameters[layer][0][index * count + element]
                    part.gradients[layer][0][element] = whole.gradients[layer][0][index * count + element]
                }
            }
        }
        try whole.optimizer.step()
        XCTAssertEqual(stepTogether(parts.map(\.optimizer)), [nil, nil])
        for part in parts {
            for (a, b) in zip(try part.infos(), try whole.infos()) { XCTAssertEqual(a.scale, b.scale, accuracy: 1e-12) }
        }
    }

    func testReset() throws {
        let model = try Model(SGD(lr: 0.01), shapes: Self.shapes, policy: RelativeGradientNorm())
        try model.optimizer.step()
        try model.optimizer.reset(0)
        let state = try model.optimizer.measurementState()
        XCTAssertTrue(state[0].isNaN)
        XCTAssertEqual(Array(state[1...2]), [0, 1])
        XCTAssertEqual(state[4], 1)
        XCTAssertEqual(try model.infos()[0].scale, 1)
    }

    func testRefuses() throws {
        XCTAssertThrowsError(try RelativeGradientNorm(power: 0))
        XCTAssertThrowsError(try UpdateRatio(0))
        XCTAssertThrowsError(try UpdateRatio(1e-3, measuring: measuring { $0.average = 1 }))
        XCTAssertThrowsError(try UpdateRatio(1e-3, measuring: measuring { ($0.minScale, $0.maxScale) = (2, 1) }))
        assertRefused(.invalid("combine: one policy can measure, found relative_gradient_norm, update_ratio")) {
            _ = try Combine([RelativeGradientNorm(), UpdateRatio()])
        }
        assertRefused(.invalid("for_tower: relative_gradient_norm measures the layers of all towers")) {
            _ = try ForTower("text", RelativeGradientNorm())
        }
        let model = try Model(SGD(lr: 0.01), shapes: Self.shapes, policy: RelativeGradientNorm())
        let good = try model.optimizer.measurementState()
        for (index, value) in [(0, 1.0), (1, 1.5), (1, -1), (2, -1), (2, .infinity), (2, .nan)] as [(Int, Double)] {
            var state = good
            state[index] = value
            assertRefused(.outOfRange, layer: 0) { try model.optimizer.setMeasurementState(state) }
        }
        assertRefused(.shape) { try model.optimizer.setMeasurementState([]) }
        var groups = [Int64](repeating: 0, count: 4)
        assertRefused(.invalidArgument) {
            try groups.withUnsafeMutableBufferPointer { _ = try model.optimizer.rateGroups(into: $0) }
        }
    }
}
