// SPDX-License-Identifier: Apache-2.0
import Layerwise
import XCTest

/// What policies, schedules and freezing plans declare of themselves holds together.
final class RecipeDeclarationTests: XCTestCase {
    private static var all: [any Component.Type] {
        allPolicies.map { $0 as any Component.Type } + allSchedules.map { $0 as any Component.Type }
            + allFreezePlans.map { $0 as any Component.Type } + [
                Explicit.Assignment.self, Exclude.Names.self, MuP.Base.self, FreezeAt.Times.self,
            ]
    }

    func testNamesAreUnique() {
        for names in [
            allPolicies.map { $0.declaration.name }, allSchedules.map { $0.declaration.name },
            allFreezePlans.map { $0.declaration.name },
        ] {
            XCTAssertEqual(Set(names).count, names.count)
            XCTAssertTrue(names.allSatisfy { $0.allSatisfy { $0.isLowercase || $0 == "_" } }, "\(names)")
        }
    }

    /// The type, its title without signs, and its key without underscores are one word.
    func testAComponentHasOneName() throws {
        for type in Vocabulary.all {
            let declaration = type.declaration
            let title = declaration.title.filter { $0.isLetter || $0.isNumber }
            XCTAssertEqual(title, "\(type)")
            XCTAssertEqual(declaration.name.filter { $0 != "_" }, title.lowercased())
        }
    }

    /// A former name stands for one component, and is nobody's name now.
    func testFormerNamesAreRead() throws {
        for kind in [Vocabulary.rules, Vocabulary.policies, Vocabulary.schedules, Vocabulary.freezePlans] {
            let names = kind.flatMap { [$0.declaration.name] + $0.declaration.formerNames }
            XCTAssertEqual(Set(names).count, names.count)
        }
        for (former, type) in [("range", GeometricRange.self as any DeclaredPolicy.Type), ("slice", RateSlice.self)] {
            XCTAssertTrue(type.declaration.formerNames.contains(former))
            let made = try policy(Spec(former, [Setting("highest", 0.5), Setting("lowest", 0.25)]))
            XCTAssertEqual(made.spec.name, type.declaration.name)
            XCTAssertEqual(describePolicy(former), describePolicy(type.declaration.name))
        }
        let decay = try schedule(
            Spec("sequential", values: [5], parts: [Spec("step", [Setting("every", 3)]), Spec("constant")]))
        XCTAssertEqual(decay.spec.parts.map(\.name), ["step_decay", "constant"])
        XCTAssertEqual(try schedule(Spec("table", values: [1, 0.5])).spec.name, "factor_table")
        XCTAssertEqual(
            try schedule(Spec("wsd", [Setting("total_steps", 10), Setting("decay_steps", 2)])).spec.name,
            "warmup_stable_decay")
    }

    func testKeysAreUnique() {
        func check<R: Component>(_: R.Type) {
            let keys = R.parameters.map(\.key)
            XCTAssertEqual(Set(keys).count, keys.count, R.declaration.name)
            XCTAssertTrue(keys.allSatisfy { !$0.isEmpty && $0.allSatisfy { $0.isLowercase || $0 == "_" } }, "\(keys)")
            XCTAssertTrue(R.parameters.allSatisfy { !$0.doc.isEmpty && !$0.doc.contains("\n") }, R.declaration.name)
        }
        for recipe in Self.all { check(recipe) }
    }

    // MARK: - Descriptions

    private func description(_ text: String?, _ label: String) throws -> JSONValue {
        let text = try XCTUnwrap(text, label)
        XCTAssertFalse(text.contains("\n"), label)
        return try JSONValue(parsing: text)
    }

    private func checkDescription<R: Component>(_: R.Type, _ description: JSONValue) throws {
        let declaration = R.declaration
        let wanted: [String: JSONValue] = [
            "name": .text(declaration.name), "title": .text(declaration.title), "doc": .text(declaration.summary),
            "summary": .text(declaration.summary), "equation": .text(declaration.equation),
            "source": .text(declaration.source), "values": JSONValue(declaration.values),
            "parts": JSONValue(declaration.parts), "former_names": .list(declaration.formerNames.map { .text($0) }),
        ]
        let dependence =
            (R.self as? any DeclaredPolicy.Type)?.depthDependence
            ?? (R.self as? any DeclaredFreezePlan.Type)?.depthDependence
        XCTAssertEqual(
            description.keys,
            Set(wanted.keys).union(["settings", "details", "arguments", "positional"])
                .union(dependence == nil ? [] : ["depends_on_depth"]), declaration.name)
        XCTAssertEqual(description["details"], .text(declaration.details), declaration.name)
        try checkArguments(R.self, description)
        XCTAssertEqual(description["depends_on_depth"], dependence.map { .text($0.rawValue) }, declaration.name)
        for (key, value) in wanted {
            XCTAssertEqual(description[key], value, declaration.name)
            XCTAssertNotEqual(value, .text(""), "\(declaration.name): \(key)")
        }
        let settings = try XCTUnwrap(description["settings"]?.list)
        XCTAssertEqual(settings.map { $0["key"] }, R.parameters.map { .text($0.key) })
        for (setting, parameter) in zip(settings, R.parameters) {
            check(setting, parameter, "\(declaration.name): \(parameter.key)")
        }
    }

    /// A list and parts have arguments of their own; what may be given by position are these, or settings.
    private func checkArguments<R: Component>(_: R.Type, _ description: JSONValue) throws {
        let declaration = R.declaration
        let shapes = Set(declaration.arguments.map(\.shape))
        XCTAssertEqual(
            !shapes.isDisjoint(with: [.steps, .factors, .points]), declaration.values != nil, declaration.name)
        XCTAssertEqual(
            !shapes.isDisjoint(with: [.part, .optionalPart, .parts, .eachPart, .patterns, .byPattern]),
            declaration.parts != nil, declaration.name)
        let arguments = try XCTUnwrap(description["arguments"]?.list)
        XCTAssertEqual(arguments.map { $0["name"] }, declaration.arguments.map { .text($0.name) })
        XCTAssertEqual(arguments.map { $0["shape"] }, declaration.arguments.map { .text($0.shape.rawValue) })
        let keywords = R.parameters.map(\.key) + declaration.arguments.map(\.name)
        XCTAssertEqual(Set(keywords).count, keywords.count, declaration.name)
        XCTAssertEqual(
            try XCTUnwrap(description["positional"]?.list), declaration.positional.map { .text($0) }, declaration.name)
        XCTAssertTrue(Set(declaration.positional).isSubset(of: keywords), declaration.name)
    }

    /// A default is valid; a setting without one starts outside its range.
    private func check<R: Component>(_ setting: JSONValue, _ parameter: Parameter<R>, _ label: String) {
        let start = parameter.read(R())
        XCTAssertEqual(setting["doc"], .text(parameter.doc), label)
        XCTAssertEqual(
            setting["presence"], parameter.presence == .usual ? nil : .text(parameter.presence.rawValue), label)
        switch parameter.kind {
        case .number(let range):
            XCTAssertEqual(setting["kind"], .text("number"), label)
            XCTAssertEqual(setting["range"], .text("\(range)"), label)
        case .integer(let range):
            XCTAssertEqual(setting["kind"], .text("number"), label)
            XCTAssertEqual(setting["range"], .text("[\(range.lowerBound), \(range.upperBound)]"), label)
        case .flag: XCTAssertEqual(setting["kind"], .text("flag"), label)
        case .choice(let names):
            XCTAssertEqual(setting["kind"], .text("choice"), label)
            XCTAssertEqual(setting["choices"], .list(names.map { .text($0) }), label)
        case .text: XCTAssertEqual(setting["kind"], .text("text"), label)
        }
        guard let value = setting["default"] else {
            return XCTAssertThrowsError(try parameter.check(start), label)
        }
        XCTAssertNoThrow(try parameter.check(start), label)
        switch start {
        case .number(let x): XCTAssertEqual(value, JSONValue(x), label)
        case .choice(let name): XCTAssertEqual(value, .text(name), label)
        }
    }

    func testDescriptionsAreJSON() throws {
        for policy in allPolicies {
            let name = policy.declaration.name
            try checkDescription(policy, try description(describePolicy(name), name))
        }
        for schedule in allSchedules {
            let name = schedule.declaration.name
            try checkDescription(schedule, try description(describeSchedule(name), name))
        }
        for plan in allFreezePlans {
            let name = plan.declaration.name
            try checkDescription(plan, try description(describeFreezePlan(name), name))
        }
        for describe in [describePolicy, describeSchedule, describeFreezePlan] {
            XCTAssertNil(describe("nonsense"))
            XCTAssertNil(describe(""))
        }
    }

    // MARK: - Defaults

    /// Saying a default aloud is the same as leaving it out.
    func testDefaultsMayBeSaid() {
        func check<R: Component>(_: R.Type) {
            let defaults = R.parameters.compactMap { parameter -> Setting? in
                let start = parameter.read(R())
                if (try? parameter.check(start)) == nil { return nil }
                return switch start {
                case .number(let x): Setting(parameter.key, x)
                case .choice(let name): Setting(parameter.key, name)
                }
            }
            let name = R.declaration.name
            let (silent, said) = (outcome(R.self, Spec(name)), outcome(R.self, Spec(name, defaults)))
            XCTAssertEqual(silent, said, name)
        }
        for recipe in Self.all { check(recipe) }
    }

    private enum Outcome: Equatable {
        case made(Spec)
        case refused(SettingError)
    }

    private func outcome<R: Component>(_: R.Type, _ spec: Spec) -> Outcome {
        do { return .made(try R(spec).spec) } catch { return .refused(error) }
    }

    /// Every setting can be given, and what was given can be read.
    func testEveryKeyCanBeSetAndRead() throws {
        func check<R: Component>(_: R.Type, _ recipes: inout RandomRecipes) throws {
            for _ in 0..<20 {
                for setting in recipes.settings(R.self) {
                    var recipe = R()
                    try recipe.assign(setting)
                    XCTAssertEqual(recipe.value(of: setting.key), setting.value, "\(R.declaration.name): \(setting)")
                }
            }
        }
        var recipes = RandomRecipes(seed: 80)
        for recipe in Self.all { try check(recipe, &recipes) }
    }

    /// Settings that are not valid are refused, with what is.
    func testInvalidSettingsAreRefused() {
        func check<R: Component>(_: R.Type) {
            for parameter in R.parameters {
                for (setting, message) in RandomRecipes.invalid(parameter) {
                    XCTAssertThrowsError(try R(Spec(R.declaration.name, [setting])), "\(setting)") {
                        XCTAssertTrue("\($0)".contains("\(R.declaration.name): \(setting.key) \(message)"), "\($0)")
                    }
                }
            }
        }
        for recipe in Self.all { check(recipe) }
    }

    /// A policy in words is the same policy.
    func testPoliciesInWords() throws {
        let places = [
            LayerDescriptor(
                name: "a", depth: 0, tower: "t", role: .stem,
                tensors: [TensorDescriptor(name: "w", shape: [4, 8]), TensorDescriptor(name: "b", shape: [4])]),
            LayerDescriptor(name: "b", depth: 1, role: .block, tensors: [TensorDescriptor(name: "w", shape: [8, 8])]),
            LayerDescriptor(name: "c", depth: 2, role: .head, tensors: [TensorDescriptor(name: "w", shape: [2, 8])]),
        ]
        var measuring = Measuring()
        (measuring.average, measuring.warmup, measuring.period, measuring.ramp) = (0.5, 2, 3, 4)
        (measuring.minScale, measuring.maxScale, measuring.startScale) = (0.1, 2, 0.5)
        let byLayer = measuring
        measuring.unit = .tower
        var spectra = SpectralMeasuring()
        (spectra.measure, spectra.ends, spectra.leastRank) = (.stableRank, .highest, 3)
        (spectra.average, spectra.ramp) = (0.5, 7)
        func blockwise() throws -> Blockwise {
            var policy = try Blockwise(norm: 2, embedding: 3, others: 0.5)
            policy.feedForwardMatch = "./w"
            return policy
        }
        let policies: [any DeclaredPolicy] = [
            Uniform(),
            try Explicit(
                [Explicit.Assignment("[ab]", scale: 2, lr: 0.5), Explicit.Assignment("z", scale: 0)], syntax: .glob,
                unused: .ignore, unmatched: .keep, ambiguous: .last),
            try LayerDecay(0.7, minScale: 0.1, convention: .electra, headScale: 4),
            try LayerDecay(0.7, direction: .output), try GeometricRange(lowest: 0.1, highest: 3), try ULMFiT(factor: 3),
            try RateSlice(0.1, 2), try RateSlice(2),
            try Exclude(names: ["a/*"], maxRank: -1, decay: false, unused: .ignore),
            try MuP([MuP.Base("*/w", fanIn: 2)], family: .sgd, decoupledDecay: true, layout: .inOut),
            try LoRAPlus(ratio: 3, match: "./w", vectors: false, syntax: .regex),
            try RelativeGradientNorm(power: 2, measuring: measuring), try UpdateRatio(0.01, measuring: measuring),
            try CompleteP(width: 4, depth: 2, alpha: 0.5), try blockwise(),
            try LARC(0.1, clip: false, eps: 0.5, measuring: measuring),
            try TVLARS(0.1, steepness: 0.2, alpha: 0.3, delay: 4, lowest: 0.5, eps: 0.5, measuring: measuring),
            try Hypergradient(0.1, form: .published, measuring: measuring),
            try SignAgreement(0.1, threshold: 0.75, measuring: measuring), try LDoGScale(0.1, measuring: measuring),
            try GradientNoise(measuring: measuring),
            try AutoLR(0.9, thresholdDecay: 0.5, lowest: 3, highest: 0.5, measuring: byLayer),
            try TempBalance(0.25, 2, spectra: spectra),
            try AlphaDecay(0.25, 2, map: .sigmoid, of: .rate, spectra: spectra),
            try ForTower("t", try ULMFiT(factor: 2)),
            try Combine([try ForTower("t", try LayerDecay(0.5)), try Combine([Uniform(), Exclude()])]),
        ]
        XCTAssertEqual(Set(policies.map { $0.spec.name }), Set(allPolicies.map { $0.declaration.name }))
        for policy in policies {
            let again = try Layerwise.policy(policy.spec)
            XCTAssertEqual(again.spec, policy.spec)
            XCTAssertEqual(try again.shares(of: places), try policy.shares(of: places), "\(policy.spec)")
        }
    }
}

private enum Vocabulary {
    static let rules = allRules.map { $0 as any Component.Type }
    static let policies = allPolicies.map { $0 as any Component.Type }
    static let schedules = allSchedules.map { $0 as any Component.Type }
    static let freezePlans = allFreezePlans.map { $0 as any Component.Type }
    static let all = rules + policies + schedules + freezePlans
}
