// SPDX-License-Identifier: Apache-2.0
import Layerwise
import LayerwiseRules
import XCTest

/// Rules of the user's for layers, before the names of tensors tell anything.
final class LayerRulesTests: XCTestCase {
    private static let names = [
        "embed.weight", "blocks.0.attn.weight", "blocks.0.norm.weight", "blocks.1.attn.weight", "blocks.1.lora_a",
        "head.weight",
    ]

    private func place(_ rules: LayerRule...) throws -> [String] {
        try placeLayers(Self.names, rules: rules).map { layer in
            let scale = layer.scale.map { " ×\($0)" } ?? ""
            let tower = layer.tower.isEmpty ? "" : "\(layer.tower):"
            return "\(tower)\(layer.depth) \(layer.name) \(layer.role)\(scale) \(layer.tensors)"
        }
    }

    func testWithoutRulesTheyAreTheInferredLayers() throws {
        let placed = try placeLayers(Self.names, rules: [])
        let inferred = inferLayers(Self.names)
        XCTAssertEqual(placed.map(\.name), inferred.map(\.name))
        XCTAssertEqual(placed.map(\.depth), inferred.map(\.depth))
        XCTAssertEqual(placed.map(\.tensors), inferred.map(\.tensors))
        XCTAssertEqual(placed.map(\.role), inferred.map(\.role.rawValue))
        XCTAssertEqual(try placeLayers([], rules: []), [])
    }

    func testADepthMovesAWholeLayer() throws {
        XCTAssertEqual(
            try place(LayerRule("embed.*", depth: 7)),
            ["1 blocks.0 block [1, 2]", "2 blocks.1 block [3, 4]", "3 head head [5]", "7 embed stem [0]"])
    }

    func testAPartThatIsMovedBecomesALayerOfItsOwn() throws {
        XCTAssertEqual(
            try place(LayerRule("*.norm.*", depth: 0)),
            [
                "0 embed stem [0]", "0 blocks.0 (2) block [2]", "1 blocks.0 block [1]", "2 blocks.1 block [3, 4]",
                "3 head head [5]",
            ])
    }

    func testTensorsThatAreCalledOneLayerHaveTheLowestPlace() throws {
        XCTAssertEqual(
            try place(LayerRule("*.attn.weight", layer: "attention")),
            [
                "0 embed stem [0]", "1 attention block [1, 3]", "1 blocks.0 block [2]", "2 blocks.1 block [4]",
                "3 head head [5]",
            ])
    }

    func testTensorsThatAreCalledAsALayerThatIsThereJoinIt() throws {
        XCTAssertEqual(
            try place(LayerRule("*.lora_a", layer: "head")),
            ["0 embed stem [0]", "1 blocks.0 block [1, 2]", "2 blocks.1 block [3]", "3 head head [4, 5]"])
    }

    func testTheFirstRuleCounts() throws {
        XCTAssertEqual(
            try place(LayerRule("blocks.1.*", scale: 2), LayerRule("blocks.*", scale: 3)),
            ["0 embed stem [0]", "1 blocks.0 block ×3.0 [1, 2]", "2 blocks.1 block ×2.0 [3, 4]", "3 head head [5]"])
    }

    func testTowersRolesAndMarks() throws {
        let marks = [true, false, false, false, false, true]
        XCTAssertEqual(
            try place(LayerRule(.marks("ends", marks), tower: "ends", role: "norm")),
            ["1 blocks.0 block [1, 2]", "2 blocks.1 block [3, 4]", "ends:0 embed norm [0]", "ends:3 head norm [5]"])
        XCTAssertEqual(
            try place(LayerRule(.pattern("blocks\\.[01]\\..*", .regex), layer: "all")),
            ["0 embed stem [0]", "1 all block [1, 2, 3, 4]", "3 head head [5]"])
    }

    func testEveryTensorIsInOneLayer() throws {
        var random = Random(seed: 12)
        let patterns = ["*", "embed*", "blocks.*", "*.weight", "*attn*", "blocks.1.*", "head.*", "*lora*"]
        for run in 0..<300 {
            let rules = (0..<Int.random(in: 0...4, using: &random)).map { _ in
                LayerRule(
                    patterns.randomElement(using: &random) ?? "*",
                    layer: Bool.random(using: &random) ? ["a", "head", "blocks.0"].randomElement(using: &random) : nil,
                    depth: Bool.random(using: &random) ? Int.random(in: 0...3, using: &random) : nil,
                    scale: Bool.random(using: &random) ? 2 : nil)
            }
            let layers = try placeLayers(Self.names, rules: rules)
            XCTAssertEqual(layers.flatMap(\.tensors).sorted(), Array(Self.names.indices), "run \(run)")
            XCTAssertEqual(Set(layers.map(\.name)).count, layers.count, "run \(run)")
        }
    }

    func testRefuses() {
        for (rule, message) in [
            (LayerRule("nothing", depth: 1), "no parameter matches \"nothing\"; the first is called \"embed.weight\""),
            (LayerRule("*", depth: -1), "\"*\": depth must be 0, 1, 2 ..., found -1"),
            (LayerRule("*", scale: -.infinity), "\"*\": scale must be in [0, inf), found -inf"),
            (
                LayerRule(.pattern("*", .glob), role: "tail"),
                "\"*\": role must be one of stem, block, norm, head, depth, found \"tail\""
            ),
            (LayerRule("*", layer: ""), "\"*\": the name of a layer must not be empty"),
            (
                LayerRule(.marks("mine", []), depth: 1),
                "no parameter matches \"mine\"; the first is called \"embed.weight\""
            ),
        ] {
            XCTAssertThrowsError(try placeLayers(Self.names, rules: [rule])) { error in
                XCTAssertEqual((error as? LayerwiseError)?.message, message, "\(error)")
            }
        }
    }
}
