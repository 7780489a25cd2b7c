// SPDX-License-Identifier: Apache-2.0
import Layerwise
import XCTest

/// An optimizer without memory: nothing steps, and all that would happen can be seen.
final class DryRunTests: XCTestCase {
    private static let shapes = [[[20], [3, 4]], [[5, 5]], [[7]]]

    private func dry(_ rule: any DeclaredRule, policy: any DeclaredPolicy = Uniform()) throws -> Optimizer {
        var settings = Settings()
        settings.dryRun = true
        let optimizer = try Optimizer(rule, policy: policy, settings: settings)
        for (layer, shapes) in Self.shapes.enumerated() {
            try optimizer.addLayer(
                "\(layer)",
                shapes.enumerated().map { TensorDescription("\($0)", parameters: nil, shape: $1, dtype: .float32) })
        }
        return optimizer
    }

    /// A dry run reports what an optimizer with memory does, except for the state that it does not keep.
    func testShowsWhatARealOneWould() throws {
        for ruleCase in try RuleCase.representatives() {
            let policy = try Combine([try LayerDecay(0.7), Exclude()])
            let real = try Model(ruleCase.rule, shapes: Self.shapes, policy: policy)
            let optimizer = try dry(ruleCase.rule, policy: policy)
            for optimizer in [real.optimizer, optimizer] {
                try optimizer.setSchedule(try Cosine(totalSteps: 40, warmupSteps: 5, minRate: 1e-3))
                optimizer.setFreezePlan(try GradualUnfreezing(every: 6))
                try optimizer.setLayer(1, settings(["lr": 0.7, "scale": 0.1]))
                try optimizer.setFrozen(0, true)
            }
            for t: Int64 in [0, 3, 6, 12, 39, 100] {
                for layer in Self.shapes.indices {
                    let (found, wanted) = (try optimizer.info(layer, at: t), try real.optimizer.info(layer, at: t))
                    XCTAssertEqual(found.effectiveRate, wanted.effectiveRate)
                    XCTAssertEqual(
                        [found.scale, found.baseRate, found.factor, found.weightDecay],
                        [wanted.scale, wanted.baseRate, wanted.factor, wanted.weightDecay])
                    XCTAssertEqual(
                        [found.depth, found.tensorCount, found.parameterCount],
                        [wanted.depth, wanted.tensorCount, wanted.parameterCount])
                    XCTAssertEqual(found.exceptions, wanted.exceptions)
                    XCTAssertEqual(found.frozenBy, wanted.frozenBy)
                    XCTAssertEqual(found.stateBytes, 0)
                }
                XCTAssertEqual(try optimizer.explain(at: t), try real.optimizer.explain(at: t))
            }
        }
    }

    func testStepsAreRefused() throws {
        let optimizer = try dry(LAMB(lr: 0.1))
        for layer in [nil, 0] {
            assertRefused(
                .invalidArgument, message: "an optimizer with dry_run has no memory and cannot step"
            ) { try optimizer.step(StepOptions(layer: layer)) }
        }
        XCTAssertEqual(optimizer.summary.nextStep, 0)
        try optimizer.seek(5)
        XCTAssertEqual(optimizer.summary.nextStep, 5)
        XCTAssertEqual(try optimizer.states(layer: 0, tensor: 0).map(\.name), ["step"])
        try optimizer.reset(0)
    }

    func testIsSetBeforeTheFirstLayer() throws {
        let message = "dry_run cannot be changed once there are layers"
        let model = try Model(SGD(lr: 1), sizes: [3])
        let before = try model.fullDigest()
        assertRefused(.invalidArgument, message: message) { try model.optimizer.set(settings(["dry_run": 1])) }
        XCTAssertEqual(try model.fullDigest(), before)
        try model.optimizer.set(settings(["dry_run": 0, "lr": 0.5]))
        let optimizer = try dry(SGD(lr: 1))
        assertRefused(.invalidArgument, message: message) { try optimizer.set(settings(["dry_run": 0])) }
        let later = try Optimizer(rule: "adamw", settings: [])
        try later.set(settings(["dry_run": 1]))
        try later.set(settings(["dry_run": 0]))
        assertRefused(.invalidArgument, tensor: 0) {
            try later.addLayer("0", [TensorDescription("w", parameters: nil, shape: [3], dtype: .float32)])
        }
    }

    /// Nothing is checked that only memory has; everything else is.
    func testShapesAndNamesAreChecked() throws {
        let optimizer = try dry(SGD(lr: 1))
        func add(_ name: String, _ shape: [Int], _ dtype: DType = .float32, master: Bool = false) throws {
            try optimizer.addLayer(
                name, [TensorDescription("w", parameters: nil, shape: shape, dtype: dtype, master: master)])
        }
        assertRefused(.duplicate) { try add("0", [3]) }
        assertRefused(.shape, tensor: 0) { try add("3", [-1]) }
        assertRefused(.dtype, tensor: 0) { try add("3", [1], .int64) }
        assertRefused(.dtype, tensor: 0) { try add("3", [1], master: true) }
        try add("3", [0, 5])
        let shared = Buffer(.float32, count: 3)
        for name in ["4", "5"] {
            try optimizer.addLayer(
                name, [TensorDescription("w", parameters: shared.start, shape: [3], dtype: .float32)])
        }
        XCTAssertEqual(try optimizer.infos().map(\.parameterCount), [32, 25, 7, 0, 3, 3])
    }

    /// A model that no machine could hold takes no more memory and time than another.
    func testModelsThatFitNoMachine() throws {
        let optimizer = try dry(AdamW(lr: 0.1), policy: try LayerDecay(0.9))
        for (layer, shape) in [[1 << 45], [1 << 20, 1 << 33], [1 << 55]].enumerated() {
            try optimizer.addLayer(
                "huge \(layer)", [TensorDescription("w", parameters: nil, shape: shape, dtype: .bfloat16)])
        }
        XCTAssertEqual(try optimizer.infos().map(\.parameterCount).last, 1 << 55)
        var rates = [Double](repeating: 0, count: 6 * 3)
        try rates.withUnsafeMutableBufferPointer { try optimizer.preview(from: 0, count: 3, into: $0) }
        XCTAssertEqual(rates.last, 0.1)
        XCTAssertTrue(try optimizer.explain().contains("huge 2"))
    }
}
