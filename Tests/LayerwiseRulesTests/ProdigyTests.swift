// SPDX-License-Identifier: Apache-2.0
import Layerwise
import XCTest

/// Prodigy, whose sums run over all layers: so it is not among the cases of tests that compare layers with each other.
final class ProdigyTests: XCTestCase {
    private static let shapes = [[[40], [5, 7]], [[300, 200]], [[1]]]
    private static let scales = [1, 0.1, 0.3]

    /// 60 steps stay beside the reference, all options away from their defaults.  Float64: about ten roundings a step, which the
    /// estimate amplifies.
    func testSixtySteps() throws {
        for ruleCase in try RuleCase.prodigy() {
            let rule = try XCTUnwrap(ruleCase.rule as? Prodigy)
            for scales in [[1, 1, 1], Self.scales] {
                let model = try Self.model(rule, Kind(.float64), scales)
                var reference = ReferenceProdigy(rule, model.parameters.map { $0.map(\.values) }, scales)
                let start = reference.weights
                for step in 0..<60 {
                    let base = 1 + 0.5 * Double(step % 3)
                    try model.optimizer.set([Setting("lr", rule.learningRate * base)])
                    Self.pull(model)
                    reference.step(model.gradients.map { $0.map(\.values) }, base)
                    try model.optimizer.step()
                }
                for layer in start.indices {
                    for tensor in start[layer].indices {
                        let wanted = reference.weights[layer][tensor]
                        let moved = zip(wanted, start[layer][tensor]).map { abs($0 - $1) }.max() ?? 0
                        XCTAssertGreaterThan(moved, 1e-9, "\(ruleCase) \(scales)")
                        for (a, b) in zip(model.parameters[layer][tensor].values, wanted) {
                            XCTAssertEqual(a, b, accuracy: 1e-9 * moved, "\(ruleCase) \(scales), layer \(layer)")
                        }
                    }
                }
                for (name, value) in [
                    ("d", reference.d), ("d_max", reference.dMax), ("d_numerator", reference.numerator),
                ] {
                    let found = try model.state(name, layer: 1)[0]
                    XCTAssertEqual(found, value, accuracy: 1e-9 * abs(value), "\(ruleCase) \(scales), \(name)")
                }
            }
        }
    }

    /// A gradient that pulls every weight to 0.5, with noise.
    private static func pull(_ model: Model) {
        model.drawGradients()
        for (gradients, weights) in zip(model.gradients.joined(), model.parameters.joined()) {
            for i in 0..<gradients.count { gradients[i] = 0.1 * gradients[i] + weights[i] - 0.5 }
        }
    }

    private static func model(_ rule: any DeclaredRule, _ kind: Kind, _ scales: [Double]) throws -> Model {
        let model = try Model(rule, kind, shapes: shapes)
        for (layer, scale) in scales.enumerated() { try model.optimizer.setLayer(layer, [Setting("scale", scale)]) }
        return model
    }

    /// The same bits with any number of threads, with telemetry and without, and after a resume.
    func testBits() throws {
        for kind in [Kind(.float32), Kind(.float64), Kind(.bfloat16, master: true), Kind(.float16)] {
            for sliceP in [1, 7] { try checkBits(Prodigy(lr: 1, sliceP: sliceP), kind) }
        }
    }

    private func checkBits(_ rule: Prodigy, _ kind: Kind) throws {
        var digests: Set<String> = []
        for settings in [["threads": 1], ["threads": 2], ["threads": 3, "telemetry": 1]] as [Options] {
            let model = try Self.model(rule, kind, Self.scales)
            try model.optimizer.set(LayerwiseRulesTests.settings(settings))
            for _ in 0..<5 {
                Self.pull(model)
                try model.optimizer.step()
            }
            digests.insert("\(try model.digest())")
        }
        let model = try Self.model(rule, kind, Self.scales)
        for _ in 0..<3 {
            Self.pull(model)
            try model.optimizer.step()
        }
        let bytes = try model.optimizer.exported()
        let again = try Self.model(rule, kind, Self.scales)
        try again.optimizer.load(bytes)
        for (own, other) in zip(again.parameters.joined(), model.parameters.joined()) {
            own.bytes.copyBytes(from: other.bytes)
        }
        for _ in 0..<2 {
            Self.pull(model)
            try model.optimizer.step()
            for (own, other) in zip(again.gradients.joined(), model.gradients.joined()) {
                own.bytes.copyBytes(from: other.bytes)
            }
            try again.optimizer.step()
        }
        digests.insert("\(try model.digest())")
        digests.insert("\(try again.digest())")
        XCTAssertEqual(digests.count, 1, "\(kind) \(rule.sliceP)")
    }

    /// s and p0 have a number for every p-th element, from the first on, and the step is not that of other elements.
    func testStatesOfEveryFourthElement() throws {
        let model = try Self.model(Prodigy(lr: 1, sliceP: 4), Kind(.bfloat16, master: true), Self.scales)
        let start = model.parameters[0].map(\.values)
        Self.pull(model)
        try model.optimizer.step()
        for (tensor, count) in [10, 9].enumerated() {
            let states = try model.optimizer.states(layer: 0, tensor: tensor)
            for name in ["s", "p0"] { XCTAssertEqual(states.first { $0.name == name }?.count, count) }
            XCTAssertEqual(
                try model.state("p0", layer: 0, tensor: tensor).values, (0..<count).map { start[tensor][4 * $0] })
        }
        let before = try model.fullDigest()
        for change in [1, 5] {
            assertRefused(
                .invalidArgument,
                message:
                    "layer \"0\": slice_p is 4 where there are states, and cannot become \(change); create another optimizer"
            ) { try model.optimizer.set([Setting("slice_p", Double(change))]) }
        }
        let other = try Self.model(Prodigy(lr: 1, sliceP: 5), Kind(.bfloat16, master: true), Self.scales)
        let bytes = try model.optimizer.exported()
        XCTAssertThrowsError(try other.optimizer.load(bytes))
        XCTAssertEqual(try model.fullDigest(), before)
    }

    func testLayersCannotBeSteppedOneByOne() throws {
        let model = try Self.model(Prodigy(), Kind(.float32), Self.scales)
        let before = try model.fullDigest()
        assertRefused(
            .invalidArgument,
            message: "layer \"1\": Prodigy takes sums over all layers, which can only be stepped together"
        ) { try model.optimizer.step(StepOptions(layer: 1)) }
        XCTAssertEqual(try model.fullDigest(), before)
    }

    /// Where every gradient is 0, nothing moves and nothing becomes NaN, whatever ε.
    func testGradientsOfZero() throws {
        for epsilon in [0, 1e-8] {
            let model = try Self.model(Prodigy(lr: 1, eps: epsilon, weightDecay: 0.1), Kind(.float32), Self.scales)
            let start = model.parameters.map { $0.map(\.values) }
            for buffer in model.gradients.joined() { for i in 0..<buffer.count { buffer[i] = 0 } }
            try model.optimizer.step()
            XCTAssertEqual(model.parameters.map { $0.map(\.values) }, start)
            XCTAssertEqual(try model.state("d", layer: 0)[0], 1e-6)
        }
    }

    /// Huge gradients leave finite numbers.
    func testHugeGradients() throws {
        for kind in [Kind(.float32), Kind(.float64), Kind(.bfloat16)] {
            let model = try Self.model(Prodigy(), kind, Self.scales)
            let huge = kind.dtype == .float64 ? 1e300 : 1e38
            for _ in 0..<4 {
                for buffer in model.gradients.joined() {
                    for i in 0..<buffer.count { buffer[i] = i % 2 == 0 ? huge : -huge }
                }
                try model.optimizer.step()
                for buffer in model.parameters.joined() {
                    XCTAssertTrue(buffer.values.allSatisfy(\.isFinite), "\(kind)")
                }
                for name in ["exp_avg", "exp_avg_sq", "s", "d", "d_max", "d_numerator"] {
                    XCTAssertTrue(try model.state(name, layer: 0).values.allSatisfy(\.isFinite), "\(kind): \(name)")
                }
            }
        }
    }

    /// The distance is taken from the weights at the first step, also where they were loaded after registration.
    func testStartIsTheFirstStep() throws {
        let early = try Self.model(Prodigy(), Kind(.float32), Self.scales)
        for buffer in early.parameters.joined() { for i in 0..<buffer.count { buffer[i] = 0.25 } }
        let weights = early.parameters[1][0].values
        try early.optimizer.step()
        XCTAssertEqual(try early.state("p0", layer: 1).values, weights)
    }
}

/// The algorithm as its authors' package has it, in float64, with the layers' scales in the denominator or in both sums.
private struct ReferenceProdigy {
    let rule: Prodigy
    let scales: [Double]
    let starts: [[[Double]]]
    var weights: [[[Double]]]
    var first: [[[Double]]]
    var second: [[[Double]]]
    var sums: [[[Double]]]
    var d: Double
    var dMax: Double
    var numerator = 0.0
    var t = 0.0

    init(_ rule: Prodigy, _ weights: [[[Double]]], _ scales: [Double]) {
        self.rule = rule
        self.scales = scales
        self.weights = weights
        starts = weights
        first = weights.map { $0.map { $0.map { _ in 0 } } }
        second = first
        sums = first
        d = rule.d0
        dMax = rule.d0
    }

    mutating func step(_ gradients: [[[Double]]], _ base: Double) {
        t += 1
        let (b1, b2) = (rule.beta1, rule.beta2)
        let b3 = rule.beta3 == 0 ? b2.squareRoot() : rule.beta3
        func power(_ x: Double) -> Double { (0..<Int(t)).reduce(1) { product, _ in product * x } }
        let correction = rule.biasCorrection ? (1 - power(b2)).squareRoot() / (1 - power(b1)) : 1
        let rate = d * rule.learningRate * base * correction
        numerator *= b3
        var denominator = 0.0
        for layer in weights.indices {
            let both = rule.layerScale == .both ? scales[layer] : 1
            for tensor in weights[layer].indices {
                for i in weights[layer][tensor].indices {
                    let w = weights[layer][tensor][i]
                    let g = gradients[layer][tensor][i] + (rule.decoupledWeightDecay ? 0 : rule.weightDecay * w)
                    let isTaken = i % rule.sliceP == 0
                    if isTaken { numerator += d / rule.d0 * rate * both * g * (starts[layer][tensor][i] - w) }
                    first[layer][tensor][i] = b1 * first[layer][tensor][i] + (1 - b1) * d * g
                    second[layer][tensor][i] = b2 * second[layer][tensor][i] + (1 - b2) * d * d * g * g
                    if !isTaken { continue }
                    sums[layer][tensor][i] =
                        b3 * sums[layer][tensor][i] + d / rule.d0 * (rule.safeguardWarmup ? d : rate) * g
                    denominator += scales[layer] * abs(sums[layer][tensor][i])
                }
            }
        }
        if denominator == 0 { return }
        let estimate = rule.dCoefficient * numerator / denominator
        if d == rule.d0 { d = max(d, estimate) }
        dMax = max(dMax, estimate)
        d = min(dMax, d * rule.growthRate)
        for layer in weights.indices {
            for tensor in weights[layer].indices {
                for i in weights[layer][tensor].indices {
                    let w = weights[layer][tensor][i]
                    let own = rate * scales[layer]
                    let decay = rule.decoupledWeightDecay ? own * rule.weightDecay * w : 0
                    weights[layer][tensor][i] =
                        w - decay - own * first[layer][tensor][i]
                        / (second[layer][tensor][i].squareRoot() + d * rule.epsilon)
                }
            }
        }
    }
}
