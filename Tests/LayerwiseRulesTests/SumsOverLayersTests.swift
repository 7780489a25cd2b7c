// SPDX-License-Identifier: Apache-2.0
import Layerwise
import XCTest

/// DoG, DoWG, D-Adaptation and MoMo, whose sums run over all layers: so they are not among the cases of tests that compare layers with each
/// other.
final class SumsOverLayersTests: XCTestCase {
    private static let shapes = [[[40], [5, 7]], [[300, 200]], [[1]]]
    private static let scales = [1, 0.1, 0.3]

    /// 60 steps stay beside the reference, all options away from their defaults.  Float64: about ten roundings a step, which the
    /// estimate amplifies.
    func testSixtySteps() throws {
        for ruleCase in try RuleCase.overLayers() {
            for scales in [[1, 1, 1], Self.scales] {
                let model = try Self.model(ruleCase.rule, Kind(.float64), scales)
                var reference = try XCTUnwrap(
                    makeReference(ruleCase.rule, model.parameters.map { $0.map(\.values) }, scales))
                let start = reference.weights
                for step in 0..<60 {
                    let base = 1 + 0.5 * Double(step % 3)
                    try model.optimizer.set([Setting("lr", ruleCase.rule.learningRate * base)])
                    Self.pull(model)
                    let loss = Self.loss(model)
                    reference.step(model.gradients.map { $0.map(\.values) }, base, loss: loss)
                    try model.optimizer.step(StepOptions(loss: loss))
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
                for (name, value) in reference.numbers {
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
            let (drawn, places) = (gradients.values, weights.values)
            gradients.fill { 0.1 * drawn[$0] + places[$0] - 0.5 }
        }
    }

    /// Half the squared distance to 0.5, a step's loss, and a little more, which noise costs.
    private static func loss(_ model: Model) -> Double {
        var sum = 0.1
        for buffer in model.parameters.joined() {
            for value in buffer.values { sum += 0.5 * (value - 0.5) * (value - 0.5) }
        }
        // Squares of huge weights may overflow.
        return min(sum, .greatestFiniteMagnitude)
    }

    private static func step(_ model: Model) throws { try model.optimizer.step(StepOptions(loss: loss(model))) }

    private static func model(_ rule: any DeclaredRule, _ kind: Kind, _ scales: [Double]) throws -> Model {
        let model = try Model(rule, kind, shapes: shapes)
        for (layer, scale) in scales.enumerated() { try model.optimizer.setLayer(layer, [Setting("scale", scale)]) }
        return model
    }

    /// The same bits with any number of threads, with telemetry and without, and after a resume.
    func testBits() throws {
        for ruleCase in try RuleCase.overLayers() {
            for kind in [Kind(.float32), Kind(.float64), Kind(.bfloat16, master: true), Kind(.float16)] {
                var digests: Set<String> = []
                for settings in [["threads": 1], ["threads": 2], ["threads": 3, "telemetry": 1]] as [Options] {
                    let model = try Self.model(ruleCase.rule, kind, Self.scales)
                    try model.optimizer.set(LayerwiseRulesTests.settings(settings))
                    for _ in 0..<5 {
                        Self.pull(model)
                        try Self.step(model)
                    }
                    digests.insert("\(try model.digest())")
                }
                let model = try Self.model(ruleCase.rule, kind, Self.scales)
                for _ in 0..<3 {
                    Self.pull(model)
                    try Self.step(model)
                }
                let bytes = try model.optimizer.exported()
                let again = try Self.model(ruleCase.rule, kind, Self.scales)
                try again.optimizer.load(bytes)
                for (own, other) in zip(again.parameters.joined(), model.parameters.joined()) {
                    own.bytes.copyBytes(from: other.bytes)
                }
                for _ in 0..<2 {
                    Self.pull(model)
                    try Self.step(model)
                    for (own, other) in zip(again.gradients.joined(), model.gradients.joined()) {
                        own.bytes.copyBytes(from: other.bytes)
                    }
                    try Self.step(again)
                }
                digests.insert("\(try model.digest())")
                digests.insert("\(try again.digest())")
                XCTAssertEqual(digests.count, 1, "\(ruleCase), \(kind)")
            }
        }
    }

    /// MoMo's step is refused without a loss, or with one that is not finite, and nothing changes.
    func testLoss() throws {
        for rule in [MoMo(), MoMoAdam()] as [any DeclaredRule] {
            let model = try Self.model(rule, Kind(.float32), Self.scales)
            let before = try model.fullDigest()
            let title = type(of: rule).declaration.title
            assertRefused(.invalidArgument, message: "\(title) needs the loss of each step, and none was given") {
                try model.optimizer.step()
            }
            for (loss, text) in [(Double.nan, "nan"), (.infinity, "inf")] {
                assertRefused(.outOfRange, message: "loss must be finite, found \(text)") {
                    try model.optimizer.step(StepOptions(loss: loss))
                }
            }
            XCTAssertEqual(try model.fullDigest(), before)
            model.optimizer.setLoss(2)
            try model.optimizer.step()
            XCTAssertEqual(try model.state("loss_avg", layer: 0)[0], title == "MoMo" ? 2 : 2 * (1 - 0.9))
            XCTAssertThrowsError(try model.optimizer.step(), "the loss was that of one step")
        }
        // Other rules do not look at it.
        let model = try Self.model(AdamW(), Kind(.float32), Self.scales)
        try model.optimizer.step(StepOptions(loss: .nan))
    }

    func testLayersCannotBeSteppedOneByOne() throws {
        for ruleCase in try RuleCase.overLayers() {
            let model = try Self.model(ruleCase.rule, Kind(.float32), Self.scales)
            let before = try model.fullDigest()
            let title = type(of: ruleCase.rule).declaration.title
            assertRefused(
                .invalidArgument,
                message: "layer \"1\": \(title) takes sums over all layers, which can only be stepped together"
            ) { try model.optimizer.step(StepOptions(layer: 1, loss: 1)) }
            XCTAssertEqual(try model.fullDigest(), before)
        }
    }

    /// Where every gradient is 0, nothing moves and nothing becomes NaN, whatever ε.
    func testGradientsOfZero() throws {
        for ruleCase in try RuleCase.overLayers() where ruleCase.rule.weightDecay == 0 {
            let model = try Self.model(ruleCase.rule, Kind(.float32), Self.scales)
            let hasEpsilon = ruleCase.rule.value(of: "eps") != nil
            if hasEpsilon { try model.optimizer.set([Setting("eps", 0)]) }
            let start = model.parameters.map { $0.map(\.values) }
            for buffer in model.gradients.joined() { for i in 0..<buffer.count { buffer[i] = 0 } }
            for _ in 0..<2 {
                try Self.step(model)
                XCTAssertEqual(model.parameters.map { $0.map(\.values) }, start, "\(ruleCase)")
            }
            Self.pull(model)
            try Self.step(model)
            XCTAssertTrue(model.parameters.joined().allSatisfy { $0.values.allSatisfy(\.isFinite) }, "\(ruleCase)")
        }
    }

    /// Huge gradients leave finite numbers.
    func testHugeGradients() throws {
        for ruleCase in try RuleCase.overLayers() {
            for kind in [Kind(.float32), Kind(.float64), Kind(.bfloat16)] {
                let model = try Self.model(ruleCase.rule, kind, Self.scales)
                let huge = kind.dtype == .float64 ? 1e300 : 1e38
                for _ in 0..<4 {
                    for buffer in model.gradients.joined() {
                        for i in 0..<buffer.count { buffer[i] = i % 2 == 0 ? huge : -huge }
                    }
                    try Self.step(model)
                    for buffer in model.parameters.joined() {
                        XCTAssertTrue(buffer.values.allSatisfy(\.isFinite), "\(ruleCase), \(kind)")
                    }
                    for state in try model.optimizer.states(layer: 0, tensor: 0) where state.name != "step" {
                        XCTAssertTrue(
                            try model.state(state.name, layer: 0).values.allSatisfy(\.isFinite),
                            "\(ruleCase), \(kind): \(state.name)")
                    }
                }
            }
        }
    }
}

/// A rule as its authors' package has it, in float64, with the layers' scales.
private protocol ReferenceOverLayers {
    var weights: [[[Double]]] { get }
    /// What is kept for all tensors.
    var numbers: [String: Double] { get }
    /// One step, where the rate is `base` times the rule's.
    mutating func step(_ gradients: [[[Double]]], _ base: Double, loss: Double)
}

private func makeReference(
    _ rule: any DeclaredRule, _ weights: [[[Double]]], _ scales: [Double]
) -> (any ReferenceOverLayers)? {
    switch rule {
    case let rule as DoG: ReferenceDoG(rule: rule, scales: scales, starts: weights, weights: weights)
    case let rule as DoWG: ReferenceDoWG(rule: rule, scales: scales, starts: weights, weights: weights)
    case let rule as DAdaptAdam: ReferenceDAdaptAdam(rule, weights, scales)
    case let rule as DAdaptSGD: ReferenceDAdaptSGD(rule, weights, scales)
    case let rule as MoMo:
        ReferenceMoMo(
            scales, weights, beta1: rule.beta, beta2: nil, epsilon: 0, rate: rule.learningRate, decay: rule.weightDecay,
            lowerBound: rule.lowerBound, startsAtZero: rule.biasCorrection, divides: true, estimates: rule.useFstar)
    case let rule as MoMoAdam:
        ReferenceMoMo(
            scales, weights, beta1: rule.beta1, beta2: rule.beta2, epsilon: rule.epsilon, rate: rule.learningRate,
            decay: rule.weightDecay, lowerBound: rule.lowerBound, startsAtZero: true, divides: rule.divide,
            estimates: rule.useFstar)
    default: nil
    }
}

/// The value of `work` for the place of each number.
private func each(_ like: [[[Double]]], _ work: (_ layer: Int, _ tensor: Int, _ i: Int) -> Double) -> [[[Double]]] {
    like.indices.map { layer in
        like[layer].indices.map { tensor in like[layer][tensor].indices.map { work(layer, tensor, $0) } }
    }
}

private func total(_ values: [[[Double]]]) -> Double { values.joined().joined().reduce(0, +) }

private struct ReferenceDoG: ReferenceOverLayers {
    let rule: DoG
    let scales: [Double]
    let starts: [[[Double]]]
    var weights: [[[Double]]]
    var distance = 0.0
    var squares = 0.0
    var isFirst = true

    var numbers: [String: Double] { ["rbar": distance, "G": squares] }

    mutating func step(_ gradients: [[[Double]]], _ base: Double, loss: Double) {
        let old = weights
        let g = each(old) { gradients[$0][$1][$2] + rule.weightDecay * old[$0][$1][$2] }
        func norm(_ x: [[[Double]]]) -> Double { total(each(x) { x[$0][$1][$2] * x[$0][$1][$2] }).squareRoot() }
        let gradientNorm = norm(g)
        if isFirst {
            distance = rule.initEta > 0 ? 0 : rule.firstDistance * (1 + norm(old))
            squares = gradientNorm * gradientNorm + rule.epsilon
        } else {
            distance = max(distance, norm(each(old) { old[$0][$1][$2] - starts[$0][$1][$2] }))
            squares += gradientNorm * gradientNorm
        }
        var step = rule.learningRate * base * distance / squares.squareRoot()
        if isFirst && rule.initEta > 0 { step = rule.learningRate * base * rule.initEta }
        isFirst = false
        weights = each(old) { old[$0][$1][$2] - step * scales[$0] * g[$0][$1][$2] }
    }
}

private struct ReferenceDoWG: ReferenceOverLayers {
    let rule: DoWG
    let scales: [Double]
    let starts: [[[Double]]]
    var weights: [[[Double]]]
    var distance = 0.0
    var squares = 0.0

    var numbers: [String: Double] { ["estim_sq_dist": distance, "weighted_sq_norm_grads": squares] }

    mutating func step(_ gradients: [[[Double]]], _ base: Double, loss: Double) {
        let old = weights
        let g = each(old) { gradients[$0][$1][$2] + rule.weightDecay * old[$0][$1][$2] }
        func square(_ x: Double) -> Double { x * x }
        let first = rule.initSquaredDistance == 0 ? rule.epsilon : rule.initSquaredDistance
        let moved = total(each(old) { square(old[$0][$1][$2] - starts[$0][$1][$2]) })
        distance = max(distance, first, moved)
        squares += distance * total(each(old) { square(g[$0][$1][$2]) })
        let step = rule.learningRate * base * distance / (squares.squareRoot() + rule.epsilon)
        weights = each(old) { old[$0][$1][$2] - step * scales[$0] * g[$0][$1][$2] }
    }
}

private struct ReferenceDAdaptAdam: ReferenceOverLayers {
    let rule: DAdaptAdam
    let scales: [Double]
    var weights: [[[Double]]]
    var first: [[[Double]]]
    var second: [[[Double]]]
    var sums: [[[Double]]]
    var d: Double
    var numerator = 0.0
    var t = 0.0

    init(_ rule: DAdaptAdam, _ weights: [[[Double]]], _ scales: [Double]) {
        self.rule = rule
        self.scales = scales
        self.weights = weights
        first = each(weights) { _, _, _ in 0 }
        second = first
        sums = first
        d = rule.d0
    }

    var numbers: [String: Double] { ["d": d, "numerator_weighted": numerator] }

    mutating func step(_ gradients: [[[Double]]], _ base: Double, loss: Double) {
        t += 1
        let old = weights
        let (m, v, s) = (first, second, sums)
        let (b1, b2, b3) = (rule.beta1, rule.beta2, rule.beta2.squareRoot())
        func power(_ x: Double) -> Double { (0..<Int(t)).reduce(1) { product, _ in product * x } }
        let correction = rule.biasCorrection ? (1 - power(b2)).squareRoot() / (1 - power(b1)) : 1
        let rate = d * rule.learningRate * base * correction
        let coupled = rule.decoupledWeightDecay ? 0 : rule.weightDecay
        let g = each(old) { gradients[$0][$1][$2] + coupled * old[$0][$1][$2] }
        let products = each(old) {
            scales[$0] * rate * g[$0][$1][$2] * s[$0][$1][$2] / (v[$0][$1][$2].squareRoot() + rule.epsilon)
        }
        numerator = b3 * numerator + (1 - b3) * total(products)
        first = each(old) { b1 * m[$0][$1][$2] + (1 - b1) * scales[$0] * rate * g[$0][$1][$2] }
        second = each(old) { b2 * v[$0][$1][$2] + (1 - b2) * g[$0][$1][$2] * g[$0][$1][$2] }
        sums = each(old) { b3 * s[$0][$1][$2] + (1 - b3) * rate * g[$0][$1][$2] }
        let new = sums
        let estimate = numerator / ((1 - b3) * total(each(old) { scales[$0] * abs(new[$0][$1][$2]) }))
        d = max(d, min(estimate, d * rule.growthRate))
        let (newFirst, newSecond) = (first, second)
        let decay = rule.decoupledWeightDecay ? rate * rule.weightDecay : 0
        weights = each(old) {
            old[$0][$1][$2] - decay * scales[$0] * old[$0][$1][$2]
                - newFirst[$0][$1][$2] / (newSecond[$0][$1][$2].squareRoot() + rule.epsilon)
        }
    }
}

/// As in the authors' package, where s is divided by the norm of the first gradient.
private struct ReferenceDAdaptSGD: ReferenceOverLayers {
    let rule: DAdaptSGD
    let scales: [Double]
    let starts: [[[Double]]]
    var weights: [[[Double]]]
    var sums: [[[Double]]]
    var d: Double
    var numerator = 0.0
    var norm = 0.0

    init(_ rule: DAdaptSGD, _ weights: [[[Double]]], _ scales: [Double]) {
        self.rule = rule
        self.scales = scales
        self.weights = weights
        starts = weights
        sums = each(weights) { _, _, _ in 0 }
        d = rule.d0
    }

    var numbers: [String: Double] { ["d": d, "numerator_weighted": numerator * norm * norm, "g0_norm": norm] }

    mutating func step(_ gradients: [[[Double]]], _ base: Double, loss: Double) {
        let (old, s) = (weights, sums)
        if norm == 0 {
            norm = total(each(old) { scales[$0] * gradients[$0][$1][$2] * gradients[$0][$1][$2] }).squareRoot()
        }
        let rate = d * rule.learningRate * base / norm
        let g = each(old) { gradients[$0][$1][$2] + rule.weightDecay * old[$0][$1][$2] }
        numerator += rate * total(each(old) { g[$0][$1][$2] * s[$0][$1][$2] })
        sums = each(old) { s[$0][$1][$2] + scales[$0] * rate * g[$0][$1][$2] }
        let new = sums
        let square = total(each(old) { new[$0][$1][$2] * new[$0][$1][$2] / scales[$0] })
        d = max(d, min(2 * numerator / square.squareRoot(), d * rule.growthRate))
        weights = each(old) {
            rule.momentum * old[$0][$1][$2]
                + (1 - rule.momentum) * (starts[$0][$1][$2] - new[$0][$1][$2])
        }
    }
}

/// As in the authors' package, which averages ⟨g, w⟩; unequal rates by the derivation of `MoMoRule`.
private struct ReferenceMoMo: ReferenceOverLayers {
    let scales: [Double]
    var weights: [[[Double]]]
    let beta1: Double
    let beta2: Double?
    let epsilon, rate, decay, lowerBound: Double
    let startsAtZero, divides, estimates: Bool
    var first: [[[Double]]]
    var second: [[[Double]]]
    var loss = 0.0
    var product = 0.0
    var bound: Double
    var tau = 0.0
    var t = 0

    init(
        _ scales: [Double], _ weights: [[[Double]]], beta1: Double, beta2: Double?, epsilon: Double, rate: Double,
        decay: Double, lowerBound: Double, startsAtZero: Bool, divides: Bool, estimates: Bool
    ) {
        self.scales = scales
        self.weights = weights
        (self.beta1, self.beta2, self.epsilon, self.rate) = (beta1, beta2, epsilon, rate)
        (self.decay, self.lowerBound, self.startsAtZero) = (decay, lowerBound, startsAtZero)
        (self.divides, self.estimates) = (divides, estimates)
        first = each(weights) { _, _, _ in 0 }
        second = first
        bound = lowerBound
    }

    var numbers: [String: Double] { ["loss_avg": loss, "tau": tau, "lb": bound] }

    mutating func step(_ gradients: [[[Double]]], _ base: Double, loss: Double) {
        t += 1
        let (w, m, v) = (weights, first, second)
        let inner = total(each(w) { gradients[$0][$1][$2] * w[$0][$1][$2] })
        if t == 1 && !startsAtZero {
            (first, self.loss, product) = (gradients, loss, inner)
        } else {
            first = each(w) { beta1 * m[$0][$1][$2] + (1 - beta1) * gradients[$0][$1][$2] }
            self.loss = beta1 * self.loss + (1 - beta1) * loss
            product = beta1 * product + (1 - beta1) * inner
        }
        let d = first
        let rho = startsAtZero ? 1 - (0..<t).reduce(1) { power, _ in power * beta1 } : 1
        var u = d
        if let beta2 {
            second = each(w) {
                beta2 * v[$0][$1][$2] + (1 - beta2) * gradients[$0][$1][$2] * gradients[$0][$1][$2]
            }
            let correction = 1 - (0..<t).reduce(1) { power, _ in power * beta2 }
            let own = second
            u = each(w) { d[$0][$1][$2] / ((own[$0][$1][$2] / correction).squareRoot() + epsilon) }
        }
        let c = scales.map { rate * base * $0 * decay }
        let height = self.loss + total(each(w) { d[$0][$1][$2] * w[$0][$1][$2] }) - product
        let shrinkage = total(each(w) { c[$0] / (1 + c[$0]) * d[$0][$1][$2] * w[$0][$1][$2] })
        if estimates && height - shrinkage < rho * bound {
            bound = max((height - shrinkage) / (2 * rho), lowerBound)
        }
        let steepness = total(each(w) { scales[$0] / (1 + c[$0]) * d[$0][$1][$2] * u[$0][$1][$2] })
        tau = min(rate * base / rho, max(height - shrinkage - rho * bound, 0) / steepness)
        if estimates {
            let square = total(each(w) { scales[$0] * d[$0][$1][$2] * u[$0][$1][$2] })
            bound = max((height - 0.5 * tau * square) / rho, lowerBound)
        }
        let step = tau
        weights = each(w) {
            let moved = step * scales[$0] * u[$0][$1][$2]
            return divides
                ? (w[$0][$1][$2] - moved) / (1 + c[$0]) : (1 - c[$0]) * w[$0][$1][$2] - moved
        }
    }
}
