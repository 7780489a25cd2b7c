// SPDX-License-Identifier: Apache-2.0
import Layerwise
import XCTest

/// What an optimizer makes of a policy: precedence, changes between steps, and the steps themselves.
final class PolicyInOptimizerTests: XCTestCase {
    func testDepthIsTheOrderOfRegistrationUnlessGiven() throws {
        let model = try Model(SGD(lr: 1), shapes: [[[1]], [[1]], [[1]]], policy: try LayerDecay(0.5))
        XCTAssertEqual(try model.infos().map(\.scale), [0.25, 0.5, 1])
        try model.optimizer.setLayer(0, settings(["depth": 3]))
        XCTAssertEqual(try model.infos().map(\.depth), [3, 1, 2])
        XCTAssertEqual(try model.infos().map(\.scale), [1, 0.25, 0.5])
        try model.optimizer.unsetLayer(0, key: "depth")
        XCTAssertEqual(try model.infos().map(\.scale), [0.25, 0.5, 1])
    }

    // MARK: - Precedence

    func testOwnScaleTakesPrecedence() throws {
        let model = try Model(SGD(lr: 0.5), shapes: [[[1]], [[1]]], policy: try LayerDecay(0.5))
        try model.optimizer.setLayer(0, settings(["scale": 3]))
        XCTAssertEqual(try model.infos().map(\.scale), [3, 1])
        XCTAssertEqual(try model.infos().map(\.scaleSource), [.layer, .policy])
        XCTAssertEqual(try model.infos().map(\.origin), ["layer", "layer_decay"])
        XCTAssertEqual(try model.optimizer.value(of: "scale", layer: 0), .number(3))
        try model.optimizer.setLayer(0, settings(["scale": 0]))
        XCTAssertEqual(try model.infos()[0].effectiveRate, 0)
        try model.optimizer.unsetLayer(0, key: "scale")
        XCTAssertEqual(try model.infos().map(\.scale), [0.5, 1])
    }

    /// A layer's own rate takes the place of the optimizer's and of the policy's; the policy still scales it.
    func testOwnRateTakesPrecedence() throws {
        let model = try Model(SGD(lr: 0.5), shapes: [[[1]], [[1]], [[1]]], policy: try RateSlice(0.25, 1))
        try model.optimizer.setLayer(1, settings(["lr": 8]))
        XCTAssertEqual(try model.infos().map(\.effectiveRate), [0.25, 8, 1])
        model.optimizer.setPolicy(try LayerDecay(0.5))
        XCTAssertEqual(try model.infos().map(\.effectiveRate), [0.125, 4, 0.5])
        try model.optimizer.setLayer(1, settings(["scale": 2]))
        XCTAssertEqual(try model.infos().map(\.effectiveRate), [0.125, 16, 0.5])
        try model.optimizer.unsetLayer(1, key: "lr")
        XCTAssertEqual(try model.infos().map(\.effectiveRate), [0.125, 1, 0.5])
        model.optimizer.setPolicy(try RateSlice(0.25, 1))
        XCTAssertEqual(try model.infos().map(\.effectiveRate), [0.25, 1, 1], "its own scale times the policy's rate")
    }

    /// What a layer says of its own scale holds for all its tensors.
    func testOwnScaleReplacesThatOfTensors() throws {
        let model = try Model(
            SGD(lr: 1), Kind(.float64), shapes: [[[2, 2], [2]]], policy: try LoRAPlus(ratio: 4, match: "0/0"))
        try model.optimizer.setLayer(0, settings(["scale": 0.5]))
        for buffer in model.parameters[0] { buffer.values = buffer.values.map { _ in 0 } }
        for buffer in model.gradients[0] { buffer.values = buffer.values.map { _ in 1 } }
        try model.optimizer.step()
        XCTAssertEqual(Set(model.parameters[0].flatMap(\.values)), [-0.5])
        XCTAssertEqual(try model.infos()[0].exceptions, [])
    }

    // MARK: - Changes

    /// Another layer moves the others: the top is the highest depth there is.
    func testScalesFollowNewLayersAndPolicies() throws {
        let model = try Model(SGD(lr: 1), shapes: [[[1]], [[1]]], policy: try LayerDecay(0.5))
        XCTAssertEqual(try model.infos().map(\.scale), [0.5, 1])
        let extra = Buffer(.float32, count: 1)
        try model.optimizer.addLayer(
            "head", [TensorDescription("w", parameters: extra.start, shape: [1], dtype: .float32)])
        XCTAssertEqual(try model.infos().map(\.scale), [0.25, 0.5, 1])
        model.optimizer.setPolicy(try policy(Spec("geometric_range", settings(["lowest": 0.25]))))
        XCTAssertEqual(try model.infos().map(\.scale), [0.25, 0.5, 1])
        model.optimizer.setPolicy(try policy(Spec("uniform")))
        XCTAssertEqual(try model.infos().map(\.scale), [1, 1, 1])
        withExtendedLifetime(extra) {}
    }

    func testChangesTakeEffectAtTheNextStep() throws {
        let model = try Model(SGD(lr: 0.5), Kind(.float64), sizes: [1, 1])
        func step() throws -> [Double] {
            for layer in 0..<2 {
                model.parameters[layer][0][0] = 0
                model.gradients[layer][0][0] = 1
            }
            try model.optimizer.step()
            return model.parameters.map { -$0[0][0] }
        }
        XCTAssertEqual(try step(), [0.5, 0.5])
        model.optimizer.setPolicy(try LayerDecay(0.5))
        XCTAssertEqual(try step(), [0.25, 0.5])
        try model.optimizer.setLayer(1, settings(["scale": 4]))
        XCTAssertEqual(try step(), [0.25, 2])
        try model.optimizer.setLearningRate(1)
        XCTAssertEqual(try step(), [0.5, 4])
        model.optimizer.setPolicy(try Explicit([Explicit.Assignment("*", lr: 0.125)]))
        XCTAssertEqual(try step(), [0.125, 0.5])
        try model.optimizer.setLayer(0, settings(["lr": 3]))
        XCTAssertEqual(try step(), [3, 0.5])
        model.optimizer.setPolicy(Uniform())
        try model.optimizer.unsetLayer(0, key: "lr")
        try model.optimizer.unsetLayer(1, key: "scale")
        XCTAssertEqual(try step(), [1, 1])
    }

    /// An exclusion that is lifted leaves nothing behind.
    func testExclusionsCanBeLifted() throws {
        let rule = LAMB(lr: 0.1, weightDecay: 0.2)
        let changed = try Model(rule, shapes: [[[5, 7], [40]]], policy: Exclude())
        let plain = try Model(rule, shapes: [[[5, 7], [40]]])
        _ = try changed.infos()
        changed.optimizer.setPolicy(Uniform())
        for model in [changed, plain] { try model.optimizer.step() }
        XCTAssertEqual(try changed.digest(), try plain.digest())
    }

    // MARK: - Steps

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

    /// So does a rate in place of the optimizer's.
    func testRateActsOnTheStep() throws {
        for ruleCase in try RuleCase.all() {
            let policed = try Model(
                ruleCase.rule, shapes: [[[40], [5, 7]]],
                policy: try Explicit([Explicit.Assignment("*", scale: 0.25, lr: 0.5)]))
            let slow = try Model(ruleCase.rule, shapes: [[[40], [5, 7]]])
            try slow.optimizer.set([Setting("lr", 0.125)])
            for model in [policed, slow] { for _ in 0..<3 { try model.optimizer.step() } }
            XCTAssertEqual(try policed.digest(), try slow.digest(), "\(ruleCase)")
        }
    }

    /// Every tensor of a layer takes the step that it would take alone at its own rate.
    func testTensorScalesActOnTheStep() throws {
        for ruleCase in try RuleCase.all() where !ruleCase.rule.stages.contains(where: { $0.scope == .layer }) {
            let together = try Model(
                ruleCase.rule, shapes: [[[5, 7], [3, 4], [40]]],
                policy: try LoRAPlus(ratio: 4, match: "0/1", vectors: false))
            let apart = try Model(
                ruleCase.rule, shapes: [[[5, 7]], [[3, 4]], [[40]]], policy: try Explicit(["1": 4, "*": 1]))
            for model in [together, apart] { for _ in 0..<3 { try model.optimizer.step() } }
            for (tensor, count) in [35, 12, 40].enumerated() {
                XCTAssertTrue(
                    together.parameters[0][tensor].startsAlike(apart.parameters[tensor][0], count),
                    "\(ruleCase), tensor \(tensor)")
            }
        }
    }

    /// Scales whose product no number can hold are refused, and nothing changes.
    func testScalesThatOverflow() throws {
        let huge = try Explicit([Explicit.Assignment("*", scale: 1e300)])
        let model = try Model(SGD(lr: 1e300), sizes: [2], settings: Settings())
        let before = try model.digest()
        model.optimizer.setPolicy(try Combine([huge, huge]))
        assertRefused(
            .outOfRange, layer: 0, "two scales"
        ) { try model.optimizer.step() }
        model.optimizer.setPolicy(huge)
        assertRefused(.outOfRange, layer: 0, "scale and rate") { try model.optimizer.step() }
        model.optimizer.setPolicy(try Combine([huge, try LoRAPlus(ratio: 1e300, match: "0/0")]))
        assertRefused(.outOfRange, layer: 0, "scale of layer and tensor") { try model.optimizer.step() }
        XCTAssertEqual(try model.digest(), before)
        model.optimizer.setPolicy(Uniform())
        try model.optimizer.setLearningRate(0.5)
        try model.optimizer.step()
    }
}
