// SPDX-License-Identifier: Apache-2.0
import Glibc
import Layerwise
import XCTest

/// Layer decay as timm, BEiT, MAE and ELECTRA count it, on a transformer of 12 blocks with a final norm.
final class LayerDecayConventionTests: XCTestCase {
    private static let blocks = 12
    private static let decay = 0.75

    /// The distance of each layer from the top, by the arithmetic of the library in question.
    private func distances(
        _ convention: LayerDecay.Convention, head: Bool
    ) -> (embed: Int, block: (Int) -> Int, norm: Int, head: Int) {
        let n = Self.blocks
        switch convention {
        case .timm:
            // `group_parameters`: the stem is 0, block k (from 0) k + 1, the norm joins the last block, a head is last.
            let highest = head ? n + 1 : n
            return (highest, { highest - $0 }, highest - n, 0)
        case .beit:
            // `get_num_layer_for_vit(name, num_max_layer)` with num_max_layer = n + 2 and values decay^(n + 1 − id).
            func value(_ id: Int) -> Int { n + 1 - id }
            return (value(0), { value(($0 - 1) + 1) }, value(n + 2 - 1), value(n + 2 - 1))
        case .mae:
            // `num_layers = len(model.blocks) + 1`, `layer_scales = [layer_decay ** (num_layers - i) ...]`.
            let layers = n + 1
            return (layers - 0, { layers - (($0 - 1) + 1) }, layers - layers, layers - layers)
        case .electra:
            // `_get_layer_lrs`: `learning_rate * (layer_decay ** (n_layers + 2 - depth))`, task-specific depth n + 2.
            return (n + 2 - 0, { n + 2 - $0 }, 2, n + 2 - (n + 2))
        case .depth: return (n + 2, { n + 2 - $0 }, 1, 0)
        }
    }

    func testTablesOfTwelveBlocks() throws {
        for convention in LayerDecay.Convention.allCases {
            for norm in [true, false] {
                for head in [true, false] {
                    if convention == .depth && !(norm && head) { continue }
                    let scales = try LayerDecay(Self.decay, convention: convention).scalesByName(
                        of: .transformer(norm: norm, head: head))
                    let wanted = distances(convention, head: head)
                    func assert(_ name: String, _ distance: Int) throws {
                        XCTAssertEqual(
                            try XCTUnwrap(scales[name]), pow(Self.decay, Double(distance)), accuracy: 1e-15,
                            "\(convention), norm \(norm), head \(head): \(name)")
                    }
                    try assert("embed", wanted.embed)
                    for block in 1...Self.blocks { try assert("block\(block)", wanted.block(block)) }
                    if norm { try assert("norm", wanted.norm) }
                    if head { try assert("head", wanted.head) }
                }
            }
        }
    }

    /// The numbers that people quote of a ViT-B: embeddings, first block, last block, norm, head.
    func testQuotedNumbers() throws {
        let quoted: [(LayerDecay.Convention, [Int])] = [
            (.timm, [13, 12, 1, 1, 0]), (.beit, [13, 12, 1, 0, 0]), (.mae, [13, 12, 1, 0, 0]),
            (.electra, [14, 13, 2, 2, 0]),
        ]
        for (convention, exponents) in quoted {
            let scales = try LayerDecay(0.5, convention: convention).scalesByName(of: .transformer())
            XCTAssertEqual(
                ["embed", "block1", "block12", "norm", "head"].map { scales[$0] },
                exponents.map { pow(0.5, Double($0)) },
                "\(convention)")
        }
    }

    /// Several layers of one block, which share its depth, share its scale; gaps between depths do not count.
    func testBlocksThatShareADepth() throws {
        var places = [LayerDescriptor(name: "embed", depth: 0, role: .stem)]
        for depth in [10, 20, 40] {
            for part in ["attention", "mlp"] {
                places.append(LayerDescriptor(name: "\(part)\(depth)", depth: depth, role: .block))
            }
        }
        places.append(LayerDescriptor(name: "pooler", depth: 50, role: .head))
        places.append(LayerDescriptor(name: "head", depth: 60, role: .head))
        XCTAssertEqual(
            try LayerDecay(0.5, convention: .timm).scales(of: places),
            [0.0625, 0.125, 0.125, 0.25, 0.25, 0.5, 0.5, 1, 1])
    }

    func testRolesComeFromDepthsUnlessGiven() throws {
        let model = try Model(
            SGD(lr: 1), shapes: Array(repeating: [[1]], count: 5), policy: try LayerDecay(0.5, convention: .timm))
        XCTAssertEqual(try model.infos().map(\.role), [.stem, .block, .block, .block, .head])
        XCTAssertEqual(try model.infos().map(\.scale), [0.0625, 0.125, 0.25, 0.5, 1])
        try model.optimizer.setLayer(3, settings(["role": "norm"]))
        XCTAssertEqual(try model.infos().map(\.scale), [0.125, 0.25, 0.5, 0.5, 1], "the norm joins the last block")
        try model.optimizer.setLayer(4, settings(["role": "block"]))
        XCTAssertEqual(try model.infos().map(\.role), [.stem, .block, .block, .norm, .block])
        XCTAssertEqual(try model.infos().map(\.scale), [0.125, 0.25, 0.5, 1, 1], "no head: one less all along")
        try model.optimizer.setLayer(4, settings(["role": "depth"]))
        try model.optimizer.unsetLayer(3, key: "role")
        XCTAssertEqual(try model.infos().map(\.role), [.stem, .block, .block, .block, .head])
    }

    func testHeadScaleIsForHeadsOnly() throws {
        for convention in LayerDecay.Convention.allCases {
            let plain = try LayerDecay(0.5, convention: convention).scalesByName(of: .transformer())
            let shares = try LayerDecay(0.5, convention: convention, headScale: 10).shares(of: .transformer())
            let scales = Dictionary(
                uniqueKeysWithValues: zip([LayerDescriptor].transformer().map(\.name), shares.map(\.scale)))
            XCTAssertEqual(scales, plain.merging(["head": 10]) { $1 }, "\(convention)")
            XCTAssertEqual(shares.last?.origin, "head_scale")
        }
        XCTAssertEqual(try LayerDecay(0.5, headScale: 0).scales(of: .transformer()).last, 0)
    }

    func testMinScaleHoldsInEveryConvention() throws {
        for convention in LayerDecay.Convention.allCases {
            let plain = try LayerDecay(0.5, convention: convention).scales(of: .transformer())
            let held = try LayerDecay(0.5, minScale: 0.2, convention: convention).scales(of: .transformer())
            XCTAssertEqual(held, plain.map { max(0.2, $0) }, "\(convention)")
        }
    }
}

extension [LayerDescriptor] {
    fileprivate static func transformer(norm: Bool = true, head: Bool = true) -> [LayerDescriptor] {
        LayerDescriptor.transformer(blocks: 12, norm: norm, head: head)
    }
}
