// SPDX-License-Identifier: Apache-2.0
import Foundation
import Layerwise
import XCTest

/// Adafactor and CAME, which keep averages of squares by rows and columns, Adam-Mini by rows, and SM3 by places along axes.
final class FactoredRuleTests: XCTestCase {
    /// Of rank 0 to 4; matrices of one block and of several, whose rows end within blocks; one row, one column, one element.
    private static let shapes = [
        [[40], [5, 7], []], [[301, 111], [3, 2, 33, 65]], [[1, 1], [4, 6, 3, 3], [1, 300], [300, 1]],
    ]
    /// Rows that are longer than a block, of several matrices and of a vector.
    private static let wideShapes = [[[2, 1, 17003], [20003]], [[3, 20011]]]
    private static let allShapes = shapes + wideShapes

    /// 30 steps stay beside the reference, all options away from their defaults; where only the blocks are other ones, eight do.  The
    /// tolerance is a hundred roundings of the arithmetic's type, in units of the largest distance that a weight of the tensor moved,
    /// and half a unit of the weight for each step, in which it is rounded.
    func testThirtySteps() throws { try take(steps: 30, Self.shapes) }
    func testEightStepsOfWideMatrices() throws { try take(steps: 8, Self.wideShapes) }

    private func take(steps: Int, _ shapes: [[[Int]]]) throws {
        for ruleCase in try RuleCase.factored() {
            let rule = ruleCase.rule
            for kind in [Kind(.float64), Kind(.float32), Kind(.bfloat16, master: true)] {
                let unit = kind.computeType == .float64 ? Double.ulpOfOne : Double(Float.ulpOfOne)
                let model = try Model(rule, kind, shapes: shapes)
                let epsilon = kind.dtype == .bfloat16 ? 0x1p-7 : unit
                // A change from outside, which master copies must take over.
                for buffer in model.parameters.joined() { buffer[0] = 0.5 }
                var references = shapes.indices.map { layer in
                    shapes[layer].indices.map {
                        reference(rule, epsilon, unit, model.parameters[layer][$0].values, shape: shapes[layer][$0])
                    }
                }
                let start = references
                for _ in 0..<steps {
                    Self.pull(model)
                    for layer in references.indices {
                        for tensor in references[layer].indices {
                            references[layer][tensor].step(model.gradients[layer][tensor].values)
                        }
                    }
                    try model.optimizer.step()
                }
                for layer in references.indices {
                    for tensor in references[layer].indices {
                        let label = "\(ruleCase) \(kind), layer \(layer), tensor \(tensor)"
                        let wanted = references[layer][tensor]
                        let first = start[layer][tensor].weights
                        let moved = zip(wanted.weights, first).map { abs($0 - $1) }.max() ?? 0
                        XCTAssertGreaterThan(moved, 5e-6, label)
                        let found =
                            kind.master
                            ? try model.state("master", layer: layer, tensor: tensor).values
                            : model.parameters[layer][tensor].values
                        for (i, (a, b)) in zip(found, wanted.weights).enumerated() {
                            let accuracy = 100 * unit * moved + Double(steps) / 2 * unit * b.magnitude
                            XCTAssertEqual(a, b, accuracy: accuracy + wanted.slack(i), label)
                        }
                        for (name, values) in wanted.states {
                            let state = try model.state(name, layer: layer, tensor: tensor).values
                            XCTAssertEqual(state.count, values.count, "\(label): \(name)")
                            let largest = values.map(\.magnitude).max() ?? 0
                            for (a, b) in zip(state, values) {
                                XCTAssertEqual(a, b, accuracy: 100 * unit * largest, "\(label): \(name)")
                            }
                        }
                    }
                }
            }
        }
    }

    /// A gradient that pulls every weight to 0.5, with noise.
    private static func pull(_ model: Model) {
        model.drawGradients()
        for (gradients, weights) in zip(model.gradients.joined(), model.parameters.joined()) {
            let (drawn, places) = (gradients.values, weights.values)
            gradients.fill { 0.1 * drawn[$0] + 0.01 * (places[$0] - 0.5) }
        }
    }

    /// The same bits with any number of threads, with telemetry and without, and after a resume.
    func testBits() throws {
        for ruleCase in try RuleCase.factored() {
            for kind in [Kind(.float32), Kind(.float64), Kind(.bfloat16, master: true), Kind(.float16)] {
                var digests: Set<String> = []
                for settings in [["threads": 1], ["threads": 2], ["threads": 3, "telemetry": 1]] as [Options] {
                    let model = try Model(ruleCase.rule, kind, shapes: Self.allShapes)
                    try model.optimizer.set(LayerwiseRulesTests.settings(settings))
                    for _ in 0..<5 {
                        Self.pull(model)
                        try model.optimizer.step()
                    }
                    digests.insert("\(try model.digest())")
                }
                let model = try Model(ruleCase.rule, kind, shapes: Self.allShapes)
                for _ in 0..<3 {
                    Self.pull(model)
                    try model.optimizer.step()
                }
                let again = try Model(ruleCase.rule, kind, shapes: Self.allShapes)
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

    /// CAME's matrices have two pairs of rows and columns.
    func testTwoPairs() throws {
        let model = try Model(CAME(), Kind(.float32), shapes: [[[40], [5, 7]]])
        let states = try (0..<2).map { try model.optimizer.states(layer: 0, tensor: $0) }
        XCTAssertEqual(states[0].map(\.name), ["step", "exp_avg_sq", "exp_avg"])
        XCTAssertEqual(
            states[1].map(\.name),
            ["step", "exp_avg_sq_row", "exp_avg_sq_col", "exp_avg", "exp_avg_res_row", "exp_avg_res_col"])
        XCTAssertEqual(states[1].map(\.count), [1, 5, 7, 35, 5, 7])
    }

    /// A matrix has rows and columns in place of its second moment, and other tensors have it whole.
    func testStates() throws {
        let model = try Model(Adafactor(), Kind(.bfloat16), shapes: [[[40], [5, 7], [2, 3, 4]]])
        let states = try (0..<3).map { try model.optimizer.states(layer: 0, tensor: $0) }
        XCTAssertEqual(states[0].map(\.name), ["step", "variance"])
        XCTAssertEqual(states[1].map(\.name), ["step", "row_var", "col_var"])
        XCTAssertEqual(states[1].map(\.count), [1, 5, 7])
        XCTAssertEqual(states[2].map(\.count), [1, 6, 8])
        XCTAssertEqual(states[2].map(\.dtype), [.int64, .float32, .float32])
        XCTAssertEqual(try model.optimizer.info(0).stateBytes, 4 * (40 + 5 + 7 + 6 + 8))
    }

    /// Two optimizers, each with some rows of every tensor, step as one with the whole.  Sums are added up in another order.
    func testPartsStepAsTheWhole() throws {
        let whole = [[40], [5, 7], [300, 200], [6, 3, 4], [1, 5]]
        let rows = [[23, 17], [3, 2], [100, 200], [2, 4], [1, 0]]
        for ruleCase in try RuleCase.factored() where !(ruleCase.rule is SM3) {
            // Each part must have whole blocks of rows.
            if (ruleCase.rule as? AdamMini)?.blockRows == 3 { continue }
            let model = try Model(ruleCase.rule, Kind(.float64), shapes: [whole])
            let parts = try (0..<2).map { part in
                try Part(ruleCase.rule, of: whole, rows: rows.map { $0[part] })
            }
            func copy(_ path: (Part) -> [Buffer], _ source: [Buffer]) {
                for tensor in whole.indices {
                    var offset = 0
                    for part in parts {
                        let own = path(part)[tensor]
                        for i in 0..<own.count { own[i] = source[tensor][offset + i] }
                        offset += own.count
                    }
                }
            }
            copy({ $0.parameters }, model.parameters[0])
            for _ in 0..<10 {
                Self.pull(model)
                copy({ $0.gradients }, model.gradients[0])
                try model.optimizer.step()
                let errors = stepTogether(parts.map(\.optimizer))
                XCTAssertEqual(errors.compactMap { $0 }.count, 0, "\(ruleCase): \(errors)")
            }
            for tensor in whole.indices {
                let found = parts.flatMap { $0.parameters[tensor].values }
                for (a, b) in zip(found, model.parameters[0][tensor].values) {
                    XCTAssertEqual(a, b, accuracy: 1e-12, "\(ruleCase), tensor \(tensor)")
                }
            }
        }
    }

    /// A part along another axis than the first cannot know the means of its rows.
    func testPartsAcrossRowsAreRefused() throws {
        let part = try Part(Adafactor(), of: [[5, 7]], shapes: [[5, 3]])
        assertRefused(
            .shape,
            message:
                "layer \"layer\": tensor \"0\": Adafactor takes means of rows and columns, for which a tensor may be "
                + "spread over processes along its first axis only"
        ) { try part.optimizer.step(StepOptions(reduce: { _ in true })) }
    }

    /// A matrix keeps a number for each row, or for each row and each column; a vector one, or one for each element.
    func testRowMeansAndAxes() throws {
        let shapes = [[40], [5, 7], [2, 3, 4], [], [0, 3]]
        func states(_ rule: any DeclaredRule) throws -> [[StateInfo]] {
            let model = try Model(rule, Kind(.bfloat16), shapes: [shapes])
            return try shapes.indices.map { try model.optimizer.states(layer: 0, tensor: $0) }
        }
        let means = try states(AdamMini())
        XCTAssertEqual(means[0].map(\.name), ["step", "exp_avg", "exp_avg_sq_row"])
        XCTAssertEqual(means.map { $0[2].count }, [1, 5, 6, 1, 0])
        let axes = try states(SM3())
        XCTAssertEqual(axes[0].map(\.name), ["step", "accumulator", "momentum_buffer"])
        XCTAssertEqual(axes.map { $0[1].count }, [40, 12, 9, 1, 0])
        XCTAssertEqual(axes[1].map(\.dtype), [.int64, .float32, .float32])
    }

    /// Blocks of three rows end where processes meet; one of four would not.
    func testPartsOfBlocks() throws {
        let rule = AdamMini(lr: 0.02, blockRows: 3)
        let model = try Model(rule, Kind(.float64), shapes: [[[9, 5]]])
        let parts = try [3, 6].map { try Part(rule, of: [[9, 5]], rows: [$0]) }
        for (offset, part) in zip([0, 15], parts) {
            for i in 0..<part.parameters[0].count { part.parameters[0][i] = model.parameters[0][0][offset + i] }
            for i in 0..<part.gradients[0].count { part.gradients[0][i] = model.gradients[0][0][offset + i] }
        }
        try model.optimizer.step()
        XCTAssertEqual(stepTogether(parts.map(\.optimizer)).compactMap { $0 }.count, 0)
        XCTAssertEqual(parts.flatMap { $0.parameters[0].values }, model.parameters[0][0].values)
        let other = try Part(AdamMini(lr: 0.02, blockRows: 4), of: [[9, 5]], rows: [5])
        assertRefused(
            .shape,
            message:
                "layer \"layer\": tensor \"0\": Adam-Mini takes blocks of 4 rows, of which each process must hold whole "
                + "ones"
        ) { try other.optimizer.step(StepOptions(reduce: { _ in true })) }
        let axes = try Part(SM3(), of: [[9, 5]], rows: [5])
        assertRefused(
            .shape,
            message:
                "layer \"layer\": tensor \"0\": SM3 takes the largest numbers along all axes, so that a tensor cannot "
                + "be spread over processes"
        ) { try axes.optimizer.step(StepOptions(reduce: { _ in true })) }
        let whole = try Part(SM3(), of: [[9, 5]], rows: [9])
        try whole.optimizer.step(StepOptions(reduce: { _ in true }))
    }

    /// NaN enters no accumulator.
    func testAxesPassOverNaN() throws {
        let model = try Model(
            SM3(), Kind(.float32), shapes: [[[5, 7]]],
            settings: {
                var s = Settings(); s.nonfinite = .propagate; return s
            }())
        model.gradients[0][0][8] = .nan
        try model.optimizer.step()
        XCTAssertTrue(try model.state("accumulator", layer: 0, tensor: 0).values.allSatisfy(\.isFinite))
        XCTAssertEqual(model.parameters[0][0].values.filter(\.isNaN).count, 1)
    }

    /// Where every gradient is 0, nothing moves and nothing becomes NaN, whatever ε.
    func testGradientsOfZero() throws {
        let cases = try [
            RuleCase("adafactor"), RuleCase("adafactor", ["eps_position": "added"]), RuleCase("came"),
            RuleCase("came", ["eps1": 0, "eps2": 0]), RuleCase("adam_mini"), RuleCase("adam_mini", ["eps": 0]),
            RuleCase("sm3"), RuleCase("sm3", ["eps": 0]), RuleCase("sm3", ["eps": 0, "momentum": 0]),
        ]
        for ruleCase in cases {
            let model = try Model(ruleCase.rule, Kind(.float32), shapes: Self.allShapes)
            let start = model.parameters.map { $0.map(\.values) }
            for buffer in model.gradients.joined() { for i in 0..<buffer.count { buffer[i] = 0 } }
            for _ in 0..<2 { try model.optimizer.step() }
            XCTAssertEqual(model.parameters.map { $0.map(\.values) }, start, "\(ruleCase)")
        }
    }

    /// Huge and tiny gradients and weights leave finite numbers.
    func testFiniteStaysFinite() throws {
        for ruleCase in try RuleCase.factored() {
            for kind in [Kind(.float32), Kind(.float64), Kind(.bfloat16), Kind(.float16)] {
                let model = try Model(ruleCase.rule, kind, shapes: Self.allShapes)
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
                    for layer in Self.allShapes.indices {
                        for tensor in Self.allShapes[layer].indices {
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
            for rule in [Adafactor(), AdamMini(), SM3()] as [any DeclaredRule] {
                let optimizer = try Optimizer(rule)
                try optimizer.addLayer("a", [TensorDescription("a", parameters: nil, shape: shape, dtype: .float32)])
                try optimizer.set([Setting("empty_step", "allow")])
                try optimizer.step()
            }
        }
    }
}

/// A part of a layer's tensors, in an optimizer of its own.
private struct Part {
    let optimizer: Optimizer
    let parameters: [Buffer]
    let gradients: [Buffer]

    init(_ rule: any DeclaredRule, of whole: [[Int]], rows: [Int]) throws {
        try self.init(rule, of: whole, shapes: zip(whole, rows).map { [$1] + $0.dropFirst() })
    }

    init(_ rule: any DeclaredRule, of whole: [[Int]], shapes: [[Int]]) throws {
        optimizer = try Optimizer(rule)
        parameters = shapes.map { Buffer(.float64, count: $0.reduce(1, *)) }
        gradients = shapes.map { Buffer(.float64, count: $0.reduce(1, *)) }
        try optimizer.addLayer(
            "layer",
            shapes.indices.map {
                TensorDescription(
                    "\($0)", parameters: parameters[$0].start, gradients: gradients[$0].start, shape: shapes[$0],
                    wholeShape: whole[$0], dtype: .float64)
            })
    }
}

/// A tensor of the reference, in float64.
private protocol ReferenceFactored {
    var weights: [Double] { get }
    var states: [String: [Double]] { get }
    mutating func step(_ g: [Double])
    /// How far a weight may be off because a decision depended on a sign that was lost in rounding.
    func slack(_ index: Int) -> Double
}

extension ReferenceFactored {
    func slack(_ index: Int) -> Double { 0 }
}

private func reference(
    _ rule: any DeclaredRule, _ epsilon: Double, _ unit: Double, _ weights: [Double], shape: [Int]
) -> any ReferenceFactored {
    if let rule = rule as? CAME { return ReferenceCAME(rule, unit, weights, shape: shape) }
    if let rule = rule as? AdamMini { return ReferenceAdamMini(rule, weights, shape: shape) }
    if let rule = rule as? SM3 { return ReferenceSM3(rule, weights, shape: shape) }
    return ReferenceAdafactor(rule as! Adafactor, epsilon, weights, shape: shape)
}

private func rms(_ x: [Double]) -> Double { (x.reduce(0) { $0 + $1 * $1 } / Double(x.count)).squareRoot() }

/// Averages of numbers of a tensor's shape, by the rows and columns of its last two axes.
private struct RowsAndColumns {
    let matrices: Int
    let rows: Int
    let columns: Int

    init(_ shape: [Int]) {
        rows = shape.count >= 2 ? shape[shape.count - 2] : 1
        columns = shape.last ?? 1
        matrices = shape.dropLast(2).reduce(1, *)
    }

    var zeroRows: [Double] { Array(repeating: 0, count: matrices * rows) }
    var zeroColumns: [Double] { Array(repeating: 0, count: matrices * columns) }

    /// Advances both averages by a share, and returns the products over the mean of the rows, which is at least `floor`.
    func advance(
        _ rowMeans: inout [Double], _ columnMeans: inout [Double], _ values: [Double], share: Double, floor: Double = 0
    ) -> [Double] {
        var products = values
        for m in 0..<matrices {
            for i in 0..<rows {
                let mean = (0..<columns).reduce(0) { $0 + values[(m * rows + i) * columns + $1] } / Double(columns)
                rowMeans[m * rows + i] += share * (mean - rowMeans[m * rows + i])
            }
            for j in 0..<columns {
                let mean = (0..<rows).reduce(0) { $0 + values[(m * rows + $1) * columns + j] } / Double(rows)
                columnMeans[m * columns + j] += share * (mean - columnMeans[m * columns + j])
            }
            let mean = (0..<rows).reduce(0) { $0 + rowMeans[m * rows + $1] } / Double(rows)
            for i in 0..<rows {
                for j in 0..<columns {
                    products[(m * rows + i) * columns + j] =
                        rowMeans[m * rows + i] * columnMeans[m * columns + j] / max(mean, floor)
                }
            }
        }
        return products
    }
}

/// What `UpdateOptions.cautious` makes of a change without decay, and of the decay d·w.
private func cautious(
    _ options: UpdateOptions, _ changes: [Double], _ decay: Double, _ weights: [Double], _ g: [Double]
) -> [Double] {
    switch options.cautious {
    case .none: return weights.indices.map { changes[$0] + decay * weights[$0] }
    case .decay:
        return weights.indices.map { changes[$0] + (changes[$0] * weights[$0] >= 0 ? decay * weights[$0] : 0) }
    case .update:
        let kept = g.indices.map { changes[$0] * g[$0] > 0 ? 1.0 : 0 }
        let scale = 1 / max(kept.reduce(0, +) / Double(g.count), 1e-3)
        return weights.indices.map { scale * kept[$0] * changes[$0] + decay * weights[$0] }
    }
}

/// Adam-mini.
private struct ReferenceAdamMini: ReferenceFactored {
    let rule: AdamMini
    let columns: Int
    var weights: [Double]
    var states: [String: [Double]] = [:]
    let blockRows: Int
    var steps = 0.0

    init(_ rule: AdamMini, _ weights: [Double], shape: [Int]) {
        self.rule = rule
        self.weights = weights
        columns = shape.last ?? 1
        let rows = weights.count / columns
        blockRows = rule.blockRows == 0 || shape.count < 2 ? rows : rule.blockRows
        states["exp_avg"] = weights.map { _ in 0 }
        states["exp_avg_sq_row"] = Array(repeating: 0, count: rows)
    }

    mutating func step(_ g: [Double]) {
        steps += 1
        var (m, v) = (states["exp_avg"]!, states["exp_avg_sq_row"]!)
        let corrections = (1 - pow(rule.beta1, steps), 1 - pow(rule.beta2, steps))
        for first in stride(from: 0, to: v.count, by: blockRows) {
            let rows = first..<min(first + blockRows, v.count)
            let elements = first * columns..<rows.upperBound * columns
            let mean = elements.reduce(0) { $0 + g[$1] * g[$1] } / Double(elements.count)
            for row in rows { v[row] = rule.beta2 * v[row] + (1 - rule.beta2) * mean }
        }
        m = zip(m, g).map { rule.beta1 * $0 + (1 - rule.beta1) * $1 }
        (states["exp_avg"], states["exp_avg_sq_row"]) = (m, v)
        let changes = m.indices.map { index in
            rule.learningRate * (m[index] / corrections.0)
                / ((v[index / columns] / corrections.1).squareRoot() + rule.epsilon)
        }
        let all = cautious(rule.updateOptions, changes, rule.learningRate * rule.weightDecay, weights, g)
        for i in weights.indices { weights[i] -= all[i] }
    }
}

/// SM3.
private struct ReferenceSM3: ReferenceFactored {
    let rule: SM3
    let shape: [Int]
    var weights: [Double]
    var states: [String: [Double]] = [:]

    init(_ rule: SM3, _ weights: [Double], shape: [Int]) {
        self.rule = rule
        self.weights = weights
        self.shape = shape.isEmpty ? [1] : shape
        states["accumulator"] = Array(repeating: 0, count: self.shape.reduce(0, +))
        if rule.momentum > 0 { states["momentum_buffer"] = weights.map { _ in 0 } }
    }

    /// The places of an element along all axes, side by side.
    private func places(_ index: Int) -> [Int] {
        var (places, rest, end): ([Int], Int, Int) = ([], index, shape.reduce(0, +))
        for extent in shape.reversed() {
            end -= extent
            places.append(end + rest % extent)
            rest /= extent
        }
        return places
    }

    mutating func step(_ g: [Double]) {
        let old = states["accumulator"]!
        var new = rule.monotone && rule.beta > 0 ? old : old.map { _ in 0 }
        for index in weights.indices {
            let places = places(index)
            let least = places.map { old[$0] }.min()!
            let nu = (rule.beta > 0 ? rule.beta : 1) * least + (1 - rule.beta) * g[index] * g[index]
            for place in places { new[place] = max(new[place], nu) }
            var change = g[index] / (nu + rule.epsilon).squareRoot()
            if rule.momentum > 0 {
                let m = states["momentum_buffer"]![index]
                change = m + (1 - rule.momentum) * (change - m)
                states["momentum_buffer"]![index] = change
            }
            weights[index] -= rule.learningRate * (change + rule.weightDecay * weights[index])
        }
        states["accumulator"] = new
    }
}

/// CAME.
private struct ReferenceCAME: ReferenceFactored {
    let rule: CAME
    let unit: Double
    let form: RowsAndColumns
    let isMatrix: Bool
    var weights: [Double]
    var states: [String: [Double]] = [:]
    /// The momentum of magnitudes: what the rounding of the momentum is measured against.
    private var sizes: [Double]
    private var slacks: [Double]

    init(_ rule: CAME, _ unit: Double, _ weights: [Double], shape: [Int]) {
        self.rule = rule
        self.unit = unit
        sizes = weights.map { _ in 0 }
        slacks = sizes
        form = RowsAndColumns(shape)
        self.weights = weights
        isMatrix = shape.count >= 2
        states["exp_avg"] = weights.map { _ in 0 }
        if isMatrix {
            for name in ["exp_avg_sq", "exp_avg_res"] {
                states["\(name)_row"] = form.zeroRows
                states["\(name)_col"] = form.zeroColumns
            }
        } else {
            states["exp_avg_sq"] = weights.map { _ in 0 }
        }
    }

    private mutating func products(_ name: String, _ values: [Double], share: Double) -> [Double] {
        var (rows, columns) = (states["\(name)_row"]!, states["\(name)_col"]!)
        let products = form.advance(&rows, &columns, values, share: share)
        (states["\(name)_row"], states["\(name)_col"]) = (rows, columns)
        return products
    }

    mutating func step(_ g: [Double]) {
        let squares = g.map { $0 * $0 + rule.epsilon1 }
        var v: [Double]
        if isMatrix {
            v = products("exp_avg_sq", squares, share: 1 - rule.beta2)
        } else {
            v = zip(states["exp_avg_sq"]!, squares).map { $0 + (1 - rule.beta2) * ($1 - $0) }
            states["exp_avg_sq"] = v
        }
        var u = g.indices.map { g[$0] / v[$0].squareRoot() }
        let clip = max(1, rms(u) / rule.clip)
        u = u.map { $0 / clip }
        let m = zip(states["exp_avg"]!, u).map { $0 + (1 - rule.beta1) * ($1 - $0) }
        states["exp_avg"] = m
        var changes = m.map { rule.learningRate * $0 }
        if isMatrix {
            let residuals = zip(u, m).map { ($0 - $1) * ($0 - $1) + rule.epsilon2 }
            let i = products("exp_avg_res", residuals, share: 1 - rule.beta3)
            changes = zip(changes, i).map { $0 / $1.squareRoot() }
        }
        let decay = rule.learningRate * rule.weightDecay
        let all = cautious(rule.updateOptions, changes, decay, weights, g)
        for i in weights.indices {
            sizes[i] += (1 - rule.beta1) * (u[i].magnitude - sizes[i])
            // Whether a cautious decay shrinks this weight depends on the sign of its momentum.
            if rule.updateOptions.cautious == .decay && m[i].magnitude <= 10 * unit * sizes[i] {
                slacks[i] += decay * weights[i].magnitude
            }
            weights[i] -= all[i]
        }
    }

    func slack(_ index: Int) -> Double { slacks[index] }
}

/// Adafactor.
private struct ReferenceAdafactor: ReferenceFactored {
    let rule: Adafactor
    let epsilon: Double
    let form: RowsAndColumns
    let isMatrix: Bool
    var weights: [Double]
    var states: [String: [Double]] = [:]
    var steps = 0.0

    init(_ rule: Adafactor, _ epsilon: Double, _ weights: [Double], shape: [Int]) {
        self.rule = rule
        self.epsilon = rule.epsilon1 == 0 ? epsilon : rule.epsilon1
        self.weights = weights
        isMatrix = shape.count >= 2
        form = RowsAndColumns(shape)
        if isMatrix {
            states["row_var"] = form.zeroRows
            states["col_var"] = form.zeroColumns
        } else {
            states["variance"] = Array(repeating: 0, count: weights.count)
        }
        if rule.beta1 > 0 { states["exp_avg"] = Array(repeating: 0, count: weights.count) }
    }

    mutating func step(_ g: [Double]) {
        steps += 1
        let share = pow(steps, rule.beta2Decay)
        let isFloor = rule.epsilonPosition == .floor
        let squares = g.map { $0 * $0 + (isFloor ? 0 : epsilon) }
        var v = weights.map { _ in 0.0 }
        // Out of the dictionary, which would take most of the time.
        if isMatrix {
            var (rowMeans, columnMeans) = (states["row_var"]!, states["col_var"]!)
            v = form.advance(&rowMeans, &columnMeans, squares, share: share, floor: isFloor ? epsilon : 0)
            (states["row_var"], states["col_var"]) = (rowMeans, columnMeans)
        } else {
            v = zip(states["variance"]!, squares).map { $0 + share * ($1 - $0) }
            states["variance"] = v
        }
        let u = g.indices.map { g[$0] / max(v[$0], isFloor ? epsilon * epsilon : 0).squareRoot() }
        let root = 1 / steps.squareRoot()
        let size =
            switch rule.stepSize {
            case .capped: min(rule.learningRate, root)
            case .relative: rule.learningRate * min(0.01, root)
            case .warmup: rule.learningRate * min(1e-6 * steps, root)
            case .constant: rule.learningRate
            }
        let alpha = size * (rule.scaleParameter ? max(rule.epsilon2, rms(weights)) : 1)
        let clip = max(1, rms(u) / rule.clip)
        let decay = rule.weightDecay * (rule.decay == .lr ? rule.learningRate : alpha)
        var changes = u.map { alpha / clip * $0 }
        if rule.beta1 > 0 {
            changes = zip(states["exp_avg"]!, changes).map { $0 + (1 - rule.beta1) * ($1 - $0) }
            states["exp_avg"] = changes
        }
        let all = cautious(rule.updateOptions, changes, decay, weights, g)
        for i in weights.indices { weights[i] -= all[i] }
    }
}
