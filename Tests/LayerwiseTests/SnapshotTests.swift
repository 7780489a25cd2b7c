// SPDX-License-Identifier: Apache-2.0
import Layerwise
import XCTest

/// A snapshot puts everything back, whatever was done since, and the run goes on with the bits of one that was left alone.
final class SnapshotTests: XCTestCase {
    private static let shapes: [[[Int]]] = [[[37], [3, 4]], [[]], [[0, 2], [129]]]

    private func options(_ model: Model) throws {
        try model.optimizer.set(settings(["clip_global_norm": 0.5]))
        model.optimizer.setPolicy(try LayerDecay(0.75))
        try model.optimizer.setSchedule(try Warmup(steps: 3))
        model.optimizer.setFreezePlan(try GradualUnfreezing(every: 2))
    }

    /// Every rule, every way to store a tensor; rules of the cases differ, so that states come that were not there.
    func testEveryRuleAndKind() throws {
        for (kind, cases) in try RuleCase.byKind() {
            for ruleCase in cases {
                let straight = try Model(ruleCase.rule, kind, shapes: Self.shapes)
                let model = try Model(ruleCase.rule, kind, shapes: Self.shapes)
                for each in [straight, model] {
                    try options(each)
                    for _ in 0..<3 { try each.optimizer.step() }
                }
                let snapshot = try model.optimizer.snapshot()
                let digest = try model.fullDigest()
                for _ in 0..<2 {
                    model.optimizer.setPolicy(Uniform())
                    try model.optimizer.setSchedule(nil)
                    model.optimizer.setFreezePlan(nil)
                    try model.optimizer.set(settings(["lr": 0.5, "clip_global_norm": 3]))
                    try model.optimizer.setLayer(1, [Setting("scale", 2)])
                    try model.optimizer.setFrozen(0, true)
                    try model.optimizer.step()
                    try model.optimizer.setMode(.evaluation)
                    try model.optimizer.restore(snapshot)
                    XCTAssertEqual(try model.fullDigest(), digest, "\(ruleCase), \(kind)")
                }
                for _ in 0..<3 {
                    try straight.optimizer.step()
                    try model.optimizer.step()
                }
                XCTAssertEqual(try model.fullDigest(), try straight.fullDigest(), "\(ruleCase), \(kind)")
            }
        }
    }

    /// Layers with rules of their own, which need the states of those rules.
    func testRulesOfLayers() throws {
        let rules: [Int: any DeclaredRule] = [0: Lion(lr: 0.01), 2: RAdam(lr: 0.1)]
        let straight = try Model(AdamW(lr: 0.1), shapes: Self.shapes, rules: rules)
        let model = try Model(AdamW(lr: 0.1), shapes: Self.shapes, rules: rules)
        let snapshot = try model.optimizer.snapshot()
        try model.optimizer.set(settings(["amsgrad": 1]))
        try model.optimizer.setLayer(0, [Setting("beta1", 0.5)])
        for _ in 0..<3 { try model.optimizer.step() }
        try model.optimizer.restore(snapshot)
        for each in [straight, model] {
            for _ in 0..<3 { try each.optimizer.step() }
        }
        // States that came since are there, as they begin.
        for (own, other) in zip(model.parameters.joined(), straight.parameters.joined()) {
            XCTAssertEqual(own.values, other.values)
        }
        try model.optimizer.restore(snapshot)
        try model.optimizer.set(settings(["amsgrad": 1]))
        let again = try Model(AdamW(lr: 0.1), shapes: Self.shapes, rules: rules)
        try again.optimizer.set(settings(["amsgrad": 1]))
        XCTAssertEqual(try model.digest(), try again.digest())
    }

    /// Bytes that several threads share come to the places of one.
    func testThreads() throws {
        for threads in [1, 2, 5] {
            var options = Settings()
            options.threads = threads
            let model = try Model(
                AdamW(lr: 0.1), shapes: [[[(1 << 21) + 3], [5]], [[1 << 20]], [[]]], settings: options)
            try model.optimizer.step()
            let digest = try model.digest()
            let snapshot = try model.optimizer.snapshot()
            XCTAssertGreaterThanOrEqual(snapshot.byteCount, 12 * ((1 << 21) + 3 + (1 << 20)))
            try model.optimizer.step()
            XCTAssertNotEqual(try model.digest(), digest)
            try model.optimizer.restore(snapshot)
            XCTAssertEqual(try model.digest(), digest)
        }
    }

    func testWithoutLayers() throws {
        let optimizer = try Optimizer(SGD(lr: 0.25))
        try optimizer.seek(7)
        let snapshot = try optimizer.snapshot()
        try optimizer.seek(9)
        try optimizer.setLearningRate(1)
        try optimizer.restore(snapshot)
        XCTAssertEqual(optimizer.summary.nextStep, 7)
        XCTAssertEqual(optimizer.learningRate, 0.25)
    }

    func testRefusals() throws {
        let model = try Model(Adam(), sizes: [3])
        let other = try Model(Adam(), sizes: [3])
        let snapshot = try model.optimizer.snapshot()
        let digest = try other.fullDigest()
        assertRefused(.mismatch, message: "the snapshot is of another optimizer") {
            try other.optimizer.restore(snapshot)
        }
        XCTAssertEqual(try other.fullDigest(), digest)
        let buffer = Buffer(.float32, [1, 2])
        try withExtendedLifetime(buffer) {
            try model.optimizer.addLayer(
                "more",
                [TensorDescription("weight", parameters: buffer.start, gradients: nil, shape: [2], dtype: .float32)])
            let digest = try model.digest()
            assertRefused(.mismatch, message: "the snapshot has 1 layers, the optimizer 2") {
                try model.optimizer.restore(snapshot)
            }
            XCTAssertEqual(try model.digest(), digest)
        }
        let dry = try Optimizer(
            Adam(),
            settings: {
                var settings = Settings()
                settings.dryRun = true
                return settings
            }())
        XCTAssertThrowsError(try dry.snapshot())
    }
}
