// SPDX-License-Identifier: Apache-2.0
import Foundation
import Layerwise
import XCTest

/// Policies that watch elements, and freezing plans that take turns or measure.  Their equations are tested from Python, beside NumPy.
final class WatchedPolicyTests: XCTestCase {
    private static let shapes = [[[40], [5, 7]], [[130, 300]], [[17, 3]]]

    private static func policies() throws -> [any MeasuredPolicy] {
        [try Hypergradient(0.1), try SignAgreement(0.1), try LDoGScale(1e-3), LARC(), TVLARS()]
    }

    private static func plans() throws -> [any MeasuredFreezePlan] {
        [
            try AutoFreeze(every: 2, norm: .l1), try GradES(threshold: 1e-30, totalSteps: 9, average: 0, norm: .l1),
            try GradES(threshold: 1e-30, totalSteps: 9, measure: .gradient, average: 0, norm: .l1),
        ]
    }

    /// Rules of one and several stages, with sums of layers and with matrices.  Without instructions for it matrices would take minutes.
    private static let rules: [any DeclaredRule] =
        BitRecord.isKept
        ? [AdamW(lr: 0.01), LAMB(lr: 0.01)] : [AdamW(lr: 0.01), LAMB(lr: 0.01), Adafactor(lr: 0.01), Muon(lr: 0.01)]

    func testSameBits() throws {
        for policy in try Self.policies() {
            for rule in Self.rules {
                for kind in [Kind(.float32), Kind(.bfloat16), Kind(.float16, master: true)] {
                    try assertSameBits(rule, kind, policy, nil)
                }
            }
        }
    }

    /// Magnitudes that freezing plans ask for, alone and beside a policy that watches something else.
    func testSameBitsOfMagnitudes() throws {
        for plan in try Self.plans() {
            for rule in Self.rules {
                for kind in [Kind(.float32), Kind(.float64), Kind(.bfloat16), Kind(.float16, master: true)] {
                    try assertSameBits(rule, kind, Uniform(), plan)
                }
                try assertSameBits(rule, Kind(.float32), try SignAgreement(0.1), plan)
                try assertSameBits(rule, Kind(.float32), try LDoGScale(1e-3), plan)
            }
        }
    }

    /// One thread and four give the same bits, also of what is measured; `InstructionSetTests` compares them between processes.
    private func assertSameBits(
        _ rule: any DeclaredRule, _ kind: Kind, _ policy: any DeclaredPolicy, _ plan: (any DeclaredFreezePlan)?
    ) throws {
        let label = "\(rule.spec) \(kind) \(policy.spec) \(plan.map { "\($0.spec)" } ?? "")"
        let digests = try [1, 4].map { threads in
            // Enough for threads to share the work.
            let model = try Model(rule, kind, shapes: [[[40], [5, 7]], [[400, 401]], [[17, 3]]], policy: policy)
            model.optimizer.setFreezePlan(plan)
            try model.optimizer.set(settings(["threads": .number(threads), "clip_global_norm": .number(1)]))
            for _ in 0..<3 {
                model.drawGradients()
                try model.optimizer.step()
            }
            var digest = try model.digest()
            for number in try model.optimizer.measurementState() { digest.add(number.bitPattern) }
            return digest
        }
        XCTAssertEqual(digests[0], digests[1], label)
        try BitRecord.add(label, digests[0])
    }

    /// To be watched changes nothing of a step.
    func testWatchingChangesNoStep() throws {
        for policy in [try Hypergradient(1e-30), try LDoGScale(measuring: still())] as [any MeasuredPolicy] {
            for kind in [Kind(.float32), Kind(.float64), Kind(.bfloat16)] {
                let watched = try Model(AdamW(lr: 0.01), kind, shapes: Self.shapes, policy: policy)
                let plain = try Model(AdamW(lr: 0.01), kind, shapes: Self.shapes)
                for _ in 0..<3 {
                    for model in [watched, plain] {
                        model.drawGradients()
                        try model.optimizer.step()
                    }
                }
                for (one, two) in zip(watched.parameters.joined(), plain.parameters.joined()) {
                    XCTAssertEqual(one.values, two.values, "\(policy.spec)")
                }
            }
        }
    }

    private func still() -> Measuring {
        var measuring = Measuring()
        (measuring.minScale, measuring.maxScale) = (1, 1)
        return measuring
    }

    /// What is watched is added up over processes: scales, and what freezing plans go by, are those of the whole.
    func testTensorsSpreadOverProcesses() throws {
        for policy in try Self.policies() + [AutoLR()] { try assertSpread(policy, nil) }
        let plans = try Self.plans() + [AutoFreeze(every: 2), GradES(threshold: 1e-30, totalSteps: 9, average: 0)]
        for plan in plans {
            try assertSpread(Uniform(), plan)
            try assertSpread(try SignAgreement(0.1), plan)
        }
    }

    private func assertSpread(_ policy: any DeclaredPolicy, _ plan: (any DeclaredFreezePlan)?) throws {
        let kind = Kind(.float64)
        let whole = try Model(SGD(lr: 0.01), kind, shapes: [[[8, 7]], [[6]]], policy: policy)
        let parts = try (0..<2).map { _ in
            try Model(SGD(lr: 0.01), kind, shapes: [[[4, 7]], [[3]]], policy: policy)
        }
        for model in [whole] + parts { model.optimizer.setFreezePlan(plan) }
        for (index, part) in parts.enumerated() {
            for layer in 0..<2 {
                let count = part.parameters[layer][0].count
                for element in 0..<count {
                    part.parameters[layer][0][element] = whole.parameters[layer][0][index * count + element]
                    part.gradients[layer][0][element] = whole.gradients[layer][0][index * count + element]
                }
            }
        }
        for _ in 0..<3 {
            try whole.optimizer.step()
            XCTAssertEqual(stepTogether(parts.map(\.optimizer)), [nil, nil])
        }
        let label = "\(policy.spec) \(plan.map { "\($0.spec)" } ?? "")"
        for part in parts {
            for (a, b) in zip(try part.infos(), try whole.infos()) {
                XCTAssertEqual(a.scale, b.scale, accuracy: 1e-12 * b.scale, label)
            }
            let measured = zip(try part.optimizer.measurementState(), try whole.optimizer.measurementState())
            for (a, b) in measured where !b.isNaN {
                XCTAssertEqual(a, b, accuracy: 1e-12 * b.magnitude, label)
            }
        }
    }

    func testStatesAreListedReadAndReset() throws {
        let model = try Model(SGD(lr: 0.01), shapes: Self.shapes, policy: try Hypergradient(0.1))
        XCTAssertEqual(try model.optimizer.states(layer: 0, tensor: 0).map(\.name), ["step", "last_change"])
        try model.optimizer.step()
        var change = [Float](repeating: 0, count: 40)
        try change.withUnsafeMutableBytes {
            try model.optimizer.readState(layer: 0, tensor: 0, name: "last_change", into: $0)
        }
        for (own, gradient) in zip(change, model.gradients[0][0].values) {
            // A change is a difference of float32 weights in [-1, 1], each rounded to half of 2⁻²⁴.
            XCTAssertEqual(Double(own), 0.01 * gradient, accuracy: 0x1p-23)
        }
        try model.optimizer.reset(0)
        try change.withUnsafeMutableBytes {
            try model.optimizer.readState(layer: 0, tensor: 0, name: "last_change", into: $0)
        }
        XCTAssertEqual(change, [Float](repeating: 0, count: 40))
        XCTAssertEqual(try model.infos()[0].stateBytes, 4 * 75)
    }

    /// Signs are bytes, for every type of parameters.
    func testSignsAreBytes() throws {
        for kind in [Kind(.float32), Kind(.float64), Kind(.bfloat16), Kind(.float16, master: true)] {
            let model = try Model(SGD(lr: 0.125), kind, shapes: Self.shapes, policy: try SignAgreement(0.1))
            let state = try XCTUnwrap(model.optimizer.states(layer: 0, tensor: 1).last)
            XCTAssertEqual([state.name, state.dtype.name, "\(state.count)"], ["last_signs", "int8", "35"])
            let before = model.parameters[0][1].values
            try model.optimizer.step()
            var signs = [Int8](repeating: 9, count: 35)
            try signs.withUnsafeMutableBytes {
                try model.optimizer.readState(layer: 0, tensor: 1, name: "last_signs", into: $0)
            }
            let changes = zip(before, model.parameters[0][1].values).map { $0 - $1 }
            // A master copy moves where the parameter does not.
            for (sign, change) in zip(signs, changes) where change != 0 { XCTAssertEqual(sign, change > 0 ? 1 : -1) }
            XCTAssertTrue(signs.contains(1) && signs.contains(-1))
            try model.optimizer.reset(0)
            try signs.withUnsafeMutableBytes {
                try model.optimizer.readState(layer: 0, tensor: 1, name: "last_signs", into: $0)
            }
            XCTAssertEqual(signs, [Int8](repeating: 0, count: 35))
            let master = kind.master ? 4 * 75 : 0
            XCTAssertEqual(try model.infos()[0].stateBytes, 75 + master)
        }
    }

    func testRefuses() throws {
        for value in [0, -1, Double.nan, .infinity] {
            XCTAssertThrowsError(try Hypergradient(value))
            XCTAssertThrowsError(try SignAgreement(value))
            XCTAssertThrowsError(try LDoGScale(value))
            XCTAssertThrowsError(try LARC(value))
            XCTAssertThrowsError(try TVLARS(value))
            XCTAssertThrowsError(try CompleteP(width: value, depth: 1))
            XCTAssertThrowsError(try GradES(threshold: value, totalSteps: 10))
        }
        XCTAssertThrowsError(try SignAgreement(threshold: 1))
        XCTAssertThrowsError(try LISA(blocks: 0))
        XCTAssertThrowsError(try AutoFreeze(every: 0))
        XCTAssertEqual(try CompleteP(width: 4, depth: 8, alpha: 0.5).epsilon(1), 1 / (4 * 8.0.squareRoot()))
        let model = try Model(SGD(lr: 0.01), shapes: Self.shapes, policy: LDoGScale())
        let good = try model.optimizer.measurementState()
        XCTAssertEqual(good.count, 15)
        for (index, value) in [(0, 1.0), (1, -1), (2, -1), (3, .nan), (4, .infinity)] as [(Int, Double)] {
            var state = good
            state[index] = value
            assertRefused(.outOfRange, layer: 0) { try model.optimizer.setMeasurementState(state) }
        }
        assertRefused(.invalidArgument) { try model.optimizer.measureMicrobatch() }
        assertRefused(.invalidArgument) { try model.optimizer.measureMicrobatch(StepOptions(layer: 0)) }
    }

    /// A turn goes by t alone: far steps, and steps in any order.
    func testTurns() throws {
        let layers = (0..<5).map { LayerDescriptor(name: "\($0)", depth: $0, role: .block) }
        for plan in [
            try LISA(blocks: 2, every: 7, seed: 3), try BAdam(every: 7, order: .random, seed: 3),
            try HiFT(layers: 2, every: 7, order: .descending),
        ] as [any DeclaredFreezePlan] {
            let activities = try plan.activities(of: layers)
            for step in [0, 6, 7, 8, 1000, Int64(1) << 53, Int64(1) << 62] {
                let active = activities.indices.filter { isActive(activities[$0], step) }
                XCTAssertTrue((1...2).contains(active.count), "\(plan.spec) \(step)")
                XCTAssertEqual(active, activities.indices.filter { isActive(activities[$0], step / 7 * 7) })
            }
        }
    }

    private func isActive(_ activity: Activity, _ step: Int64) -> Bool { activity.isActive(at: step) }

    func testSpikes() throws {
        let deviations = try LossSpike(.deviations, limit: 3)
        XCTAssertTrue(deviations.isSpike(.nan, after: []))
        XCTAssertTrue(deviations.isSpike(.infinity, after: [1, 2, 3]))
        XCTAssertFalse(deviations.isSpike(100, after: [1]))
        XCTAssertFalse(deviations.isSpike(100, after: [1, .nan]))
        // The mean is 2, the deviation 1.
        XCTAssertFalse(deviations.isSpike(5, after: [1, 2, 3]))
        XCTAssertTrue(deviations.isSpike(5.001, after: [1, 2, 3]))
        XCTAssertFalse(deviations.isSpike(-100, after: [1, 2, 3]))
        XCTAssertTrue(deviations.isSpike(2.1, after: [2, 2, 2]))
        XCTAssertFalse(deviations.isSpike(2, after: [2, 2, 2]))
        let ratio = try LossSpike(.ratio, limit: 3)
        XCTAssertFalse(ratio.isSpike(6, after: [1, 2, 100]))
        XCTAssertTrue(ratio.isSpike(6.001, after: [100, 1, 2]))
        XCTAssertTrue(ratio.isSpike(4.6, after: [1, 2]))
        XCTAssertFalse(ratio.isSpike(4.5, after: [1, 2]))
        XCTAssertFalse(ratio.isSpike(1, after: [-1, -2]), "no ratio to losses below 0")
        for limit in [0, -1, Double.nan, .infinity] {
            assertRefused(.outOfRange) { _ = try LossSpike(.deviations, limit: limit) }
        }
        assertRefused(.outOfRange) { _ = try LossSpike(.ratio, limit: 1) }
    }
}
