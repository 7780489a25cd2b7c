// SPDX-License-Identifier: Apache-2.0
import Foundation
import Layerwise
import XCTest

/// Averages of the weights and the slow weights of Lookahead.
final class WeightAverageTests: XCTestCase {
    private static let shapes = [[[40], [5, 7], []], [[301, 211], [3, 2, 33, 65]], [[1, 1], [0, 3], [70000]]]

    private static let kinds = [
        Kind(.float64), Kind(.float32), Kind(.bfloat16, master: true), Kind(.bfloat16), Kind(.float16, master: true),
        Kind(.float16),
    ]

    /// Against plain Double, from the weights as they are after each step.  The tolerance is that of one rounding of the lanes a
    /// step.
    func testAverages() throws {
        for kind in Self.kinds {
            for options: Options in [
                ["average": "ema", "average_decay": 0.8], ["average": "polynomial", "average_gamma": 3],
                ["average": "ema", "average_warmup": 1, "average_start": 2, "average_period": 2],
            ] {
                let model = try Model(AdamW(lr: 0.05), kind, shapes: Self.shapes)
                try model.optimizer.set(settings(options))
                let wanted = AverageReference(options)
                for _ in 0..<9 {
                    try model.optimizer.step()
                    wanted.add(try Self.weights(of: model, kind))
                }
                let unit = kind.computeType == .float64 ? Double.ulpOfOne : Double(Float.ulpOfOne)
                for layer in Self.shapes.indices {
                    for tensor in Self.shapes[layer].indices {
                        let found = try model.state("average", layer: layer, tensor: tensor).values
                        let expected = wanted.average[layer][tensor]
                        XCTAssertEqual(found.count, expected.count)
                        for (x, y) in zip(found, expected) {
                            XCTAssertEqual(x, y, accuracy: 9 * unit * (y.magnitude + 0.1), "\(kind) \(options)")
                        }
                    }
                }
            }
        }
    }

    /// The weights as the lanes have them.
    private static func weights(of model: Model, _ kind: Kind) throws -> [[[Double]]] {
        try shapes.indices.map { layer in
            try shapes[layer].indices.map { tensor in
                kind.master
                    ? try model.state("master", layer: layer, tensor: tensor).values
                    : model.parameters[layer][tensor].values
            }
        }
    }

    /// The weights after k steps are the slow weights, and the steps in between those of the rule.
    func testLookahead() throws {
        for kind in Self.kinds {
            let model = try Model(SGD(lr: 0.125), kind, shapes: Self.shapes)
            try model.optimizer.set(settings(["lookahead_period": 3, "lookahead_rate": 0.25]))
            var slow = try Self.weights(of: model, kind)
            for step in 1...7 {
                let before = try Self.weights(of: model, kind)
                try model.optimizer.step()
                let after = try Self.weights(of: model, kind)
                let unit = kind.computeType == .float64 ? Double.ulpOfOne : Double(Float.ulpOfOne)
                let stored = kind.master || kind.computeType == .float64 ? unit : max(unit, Self.unit(of: kind))
                for layer in Self.shapes.indices {
                    for tensor in Self.shapes[layer].indices {
                        let g = model.gradients[layer][tensor].values
                        for i in after[layer][tensor].indices {
                            var w = before[layer][tensor][i] - 0.125 * g[i]
                            if step % 3 == 0 {
                                slow[layer][tensor][i] += 0.25 * (w - slow[layer][tensor][i])
                                w = slow[layer][tensor][i]
                            }
                            XCTAssertEqual(after[layer][tensor][i], w, accuracy: 4 * stored * (w.magnitude + 0.1))
                        }
                    }
                }
            }
        }
    }

    private static func unit(of kind: Kind) -> Double {
        switch kind.dtype {
        case .float64: Double.ulpOfOne
        case .float32: Double(Float.ulpOfOne)
        case .float16: 0x1p-10
        default: 0x1p-7
        }
    }

    /// Threads change no bit, and evaluating in between changes none either.
    func testThreadsAndModes() throws {
        for kind in Self.kinds {
            var found: [[[Data]]] = []
            for threads in [1, 3] {
                let model = try Model(AdamW(lr: 0.05), kind, shapes: Self.shapes)
                try model.optimizer.set(
                    settings(["average": "ema", "average_decay": 0.7, "lookahead_period": 2])
                        + [Setting("threads", Double(threads))])
                for _ in 0..<5 {
                    try model.optimizer.step()
                    if threads == 1 { continue }
                    try model.optimizer.setMode(.evaluation)
                    try model.optimizer.setMode(.training)
                }
                try model.optimizer.setMode(.evaluation)
                found.append(model.parameters.map { $0.map { Data($0.bytes) } })
            }
            XCTAssertEqual(found[0], found[1], "\(kind)")
        }
    }
}

/// Averages in Double.
private final class AverageReference {
    var average: [[[Double]]] = []
    private var count = 0.0
    private var steps = 0
    private let options: Options

    init(_ options: Options) { self.options = options }

    private func number(_ key: String, _ start: Double) -> Double {
        if case .number(let x)? = options.first(where: { $0.key == key })?.value { x } else { start }
    }

    func add(_ weights: [[[Double]]]) {
        if average.isEmpty { average = weights }
        steps += 1
        let (start, period) = (Int(number("average_start", 0)), Int(number("average_period", 1)))
        if steps < start || (steps - start) % period != 0 { return }
        let gamma = number("average_gamma", -1)
        var share = 1 - number("average_decay", 0.999)
        if number("average_warmup", 0) > 0 { share = max(share, 1 - (1 + count) / (10 + count)) }
        if gamma >= 0 { share = (gamma + 1) / (gamma + count + 1) }
        if count == 0 { share = 1 }
        count += 1
        average = zip(average, weights).map { zip($0, $1).map { zip($0, $1).map { $0 + share * ($1 - $0) } } }
    }
}
