// SPDX-License-Identifier: Apache-2.0
import Layerwise
import XCTest

/// Which layers and tensors a step takes, with which values.
final class StepTests: XCTestCase {
    // MARK: - Freezing

    func testFrozenLayerIsLeftAlone() throws {
        for ruleCase in try RuleCase.representatives() {
            let model = try Model(ruleCase.rule, sizes: [40, 50])
            try model.optimizer.step()
            let before = try snapshot(model, layer: 0)
            try model.optimizer.setFrozen(0, true)
            model.gradients[0][0][3] = .nan
            try model.optimizer.step()
            XCTAssertEqual(try snapshot(model, layer: 0), before, "\(ruleCase): a frozen layer changed")
            XCTAssertEqual(try model.steps(layer: 0), 1)
            XCTAssertEqual(try model.steps(layer: 1), 2)
            XCTAssertTrue(try model.optimizer.info(0).frozen)
        }
    }

    /// A layer that was frozen goes on as if the steps in between had not been.
    func testUnfrozenLayerGoesOn() throws {
        for ruleCase in try RuleCase.representatives() {
            let thawed = try Model(ruleCase.rule, sizes: [40, 50])
            let steady = try Model(ruleCase.rule, sizes: [40, 50])
            try thawed.optimizer.step()
            try thawed.optimizer.setFrozen(0, true)
            for _ in 0..<3 { try thawed.optimizer.step() }
            try thawed.optimizer.setFrozen(0, false)
            try thawed.optimizer.step()
            for _ in 0..<2 { try steady.optimizer.step() }
            XCTAssertEqual(try snapshot(thawed, layer: 0), try snapshot(steady, layer: 0), "\(ruleCase)")
        }
    }

    // MARK: - Gradients

    func testTensorWithoutGradientIsSkipped() throws {
        for ruleCase in try RuleCase.representatives() {
            let model = try Model(ruleCase.rule, shapes: [[[40], [50]]])
            try model.optimizer.step()
            let before = try snapshot(model, layer: 0, tensor: 0)
            try model.optimizer.bind(
                layer: 0, tensor: 0, parameters: model.parameters[0][0].start, gradients: nil)
            try model.optimizer.step()
            XCTAssertEqual(try snapshot(model, layer: 0, tensor: 0), before, "\(ruleCase)")
            XCTAssertEqual(try model.steps(layer: 0, tensor: 1), 2)
        }
    }

    /// Bias correction uses the tensor's own count: one that joins later steps as one that is new.
    func testLateTensorStartsAtStepOne() throws {
        let rule = Adam(lr: 0.1)
        let late = try Model(rule, shapes: [[[40], [40]]])
        let fresh = try Model(rule, shapes: [[[40], [40]]])
        try late.step(gradients: [late.gradients[0][0], nil])
        try late.step(gradients: [nil, late.gradients[0][1]])
        try fresh.optimizer.step()
        XCTAssertEqual(try late.digest(), try fresh.digest())
    }

    func testGradientsGivenWithTheStep() throws {
        for kind in Kind.all {
            let rule = AdamW(lr: 0.1)
            let given = try Model(rule, kind, shapes: [[[40], [3, 5]], [[17]]])
            let bound = try Model(rule, kind, shapes: [[[40], [3, 5]], [[17]]])
            // Other buffers with other numbers than the bound ones.
            let fresh = given.gradients.joined().map { Buffer($0.dtype, $0.values.map { 2 * $0 }) }
            for buffer in bound.gradients.joined() { buffer.values = buffer.values.map { 2 * $0 } }
            try given.step(gradients: fresh)
            try bound.optimizer.step()
            XCTAssertEqual(try given.digest(), try bound.digest(), "\(kind)")
        }
    }

    func testStepOfOneLayer() throws {
        for ruleCase in try RuleCase.representatives() {
            let model = try Model(ruleCase.rule, sizes: [40, 50, 60])
            let whole = try Model(ruleCase.rule, sizes: [40, 50, 60])
            let others = [try snapshot(model, layer: 0), try snapshot(model, layer: 2)]
            try model.optimizer.step(StepOptions(layer: 1))
            try whole.optimizer.step()
            XCTAssertEqual(try snapshot(model, layer: 1), try snapshot(whole, layer: 1), "\(ruleCase)")
            XCTAssertEqual([try snapshot(model, layer: 0), try snapshot(model, layer: 2)], others, "\(ruleCase)")
            for layer in [0, 2] { try model.optimizer.step(StepOptions(layer: layer)) }
            XCTAssertEqual(try model.digest(), try whole.digest(), "\(ruleCase): layer by layer")
            XCTAssertEqual(model.optimizer.summary.steps, 3)
        }
    }

    func testStepOfOneLayerTakesItsGradientsOnly() throws {
        let model = try Model(SGD(lr: 0.5), sizes: [4, 5])
        let gradient = Buffer(.float32, [1, 1, 1, 1, 1])
        let expected = model.parameters[1][0].values.map { Double(Float($0) - 0.5) }
        try model.step(gradients: [gradient], layer: 1)
        XCTAssertEqual(model.parameters[1][0].values, expected)
    }

    /// Dividing by a power of two is exact, so scaled gradients give the same bits.
    func testGradientScale() throws {
        for ruleCase in try RuleCase.representatives() {
            for kind in [Kind(.float32), Kind(.float64), Kind(.bfloat16, gradients: .float32)] {
                let scaled = try Model(ruleCase.rule, kind, sizes: [40, 50])
                let plain = try Model(ruleCase.rule, kind, sizes: [40, 50])
                for buffer in scaled.gradients.joined() { buffer.values = buffer.values.map { 1024 * $0 } }
                let before = scaled.gradients[0][0].values
                try scaled.optimizer.step(StepOptions(gradientScale: 1024))
                try plain.optimizer.step()
                XCTAssertEqual(try scaled.digest(), try plain.digest(), "\(ruleCase), \(kind)")
                XCTAssertEqual(scaled.gradients[0][0].values, before, "gradients were modified")
            }
        }
    }

    func testMaximizeIsTheStepOfTheNegativeGradient() throws {
        for ruleCase in try RuleCase.representatives() {
            let ascending = try Model(ruleCase.rule, sizes: [40, 50])
            let descending = try Model(ruleCase.rule, sizes: [40, 50])
            try ascending.optimizer.set(settings(["maximize": 1]))
            for buffer in descending.gradients.joined() { buffer.values = buffer.values.map { -$0 } }
            try ascending.optimizer.step()
            try descending.optimizer.step()
            XCTAssertEqual(try ascending.digest(), try descending.digest(), "\(ruleCase)")
        }
    }

    /// Buffers of another place, same state: what a copy of the model needs.
    func testBindKeepsState() throws {
        let moved = try Model(Adam(lr: 0.1), sizes: [40])
        let steady = try Model(Adam(lr: 0.1), sizes: [40])
        try moved.optimizer.step()
        try steady.optimizer.step()
        let parameters = Buffer(.float32, moved.parameters[0][0].values)
        let gradients = Buffer(.float32, moved.gradients[0][0].values)
        let old = moved.parameters[0][0].values
        try moved.optimizer.bind(layer: 0, tensor: 0, parameters: parameters.start, gradients: gradients.start)
        try withExtendedLifetime(gradients) { try moved.optimizer.step() }
        try steady.optimizer.step()
        XCTAssertEqual(parameters.values, steady.parameters[0][0].values)
        XCTAssertEqual(moved.parameters[0][0].values, old, "the old buffer was written")
        XCTAssertEqual(try moved.state("exp_avg", layer: 0).values, try steady.state("exp_avg", layer: 0).values)
    }

    func testEmptyOptimizerAndEmptyTensors() throws {
        for ruleCase in try RuleCase.representatives() {
            let none = try Optimizer(ruleCase.rule)
            try none.step()
            XCTAssertEqual(none.summary.steps, 1)
            let model = try Model(ruleCase.rule, shapes: [[[0], [3, 0]], [[5]]])
            try model.optimizer.set(settings(["telemetry": 1, "clip_layer_norm": 1]))
            try model.optimizer.step()
            XCTAssertEqual(try model.steps(layer: 1), 1, "\(ruleCase)")
            XCTAssertEqual(try model.optimizer.telemetry(0).gradientNorm, 0)
        }
    }

    // MARK: - Per-layer values

    /// A layer's own values act as if the whole optimizer had them.
    func testPerLayerHyperparameters() throws {
        let cases: [(String, Options)] = [
            ("sgd", ["lr": 0.3, "momentum": 0.5, "dampening": 0.25, "weight_decay": 0.5]),
            ("sgd", ["nesterov": 1, "momentum": 0.7, "decoupled_weight_decay": 1, "weight_decay": 0.1]),
            ("lars", ["lr": 0.3, "momentum": 0.5, "norm": "decayed", "lr_position": "outside", "weight_decay": 0.1]),
            ("adam", ["beta1": 0.5, "beta2": 0.75, "eps": 0.01, "amsgrad": 1, "weight_decay": 0.5]),
            ("adamw", ["lr": 0.5, "weight_decay": 0.5]),
            ("lamb", ["bias_correction": "none", "ratio_max": 1.5, "weight_decay": 0.3, "decay": "gradient"]),
            ("lamb", ["trust_ratio_scope": "layer"]),
        ]
        for (name, options) in cases {
            let plain = try RuleCase(name).rule
            let own = try RuleCase(name, options).rule
            let shapes = [[[40], [5, 7]], [[50], [3, 3]]]
            let mixed = try Model(plain, shapes: shapes)
            try mixed.optimizer.setLayer(1, settings(options))
            let (first, second) = (try Model(plain, shapes: shapes), try Model(own, shapes: shapes))
            for _ in 0..<3 {
                for model in [mixed, first, second] { try model.optimizer.step() }
            }
            XCTAssertEqual(try snapshot(mixed, layer: 0), try snapshot(first, layer: 0), "\(name) \(options)")
            XCTAssertEqual(try snapshot(mixed, layer: 1), try snapshot(second, layer: 1), "\(name) \(options)")
        }
    }

    func testValuesGivenAtRegistrationAndTakenBack() throws {
        let model = try Model(SGD(lr: 0.5), sizes: [4])
        let extra = Buffer(.float32, [1, 2, 3, 4])
        let gradients = Buffer(.float32, [1, 1, 1, 1])
        let layer = try model.optimizer.addLayer(
            "own",
            [TensorDescription("w", parameters: extra.start, gradients: gradients.start, shape: [4], dtype: .float32)],
            settings: settings(["lr": 0.25, "scale": 2]))
        try model.optimizer.step()
        XCTAssertEqual(extra.values, [0.5, 1.5, 2.5, 3.5])
        try model.optimizer.unsetLayer(layer, key: "lr")
        try model.optimizer.unsetLayer(layer, key: "scale")
        try withExtendedLifetime(gradients) { try model.optimizer.step() }
        XCTAssertEqual(extra.values, [0, 1, 2, 3])
    }

    /// The base rate changes for all layers but those with a rate of their own.
    func testBaseRateBetweenSteps() throws {
        let model = try Model(SGD(lr: 1), sizes: [1, 1])
        for buffer in model.parameters.joined() { buffer[0] = 0 }
        for buffer in model.gradients.joined() { buffer[0] = -1 }
        try model.optimizer.setLayer(1, settings(["lr": 0.5]))
        try model.optimizer.step()
        try model.optimizer.set(settings(["lr": 0.25]))
        try model.optimizer.step()
        XCTAssertEqual(model.parameters.joined().map { $0[0] }, [1.25, 1])
        XCTAssertEqual(model.optimizer.learningRate, 0.25)
    }

    /// A state that is switched on later starts from zero, and is kept when it is switched off.
    func testMomentumAndAMSGradSwitchedOnMidway() throws {
        let sgd = try Model(SGD(lr: 0.5), sizes: [20])
        try sgd.optimizer.step()
        XCTAssertEqual(try sgd.optimizer.states(layer: 0, tensor: 0).map(\.name), ["step"])
        try sgd.optimizer.set(settings(["momentum": 0.5, "dampening": 0.5]))
        XCTAssertEqual(try sgd.state("momentum_buffer", layer: 0).values, [Double](repeating: 0, count: 20))
        try sgd.optimizer.step()
        XCTAssertEqual(try sgd.state("momentum_buffer", layer: 0).values, sgd.gradients[0][0].values.map { 0.5 * $0 })
        try sgd.optimizer.set(settings(["momentum": 0, "dampening": 0]))
        let kept = try sgd.state("momentum_buffer", layer: 0).values
        try sgd.optimizer.step()
        XCTAssertEqual(try sgd.state("momentum_buffer", layer: 0).values, kept)

        let adam = try Model(Adam(lr: 0.5), sizes: [20])
        try adam.optimizer.step()
        try adam.optimizer.set(settings(["amsgrad": 1]))
        try adam.optimizer.step()
        XCTAssertEqual(
            try adam.state("max_exp_avg_sq", layer: 0).values, try adam.state("exp_avg_sq", layer: 0).values)
    }

    // MARK: - States

    /// A run that is saved state by state and goes on elsewhere gives the same bits.
    func testStatesRestoreExactly() throws {
        for ruleCase in try RuleCase.all() {
            for kind in [Kind(.float32), Kind(.float64), Kind(.float16, master: true)] {
                let shapes = [[[40], [5, 7]], [[50]]]
                let first = try Model(ruleCase.rule, kind, shapes: shapes)
                for _ in 0..<2 { try first.optimizer.step() }
                let second = try Model(ruleCase.rule, kind, shapes: shapes)
                for layer in shapes.indices {
                    for tensor in shapes[layer].indices {
                        second.parameters[layer][tensor].bytes.copyBytes(from: first.parameters[layer][tensor].bytes)
                        for info in try first.optimizer.states(layer: layer, tensor: tensor) {
                            let state = try first.state(info.name, layer: layer, tensor: tensor)
                            try withExtendedLifetime(state) {
                                try second.optimizer.writeState(
                                    layer: layer, tensor: tensor, name: info.name,
                                    from: UnsafeRawBufferPointer(state.bytes))
                            }
                        }
                    }
                }
                XCTAssertEqual(try first.digest(), try second.digest(), "\(ruleCase), \(kind)")
                for model in [first, second] { try model.optimizer.step() }
                XCTAssertEqual(try first.digest(), try second.digest(), "\(ruleCase), \(kind)")
            }
        }
    }

    /// A layer's parameters and states.
    private func snapshot(_ model: Model, layer: Int) throws -> [[[Double]]] {
        try model.parameters[layer].indices.map { try snapshot(model, layer: layer, tensor: $0) }
    }

    private func snapshot(_ model: Model, layer: Int, tensor: Int) throws -> [[Double]] {
        [model.parameters[layer][tensor].values]
            + (try model.optimizer.states(layer: layer, tensor: tensor).filter { $0.name != "step" }.map {
                try model.state($0.name, layer: layer, tensor: tensor).values
            }) + [[Double(try model.steps(layer: layer, tensor: tensor))]]
    }
}
