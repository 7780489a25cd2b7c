// SPDX-License-Identifier: Apache-2.0
import Layerwise
import XCTest

/// Several policies at once, and policies for one tower.
final class CombinedPolicyTests: XCTestCase {
    private static let places = [
        LayerDescriptor.layer("stem", ["weight": [4, 4], "bias": [4]]),
        LayerDescriptor(
            name: "head", depth: 1, role: .head,
            tensors: [TensorDescriptor(name: "weight", shape: [4, 4]), TensorDescriptor(name: "bias", shape: [4])]),
    ]

    func testScalesMultiply() throws {
        let policies: [any DeclaredPolicy] = [
            try LayerDecay(0.5), try Explicit(["stem": 3, "head": 5]), try ULMFiT(factor: 4),
        ]
        XCTAssertEqual(try Combine(policies).scales(of: Self.places), [0.5 * 3 / 4, 5])
        let nested = try Combine([try Combine(Array(policies.prefix(2))), policies[2]])
        XCTAssertEqual(try nested.scales(of: Self.places), [0.5 * 3 / 4, 5])
    }

    func testSharesOfTensorsMultiply() throws {
        let policy = try Combine([
            try LayerDecay(0.5), Exclude(), try LoRAPlus(ratio: 8, match: "*/weight", vectors: false),
            try MuP([MuP.Base("*/weight", fanIn: 2, fanOut: 2)]),
        ])
        let shares = try policy.shares(of: Self.places)
        XCTAssertEqual(shares.map(\.scale), [0.5, 1])
        for share in shares {
            XCTAssertEqual(
                share.tensors,
                [TensorScaling(scale: 8 * 0.5, decay: 2), TensorScaling(scale: 1, decay: 0, mayAdapt: false)])
        }
    }

    func testOneRateIsScaledByTheOthers() throws {
        let policy = try Combine([try LayerDecay(0.5), try RateSlice(0.25, 4), Uniform()])
        let shares = try policy.shares(of: Self.places)
        XCTAssertEqual(shares.map(\.rate), [0.25, 4])
        XCTAssertEqual(shares.map(\.scale), [0.5, 1])
    }

    func testTwoRatesAreRefused() throws {
        let policy = try Combine([
            try RateSlice(0.25, 4), try Explicit([Explicit.Assignment("head", lr: 1)], unmatched: .keep),
        ])
        assertRefused(.invalid("two policies give layer \"head\" a rate of its own")) {
            _ = try policy.shares(of: Self.places)
        }
        let apart = try Combine([
            try Explicit([Explicit.Assignment("stem", lr: 2)], unmatched: .keep),
            try Explicit([Explicit.Assignment("head", lr: 1)], unmatched: .keep),
        ])
        XCTAssertEqual(try apart.shares(of: Self.places).map(\.rate), [2, 1])
    }

    func testOriginsAreNamed() throws {
        func origins(_ policies: [any DeclaredPolicy]) throws -> [String] {
            try Combine(policies).shares(of: Self.places).map(\.origin)
        }
        XCTAssertEqual(try origins([Uniform(), Uniform()]), ["", ""])
        XCTAssertEqual(try origins([Uniform(), try LayerDecay(0.5)]), ["layer_decay", "layer_decay"])
        XCTAssertEqual(
            try origins([try LayerDecay(0.5, headScale: 3), Exclude()]),
            ["layer_decay × exclude", "head_scale × exclude"])
        XCTAssertEqual(
            try origins([try Explicit([Explicit.Assignment("stem", scale: 1)], unmatched: .keep), Uniform()]),
            ["explicit stem", ""])
    }

    func testRefused() {
        assertRefused(.invalid("combine: expected at least two policies, found 0")) { _ = try policy(Spec("combine")) }
        assertRefused(.invalid("combine: expected at least two policies, found 1")) { _ = try Combine([Uniform()]) }
        assertRefused(.invalid("combine: part 1: layer_decay: decay must be in (0, 1], found 2.0")) {
            _ = try policy(Spec("combine", parts: [Spec("uniform"), Spec("layer_decay", [Setting("decay", 2)])]))
        }
        assertRefused(.unknown("part 1: no layer is called \"neck\", expected one of \"stem\", \"head\"")) {
            _ = try Combine([Uniform(), try Explicit(["neck": 1])]).shares(of: Self.places)
        }
    }

    // MARK: - Towers

    private static let towers =
        LayerDescriptor.transformer(blocks: 3, tower: "vision")
        + LayerDescriptor.transformer(blocks: 2, norm: false, tower: "text")

    func testForTowerLeavesTheOthersAlone() throws {
        let policy = try ForTower("vision", try LayerDecay(0.5, convention: .timm))
        let shares = try policy.shares(of: Self.towers)
        XCTAssertEqual(shares.prefix(6).map(\.scale), [0.0625, 0.125, 0.25, 0.5, 0.5, 1])
        XCTAssertTrue(shares.dropFirst(6).allSatisfy { $0 == LayerScaling() })
    }

    func testEachTowerItsOwn() throws {
        let policy = try Combine([
            try ForTower("vision", try LayerDecay(0.5)), try ForTower("text", try ULMFiT(factor: 3)),
        ])
        let vision = try LayerDecay(0.5).scales(of: Array(Self.towers.prefix(6)))
        let text = try ULMFiT(factor: 3).scales(of: Array(Self.towers.dropFirst(6)))
        XCTAssertEqual(try policy.scales(of: Self.towers), vision + text)
        let mixed = try policy.scalesByName(of: Self.towers.reversed())
        XCTAssertEqual(mixed, try policy.scalesByName(of: Self.towers), "in any order")
    }

    func testNamesAreThoseOfTheTower() throws {
        let message =
            "no layer is called \"texthead\", expected one of \"visionembed\", \"visionblock1\", \"visionblock2\", "
            + "\"visionblock3\", \"visionnorm\", \"visionhead\""
        assertRefused(.unknown(message)) {
            _ = try ForTower("vision", try Explicit(["texthead": 1, "*": 1])).shares(of: Self.towers)
        }
        let own = try ForTower("vision", try Explicit(["visionhead": 3, "*": 2]))
        XCTAssertEqual(try own.scales(of: Self.towers), [2, 2, 2, 2, 2, 3, 1, 1, 1, 1])
    }

    func testUnknownTower() throws {
        assertRefused(.unknown("no tower is called \"audio\", expected one of \"text\", \"vision\"")) {
            _ = try ForTower("audio", Uniform()).shares(of: Self.towers)
        }
        assertRefused(.invalid("for_tower: expected one policy, found 0")) {
            _ = try policy(Spec("for_tower", settings(["tower": "vision"])))
        }
        let model = try Model(SGD(lr: 1), sizes: [1, 1])
        model.optimizer.setPolicy(try ForTower("vision", try LayerDecay(0.5)))
        assertRefused(
            .unknownName, message: "policy for_tower: no tower is called \"vision\", no layer has a tower"
        ) { try model.optimizer.step() }
        try model.optimizer.setLayer(0, settings(["tower": "vision"]))
        XCTAssertEqual(try model.infos().map(\.tower), ["vision", ""])
    }

    func testDepthsOfTowersInAnOptimizer() throws {
        let model = try Model(SGD(lr: 1), sizes: [1, 1, 1, 1, 1])
        for layer in [0, 2, 4] { try model.optimizer.setLayer(layer, settings(["tower": "vision"])) }
        XCTAssertEqual(try model.infos().map(\.depth), [0, 0, 1, 1, 2])
        XCTAssertEqual(try model.infos().map(\.role), [.stem, .stem, .block, .head, .head])
        model.optimizer.setPolicy(
            try Combine([
                try ForTower("vision", try LayerDecay(0.5)), try ForTower("", try LayerDecay(0.1)),
            ]))
        XCTAssertEqual(try model.infos().map(\.scale), [0.25, 0.1, 0.5, 1, 1])
    }
}
