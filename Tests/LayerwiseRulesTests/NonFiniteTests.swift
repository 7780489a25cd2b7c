// SPDX-License-Identifier: Apache-2.0
import Layerwise
import XCTest

/// What a step does about gradients that are NaN or infinite.
final class NonFiniteTests: XCTestCase {
    private static let shapes = [[[40], [5, 7]], [[0], [1]], [[700]]]
    private static let bad: [Double] = [.nan, .infinity, -.infinity]

    /// Every position of a small model, every kind of number and storage: nothing changes and the element is named.
    func testRaiseChangesNothingAndNamesTheElement() throws {
        for kind in Kind.all {
            let model = try Model(Adam(lr: 0.1), kind, shapes: [[[7], [2, 9]], [[0], [17]]])
            try model.optimizer.step()
            for layer in model.gradients.indices {
                for tensor in model.gradients[layer].indices {
                    for element in 0..<model.gradients[layer][tensor].count {
                        for value in Self.bad {
                            let good = model.gradients[layer][tensor][element]
                            model.gradients[layer][tensor][element] = value
                            let before = try model.digest()
                            let label = "\(kind), \(InstructionSet.current), \(layer).\(tensor)[\(element)] = \(value)"
                            assertRefused(.nonfinite, layer: layer, tensor: tensor, element: element, label) {
                                try model.optimizer.step()
                            }
                            model.gradients[layer][tensor][element] = good
                            XCTAssertEqual(try model.digest(), before, label)
                        }
                    }
                }
            }
            XCTAssertEqual(model.optimizer.summary.steps, 1, "\(kind)")
        }
    }

    func testMessage() throws {
        let model = try Model(SGD(), sizes: [4, 5])
        model.gradients[1][0][3] = -.infinity
        XCTAssertThrowsError(try model.optimizer.step()) { error in
            XCTAssertEqual("\(error)", "layer \"1\": tensor \"0\": gradient is -inf at element 3")
        }
    }

    func testRefusedStepLeavesNoTrace() throws {
        for ruleCase in try RuleCase.representatives() {
            for kind in [Kind(.float32), Kind(.float64), Kind(.bfloat16, master: true)] {
                for condition: Options in [[:], ["clip_global_norm": 0.1, "clip_value": 0.01, "telemetry": 1]] {
                    let refused = try Model(ruleCase.rule, kind, shapes: Self.shapes)
                    let steady = try Model(ruleCase.rule, kind, shapes: Self.shapes)
                    for model in [refused, steady] {
                        try model.optimizer.set(settings(condition))
                        try model.optimizer.step()
                    }
                    refused.gradients[2][0][699] = .nan
                    let before = try refused.digest()
                    XCTAssertThrowsError(try refused.optimizer.step())
                    XCTAssertEqual(try refused.digest(), before, "\(ruleCase), \(kind), \(condition)")
                    XCTAssertEqual(refused.optimizer.summary.steps, 1)
                    refused.gradients[2][0][699] = steady.gradients[2][0][699]
                    for model in [refused, steady] { try model.optimizer.step() }
                    XCTAssertEqual(
                        try refused.fullDigest(), try steady.fullDigest(), "\(ruleCase), \(kind), \(condition)")
                }
            }
        }
    }

    func testSkipLeavesEverythingAndCounts() throws {
        for ruleCase in try RuleCase.representatives() {
            let model = try Model(ruleCase.rule, shapes: Self.shapes)
            try model.optimizer.set(settings(["nonfinite": "skip"]))
            try model.optimizer.step()
            let before = try model.digest()
            for value in Self.bad {
                model.gradients[0][1][3] = value
                try model.optimizer.step()
            }
            XCTAssertEqual(try model.digest(), before, "\(ruleCase)")
            XCTAssertEqual(model.optimizer.summary.steps, 1)
            XCTAssertEqual(model.optimizer.summary.skippedSteps, 3)
            model.gradients[0][1][3] = 0
            try model.optimizer.step()
            XCTAssertNotEqual(try model.digest(), before)
            XCTAssertEqual(model.optimizer.summary.steps, 2)
        }
    }

    func testPropagateDoesNotLook() throws {
        let model = try Model(SGD(lr: 1), sizes: [40])
        try model.optimizer.set(settings(["nonfinite": "propagate"]))
        for buffer in model.parameters.joined() { buffer.values = buffer.values.map { _ in 0 } }
        model.gradients[0][0].values = [Double](repeating: 1, count: 40)
        for (element, value) in zip([3, 20, 39], Self.bad) { model.gradients[0][0][element] = value }
        try model.optimizer.step()
        var expected = [Double](repeating: -1, count: 40)
        (expected[20], expected[39]) = (-.infinity, .infinity)
        XCTAssertTrue(model.parameters[0][0][3].isNaN)
        expected[3] = 0
        model.parameters[0][0][3] = 0
        XCTAssertEqual(model.parameters[0][0].values, expected)
        XCTAssertEqual(model.optimizer.summary.steps, 1)
        XCTAssertTrue(model.optimizer.summary.gradientNorm.isNaN)
    }

    /// Numbers whose squares overflow are finite all the same.
    func testLargeNumbersAreFinite() throws {
        let double = try Model(SGD(lr: 1), Kind(.float64), sizes: [40])
        double.gradients[0][0].values = [Double](repeating: Double.greatestFiniteMagnitude / 64, count: 40)
        try double.optimizer.step()
        XCTAssertEqual(double.optimizer.summary.steps, 1)
        let single = try Model(SGD(lr: 1), sizes: [40])
        single.gradients[0][0].values = [Double](repeating: Double(Float.greatestFiniteMagnitude), count: 40)
        try single.optimizer.step()
        XCTAssertEqual(single.optimizer.summary.steps, 1)
    }

    func testTelemetryCountsElements() throws {
        for policy in ["raise", "skip", "propagate"] {
            let model = try Model(SGD(), shapes: Self.shapes)
            try model.optimizer.set([Setting("nonfinite", policy)] + settings(["telemetry": 1]))
            model.gradients[0][0][1] = .nan
            model.gradients[0][1][34] = .infinity
            model.gradients[2][0][0] = .nan
            _ = try? model.optimizer.step()
            XCTAssertEqual(
                try (0..<3).map { try model.optimizer.telemetry($0).nonfiniteCount }, [2, 0, 1], policy)
        }
    }
}
