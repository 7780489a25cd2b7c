// SPDX-License-Identifier: Apache-2.0
import Layerwise
import XCTest

/// Curves of losses over rates, and how candidates of a tournament stand.  Python's tests compare the suggestions with those of
/// fastai and Lightning.
final class SearchTests: XCTestCase {
    private func suggestions(_ curve: RateCurve) throws -> [String: Double?] {
        let found = try XCTUnwrap(try JSONValue(parsing: curve.json)["suggestions"])
        return Dictionary(
            uniqueKeysWithValues: found.keys.map { key in
                if case .number(let rate)? = found[key] { return (key, rate) }
                return (key, nil)
            })
    }

    func testRates() throws {
        let sweep = try RateCurve.Kind.sweep.rates(from: 1e-4, to: 1, count: 4)
        let trials = try RateCurve.Kind.trials.rates(from: 1e-4, to: 1, count: 5)
        for (found, expected) in [(sweep, [1e-4, 1e-3, 1e-2, 1e-1]), (trials, [1e-4, 1e-3, 1e-2, 1e-1, 1])] {
            XCTAssertEqual(found.count, expected.count)
            // Of a power and a product.
            for (rate, wanted) in zip(found, expected) { XCTAssertEqual(rate, wanted, accuracy: 4 * wanted.ulp) }
        }
        XCTAssertEqual(trials.last, 1)
    }

    /// The highest rate within the spread, without a gap between it and the best.
    func testSpread() throws {
        let rates = [1.0, 2, 4, 8, 16]
        // The repeats differ by 10 at every rate, which is no spread.
        let losses = [[5.0, 4.0, 4.1, 9, 4], [15, 14, 14.3, 19, 14]]
        let curve = try RateCurve(.trials, rates: rates, losses: losses)
        XCTAssertEqual(curve.means, [10, 9, 9.2, 14, 9])
        let found = try suggestions(curve)
        let spread = curve.spreads[1]
        // Centres are 4.1 and 14.3.
        XCTAssertEqual(spread, 0.2 / 2.0.squareRoot(), accuracy: 1e-12)
        XCTAssertEqual(found["spread"], .some(.some(2)))
        let wide = try RateCurve(.trials, rates: rates, losses: [[5.0, 4.0, 4.1, 9, 4.5], [15, 14.6, 14.3, 19, 15]])
        XCTAssertEqual(try suggestions(wide)["spread"], .some(.some(4)))
        let one = try RateCurve(.trials, rates: rates, losses: [[5.0, 4.0, 4.0, 9, .nan]])
        XCTAssertEqual(try suggestions(one)["spread"], .some(.some(4)))
        let none = try RateCurve(.trials, rates: rates, losses: [[Double](repeating: .nan, count: 5)])
        XCTAssertEqual(try suggestions(none)["spread"], .some(nil))
    }

    /// How far a loss explodes does not widen the spread of the best.
    func testSpreadBesideExplosions() throws {
        let losses = [[5.0, 4, 3, 30, 1e9], [5.1, 4.1, 3.1, 40, 9e9], [4.9, 3.9, 2.9, 20, 2e9]]
        let curve = try RateCurve(.trials, rates: [1, 2, 4, 8, 16], losses: losses)
        XCTAssertLessThan(curve.spreads[2], 1)
        XCTAssertEqual(try suggestions(curve)["spread"], .some(.some(4)))
    }

    /// A curve that nothing was learned on has no suggestions but those that need no fall.
    func testFlatAndShort() throws {
        let flat = try RateCurve(
            .trials, rates: (1...20).map(Double.init), losses: [[Double](repeating: 1, count: 20)])
        XCTAssertEqual(try suggestions(flat)["valley"], .some(nil))
        for count in 1...20 {
            let short = try RateCurve(
                .sweep, rates: (1...count).map(Double.init), losses: [(1...count).map { -Double($0) }])
            XCTAssertEqual(try suggestions(short).count, 6)
            let ended = try RateCurve(
                .sweep, rates: (1...20).map(Double.init), losses: [(1...20).map { $0 > count ? .nan : -Double($0) }])
            XCTAssertEqual(try suggestions(ended).count, 6)
        }
    }

    func testDivergence() {
        XCTAssertFalse(RateCurve.hasDiverged([], steps: 100))
        XCTAssertFalse(RateCurve.hasDiverged([1, 2, 3], steps: 100))
        XCTAssertTrue(RateCurve.hasDiverged([1, 1, 100], steps: 100))
        XCTAssertTrue(RateCurve.hasDiverged([1, .infinity], steps: 100))
        XCTAssertTrue(RateCurve.hasDiverged([1, .nan], steps: 100))
    }

    func testLevels() {
        XCTAssertEqual(RateCurve.levelled([]), [])
        XCTAssertEqual(RateCurve.levelled([.nan, 0]), [1, 1])
        let scales = RateCurve.levelled([1, 4, .nan, 16])
        for (scale, expected) in zip(scales, [0.25, 1, 1, 4]) {
            XCTAssertEqual(scale, expected, accuracy: 4 * expected.ulp)
        }
    }

    /// Pairs are compared: what is common to a repeat is no difference.
    func testStanding() throws {
        let clear = try Standing([[10.2, 20.1, 30.2], [10, 20, 30], [.nan, 1, 1]])
        XCTAssertEqual(clear.order, [1, 0, 2])
        XCTAssertEqual(clear.tied, [1])
        XCTAssertEqual(clear.means[2], .infinity)
        let tie = try Standing([[1.0, 2, 3.1], [1.3, 1.8, 3], [1, 2, 3.1]])
        XCTAssertEqual(tie.order, [1, 0, 2].sorted { (tie.means[$0], $0) < (tie.means[$1], $1) })
        XCTAssertEqual(Set(tie.tied), [0, 1, 2])
        XCTAssertEqual(try Standing([[1], [1.0 + 1e-9]]).tied, [0])
        XCTAssertEqual(try Standing([[1], [1]]).tied, [0, 1])
        XCTAssertThrowsError(try Standing([[1], []]))
        XCTAssertThrowsError(try Standing([]))
    }
}
