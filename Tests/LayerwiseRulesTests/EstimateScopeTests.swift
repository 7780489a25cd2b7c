// SPDX-License-Identifier: Apache-2.0
import Layerwise
import XCTest

/// Rules that estimate their rate, with an estimate for each layer.
final class EstimateScopeTests: XCTestCase {
    private static let shapes = [[[40], [5, 7]], [[300, 200]], [[1]]]

    /// The same rule with its sums over the optimizer.
    private static func overOptimizer(_ rule: any DeclaredRule) throws -> any DeclaredRule {
        var rule = rule
        try rule.assign(Setting("estimate_scope", "optimizer"))
        return rule
    }

    /// A gradient that pulls every weight to 0.5, with noise.
    private static func pull(_ model: Model) {
        model.drawGradients()
        for (gradients, weights) in zip(model.gradients.joined(), model.parameters.joined()) {
            for i in 0..<gradients.count { gradients[i] = 0.1 * gradients[i] + weights[i] - 0.5 }
        }
    }

    /// Three layers go as three optimizers of one layer each, whose sums run over all that they have.  Float64: sums are taken in another
    /// order, and the estimate amplifies their rounding.
    func testGoesAsAnOptimizerForEachLayer() throws {
        for ruleCase in try RuleCase.byLayer() {
            let model = try Model(ruleCase.rule, Kind(.float64), shapes: Self.shapes)
            let alone = try Self.shapes.map {
                try Model(try Self.overOptimizer(ruleCase.rule), Kind(.float64), shapes: [$0])
            }
            for (layer, own) in alone.enumerated() {
                for (buffer, source) in zip(own.parameters[0], model.parameters[layer]) {
                    buffer.bytes.copyBytes(from: source.bytes)
                }
            }
            let start = model.parameters.map { $0.map(\.values) }
            for _ in 0..<60 {
                Self.pull(model)
                for (layer, own) in alone.enumerated() {
                    for (buffer, source) in zip(own.gradients[0], model.gradients[layer]) {
                        buffer.bytes.copyBytes(from: source.bytes)
                    }
                    try own.optimizer.step()
                }
                try model.optimizer.step()
            }
            var estimates: Set<Double> = []
            let names = type(of: ruleCase.rule).declaration.states.filter { $0.shape == .shared }.map(\.name)
            for (layer, own) in alone.enumerated() {
                for (tensor, first) in start[layer].enumerated() {
                    let wanted = own.parameters[0][tensor].values
                    let moved = zip(wanted, first).map { abs($0 - $1) }.max() ?? 0
                    XCTAssertGreaterThan(moved, 1e-9, "\(ruleCase)")
                    for (a, b) in zip(model.parameters[layer][tensor].values, wanted) {
                        XCTAssertEqual(a, b, accuracy: 1e-9 * moved, "\(ruleCase), layer \(layer)")
                    }
                }
                for name in names {
                    let wanted = try own.state(name, layer: 0)[0]
                    XCTAssertEqual(try model.state(name, layer: layer)[0], wanted, accuracy: 1e-9 * abs(wanted))
                }
                estimates.insert(try model.state(names[0], layer: layer)[0])
            }
            XCTAssertEqual(estimates.count, 3, "\(ruleCase): layers have one estimate")
        }
    }

    /// The same bits with any number of threads, stepped one by one, from a snapshot and after a resume.
    func testBits() throws {
        for ruleCase in try RuleCase.byLayer() {
            for kind in [Kind(.float32), Kind(.bfloat16, master: true)] {
                func model(_ threads: Double = 1) throws -> Model {
                    let model = try Model(ruleCase.rule, kind, shapes: Self.shapes)
                    try model.optimizer.set([Setting("threads", threads)])
                    return model
                }
                let first = try model()
                let others = [try model(2), try model(3), try model(), try model()]
                var digests: Set<String> = []
                for step in 0..<6 {
                    Self.pull(first)
                    if step == 3 {
                        // A checkpoint goes on in another optimizer, and a snapshot brings this one back.
                        try others[3].optimizer.load(try first.optimizer.exported())
                        for (own, source) in zip(others[3].parameters.joined(), first.parameters.joined()) {
                            own.bytes.copyBytes(from: source.bytes)
                        }
                        let snapshot = try first.optimizer.snapshot()
                        try first.optimizer.step()
                        try first.optimizer.step()
                        try first.optimizer.restore(snapshot)
                    }
                    for (index, other) in others.enumerated() where index < 3 || step >= 3 {
                        for (own, source) in zip(other.gradients.joined(), first.gradients.joined()) {
                            own.bytes.copyBytes(from: source.bytes)
                        }
                        if index == 2 {
                            for layer in Self.shapes.indices { try other.optimizer.step(StepOptions(layer: layer)) }
                        } else {
                            try other.optimizer.step()
                        }
                    }
                    try first.optimizer.step()
                }
                for each in [first] + others { digests.insert("\(try each.digest())") }
                XCTAssertEqual(digests.count, 1, "\(ruleCase) \(kind)")
            }
        }
    }

    /// The numbers of a frozen layer stay; a layer's scale is a factor of the rate that its own optimizer would have.
    func testFrozenAndScaledLayers() throws {
        for ruleCase in try RuleCase.byLayer() {
            let names = type(of: ruleCase.rule).declaration.states.filter { $0.shape == .shared }.map(\.name)
            let model = try Model(ruleCase.rule, Kind(.float32), shapes: [[[40]], [[30, 20]]])
            try model.optimizer.setLayer(1, [Setting("scale", 0.5)])
            var half = try Self.overOptimizer(ruleCase.rule)
            half.learningRate *= 0.5
            let alone = try Model(half, Kind(.float32), shapes: [[[30, 20]]])
            alone.parameters[0][0].bytes.copyBytes(from: model.parameters[1][0].bytes)
            for _ in 0..<20 {
                Self.pull(model)
                alone.gradients[0][0].bytes.copyBytes(from: model.gradients[1][0].bytes)
                try model.optimizer.step()
                try alone.optimizer.step()
            }
            XCTAssertEqual(model.parameters[1][0].values, alone.parameters[0][0].values, "\(ruleCase)")
            for name in names {
                XCTAssertEqual(try model.state(name, layer: 1)[0], try alone.state(name, layer: 0)[0], "\(ruleCase)")
            }
            try model.optimizer.setFrozen(0, true)
            let before = try names.map { try model.state($0, layer: 0)[0] }
            let other = try names.map { try model.state($0, layer: 1)[0] }
            for _ in 0..<3 {
                Self.pull(model)
                try model.optimizer.step()
            }
            XCTAssertEqual(try names.map { try model.state($0, layer: 0)[0] }, before, "\(ruleCase)")
            XCTAssertNotEqual(try names.map { try model.state($0, layer: 1)[0] }, other, "\(ruleCase)")
        }
    }

    /// It is a choice of the optimizer's rule, made before there are layers; or a rule of one layer.
    func testRefusals() throws {
        let model = try Model(try XCTUnwrap(RuleCase.byLayer().first).rule, Kind(.float32), shapes: Self.shapes)
        Self.pull(model)
        try model.optimizer.step()
        let before = try model.fullDigest()
        assertRefused(
            .invalidArgument, message: "estimate_scope cannot change once there are layers; create another optimizer"
        ) { try model.optimizer.set([Setting("estimate_scope", "optimizer")]) }
        XCTAssertThrowsError(try model.optimizer.setLayer(0, [Setting("estimate_scope", "optimizer")])) {
            XCTAssertTrue("\($0)".contains("estimate_scope is that of the optimizer's rule"), "\($0)")
        }
        let over = try Model(Prodigy(), Kind(.float32), shapes: Self.shapes)
        XCTAssertThrowsError(try over.optimizer.load(try model.optimizer.exported()))
        XCTAssertEqual(try model.fullDigest(), before)
    }

    /// A layer may have such a rule beside layers of another, and goes as it does alone.
    func testRuleOfALayer() throws {
        for ruleCase in try RuleCase.byLayer() {
            let model = try Model(AdamW(), Kind(.float32), shapes: [[[30]], [[7, 9]]], rules: [1: ruleCase.rule])
            let alone = try Model(try Self.overOptimizer(ruleCase.rule), Kind(.float32), shapes: [[[7, 9]]])
            alone.parameters[0][0].bytes.copyBytes(from: model.parameters[1][0].bytes)
            for _ in 0..<5 {
                Self.pull(model)
                alone.gradients[0][0].bytes.copyBytes(from: model.gradients[1][0].bytes)
                try model.optimizer.step()
                try alone.optimizer.step()
            }
            XCTAssertEqual(model.parameters[1][0].values, alone.parameters[0][0].values, "\(ruleCase)")
            let again = try Model(AdamW(), Kind(.float32), shapes: [[[30]], [[7, 9]]], rules: [1: ruleCase.rule])
            try again.optimizer.load(try model.optimizer.exported())
            for (own, source) in zip(again.parameters.joined(), model.parameters.joined()) {
                own.bytes.copyBytes(from: source.bytes)
            }
            XCTAssertEqual("\(try again.digest())", "\(try model.digest())", "\(ruleCase)")
        }
    }
}
