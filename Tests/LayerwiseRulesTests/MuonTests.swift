// SPDX-License-Identifier: Apache-2.0
import Foundation
import Layerwise
import XCTest

/// Muon, which makes the directions of whole matrices orthogonal.
final class MuonTests: XCTestCase {
    /// Of rank 0 to 4; one row, one column, one element; sides of one tile of a product and of several, and of whole tiles.
    private static let shapes = [
        [[40], [5, 7], []], [[101, 211], [3, 2, 33, 5]], [[1, 1], [4, 6, 3, 3], [1, 300], [300, 1], [5, 4, 7]],
        [[96, 192], [33, 290]],
        [[289, 31]],
    ]

    /// 20 steps stay beside the reference, all options away from their defaults.
    ///
    /// An iteration multiplies errors of small singular values by its first coefficient, five of them by 3.4445⁵ = 485 and eight
    /// of "polar_express" by 1900.  The tolerance is four times that many roundings of the arithmetic's type, in units of the
    /// largest distance that a weight of the tensor moved, and half a unit of the weight for each step, in which it is rounded.
    /// Rounded to bfloat16, a sum in another order may round the other way: by 2⁻⁸ of a direction, and a few of them in five iterations.
    func testTwentySteps() throws {
        for ruleCase in try RuleCase.muon() {
            let rule = try XCTUnwrap(ruleCase.rule as? Muon)
            let amplified = rule.schedule == .constant ? 500.0 : 1900
            for kind in [Kind(.float64), Kind(.float32), Kind(.bfloat16, master: true)] {
                let unit = kind.computeType == .float64 ? Double.ulpOfOne : Double(Float.ulpOfOne)
                let ofDirections = rule.precision == .bfloat16 ? 0x1p-7 : amplified * unit
                let model = try Model(rule, kind, shapes: Self.shapes)
                // A change from outside, which master copies must take over.
                for buffer in model.parameters.joined() { buffer[0] = 0.5 }
                var references = Self.shapes.indices.map { layer in
                    Self.shapes[layer].indices.map {
                        ReferenceMuon(rule, model.parameters[layer][$0].values, shape: Self.shapes[layer][$0])
                    }
                }
                let start = references
                // The largest distance of a weight of each tensor from its start.
                var moved = Self.shapes.map { $0.map { _ in 0.0 } }
                for _ in 0..<20 {
                    Self.pull(model)
                    for layer in references.indices {
                        for tensor in references[layer].indices {
                            references[layer][tensor].step(model.gradients[layer][tensor].values)
                            for (a, b) in zip(references[layer][tensor].weights, start[layer][tensor].weights) {
                                moved[layer][tensor] = max(moved[layer][tensor], abs(a - b))
                            }
                        }
                    }
                    try model.optimizer.step()
                }
                for layer in references.indices {
                    for tensor in references[layer].indices {
                        let label = "\(ruleCase) \(kind), layer \(layer), tensor \(tensor)"
                        let wanted = references[layer][tensor]
                        let moved = moved[layer][tensor]
                        XCTAssertGreaterThan(moved, 5e-4, label)
                        let found =
                            kind.master
                            ? try model.state("master", layer: layer, tensor: tensor).values
                            : model.parameters[layer][tensor].values
                        let worst =
                            zip(found, wanted.weights).map { a, b in
                                abs(a - b) - 10 * unit * b.magnitude
                            }.max() ?? 0
                        XCTAssertLessThanOrEqual(worst, 4 * ofDirections * moved, label)
                        for (name, values) in wanted.states {
                            let state = try model.state(name, layer: layer, tensor: tensor).values
                            XCTAssertEqual(state.count, values.count, "\(label): \(name)")
                            let largest = values.map(\.magnitude).max() ?? 0
                            // Gradients are of these weights.
                            let tolerance = 100 * unit * largest + 0.04 * ofDirections * moved
                            for (a, b) in zip(state, values) {
                                XCTAssertEqual(a, b, accuracy: tolerance, "\(label): \(name)")
                            }
                        }
                    }
                }
            }
        }
    }

    /// The singular values of a change are near 1: with the coefficients of `polarExpress`, eight iterations leave O·Oᵀ = 1.
    func testDirectionsAreOrthogonal() throws {
        for shape in [[7, 30], [30, 7], [20, 20], [110, 300]] {
            var rule = Muon(lr: 1, weightDecay: 0, adjustLR: .none)
            rule.schedule = .polarExpress
            rule.steps = 12
            let model = try Model(rule, Kind(.float64), shapes: [[shape]])
            let start = model.parameters[0][0].values
            try model.optimizer.step()
            let change = zip(start, model.parameters[0][0].values).map { $0 - $1 }
            let (rows, columns) = (shape[0], shape[1])
            let isWide = rows <= columns
            for i in 0..<min(rows, columns) {
                for j in 0..<min(rows, columns) {
                    let product = (0..<max(rows, columns)).reduce(0.0) {
                        isWide
                            ? $0 + change[i * columns + $1] * change[j * columns + $1]
                            : $0 + change[$1 * columns + i] * change[$1 * columns + j]
                    }
                    XCTAssertEqual(product, i == j ? 1 : 0, accuracy: 1e-9, "\(shape): \(i), \(j)")
                }
            }
        }
    }

    /// A gradient that pulls every weight to 0.5, with noise.
    private static func pull(_ model: Model) {
        model.drawGradients()
        for (gradients, weights) in zip(model.gradients.joined(), model.parameters.joined()) {
            for i in 0..<gradients.count { gradients[i] = 0.1 * gradients[i] + 0.01 * (weights[i] - 0.5) }
        }
    }

    /// The same bits with any number of threads, with telemetry and without, and after a resume.
    func testBits() throws {
        for ruleCase in try RuleCase.muon() {
            for kind in [Kind(.float32), Kind(.float64), Kind(.bfloat16, master: true), Kind(.float16)] {
                var digests: Set<String> = []
                for settings in [["threads": 1], ["threads": 2], ["threads": 3, "telemetry": 1]] as [Options] {
                    let model = try Model(ruleCase.rule, kind, shapes: Self.shapes)
                    try model.optimizer.set(LayerwiseRulesTests.settings(settings))
                    for _ in 0..<5 {
                        Self.pull(model)
                        try model.optimizer.step()
                    }
                    digests.insert("\(try model.digest())")
                }
                let model = try Model(ruleCase.rule, kind, shapes: Self.shapes)
                for _ in 0..<3 {
                    Self.pull(model)
                    try model.optimizer.step()
                }
                let again = try Model(ruleCase.rule, kind, shapes: Self.shapes)
                try again.optimizer.load(try model.optimizer.exported())
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
                XCTAssertEqual(digests.count, 1, "\(ruleCase) \(kind)")
            }
        }
    }

    /// Matrices keep a momentum, and other tensors the moments of AdamW.
    func testStates() throws {
        let model = try Model(Muon(), Kind(.bfloat16), shapes: [[[40], [5, 7], [2, 3, 4]]])
        let states = try (0..<3).map { try model.optimizer.states(layer: 0, tensor: $0) }
        XCTAssertEqual(states[0].map(\.name), ["step", "momentum_buffer", "exp_avg_sq"])
        XCTAssertEqual(states[1].map(\.name), ["step", "momentum_buffer"])
        XCTAssertEqual(states[2].map(\.name), ["step", "momentum_buffer"])
        XCTAssertEqual(states[2].map(\.dtype), [.int64, .float32])
        XCTAssertEqual(try model.optimizer.info(0).stateBytes, 4 * (2 * 40 + 35 + 24))
    }

    /// Sums over processes are taken of norms alone: layers that are whole step as they do alone.
    func testWholeMatricesWithSumsOverProcesses() throws {
        for ruleCase in try RuleCase.muon() {
            for rules in [[:], [1: LAMB(lr: 0.01)], [0: AdamW(lr: 0.01)]] as [[Int: any DeclaredRule]] {
                let digests = try [StepOptions(), StepOptions(reduce: { _ in true })].map { options in
                    let model = try Model(ruleCase.rule, Kind(.float32), shapes: Self.shapes, rules: rules)
                    try model.optimizer.set([Setting("clip_global_norm", 0.5), Setting("telemetry", 1)])
                    for _ in 0..<3 {
                        model.drawGradients()
                        try model.optimizer.step(options)
                    }
                    return try model.digest()
                }
                XCTAssertEqual(digests[0], digests[1], "\(ruleCase), \(rules)")
            }
        }
    }

    /// One layer alone steps as it does beside others.
    func testLayersOneByOne() throws {
        let together = try Model(Muon(lr: 0.02), Kind(.float32), shapes: Self.shapes)
        let apart = try Model(Muon(lr: 0.02), Kind(.float32), shapes: Self.shapes)
        for _ in 0..<3 {
            try together.optimizer.step()
            for layer in Self.shapes.indices { try apart.optimizer.step(StepOptions(layer: layer)) }
        }
        XCTAssertEqual(try together.digest(), try apart.digest())
    }

    /// The other choice of axes has larger squares, for which there is room when it is made.
    func testAxesMayChange() throws {
        let shapes = [[[2, 3, 40, 40]]]
        let rule = try RuleCase("muon", ["axes": "first"]).rule
        let model = try Model(rule, Kind(.float32), shapes: shapes)
        let other = try Model(rule, Kind(.float32), shapes: shapes)
        try model.optimizer.step()
        try other.optimizer.step()
        try model.optimizer.set([Setting("axes", "last")])
        try model.optimizer.step()
        try other.optimizer.step()
        XCTAssertNotEqual(model.parameters[0][0].values, other.parameters[0][0].values)
        XCTAssertTrue(model.parameters[0][0].values.allSatisfy(\.isFinite))
    }

    /// What telemetry shows of a matrix is that of its gradients and of its change.
    func testTelemetry() throws {
        for kind in [Kind(.float32), Kind(.float64), Kind(.bfloat16, master: true)] {
            let model = try Model(Muon(lr: 0.02), kind, shapes: [[[40, 500]]])
            try model.optimizer.set([Setting("telemetry", 1), Setting("nonfinite", "propagate")])
            let start = model.parameters[0][0].values
            let gradients = model.gradients[0][0].values
            try model.optimizer.step(StepOptions(gradientScale: 4))
            let telemetry = try model.optimizer.telemetry(0)
            func norm(_ x: [Double]) -> Double { x.reduce(0) { $0 + $1 * $1 }.squareRoot() }
            XCTAssertEqual(telemetry.gradientNorm, norm(gradients) / 4, accuracy: 1e-6 * norm(gradients))
            XCTAssertEqual(telemetry.weightNorm, norm(start), accuracy: 1e-6 * norm(start))
            let end = kind.master ? try model.state("master", layer: 0).values : model.parameters[0][0].values
            let moved = norm(zip(start, end).map { $0 - $1 })
            XCTAssertEqual(telemetry.updateNorm, moved, accuracy: (kind.dtype == .bfloat16 ? 1e-2 : 1e-4) * moved)
        }
    }

    /// A part of a matrix cannot be made orthogonal; parts of other tensors can be stepped.
    func testPartsAreRefused() throws {
        let (weights, gradients) = (Buffer(.float64, count: 15), Buffer(.float64, count: 15))
        for (shape, whole, isRefused) in [([5, 3], [5, 7], true), ([5, 3], [9, 3], true), ([15], [40], false)] {
            let optimizer = try Optimizer(Muon())
            try optimizer.addLayer(
                "layer",
                [
                    TensorDescription(
                        "w", parameters: weights.start, gradients: gradients.start, shape: shape, wholeShape: whole,
                        dtype: .float64)
                ])
            for options in [StepOptions(), StepOptions(reduce: { _ in true })] {
                if !isRefused {
                    try optimizer.step(options)
                    continue
                }
                assertRefused(
                    .shape,
                    message:
                        "layer \"layer\": tensor \"w\": Muon takes whole matrices, and this is a part of one that is spread "
                        + "over processes"
                ) { try optimizer.step(options) }
            }
        }
    }

    /// Where every gradient is 0, only the decay moves weights, and nothing becomes NaN.
    func testGradientsOfZero() throws {
        let rule = Muon(lr: 0.5, weightDecay: 0.5)
        let model = try Model(rule, Kind(.float64), shapes: Self.shapes)
        let start = model.parameters.map { $0.map(\.values) }
        for buffer in model.gradients.joined() { for i in 0..<buffer.count { buffer[i] = 0 } }
        for _ in 0..<2 { try model.optimizer.step() }
        XCTAssertEqual(
            model.parameters.map { $0.map(\.values) }, start.map { $0.map { $0.map { $0 * 0.75 * 0.75 } } })
    }

    /// Huge and tiny gradients and weights leave finite numbers.
    func testFiniteStaysFinite() throws {
        for ruleCase in try RuleCase.muon() {
            for kind in [Kind(.float32), Kind(.float64), Kind(.bfloat16), Kind(.float16)] {
                let model = try Model(ruleCase.rule, kind, shapes: Self.shapes)
                let largest: Double =
                    switch kind.dtype {
                    case .float64: .greatestFiniteMagnitude
                    case .float16: 65504
                    case .bfloat16: 0x1.fep+127
                    default: Double(Float.greatestFiniteMagnitude)
                    }
                for step in 0..<4 {
                    for buffer in model.gradients.joined() {
                        for i in 0..<buffer.count {
                            buffer[i] = [largest, -largest, 1e-300, 0, 1, -largest / 3][(i + step) % 6]
                        }
                    }
                    if step == 2 {
                        for buffer in model.parameters.joined() { for i in 0..<buffer.count { buffer[i] = largest } }
                    }
                    try model.optimizer.step()
                    for layer in Self.shapes.indices {
                        for tensor in Self.shapes[layer].indices {
                            let label = "\(ruleCase) \(kind), step \(step), layer \(layer), tensor \(tensor)"
                            XCTAssertTrue(model.parameters[layer][tensor].values.allSatisfy(\.isFinite), label)
                            for state in try model.optimizer.states(layer: layer, tensor: tensor)
                            where state.name != "step" {
                                let values = try model.state(state.name, layer: layer, tensor: tensor).values
                                XCTAssertTrue(values.allSatisfy(\.isFinite), "\(label): \(state.name)")
                            }
                        }
                    }
                }
            }
        }
    }

    /// Tensors without elements, of any rank, and extents whose product no computer could hold.
    func testEmptyTensors() throws {
        for shape in [[0], [0, 5], [5, 0], [0, 3, 4], [3, 4, 0], [1 << 40, 1 << 40, 0], [0, 1 << 40, 1 << 40]] {
            let optimizer = try Optimizer(Muon())
            try optimizer.addLayer("a", [TensorDescription("a", parameters: nil, shape: shape, dtype: .float32)])
            try optimizer.set([Setting("empty_step", "allow")])
            try optimizer.step()
        }
    }
}

/// The algorithm, in float64.
private struct ReferenceMuon {
    let rule: Muon
    /// Matrices, rows, columns; no matrices for a tensor of rank 0 and 1.
    let matrices: (count: Int, rows: Int, columns: Int)
    var weights: [Double]
    var states: [String: [Double]] = [:]
    var steps = 0.0

    init(_ rule: Muon, _ weights: [Double], shape: [Int]) {
        self.rule = rule
        self.weights = weights
        if shape.count < 2 {
            matrices = (0, 0, 0)
            states["exp_avg_sq"] = Array(repeating: 0, count: weights.count)
        } else if rule.axes == .first {
            matrices = (1, shape[0], shape.dropFirst().reduce(1, *))
        } else {
            matrices = (shape.dropLast(2).reduce(1, *), shape[shape.count - 2], shape[shape.count - 1])
        }
        states["momentum_buffer"] = Array(repeating: 0, count: weights.count)
    }

    mutating func step(_ g: [Double]) {
        steps += 1
        let share = 1 - (matrices.count == 0 ? rule.adamWBeta1 : rule.momentum)
        let m = zip(states["momentum_buffer"]!, g).map { $0 + share * ($1 - $0) }
        states["momentum_buffer"] = m
        if matrices.count == 0 { return stepByAdamW(m, g) }
        let u = rule.nesterov ? zip(m, g).map { $1 + rule.momentum * ($0 - $1) } : m
        let (rows, columns) = (Double(matrices.rows), Double(matrices.columns))
        let scale =
            switch rule.adjustLR {
            case .original: max(1, rows / columns).squareRoot()
            case .matchRMSAdamW: 0.2 * max(rows, columns).squareRoot()
            case .spectral: (rows / columns).squareRoot()
            case .none: 1.0
            }
        let size = matrices.rows * matrices.columns
        for matrix in 0..<matrices.count {
            let own = matrix * size..<(matrix + 1) * size
            let direction = orthogonal(Array(u[own]))
            for i in own {
                let decay = rule.learningRate * rule.weightDecay * weights[i]
                weights[i] -= rule.learningRate * scale * direction[i - own.lowerBound] + decay
            }
        }
    }

    private mutating func stepByAdamW(_ m: [Double], _ g: [Double]) {
        let v = zip(states["exp_avg_sq"]!, g).map { rule.adamWBeta2 * $0 + (1 - rule.adamWBeta2) * $1 * $1 }
        states["exp_avg_sq"] = v
        let rate = rule.learningRate * rule.adamWRateScale
        for i in weights.indices {
            let first = m[i] / (1 - pow(rule.adamWBeta1, steps))
            let second = (v[i] / (1 - pow(rule.adamWBeta2, steps))).squareRoot()
            weights[i] -= rate * first / (second + rule.adamWEpsilon) + rate * rule.weightDecay * weights[i]
        }
    }

    /// As matrices are kept between products.
    private func stored(_ x: Double) -> Double {
        if rule.precision == .full { return x }
        let bits = Float(x).bitPattern
        return Double(Float(bitPattern: (bits &+ 0x7FFF &+ (bits >> 16 & 1)) & 0xFFFF_0000))
    }

    /// A · B.
    private func product(_ a: [[Double]], _ b: [[Double]]) -> [[Double]] {
        a.map { row in
            let count = b.first?.count ?? 0
            return [Double](unsafeUninitializedCapacity: count) { sums, size in
                sums.update(repeating: 0)
                for (factor, other) in zip(row, b) {
                    other.withUnsafeBufferPointer { other in
                        for j in 0..<count { sums[j] += factor * other[j] }
                    }
                }
                size = count
            }
        }
    }

    /// X ← a·X + (b·A + c·A²)·X, where A = X·Xᵀ, for any shape.
    private func orthogonal(_ u: [Double]) -> [Double] {
        let (rows, columns) = (matrices.rows, matrices.columns)
        let u = u.map(stored)
        let norm = max(stored(u.reduce(0) { $0 + $1 * $1 }.squareRoot()), rule.epsilon)
        // In rows of the shorter side, whose square is then the smaller one.
        let isWide = rows <= columns
        let (short, long) = (min(rows, columns), max(rows, columns))
        var x = (0..<short).map { i in (0..<long).map { stored(u[isWide ? i * columns + $0 : $0 * columns + i] / norm) }
        }
        for iteration in 0..<rule.steps {
            let c = rule.orthogonalization!.coefficients(iteration)
            let gram = product(x, (0..<long).map { j in x.map { $0[j] } }).map { $0.map(stored) }
            let polynomial = zip(gram, product(gram, gram)).map { zip($0, $1).map { stored(c[1] * $0 + c[2] * $1) } }
            x = zip(x, product(polynomial, x)).map { zip($0, $1).map { stored(c[0] * $0 + $1) } }
        }
        return (0..<rows * columns).map {
            isWide ? x[$0 / columns][$0 % columns] : x[$0 % columns][$0 / columns]
        }
    }
}
