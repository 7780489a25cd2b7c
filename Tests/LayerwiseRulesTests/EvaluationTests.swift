// SPDX-License-Identifier: Apache-2.0
import Layerwise
import XCTest

/// Weights that differ between training and evaluation.
final class EvaluationTests: XCTestCase {
    private static let shapes = [[[40], [5, 7]], [[300, 200]], [[1]]]

    private func model(_ kind: Kind = Kind(.float64)) throws -> Model {
        let rule = ScheduleFreeAdamW(lr: 0.03, betas: (0.8, 0.99), weightDecay: 0.1, warmupSteps: 3)
        let model = try Model(rule, kind, shapes: Self.shapes)
        for _ in 0..<7 {
            model.drawGradients()
            try model.optimizer.step()
        }
        return model
    }

    /// x = y + (1 − 1/β₁)·(z − y), and back; with two layers' β₁ and any number of threads.
    func testModes() throws {
        for kind in [Kind(.float64), Kind(.float32), Kind(.bfloat16), Kind(.bfloat16, master: true), Kind(.float16)] {
            let tolerance =
                switch kind.master ? .float32 : kind.dtype {
                case .float64: 1e-15
                case .float32: 1e-6
                case .float16: 0x1p-9
                default: 0x1p-6
                }
            let model = try model(kind)
            try model.optimizer.setLayer(1, [Setting("beta1", 0.6)])
            let before = try model.digest()
            func weights() throws -> [[Double]] {
                try model.parameters.indices.flatMap { layer in
                    try model.parameters[layer].indices.map { tensor in
                        kind.master
                            ? try model.state("master", layer: layer, tensor: tensor).values
                            : model.parameters[layer][tensor].values
                    }
                }
            }
            let y = try weights()
            let z = try model.parameters.indices.flatMap { layer in
                try model.parameters[layer].indices.map { try model.state("z", layer: layer, tensor: $0).values }
            }
            try model.optimizer.setMode(.training)
            XCTAssertEqual(try model.digest(), before, "the mode was that already")
            try model.optimizer.setMode(.evaluation)
            XCTAssertEqual(model.optimizer.mode, .evaluation)
            let betas = [0.8, 0.8, 0.6, 0.8]
            for (tensor, x) in try weights().enumerated() {
                XCTAssertNotEqual(x, y[tensor], "\(kind)")
                for i in x.indices {
                    let wanted = y[tensor][i] + (1 - 1 / betas[tensor]) * (z[tensor][i] - y[tensor][i])
                    XCTAssertEqual(x[i], wanted, accuracy: 2 * tolerance * max(1, wanted.magnitude), "\(kind)")
                }
            }
            try model.optimizer.setMode(.evaluation)
            try model.optimizer.setMode(.training)
            for (a, b) in zip(try weights().joined(), y.joined()) {
                XCTAssertEqual(a, b, accuracy: 4 * tolerance * max(1, b.magnitude), "\(kind)")
            }
        }
    }

    func testAStepInEvaluationIsRefused() throws {
        let model = try model()
        try model.optimizer.setMode(.evaluation)
        let before = try model.fullDigest()
        assertRefused(
            .invalidArgument,
            message:
                "Schedule-Free AdamW: the parameters hold the weights for evaluation; a step needs those for training: "
                + "set the mode to training first"
        ) { try model.optimizer.step() }
        assertRefused(.invalidArgument, layer: 0) { try model.optimizer.set([Setting("beta1", 0.5)]) }
        assertRefused(.invalidArgument, layer: 1) { try model.optimizer.setLayer(1, [Setting("beta1", 0.5)]) }
        XCTAssertEqual(try model.fullDigest(), before)
        try model.optimizer.set([Setting("lr", 0.01)])
        try model.optimizer.setMode(.training)
        try model.optimizer.step()
    }

    /// Rules whose weights are the same in both have nothing to change, and step in any mode.
    func testOtherRules() throws {
        let model = try Model(AdamW(), shapes: Self.shapes)
        try model.optimizer.step()
        let before = try model.digest()
        try model.optimizer.setMode(.evaluation)
        XCTAssertEqual(model.optimizer.mode, .training)
        XCTAssertEqual(try model.digest(), before)
        try model.optimizer.step()
    }

    /// A checkpoint is resumed in the mode in which it was saved, and goes on to the same bits.
    func testCheckpoints() throws {
        for mode in [Mode.training, .evaluation] {
            let first = try model(Kind(.float32))
            try first.optimizer.setMode(mode)
            let bytes = try first.optimizer.exported(SaveOptions(parameters: true))
            let second = try Model(
                ScheduleFreeAdamW(lr: 0.03, betas: (0.8, 0.99), weightDecay: 0.1, warmupSteps: 3), Kind(.float32),
                shapes: Self.shapes, seed: 9)
            try second.optimizer.load(bytes)
            XCTAssertEqual(second.optimizer.mode, mode)
            for model in [first, second] {
                for (own, other) in zip(model.gradients.joined(), first.gradients.joined()) where model !== first {
                    own.bytes.copyBytes(from: other.bytes)
                }
                try model.optimizer.setMode(.training)
                try model.optimizer.step()
            }
            XCTAssertEqual(try first.digest(), try second.digest())
        }
    }

    /// Tensors that have not stepped, and so have no z yet, stay as they are.
    func testBeforeTheFirstStep() throws {
        let model = try Model(ScheduleFreeAdamW(lr: 0.1), shapes: Self.shapes)
        for buffer in model.parameters.joined() { for i in 0..<buffer.count { buffer[i] += 1 } }
        let start = model.parameters.map { $0.map(\.values) }
        try model.optimizer.setMode(.evaluation)
        XCTAssertEqual(model.parameters.map { $0.map(\.values) }, start)
        try model.optimizer.setMode(.training)
        XCTAssertEqual(model.parameters.map { $0.map(\.values) }, start)
    }
}
