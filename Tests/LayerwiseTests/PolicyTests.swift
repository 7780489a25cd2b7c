// SPDX-License-Identifier: Apache-2.0
import Glibc
import Layerwise
import XCTest

/// Which scale each layer gets from the policies that count depths.
final class PolicyTests: XCTestCase {
    private func scales(_ policy: any DeclaredPolicy, depths: [Int]) throws -> [Double] {
        try policy.scales(of: LayerDescriptor.stack(depths))
    }

    // MARK: - Uniform

    func testUniform() throws {
        XCTAssertEqual(try scales(Uniform(), depths: [0, 1, 5]), [1, 1, 1])
    }

    // MARK: - Layer decay

    /// timm: `layer_scales = [max(min_scale, layer_decay ** (layer_max - i)) for i in range(num_layers)]`.
    func testLayerDecayIsTimms() throws {
        for decay in [0.65, 0.75, 0.9, 1] {
            for minimum in [0, 0.1, 0.5] {
                let found = try scales(try LayerDecay(decay, minScale: minimum), depths: Array(0..<13))
                for (i, scale) in found.enumerated() {
                    XCTAssertEqual(scale, max(minimum, pow(decay, Double(12 - i))), accuracy: 1e-15, "\(decay), \(i)")
                }
                XCTAssertEqual(found.last, 1)
            }
        }
    }

    func testLayerDecayTowardsTheOutput() throws {
        XCTAssertEqual(
            try scales(try LayerDecay(0.5, minScale: 0.2, direction: .output), depths: [0, 1, 2, 3]),
            [1, 0.5, 0.25, 0.2])
    }

    /// Layers may share a depth and leave gaps, in any order.
    func testLayerDecayCountsDepthNotOrder() throws {
        XCTAssertEqual(try scales(try LayerDecay(0.5), depths: [4, 0, 2, 2]), [1, 0.0625, 0.25, 0.25])
        XCTAssertEqual(try scales(try LayerDecay(0.5), depths: [3]), [1])
        XCTAssertEqual(try scales(try LayerDecay(0.5), depths: []), [])
        let deep = try scales(try LayerDecay(0.5), depths: [0, Int(Int32.max)])
        XCTAssertEqual(deep, [0, 1], "2^-2147483647 is 0")
    }

    // MARK: - Range

    /// fastai: `even_mults(start, stop, n)` is `[start * (stop/start) ** (i/(n-1))]`.
    func testRangeIsFastais() throws {
        for (lowest, layers) in [(0.01, 3), (1e-4, 13), (0.3, 2), (1, 5)] {
            let found = try scales(try GeometricRange(lowest: lowest), depths: Array(0..<layers))
            let step = pow(1 / lowest, 1 / Double(layers - 1))
            for (i, scale) in found.enumerated() {
                XCTAssertEqual(scale, lowest * pow(step, Double(i)), accuracy: 1e-13, "\(lowest), \(layers), \(i)")
            }
            XCTAssertEqual([found.first, found.last], [lowest, 1])
        }
        let wide = try scales(try GeometricRange(lowest: 0.25, highest: 4), depths: [0, 1, 2])
        for (found, wanted) in zip(wide, [0.25, 1, 4]) { XCTAssertEqual(found, wanted, accuracy: 1e-15) }
        XCTAssertEqual(try scales(try GeometricRange(lowest: 0.25), depths: [0]), [1], "a single layer has the highest")
    }

    func testRangeIsRefusedBackwards() {
        XCTAssertThrowsError(try GeometricRange(lowest: 2, highest: 1))
        XCTAssertThrowsError(try GeometricRange(lowest: 0))
    }

    // MARK: - Towers

    /// Each tower has its own top, as if the other were not there.
    func testTowersAreCountedByThemselves() throws {
        let vision = LayerDescriptor.stack(Array(0..<7), tower: "vision")
        let text = LayerDescriptor.stack([0, 1, 1, 3], tower: "text")
        let policies: [any DeclaredPolicy] = [
            try LayerDecay(0.5), try LayerDecay(0.5, direction: .output), try GeometricRange(lowest: 0.01),
            try ULMFiT(factor: 2), try LayerDecay(0.7, convention: .timm), try LayerDecay(0.7, convention: .electra),
        ]
        for policy in policies {
            let both = try policy.scalesByName(of: zip(vision, text).flatMap { [$0, $1] } + vision.suffix(3))
            let apart = try policy.scalesByName(of: vision).merging(try policy.scalesByName(of: text)) { $1 }
            XCTAssertEqual(both, apart, "\(policy)")
        }
        let slice = try RateSlice(1e-4, 1e-2)
        XCTAssertEqual(slice.shares(of: vision + text), slice.shares(of: vision) + slice.shares(of: text))
    }
}
