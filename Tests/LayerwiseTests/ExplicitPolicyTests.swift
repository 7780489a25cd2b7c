// SPDX-License-Identifier: Apache-2.0
import Glibc
import Layerwise
import XCTest

/// Scales and rates by name: what matches, and what is refused.
final class ExplicitPolicyTests: XCTestCase {
    private typealias Assignment = Explicit.Assignment

    private static let names = ["embed", "blocks.0", "blocks.1", "blocks.10", "head"]
    private static let places = names.enumerated().map { LayerDescriptor(name: $1, depth: $0) }

    private func scales(
        _ assignments: [Assignment], syntax: PatternSyntax = .exact, unused: Matching.Unused = .error,
        unmatched: Matching.Unmatched = .error, ambiguous: Matching.Ambiguous = .error
    ) throws -> [Double] {
        try Explicit(
            assignments, syntax: syntax, unused: unused, unmatched: unmatched, ambiguous: ambiguous
        ).scales(of: Self.places)
    }

    // MARK: - Names and patterns

    func testExactNames() throws {
        let all = Dictionary(uniqueKeysWithValues: zip(Self.names, [0.5, 0, 3, 1, 1e300]))
        XCTAssertEqual(try Explicit(all).scales(of: Self.places), [0.5, 0, 3, 1, 1e300])
        XCTAssertEqual(try Explicit(["head": 0.5, "*": 2]).scales(of: Self.places), [2, 2, 2, 2, 0.5])
        XCTAssertEqual(try Explicit(["*": 2]).scales(of: Self.places), [2, 2, 2, 2, 2])
    }

    func testExactNamesArePatternsOfNothingElse() throws {
        let nearest = [
            "blocks.?": "blocks.0", "blocks.*": "blocks.0", "blocks": "blocks.0", "locks.1": "blocks.1", "Head": "head",
            "head ": "head", "blocks\\.1": "blocks.1",
        ]
        for (name, near) in nearest {
            assertRefused(
                .unknown(
                    "no layer is called \"\(name)\" (did you mean \"\(near)\"?), expected one of \"embed\", \"blocks.0\", "
                        + "\"blocks.1\", \"blocks.10\", \"head\"")
            ) {
                _ = try self.scales([Assignment(name, scale: 1), Assignment("*", scale: 1)])
            }
        }
    }

    func testGlob() throws {
        XCTAssertEqual(
            try scales(
                [Assignment("blocks.?", scale: 0.5), Assignment("blocks.1[0-9]", scale: 2), Assignment("*", scale: 1)],
                syntax: .glob), [1, 0.5, 0.5, 2, 1])
        XCTAssertEqual(
            try scales([Assignment("b*", scale: 0.5), Assignment("[eh]*", scale: 3)], syntax: .glob),
            [3, 0.5, 0.5, 0.5, 3])
        XCTAssertEqual(
            try scales([Assignment("**", scale: 0.5)], syntax: .glob), Array(repeating: 0.5, count: 5),
            "only \"*\" alone stands for the rest")
    }

    /// A regular expression matches the whole name.
    func testRegularExpression() throws {
        XCTAssertEqual(
            try scales(
                [
                    Assignment("blocks\\.\\d", scale: 0.5), Assignment("blocks\\.[1-9]\\d+", scale: 2),
                    Assignment("embed|head", scale: 3),
                ],
                syntax: .regex), [3, 0.5, 0.5, 2, 3])
        let message =
            "no name of a layer matches \"block\", expected one of \"embed\", \"blocks.0\", \"blocks.1\", \"blocks.10\", \"head\""
        assertRefused(.unknown(message)) {
            _ = try self.scales([Assignment("block", scale: 1), Assignment("*", scale: 1)], syntax: .regex)
        }
        for pattern in ["(", "[a", "a{2,1}", "\\"] {
            XCTAssertThrowsError(try Explicit([Assignment(pattern, scale: 1)], syntax: .regex), pattern) {
                guard let text = ($0 as? LayerwiseError)?.message else { return XCTFail("\(pattern): \($0)") }
                XCTAssertTrue(text.contains("is not a regular expression"), text)
            }
        }
    }

    /// Where names hold what is more than one scalar, or what a shell would treat apart.
    func testPatternsOfUnusualNames() throws {
        let names = ["", "a/b/c", ".hidden", "é", "e\u{301}", "naïve layer", "[x]"]
        let places = names.map { LayerDescriptor(name: $0, depth: 0) }
        let slash = try Explicit([Assignment("a/*", scale: 2), Assignment("*", scale: 1)], syntax: .glob)
        XCTAssertEqual(try slash.scales(of: places), [1, 2, 1, 1, 1, 1, 1])
        let anything = try Explicit([Assignment("?*", scale: 2), Assignment("*", scale: 1)], syntax: .glob)
        XCTAssertEqual(try anything.scales(of: places), [1, 2, 2, 2, 2, 2, 2])
        let bracket = try Explicit([Assignment("[x]", scale: 2), Assignment("*", scale: 1)])
        XCTAssertEqual(try bracket.scales(of: places).last, 2)
    }

    /// `?` is one character of any script, whatever the process's locale is.
    func testPatternsDoNotDependOnTheLocale() throws {
        let places = ["e", "é", "層", "É", "ab"].map { LayerDescriptor(name: $0, depth: 0) }
        let before = setlocale(LC_ALL, nil).map { String(cString: $0) }
        defer { _ = setlocale(LC_ALL, before) }
        for locale in ["C", "C.UTF-8"] {
            XCTAssertNotNil(setlocale(LC_ALL, locale), locale)
            let patterns: KeyValuePairs<String, [Double]> = [
                "?": [2, 2, 2, 2, 1], "[é-ë]": [1, 2, 1, 1, 1], "[!a-z]": [1, 2, 2, 2, 1],
            ]
            for (pattern, wanted) in patterns {
                let policy = try Explicit(
                    [Assignment(pattern, scale: 2), Assignment("*", scale: 1)], syntax: .glob, unused: .ignore)
                XCTAssertEqual(try policy.scales(of: places), wanted, "\(pattern) in the locale \(locale)")
            }
        }
    }

    // MARK: - Strictness and its relaxations

    func testUnusedPattern() throws {
        let assignments = [Assignment("*", scale: 1), Assignment("neck", scale: 2), Assignment("tail", scale: 2)]
        assertRefused(
            .unknown(
                "no layer is called \"neck\", \"tail\", expected one of \"embed\", \"blocks.0\", \"blocks.1\", "
                    + "\"blocks.10\", \"head\"")
        ) { _ = try self.scales(assignments) }
        assertRefused(
            .unknown(
                "no name of a layer matches \"*.bias\", expected one of \"embed\", \"blocks.0\", \"blocks.1\", "
                    + "\"blocks.10\", \"head\"")
        ) { _ = try self.scales([Assignment("*", scale: 1), Assignment("*.bias", scale: 2)], syntax: .glob) }
        XCTAssertEqual(try scales(assignments, unused: .ignore), [1, 1, 1, 1, 1])
    }

    func testUnmatchedLayer() throws {
        let assignments = [Assignment("blocks*", scale: 0.5)]
        assertRefused(.invalid("nothing is given for layer \"embed\", \"head\"")) {
            _ = try self.scales(assignments, syntax: .glob)
        }
        XCTAssertEqual(try scales(assignments, syntax: .glob, unmatched: .keep), [1, 0.5, 0.5, 0.5, 1])
        let shares = try Explicit(assignments, syntax: .glob, unmatched: .keep).shares(of: Self.places)
        XCTAssertEqual(shares[0], LayerScaling())
        XCTAssertEqual(shares[1].origin, "explicit blocks*")
    }

    func testAmbiguousLayer() throws {
        let assignments = [
            Assignment("blocks*", scale: 0.5), Assignment("*1", scale: 2), Assignment("*", scale: 1),
        ]
        assertRefused(.invalid("more than one pattern matches layer \"blocks.1\"")) {
            _ = try self.scales(assignments, syntax: .glob)
        }
        XCTAssertEqual(try scales(assignments, syntax: .glob, ambiguous: .first), [1, 0.5, 0.5, 0.5, 1])
        XCTAssertEqual(try scales(assignments, syntax: .glob, ambiguous: .last), [1, 0.5, 2, 0.5, 1])
    }

    /// "*" stands for what is left, wherever it is in the list, and is neither unused nor ambiguous.
    func testTheRestIsNoPattern() throws {
        for ambiguous in Matching.Ambiguous.allCases {
            for syntax in PatternSyntax.allCases {
                XCTAssertEqual(
                    try scales(
                        [Assignment("*", scale: 7), Assignment("head", scale: 2)], syntax: syntax, ambiguous: ambiguous),
                    [7, 7, 7, 7, 2], "\(syntax), \(ambiguous)")
            }
        }
        let all = Self.names.map { Assignment($0, scale: 2) } + [Assignment("*", scale: 7)]
        XCTAssertEqual(try scales(all), [2, 2, 2, 2, 2])
    }

    func testMessagesNameTheFirstEight() {
        let places = LayerDescriptor.stack(Array(0..<11))
        assertRefused(
            .invalid(
                "nothing is given for layer " + (0..<8).map { "\"layer\($0)\"" }.joined(separator: ", ") + " and 3 more"
            )
        ) { _ = try Explicit([:]).shares(of: places) }
    }

    func testRefusedAssignments() {
        assertRefused(.duplicate("explicit: \"head\" is given twice")) {
            _ = try Explicit([Assignment("head", scale: 1), Assignment("head", lr: 1)])
        }
        assertRefused(.duplicate("explicit: \"*\" is given twice")) {
            _ = try Explicit([Assignment("*", scale: 1), Assignment("*", scale: 1)])
        }
        assertRefused(.invalid("explicit: layers: \"head\" needs a scale or an lr")) {
            _ = try Explicit([Assignment("head")])
        }
        assertRefused(.invalid("explicit: layers: match must be given")) {
            _ = try Explicit([Assignment("", scale: 1)])
        }
        for scale: Double in [-1, .infinity, -.infinity] {
            assertRefused(.invalid("explicit: layers: scale must be in [0, inf), found \(scale)")) {
                _ = try Explicit(["head": scale])
            }
        }
        assertRefused(.invalid("explicit: layers: scale must be in [0, inf), found nan")) {
            _ = try policy(
                Spec("explicit", parts: [Spec("layers", [Setting("match", "head"), Setting("scale", .nan)])]))
        }
        assertRefused(
            .unknown("explicit: no part of explicit is called \"uniform\", expected one of layers")
        ) { _ = try policy(Spec("explicit", parts: [Spec("uniform")])) }
    }

    // MARK: - Rates

    func testRatesTakeThePlaceOfTheOptimizers() throws {
        let policy = try Explicit([
            Assignment("0", scale: 0.5), Assignment("1", lr: 0.25), Assignment("2", scale: 0.5, lr: 0.25),
            Assignment("3", scale: 0), Assignment("4", lr: 0),
        ])
        let model = try Model(SGD(lr: 8), shapes: Array(repeating: [[1]], count: 5), policy: policy)
        XCTAssertEqual(try model.infos().map(\.effectiveRate), [4, 0.25, 0.125, 0, 0])
        XCTAssertEqual(try model.infos().map(\.scale), [0.5, 1, 0.5, 0, 1])
        XCTAssertEqual(try model.infos().map(\.baseRate), [8, 0.25, 0.25, 8, 0])
        XCTAssertEqual(try model.infos()[1].origin, "explicit 1")
        XCTAssertTrue(try model.infos().allSatisfy { $0.scaleSource == .policy })
    }

    // MARK: - In an optimizer

    func testRefusedStepChangesNothing() throws {
        let model = try Model(SGD(), sizes: [1, 2, 3])
        func assertStepRefused(_ scales: [String: Double], _ code: LayerwiseError.Code, _ message: String) throws {
            model.optimizer.setPolicy(try Explicit(scales))
            let before = try model.digest()
            assertRefused(code, message: message) { try model.optimizer.step() }
            assertRefused(code, message: message) { _ = try model.optimizer.info(0) }
            assertRefused(code, message: message) { _ = try model.optimizer.explain() }
            assertRefused(code, message: message) { _ = try model.optimizer.value(of: "scale", layer: 0) }
            XCTAssertEqual(try model.digest(), before)
            XCTAssertEqual(model.optimizer.summary.nextStep, 0)
        }
        try assertStepRefused(["0": 1], .outOfRange, "policy explicit: nothing is given for layer \"1\", \"2\"")
        try assertStepRefused(
            ["0": 1, "*": 1, "body": 1], .unknownName,
            "policy explicit: no layer is called \"body\", expected one of \"0\", \"1\", \"2\"")
    }

    /// Layers may come after the policy; what counts is the step.
    func testPolicyBeforeItsLayers() throws {
        let model = try Model(SGD(lr: 1), shapes: [[[1]], [[1]]], policy: try Explicit(["0": 2, "1": 4]))
        XCTAssertEqual(try model.infos().map(\.effectiveRate), [2, 4])
    }
}
