// SPDX-License-Identifier: Apache-2.0
import Foundation
import Layerwise
import XCTest

/// Adaptive clipping, centralization and noise: what the settings do to gradients.
final class GradientAdjustmentTests: XCTestCase {
    private static let shapes = [
        [[40], [5, 7], []], [[301, 211], [3, 2, 33, 65]], [[1, 1], [300, 1], [1, 300]],
    ]

    private static let options: [Options] = [
        ["clip_unit_ratio": 0.02], ["clip_unit_ratio": 0.05, "clip_unit_eps": 0.5], ["centralize_gradients": 1],
        ["clip_unit_ratio": 0.02, "centralize_gradients": 1, "clip_value": 0.06],
    ]

    /// A step of SGD with rate 1 is the gradient as the rule sees it.  The tolerance is four roundings of the type, of the weight,
    /// the gradient and the mean.
    func testUnits() throws {
        for options in Self.options {
            for kind in [Kind(.float64), Kind(.float32), Kind(.float32), Kind(.bfloat16, master: true)] {
                let unit = kind.computeType == .float64 ? Double.ulpOfOne : Double(Float.ulpOfOne)
                let model = try Model(SGD(lr: 1), kind, shapes: Self.shapes)
                try model.optimizer.set(settings(options))
                // Units of zeros, whose norm is bounded, and gradients of zeros.
                for i in 0..<7 { model.parameters[0][1][i] = 0 }
                for i in 7..<14 { model.gradients[0][1][i] = 0 }
                let before = model.parameters
                    .map { $0.map(\.values) }
                try model.optimizer.step()
                for layer in Self.shapes.indices {
                    for tensor in Self.shapes[layer].indices {
                        let shape = Self.shapes[layer][tensor]
                        let weights = before[layer][tensor]
                        let wanted = adjusted(model.gradients[layer][tensor].values, weights, shape, options)
                        let found =
                            kind.master
                            ? try model.state("master", layer: layer, tensor: tensor).values
                            : model.parameters[layer][tensor].values
                        for i in found.indices {
                            XCTAssertEqual(
                                found[i], weights[i] - wanted[i], accuracy: 4 * unit * (weights[i].magnitude + 0.2),
                                "\(options) \(kind), layer \(layer), tensor \(tensor), element \(i)")
                        }
                    }
                }
            }
        }
    }

    private func adjusted(_ g: [Double], _ w: [Double], _ shape: [Int], _ options: Options) -> [Double] {
        func number(_ key: String, _ start: Double) -> Double {
            if case .number(let x)? = options.first(where: { $0.key == key })?.value { x } else { start }
        }
        let limit = number("clip_value", .infinity)
        var g = g.map { max(-limit, min($0, limit)) }
        let units = shape.count >= 2 ? shape[0] : 1
        let length = g.count / units
        for unit in 0..<units {
            let own = unit * length..<(unit + 1) * length
            let ratio = number("clip_unit_ratio", .infinity)
            let most = ratio * max(euclidean(Array(w[own])), number("clip_unit_eps", 1e-3))
            let norm = euclidean(Array(g[own]))
            if ratio < .infinity && norm > most { for i in own { g[i] *= most / max(norm, 1e-6) } }
            if number("centralize_gradients", 0) == 1 && shape.count >= 2 {
                let mean = g[own].reduce(0, +) / Double(length)
                for i in own { g[i] -= mean }
            }
        }
        return g
    }

    /// The same bits with any number of threads, with telemetry and without, and by tiles and in place.
    func testBits() throws {
        for options in Self.options + [["gradient_noise": 0.01, "gradient_noise_seed": 7]] {
            for rule in [AdamW(), LAMB(lr: 0.01), Adafactor(), Muon(lr: 0.01), Prodigy()] as [any DeclaredRule] {
                var digests: Set<String> = []
                for more in [["threads": 1], ["threads": 3, "telemetry": 1]] as [Options] {
                    let model = try Model(rule, shapes: Self.shapes)
                    try model.optimizer.set(settings(options) + settings(more))
                    for _ in 0..<3 {
                        model.drawGradients()
                        try model.optimizer.step()
                    }
                    digests.insert("\(try model.digest())")
                }
                XCTAssertEqual(digests.count, 1, "\(options) \(type(of: rule))")
                try BitRecord.add("\(options) \(type(of: rule))", try Self.digest(rule, options))
            }
        }
    }

    private static func digest(_ rule: any DeclaredRule, _ options: Options) throws -> Digest {
        let model = try Model(rule, shapes: [[[23, 29], [31]]])
        try model.optimizer.set(settings(options))
        for _ in 0..<10 {
            model.drawGradients()
            try model.optimizer.step()
        }
        return try model.digest()
    }

    /// Two parts of every tensor, cut along the first axis, step as the whole.
    func testPartsStepAsTheWhole() throws {
        let whole = [[40], [30, 20]]
        for options in Self.options {
            let model = try Model(SGD(lr: 1), Kind(.float64), shapes: [whole])
            let parts = try (0..<2).map { part in
                try Model(
                    SGD(lr: 1), Kind(.float64), shapes: [[[part == 0 ? 23 : 17], [part == 0 ? 11 : 19, 20]]],
                    wholes: [whole])
            }
            func copy(_ path: (Model) -> [[Buffer]]) {
                for tensor in whole.indices {
                    var offset = 0
                    for part in parts {
                        let own = path(part)[0][tensor]
                        for i in 0..<own.count { own[i] = path(model)[0][tensor][offset + i] }
                        offset += own.count
                    }
                }
            }
            copy(\.parameters)
            for optimizer in [model.optimizer] + parts.map(\.optimizer) { try optimizer.set(settings(options)) }
            for _ in 0..<3 {
                model.drawGradients()
                copy(\.gradients)
                try model.optimizer.step()
                XCTAssertEqual(stepTogether(parts.map(\.optimizer)).compactMap { $0 }.count, 0, "\(options)")
            }
            for tensor in whole.indices {
                let found = parts.flatMap { $0.parameters[0][tensor].values }
                for (a, b) in zip(found, model.parameters[0][tensor].values) {
                    XCTAssertEqual(a, b, accuracy: 1e-14, "\(options)")
                }
            }
        }
    }

    func testPartsAcrossUnitsAreRefused() throws {
        let model = try Model(SGD(lr: 1), shapes: [[[5, 3]]], wholes: [[[5, 7]]])
        try model.optimizer.set([Setting("centralize_gradients", 1)])
        assertRefused(
            .shape,
            message:
                "layer \"0\": tensor \"0\": adaptive clipping and centralization take sums along the first axis, along which "
                + "alone a tensor may be spread over processes"
        ) { try model.optimizer.step(StepOptions(reduce: { _ in true })) }
    }

    /// Finite gradients leave finite weights, and empty tensors of any extents have no units.
    func testEdges() throws {
        for kind in [Kind(.float32), Kind(.float64), Kind(.float16), Kind(.bfloat16)] {
            for options in Self.options {
                let model = try Model(SGD(lr: 1), kind, shapes: Self.shapes)
                try model.optimizer.set(settings(options))
                let largest: Double =
                    switch kind.dtype {
                    case .float64: .greatestFiniteMagnitude
                    case .float16: 65504
                    case .bfloat16: 0x1.fep+127
                    default: Double(Float.greatestFiniteMagnitude)
                    }
                for buffer in model.gradients.joined() {
                    for i in 0..<buffer.count { buffer[i] = [largest, largest, -largest, 1e-300, 0][i % 5] }
                }
                for _ in 0..<2 { try model.optimizer.step() }
                for buffer in model.parameters.joined() {
                    XCTAssertTrue(buffer.values.allSatisfy(\.isFinite), "\(options) \(kind)")
                }
            }
        }
        for shape in [[0], [0, 5], [5, 0], [1 << 40, 1 << 40, 0], [0, 1 << 40, 1 << 40]] {
            let optimizer = try Optimizer(SGD())
            try optimizer.set([
                Setting("clip_unit_ratio", 0.1), Setting("centralize_gradients", 1), Setting("gradient_noise", 1),
                Setting("empty_step", "allow"),
            ])
            try optimizer.addLayer("a", [TensorDescription("a", parameters: nil, shape: shape, dtype: .float32)])
            try optimizer.step()
        }
    }

    /// The noise is normal: mean, variance, fourth moment and tails of 60,000 numbers are within five standard errors of theirs, its
    /// variance falls as the settings say, and tensors, steps and seeds have noise of their own.
    func testNoise() throws {
        let shapes = [[[30_000], [150, 200]]]
        func noise(_ seed: Int, steps: Int = 1, threads: Int = 1) throws -> [[Double]] {
            let model = try Model(SGD(lr: 1), Kind(.float64), shapes: shapes)
            try model.optimizer.set([
                Setting("gradient_noise", 0.25), Setting("gradient_noise_decay", 1),
                Setting("gradient_noise_seed", Double(seed)), Setting("threads", Double(threads)),
            ])
            for buffer in model.gradients.joined() { for i in 0..<buffer.count { buffer[i] = 0 } }
            for step in 1...steps {
                if step == steps {
                    for buffer in model.parameters.joined() { for i in 0..<buffer.count { buffer[i] = 0 } }
                }
                try model.optimizer.step()
            }
            return model.parameters[0].map { $0.values.map { -$0 } }
        }
        let first = try noise(1)
        XCTAssertEqual(first, try noise(1, threads: 3))
        let all = first.flatMap { $0.map { 2 * $0 } }
        let n = Double(all.count)
        func mean(_ f: (Double) -> Double) -> Double { all.reduce(0) { $0 + f($1) } / n }
        XCTAssertEqual(mean { $0 }, 0, accuracy: 5 / n.squareRoot())
        XCTAssertEqual(mean { $0 * $0 }, 1, accuracy: 5 * (2 / n).squareRoot())
        XCTAssertEqual(mean { $0 * $0 * $0 * $0 }, 3, accuracy: 5 * (96 / n).squareRoot())
        let tail = mean { abs($0) > 3 ? 1 : 0 }
        XCTAssertEqual(tail, 0.0027, accuracy: 5 * (0.0027 / n).squareRoot())
        func correlation(_ a: [Double], _ b: [Double]) -> Double {
            zip(a, b).reduce(0) { $0 + $1.0 * $1.1 } / (euclidean(a) * euclidean(b))
        }
        let bound = 5 / 30_000.0.squareRoot()
        XCTAssertLessThan(abs(correlation(first[0], first[1])), bound)
        XCTAssertLessThan(abs(correlation(first[0], try noise(2)[0])), bound)
        XCTAssertLessThan(abs(correlation(Array(first[0].dropLast()), Array(first[0].dropFirst()))), bound)
        // The variance at the fourth step is a quarter of that at the first.
        let fourth = try noise(1, steps: 4)
        XCTAssertLessThan(abs(correlation(first[0], fourth[0])), bound)
        XCTAssertEqual(euclidean(fourth[0]) / euclidean(first[0]), 0.5, accuracy: 0.5 * 5 / 30_000.0.squareRoot())
    }

    /// The numbers are Box and Muller's of Philox4x32-10's bits, which are here written out; an odd count ends within a pair.
    ///
    /// ln, cos and sin are an ulp or two from the C library's; near 0 their errors are relative to 1.
    func testNoiseIsOfPhilox() throws {
        // Salmon et al. 2011, known answers of the reference implementation.
        XCTAssertEqual(philox([0, 0, 0, 0], 0), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8])
        XCTAssertEqual(
            philox([0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344], 0x299f_31d0_a409_3822),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1])
        let model = try Model(SGD(lr: 1), Kind(.float64), shapes: [[[1001]]])
        try model.optimizer.set([Setting("gradient_noise", 0.25), Setting("gradient_noise_seed", 9)])
        for i in 0..<1001 { (model.gradients[0][0][i], model.parameters[0][0][i]) = (0, 0) }
        try model.optimizer.step()
        var key: UInt64 = 0xcbf2_9ce4_8422_2325
        // Layer and tensor are called "0".
        for byte in [0x30, 0, 0x30] as [UInt64] { key = (key ^ byte) &* 0x0000_0100_0000_01b3 }
        for i in 0..<1001 {
            let bits = philox([UInt32(i / 2), 0, 0, 0], key ^ 9).map { UInt64($0) }
            let u = Double((bits[0] << 32 | bits[1]) >> 11 + 1) * 0x1p-53
            let v = Double((bits[2] << 32 | bits[3]) >> 11) * 0x1p-53
            let wanted = (-2 * log(u)).squareRoot() * (i % 2 == 0 ? cos(2 * .pi * v) : sin(2 * .pi * v))
            XCTAssertEqual(-2 * model.parameters[0][0][i], wanted, accuracy: 1e-14)
        }
    }

    private func philox(_ counter: [UInt32], _ key: UInt64) -> [UInt32] {
        var (c, first, second) = (counter, UInt32(truncatingIfNeeded: key), UInt32(truncatingIfNeeded: key >> 32))
        for _ in 0..<10 {
            let a = (0xD251_1F53 as UInt32).multipliedFullWidth(by: c[0])
            let b = (0xCD9E_8D57 as UInt32).multipliedFullWidth(by: c[2])
            c = [b.high ^ c[1] ^ first, b.low, a.high ^ c[3] ^ second, a.low]
            first &+= 0x9E37_79B9
            second &+= 0xBB67_AE85
        }
        return c
    }

    /// A resumed run has the noise that it would have had.
    func testNoiseGoesOn() throws {
        func model() throws -> Model {
            let model = try Model(AdamW(), shapes: [[[40], [5, 7]]])
            try model.optimizer.set([Setting("gradient_noise", 0.25), Setting("gradient_noise_seed", 3)])
            return model
        }
        let (one, other) = (try model(), try model())
        for _ in 0..<3 { try one.optimizer.step() }
        try other.optimizer.load(try one.optimizer.exported())
        for (own, source) in zip(other.parameters.joined(), one.parameters.joined()) {
            own.bytes.copyBytes(from: source.bytes)
        }
        for _ in 0..<2 {
            try one.optimizer.step()
            try other.optimizer.step()
        }
        XCTAssertEqual("\(try one.digest())", "\(try other.digest())")
        // The seed is a part of the identity.
        let third = try model()
        try third.optimizer.set([Setting("gradient_noise_seed", 4)])
        XCTAssertThrowsError(try third.optimizer.load(try one.optimizer.exported()))
    }
}
