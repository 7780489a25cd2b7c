// SPDX-License-Identifier: Apache-2.0
import Layerwise
import LayerwiseRules
import XCTest

/// An optimizer that takes the steps gets the values that a step here would use.
final class DrivenRatesTests: XCTestCase {
    private static let shapes = [[[20], [3, 4]], [[5, 5]], [[7], [2, 2]]]

    private func dry(_ rule: any DeclaredRule, policy: any DeclaredPolicy = Uniform()) throws -> Optimizer {
        var settings = Settings()
        settings.dryRun = true
        let optimizer = try Optimizer(rule, policy: policy, settings: settings)
        for (layer, shapes) in Self.shapes.enumerated() {
            try optimizer.addLayer(
                "\(layer)",
                shapes.enumerated().map { TensorDescription("\($0)", parameters: nil, shape: $1, dtype: .float32) })
        }
        return optimizer
    }

    private func groups(_ optimizer: Optimizer) throws -> [Int64] {
        var groups = [Int64](repeating: -1, count: 5)
        let count = try groups.withUnsafeMutableBufferPointer { try optimizer.rateGroups(into: $0) }
        XCTAssertEqual(Set(groups), Set(0..<Int64(count)))
        return groups
    }

    /// Step × tensor × key, and step × layer.
    private func values(
        _ optimizer: Optimizer, _ keys: [String], from first: Int64 = 0, count: Int = 1,
        tensors: [Int64] = [0, 1, 2, 3, 4]
    ) throws -> ([Double], [UInt8]) {
        var values = [Double](repeating: .nan, count: count * tensors.count * keys.count)
        var frozen = [UInt8](repeating: 7, count: count * 3)
        try values.withUnsafeMutableBufferPointer { values in
            try frozen.withUnsafeMutableBufferPointer { frozen in
                try tensors.withUnsafeBufferPointer { tensors in
                    try optimizer.drivenValues(
                        of: keys, tensors: tensors, from: first, count: count, into: values, frozen: frozen)
                }
            }
        }
        return (values, frozen)
    }

    // MARK: - Groups

    func testTensorsThatAreAlikeShareAGroup() throws {
        XCTAssertEqual(try groups(try dry(AdamW(lr: 1))), [0, 0, 0, 0, 0])
        XCTAssertEqual(try groups(try dry(AdamW(lr: 1), policy: try LayerDecay(0.5))), [0, 0, 1, 2, 2])
        XCTAssertEqual(try groups(try dry(AdamW(lr: 1), policy: Exclude())), [0, 1, 1, 0, 1])
        // Shares of no decay are no difference.
        XCTAssertEqual(try groups(try dry(AdamW(lr: 1, weightDecay: 0), policy: Exclude())), [0, 0, 0, 0, 0])
    }

    func testWhatSeparatesTensors() throws {
        let changes: [(String, (Optimizer) throws -> Void)] = [
            ("rate", { try $0.setLayer(1, settings(["lr": 3])) }),
            ("scale", { try $0.setLayer(1, settings(["scale": 3])) }),
            ("hyperparameter", { try $0.setLayer(1, settings(["beta1": 0.5])) }),
            ("schedule", { try $0.setSchedule(try Cosine(totalSteps: 9), layer: 1) }),
            ("schedule of decay", { try $0.setSchedule(try Cosine(totalSteps: 9), for: "weight_decay", layer: 1) }),
        ]
        for (label, change) in changes {
            let optimizer = try dry(AdamW(lr: 1))
            try change(optimizer)
            XCTAssertEqual(try groups(optimizer), [0, 0, 1, 0, 0], label)
        }
    }

    func testFreezingSeparatesNothingUnlessItAnneals() throws {
        let optimizer = try dry(AdamW(lr: 1))
        optimizer.setFreezePlan(try GradualUnfreezing(every: 3))
        XCTAssertEqual(try groups(optimizer), [0, 0, 0, 0, 0])
        optimizer.setFreezePlan(try FreezeOut(totalSteps: 20))
        XCTAssertEqual(try groups(optimizer), [0, 0, 1, 2, 2])
    }

    // MARK: - Values

    /// A real optimizer with the same settings takes the steps; its telemetry says the rates.
    func testSameBitsAsTheSteps() throws {
        var recipes = RandomRecipes(seed: 60)
        var random = Random(seed: 61)
        for run in 0..<60 {
            let policy = try Combine([try LayerDecay(0.7), Exclude()])
            let model = try Model(SGD(lr: 0.3, momentum: 0.5), shapes: Self.shapes, policy: policy)
            try model.optimizer.set(settings(["telemetry": 1]))
            let optimizer = try dry(SGD(lr: 0.3, momentum: 0.5), policy: policy)
            let schedule = recipes.schedule()
            let scale = Double.random(in: 0.1...2, using: &random)
            for each in [model.optimizer, optimizer] {
                try each.setSchedule(schedule)
                if run % 2 == 0 { each.setFreezePlan(try GradualUnfreezing(every: 4)) }
                if run % 3 == 0 { each.setFreezePlan(try FreezeOut(totalSteps: 30)) }
                try each.setLayer(1, [Setting("scale", scale)])
            }
            let (table, marks) = try values(optimizer, ["lr"], count: 20)
            for step in 0..<20 {
                let infos = try model.infos()
                try model.optimizer.step()
                for (layer, first) in [0, 2, 3].enumerated() {
                    XCTAssertEqual(marks[step * 3 + layer] == 1, infos[layer].frozen, "run \(run), step \(step)")
                    if infos[layer].frozen { continue }
                    let rate = try model.optimizer.telemetry(layer).effectiveRate
                    XCTAssertEqual(table[step * 5 + first], rate, "run \(run), step \(step)")
                }
            }
        }
    }

    func testTheRateOfAFrozenLayerIsWhatItWouldBe() throws {
        let optimizer = try dry(SGD(lr: 2), policy: try LayerDecay(0.5))
        try optimizer.setFrozen(0, true)
        let (rates, frozen) = try values(optimizer, ["lr", "unscheduled_lr"])
        XCTAssertEqual(rates, [0.5, 0.5, 0.5, 0.5, 1, 1, 2, 2, 2, 2])
        XCTAssertEqual(frozen, [1, 0, 0])
    }

    /// Rate × coefficient is what a step here decays by.
    func testDecayThatFollowsOthers() throws {
        for (follows, expected) in [
            (DecayFollows.layerLR, [0.1, 0.1, 0.1, 0.1, 0.1]), (.baseLR, [0.4, 0.4, 0.2, 0.1, 0.1]),
            (.independent, [0.2, 0.2, 0.1, 0.05, 0.05]),
        ] {
            let optimizer = try dry(AdamW(lr: 2, weightDecay: 0.1), policy: try LayerDecay(0.5))
            try optimizer.set([Setting("decay_follows", follows.rawValue)])
            XCTAssertEqual(try values(optimizer, ["weight_decay"]).0, expected, follows.rawValue)
        }
    }

    func testDecayAtARateOfZeroIsRefused() throws {
        let optimizer = try dry(AdamW(lr: 2, weightDecay: 0.1))
        try optimizer.set([Setting("decay_follows", "base_lr")])
        try optimizer.setLayer(1, settings(["scale": 0]))
        assertRefused(.outOfRange, layer: 1) { _ = try self.values(optimizer, ["weight_decay"]) }
        XCTAssertEqual(try values(optimizer, ["weight_decay"], tensors: [0]).0, [0.1])
    }

    func testHyperparametersUnderSchedules() throws {
        let optimizer = try dry(AdamW(lr: 1, betas: (0.8, 0.9)))
        try optimizer.setSchedule(try Linear(totalSteps: 4), for: "beta1")
        let (found, _) = try values(optimizer, ["beta1", "beta2", "eps"], count: 3, tensors: [4])
        XCTAssertEqual(found, [0.8, 0.9, 1e-8, 0.8 * 0.75, 0.9, 1e-8, 0.8 * 0.5, 0.9, 1e-8])
    }

    func testALookAheadDisturbsNoStep() throws {
        let model = try Model(SGD(lr: 0.3), shapes: Self.shapes)
        let twin = try Model(SGD(lr: 0.3), shapes: Self.shapes)
        for each in [model, twin] {
            try each.optimizer.setSchedule(try Cosine(totalSteps: 12))
            each.optimizer.setFreezePlan(try GradualUnfreezing(every: 3))
        }
        for _ in 0..<10 {
            _ = try values(model.optimizer, ["lr"], from: 5, count: 4)
            for each in [model, twin] { try each.optimizer.step() }
        }
        XCTAssertEqual(try model.fullDigest(), try twin.fullDigest())
    }

    func testRefuses() throws {
        let optimizer = try dry(SGD(lr: 1))
        assertRefused(.unknownName) { _ = try self.values(optimizer, ["beta1"]) }
        assertRefused(.notFound) { _ = try self.values(optimizer, ["lr"], tensors: [5]) }
        assertRefused(.notFound) { _ = try self.values(optimizer, ["lr"], tensors: [-1]) }
        assertRefused(.outOfRange) { _ = try self.values(optimizer, ["lr"], from: -1) }
        var room: [Int64] = [0]
        assertRefused(.shape) { _ = try room.withUnsafeMutableBufferPointer { try optimizer.rateGroups(into: $0) } }
    }
}
