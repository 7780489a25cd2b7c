// SPDX-License-Identifier: Apache-2.0
import Layerwise
import XCTest

/// Layers that are stepped by a rule of their own in place of the optimizer's.
final class RuleOfLayerTests: XCTestCase {
    private static let common = AdamW(lr: 0.01, weightDecay: 0.1)
    /// Layer 1 is large enough for several blocks of work, the others are small.
    private static let shapes = [[[40], [5, 7]], [[130, 300], [33]], [[17, 3]]]

    /// The optimizer's rule and the layers' own: `ruleCase` steps layer 1 and AdamW the others.
    private func rules(_ ruleCase: RuleCase) -> (optimizer: any DeclaredRule, layers: [Int: any DeclaredRule]) {
        ruleCase.takesSumsOverOptimizer
            ? (ruleCase.rule, [0: Self.common, 2: Self.common]) : (Self.common, [1: ruleCase.rule])
    }

    private func mixed(_ ruleCase: RuleCase, _ kind: Kind = Kind(.float32), shapes: [[[Int]]]? = nil) throws -> Model {
        let rules = rules(ruleCase)
        return try Model(rules.optimizer, kind, shapes: shapes ?? Self.shapes, rules: rules.layers)
    }

    /// Gives a model the buffers of some layers of another.
    private func copy(_ source: Model, layers: [Int], to target: Model) {
        for (own, layer) in layers.enumerated() {
            for (a, b) in zip(target.parameters[own], source.parameters[layer]) { a.bytes.copyBytes(from: b.bytes) }
            for (a, b) in zip(target.gradients[own], source.gradients[layer]) { a.bytes.copyBytes(from: b.bytes) }
        }
    }

    private func assertSameBits(_ found: Model, layers: [Int], _ wanted: Model, _ label: String) throws {
        for (own, layer) in layers.enumerated() {
            for (a, b) in zip(found.parameters[layer], wanted.parameters[own]) {
                XCTAssertTrue(a.startsAlike(b, b.count), "\(label): layer \(layer)")
            }
            let names = try wanted.optimizer.states(layer: own, tensor: 0).map(\.name)
            XCTAssertEqual(try found.optimizer.states(layer: layer, tensor: 0).map(\.name), names, label)
            for name in names {
                XCTAssertEqual(
                    try found.state(name, layer: layer).values, try wanted.state(name, layer: own).values,
                    "\(label): layer \(layer), \(name)")
            }
        }
    }

    /// Every rule beside AdamW in one optimizer moves its layer by the same bits as in an optimizer of its own.
    func testEachLayerMovesAsInAnOptimizerOfItsOwn() throws {
        for ruleCase in try RuleCase.all() {
            for kind in [Kind(.float32), Kind(.float64)] {
                let both = try mixed(ruleCase, kind)
                let alone = try Model(ruleCase.rule, kind, shapes: [Self.shapes[1]])
                let others = try Model(Self.common, kind, shapes: [Self.shapes[0], Self.shapes[2]])
                copy(both, layers: [1], to: alone)
                copy(both, layers: [0, 2], to: others)
                for _ in 0..<4 {
                    both.drawGradients()
                    copy(both, gradients: [1], to: alone)
                    copy(both, gradients: [0, 2], to: others)
                    for model in [both, alone, others] { try model.optimizer.step() }
                }
                try assertSameBits(both, layers: [1], alone, "\(ruleCase) \(kind)")
                try assertSameBits(both, layers: [0, 2], others, "\(ruleCase) \(kind)")
            }
        }
    }

    private func copy(_ source: Model, gradients layers: [Int], to target: Model) {
        for (own, layer) in layers.enumerated() {
            for (a, b) in zip(target.gradients[own], source.gradients[layer]) { a.bytes.copyBytes(from: b.bytes) }
        }
    }

    /// Rules with different numbers of stages, whose tensors are spread over processes.
    func testPartsOfTensorsStepAsWithOptimizersOfTheirOwn() throws {
        let part = [[[20], [5, 7]], [[60, 300], [33]], [[7, 3]]]
        let rest = [[[20], [5, 7]], [[70, 300], [33]], [[10, 3]]]
        for ruleCase in try RuleCase.all() {
            let both = try [part, rest].map { try mixed(ruleCase, shapes: $0) }
            let alone = try [part, rest].map { try Model(ruleCase.rule, shapes: [$0[1]]) }
            let others = try [part, rest].map { try Model(Self.common, shapes: [$0[0], $0[2]]) }
            for index in 0..<2 {
                copy(both[index], layers: [1], to: alone[index])
                copy(both[index], layers: [0, 2], to: others[index])
            }
            for models in [both, alone, others] {
                for _ in 0..<3 { XCTAssertEqual(stepTogether(models.map(\.optimizer)), [nil, nil], "\(ruleCase)") }
            }
            for index in 0..<2 {
                try assertSameBits(both[index], layers: [1], alone[index], "\(ruleCase), part \(index)")
                try assertSameBits(both[index], layers: [0, 2], others[index], "\(ruleCase), part \(index)")
            }
        }
    }

    /// No weight has changed where a sum over processes fails, also of rules that take none.
    func testNoWeightChangesWhereASumFails() throws {
        let model = try Model(Self.common, shapes: Self.shapes, rules: [1: LAMB(lr: 0.1)])
        let before = model.parameters.map { $0.map(\.values) }
        assertRefused(.reduce) {
            var settings = StepOptions()
            settings.reduce = .closure { _ in false }
            try model.optimizer.set([Setting("nonfinite", "propagate")])
            try model.optimizer.step(settings)
        }
        XCTAssertEqual(model.parameters.map { $0.map(\.values) }, before)
        XCTAssertEqual(try model.steps(layer: 0), 0)
    }

    func testRatesOfTheRuleScheduleAndPolicy() throws {
        let model = try Model(
            Self.common, shapes: Self.shapes, rules: [1: Lion(lr: 0.002)], policy: try Explicit(["1": 0.5, "*": 2]))
        let optimizer = model.optimizer
        XCTAssertEqual(try model.infos().map(\.effectiveRate), [0.02, 0.001, 0.02])
        XCTAssertEqual(try model.infos().map(\.rule), ["adamw", "lion", "adamw"])
        try optimizer.setLearningRate(0.1)
        XCTAssertEqual(try model.infos().map(\.effectiveRate), [0.2, 0.001, 0.2], "its rate is its own")
        try optimizer.setSchedule(try Constant(factor: 0.5))
        XCTAssertEqual(try model.infos().map(\.effectiveRate), [0.1, 0.0005, 0.1])
        try optimizer.setSchedule(nil)
        try optimizer.setLayer(1, settings(["lr": 0.004, "beta1": 0.5]))
        XCTAssertEqual(try optimizer.value(of: "lr", layer: 1), .number(0.004))
        XCTAssertEqual(try optimizer.value(of: "beta1", layer: 1), .number(0.5))
        XCTAssertEqual(try optimizer.value(of: "rule", layer: 1), .choice("lion"))
        XCTAssertEqual(try optimizer.value(of: "rule", layer: 0), .choice("adamw"))
        for key in ["lr", "beta1"] { try optimizer.unsetLayer(1, key: key) }
        XCTAssertEqual(try optimizer.value(of: "lr", layer: 1), .number(0.002))
        XCTAssertEqual(try optimizer.value(of: "beta1", layer: 1), .number(Lion().beta1))
        XCTAssertTrue(try optimizer.explain().contains("lion"))
        XCTAssertFalse(try Model(Self.common, shapes: Self.shapes).optimizer.explain().contains("  rule"))
    }

    /// A schedule of a hyperparameter moves it in every rule that has it.
    func testSchedulesOfHyperparameters() throws {
        let model = try Model(
            Self.common, shapes: Self.shapes, rules: [1: SGD(lr: 0.1, momentum: 0.8, weightDecay: 0.4)])
        let half = try Constant(factor: 0.5)
        try model.optimizer.setSchedule(half, for: "weight_decay")
        XCTAssertEqual(try model.infos().map(\.weightDecay), [0.05, 0.2, 0.05])
        try model.optimizer.setSchedule(half, for: "momentum", layer: 1)
        assertRefused(.unknownName) { try model.optimizer.setSchedule(half, for: "momentum", layer: 0) }
        assertRefused(.unknownName) { try model.optimizer.setSchedule(half, for: "beta1", layer: 1) }
        try model.optimizer.step()
    }

    /// Words and types describe the same layer, also to a checkpoint.
    func testWordsAndCheckpoints() throws {
        let typed = try Model(Self.common, shapes: Self.shapes, rules: [1: NAdam(lr: 0.002, momentumDecay: 0.01)])
        let words = try Model(Self.common, shapes: [])
        var buffers: [Buffer] = []
        for (layer, shapes) in Self.shapes.enumerated() {
            let tensors = shapes.enumerated().map { index, shape -> TensorDescription in
                let (parameters, gradients) = (typed.parameters[layer][index], typed.gradients[layer][index])
                let own = Buffer(.float32, parameters.values)
                buffers += [own, gradients]
                return TensorDescription(
                    "\(index)", parameters: own.start, gradients: gradients.start, shape: shape, dtype: .float32)
            }
            let own: Options = ["momentum_decay": 0.01, "lr": 0.002, "rule": "nadam"]
            try words.optimizer.addLayer("\(layer)", tensors, settings: layer == 1 ? settings(own) : [])
        }
        for _ in 0..<3 { for model in [typed, words] { try model.optimizer.step() } }
        XCTAssertEqual(try words.optimizer.exported(), try typed.optimizer.exported())

        let saved = try typed.optimizer.exported(SaveOptions(parameters: true))
        let resumed = try Model(Self.common, shapes: Self.shapes, rules: [1: NAdam(lr: 0.5, momentumDecay: 0.01)])
        try resumed.optimizer.load(saved)
        XCTAssertEqual(try resumed.optimizer.value(of: "lr", layer: 1), .number(0.002), "the rate is put back")
        for _ in 0..<3 { for model in [typed, resumed] { try model.optimizer.step() } }
        XCTAssertEqual(try resumed.digest(), try typed.digest())

        let other = try Model(Self.common, shapes: Self.shapes, rules: [1: RAdam(lr: 0.002)])
        try assertDiffers(other, saved, "layers.1.rule: \"nadam\" in the checkpoint, \"radam\" here")
        let none = try Model(Self.common, shapes: Self.shapes)
        try assertDiffers(none, saved, "layers.1.rule: only in the checkpoint")
        withExtendedLifetime(buffers) {}
    }

    private func assertDiffers(_ model: Model, _ saved: [UInt8], _ difference: String) throws {
        let before = try model.digest()
        assertRefused(.mismatch) { try model.optimizer.load(saved) }
        XCTAssertTrue(model.optimizer.loadReport.differences.contains(difference), "\(model.optimizer.loadReport)")
        XCTAssertEqual(try model.digest(), before)
    }

    /// Only the layer whose rule has weights for evaluation changes.
    func testEvaluation() throws {
        let rule = ScheduleFreeAdamW(lr: 0.05)
        let model = try Model(Self.common, shapes: Self.shapes, rules: [1: rule])
        let alone = try Model(rule, shapes: [Self.shapes[1]])
        copy(model, layers: [1], to: alone)
        for both in [model, alone] { for _ in 0..<3 { try both.optimizer.step() } }
        let before = model.parameters.map { $0.map(\.values) }
        for both in [model, alone] { try both.optimizer.setMode(.evaluation) }
        XCTAssertEqual(model.parameters[1].map(\.values), alone.parameters[0].map(\.values))
        XCTAssertNotEqual(model.parameters[1].map(\.values), before[1])
        XCTAssertEqual(model.parameters[0].map(\.values), before[0])
        assertRefused(.invalidArgument) { try model.optimizer.step() }
        for both in [model, alone] { try both.optimizer.setMode(.training) }
        XCTAssertEqual(model.parameters[1].map(\.values), alone.parameters[0].map(\.values))
        try model.optimizer.step()
    }

    func testReset() throws {
        let model = try Model(
            Self.common, shapes: Self.shapes, rules: [1: Adagrad(lr: 0.1, initialAccumulatorValue: 0.25)])
        try model.optimizer.step()
        try model.optimizer.reset(1)
        XCTAssertEqual(try model.steps(layer: 1), 0)
        XCTAssertEqual(try model.steps(layer: 0), 1)
    }

    func testRefuses() throws {
        let buffer = Buffer(.float32, count: 4)
        let tensor = TensorDescription("w", parameters: buffer.start, gradients: nil, shape: [4], dtype: .float32)
        func add(_ options: Options) -> (Optimizer) throws -> Void {
            { try $0.addLayer("own", [tensor], settings: settings(options)) }
        }
        let prodigy = "takes sums over all its layers: it must be the optimizer's rule, and layers may have other rules"
        try assertAllRefused([
            RefusedCall(.outOfRange, "layer \"own\": Prodigy \(prodigy)", add(["rule": "prodigy"])),
            RefusedCall(.outOfRange, "layer \"own\": rule must be a name, found a number", add(["rule": 3])),
            RefusedCall(
                .outOfRange, "layer \"1\": the rule of a layer stays as it was when the layer was added"
            ) { try $0.setLayer(1, settings(["rule": "lion"])) },
            RefusedCall(
                .invalidArgument, "layer \"1\": the rule of a layer stays as it was when the layer was added"
            ) { try $0.unsetLayer(1, key: "rule") },
            RefusedCall(
                .outOfRange, "layer \"own\": beta1 must be in [0, 1), found 2.0", add(["rule": "lion", "beta1": 2])),
        ])
        let optimizer = try Optimizer(Self.common)
        assertRefused(.unknownName, layer: 0) { try add(["rule": "lion", "eps": 1])(optimizer) }
        assertRefused(.unknownName, layer: 0) { try add(["rule": "lyon"])(optimizer) }
        var following = Settings()
        following.decayFollows = .baseLR
        let follows = try Optimizer(Self.common, settings: following)
        assertRefused(.outOfRange, layer: 0) { try add(["rule": "adam"])(follows) }
        XCTAssertEqual(optimizer.layerCount, 0)
        // Its own rule it may have.
        try optimizer.addLayer("same", [tensor], rule: AdamW(lr: 0.5))
        try optimizer.setLayer(0, [Setting("rule", "adamw")])
        XCTAssertEqual(try optimizer.value(of: "lr", layer: 0), .number(0.5))
        withExtendedLifetime(buffer) {}
    }

    /// Layers with a rule of the optimizer's kind share its scalars.
    func testLayersMayHaveOtherValuesOfARuleThatSumsOverAll() throws {
        let model = try Model(
            Prodigy(lr: 1), shapes: Self.shapes, rules: [1: Prodigy(lr: 1, weightDecay: 0.1), 2: Self.common])
        for _ in 0..<3 { try model.optimizer.step() }
        assertRefused(.invalidArgument, layer: 0) { try model.optimizer.step(StepOptions(layer: 0)) }
        assertRefused(.invalidArgument, layer: 1) { try model.optimizer.step(StepOptions(layer: 1)) }
        try model.optimizer.step(StepOptions(layer: 2))
        XCTAssertEqual(try model.steps(layer: 2), 4)
    }
}

extension RuleCase {
    /// Whether the rule can only be the optimizer's.
    fileprivate var takesSumsOverOptimizer: Bool { rule.stages.contains { $0.scope == .optimizer } }
}
