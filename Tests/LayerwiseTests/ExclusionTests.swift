// SPDX-License-Identifier: Apache-2.0
import Layerwise
import XCTest

/// Tensors that a policy keeps from decay, from the trust ratio, or from both.
final class ExclusionTests: XCTestCase {
    private static let places = [
        LayerDescriptor.layer("embed", ["weight": [50, 8], "scale": []]),
        LayerDescriptor.layer("block", ["weight": [8, 8], "bias": [8], "norm.weight": [8]]),
        LayerDescriptor.layer("conv", ["weight": [4, 3, 3, 3]]),
    ]

    private func excluded(_ policy: Exclude) throws -> [String] {
        zip(Self.places, try policy.shares(of: Self.places)).flatMap { place, share in
            zip(place.tensors, share.tensors).filter { $1 != TensorScaling() }.map { "\(place.name)/\($0.0.name)" }
        }
    }

    // MARK: - Which tensors

    func testByRank() throws {
        XCTAssertEqual(try excluded(Exclude()), ["embed/scale", "block/bias", "block/norm.weight"])
        XCTAssertEqual(try excluded(try Exclude(maxRank: 0)), ["embed/scale"])
        XCTAssertEqual(
            try excluded(try Exclude(maxRank: 2)),
            ["embed/weight", "embed/scale", "block/weight", "block/bias", "block/norm.weight"])
        XCTAssertEqual(try excluded(try Exclude(maxRank: 16)).count, 6)
    }

    func testByName() throws {
        XCTAssertEqual(try excluded(try Exclude(names: ["*bias"], maxRank: -1)), ["block/bias"])
        XCTAssertEqual(
            try excluded(try Exclude(names: ["*norm*", "embed/*"], maxRank: -1)),
            ["embed/weight", "embed/scale", "block/norm.weight"])
        XCTAssertEqual(
            try excluded(try Exclude(names: ["block/bias"], maxRank: -1, syntax: .exact)), ["block/bias"])
        XCTAssertEqual(
            try excluded(try Exclude(names: ["(conv|embed)/weight"], maxRank: -1, syntax: .regex)),
            ["embed/weight", "conv/weight"])
        XCTAssertEqual(
            try excluded(try Exclude(names: ["conv/*"], maxRank: 0)), ["embed/scale", "conv/weight"],
            "by rank or by name")
        XCTAssertEqual(
            try excluded(try Exclude(names: ["*weight", "block/*"], maxRank: -1)),
            ["embed/weight", "block/weight", "block/bias", "block/norm.weight", "conv/weight"],
            "two patterns may match")
    }

    func testUnusedPattern() throws {
        let message =
            "no name of a tensor matches \"*beta\", expected one of \"embed/weight\", \"embed/scale\", \"block/weight\", "
            + "\"block/bias\", \"block/norm.weight\", \"conv/weight\""
        assertRefused(.unknown(message)) {
            _ = try Exclude(names: ["*beta"]).shares(of: Self.places)
        }
        XCTAssertEqual(
            try excluded(try Exclude(names: ["*beta"], maxRank: 0, unused: .ignore)), ["embed/scale"])
    }

    func testRefused() {
        assertRefused(.invalid("exclude: excludes from nothing: decay or trust_ratio must be 1")) {
            _ = try Exclude(decay: false, trustRatio: false)
        }
        assertRefused(.invalid("exclude: excludes nothing: needs max_rank ≥ 0 or a pattern")) {
            _ = try Exclude(maxRank: -1)
        }
        assertRefused(.duplicate("exclude: \"a\" is given twice")) { _ = try Exclude(names: ["a", "a"]) }
        assertRefused(.invalid("exclude: tensors: match must be given")) { _ = try Exclude(names: [""]) }
        assertRefused(.invalid("exclude: max_rank must be a whole number from -1 to 16, found 17.0")) {
            _ = try Exclude(maxRank: 17)
        }
    }

    func testWhatIsExcludedFrom() throws {
        let bias = TensorDescriptor(name: "b", shape: [3])
        let place = [LayerDescriptor(name: "l", depth: 0, tensors: [bias])]
        XCTAssertEqual(try Exclude().shares(of: place)[0].tensors, [TensorScaling(decay: 0, mayAdapt: false)])
        XCTAssertEqual(try Exclude(decay: false).shares(of: place)[0].tensors, [TensorScaling(mayAdapt: false)])
        XCTAssertEqual(try Exclude(trustRatio: false).shares(of: place)[0].tensors, [TensorScaling(decay: 0)])
    }

    // MARK: - On real steps

    /// Steps the matrix and the vector of one layer under `policy`, and each in a layer of its own where the vector has
    /// `apart`: the same bits.
    private func assertSame(
        _ ruleCase: RuleCase, _ policy: Exclude, apart: Options, line: UInt = #line
    ) throws {
        for kind in [Kind(.float32), Kind(.float64), Kind(.bfloat16, master: true)] {
            let together = try Model(ruleCase.rule, kind, shapes: [[[25, 27], [40]]], policy: policy)
            let alone = try Model(ruleCase.rule, kind, shapes: [[[25, 27]], [[40]]])
            try alone.optimizer.setLayer(1, settings(apart))
            for _ in 0..<4 {
                for model in [together, alone] {
                    model.drawGradients()
                    try model.optimizer.step()
                }
            }
            for tensor in 0..<2 {
                XCTAssertTrue(
                    together.parameters[0][tensor].startsAlike(alone.parameters[tensor][0], [675, 40][tensor]),
                    "\(ruleCase), \(kind): tensor \(tensor)", line: line)
            }
        }
    }

    /// Without decay: as with weight_decay 0.
    func testWithoutDecay() throws {
        for ruleCase in try RuleCase.all() where ruleCase.rule.weightDecay > 0 {
            // Rules that adapt what decays do not adapt what does not; one ratio a layer has the vector's norms in it.
            if ruleCase.rule.stages.contains(where: { $0.scope == .layer }) { continue }
            // MARS has a decay of its own for vectors.
            let apart: Options =
                ruleCase.rule is MARS ? ["weight_decay": 0, "weight_decay_1d": 0] : ["weight_decay": 0]
            try assertSame(ruleCase, try Exclude(trustRatio: false), apart: apart)
        }
    }

    /// Without a trust ratio: as with the ratio 1, which a vector has that only matrices are adapted for.
    func testWithoutTrustRatio() throws {
        for ruleCase in try RuleCase.lars() + RuleCase.lamb() {
            try assertSame(ruleCase, try Exclude(decay: false), apart: ["adapt": "matrices"])
        }
    }

    func testWithoutEither() throws {
        for ruleCase in try RuleCase.lars() + RuleCase.lamb() {
            try assertSame(ruleCase, Exclude(), apart: ["adapt": "matrices", "weight_decay": 0])
        }
    }

    /// A trust ratio of 1 is seen in the telemetry, and the plain step in the weights.
    func testExcludedVectorTakesThePlainStep() throws {
        for rule in [LARS(lr: 0.5, momentum: 0, weightDecay: 0.25), LAMB(lr: 0.5, weightDecay: 0.25)]
            as [any DeclaredRule]
        {
            let model = try Model(rule, Kind(.float64), shapes: [[[3]]], policy: Exclude())
            try model.optimizer.set(settings(["telemetry": 1]))
            model.parameters[0][0].values = [10, 20, 30]
            model.gradients[0][0].values = [1, 1, 1]
            try model.optimizer.step()
            XCTAssertEqual(try model.optimizer.telemetry(0).trustRatio, 1)
            // LARS: w − γ·g.  LAMB's first direction is g/(|g| + ε).
            for (found, start) in zip(model.parameters[0][0].values, [10.0, 20, 30]) {
                XCTAssertEqual(found, start - 0.5, accuracy: 1e-6, "\(rule)")
            }
        }
    }

    /// A layer's info says what of it decays, and which tensors are apart.
    func testInfoTellsOfExclusions() throws {
        let model = try Model(
            AdamW(lr: 0.1, weightDecay: 0.5), shapes: [[[4, 4], [4]], [[4]], [[4, 4]]], policy: Exclude())
        let infos = try model.infos()
        XCTAssertEqual(infos.map(\.weightDecay), [0.5, 0, 0.5])
        let exception = try XCTUnwrap(infos[0].exceptions.first)
        XCTAssertEqual(infos[0].exceptions.count, 1)
        XCTAssertEqual(exception.name, "1")
        XCTAssertEqual([exception.scale, exception.decayScale], [1, 0])
        XCTAssertFalse(exception.mayAdapt)
        XCTAssertEqual(infos[2].exceptions, [])
        XCTAssertEqual(infos.map(\.origin), ["exclude", "exclude", "exclude"])
        XCTAssertEqual(infos.map(\.scale), [1, 1, 1])
    }

    /// timm's rule of one dimension, as an option of the rule and as a policy.
    func testSameAsTheRulesOwnOption() throws {
        for ruleCase in try RuleCase.lars() + RuleCase.lamb() {
            let byRule = try Model(ruleCase.rule, shapes: [[[25, 27], [40]]])
            let byPolicy = try Model(
                ruleCase.rule, shapes: [[[25, 27], [40]]], policy: try Exclude(trustRatio: false))
            try byRule.optimizer.set(settings(["weight_decay_exclude_1d": 1]))
            try byPolicy.optimizer.set(settings(["weight_decay_exclude_1d": 0]))
            for _ in 0..<3 { for model in [byRule, byPolicy] { try model.optimizer.step() } }
            XCTAssertEqual(try byRule.digest(), try byPolicy.digest(), "\(ruleCase)")
        }
    }
}
