// SPDX-License-Identifier: Apache-2.0
import Foundation
import Layerwise
import XCTest

/// Tensors that are spread over processes: two optimizers, each with a part of every tensor, step as one with the whole.
final class SpreadStepTests: XCTestCase {
    /// Of a whole, and of its parts along the first axis; the second part of the last is empty.
    private static let whole = [[[40], [5, 7]], [[150, 150]], [[1]]]
    private static let parts = [[[[23], [3, 7]], [[30, 150]], [[1]]], [[[17], [2, 7]], [[120, 150]], [[0]]]]

    private static let options: [Options] = [
        [:], ["clip_global_norm": 0.3, "telemetry": 1], ["clip_layer_norm": 0.2, "clip_value": 0.03],
        ["clip_global_norm": 0.3, "clip_value": 0.03, "telemetry": 1, "nonfinite": "propagate"],
    ]

    /// Every arithmetic under all of these settings, and every option of a rule under one: what depends on a norm depends on that of
    /// the whole.  Sums of squares are added up in another order, which changes float64 by some units in the last place; ten steps
    /// amplify that.
    func testPartsStepAsTheWhole() throws {
        for ruleCase in try RuleCase.representatives() {
            for options in Self.options { try checkParts(ruleCase, options) }
        }
        for (number, ruleCase) in (try RuleCase.all() + RuleCase.overLayers()).enumerated() {
            try checkParts(ruleCase, Self.options[number % Self.options.count])
        }
    }

    private func checkParts(_ ruleCase: RuleCase, _ options: Options) throws {
        let label = "\(ruleCase), \(options)"
        let whole = try Model(ruleCase.rule, Kind(.float64), shapes: Self.whole)
        let parts = try Self.parts(of: whole, ruleCase.rule)
        for model in parts + [whole] { try model.optimizer.set(settings(options)) }
        for _ in 0..<10 {
            // For rules that need it.
            for model in parts + [whole] { model.optimizer.setLoss(2) }
            try whole.optimizer.step()
            let errors = Self.step(parts)
            XCTAssertEqual(errors.compactMap { $0 }.count, 0, "\(label): \(errors)")
        }
        for layer in whole.parameters.indices {
            for tensor in whole.parameters[layer].indices {
                let found = parts.flatMap { $0.parameters[layer][tensor].values }
                for (a, b) in zip(found, whole.parameters[layer][tensor].values) {
                    XCTAssertEqual(a, b, accuracy: 1e-11 * max(1, b.magnitude), label)
                }
            }
            let wanted = try whole.optimizer.telemetry(layer)
            for model in parts {
                let found = try model.optimizer.telemetry(layer)
                for path in [
                    \LayerTelemetry.gradientNorm, \.weightNorm, \.updateNorm, \.trustRatio, \.clipFactor,
                ] {
                    XCTAssertEqual(
                        found[keyPath: path], wanted[keyPath: path],
                        accuracy: 1e-11 * max(1, wanted[keyPath: path].magnitude), "\(label): telemetry")
                }
            }
        }
        for model in parts {
            XCTAssertEqual(
                model.optimizer.summary.clipFactor, whole.optimizer.summary.clipFactor, accuracy: 1e-12, label)
            XCTAssertEqual(try model.steps(layer: 2), 10, "\(label): an empty part counts its steps too")
        }
    }

    /// Without the sums, a norm is that of the part: the test above can fail.
    func testWithoutSumsPartsGoTheirOwnWay() throws {
        let whole = try Model(LAMB(lr: 0.03), Kind(.float64), shapes: Self.whole)
        let parts = try Self.parts(of: whole, LAMB(lr: 0.03))
        try whole.optimizer.step()
        for model in parts { try model.optimizer.step() }
        let found = parts.flatMap { $0.parameters[1][0].values }
        XCTAssertGreaterThan(zip(found, whole.parameters[1][0].values).map { abs($0 - $1) }.max() ?? 0, 1e-6)
    }

    /// NaN in one part stops both, and only the process that holds it can name the element.
    func testNonFiniteInOnePartStopsAll() throws {
        for policy in ["raise", "skip"] {
            let whole = try Model(LAMB(lr: 0.03), shapes: Self.whole)
            let parts = try Self.parts(of: whole, LAMB(lr: 0.03))
            for model in parts { try model.optimizer.set([Setting("nonfinite", policy)]) }
            parts[1].gradients[1][0][77] = .nan
            let before = try parts.map { try $0.digest() }
            let errors = Self.step(parts)
            XCTAssertEqual(try parts.map { try $0.digest() }, before, policy)
            if policy == "skip" {
                XCTAssertEqual(errors.compactMap { $0 }.count, 0)
                XCTAssertEqual(parts.map(\.optimizer.summary.skippedSteps), [1, 1])
            } else {
                XCTAssertEqual(errors.map { $0?.code }, [.nonfinite, .nonfinite])
                XCTAssertEqual(errors.map { $0?.element }, [nil, 77])
            }
        }
    }

    /// Sums that fail before anything was written refuse the step; those of a trust ratio leave the moments behind.
    func testSumsThatFail() throws {
        let model = try Model(LAMB(lr: 0.03), shapes: Self.whole)
        let before = try model.fullDigest()
        assertRefused(.reduce) { try model.optimizer.step(StepOptions(reduce: { _ in false })) }
        XCTAssertEqual(try model.fullDigest(), before)

        var calls = 0
        let parameters = model.parameters.map { $0.map(\.values) }
        assertRefused(.reduce) {
            try model.optimizer.step(
                StepOptions(reduce: { _ in
                    calls += 1
                    return calls < 2
                }))
        }
        XCTAssertEqual(calls, 2)
        XCTAssertEqual(model.parameters.map { $0.map(\.values) }, parameters)
        XCTAssertEqual(try model.steps(layer: 0), 0)
        XCTAssertNotEqual(try model.state("exp_avg", layer: 0).values, [Double](repeating: 0, count: 40))
    }

    /// Telemetry whose sums fail is unknown; the step is taken all the same.
    func testTelemetrySumsThatFail() throws {
        let model = try Model(AdamW(lr: 0.03), shapes: Self.whole)
        try model.optimizer.set(settings(["telemetry": 1, "nonfinite": "propagate"]))
        try model.optimizer.step(StepOptions(reduce: { _ in false }))
        XCTAssertTrue(try model.optimizer.telemetry(1).updateNorm.isNaN)
        XCTAssertEqual(model.optimizer.summary.steps, 1)
    }

    // MARK: - Two processes in one

    private static func parts(of whole: Model, _ rule: any DeclaredRule) throws -> [Model] {
        let models = try parts.map {
            try Model(rule, Kind(whole.parameters[0][0].dtype), shapes: $0, wholes: Self.whole)
        }
        for layer in whole.parameters.indices {
            for tensor in whole.parameters[layer].indices {
                var offset = 0
                for model in models {
                    for index in 0..<model.parameters[layer][tensor].count {
                        model.parameters[layer][tensor][index] = whole.parameters[layer][tensor][offset]
                        model.gradients[layer][tensor][index] = whole.gradients[layer][tensor][offset]
                        offset += 1
                    }
                }
            }
        }
        return models
    }

    /// Steps all models at once, each on a thread of its own; what each threw.
    private static func step(_ models: [Model]) -> [LayerwiseError?] { stepTogether(models.map(\.optimizer)) }
}
