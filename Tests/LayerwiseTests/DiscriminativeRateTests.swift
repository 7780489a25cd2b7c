// SPDX-License-Identifier: Apache-2.0
import Glibc
import Layerwise
import XCTest

/// fastai's slices and ULMFiT's discriminative rates.
final class DiscriminativeRateTests: XCTestCase {
    private func rates(_ slice: RateSlice, depths: [Int]) throws -> [Double?] {
        let shares = slice.shares(of: LayerDescriptor.stack(depths))
        XCTAssertTrue(shares.allSatisfy { $0.scale == 1 && $0.origin == "rate_slice" && $0.tensors.isEmpty })
        return shares.map(\.rate)
    }

    /// `even_mults(start, stop, n)`: stop where n is 1, else start·step**i with step = (stop/start)**(1/(n−1)).
    func testSliceIsFastaisEvenMults() throws {
        for (lowest, highest) in [(1e-5, 1e-3), (1e-4, 0.3), (0.01, 0.01)] {
            for count in 1...9 {
                let found = try rates(try RateSlice(lowest, highest), depths: Array(0..<count))
                let step = count == 1 ? 1 : pow(highest / lowest, 1 / Double(count - 1))
                for (i, rate) in found.enumerated() {
                    let wanted = count == 1 ? highest : lowest * pow(step, Double(i))
                    XCTAssertEqual(try XCTUnwrap(rate), wanted, accuracy: 1e-14 * wanted, "\(lowest), \(count), \(i)")
                }
            }
        }
    }

    /// `slice(hi)`: `[hi/10]*(n-1) + [hi]`.
    func testSliceOfOneNumber() throws {
        XCTAssertEqual(try rates(try RateSlice(0.5), depths: [0, 1, 2]), [0.05, 0.05, 0.5])
        XCTAssertEqual(try rates(try RateSlice(0.5), depths: [7]), [0.5])
    }

    /// fastai's groups are layers of one depth here, whatever the depths are.
    func testSliceCountsDifferentDepths() throws {
        XCTAssertEqual(
            try rates(try RateSlice(0.25, 4), depths: [30, 2, 2, 900]).map { Float($0 ?? 0) }, [1, 0.25, 0.25, 4])
    }

    func testSliceTakesThePlaceOfTheRate() throws {
        let model = try Model(SGD(lr: 100), shapes: [[[1]], [[1]], [[1]]], policy: try RateSlice(0.25, 1))
        XCTAssertEqual(try model.infos().map(\.effectiveRate), [0.25, 0.5, 1])
        XCTAssertEqual(try model.infos().map(\.baseRate), [0.25, 0.5, 1])
        XCTAssertEqual(try model.infos().map(\.scale), [1, 1, 1])
        XCTAssertEqual(try model.infos().map(\.origin), ["rate_slice", "rate_slice", "rate_slice"])
        try model.optimizer.setLearningRate(3)
        XCTAssertEqual(try model.infos().map(\.effectiveRate), [0.25, 0.5, 1], "the optimizer's rate has no say")
    }

    func testSliceIsRefused() {
        assertRefused(.invalid("rate_slice: highest must be given, in (0, inf)")) { _ = try policy(Spec("rate_slice")) }
        assertRefused(.invalid("rate_slice: lowest must not exceed highest, found 2.0 and 1.0")) {
            _ = try RateSlice(2, 1)
        }
        assertRefused(.invalid("rate_slice: lowest must be in (0, inf), found 0.0")) { _ = try RateSlice(0, 1) }
        assertRefused(.invalid("rate_slice: lowest must be in (0, inf), found nan")) { _ = try RateSlice(.nan, 1) }
    }

    /// η^(l−1) = η^l / 2.6.
    func testULMFiT() throws {
        let found = try ULMFiT().scales(of: LayerDescriptor.stack([0, 1, 2, 3]))
        for (i, scale) in found.enumerated() {
            XCTAssertEqual(scale, 1 / pow(2.6, Double(3 - i)), accuracy: 1e-16)
        }
        XCTAssertEqual(try ULMFiT(factor: 2).scales(of: LayerDescriptor.stack([5, 5, 9, 40])), [0.25, 0.25, 0.5, 1])
        XCTAssertEqual(try ULMFiT(factor: 1).scales(of: LayerDescriptor.stack([0, 1])), [1, 1])
        assertRefused(.invalid("ulmfit: factor must be in [1, inf), found 0.5")) { _ = try ULMFiT(factor: 0.5) }
    }
}
