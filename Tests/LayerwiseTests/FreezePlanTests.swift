// SPDX-License-Identifier: Apache-2.0
import Glibc
import Layerwise
import XCTest

/// When each layer trains, by hand.
final class FreezePlanTests: XCTestCase {
    private static let five = LayerDescriptor.stack([0, 1, 2, 3, 4])

    private func spans(_ plan: any DeclaredFreezePlan, of layers: [LayerDescriptor]) throws -> [[Range<Int64>]] {
        try plan.activities(of: layers).map(\.spans)
    }

    private func from(_ step: Int64) -> [Range<Int64>] { [step..<Int64.max] }

    // MARK: - Gradual unfreezing

    func testGradualUnfreezing() throws {
        XCTAssertEqual(
            try spans(try GradualUnfreezing(every: 10), of: Self.five),
            [from(40), from(30), from(20), from(10), from(0)])
        XCTAssertEqual(
            try spans(try GradualUnfreezing(every: 10, first: 3), of: Self.five),
            [from(20), from(10), from(0), from(0), from(0)])
        XCTAssertEqual(
            try spans(try GradualUnfreezing(every: 2, stepsPerEpoch: 7), of: Self.five),
            [from(56), from(42), from(28), from(14), from(0)])
        XCTAssertEqual(
            try spans(try GradualUnfreezing(every: 10, first: 9), of: Self.five), Array(repeating: from(0), count: 5))
    }

    /// Layers of one depth thaw together, gaps between depths do not count, and towers thaw side by side.
    func testGradualUnfreezingByDepth() throws {
        XCTAssertEqual(
            try spans(try GradualUnfreezing(every: 10), of: LayerDescriptor.stack([7, 0, 7, 3])),
            [from(0), from(20), from(0), from(10)])
        let towers = LayerDescriptor.stack([0, 1, 2], tower: "vision") + LayerDescriptor.stack([0, 5], tower: "text")
        XCTAssertEqual(
            try spans(try GradualUnfreezing(every: 10), of: towers), [from(20), from(10), from(0), from(10), from(0)])
    }

    func testNormsMayAlwaysTrain() throws {
        let layers = LayerDescriptor.transformer(blocks: 2)
        let plans: [(any DeclaredFreezePlan, any DeclaredFreezePlan)] = [
            (try GradualUnfreezing(every: 3), try GradualUnfreezing(every: 3, trainNorms: true)),
            (try ChainThaw(every: 3), try ChainThaw(every: 3, trainNorms: true)),
            (try FreezeOut(totalSteps: 30), try FreezeOut(totalSteps: 30, trainNorms: true)),
            (try LayerFreezing(totalSteps: 30), try LayerFreezing(totalSteps: 30, trainNorms: true)),
        ]
        for (plain, kind) in plans {
            var wanted = try plain.activities(of: layers)
            XCTAssertNotEqual(wanted[3], .always)
            wanted[3] = .always
            XCTAssertEqual(try kind.activities(of: layers), wanted, "\(kind.spec)")
        }
    }

    // MARK: - Chain-thaw

    func testChainThaw() throws {
        XCTAssertEqual(
            try spans(try ChainThaw(every: 10), of: Self.five),
            [
                [10..<20, 50..<Int64.max], [20..<30, 50..<Int64.max], [30..<40, 50..<Int64.max], [40..<Int64.max],
                [0..<10, 50..<Int64.max],
            ])
        XCTAssertEqual(try spans(try ChainThaw(every: 10), of: LayerDescriptor.stack([3])), [from(0)])
        XCTAssertEqual(
            try spans(try ChainThaw(every: 2, stepsPerEpoch: 5), of: LayerDescriptor.stack([9, 4, 9])),
            [[0..<10, 20..<Int64.max], [10..<Int64.max], [0..<10, 20..<Int64.max]])
    }

    // MARK: - FreezeOut

    /// tᵢ = φ(t₀ + (1 − t₀)·i/(n − 1)).
    func testFreezeOut() throws {
        let linear = [0.5, 0.625, 0.75, 0.875, 1]
        for (spacing, shares) in [
            (FreezeOut.Spacing.linear, linear), (.squared, linear.map { $0 * $0 }),
            (.cubic, linear.map { $0 * $0 * $0 }),
        ] {
            for scaled in [true, false] {
                let plan = try FreezeOut(totalSteps: 1000, start: 0.5, spacing: spacing, scaled: scaled)
                for (activity, share) in zip(plan.activities(of: Self.five), shares) {
                    let steps = share * 1000
                    XCTAssertEqual(activity.spans, [0..<Int64(steps.rounded(.up))], "\(spacing)")
                    XCTAssertEqual(activity.annealingSteps, steps, accuracy: 1e-12)
                    XCTAssertEqual(activity.annealingGain, scaled ? 1 / share : 1, accuracy: 1e-14)
                }
            }
        }
        XCTAssertEqual(try FreezeOut(totalSteps: 10).activities(of: LayerDescriptor.stack([4]))[0].spans, [0..<10])
    }

    /// The last layer trains to the end and not a step longer, whatever t₀ is.
    func testFreezeOutEndsWithTheRun() throws {
        var random = Random(seed: 40)
        for _ in 0..<2000 {
            let start = min(1, random.uniform().magnitude + 1e-9)
            let total = Int.random(in: 1...(1 << 40), using: &random)
            for spacing in FreezeOut.Spacing.allCases {
                let plan = try FreezeOut(totalSteps: total, start: start, spacing: spacing)
                XCTAssertEqual(plan.activities(of: Self.five).last?.spans, [0..<Int64(total)], "\(plan.spec)")
            }
        }
    }

    // MARK: - Composer

    /// `_freeze_schedule` and `int(freeze_percentage * len(flat_children[0:-1]))`, at every step.
    func testLayerFreezingIsComposers() throws {
        var random = Random(seed: 41)
        for _ in 0..<60 {
            let total = Int.random(in: 1...200, using: &random)
            let start = [0, 0.5, 0.25, random.uniform().magnitude][Int.random(in: 0..<4, using: &random)]
            let level = [1, 0.5, 0, random.uniform().magnitude][Int.random(in: 0..<4, using: &random)]
            let count = Int.random(in: 1...9, using: &random)
            let plan = try LayerFreezing(totalSteps: total, start: start, level: level)
            let activities = plan.activities(of: LayerDescriptor.stack(Array(0..<count)))
            for t in 0...total {
                let duration = Double(t) / Double(total)
                let share = duration <= start ? 0 : level * ((duration - start) / (1 - start))
                let frozen = Int(share * Double(count - 1))
                for layer in 0..<count {
                    let isActive = activities[layer].spans.contains { $0.contains(Int64(t)) }
                    XCTAssertEqual(isActive, layer >= frozen, "\(plan.spec), step \(t), layer \(layer) of \(count)")
                }
            }
            XCTAssertEqual(activities.last, .always)
        }
    }

    func testLayerFreezingByHand() throws {
        XCTAssertEqual(
            try spans(try LayerFreezing(totalSteps: 80), of: Self.five),
            [[0..<50], [0..<60], [0..<70], [0..<80], from(0)])
        XCTAssertEqual(
            try spans(try LayerFreezing(totalSteps: 80, level: 0.5), of: Self.five),
            [[0..<60], [0..<80], from(0), from(0), from(0)])
        XCTAssertEqual(
            try spans(try LayerFreezing(totalSteps: 10, start: 0), of: LayerDescriptor.stack([0, 0, 6])),
            [[0..<10], [0..<10], from(0)])
    }

    // MARK: - By name

    func testFreezeAtOrders() throws {
        typealias Times = FreezeAt.Times
        let orders: [(Times, [Range<Int64>])] = [
            (Times("layer0", unfreezeAt: 10), [10..<Int64.max]), (Times("layer0", freezeAt: 10), [0..<10]),
            (Times("layer0", unfreezeAt: 10, freezeAt: 30), [10..<30]),
            (Times("layer0", unfreezeAt: 30, freezeAt: 10), [0..<10, 30..<Int64.max]),
            (Times("layer0", unfreezeAt: 0), [0..<Int64.max]), (Times("layer0", freezeAt: 0), []),
            (Times("layer0", unfreezeAt: 0, freezeAt: 10), [0..<10]),
            (Times("layer0", unfreezeAt: 10, freezeAt: 0), [10..<Int64.max]),
            (Times("layer0", unfreezeAt: 1 << 53), [1 << 53..<Int64.max]),
        ]
        for (times, wanted) in orders {
            let found = try spans(try FreezeAt([times]), of: Self.five)
            XCTAssertEqual(found, [wanted] + Array(repeating: from(0), count: 4), "\(times)")
        }
    }

    func testFreezeAtMatches() throws {
        typealias Times = FreezeAt.Times
        let layers = ["embed", "block.1", "block.2", "head"].enumerated().map { LayerDescriptor(name: $1, depth: $0) }
        XCTAssertEqual(
            try spans(
                try FreezeAt([Times("block.*", unfreezeAt: 5), Times("*", freezeAt: 9)], syntax: .glob), of: layers),
            [[0..<9], from(5), from(5), [0..<9]])
        assertRefused(
            .unknown("no layer is called \"neck\", expected one of \"embed\", \"block.1\", \"block.2\", \"head\"")
        ) {
            _ = try FreezeAt([Times("neck", freezeAt: 1)]).activities(of: layers)
        }
        assertRefused(.invalid("nothing is given for layer \"block.1\", \"block.2\", \"head\"")) {
            _ = try FreezeAt([Times("embed", freezeAt: 1)], unmatched: .error).activities(of: layers)
        }
        assertRefused(.invalid("more than one pattern matches layer \"block.1\"")) {
            _ = try FreezeAt([Times("block*", freezeAt: 1), Times("*1", freezeAt: 2)], syntax: .glob)
                .activities(of: layers)
        }
    }

    // MARK: - Refusals

    func testRefused() {
        func assert(_ error: SettingError, _ name: String, _ options: Options, parts: [Spec] = [], line: UInt = #line) {
            assertRefused(error, line: line) { _ = try freezePlan(Spec(name, settings(options), parts: parts)) }
        }
        let every = "every must be given, a whole number from 1 to 1048576"
        assert(.invalid("gradual_unfreezing: \(every)"), "gradual_unfreezing", [:])
        assert(.invalid("chain_thaw: \(every)"), "chain_thaw", [:])
        let total = "total_steps must be given, a whole number from 1 to 9007199254740992"
        assert(.invalid("freeze_out: \(total)"), "freeze_out", [:])
        assert(.invalid("layer_freezing: \(total)"), "layer_freezing", [:])
        assert(
            .invalid("layer_freezing: start must be in [0, 1), found 1.0"), "layer_freezing",
            ["total_steps": 5, "start": 1])
        assert(
            .invalid("freeze_out: start must be in (0, 1], found 0.0"), "freeze_out", ["total_steps": 5, "start": 0])
        assert(.invalid("freeze_at: needs a layer to thaw or to freeze"), "freeze_at", [:])
        assert(
            .invalid("freeze_at: layers: \"a\" needs unfreeze_at or freeze_at"), "freeze_at", [:],
            parts: [Spec("layers", settings(["match": "a"]))])
        assert(
            .invalid("freeze_at: layers: \"a\": unfreeze_at and freeze_at must differ, found 5 twice"), "freeze_at",
            [:],
            parts: [Spec("layers", settings(["match": "a", "unfreeze_at": 5, "freeze_at": 5]))])
        assert(
            .duplicate("freeze_at: \"a\" is given twice"), "freeze_at", [:],
            parts: [
                Spec("layers", settings(["match": "a", "freeze_at": 5])),
                Spec("layers", settings(["match": "a", "freeze_at": 6])),
            ])
        assert(
            .unknown(
                "no freezing plan is called \"thaw\", expected one of gradual_unfreezing, chain_thaw, freeze_out, "
                    + "layer_freezing, freeze_at, lisa, badam, hift, auto_freeze, grades"), "thaw", [:])
    }

    /// Stages that would end past the largest step.
    func testStagesThatNeverEnd() throws {
        let layers = LayerDescriptor.stack(Array(0..<20))
        for plan in [
            try GradualUnfreezing(every: 1 << 20, stepsPerEpoch: 1 << 20),
            try ChainThaw(every: 1 << 20, stepsPerEpoch: 1 << 20),
        ] as [any DeclaredFreezePlan] {
            for spans in try spans(plan, of: layers) {
                XCTAssertFalse(spans.isEmpty)
                for span in spans { XCTAssertFalse(span.isEmpty) }
                for (span, next) in zip(spans, spans.dropFirst()) {
                    XCTAssertLessThan(span.upperBound, next.lowerBound)
                }
            }
        }
    }

    func testWordsSayEverything() throws {
        let plans: [any DeclaredFreezePlan] = [
            try GradualUnfreezing(every: 3, stepsPerEpoch: 7, first: 2, trainNorms: true), try ChainThaw(every: 3),
            try FreezeOut(totalSteps: 30, start: 0.3, spacing: .squared, scaled: false),
            try LayerFreezing(totalSteps: 30, start: 0.1, level: 0.7),
            try FreezeAt(
                [FreezeAt.Times("layer1", unfreezeAt: 4, freezeAt: 3), FreezeAt.Times("*", freezeAt: 9)],
                ambiguous: .last),
        ]
        for plan in plans {
            let again = try freezePlan(plan.spec)
            XCTAssertEqual(again.spec, plan.spec)
            XCTAssertEqual(try again.activities(of: Self.five), try plan.activities(of: Self.five))
        }
    }
}
