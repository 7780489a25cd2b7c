// SPDX-License-Identifier: Apache-2.0
import Layerwise
import XCTest

/// What multiplies decoupled decay: the layer's rate, the rate of a layer of scale 1, or the schedule alone.
final class DecayFollowsTests: XCTestCase {
    private static let base = 0.25
    private static let lambda = 0.125

    private static let rules: [any DeclaredRule] = [
        AdamW(lr: base, weightDecay: lambda), Adam(lr: base, weightDecay: lambda, decoupledWeightDecay: true),
        SGD(lr: base, weightDecay: lambda, decoupledWeightDecay: true),
        SGD(lr: base, momentum: 0.9, weightDecay: lambda, decoupledWeightDecay: true),
    ]

    /// Without a gradient a step only decays; what it multiplies λ by.
    private func decayRates(_ model: Model) throws -> [[Double]] {
        for buffer in model.gradients.joined() { buffer.values = [0] }
        for buffer in model.parameters.joined() { buffer.values = [1] }
        try model.optimizer.step()
        return model.parameters.map { $0.map { (1 - $0[0]) / Self.lambda } }
    }

    private func assertClose(_ found: [[Double]], _ wanted: [[Double]], _ label: String, line: UInt = #line) {
        XCTAssertEqual(found.map(\.count), wanted.map(\.count), label, line: line)
        for (x, y) in zip(found.joined(), wanted.joined()) {
            XCTAssertEqual(x, y, accuracy: 2e-15, label, line: line)
        }
    }

    private func model(_ rule: any DeclaredRule, _ follows: DecayFollows, layers: Int) throws -> Model {
        var settings = Settings()
        settings.decayFollows = follows
        return try Model(
            rule, Kind(.float64), shapes: Array(repeating: [[1]], count: layers), settings: settings,
            policy: try LayerDecay(0.5))
    }

    func testThreeWays() throws {
        let factors = [1, 0.5, 0.3, 0]
        for rule in Self.rules {
            for follows in DecayFollows.allCases {
                let model = try model(rule, follows, layers: 3)
                try model.optimizer.setSchedule(try FactorTable(factors))
                for factor in factors {
                    let wanted: [[Double]] = [0.25, 0.5, 1].map { scale in
                        switch follows {
                        case .layerLR: [Self.base * scale * factor]
                        case .baseLR: [Self.base * factor]
                        case .independent: [factor]
                        }
                    }
                    assertClose(try decayRates(model), wanted, "\(rule), \(follows), factor \(factor)")
                }
            }
        }
    }

    /// Loshchilov and Hutter 2019, algorithm 2: w ← w − η·(α·m̂/(√v̂ + ε) + λ·w), with the schedule multiplier η apart from
    /// α.
    func testIndependentDecayIsThePapersAlgorithm() throws {
        let model = try model(AdamW(lr: 0.1, weightDecay: Self.lambda), .independent, layers: 1)
        let schedule = try Cosine(totalSteps: 12)
        try model.optimizer.setSchedule(schedule)
        var (w, m, v) = (model.parameters[0][0][0], 0.0, 0.0)
        for t in 1...15 {
            let g = 0.3 * Double(t) - 2
            model.gradients[0][0][0] = g
            m = 0.9 * m + 0.1 * g
            v = 0.999 * v + 0.001 * g * g
            let eta = schedule.value(at: Int64(t - 1))
            let first = m / (1 - power(0.9, t))
            let second = v / (1 - power(0.999, t))
            w -= eta * (0.1 * first / (second.squareRoot() + 1e-8) + Self.lambda * w)
            try model.optimizer.step()
            XCTAssertEqual(model.parameters[0][0][0], w, accuracy: 1e-13, "step \(t)")
        }
    }

    private func power(_ x: Double, _ n: Int) -> Double { (0..<n).reduce(1) { product, _ in product * x } }

    /// A layer's own rate, and one that the policy gives, are what its decay follows.
    func testRatesInPlaceOfTheOptimizers() throws {
        for follows in DecayFollows.allCases {
            let model = try model(AdamW(lr: Self.base, weightDecay: Self.lambda), follows, layers: 3)
            model.optimizer.setPolicy(
                try Explicit([
                    Explicit.Assignment("0", scale: 0.5), Explicit.Assignment("1", scale: 0.5, lr: 0.5),
                    Explicit.Assignment("2", scale: 0.5, lr: 9),
                ]))
            try model.optimizer.setLayer(2, settings(["lr": 0.125]))
            try model.optimizer.setSchedule(try Constant(factor: 0.5))
            let wanted: [[Double]] =
                switch follows {
                case .layerLR: [[0.0625], [0.125], [0.03125]]
                case .baseLR: [[0.125], [0.25], [0.0625]]
                case .independent: [[0.5], [0.5], [0.5]]
                }
            assertClose(try decayRates(model), wanted, "\(follows)")
        }
    }

    /// Tensors that the policy scales apart decay with the layer unless the decay follows their rate.
    func testTensorsApart() throws {
        for follows in DecayFollows.allCases {
            var own = Settings()
            own.decayFollows = follows
            let model = try Model(
                AdamW(lr: Self.base, weightDecay: Self.lambda), Kind(.float64), shapes: [[[1], [1]]], settings: own,
                policy: try LoRAPlus(ratio: 4, match: "0/1", vectors: false))
            let wanted: [Double] =
                switch follows {
                case .layerLR: [0.25, 1]
                case .baseLR: [0.25, 0.25]
                case .independent: [1, 1]
                }
            assertClose(try decayRates(model), [wanted], "\(follows)")
        }
    }

    /// The floor is part of what the schedule says.
    func testFloors() throws {
        for follows in DecayFollows.allCases {
            let model = try model(AdamW(lr: Self.base, weightDecay: Self.lambda), follows, layers: 2)
            try model.optimizer.setSchedule(try Linear(totalSteps: 2, minRate: 0.125, floor: .absolute))
            try model.optimizer.seek(1)
            // Halfway from the rates 0.125 and 0.25 to 0.125.
            let wanted: [[Double]] =
                switch follows {
                case .layerLR: [[0.125], [0.1875]]
                case .baseLR: [[0.1875], [0.1875]]
                case .independent: [[0.75], [0.75]]
                }
            assertClose(try decayRates(model), wanted, "\(follows)")
        }
    }

    /// At a rate of 0 independent decay goes on.
    func testRateOfZero() throws {
        let model = try model(AdamW(lr: 0, weightDecay: Self.lambda), .independent, layers: 1)
        try model.optimizer.setSchedule(try Constant(factor: 0.5))
        assertClose(try decayRates(model), [[0.5]], "rate 0")
        try model.optimizer.set(settings(["decay_follows": "layer_lr"]))
        assertClose(try decayRates(model), [[0]], "rate 0")
    }

    /// LAMB's norm is taken after the decay, whatever that follows.
    func testLAMBWithDecoupledDecay() throws {
        for follows in DecayFollows.allCases {
            var own = Settings()
            own.decayFollows = follows
            let rule = try RuleCase("lamb", ["lr": 0.25, "weight_decay": 0.125, "decay": "decoupled"]).rule
            let model = try Model(
                rule, Kind(.float64), shapes: [[[2]]], settings: own, policy: try Explicit(["0": 0.5]))
            model.parameters[0][0].values = [3, 4]
            model.gradients[0][0].values = [1, 1]
            try model.optimizer.setSchedule(try Constant(factor: 0.5))
            try model.optimizer.step()
            let rate = 0.25 * 0.5 * 0.5
            let decay: Double =
                switch follows {
                case .layerLR: rate * 0.125
                case .baseLR: 0.25 * 0.5 * 0.125
                case .independent: 0.5 * 0.125
                }
            let kept = [3.0, 4].map { $0 * (1 - decay) }
            let u = 1 / (1 + 1e-6)
            let ratio = (kept[0] * kept[0] + kept[1] * kept[1]).squareRoot() / (u * 2.0.squareRoot())
            for (found, w) in zip(model.parameters[0][0].values, kept) {
                XCTAssertEqual(found, w - rate * ratio * u, accuracy: 1e-14, "\(follows)")
            }
        }
    }

    // MARK: - Coupled decay

    func testRefusedWhereTheDecayIsCoupled() throws {
        let coupled: [(any DeclaredRule, String)] = [
            (SGD(lr: 1), "SGD"), (Adam(lr: 1), "Adam"), (LARS(lr: 1), "LARS"), (LAMB(lr: 1), "LAMB"),
        ]
        for (rule, title) in coupled {
            for follows in ["base_lr", "independent"] {
                let message =
                    "\(title): decay_follows must be layer_lr where the decay is not decoupled, found \(follows) with "
                    + title
                let model = try Model(rule, sizes: [3])
                let before = try model.fullDigest()
                assertRefused(.outOfRange, message: message) {
                    try model.optimizer.set([Setting("decay_follows", follows)])
                }
                XCTAssertEqual(try model.fullDigest(), before)
                var own = Settings()
                own.decayFollows = try XCTUnwrap(DecayFollows(rawValue: follows))
                assertRefused(.outOfRange, message: message) { _ = try Optimizer(rule, settings: own) }
                try model.optimizer.set(settings(["decay_follows": "layer_lr"]))
            }
        }
    }

    /// Neither a layer nor the optimizer can couple the decay again in the meantime.
    func testCouplingIsRefusedInTheMeantime() throws {
        let model = try Model(SGD(lr: 1, decoupledWeightDecay: true), sizes: [3, 4])
        try model.optimizer.set(settings(["decay_follows": "independent"]))
        let before = try model.fullDigest()
        assertRefused(.outOfRange, layer: 1) {
            try model.optimizer.setLayer(1, settings(["decoupled_weight_decay": 0]))
        }
        assertRefused(.outOfRange) { try model.optimizer.set(settings(["decoupled_weight_decay": 0])) }
        XCTAssertEqual(try model.fullDigest(), before)
        try model.optimizer.set(settings(["decoupled_weight_decay": 0, "decay_follows": "layer_lr"]))
        try model.optimizer.setLayer(1, settings(["decoupled_weight_decay": 1]))
        assertRefused(.outOfRange) { try model.optimizer.set(settings(["decay_follows": "base_lr"])) }
        try model.optimizer.setLayer(1, settings(["decoupled_weight_decay": 0]))
        assertRefused(.outOfRange, layer: 1) {
            try model.optimizer.set(settings(["decay_follows": "base_lr", "decoupled_weight_decay": 1]))
        }
    }
}
