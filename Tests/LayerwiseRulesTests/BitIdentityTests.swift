// SPDX-License-Identifier: Apache-2.0
import Foundation
import Layerwise
import XCTest

/// Parameters, states and telemetry have the same bits for any number of threads, and with telemetry on and off.
///
/// `InstructionSetTests` runs these tests under every instruction set and compares their records.
final class BitIdentityTests: XCTestCase {
    /// Blocks of 16384 elements and tiles of 384 (float64: 192) are crossed, and whole lane groups missed, by a little;
    /// small layers share work items.  Together they are enough to wake other threads.
    private static let shapes: [[[Int]]] =
        [[[16384 * 3 + 1]], [[16383], [5]], [[16384]], [[181, 181], [16385]], [[513], [383, 1], [385]]]
        + (1...60).map { [[$0], [$0, 7]] } + [[[512]], [[0]], [[15]], [[17]]]

    private static let conditions: [(String, Options)] = [
        ("plain", [:]),
        ("clipped", ["clip_global_norm": 0.5, "clip_layer_norm": 0.3, "clip_value": 0.04, "maximize": 1]),
    ]

    /// Numbers of threads and whether there is telemetry, all compared with one thread and none.  Each case takes two of them in turn,
    /// so that every rule meets each in several types.
    private static let others: [(threads: Int, telemetry: Bool)] = [
        (1, true), (2, false), (3, false), (8, true), (2, true), (5, false), (4, true),
    ]

    func testThreadsAndTelemetry() throws {
        for (k, kind) in Kind.all.enumerated() {
            let source = try Model(SGD(), kind, shapes: Self.shapes)
            for (r, ruleCase) in try RuleCase.representatives().enumerated() {
                for (c, (condition, options)) in Self.conditions.enumerated() {
                    let label = "\(ruleCase), \(kind), \(condition)"
                    let first = try stepped(ruleCase.rule, source, kind, options, 1, telemetry: false).state
                    // No kernel knows the number of threads: other instruction sets need none of them.
                    let others = BitRecord.isKept ? [(1, true)] : (0..<2).map { Self.others[(2 * k + r + c + $0) % 7] }
                    for (threads, telemetry) in others {
                        let digest = try stepped(ruleCase.rule, source, kind, options, threads, telemetry: telemetry)
                            .state
                        XCTAssertEqual(
                            digest, first,
                            "\(label), \(InstructionSet.current), \(threads) threads, telemetry \(telemetry)")
                    }
                    try BitRecord.add(label, first)
                }
            }
        }
    }

    func testTelemetryItself() throws {
        let kinds = [Kind(.float32), Kind(.float64), Kind(.float16), Kind(.bfloat16), Kind(.bfloat16, master: true)]
        for (k, kind) in kinds.enumerated() {
            let source = try Model(SGD(), kind, shapes: Self.shapes)
            for (r, ruleCase) in try RuleCase.representatives().enumerated() {
                for (c, (condition, options)) in Self.conditions.enumerated() {
                    let label = "\(ruleCase), \(kind), \(condition), telemetry"
                    let first = try stepped(ruleCase.rule, source, kind, options, 1, telemetry: true).telemetry
                    if !BitRecord.isKept {
                        let threads = [2, 3, 8][(k + r + c) % 3]
                        let digest = try stepped(ruleCase.rule, source, kind, options, threads, telemetry: true)
                            .telemetry
                        XCTAssertEqual(digest, first, "\(label), \(InstructionSet.current), \(threads) threads")
                    }
                    try BitRecord.add(label, first)
                }
            }
        }
    }

    /// 16-bit gradients of 16-bit parameters are worked on in place; the same numbers in float32 go by tiles.  Rules
    /// with sums over a tensor are left out, as these are added up in another order.
    func testInPlaceAndByTiles() throws {
        for dtype in [DType.float16, .bfloat16] {
            for ruleCase in try RuleCase.all() where ruleCase.rule.stages.count == 1 {
                let inPlace = try Model(ruleCase.rule, Kind(dtype), shapes: Self.shapes)
                let byTiles = try Model(ruleCase.rule, Kind(dtype, gradients: .float32), shapes: Self.shapes)
                for _ in 0..<3 {
                    inPlace.drawGradients()
                    for (wide, narrow) in zip(byTiles.gradients.joined(), inPlace.gradients.joined()) {
                        wide.values = narrow.values
                    }
                    try inPlace.optimizer.step()
                    try byTiles.optimizer.step()
                }
                XCTAssertEqual(try inPlace.digest(), try byTiles.digest(), "\(ruleCase), \(dtype)")
            }
        }
    }

    /// Many steps, so that a rare difference between instruction sets has time to show.
    func testHundredSteps() throws {
        for ruleCase in try RuleCase.all() {
            let model = try Model(ruleCase.rule, shapes: [[[23, 29], [31]], [[7]]])
            for _ in 0..<100 {
                model.drawGradients()
                try model.optimizer.step()
            }
            try BitRecord.add("\(ruleCase), 100 steps", try model.digest())
        }
    }

    /// Two steps from the same start.
    private func stepped(
        _ rule: any DeclaredRule, _ source: Model, _ kind: Kind, _ options: Options, _ threads: Int, telemetry: Bool
    ) throws -> (state: Digest, telemetry: Digest) {
        let model = try Model(rule, kind, shapes: Self.shapes, copying: source)
        try model.optimizer.set(
            settings(options) + settings(["threads": .number(Double(threads)), "telemetry": telemetry ? 1 : 0]))
        try model.optimizer.step()
        try model.optimizer.step()
        var digest = Digest()
        for layer in 0..<model.optimizer.layerCount { digest.add(try model.optimizer.telemetry(layer)) }
        digest.add(model.optimizer.summary.gradientNorm)
        digest.add(model.optimizer.summary.clipFactor)
        return (try model.digest(), digest)
    }
}
