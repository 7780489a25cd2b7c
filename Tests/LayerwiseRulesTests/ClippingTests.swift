// SPDX-License-Identifier: Apache-2.0
import Layerwise
import XCTest

/// Clipping by value, by layer norm and by the norm of all, alone and together, against the same done by hand in Double.
final class ClippingTests: XCTestCase {
    private static let shapes = [[[40], [5, 7]], [[333]], [[3]]]

    private static let cases: [Options] = [
        ["clip_global_norm": 0.25], ["clip_layer_norm": 0.125], ["clip_value": 0.03],
        ["clip_global_norm": 0.3, "clip_layer_norm": 0.2], ["clip_global_norm": 0.3, "clip_value": 0.03],
        ["clip_layer_norm": 0.2, "clip_value": 0.03],
        ["clip_global_norm": 0.3, "clip_layer_norm": 0.2, "clip_value": 0.03],
        // Limits that nothing reaches.
        ["clip_global_norm": 1000, "clip_layer_norm": 1000, "clip_value": 1000],
    ]

    /// A step of SGD with rate 1 shows the gradients that the rule saw.
    func testAgainstClippingByHand() throws {
        for kind in Kind.all where !kind.master {
            for options in Self.cases {
                for scale in [1.0, 4.0] {
                    let model = try Model(SGD(lr: 1), kind, shapes: Self.shapes)
                    for buffer in model.parameters.joined() { buffer.values = buffer.values.map { _ in 0 } }
                    try model.optimizer.set(settings(options))
                    let before = model.gradients.map { $0.map(\.values) }
                    let expected = clipped(before.map { $0.map { $0.map { $0 / scale } } }, options)
                    try model.optimizer.step(StepOptions(gradientScale: scale))
                    let label = "\(kind), \(options), gradient scale \(scale)"
                    for (parameter, gradient) in zip(model.parameters.joined(), expected.gradients.joined()) {
                        for (found, wanted) in zip(parameter.values, gradient) {
                            // Half a unit of the smallest float16 numbers, besides what is relative.
                            let accuracy = wanted.magnitude * tolerance(kind) + (kind.dtype == .float16 ? 0x1p-25 : 0)
                            XCTAssertEqual(found, -wanted, accuracy: accuracy, label)
                        }
                    }
                    XCTAssertEqual(model.optimizer.summary.clipFactor, expected.globalFactor, accuracy: 1e-7, label)
                    XCTAssertEqual(model.optimizer.summary.gradientNorm, expected.norm, accuracy: 1e-6, label)
                    XCTAssertEqual(
                        model.gradients.map { $0.map(\.values) }, before, "\(label): gradients were modified")
                }
            }
        }
    }

    func testLimitsThatNothingReachesChangeNoBit() throws {
        for ruleCase in try RuleCase.representatives() {
            let plain = try Model(ruleCase.rule, shapes: Self.shapes)
            let limited = try Model(ruleCase.rule, shapes: Self.shapes)
            try limited.optimizer.set(
                settings(["clip_global_norm": 1000, "clip_layer_norm": 1000, "clip_value": 1000]))
            for model in [plain, limited] { try model.optimizer.step() }
            XCTAssertEqual(try plain.digest(), try limited.digest(), "\(ruleCase)")
        }
    }

    /// The norm is that of the layers stepped.
    func testStepOfOneLayerClipsByItsOwnNorm() throws {
        let model = try Model(SGD(lr: 1), sizes: [1, 1])
        try model.optimizer.set(settings(["clip_global_norm": 1]))
        for buffer in model.parameters.joined() { buffer[0] = 0 }
        model.gradients[0][0][0] = 4
        model.gradients[1][0][0] = 3
        try model.optimizer.step(StepOptions(layer: 0))
        XCTAssertEqual(model.parameters[0][0][0], -1, accuracy: 1e-6)
        XCTAssertEqual(model.optimizer.summary.gradientNorm, 4)
    }

    /// Frozen layers and tensors without a gradient do not count.
    func testFrozenLayersDoNotCount() throws {
        let model = try Model(SGD(lr: 1), sizes: [1, 1])
        try model.optimizer.set(settings(["clip_global_norm": 10]))
        model.gradients[0][0][0] = 4
        model.gradients[1][0][0] = 3
        try model.optimizer.setFrozen(0, true)
        try model.optimizer.step()
        XCTAssertEqual(model.optimizer.summary.gradientNorm, 3)
    }

    /// A norm of float64 gradients is right although their squares overflow.
    func testNormsWhoseSquaresOverflow() throws {
        let model = try Model(SGD(lr: 1), Kind(.float64), sizes: [2, 1])
        try model.optimizer.set(settings(["clip_global_norm": 13, "telemetry": 1]))
        for buffer in model.parameters.joined() { buffer.values = buffer.values.map { _ in 0 } }
        model.gradients[0][0].values = [3e200, 4e200]
        model.gradients[1][0].values = [12e200]
        try model.optimizer.step()
        XCTAssertEqual(model.optimizer.summary.gradientNorm / 13e200, 1, accuracy: 1e-12)
        XCTAssertEqual(try model.optimizer.telemetry(0).gradientNorm / 5e200, 1, accuracy: 1e-12)
        for (found, wanted) in zip(model.parameters.joined().flatMap(\.values), [-3.0, -4, -12]) {
            XCTAssertEqual(found, wanted, accuracy: 1e-12)
        }
    }

    /// Relative.
    private func tolerance(_ kind: Kind) -> Double {
        switch kind.dtype {
        case .float64: 1e-14
        case .float16: 0x1p-11
        case .bfloat16: 0x1p-8
        default: 3e-7
        }
    }

    private struct Clipped {
        var gradients: [[[Double]]]
        let norm: Double
        var globalFactor = 1.0
    }

    private func clipped(_ gradients: [[[Double]]], _ options: Options) -> Clipped {
        func norm<S: Sequence>(_ values: S) -> Double where S.Element == Double {
            values.reduce(0) { $0 + $1 * $1 }.squareRoot()
        }
        func limit(_ key: String) -> Double {
            if case .number(let limit)? = options.first(where: { $0.key == key })?.value { return limit }
            return .infinity
        }
        func factor(_ limit: Double, _ norm: Double) -> Double {
            limit == .infinity ? 1 : min(1, limit / (norm + 1e-6))
        }
        var clipped = Clipped(gradients: gradients, norm: norm(gradients.joined().joined()))
        let bound = limit("clip_value")
        clipped.gradients = gradients.map { $0.map { $0.map { max(-bound, min($0, bound)) } } }
        clipped.gradients = clipped.gradients.map { layer in
            let own = factor(limit("clip_layer_norm"), norm(layer.joined()))
            return layer.map { $0.map { own * $0 } }
        }
        clipped.globalFactor = factor(limit("clip_global_norm"), norm(clipped.gradients.joined().joined()))
        clipped.gradients = clipped.gradients.map { $0.map { $0.map { clipped.globalFactor * $0 } } }
        return clipped
    }
}
