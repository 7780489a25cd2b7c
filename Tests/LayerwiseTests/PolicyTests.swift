// SPDX-License-Identifier: Apache-2.0
import Glibc
import Layerwise
import XCTest

/// Which scale each layer gets.
final class PolicyTests: XCTestCase {
    private func scales(_ policy: any Policy, depths: [Int]) throws -> [Double] {
        try policy.scales(of: depths.enumerated().map { LayerPlace(name: "layer\($0)", depth: $1) })
    }

    // MARK: - Uniform

    func testUniform() throws {
        XCTAssertEqual(try scales(Uniform(), depths: [0, 1, 5]), [1, 1, 1])
    }

    // MARK: - Explicit

    func testExplicit() throws {
        XCTAssertEqual(
            try scales(try Explicit(["layer0": 0.5, "layer1": 0, "layer2": 3]), depths: [0, 1, 2]), [0.5, 0, 3])
        XCTAssertEqual(try scales(try Explicit(["layer1": 0.5, "*": 2]), depths: [0, 1, 2]), [2, 0.5, 2])
    }

    func testExplicitIsStrict() throws {
        let model = try Model(SGD(), sizes: [1, 2, 3])
        func assertStepRefused(_ scales: [String: Double], _ code: LayerwiseError.Code, _ message: String) throws {
            model.optimizer.setPolicy(try Explicit(scales))
            let before = try model.digest()
            assertRefused(code, message: message) { try model.optimizer.step() }
            XCTAssertEqual(try model.digest(), before)
        }
        try assertStepRefused(["0": 1], .outOfRange, "policy explicit: no scale for layer \"1\", \"2\"")
        try assertStepRefused(
            ["0": 1, "*": 1, "body": 1], .unknownName, "policy explicit: no layer is called \"body\"")
        assertRefused(.duplicate) {
            try model.optimizer.setPolicy(named: "explicit", settings: [Setting("0", 1), Setting("0", 2)])
        }
        for scale in [-1, .nan, .infinity] {
            assertRefused(.outOfRange, "\(scale)") {
                try model.optimizer.setPolicy(named: "explicit", settings: [Setting("0", scale)])
            }
        }
        assertRefused(.outOfRange) {
            try model.optimizer.setPolicy(named: "explicit", settings: [Setting("0", "high")])
        }
    }

    /// Layers may come after the policy; what counts is the step.
    func testPolicyBeforeItsLayers() throws {
        let model = try Model(SGD(lr: 1), shapes: [[[1]], [[1]]], policy: try Explicit(["0": 2, "1": 4]))
        XCTAssertEqual(try (0..<2).map { try model.optimizer.info($0).effectiveRate }, [2, 4])
    }

    // MARK: - Layer decay

    /// timm: `layer_scales = [max(min_scale, layer_decay ** (layer_max - i)) for i in range(num_layers)]`.
    func testLayerDecayIsTimms() throws {
        for decay in [0.65, 0.75, 0.9, 1] {
            for minimum in [0, 0.1, 0.5] {
                let found = try scales(try LayerDecay(decay, minScale: minimum), depths: Array(0..<13))
                for (i, scale) in found.enumerated() {
                    XCTAssertEqual(scale, max(minimum, pow(decay, Double(12 - i))), accuracy: 1e-15, "\(decay), \(i)")
                }
                XCTAssertEqual(found.last, 1)
            }
        }
    }

    func testLayerDecayTowardsTheOutput() throws {
        XCTAssertEqual(
            try scales(try LayerDecay(0.5, minScale: 0.2, direction: .output), depths: [0, 1, 2, 3]),
            [1, 0.5, 0.25, 0.2])
    }

    /// Layers may share a depth and leave gaps, in any order.
    func testLayerDecayCountsDepthNotOrder() throws {
        XCTAssertEqual(try scales(try LayerDecay(0.5), depths: [4, 0, 2, 2]), [1, 0.0625, 0.25, 0.25])
        XCTAssertEqual(try scales(try LayerDecay(0.5), depths: [3]), [1])
        XCTAssertEqual(try scales(try LayerDecay(0.5), depths: []), [])
        let deep = try scales(try LayerDecay(0.5), depths: [0, Int(Int32.max)])
        XCTAssertEqual(deep, [0, 1], "2^-2147483647 is 0")
    }

    // MARK: - Range

    /// fastai: `even_mults(start, stop, n)` is `[start * (stop/start) ** (i/(n-1))]`.
    func testRangeIsFastais() throws {
        for (lowest, layers) in [(0.01, 3), (1e-4, 13), (0.3, 2), (1, 5)] {
            let found = try scales(try GeometricRange(lowest: lowest), depths: Array(0..<layers))
            let step = pow(1 / lowest, 1 / Double(layers - 1))
            for (i, scale) in found.enumerated() {
                XCTAssertEqual(scale, lowest * pow(step, Double(i)), accuracy: 1e-13, "\(lowest), \(layers), \(i)")
            }
            XCTAssertEqual([found.first, found.last], [lowest, 1])
        }
        let wide = try scales(try GeometricRange(lowest: 0.25, highest: 4), depths: [0, 1, 2])
        for (found, wanted) in zip(wide, [0.25, 1, 4]) { XCTAssertEqual(found, wanted, accuracy: 1e-15) }
        XCTAssertEqual(try scales(try GeometricRange(lowest: 0.25), depths: [0]), [1], "a single layer has the highest")
    }

    func testRangeIsRefusedBackwards() {
        XCTAssertThrowsError(try GeometricRange(lowest: 2, highest: 1))
        XCTAssertThrowsError(try GeometricRange(lowest: 0))
    }

    // MARK: - In an optimizer

    func testDepthIsTheOrderOfRegistrationUnlessGiven() throws {
        let model = try Model(SGD(lr: 1), shapes: [[[1]], [[1]], [[1]]], policy: try LayerDecay(0.5))
        XCTAssertEqual(try info(model).map(\.scale), [0.25, 0.5, 1])
        try model.optimizer.setLayer(0, settings(["depth": 3]))
        XCTAssertEqual(try info(model).map(\.depth), [3, 1, 2])
        XCTAssertEqual(try info(model).map(\.scale), [1, 0.25, 0.5])
        try model.optimizer.unsetLayer(0, key: "depth")
        XCTAssertEqual(try info(model).map(\.scale), [0.25, 0.5, 1])
    }

    func testOwnScaleTakesPrecedence() throws {
        let model = try Model(SGD(lr: 0.5), shapes: [[[1]], [[1]]], policy: try LayerDecay(0.5))
        try model.optimizer.setLayer(0, settings(["scale": 3]))
        XCTAssertEqual(try info(model).map(\.scale), [3, 1])
        XCTAssertEqual(try info(model).map(\.scaleSource), [.layer, .policy])
        XCTAssertEqual(try model.optimizer.value(of: "scale", layer: 0), .number(3))
        try model.optimizer.setLayer(0, settings(["scale": 0]))
        XCTAssertEqual(try info(model)[0].effectiveRate, 0)
        try model.optimizer.unsetLayer(0, key: "scale")
        XCTAssertEqual(try info(model).map(\.scale), [0.5, 1])
    }

    /// Another layer moves the others: the top is the highest depth there is.
    func testScalesFollowNewLayersAndPolicies() throws {
        let model = try Model(SGD(lr: 1), shapes: [[[1]], [[1]]], policy: try LayerDecay(0.5))
        XCTAssertEqual(try info(model).map(\.scale), [0.5, 1])
        let extra = Buffer(.float32, count: 1)
        try model.optimizer.addLayer(
            "head", [TensorDescription("w", parameters: extra.start, shape: [1], dtype: .float32)])
        XCTAssertEqual(try info(model).map(\.scale), [0.25, 0.5, 1])
        try model.optimizer.setPolicy(named: "range", settings: settings(["lowest": 0.25]))
        XCTAssertEqual(try info(model).map(\.scale), [0.25, 0.5, 1])
        try model.optimizer.setPolicy(named: "uniform", settings: [])
        XCTAssertEqual(try info(model).map(\.scale), [1, 1, 1])
        withExtendedLifetime(extra) {}
    }

    /// The scale multiplies the rate, wherever the rule uses it.
    func testScaleActsOnTheStep() throws {
        for ruleCase in try RuleCase.all() {
            let scaled = try Model(ruleCase.rule, shapes: [[[40], [5, 7]]], policy: try Explicit(["*": 0.5]))
            let slow = try Model(ruleCase.rule, shapes: [[[40], [5, 7]]])
            try slow.optimizer.set([Setting("lr", ruleCase.rule.learningRate / 2)])
            for model in [scaled, slow] { try model.optimizer.step() }
            XCTAssertEqual(try scaled.digest(), try slow.digest(), "\(ruleCase)")
        }
    }

    private func info(_ model: Model) throws -> [LayerInfo] {
        try (0..<model.optimizer.layerCount).map { try model.optimizer.info($0) }
    }
}
