// SPDX-License-Identifier: Apache-2.0
import Layerwise
import XCTest

/// A preview says the rates that the steps then use.
final class PreviewTests: XCTestCase {
    /// Layers × steps.
    private func preview(
        _ optimizer: Optimizer, from first: Int64, count: Int, stride: Int64 = 1
    ) throws -> [[Double]] {
        var rates = [Double](repeating: .nan, count: optimizer.layerCount * count)
        try rates.withUnsafeMutableBufferPointer {
            try optimizer.preview(from: first, count: count, stride: stride, into: $0)
        }
        return (0..<optimizer.layerCount).map { Array(rates[$0 * count..<($0 + 1) * count]) }
    }

    // MARK: - Against the steps

    /// Over random models, policies, schedules and plans, bit for bit.
    func testSameBitsAsTheSteps() throws {
        var recipes = RandomRecipes(seed: 50)
        var random = Random(seed: 51)
        for run in 0..<150 {
            let layers = Int.random(in: 1...6, using: &random)
            let model = try Model(
                SGD(lr: 0.3), Kind(.float64), shapes: Array(repeating: [[2], [2, 2]], count: layers),
                policy: try randomPolicy(&random, layers: layers))
            try model.optimizer.set(settings(["telemetry": 1]))
            if run % 5 != 0 { try model.optimizer.setSchedule(recipes.schedule()) }
            if run % 3 == 0 {
                try model.optimizer.setSchedule(recipes.schedule(), layer: Int.random(in: 0..<layers, using: &random))
            }
            if run % 4 != 1 { model.optimizer.setFreezePlan(try randomPlan(&random)) }
            for layer in 0..<layers { try model.optimizer.setLayer(layer, randomSettings(&random)) }
            let first = Int64.random(in: 0...20, using: &random)
            try model.optimizer.seek(first)
            try check(model, from: first, "run \(run)")
        }
    }

    private func check(_ model: Model, from first: Int64, _ label: String) throws {
        let count = 40
        let rates = try preview(model.optimizer, from: first, count: count)
        for i in 0..<count {
            let infos = try model.infos()
            try model.optimizer.step()
            for (layer, info) in infos.enumerated() {
                XCTAssertEqual(rates[layer][i], info.effectiveRate, "\(label), layer \(layer), step \(i)")
                if info.frozen { continue }
                XCTAssertEqual(
                    rates[layer][i], try model.optimizer.telemetry(layer).effectiveRate,
                    "\(label), layer \(layer), step \(i)")
            }
        }
    }

    private func randomPolicy(_ random: inout Random, layers: Int) throws -> any DeclaredPolicy {
        let policies: [any DeclaredPolicy] = [
            Uniform(), try LayerDecay(0.7), try LayerDecay(0.65, convention: .timm, headScale: 3),
            try GeometricRange(lowest: 0.01), try RateSlice(1e-3, 0.2), try RateSlice(0.3), try ULMFiT(factor: 2.6),
            try Explicit([Explicit.Assignment("0", lr: 0.7), Explicit.Assignment("*", scale: 0.3)]), Exclude(),
            try LoRAPlus(ratio: 16, match: "*/1"),
            try Combine([try LayerDecay(0.9), try RateSlice(1e-3, 0.1), Exclude()]),
        ]
        return policies[Int.random(in: 0..<policies.count, using: &random)]
    }

    private func randomPlan(_ random: inout Random) throws -> any DeclaredFreezePlan {
        let plans: [any DeclaredFreezePlan] = [
            try GradualUnfreezing(every: 7), try ChainThaw(every: 5), try LayerFreezing(totalSteps: 45),
            try FreezeOut(totalSteps: 43), try FreezeOut(totalSteps: 50, start: 0.3, spacing: .linear, scaled: false),
            try FreezeAt([FreezeAt.Times("0", unfreezeAt: 25, freezeAt: 12), FreezeAt.Times("*", unfreezeAt: 9)]),
        ]
        return plans[Int.random(in: 0..<plans.count, using: &random)]
    }

    private func randomSettings(_ random: inout Random) -> [Setting] {
        switch Int.random(in: 0..<8, using: &random) {
        case 0: settings(["scale": 0.37])
        case 1: settings(["lr": 0.11])
        case 2: settings(["start": 13])
        case 3: settings(["frozen": "yes"])
        case 4: settings(["frozen": "no"])
        case 5: settings(["tower": "vision"])
        case 6: settings(["depth": 3, "role": "norm"])
        default: []
        }
    }

    /// What is changed or reported is seen in the next preview.
    func testPreviewFollowsChanges() throws {
        let model = try Model(SGD(lr: 1), sizes: [1, 1])
        XCTAssertEqual(try preview(model.optimizer, from: 0, count: 3), [[1, 1, 1], [1, 1, 1]])
        try model.optimizer.setSchedule(try Linear(totalSteps: 2))
        XCTAssertEqual(try preview(model.optimizer, from: 0, count: 3), [[1, 0.5, 0], [1, 0.5, 0]])
        model.optimizer.setPolicy(try LayerDecay(0.5))
        try model.optimizer.setLayer(1, settings(["start": 1]))
        XCTAssertEqual(try preview(model.optimizer, from: 0, count: 4), [[0.5, 0.25, 0, 0], [1, 1, 0.5, 0]])
        model.optimizer.setFreezePlan(try GradualUnfreezing(every: 1))
        XCTAssertEqual(try preview(model.optimizer, from: 0, count: 2), [[0, 0.25], [1, 1]])
        try model.optimizer.setLearningRate(4)
        XCTAssertEqual(try preview(model.optimizer, from: 1, count: 2), [[1, 0], [4, 2]])
        model.optimizer.setFreezePlan(nil)
        try model.optimizer.setSchedule(try ReduceOnPlateau(factor: 0.5, patience: 0))
        for metric in [1.0, 1] { try model.optimizer.report(metric) }
        XCTAssertEqual(try preview(model.optimizer, from: 9, count: 2), [[1, 1], [2, 2]])
        XCTAssertEqual(model.optimizer.summary.nextStep, 0, "nothing was stepped")
    }

    // MARK: - Sizes

    func testStrides() throws {
        let model = try Model(SGD(lr: 0.3), sizes: [1, 1, 1])
        try model.optimizer.setSchedule(try CosineRestarts(cycleSteps: 17, cycleMult: 1.5))
        model.optimizer.setFreezePlan(try FreezeOut(totalSteps: 4000))
        let all = try preview(model.optimizer, from: 0, count: 5000)
        for (first, stride) in [(0, 1), (3, 2), (0, 7), (1023, 1), (1024, 3), (5, 999)] {
            let count = (5000 - first + stride - 1) / stride
            let found = try preview(model.optimizer, from: Int64(first), count: count, stride: Int64(stride))
            for layer in 0..<3 {
                let wanted = Swift.stride(from: first, to: 5000, by: stride).map { all[layer][$0] }
                XCTAssertEqual(found[layer], wanted, "\(first), \(stride)")
            }
        }
        XCTAssertEqual(try preview(model.optimizer, from: 1 << 53, count: 1, stride: 1 << 53), [[0], [0], [0]])
        XCTAssertEqual(try preview(model.optimizer, from: 5, count: 0), [[], [], []])
        XCTAssertEqual(try preview(try Optimizer(SGD()), from: 0, count: 9), [])
    }

    /// The number of threads does not change a bit.
    func testManyLayersOnAnyNumberOfThreads() throws {
        let (layers, steps) = (1000, 2000)
        var settings = Settings()
        settings.dryRun = true
        let optimizer = try Optimizer(
            AdamW(lr: 1e-3), policy: try LayerDecay(0.99), schedule: try Cosine(totalSteps: 1800, warmupSteps: 100),
            freezePlan: try GradualUnfreezing(every: 1), settings: settings)
        for layer in 0..<layers {
            try optimizer.addLayer(
                "\(layer)", [TensorDescription("w", parameters: nil, shape: [4, 4], dtype: .float32)],
                settings: layer % 10 == 0 ? [Setting("start", Double(layer))] : [])
        }
        try optimizer.setSchedule(try Noam(modelSize: 64, warmupSteps: 100), layer: 7)
        var digests: [Digest] = []
        for threads in [1, 2, 7, 0] {
            try optimizer.set([Setting("threads", Double(threads))])
            var rates = [Double](repeating: .nan, count: layers * steps)
            try rates.withUnsafeMutableBufferPointer { try optimizer.preview(from: 0, count: steps, into: $0) }
            XCTAssertFalse(rates.contains { !$0.isFinite })
            var digest = Digest()
            rates.withUnsafeBytes { digest.add($0) }
            digests.append(digest)
        }
        XCTAssertEqual(Set(digests.map(\.value)).count, 1)
    }

    // MARK: - Refusals

    func testRefused() throws {
        let room = UnsafeMutableBufferPointer<Double>.allocate(capacity: 10)
        defer { room.deallocate() }
        room.initialize(repeating: 7)
        let most = 9_007_199_254_740_992
        func refused(_ first: Int64, _ count: Int, _ stride: Int64) -> RefusedCall {
            RefusedCall(
                .outOfRange,
                "preview: first must be from 0 to \(most), count at least 0 and stride at least 1, found \(first), "
                    + "\(count) and \(stride)",
                { try $0.preview(from: first, count: count, stride: stride, into: room) })
        }
        try assertAllRefused([
            refused(-1, 5, 1), refused(.min, 5, 1), refused(.max, 5, 1), refused(0, -1, 1), refused(0, .min, 1),
            refused(0, 5, 0), refused(0, 5, -1), refused(0, 5, .min), refused(0, 5, .max),
            RefusedCall(.outOfRange, "preview: \(Int.max) steps every 2 reach beyond \(most)") {
                try $0.preview(from: 0, count: .max, stride: 2, into: room)
            },
            RefusedCall(.outOfRange, "preview: 5 steps every \(most) reach beyond \(most)") {
                try $0.preview(from: 0, count: 5, stride: 1 << 53, into: room)
            },
            RefusedCall(.shape, "preview: expected room for 2 × 4 rates, found 10") {
                try $0.preview(from: 0, count: 4, into: room)
            },
            RefusedCall(.shape, "preview: expected room for 2 × 6 rates, found 10") {
                try $0.preview(from: 0, count: 6, into: room)
            },
        ])
        XCTAssertEqual(Array(room), Array(repeating: 7, count: 10))
    }
}
