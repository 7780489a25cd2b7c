// SPDX-License-Identifier: Apache-2.0
import Foundation
import Layerwise
import XCTest

/// Which checkpoint fits which optimizer: one thing that differs is refused by its name, several by all of theirs; and what
/// may differ when that is asked for.
final class CheckpointMatchTests: XCTestCase {
    private static let shapes: [[[Int]]] = [[[3], [2]], [[2, 2]]]

    private func model(
        _ rule: any DeclaredRule = Adam(lr: 0.125), _ kind: Kind = Kind(.float32), shapes: [[[Int]]] = shapes,
        seed: UInt64 = 1
    ) throws -> Model {
        let model = try Model(rule, kind, shapes: shapes, seed: seed)
        try model.optimizer.step()
        return model
    }

    // MARK: - Strict

    /// One thing at a time.
    func testOneDifference() throws {
        let saved = try model()
        try saved.optimizer.setSchedule(try Cosine(totalSteps: 100))
        let bytes = try saved.optimizer.exported()
        typealias Change = (Optimizer) throws -> Void
        let changes: [(problem: String, make: Change)] = [
            ("hyperparameters.eps: 1e-08 in the checkpoint, 0.25 here", { try $0.set([Setting("eps", 0.25)]) }),
            ("hyperparameters.beta1: 0.9 in the checkpoint, 0.5 here", { try $0.set([Setting("beta1", 0.5)]) }),
            (
                "hyperparameters.weight_decay: 0 in the checkpoint, 0.5 here",
                { try $0.set([Setting("weight_decay", 0.5)]) }
            ),
            ("settings.maximize: 0 in the checkpoint, 1 here", { try $0.set([Setting("maximize", 1)]) }),
            (
                "settings.nonfinite: \"raise\" in the checkpoint, \"skip\" here",
                { try $0.set([Setting("nonfinite", "skip")]) }
            ),
            ("settings.clip_value: inf in the checkpoint, 2 here", { try $0.set([Setting("clip_value", 2)]) }),
            (
                "settings.clip_layer_norm: inf in the checkpoint, 2 here",
                { try $0.set([Setting("clip_layer_norm", 2)]) }
            ),
            (
                "settings.clip_global_norm: inf in the checkpoint, 2 here",
                { try $0.set([Setting("clip_global_norm", 2)]) }
            ),
            (
                "schedules.lr.settings.total_steps: 100 in the checkpoint, 101 here",
                { try $0.setSchedule(try Cosine(totalSteps: 101)) }
            ),
            ("schedules.lr: only in the checkpoint", { try $0.setSchedule(nil) }),
            (
                "schedules.eps: not in the checkpoint",
                { try $0.setSchedule(try Linear(totalSteps: 5), for: "eps") }
            ),
            (
                "layers.1.schedules.lr: not in the checkpoint",
                { try $0.setSchedule(try Linear(totalSteps: 5), layer: 1) }
            ),
            ("layers.1.hyperparameters.eps: not in the checkpoint", { try $0.setLayer(1, [Setting("eps", 0.5)]) }),
            ("layers.0.settings.scale: not in the checkpoint", { try $0.setLayer(0, [Setting("scale", 0.5)]) }),
            (
                "layers.0.settings.role: \"depth\" in the checkpoint, \"norm\" here",
                { try $0.setLayer(0, [Setting("role", "norm")]) }
            ),
            (
                "layers.0.settings.tower: \"\" in the checkpoint, \"left\" here",
                { try $0.setLayer(0, [Setting("tower", "left")]) }
            ),
            (
                "layers.1.settings.start: 0 in the checkpoint, 3 here",
                { try $0.setLayer(1, [Setting("start", 3)]) }
            ),
        ]
        for (problem, make) in changes {
            let other = try model()
            try other.optimizer.setSchedule(try Cosine(totalSteps: 100))
            try make(other.optimizer)
            try assertMismatch(other, bytes, [problem])
        }
        // What may differ: the rates, which are of the progress, and what changes no bit.
        let other = try model()
        try other.optimizer.setSchedule(try Cosine(totalSteps: 100))
        try other.optimizer.set(settings(["lr": 0.5, "threads": 3, "telemetry": 1]))
        try other.optimizer.setLayer(0, settings(["lr": 0.25, "frozen": "yes", "depth": 7]))
        try other.optimizer.load(bytes)
    }

    func testRulesAndPolicies() throws {
        let bytes = try model().optimizer.exported()
        let other = try model(AdamW(lr: 0.125))
        XCTAssertThrowsError(try other.optimizer.load(bytes))
        XCTAssertTrue(
            other.optimizer.loadReport.differences.contains("rule: \"adam\" in the checkpoint, \"adamw\" here"))
        let policies: [(any DeclaredPolicy, String)] = [
            (try LayerDecay(0.5), "policy.name: \"uniform\" in the checkpoint, \"layer_decay\" here"),
            (try ULMFiT(factor: 2), "policy.name: \"uniform\" in the checkpoint, \"ulmfit\" here"),
        ]
        for (policy, problem) in policies {
            let other = try model()
            other.optimizer.setPolicy(policy)
            XCTAssertThrowsError(try other.optimizer.load(bytes))
            XCTAssertTrue(other.optimizer.loadReport.differences.contains(problem))
        }
        // Within a policy, and within a part of one.
        func combined(_ decay: Double) throws -> Model {
            let model = try model()
            model.optimizer.setPolicy(try Combine([try LayerDecay(decay), try ULMFiT(factor: 2)]))
            return model
        }
        try assertMismatch(
            try combined(0.25), try combined(0.5).optimizer.exported(),
            ["policy.parts.0.settings.decay: 0.5 in the checkpoint, 0.25 here"])
        let frozen = try model()
        frozen.optimizer.setFreezePlan(try GradualUnfreezing(every: 3))
        XCTAssertThrowsError(try frozen.optimizer.load(bytes))
        XCTAssertTrue(
            frozen.optimizer.loadReport.differences.contains {
                $0.hasPrefix("freezing: none in the checkpoint, {name, parts, settings, values} here")
            }, "\(frozen.optimizer.loadReport)")
    }

    func testTensors() throws {
        let saved = try model()
        let states = ["step", "exp_avg", "exp_avg_sq"]
        // Another shape.
        try assertMismatch(
            try model(shapes: [[[3], [3]], [[2, 2]]]), try saved.optimizer.exported(),
            ["layers.0.tensors.1.shape: [2] in the checkpoint, [3] here"]
                + ["0/1/exp_avg", "0/1/exp_avg_sq"].map { "\($0): shape [2] in the checkpoint, [3] here" })
        // As many elements in another shape.
        try assertMismatch(
            try model(shapes: [[[3], [2]], [[4]]]), try saved.optimizer.exported(),
            ["layers.1.tensors.0.shape: [2, 2] in the checkpoint, [4] here"]
                + ["1/0/exp_avg", "1/0/exp_avg_sq"].map { "\($0): shape [2, 2] in the checkpoint, [4] here" })
        // A layer and a tensor too many, and too few.
        let larger = try model(shapes: [[[3], [2], [1]], [[2, 2]], [[5]]])
        try assertMismatch(
            larger, try saved.optimizer.exported(),
            ["layers.0.tensors.2: not in the checkpoint", "layers.2: not in the checkpoint"]
                + ["0/2", "2/0"].map { tensor in "\(tensor)/step: not in the checkpoint" }
                + ["0/2", "2/0"].flatMap { tensor in
                    ["exp_avg", "exp_avg_sq"].map { "\(tensor)/\($0): not in the checkpoint" }
                })
        try assertMismatch(
            saved, try larger.optimizer.exported(),
            ["layers.0.tensors.2: only in the checkpoint", "layers.2: only in the checkpoint"]
                + ["0/2", "2/0"].flatMap { tensor in states.map { "\(tensor)/\($0): only in the checkpoint" } }.sorted()
        )
        // Another type.
        let kinds: [(Kind, [String])] = [
            (
                Kind(.float64),
                [
                    "dtype: \"float32\" in the checkpoint, \"float64\" here",
                    "gradient_dtype: \"float32\" in the checkpoint, \"float64\" here",
                ]
            ),
            (
                Kind(.bfloat16, gradients: .float32, master: true),
                [
                    "dtype: \"float32\" in the checkpoint, \"bfloat16\" here",
                    "master: false in the checkpoint, true here",
                ]
            ),
        ]
        for (kind, problems) in kinds {
            let other = try model(Adam(lr: 0.125), kind)
            XCTAssertThrowsError(try other.optimizer.load(saved.optimizer.exported()))
            for problem in problems {
                XCTAssertTrue(
                    other.optimizer.loadReport.differences.contains("layers.1.tensors.0.\(problem)"),
                    "\(problem): \(other.optimizer.loadReport)")
            }
        }
    }

    /// All of them at once, in one list.
    func testSeveralDifferences() throws {
        let saved = try model()
        let other = try model(Adam(lr: 0.5, betas: (0.5, 0.75)), shapes: [[[3], [2]], [[2, 3]], [[1]]])
        try other.optimizer.set(settings(["maximize": 1]))
        try assertMismatch(
            other, try saved.optimizer.exported(),
            [
                "hyperparameters.beta1: 0.9 in the checkpoint, 0.5 here",
                "hyperparameters.beta2: 0.999 in the checkpoint, 0.75 here",
                "layers.1.tensors.0.shape: [2, 2] in the checkpoint, [2, 3] here",
                "layers.2: not in the checkpoint",
                "settings.maximize: 0 in the checkpoint, 1 here",
                "1/0/exp_avg: shape [2, 2] in the checkpoint, [2, 3] here",
                "1/0/exp_avg_sq: shape [2, 2] in the checkpoint, [2, 3] here", "2/0/step: not in the checkpoint",
                "2/0/exp_avg: not in the checkpoint", "2/0/exp_avg_sq: not in the checkpoint",
            ])
    }

    // MARK: - Not strict

    func testWhatMatchesIsLoaded() throws {
        let saved = try model()
        for _ in 0..<3 { try saved.optimizer.step() }
        let other = try model(Adam(lr: 0.5, betas: (0.5, 0.75)), shapes: [[[3], [2]], [[2, 3]], [[1]]], seed: 7)
        let kept = try [other.state("exp_avg", layer: 1).values, other.state("exp_avg", layer: 2).values]
        let report = try other.optimizer.load(
            saved.optimizer.exported(SaveOptions(parameters: true)), LoadOptions(strict: false))
        XCTAssertEqual(report, other.optimizer.loadReport)
        XCTAssertEqual(
            report.loaded.sorted(),
            ["0/0", "0/1"].flatMap { tensor in
                ["exp_avg", "exp_avg_sq", "parameters", "step"].map { "\(tensor)/\($0)" }
            })
        XCTAssertEqual(
            report.missing.sorted(),
            ["1/0", "2/0"].flatMap { tensor in
                ["exp_avg", "exp_avg_sq", "parameters", "step"].map { "\(tensor)/\($0)" }
            })
        XCTAssertEqual(report.unexpected, [])
        // A step count does not come without its moments.
        XCTAssertTrue(
            report.differences.contains("1/0/step: in the checkpoint, but not loaded without exp_avg"),
            "\(report.differences)")
        XCTAssertEqual(report.differences.count, 4 + 3 + 1)
        for tensor in 0..<2 {
            XCTAssertEqual(other.parameters[0][tensor].values, saved.parameters[0][tensor].values)
            XCTAssertEqual(
                try other.state("exp_avg", layer: 0, tensor: tensor).values,
                try saved.state("exp_avg", layer: 0, tensor: tensor).values)
        }
        XCTAssertEqual(
            try [other.state("exp_avg", layer: 1).values, other.state("exp_avg", layer: 2).values], kept)
        XCTAssertEqual(try (0..<3).map { try other.steps(layer: $0) }, [4, 1, 1])
        // Its own settings stay; the progress is that of the checkpoint.
        XCTAssertEqual(try other.optimizer.value(of: "beta1"), .number(0.5))
        XCTAssertEqual(try other.optimizer.value(of: "lr"), .number(0.125))
        XCTAssertEqual(other.optimizer.summary.nextStep, 4)
        // As JSON.
        let json = try JSONValue(parsing: report.json)
        XCTAssertEqual(json.keys, ["loaded", "missing", "absent", "unexpected", "differences"])
        XCTAssertEqual(report.absent, report.missing.filter { $0.hasPrefix("2/0/") })
        XCTAssertEqual(json["loaded"]?.list?.count, report.loaded.count)
        XCTAssertEqual(json["missing"], .list(report.missing.map { .text($0) }))
    }

    /// The state of a tensor is loaded as a whole or stays as it is, whichever part does not fit.
    func testStateIsLoadedAsAWhole() throws {
        let saved = try model()
        for _ in 0..<3 { try saved.optimizer.step() }
        let bytes = try saved.optimizer.exported()
        for broken in ["step", "exp_avg", "exp_avg_sq"] {
            var file = try CheckpointFile(bytes)
            file.tensors.removeAll { $0.key == "1/0/\(broken)" }
            let other = try model(seed: 7)
            let kept = try ["exp_avg", "exp_avg_sq"].map { try other.state($0, layer: 1).values }
            let report = try other.optimizer.load(file.bytes(), LoadOptions(strict: false))
            XCTAssertEqual(try ["exp_avg", "exp_avg_sq"].map { try other.state($0, layer: 1).values }, kept, broken)
            XCTAssertEqual(try (0..<2).map { try other.steps(layer: $0) }, [4, 1], broken)
            XCTAssertEqual(report.missing.sorted(), ["1/0/exp_avg", "1/0/exp_avg_sq", "1/0/step"], broken)
            XCTAssertEqual(
                report.differences.sorted(),
                ["exp_avg", "exp_avg_sq", "step"].filter { $0 != broken }.map {
                    "1/0/\($0): in the checkpoint, but not loaded without \(broken)"
                }, broken)
            XCTAssertFalse(report.loaded.contains { $0.hasPrefix("1/0/") }, broken)
            XCTAssertEqual(report.absent, ["1/0/\(broken)"])
            // A strict load names what the checkpoint lacks, and no more.
            try assertMismatch(other, file.bytes(), ["1/0/\(broken): not in the checkpoint"])
        }
    }

    /// A master copy does not come without the parameters where the checkpoint has parameters; parameters become the master
    /// copy where theirs does not come.
    func testWeightsAreLoadedAsAWhole() throws {
        let kind = Kind(.bfloat16, gradients: .bfloat16, master: true)
        let saved = try model(SGD(lr: 0.125), kind)
        for _ in 0..<3 { try saved.optimizer.step() }
        let bytes = try saved.optimizer.exported(SaveOptions(parameters: true))

        var file = try CheckpointFile(bytes)
        file.tensors.removeAll { $0.key == "1/0/parameters" }
        var other = try model(SGD(lr: 0.125), kind, seed: 7)
        let kept = try other.state("master", layer: 1).values
        var report = try other.optimizer.load(file.bytes(), LoadOptions(strict: false))
        XCTAssertEqual(try other.state("master", layer: 1).values, kept)
        XCTAssertEqual(report.missing.sorted(), ["1/0/master", "1/0/parameters"])
        XCTAssertEqual(report.differences, ["1/0/master: in the checkpoint, but not loaded without parameters"])
        XCTAssertEqual(try other.steps(layer: 1), 4)

        file = try CheckpointFile(bytes)
        file.tensors.removeAll { $0.key == "1/0/master" }
        other = try model(SGD(lr: 0.125), kind, seed: 7)
        report = try other.optimizer.load(file.bytes(), LoadOptions(strict: false))
        XCTAssertEqual(other.parameters[1][0].values, saved.parameters[1][0].values)
        XCTAssertEqual(try other.state("master", layer: 1).values, saved.parameters[1][0].values)
        XCTAssertEqual(report.missing, ["1/0/master"])
        XCTAssertEqual(
            try other.state("master", layer: 0).values, try saved.state("master", layer: 0).values)

        // Without parameters in the checkpoint, the master copy comes alone: the model's own file has the parameters.
        other = try model(SGD(lr: 0.125), kind, seed: 7)
        report = try other.optimizer.load(saved.optimizer.exported(), LoadOptions(strict: false))
        XCTAssertEqual(report.missing, [])
        XCTAssertEqual(try other.state("master", layer: 1).values, try saved.state("master", layer: 1).values)
    }

    // MARK: - Presets and depths

    /// A preset is kept as the settings that it stands for, so what is in force is compared, whatever the order.
    func testPresetsOfLayers() throws {
        func layered(_ settings: [Setting]) throws -> Model {
            let model = try Model(LAMB(lr: 0.125), Kind(.float32), shapes: [[[3]], [[2, 2]]], seed: 1)
            try model.optimizer.setLayer(1, settings)
            return model
        }
        let (timm, decay) = (Setting("variant", "timm"), Setting("weight_decay", 0.1))
        let after = try layered([timm, decay])
        let before = try layered([decay, timm])
        XCTAssertEqual(try after.optimizer.value(of: "weight_decay", layer: 1), .number(0.1))
        XCTAssertEqual(try before.optimizer.value(of: "weight_decay", layer: 1), .number(0.01))
        try assertMismatch(
            before, try after.optimizer.exported(),
            ["layers.1.hyperparameters.weight_decay: 0.1 in the checkpoint, 0.01 here"])
        try assertMismatch(
            after, try before.optimizer.exported(),
            ["layers.1.hyperparameters.weight_decay: 0.01 in the checkpoint, 0.1 here"])
        // Other ways to the same values.
        let spelt = try layered([
            Setting("weight_decay", 0.1), Setting("bias_correction", "moments"), Setting("adapt", "decayed"),
            Setting("decay", "update"),
        ])
        try spelt.optimizer.load(after.optimizer.exported())
        let twice = try layered([decay])
        try twice.optimizer.setLayer(1, [timm])
        try twice.optimizer.load(before.optimizer.exported())
        // Settings that a preset stands for are taken back one by one.
        assertRefused(
            .invalidArgument,
            message: "layer \"1\": variant stands for several settings, which are taken back one by one"
        ) { try after.optimizer.unsetLayer(1, key: "variant") }
        try after.optimizer.unsetLayer(1, key: "adapt")
        XCTAssertEqual(try after.optimizer.value(of: "adapt", layer: 1), .choice("all"))
        XCTAssertEqual(try after.optimizer.value(of: "weight_decay", layer: 1), .number(0.1))
    }

    /// Version 0.1.0 wrote a layer's preset by its name, without the order.
    func testPresetsInFilesOfVersion010() throws {
        let model = try Model(LAMB(lr: 0.125), Kind(.float32), shapes: [[[3]], [[2, 2]]], seed: 1)
        try model.optimizer.setLayer(1, [Setting("variant", "timm"), Setting("weight_decay", 0.25)])
        var file = try CheckpointFile(try model.optimizer.exported())
        file.replace(
            "{\"adapt\": \"decayed\", \"bias_correction\": \"moments\", \"decay\": \"update\", \"weight_decay\": 0.25}",
            with: "{\"variant\": \"timm\", \"weight_decay\": 0.25}", in: "identity")
        try model.optimizer.load(file.bytes())
        let path = NSTemporaryDirectory() + UUID().uuidString
        defer { unlink(path) }
        try Data(file.bytes()).write(to: URL(fileURLWithPath: path))
        XCTAssertTrue(
            try describeCheckpoint(at: path).contains(
                "\"hyperparameters\": {\"adapt\": \"decayed\", \"bias_correction\": \"moments\", \"decay\": \"update\", "
                    + "\"weight_decay\": 0.25}"))
        file.replace("\"weight_decay\": 0.25", with: "\"weight_decay\": 0.5", in: "identity")
        try assertMismatch(
            model, file.bytes(), ["layers.1.hyperparameters.weight_decay: 0.5 in the checkpoint, 0.25 here"])
    }

    /// Where nothing goes by depth, layers may be registered in any order, and a file of version 0.1.0 may say the depths.
    func testDepthsMatterWhereTheyAreUsed() throws {
        let base = try MuP([MuP.Base("*", fanIn: 2, fanOut: 2)], syntax: .glob)
        func named(
            _ policy: any DeclaredPolicy, _ plan: (any DeclaredFreezePlan)?, _ names: [String]
        ) throws -> (Optimizer, [Buffer]) {
            let buffers = names.map { _ in Buffer(.float32, [1, 2, 3, 4]) }
            let optimizer = try Optimizer(Adam(lr: 0.125), policy: policy, freezePlan: plan)
            for (name, buffer) in zip(names, buffers) {
                try optimizer.addLayer(
                    name, [TensorDescription("w", parameters: buffer.start, shape: [2, 2], dtype: .float32)],
                    settings: [Setting("tower", "t")])
            }
            return (optimizer, buffers)
        }
        let explicit = try Explicit(["a": 1, "b": 2])
        let at = try FreezeAt([FreezeAt.Times("a", freezeAt: 3)])
        let free: [(any DeclaredPolicy, (any DeclaredFreezePlan)?)] = [
            (Uniform(), nil), (explicit, nil), (base, nil), (try LoRAPlus(ratio: 2, match: "a/w"), nil),
            (try ForTower("t", explicit), nil), (try Combine([base, explicit]), at), (Uniform(), at),
        ]
        for (policy, plan) in free {
            let (one, own) = try named(policy, plan, ["a", "b"])
            let (other, others) = try named(policy, plan, ["b", "a"])
            XCTAssertFalse(policy.dependsOnDepth || plan?.dependsOnDepth == true)
            try other.load(one.exported())
            var file = try CheckpointFile(one.exported())
            let parts = file.metadata["identity", default: ""].components(separatedBy: "\"depth\": null")
            XCTAssertEqual(parts.count, 3)
            file.metadata["identity"] = "\(parts[0])\"depth\": 0\(parts[1])\"depth\": 1\(parts[2])"
            try other.load(file.bytes())
            withExtendedLifetime((own, others)) {}
        }
        let bound: [(any DeclaredPolicy, (any DeclaredFreezePlan)?)] = [
            (try LayerDecay(0.5), nil), (try ForTower("t", try LayerDecay(0.5)), nil),
            (try Combine([explicit, try ForTower("t", try ULMFiT(factor: 2))]), nil),
            (Uniform(), try GradualUnfreezing(every: 3)),
        ]
        for (policy, plan) in bound {
            let (one, own) = try named(policy, plan, ["a", "b"])
            let (other, others) = try named(policy, plan, ["b", "a"])
            XCTAssertTrue(policy.dependsOnDepth || plan?.dependsOnDepth == true)
            XCTAssertThrowsError(try other.load(one.exported()))
            XCTAssertEqual(
                other.loadReport.differences,
                ["layers.a.depth: 0 in the checkpoint, 1 here", "layers.b.depth: 1 in the checkpoint, 0 here"])
            withExtendedLifetime((own, others)) {}
        }
    }

    // MARK: - Other names

    /// Names that are canonically equivalent are two, for layers and tensors, in keys and in renames.
    func testNamesGoByTheirBytes() throws {
        let twins = ["caf\u{e9}", "cafe\u{301}", "K", "\u{212a}", "a\u{600}", "\u{301}", "\u{110bd}"]
        func named(_ names: [String], _ tensors: [String], seed: Double) throws -> (Optimizer, [[Buffer]]) {
            let optimizer = try Optimizer(Adam(lr: 0.125))
            var buffers: [[Buffer]] = []
            for (layer, name) in names.enumerated() {
                buffers.append(tensors.indices.map { Buffer(.float32, [seed + Double(10 * layer + $0)]) })
                try optimizer.addLayer(
                    name,
                    zip(tensors, buffers[layer]).map {
                        TensorDescription($0, parameters: $1.start, shape: [1], dtype: .float32)
                    })
            }
            return (optimizer, buffers)
        }
        let (saved, own) = try named(twins, twins, seed: 100)
        for (layer, name) in twins.enumerated() { XCTAssertEqual(try saved.layer(named: name), layer) }
        let bytes = try saved.exported(SaveOptions(parameters: true))
        let (other, others) = try named(twins.reversed(), twins.reversed(), seed: 1000)
        for strict in [true, false] {
            for buffer in others.joined() { buffer[0] = 0 }
            let report = try other.load(bytes, LoadOptions(strict: strict))
            XCTAssertEqual(report.problems, [])
            XCTAssertEqual(report.loaded.count, 4 * twins.count * twins.count)
            XCTAssertEqual(others.reversed().map { $0.reversed().map(\.values) }, own.map { $0.map(\.values) })
        }
        // Twins change places.
        let swap = LoadOptions(renames: ["caf\u{e9}": "cafe\u{301}"])
        assertRefused(.duplicate, message: "rename: two layers of the checkpoint would be called \"cafe\u{301}\"") {
            try other.load(bytes, swap)
        }
        var both = swap
        XCTAssertTrue(both.rename("cafe\u{301}", to: "caf\u{e9}"))
        XCTAssertFalse(both.rename("cafe\u{301}", to: "K"))
        var swapped = swap
        XCTAssertTrue(swapped.rename("cafe\u{301}", to: "caf\u{e9}"))
        try other.load(bytes, swapped)
        XCTAssertEqual(others[twins.count - 1][0].values, own[1][twins.count - 1].values)
        XCTAssertEqual(others[twins.count - 2][0].values, own[0][twins.count - 1].values)
        // A pattern, a tower and a policy's text, one after another.
        for (mine, theirs) in [("caf\u{e9}", "cafe\u{301}"), ("cafe\u{301}", "caf\u{e9}")] {
            for syntax in [PatternSyntax.exact, .glob, .regex] {
                let (optimizer, buffers) = try named(twins, ["w"], seed: 1)
                let assignments = [Explicit.Assignment(mine, scale: 0.5), Explicit.Assignment("*", scale: 2)]
                optimizer.setPolicy(try Explicit(assignments, syntax: syntax))
                XCTAssertEqual(
                    try twins.indices.map { try optimizer.info($0).scale },
                    twins.map { $0.unicodeScalars.elementsEqual(mine.unicodeScalars) ? 0.5 : 2 })
                let (different, more) = try named(twins, ["w"], seed: 1)
                different.setPolicy(
                    try Explicit(
                        [Explicit.Assignment(theirs, scale: 0.5), Explicit.Assignment("*", scale: 2)], syntax: syntax))
                XCTAssertThrowsError(try different.load(optimizer.exported()))
                XCTAssertEqual(different.loadReport.differences.count, 1, "\(different.loadReport)")
                withExtendedLifetime((buffers, more)) {}
            }
        }
    }

    private func named(_ names: [String], seed: Double) throws -> (Optimizer, [Buffer]) {
        let buffers = names.indices.map { Buffer(.float32, [seed + Double($0), 2, 3]) }
        let optimizer = try Optimizer(Adam(lr: 0.125))
        for (name, buffer) in zip(names, buffers) {
            try optimizer.addLayer(
                name, [TensorDescription("w", parameters: buffer.start, shape: [3], dtype: .float32)])
        }
        return (optimizer, buffers)
    }

    func testRenames() throws {
        let (saved, own) = try named(["a/b", "b%", "c"], seed: 10)
        try saved.setFrozen(1, true)
        try saved.setLayer(2, [Setting("lr", 0.5)])
        let bytes = try saved.exported(SaveOptions(parameters: true))
        // To new names, in a ring, and one that stays.
        for (names, renames) in [
            (["x", "y/z", "c"], ["a/b": "x", "b%": "y/z"]), (["b%", "a/b", "c"], ["a/b": "b%", "b%": "a/b"]),
            (["b%", "c", "a/b"], ["a/b": "b%", "b%": "c", "c": "a/b"]), (["a/b", "b%", "c"], ["c": "c"]),
        ] {
            let (other, buffers) = try named(names, seed: 100)
            let report = try other.load(bytes, LoadOptions(renames: renames))
            XCTAssertEqual(report.problems, [])
            XCTAssertEqual(report.loaded.count, 12)
            XCTAssertEqual(buffers.map(\.values), own.map(\.values), "\(names)")
            XCTAssertEqual(try other.value(of: "frozen", layer: 1), .choice("yes"))
            XCTAssertEqual(try other.value(of: "lr", layer: 2), .number(0.5))
        }
        withExtendedLifetime(own) {}
    }

    /// A slash is a slash, whatever mark follows it.
    func testRenamesBesideCombiningMarks() throws {
        for name in ["a/\u{301}b", "%\u{301}", "\u{301}", "a%2F\u{301}"] {
            let buffers = (0..<2).map { _ in Buffer(.float32, [1, 2, 3]) }
            try withExtendedLifetime(buffers) {
                let optimizers = try [name, "new"].enumerated().map { index, layer in
                    let optimizer = try Optimizer(Adam(lr: 0.125))
                    let tensor = TensorDescription(
                        "\u{301}w", parameters: buffers[index].start, shape: [3], dtype: .float32)
                    try optimizer.addLayer(layer, [tensor])
                    return optimizer
                }
                let report = try optimizers[1].load(optimizers[0].exported(), LoadOptions(renames: [name: "new"]))
                XCTAssertEqual(report.loaded.count, 3, name)
                try optimizers[0].load(optimizers[0].exported(), LoadOptions(renames: [name: name]))
            }
        }
    }

    func testRefusedRenames() throws {
        let (saved, own) = try named(["a", "b"], seed: 10)
        let bytes = try saved.exported()
        let (other, buffers) = try named(["a", "c"], seed: 100)
        for (renames, code, message) in [
            (["x": "c"], LayerwiseError.Code.unknownName, "rename: no layer of the checkpoint is called \"x\""),
            (["b": "x"], .unknownName, "rename: no layer here is called \"x\""),
            (["b": "a"], .duplicate, "rename: two layers of the checkpoint would be called \"a\""),
            (["a": "c", "b": "c"], .duplicate, "rename: two layers of the checkpoint would be called \"c\""),
        ] {
            for strict in [true, false] {
                assertRefused(code, message: message) {
                    try other.load(bytes, LoadOptions(strict: strict, renames: renames))
                }
            }
        }
        // What is not renamed still has to be here.
        XCTAssertThrowsError(try other.load(bytes, LoadOptions(renames: ["a": "c"])))
        XCTAssertTrue(other.loadReport.problems.contains("layers.b: only in the checkpoint"))
        try other.load(bytes, LoadOptions(renames: ["b": "c"]))
        withExtendedLifetime((own, buffers)) {}
    }

    // MARK: - Other types

    /// Values that every type holds come over exactly, whatever the types.
    func testConvertedExactly() throws {
        for from in Kind.all {
            for to in Kind.all {
                let saved = try model(Adam(lr: 0.125), from)
                let other = try model(Adam(lr: 0.125), to, seed: 9)
                var numbers: [String: [Double]] = [:]
                for (layer, tensor, count) in [(0, 0, 3), (0, 1, 2), (1, 0, 4)] {
                    for name in ["exp_avg", "exp_avg_sq", "master"] {
                        guard from.master || name != "master" else { continue }
                        let values = (0..<count).map { Double($0 * 3 + layer + 5 * tensor) / 8 }
                        let buffer = Buffer(from.computeType, values)
                        try saved.optimizer.writeState(
                            layer: layer, tensor: tensor, name: name, from: UnsafeRawBufferPointer(buffer.bytes))
                        numbers["\(layer)/\(tensor)/\(name)"] = values
                    }
                    saved.parameters[layer][tensor].values = (0..<count).map { Double($0 - 1) / 4 }
                }
                let report = try other.optimizer.load(
                    saved.optimizer.exported(SaveOptions(parameters: true)), LoadOptions(convert: true))
                XCTAssertEqual(report.differences, [], "\(from) to \(to)")
                for (layer, tensor) in [(0, 0), (0, 1), (1, 0)] {
                    let place = "\(layer)/\(tensor)"
                    for name in ["exp_avg", "exp_avg_sq"] {
                        XCTAssertEqual(
                            try other.state(name, layer: layer, tensor: tensor).values, numbers["\(place)/\(name)"],
                            "\(from) to \(to): \(place)/\(name)")
                    }
                    // A wider type takes what the master copy knows.
                    let sharp = to.dtype.size > from.dtype.size ? numbers["\(place)/master"] : nil
                    XCTAssertEqual(
                        other.parameters[layer][tensor].values, sharp ?? saved.parameters[layer][tensor].values,
                        "\(from) to \(to)")
                    // A master copy that is not in the file is that of the parameters.
                    if to.master {
                        XCTAssertEqual(
                            try other.state("master", layer: layer, tensor: tensor).values,
                            numbers["\(place)/master"] ?? saved.parameters[layer][tensor].values, "\(from) to \(to)")
                    }
                    XCTAssertEqual(try other.steps(layer: layer, tensor: tensor), 1)
                }
                XCTAssertNoThrow(try other.optimizer.step())
            }
        }
    }

    /// A forged master copy of another shape or type is not read in place of the parameters, nor are forged parameters in
    /// place of a master copy.
    func testForgedMaster() throws {
        let saved = try Model(SGD(lr: 1), Kind(.bfloat16, master: true), sizes: [3])
        saved.parameters[0][0].values = [1, 2, 3]
        let file = try CheckpointFile(saved.optimizer.exported(SaveOptions(parameters: true)))
        let master = try XCTUnwrap(file.tensors.firstIndex { $0.key == "0/0/master" })
        let parameters = try XCTUnwrap(file.tensors.firstIndex { $0.key == "0/0/parameters" })
        for (dtype, shape, bytes) in [
            ("F32", "[1]", 4), ("F32", "[0]", 0), ("F32", "[3, 1]", 12), ("I64", "[3]", 24), ("I64", "[0]", 0),
        ] {
            var forged = file
            forged.tensors[master] = .init(
                key: "0/0/master", dtype: dtype, shape: shape, bytes: Array(repeating: 0xff, count: bytes))
            // Wide elements come first in any file that is written, and need not in one that is read.
            for kind in [Kind(.float32), Kind(.float64)] {
                let other = try Model(SGD(lr: 1), kind, sizes: [3])
                try other.optimizer.load(forged.bytes(), LoadOptions(strict: false, convert: true))
                XCTAssertEqual(other.parameters[0][0].values, [1, 2, 3], "master of \(shape) \(dtype) to \(kind)")
            }
            forged = file
            forged.tensors.remove(at: master)
            forged.tensors[parameters > master ? parameters - 1 : parameters] = .init(
                key: "0/0/parameters", dtype: dtype, shape: shape, bytes: Array(repeating: 0, count: bytes))
            let other = try Model(SGD(lr: 1), Kind(.float16, master: true), sizes: [3])
            other.parameters[0][0].values = [4, 5, 6]
            try other.optimizer.load(forged.bytes(), LoadOptions(strict: false, convert: true))
            XCTAssertEqual(other.parameters[0][0].values, [4, 5, 6], "parameters of \(shape) \(dtype)")
            XCTAssertEqual(try other.state("master", layer: 0).values, [4, 5, 6], "parameters of \(shape) \(dtype)")
        }
    }

    /// What a type does not hold is rounded to nearest even, once.
    func testConvertedRounded() throws {
        var random = Random(seed: 77)
        let values =
            (0..<500).map { _ in random.wide(-30...15) } + [
                0, -0.0, .leastNonzeroMagnitude, .infinity, -.infinity, 65520, 3.4e38,
            ]
        let saved = try Model(SGD(lr: 1), Kind(.float64), sizes: [values.count])
        saved.parameters[0][0].values = values
        for dtype in [DType.float32, .float16, .bfloat16] {
            let other = try Model(SGD(lr: 1), Kind(dtype), sizes: [values.count])
            try other.optimizer.load(
                saved.optimizer.exported(SaveOptions(parameters: true)), LoadOptions(convert: true))
            for (index, value) in values.enumerated() {
                let single = Double(Float(value))
                let expected = dtype.smallFormat.map { $0.decode($0.encode(Float(value))) } ?? single
                XCTAssertEqual(
                    other.parameters[0][0][index].bitPattern, expected.bitPattern, "\(value) as \(dtype.name)")
            }
        }
    }

    /// Types are all that `convert` lets through.
    func testConvertIsStrictOtherwise() throws {
        let saved = try model(Adam(lr: 0.125), Kind(.float64))
        let other = try model(Adam(lr: 0.125), shapes: [[[3], [2]], [[2, 3]]])
        try other.optimizer.set(settings(["eps": 0.5]))
        try assertMismatch(
            other, try saved.optimizer.exported(),
            [
                "hyperparameters.eps: 1e-08 in the checkpoint, 0.5 here",
                "layers.1.tensors.0.shape: [2, 2] in the checkpoint, [2, 3] here",
                "1/0/exp_avg: shape [2, 2] in the checkpoint, [2, 3] here",
                "1/0/exp_avg_sq: shape [2, 2] in the checkpoint, [2, 3] here",
            ], LoadOptions(convert: true))
        // A step count is never taken from anything else.
        var file = try CheckpointFile(try model().optimizer.exported())
        file.tensors[0].dtype = "F64"
        try assertMismatch(
            try model(), file.bytes(), ["0/0/step: float64 in the checkpoint, int64 here"], LoadOptions(convert: true))
        let state = try XCTUnwrap(file.tensors.firstIndex { $0.key == "0/1/exp_avg" })
        file.tensors[0].dtype = "I64"
        file.tensors[state].dtype = "I64"
        file.tensors[state].bytes = Array(repeating: 0, count: 16)
        try assertMismatch(
            try model(), file.bytes(), ["0/1/exp_avg: int64 in the checkpoint, float32 here"],
            LoadOptions(convert: true)
        )
    }
}
