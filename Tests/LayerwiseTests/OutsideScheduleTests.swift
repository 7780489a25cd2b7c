// SPDX-License-Identifier: Apache-2.0
import Layerwise
import XCTest

/// What an outside schedule and an adapter to another library's optimizers need: every layer's rate in one call, values of
/// several layers at once, the address of a state, all step counts.
final class OutsideScheduleTests: XCTestCase {
    private static let shapes = [[[40], [5, 7]], [[333]], [[3]]]

    private func model(_ rule: any DeclaredRule = AdamW(lr: 0.03)) throws -> Model {
        try Model(rule, shapes: Self.shapes)
    }

    private func setRates(_ optimizer: Optimizer, _ rates: [Double]) throws {
        try rates.withUnsafeBufferPointer { try optimizer.setRates($0) }
    }

    /// The same bits as with a rate set for each layer by itself.
    func testRatesEqualSettings() throws {
        let together = try model()
        let apart = try model()
        for rates in [[0.1, 0.01, 0.001], [0.2, 0, 0.5]] {
            try setRates(together.optimizer, rates)
            for (layer, rate) in rates.enumerated() { try apart.optimizer.setLayer(layer, [Setting("lr", rate)]) }
            for model in [together, apart] { try model.optimizer.step() }
            XCTAssertEqual(try together.digest(), try apart.digest())
            for (layer, rate) in rates.enumerated() {
                XCTAssertEqual(try together.optimizer.value(of: "lr", layer: layer), .number(rate))
                XCTAssertEqual(try together.optimizer.info(layer).effectiveRate, rate)
            }
        }
    }

    /// NaN takes a rate back: the layer follows the optimizer, or the policy, again.
    func testNaNTakesARateBack() throws {
        let model = try Model(
            SGD(lr: 0.5), shapes: Self.shapes, policy: Explicit([Explicit.Assignment("1", lr: 0.25)], unmatched: .keep))
        try setRates(model.optimizer, [0.1, 0.1, .nan])
        XCTAssertEqual(try (0..<3).map { try model.optimizer.info($0).effectiveRate }, [0.1, 0.1, 0.5])
        try setRates(model.optimizer, [.nan, .nan, 0.1])
        XCTAssertEqual(try (0..<3).map { try model.optimizer.info($0).effectiveRate }, [0.5, 0.25, 0.1])
        try model.optimizer.setLearningRate(0.75)
        XCTAssertEqual(try (0..<3).map { try model.optimizer.info($0).effectiveRate }, [0.75, 0.25, 0.1])
        try model.optimizer.unsetLayer(2, key: "lr")
        XCTAssertEqual(try model.optimizer.info(2).effectiveRate, 0.75)
    }

    /// A layer with hyperparameters of its own keeps them.
    func testRatesBesideOtherValues() throws {
        let model = try model()
        try model.optimizer.setLayer(1, settings(["weight_decay": 0.5, "lr": 0.125]))
        XCTAssertEqual(try model.optimizer.info(1).effectiveRate, 0.125)
        try setRates(model.optimizer, [0.1, 0.2, 0.3])
        XCTAssertEqual(try model.optimizer.info(1).weightDecay, 0.5)
        XCTAssertEqual(try model.optimizer.info(1).effectiveRate, 0.2)
    }

    func testRefusedRates() throws {
        try assertAllRefused([
            RefusedCall(.shape, "expected 2 rates, one for each layer, found 1") { try self.setRates($0, [0.1]) },
            RefusedCall(.shape, "expected 2 rates, one for each layer, found 0") { try self.setRates($0, []) },
            RefusedCall(.outOfRange, "layer \"1\": lr must be in [0, inf), found -0.5") {
                try self.setRates($0, [0.1, -0.5])
            },
            RefusedCall(.outOfRange, "layer \"0\": lr must be in [0, inf), found inf") {
                try self.setRates($0, [.infinity, 0.1])
            },
        ])
    }

    func testSeveralLayersAllOrNone() throws {
        let model = try model()
        try model.optimizer.setLayers([(2, settings(["scale": 3])), (0, settings(["weight_decay": 0.25, "lr": 0.5]))])
        XCTAssertEqual(try model.optimizer.value(of: "scale", layer: 2), .number(3))
        XCTAssertEqual(try model.optimizer.value(of: "weight_decay", layer: 0), .number(0.25))
        XCTAssertEqual(try model.optimizer.value(of: "lr", layer: 0), .number(0.5))
        let before = try model.fullDigest()
        assertRefused(.outOfRange, layer: 1) {
            try model.optimizer.setLayers([(2, settings(["scale": 7])), (1, settings(["scale": -1]))])
        }
        assertRefused(.notFound) {
            try model.optimizer.setLayers([(2, settings(["scale": 7])), (3, settings(["scale": 1]))])
        }
        XCTAssertEqual(try model.fullDigest(), before)
    }

    /// The address stays, also while layers are added, and shows what read_state copies.
    func testStateAddress() throws {
        let model = try model()
        let address = try model.optimizer.stateAddress(layer: 1, tensor: 0, name: "exp_avg")
        for added in 0..<50 {
            try model.optimizer.addLayer(
                "more \(added)", [TensorDescription("w", parameters: nil, shape: [0], dtype: .float32)])
        }
        try model.optimizer.step()
        XCTAssertEqual(try model.optimizer.stateAddress(layer: 1, tensor: 0, name: "exp_avg"), address)
        let state = try model.state("exp_avg", layer: 1)
        XCTAssertEqual(memcmp(address, state.start, state.bytes.count), 0)
        assertRefused(.invalidArgument, layer: 1, tensor: 0) {
            _ = try model.optimizer.stateAddress(layer: 1, tensor: 0, name: "step")
        }
        assertRefused(.unknownName, layer: 1, tensor: 0) {
            _ = try model.optimizer.stateAddress(layer: 1, tensor: 0, name: "momentum_buffer")
        }
        assertRefused(.notFound) { _ = try model.optimizer.stateAddress(layer: 99, tensor: 0, name: "step") }
    }

    func testStepCounts() throws {
        let model = try model()
        try model.optimizer.step()
        try model.optimizer.step(StepOptions(layer: 0))
        var counts = [Int64](repeating: -1, count: 4)
        try counts.withUnsafeMutableBufferPointer { try model.optimizer.stepCounts(into: $0) }
        XCTAssertEqual(counts, [2, 2, 1, 1])
        assertRefused(.shape) {
            try counts.withUnsafeMutableBufferPointer {
                try model.optimizer.stepCounts(into: UnsafeMutableBufferPointer(rebasing: $0[..<3]))
            }
        }
    }
}
