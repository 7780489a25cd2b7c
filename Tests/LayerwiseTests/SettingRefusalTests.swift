// SPDX-License-Identifier: Apache-2.0
import Layerwise
import XCTest

/// Settings, policies and values of layers that are refused.
final class SettingRefusalTests: XCTestCase {
    // MARK: - Settings

    private static let ruleKeys =
        "lr, beta1, beta2, eps, weight_decay, decay, adapt, trust_ratio_scope, bias_correction, grad_averaging, ratio_eps, "
        + "ratio_min, ratio_max, weight_norm_max, weight_decay_exclude_1d, variant"
    private static let keys =
        "\(ruleKeys), nonfinite, empty_step, clip_global_norm, clip_layer_norm, clip_value, clip_unit_ratio, "
        + "clip_unit_eps, centralize_gradients, gradient_noise, gradient_noise_decay, gradient_noise_seed, average, "
        + "average_decay, average_warmup, average_gamma, average_start, average_period, lookahead_period, "
        + "lookahead_rate, maximize, telemetry, decay_follows, dry_run, threads, memory"

    func testSettings() throws {
        func set(_ key: String, _ value: Double) -> (Optimizer) throws -> Void {
            { try $0.set([Setting("lr", 0.5), Setting(key, value)]) }
        }
        func set(_ key: String, _ value: String) -> (Optimizer) throws -> Void {
            { try $0.set([Setting("lr", 0.5), Setting(key, value)]) }
        }
        try assertAllRefused([
            RefusedCall(
                .unknownName, "LAMB: unknown setting \"momentum\", expected one of \(Self.keys)", set("momentum", 0.9)),
            RefusedCall(.unknownName, "LAMB: unknown setting \"\", expected one of \(Self.keys)", set("", 0)),
            RefusedCall(.outOfRange, "LAMB: lr must be in [0, inf), found -1.0") { try $0.set([Setting("lr", -1)]) },
            RefusedCall(.outOfRange, "LAMB: lr must be in [0, inf), found nan") { try $0.set([Setting("lr", .nan)]) },
            RefusedCall(.outOfRange, "LAMB: lr must be in [0, inf), found inf") {
                try $0.set([Setting("lr", .infinity)])
            },
            RefusedCall(.outOfRange, "LAMB: beta1 must be in [0, 1), found 1.0", set("beta1", 1)),
            RefusedCall(.outOfRange, "LAMB: beta2 must be in [0, 1), found -0.5", set("beta2", -0.5)),
            RefusedCall(.outOfRange, "LAMB: eps must be in [0, inf), found -1e-08", set("eps", -1e-8)),
            RefusedCall(.outOfRange, "LAMB: ratio_max must be in (0, inf], found 0.0", set("ratio_max", 0)),
            RefusedCall(
                .outOfRange, "LAMB: ratio_min must not exceed ratio_max, found 2.0 and 1.0",
                { try $0.set(settings(["ratio_min": 2, "ratio_max": 1])) }),
            RefusedCall(.outOfRange, "LAMB: grad_averaging must be 0 or 1, found 0.5", set("grad_averaging", 0.5)),
            RefusedCall(
                .outOfRange, "LAMB: lr takes a number, found \"high\"", { try $0.set([Setting("lr", "high")]) }),
            RefusedCall(.outOfRange, "LAMB: decay takes a name, one of update, decoupled, gradient", set("decay", 1)),
            RefusedCall(
                .unknownName, "LAMB: decay must be one of update, decoupled, gradient, found \"L2\"",
                set("decay", "L2")),
            RefusedCall(
                .unknownName, "LAMB: variant must be one of paper, timm, apex, optax, pytorch_optimizer, found \"jax\"",
                set("variant", "jax")),
            RefusedCall(
                .outOfRange, "LAMB: variant takes a name, one of paper, timm, apex, optax, pytorch_optimizer",
                set("variant", 1)),
            RefusedCall(.duplicate, "LAMB: lr is given twice", set("lr", 1)),
            RefusedCall(
                .outOfRange, "LAMB: threads must be a whole number from 0 to 1024, found 1.5", set("threads", 1.5)),
            RefusedCall(
                .outOfRange, "LAMB: threads must be a whole number from 0 to 1024, found 1025.0", set("threads", 1025)),
            RefusedCall(
                .outOfRange, "LAMB: threads must be a whole number from 0 to 1024, found nan", set("threads", .nan)),
            RefusedCall(
                .outOfRange, "LAMB: clip_global_norm must be in (0, inf], found 0.0", set("clip_global_norm", 0)),
            RefusedCall(.outOfRange, "LAMB: clip_value must be in (0, inf], found -1.0", set("clip_value", -1)),
            RefusedCall(
                .outOfRange, "LAMB: clip_layer_norm must be in (0, inf], found nan", set("clip_layer_norm", .nan)),
            RefusedCall(
                .unknownName, "LAMB: nonfinite must be one of raise, skip, propagate, found \"ignore\"",
                set("nonfinite", "ignore")),
            RefusedCall(.outOfRange, "LAMB: maximize must be 0 or 1, found 2.0", set("maximize", 2)),
            RefusedCall(.unknownName, "unknown setting \"scale\"") { _ = try $0.value(of: "scale") },
        ])
    }

    func testEveryRuleRefusesBadValuesOfEveryKey() throws {
        for rule in allRules {
            let name = rule.declaration.name
            let optimizer = try Optimizer(rule: name, settings: [])
            for key in parameterKeys(of: rule) {
                let value = try optimizer.value(of: key)
                // NaN is "none" where a value may be absent.
                var bad = [Setting(key, numberOutOfRange(key, of: rule)), Setting(key, "nonsense")]
                if !mayBeAbsent(key, of: rule) { bad.append(Setting(key, .nan)) }
                for bad in bad {
                    XCTAssertThrowsError(try optimizer.set([bad]), "\(name): \(bad)") {
                        XCTAssertTrue("\($0)".contains(key), "\(name): \($0)")
                    }
                    XCTAssertThrowsError(try Optimizer(rule: name, settings: [bad]), "\(name): \(bad)")
                }
                XCTAssertEqual(try optimizer.value(of: key), value, "\(name): \(key)")
            }
        }
    }

    private func mayBeAbsent<R: DeclaredRule>(_ key: String, of _: R.Type) -> Bool {
        R.parameters.contains { $0.key == key && $0.none != nil }
    }

    private func numberOutOfRange<R: DeclaredRule>(_ key: String, of _: R.Type) -> Double {
        for parameter in R.parameters where parameter.key == key {
            if case .number(let range) = parameter.kind {
                return [-1, 1, .infinity].first { !range.contains($0) } ?? .nan
            }
        }
        return -1
    }

    /// A rule that was put together in Swift is checked too.
    func testRulesWithValuesOutOfRange() {
        assertRefused(.outOfRange, message: "SGD: lr must be in [0, inf), found -1.0") {
            _ = try Optimizer(SGD(lr: -1))
        }
        assertRefused(
            .outOfRange,
            message: "SGD: nesterov needs momentum > 0 and dampening 0, found momentum 0.0 and dampening 0.0"
        ) { _ = try Optimizer(SGD(lr: 1, nesterov: true)) }
        assertRefused(.outOfRange) { _ = try Optimizer(SGD(lr: 1, momentum: 0.9, dampening: 0.1, nesterov: true)) }
        assertRefused(.outOfRange) { _ = try Optimizer(Adam(lr: 1, betas: (0.9, 1))) }
        assertRefused(.outOfRange) { _ = try Optimizer(LARS(lr: 1, trustCoefficient: 0)) }
        var settings = Settings()
        settings.clipValue = -1
        assertRefused(.outOfRange) { _ = try Optimizer(SGD(), settings: settings) }
        assertRefused(
            .unknownName,
            message: "no rule is called \"nonsense\", expected one of "
                + allRules.map { $0.declaration.name }.joined(separator: ", ")
        ) { _ = try Optimizer(rule: "nonsense", settings: []) }
    }

    func testPolicies() {
        func assertRefused(_ error: SettingError, _ name: String, _ options: Options) {
            LayerwiseTests.assertRefused(error) { _ = try policy(Spec(name, settings(options))) }
        }
        assertRefused(
            .unknown(
                "no policy is called \"width\", expected one of uniform, explicit, layer_decay, geometric_range, ulmfit, rate_slice, "
                    + "exclude, mup, completep, blockwise, lora_plus, relative_gradient_norm, update_ratio, larc, tvlars, "
                    + "hypergradient, sign_agreement, ldog_scale, gradient_noise, auto_lr, temp_balance, alpha_decay, "
                    + "for_tower, combine"),
            "width", [:]
        )
        assertRefused(
            .unknown(
                "layer_decay: unknown setting \"rate\", expected one of decay, min_scale, direction, convention, "
                    + "head_scale"
            ), "layer_decay", ["rate": 0.5])
        assertRefused(
            .invalid("layer_decay: decay must be in (0, 1], found 0.0"), "layer_decay", ["decay": 0])
        assertRefused(
            .invalid("layer_decay: min_scale must be in [0, 1], found 2.0"), "layer_decay", ["min_scale": 2])
        assertRefused(
            .unknown("layer_decay: direction must be one of input, output, found \"up\""), "layer_decay",
            ["direction": "up"])
        assertRefused(
            .invalid("layer_decay: direction output needs convention depth, found timm"), "layer_decay",
            ["direction": "output", "convention": "timm"])
        assertRefused(
            .invalid("geometric_range: lowest must not exceed highest, found 2.0 and 1.0"), "geometric_range",
            ["lowest": 2])
        assertRefused(
            .invalid("geometric_range: highest must be in (0, inf), found inf"), "geometric_range",
            ["highest": .number(.infinity)])
        assertRefused(.duplicate("ulmfit: factor is given twice"), "ulmfit", ["factor": 2, "factor": 2])
    }

    // MARK: - Layers

    func testLayerValues() throws {
        try assertAllRefused([
            RefusedCall(.notFound, "no layer has index 2, expected 0 to 1") { try $0.setLayer(2, []) },
            RefusedCall(.notFound, "no layer has index -1, expected 0 to 1") { try $0.setFrozen(-1, true) },
            RefusedCall(.notFound, "no layer has index 9, expected 0 to 1") { _ = try $0.info(9) },
            RefusedCall(.notFound, "no layer has index 9, expected 0 to 1") { _ = try $0.telemetry(9) },
            RefusedCall(.notFound, "no layer has index 9, expected 0 to 1") { _ = try $0.layerName(9) },
            RefusedCall(.notFound, "no layer has index 9, expected 0 to 1") { try $0.unsetLayer(9, key: "lr") },
            RefusedCall(.notFound, "no layer has index 9, expected 0 to 1") { _ = try $0.value(of: "lr", layer: 9) },
            RefusedCall(.unknownName, "no layer is called \"tail\", expected one of \"0\", \"1\"") {
                _ = try $0.layer(named: "tail")
            },
            RefusedCall(
                .unknownName,
                "layer \"0\": unknown setting \"threads\", expected one of \(Self.ruleKeys), scale, depth, tower, role, "
                    + "start, frozen, part_of, maximize, rule",
                { try $0.setLayer(0, settings(["threads": 1])) }),
            RefusedCall(.unknownName, "layer \"0\": unknown setting \"threads\"") {
                try $0.unsetLayer(0, key: "threads")
            },
            RefusedCall(.unknownName, "layer \"0\": unknown setting \"threads\"") {
                _ = try $0.value(of: "threads", layer: 0)
            },
            RefusedCall(.outOfRange, "layer \"0\": scale must be in [0, inf), found -1.0") {
                try $0.setLayer(0, settings(["lr": 0.5, "scale": -1]))
            },
            RefusedCall(.outOfRange, "layer \"0\": scale must be in [0, inf), found nan") {
                try $0.setLayer(0, [Setting("scale", .nan)])
            },
            RefusedCall(.outOfRange, "layer \"0\": depth must be a whole number from 0 to 2147483647, found -1.0") {
                try $0.setLayer(0, settings(["depth": -1]))
            },
            RefusedCall(.outOfRange, "layer \"0\": depth must be a whole number from 0 to 2147483647, found 0.5") {
                try $0.setLayer(0, settings(["depth": 0.5]))
            },
            RefusedCall(.outOfRange, "layer \"0\": tower takes text, found 1.0") {
                try $0.setLayer(0, settings(["tower": 1]))
            },
            RefusedCall(.outOfRange, "layer \"0\": tower must have at most 255 bytes, found 256") {
                try $0.setLayer(0, [Setting("tower", String(repeating: "t", count: 256))])
            },
            RefusedCall(
                .unknownName, "layer \"0\": role must be one of depth, stem, block, norm, head, found \"tail\"",
                { try $0.setLayer(0, settings(["role": "tail"])) }),
            RefusedCall(
                .outOfRange, "layer \"0\": start must be a whole number from 0 to 9007199254740992, found -1.0",
                { try $0.setLayer(0, settings(["start": -1])) }),
            RefusedCall(.unknownName, "layer \"0\": frozen must be one of plan, yes, no, found \"true\"") {
                try $0.setLayer(0, settings(["frozen": "true"]))
            },
            RefusedCall(.outOfRange, "layer \"1\": beta1 must be in [0, 1), found 1.0") {
                try $0.setLayer(1, settings(["scale": 2, "beta1": 1]))
            },
            RefusedCall(.outOfRange, "layer \"1\": ratio_min must not exceed ratio_max, found 1.0 and 0.5") {
                try $0.setLayer(1, settings(["ratio_min": 1, "ratio_max": 0.5]))
            },
            RefusedCall(.outOfRange, "layer \"1\": maximize must be 0 or 1, found 0.5") {
                try $0.setLayer(1, settings(["maximize": 0.5]))
            },
            RefusedCall(.invalidArgument, "layer \"1\": part_of can only be given when a layer is added") {
                try $0.setLayer(1, settings(["part_of": "0"]))
            },
            RefusedCall(.duplicate, "layer \"1\": lr is given twice") {
                try $0.setLayer(1, settings(["lr": 0.5, "lr": 0.25]))
            },
        ])
    }

    /// What the optimizer gets must fit what a layer has of its own.
    func testOptimizerValuesThatALayerExcludes() throws {
        let model = try Model(SGD(lr: 1, momentum: 0.5), sizes: [3, 4])
        try model.optimizer.setLayer(1, settings(["nesterov": 1]))
        let before = try model.fullDigest()
        assertRefused(.outOfRange, layer: 1) { try model.optimizer.set(settings(["dampening": 0.5])) }
        assertRefused(.outOfRange, layer: 1) { try model.optimizer.set(settings(["lr": 3, "momentum": 0])) }
        XCTAssertEqual(try model.fullDigest(), before)
    }
}
