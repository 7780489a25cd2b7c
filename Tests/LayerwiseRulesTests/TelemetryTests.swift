// SPDX-License-Identifier: Apache-2.0
import Layerwise
import XCTest

/// The numbers of telemetry and summary, against a Double computation.
final class TelemetryTests: XCTestCase {
    private static let shapes = [[[40], [25, 27]], [[333]], [[1]], [[17000]]]

    func testAgainstTheReference() throws {
        for (kind, cases) in try RuleCase.byKind() {
            for ruleCase in cases { try check(ruleCase, kind) }
        }
    }

    private func check(_ ruleCase: RuleCase, _ kind: Kind) throws {
        let scales = [1.0, 0.5, 2, 0.25]
        let names = Self.shapes.indices.map(String.init)
        let model = try Model(
            ruleCase.rule, kind, shapes: Self.shapes,
            policy: try Explicit(Dictionary(uniqueKeysWithValues: zip(names, scales))))
        try model.optimizer.set(settings(["telemetry": 1]))
        var layers = Self.shapes.indices.map { layer in
            Self.shapes[layer].indices.map { tensor in
                ReferenceTensor<Double>(
                    weights: model.parameters[layer][tensor].values, gradients: model.gradients[layer][tensor].values,
                    isMatrix: Self.shapes[layer][tensor].count > 1, floor: 0)
            }
        }
        let before = model.parameters.map { $0.map(\.values) }
        try model.optimizer.step()
        for layer in Self.shapes.indices {
            let weights = norm(layers[layer].map(\.weights))
            let gradients = norm(layers[layer].map(\.gradients))
            XCTAssertTrue(referenceStep(ruleCase.rule, &layers[layer], scale: scales[layer]))
            // Without a master copy, 16-bit parameters move by what is stored.
            let moved = zip(before[layer], model.parameters[layer]).map { zip($0, $1.values).map { $0 - $1 } }
            let isRounded = kind.dtype.size == 2 && !kind.master
            let updates = norm(isRounded ? moved : layers[layer].map(\.changes))
            let ratio = layers[layer].map(\.trustRatio).reduce(0, +) / Double(layers[layer].count)
            let found = try model.optimizer.telemetry(layer)
            let label = "\(ruleCase), \(kind), layer \(layer)"
            assertClose(found.gradientNorm, gradients, "\(label): ‖g‖")
            assertClose(found.weightNorm, weights, "\(label): ‖w‖")
            assertClose(found.updateNorm, updates, "\(label): ‖Δw‖")
            assertClose(found.updateRatio, updates / weights, "\(label): ‖Δw‖/‖w‖")
            assertClose(found.trustRatio, ratio, "\(label): trust ratio")
            XCTAssertEqual(found.effectiveRate, ruleCase.rule.learningRate * scales[layer], label)
            XCTAssertEqual(found.clipFactor, 1, label)
            XCTAssertEqual(found.nonfiniteCount, 0, label)
            if isRounded {
                // A change that is 0 in Double may be a rounding's distance from it in float32.
                let still = zip(moved.joined(), layers[layer].map(\.changes).joined()).filter { $0.0 == 0 }
                XCTAssertGreaterThanOrEqual(found.lostCount, still.count { $0.1 != 0 }, "\(label): lost updates")
                XCTAssertLessThanOrEqual(found.lostCount, still.count, "\(label): lost updates")
            }
        }
        assertClose(
            model.optimizer.summary.gradientNorm, norm(layers.joined().map(\.gradients)),
            "\(ruleCase), \(kind): norm of all")
    }

    /// The gradient norm is of the scaled gradients before clipping, with and without a check that measures it first.
    func testGradientNormIsBeforeClipping() throws {
        for nonfinite in ["raise", "propagate"] {
            for limits: Options in [[:], ["clip_global_norm": 0.5], ["clip_value": 0.25], ["clip_layer_norm": 0.5]] {
                let model = try Model(SGD(), sizes: [2])
                model.gradients[0][0].values = [6, 8]
                try model.optimizer.set(
                    [Setting("nonfinite", nonfinite)] + settings(limits) + settings(["telemetry": 1, "maximize": 1]))
                try model.optimizer.step(StepOptions(gradientScale: 2))
                let label = "\(nonfinite), \(limits)"
                XCTAssertEqual(try model.optimizer.telemetry(0).gradientNorm, 5, accuracy: 1e-6, label)
                XCTAssertEqual(model.optimizer.summary.gradientNorm, 5, accuracy: 1e-6, label)
            }
        }
    }

    func testClipFactorIsTheProduct() throws {
        let model = try Model(SGD(), sizes: [1, 1])
        model.gradients[0][0][0] = 4
        model.gradients[1][0][0] = 1
        try model.optimizer.set(settings(["clip_layer_norm": 2, "clip_global_norm": 1, "telemetry": 1]))
        try model.optimizer.step()
        // The layers have norms 2 and 1 after their own clipping, √5 together.
        let global = 1 / 5.0.squareRoot()
        XCTAssertEqual(model.optimizer.summary.clipFactor, global, accuracy: 1e-6)
        XCTAssertEqual(try model.optimizer.telemetry(0).clipFactor, global / 2, accuracy: 1e-6)
        XCTAssertEqual(try model.optimizer.telemetry(1).clipFactor, global, accuracy: 1e-6)
    }

    func testBeforeTheFirstStepAndWithZeroWeights() throws {
        let model = try Model(LAMB(), sizes: [3])
        let start = try model.optimizer.telemetry(0)
        XCTAssertEqual([start.gradientNorm, start.weightNorm, start.updateNorm, start.effectiveRate], [0, 0, 0, 0])
        XCTAssertEqual([start.trustRatio, start.clipFactor], [1, 1])
        model.parameters[0][0].values = [0, 0, 0]
        try model.optimizer.set(settings(["telemetry": 1]))
        try model.optimizer.step()
        let stepped = try model.optimizer.telemetry(0)
        XCTAssertTrue(stepped.updateRatio.isNaN)
        XCTAssertEqual(stepped.trustRatio, 1, "a weight norm of 0 leaves the direction as it is")
    }

    /// A layer keeps the numbers of its last step.
    func testStepOfAnotherLayerLeavesThem() throws {
        let model = try Model(SGD(), sizes: [3, 4])
        try model.optimizer.set(settings(["telemetry": 1]))
        try model.optimizer.step()
        let before = try model.optimizer.telemetry(0).gradientNorm
        model.gradients[0][0].values = [9, 9, 9]
        try model.optimizer.step(StepOptions(layer: 1))
        XCTAssertEqual(try model.optimizer.telemetry(0).gradientNorm, before)
    }

    func testInfoAndExplain() throws {
        let model = try Model(
            AdamW(lr: 0.5), shapes: [[[40], [5, 7]], [[333]]], policy: try LayerDecay(0.5))
        try model.optimizer.setFrozen(0, true)
        try model.optimizer.setLayer(1, settings(["scale": 3, "weight_decay": 0.25]))
        try model.optimizer.step()
        let (first, second) = (try model.optimizer.info(0), try model.optimizer.info(1))
        XCTAssertEqual([first.tensorCount, first.parameterCount, first.stateBytes, first.depth], [2, 75, 600, 0])
        XCTAssertEqual([first.scale, first.effectiveRate, first.weightDecay], [0.5, 0, 0.01])
        XCTAssertEqual([second.scale, second.effectiveRate, second.weightDecay], [3, 1.5, 0.25])
        XCTAssertEqual([first.scaleSource, second.scaleSource], [.policy, .layer])
        XCTAssertEqual([first.frozen, second.frozen], [true, false])
        XCTAssertEqual([first.steps, second.steps], [0, 1])
        let lines = try model.optimizer.explain().split(separator: "\n").map(String.init)
        XCTAssertEqual(lines.count, 4)
        XCTAssertEqual(lines[0], "AdamW, base rate 0.5, policy layer_decay, step 1")
        XCTAssertTrue(lines[2].hasSuffix("frozen") && lines[3].hasSuffix("active"), lines.joined(separator: "\n"))
    }

    private func norm(_ tensors: [[Double]]) -> Double { tensors.joined().reduce(0) { $0 + $1 * $1 }.squareRoot() }

    /// Within the rounding of float32 terms.
    private func assertClose(_ found: Double, _ wanted: Double, _ label: String, line: UInt = #line) {
        XCTAssertEqual(found, wanted, accuracy: 2e-6 * wanted.magnitude, label, line: line)
    }
}
