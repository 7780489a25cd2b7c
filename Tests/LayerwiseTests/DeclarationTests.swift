// SPDX-License-Identifier: Apache-2.0
import Foundation
import Layerwise
import XCTest

/// What rules declare of themselves holds together.
final class DeclarationTests: XCTestCase {
    func testNamesAreUnique() {
        XCTAssertEqual(Set(allRules.map { $0.declaration.name }).count, allRules.count)
    }

    /// The suite's cases know every rule, with every option, choice and preset.
    func testCasesCoverEveryOption() throws {
        for rule in allRules { try checkCases(of: rule) }
    }

    private func checkCases<R: DeclaredRule>(of _: R.Type) throws {
        let name = R.declaration.name
        let cases =
            try RuleCase.all() + RuleCase.prodigy() + RuleCase.overLayers() + RuleCase.factored() + RuleCase.muon()
            + RuleCase.byLayer()
        let rules = cases.compactMap { $0.rule as? R }
        // UpdateOptionsTests tries these for every rule that has them.
        for parameter in R.parameters where !["cautious", "corrected_weight_decay"].contains(parameter.key) {
            let values = rules.map { $0.value(of: parameter.key) }
            if case .choice(let names) = parameter.kind {
                for choice in names {
                    XCTAssertTrue(values.contains(.choice(choice)), "\(name): \(parameter.key) \(choice)")
                }
            } else {
                XCTAssertTrue(values.contains { $0 != R().value(of: parameter.key) }, "\(name): \(parameter.key)")
            }
        }
        for preset in R.presets {
            let matches = rules.contains { rule in
                preset.settings.allSatisfy { rule.value(of: $0.key) == $0.value || $0.key == "weight_decay" }
            }
            XCTAssertTrue(matches, "\(name): \(preset.name)")
        }
    }

    func testRules() throws {
        for rule in allRules { try check(rule) }
    }

    private func check<R: DeclaredRule>(_: R.Type) throws {
        let name = R.declaration.name
        XCTAssertNoThrow(try R().check(), "\(name): defaults")
        XCTAssertEqual(Set(parameterKeys(of: R.self)).count, R.parameters.count, "\(name): keys are not unique")
        for key in parameterKeys(of: R.self) {
            XCTAssertFalse(Settings.has(key), "\(name): \(key) is a setting of the optimizer too")
        }
        for parameter in R.parameters { XCTAssertFalse(parameter.doc.isEmpty, "\(name): \(parameter.key)") }
        XCTAssertEqual(R().value(of: "lr"), .number(R().learningRate))
        XCTAssertEqual(R().value(of: "weight_decay"), .number(R().weightDecay))
        XCTAssertFalse(R.declaration.source.isEmpty)

        for preset in R.presets {
            var rule = R()
            XCTAssertNoThrow(try rule.assign(Setting("variant", preset.name)), "\(name): \(preset.name)")
            XCTAssertNoThrow(try rule.check(), "\(name): \(preset.name)")
            for setting in preset.settings {
                XCTAssertEqual(rule.value(of: setting.key), setting.value, "\(name): \(preset.name), \(setting.key)")
            }
        }
        XCTAssertEqual(R.has("variant"), !R.presets.isEmpty)

        // There is room for the states, whose names are keys in checkpoints.
        let states = R.declaration.states
        XCTAssertEqual(Set(states.map(\.name)).count, states.count, "\(name): states")
        XCTAssertTrue(Set(states.map(\.name)).isDisjoint(with: ["step", "master", "parameters"]), "\(name): states")
        XCTAssertLessThanOrEqual(states.count { $0.shape == .parameter }, 4, "\(name): states")
        XCTAssertLessThanOrEqual(states.count { $0.shape == .scalar }, StateScalars.scalarCount, "\(name): states")
        XCTAssertLessThanOrEqual(states.count { $0.shape == .shared }, SharedScalars.scalarCount, "\(name): states")
        for ruleCase in try RuleCase.all() + RuleCase.prodigy() + RuleCase.overLayers() where ruleCase.rule is R {
            XCTAssertTrue(StateSet.first(states.count).isSuperset(of: ruleCase.rule.states), "\(ruleCase)")
        }
    }

    /// Every value can be set by its key and read back.
    func testEveryKeyCanBeSetAndRead() throws {
        for rule in allRules {
            let optimizer = try Optimizer(rule: rule.declaration.name, settings: [])
            for key in parameterKeys(of: rule) {
                let value = try optimizer.value(of: key)
                switch value {
                case .number(let x): try optimizer.set([Setting(key, x)])
                case .choice(let name): try optimizer.set([Setting(key, name)])
                }
                XCTAssertEqual(try optimizer.value(of: key), value)
            }
        }
    }

    func testCoefficientsFitTheirRoom() throws {
        let room = UnsafeMutableRawBufferPointer.allocate(byteCount: 8 * coefficientBytes, alignment: 64)
        defer { room.deallocate() }
        for ruleCase in try RuleCase.all() + RuleCase.prodigy() + RuleCase.overLayers() {
            for canary: UInt8 in [0x5a, 0xa5] {
                room.initializeMemory(as: UInt8.self, repeating: canary)
                var powers = BiasCorrectionCache()
                let moment = StepInput(
                    learningRate: 0.1, decayRate: 0.1, step: 3, tensor: TensorTraits(isMatrix: true))
                ruleCase.rule.plan(moment, powers: &powers, into: try XCTUnwrap(room.baseAddress))
                XCTAssertTrue(room[coefficientBytes...].allSatisfy { $0 == canary }, "\(ruleCase)")
            }
        }
    }

    // MARK: - Descriptions

    private struct RuleDescription: Decodable {
        let name, title, equation, source: String
        let hyperparameters: [ParameterDescription]
        let presets: [String: [String: Value]]
        let states: [String]
        let state_shapes: [String: String]
    }

    private struct ParameterDescription: Decodable {
        let key, kind, doc: String
        let range: String?
        let choices: [String]?
        let `default`: Value?
    }

    private enum Value: Decodable, Equatable {
        case number(Double?)
        case choice(String)

        init(from decoder: any Decoder) throws {
            let container = try decoder.singleValueContainer()
            if let text = try? container.decode(String.self) {
                self = .choice(text)
            } else {
                self = .number(container.decodeNil() ? nil : try container.decode(Double.self))
            }
        }

        /// JSON has no infinity: it is written as null.
        init(_ value: Setting.Value) {
            switch value {
            case .number(let x): self = .number(x.isFinite ? x : nil)
            case .choice(let name): self = .choice(name)
            }
        }
    }

    func testRuleDescriptionsAreJSON() throws {
        for rule in allRules { try checkDescription(rule) }
        XCTAssertNil(describeRule("nonsense"))
    }

    private func checkDescription<R: DeclaredRule>(_: R.Type) throws {
        let text = try XCTUnwrap(describeRule(R.declaration.name))
        XCTAssertFalse(text.contains("\n"))
        let description = try JSONDecoder().decode(RuleDescription.self, from: Data(text.utf8))
        XCTAssertEqual(description.name, R.declaration.name)
        XCTAssertEqual(description.equation, R.declaration.equation)
        XCTAssertEqual(description.states, R.declaration.states.map(\.name))
        XCTAssertEqual(
            description.state_shapes,
            Dictionary(uniqueKeysWithValues: R.declaration.states.map { ($0.name, $0.shape.rawValue) }))
        XCTAssertEqual(description.hyperparameters.map(\.key), parameterKeys(of: R.self))
        for parameter in description.hyperparameters {
            let value = try XCTUnwrap(R().value(of: parameter.key))
            // A default of null is infinity, which decoding an optional reads as absent.
            XCTAssertEqual(parameter.default ?? .number(nil), Value(value), parameter.key)
            switch parameter.kind {
            case "number": XCTAssertNotNil(parameter.range, parameter.key)
            case "choice":
                guard case .choice(let name) = value else { return XCTFail(parameter.key) }
                XCTAssertTrue(parameter.choices?.contains(name) ?? false, parameter.key)
            default: XCTAssertEqual(parameter.kind, "flag", parameter.key)
            }
        }
        XCTAssertEqual(Set(description.presets.keys), Set(R.presets.map(\.name)))
        for preset in R.presets {
            for setting in preset.settings {
                XCTAssertEqual(description.presets[preset.name]?[setting.key], Value(setting.value))
            }
        }
    }
}
