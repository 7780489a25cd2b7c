// SPDX-License-Identifier: Apache-2.0
import Layerwise
import XCTest

/// Every call that is refused: its code and message, and that nothing has changed.
final class RefusalTests: XCTestCase {
    private struct Row {
        let code: LayerwiseError.Code
        let message: String
        let call: (Optimizer) throws -> Void

        init(_ code: LayerwiseError.Code, _ message: String, _ call: @escaping (Optimizer) throws -> Void) {
            self.code = code
            self.message = message
            self.call = call
        }
    }

    /// LAMB over "body" ("0": 40, "1": 5 x 7) and "head" (333), with some history.
    private func check(_ rows: [Row], line: UInt = #line) throws {
        let model = try Model(LAMB(lr: 0.1), shapes: [[[40], [5, 7]], [[333]]])
        try model.optimizer.set(settings(["telemetry": 1]))
        try model.optimizer.setLayer(1, settings(["weight_decay": 0.25]))
        try model.optimizer.step()
        let before = try model.fullDigest()
        for row in rows {
            assertRefused(row.code, message: row.message, line: line) { try row.call(model.optimizer) }
            XCTAssertEqual(try model.fullDigest(), before, "\(row.message): something changed", line: line)
        }
        // It still works, and as if nothing had been.
        let untouched = try Model(LAMB(lr: 0.1), shapes: [[[40], [5, 7]], [[333]]])
        try untouched.optimizer.set(settings(["telemetry": 1]))
        try untouched.optimizer.setLayer(1, settings(["weight_decay": 0.25]))
        try untouched.optimizer.step()
        for model in [model, untouched] { try model.optimizer.step() }
        XCTAssertEqual(try model.fullDigest(), try untouched.fullDigest(), line: line)
    }

    // MARK: - Settings

    private static let ruleKeys =
        "lr, beta1, beta2, eps, weight_decay, decay, adapt, trust_ratio_scope, bias_correction, grad_averaging, ratio_eps, "
        + "ratio_min, ratio_max, weight_norm_max, weight_decay_exclude_1d, variant"
    private static let keys =
        "\(ruleKeys), nonfinite, clip_global_norm, clip_layer_norm, clip_value, maximize, telemetry, threads"

    func testSettings() throws {
        func set(_ key: String, _ value: Double) -> (Optimizer) throws -> Void {
            { try $0.set([Setting("lr", 0.5), Setting(key, value)]) }
        }
        func set(_ key: String, _ value: String) -> (Optimizer) throws -> Void {
            { try $0.set([Setting("lr", 0.5), Setting(key, value)]) }
        }
        try check([
            Row(.unknownName, "LAMB: unknown setting \"momentum\", expected one of \(Self.keys)", set("momentum", 0.9)),
            Row(.unknownName, "LAMB: unknown setting \"\", expected one of \(Self.keys)", set("", 0)),
            Row(.outOfRange, "LAMB: lr must be in [0, inf), found -1.0") { try $0.set([Setting("lr", -1)]) },
            Row(.outOfRange, "LAMB: lr must be in [0, inf), found nan") { try $0.set([Setting("lr", .nan)]) },
            Row(.outOfRange, "LAMB: lr must be in [0, inf), found inf") { try $0.set([Setting("lr", .infinity)]) },
            Row(.outOfRange, "LAMB: beta1 must be in [0, 1), found 1.0", set("beta1", 1)),
            Row(.outOfRange, "LAMB: beta2 must be in [0, 1), found -0.5", set("beta2", -0.5)),
            Row(.outOfRange, "LAMB: eps must be in [0, inf), found -1e-08", set("eps", -1e-8)),
            Row(.outOfRange, "LAMB: ratio_max must be in (0, inf], found 0.0", set("ratio_max", 0)),
            Row(
                .outOfRange, "LAMB: ratio_min must not exceed ratio_max, found 2.0 and 1.0",
                { try $0.set(settings(["ratio_min": 2, "ratio_max": 1])) }),
            Row(.outOfRange, "LAMB: grad_averaging must be 0 or 1, found 0.5", set("grad_averaging", 0.5)),
            Row(.outOfRange, "LAMB: lr takes a number, found \"high\"", { try $0.set([Setting("lr", "high")]) }),
            Row(.outOfRange, "LAMB: decay takes a name, one of update, decoupled, gradient", set("decay", 1)),
            Row(
                .unknownName, "LAMB: decay must be one of update, decoupled, gradient, found \"L2\"",
                set("decay", "L2")),
            Row(
                .unknownName, "LAMB: variant must be one of paper, timm, apex, optax, pytorch_optimizer, found \"jax\"",
                set("variant", "jax")),
            Row(
                .outOfRange, "LAMB: variant takes a name, one of paper, timm, apex, optax, pytorch_optimizer",
                set("variant", 1)),
            Row(.duplicate, "LAMB: lr is given twice", set("lr", 1)),
            Row(.outOfRange, "LAMB: threads must be a whole number from 0 to 1024, found 1.5", set("threads", 1.5)),
            Row(.outOfRange, "LAMB: threads must be a whole number from 0 to 1024, found 1025.0", set("threads", 1025)),
            Row(.outOfRange, "LAMB: threads must be a whole number from 0 to 1024, found nan", set("threads", .nan)),
            Row(.outOfRange, "LAMB: clip_global_norm must be in (0, inf], found 0.0", set("clip_global_norm", 0)),
            Row(.outOfRange, "LAMB: clip_value must be in (0, inf], found -1.0", set("clip_value", -1)),
            Row(.outOfRange, "LAMB: clip_layer_norm must be in (0, inf], found nan", set("clip_layer_norm", .nan)),
            Row(
                .unknownName, "LAMB: nonfinite must be one of raise, skip, propagate, found \"ignore\"",
                set("nonfinite", "ignore")),
            Row(.outOfRange, "LAMB: maximize must be 0 or 1, found 2.0", set("maximize", 2)),
            Row(.unknownName, "unknown setting \"scale\"") { _ = try $0.value(of: "scale") },
        ])
    }

    func testEveryRuleRefusesBadValuesOfEveryKey() throws {
        for rule in allRules {
            let name = rule.declaration.name
            let optimizer = try Optimizer(rule: name, settings: [])
            for key in parameterKeys(of: rule) {
                let value = try optimizer.value(of: key)
                for bad in [Setting(key, .nan), Setting(key, -1), Setting(key, "nonsense")] {
                    XCTAssertThrowsError(try optimizer.set([bad]), "\(name): \(bad)") {
                        XCTAssertTrue("\($0)".contains(key), "\(name): \($0)")
                    }
                    XCTAssertThrowsError(try Optimizer(rule: name, settings: [bad]), "\(name): \(bad)")
                }
                XCTAssertEqual(try optimizer.value(of: key), value, "\(name): \(key)")
            }
        }
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
            .unknownName, message: "no rule is called \"lion\", expected one of sgd, lars, adam, adamw, lamb"
        ) { _ = try Optimizer(rule: "lion", settings: []) }
    }

    func testPolicies() throws {
        try check([
            Row(
                .unknownName,
                "no policy is called \"width\", expected one of uniform, explicit, layer_decay, range",
                { try $0.setPolicy(named: "width", settings: []) }),
            Row(
                .unknownName,
                "policy layer_decay: unknown setting \"rate\", expected one of decay, min_scale, direction",
                { try $0.setPolicy(named: "layer_decay", settings: settings(["rate": 0.5])) }),
            Row(
                .outOfRange, "policy layer_decay: decay must be in (0, 1], found 0.0",
                { try $0.setPolicy(named: "layer_decay", settings: settings(["decay": 0])) }),
            Row(
                .outOfRange, "policy layer_decay: min_scale must be in [0, 1], found 2.0",
                { try $0.setPolicy(named: "layer_decay", settings: settings(["min_scale": 2])) }),
            Row(
                .unknownName, "policy layer_decay: direction must be one of input, output, found \"up\"",
                { try $0.setPolicy(named: "layer_decay", settings: settings(["direction": "up"])) }),
            Row(
                .outOfRange, "policy range: lowest must not exceed highest, found 2.0 and 1.0",
                { try $0.setPolicy(named: "range", settings: settings(["lowest": 2])) }),
            Row(
                .outOfRange, "policy range: highest must be in (0, inf), found inf",
                { try $0.setPolicy(named: "range", settings: settings(["highest": .number(.infinity)])) }),
        ])
    }

    // MARK: - Layers

    func testLayerValues() throws {
        try check([
            Row(.notFound, "no layer has index 2, expected 0 to 1") { try $0.setLayer(2, []) },
            Row(.notFound, "no layer has index -1, expected 0 to 1") { try $0.setFrozen(-1, true) },
            Row(.notFound, "no layer has index 9, expected 0 to 1") { _ = try $0.info(9) },
            Row(.notFound, "no layer has index 9, expected 0 to 1") { _ = try $0.telemetry(9) },
            Row(.notFound, "no layer has index 9, expected 0 to 1") { _ = try $0.layerName(9) },
            Row(.notFound, "no layer has index 9, expected 0 to 1") { try $0.unsetLayer(9, key: "lr") },
            Row(.notFound, "no layer has index 9, expected 0 to 1") { _ = try $0.value(of: "lr", layer: 9) },
            Row(.unknownName, "no layer is called \"tail\", expected one of \"0\", \"1\"") {
                _ = try $0.layer(named: "tail")
            },
            Row(
                .unknownName,
                "layer \"0\": unknown setting \"threads\", expected one of \(Self.ruleKeys), scale, depth",
                { try $0.setLayer(0, settings(["threads": 1])) }),
            Row(.unknownName, "layer \"0\": unknown setting \"threads\"") { try $0.unsetLayer(0, key: "threads") },
            Row(.unknownName, "layer \"0\": unknown setting \"threads\"") { _ = try $0.value(of: "threads", layer: 0) },
            Row(.outOfRange, "layer \"0\": scale must be in [0, inf), found -1.0") {
                try $0.setLayer(0, settings(["lr": 0.5, "scale": -1]))
            },
            Row(.outOfRange, "layer \"0\": scale must be in [0, inf), found nan") {
                try $0.setLayer(0, [Setting("scale", .nan)])
            },
            Row(.outOfRange, "layer \"0\": depth must be a whole number from 0 to 2147483647, found -1.0") {
                try $0.setLayer(0, settings(["depth": -1]))
            },
            Row(.outOfRange, "layer \"0\": depth must be a whole number from 0 to 2147483647, found 0.5") {
                try $0.setLayer(0, settings(["depth": 0.5]))
            },
            Row(.outOfRange, "layer \"1\": beta1 must be in [0, 1), found 1.0") {
                try $0.setLayer(1, settings(["scale": 2, "beta1": 1]))
            },
            Row(.outOfRange, "layer \"1\": ratio_min must not exceed ratio_max, found 1.0 and 0.5") {
                try $0.setLayer(1, settings(["ratio_min": 1, "ratio_max": 0.5]))
            },
            Row(.duplicate, "layer \"1\": lr is given twice") {
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

    // MARK: - Tensors

    func testNewLayers() throws {
        let memory = Buffer(.float64, count: 64)
        let start = memory.start
        func add(
            _ tensors: [TensorDescription], name: String = "new", settings: [Setting] = []
        ) -> (Optimizer) throws -> Void {
            { try $0.addLayer(name, tensors, settings: settings) }
        }
        func tensor(
            _ parameters: UnsafeMutableRawPointer?, _ gradients: UnsafeRawPointer? = nil, name: String = "w",
            shape: [Int] = [4], dtype: DType = .float32, gradientDType: DType? = nil, master: Bool = false
        ) -> TensorDescription {
            TensorDescription(
                name, parameters: parameters, gradients: gradients, shape: shape, dtype: dtype,
                gradientDType: gradientDType, master: master)
        }
        let long = String(repeating: "x", count: 256)
        let last = UnsafeMutableRawPointer(bitPattern: UInt.max - 7)
        try withExtendedLifetime(memory) {
            try check([
                Row(.duplicate, "a layer is called \"0\" already", add([tensor(start)], name: "0")),
                Row(
                    .invalidArgument, "a layer's name must have 1 to 255 bytes, found 0", add([tensor(start)], name: "")
                ),
                Row(
                    .invalidArgument, "a layer's name must have 1 to 255 bytes, found 256",
                    add([tensor(start)], name: long)),
                Row(
                    .invalidArgument, "a layer's name must not hold control characters",
                    add([tensor(start)], name: "a\nb")),
                Row(.invalidArgument, "layer \"new\": expected at least one tensor, found none", add([])),
                Row(
                    .invalidArgument, "a tensor's name must have 1 to 255 bytes, found 0",
                    add([tensor(start, name: "")])),
                Row(
                    .duplicate, "layer \"new\": tensor \"w\": the layer has a tensor of this name already",
                    add([tensor(start), tensor(start + 64)])),
                Row(
                    .shape, "layer \"new\": tensor \"w\": extents must not be negative, found shape [2, -1]",
                    add([tensor(start, shape: [2, -1])])),
                Row(
                    .shape, "layer \"new\": tensor \"w\": shape [4611686018427387904, 4] has too many elements",
                    add([tensor(start, shape: [1 << 62, 4])])),
                Row(
                    .shape, "layer \"new\": tensor \"w\": shape [\(Int.max)] has too many elements",
                    add([tensor(start, shape: [Int.max])])),
                Row(
                    .dtype, "layer \"new\": tensor \"w\": parameters must be floating point, found int64",
                    add([tensor(start, dtype: .int64)])),
                Row(
                    .dtype, "layer \"new\": tensor \"w\": gradients must be float32, found float16",
                    add([tensor(start, gradientDType: .float16)])),
                Row(
                    .dtype, "layer \"new\": tensor \"w\": gradients must be bfloat16 or float32, found float16",
                    add([tensor(start, dtype: .bfloat16, gradientDType: .float16)])),
                Row(
                    .dtype, "layer \"new\": tensor \"w\": a master copy is for float16 and bfloat16, found float64",
                    add([tensor(start, dtype: .float64, master: true)])),
                Row(.invalidArgument, "layer \"new\": tensor \"w\": parameters are NULL", add([tensor(nil)])),
                Row(
                    .overlap, "layer \"new\": tensor \"w\": parameters and gradients share bytes",
                    add([tensor(start, start + 12)])),
                Row(
                    .overlap,
                    "layer \"new\": tensor \"v\": parameters share bytes with those of tensor 0 of this layer",
                    add([tensor(start), tensor(start + 12, name: "v")])),
                Row(
                    .overlap,
                    "layer \"new\": tensor \"v\": gradients share bytes with the parameters of tensor 0 of this layer",
                    add([tensor(start), tensor(start + 64, start, name: "v")])),
                Row(
                    .overlap,
                    "layer \"new\": tensor \"v\": parameters share bytes with the gradients of tensor 0 of this layer",
                    add([tensor(start, start + 64), tensor(start + 76, name: "v")])),
                Row(
                    .invalidArgument,
                    "layer \"new\": tensor \"w\": parameters must be aligned to 4 bytes, as float32 is",
                    add([tensor(start + 2)])),
                Row(
                    .invalidArgument,
                    "layer \"new\": tensor \"w\": gradients must be aligned to 2 bytes, as float16 is",
                    add([tensor(start, start + 65, dtype: .float16)])),
                Row(
                    .overlap, "layer \"new\": tensor \"w\": the buffer runs past the end of the address space",
                    add([tensor(last)])),
                Row(
                    .outOfRange, "layer \"new\": lr must be in [0, inf), found -1.0",
                    add([tensor(start)], settings: settings(["lr": -1]))),
                Row(
                    .duplicate, "layer \"new\": depth is given twice",
                    add([tensor(start)], settings: settings(["depth": 1, "depth": 2]))),
            ])
        }
    }

    func testOverlapWithOtherLayers() throws {
        let model = try Model(SGD(), sizes: [40, 50])
        let before = try model.fullDigest()
        let (w, g) = (model.parameters[1][0].start, model.gradients[1][0].start)
        func add(_ parameters: UnsafeMutableRawPointer, _ gradients: UnsafeMutableRawPointer?) throws {
            try model.optimizer.addLayer(
                "new",
                [
                    TensorDescription(
                        "w", parameters: parameters, gradients: gradients.map { UnsafeRawPointer($0) }, shape: [1],
                        dtype: .float32)
                ])
        }
        let free = Buffer(.float32, count: 1)
        let prefix = "layer \"new\": tensor \"w\": "
        assertRefused(.overlap, message: prefix + "parameters share bytes with those of layer \"1\": tensor \"0\"") {
            try add(w + 196, nil)
        }
        assertRefused(
            .overlap, message: prefix + "parameters share bytes with the gradients of layer \"1\": tensor \"0\""
        ) {
            try add(g + 4, nil)
        }
        assertRefused(
            .overlap, message: prefix + "gradients share bytes with the parameters of layer \"1\": tensor \"0\""
        ) {
            try add(free.start, w)
        }
        assertRefused(.overlap, layer: 0, tensor: 0) {
            try model.optimizer.bind(layer: 0, tensor: 0, parameters: w, gradients: nil)
        }
        XCTAssertEqual(try model.fullDigest(), before)
        // Neighbours, shared gradients and a buffer's own place are fine.
        try add(w + 200, g)
        try model.optimizer.bind(layer: 1, tensor: 0, parameters: w, gradients: g)
        withExtendedLifetime(free) {}
    }

    /// The set of intervals agrees with comparing each with each.
    func testIntervalsAgainstBruteForce() throws {
        var random = Random(seed: 9)
        let memory = UnsafeMutableRawPointer.allocate(byteCount: 4096, alignment: 64)
        defer { memory.deallocate() }
        for _ in 0..<50 {
            let optimizer = try Optimizer(SGD())
            var taken: [Range<Int>] = []
            for attempt in 0..<60 {
                let start = 4 * Int.random(in: 0..<250, using: &random)
                let count = Int.random(in: 0..<20, using: &random)
                let range = start..<start + 4 * count
                let shares = taken.contains { !$0.isEmpty && !range.isEmpty && $0.overlaps(range) }
                do {
                    try optimizer.addLayer(
                        "\(attempt)",
                        [TensorDescription("w", parameters: memory + start, shape: [count], dtype: .float32)])
                    XCTAssertFalse(shares, "\(range) was accepted beside \(taken)")
                    taken.append(range)
                } catch {
                    XCTAssertTrue(shares, "\(range) was refused beside \(taken): \(error)")
                }
            }
        }
    }

    // MARK: - Steps and states

    func testSteps() throws {
        let gradient = Buffer(.float32, count: 333)
        let address: UnsafeRawPointer? = UnsafeRawPointer(gradient.start)
        func step(_ gradients: [UnsafeRawPointer?], layer: Int? = nil) -> (Optimizer) throws -> Void {
            { optimizer in
                try gradients.withUnsafeBufferPointer { try optimizer.step(StepOptions(layer: layer, gradients: $0)) }
            }
        }
        try withExtendedLifetime(gradient) {
            try check([
                Row(.outOfRange, "gradient_scale must be in (0, inf), found 0.0") {
                    try $0.step(StepOptions(gradientScale: 0))
                },
                Row(.outOfRange, "gradient_scale must be in (0, inf), found -1.0") {
                    try $0.step(StepOptions(gradientScale: -1))
                },
                Row(.outOfRange, "gradient_scale must be in (0, inf), found nan") {
                    try $0.step(StepOptions(gradientScale: .nan))
                },
                Row(.outOfRange, "gradient_scale must be in (0, inf), found inf") {
                    try $0.step(StepOptions(gradientScale: .infinity))
                },
                Row(.notFound, "no layer has index 2, expected 0 to 1") { try $0.step(StepOptions(layer: 2)) },
                Row(.notFound, "no layer has index -1, expected 0 to 1") { try $0.step(StepOptions(layer: -1)) },
                Row(
                    .shape, "expected 3 gradients, one for each tensor of the layers stepped, found 2",
                    step([address, nil])),
                Row(
                    .shape, "expected 1 gradients, one for each tensor of the layers stepped, found 3",
                    step([nil, nil, address], layer: 1)),
                Row(
                    .invalidArgument,
                    "layer \"1\": tensor \"0\": the gradient must be aligned to 4 bytes, as float32 is",
                    step([nil, nil, address.map { $0 + 1 }])),
                Row(
                    .overlap,
                    "layer \"1\": tensor \"0\": the gradient runs past the end of the address space",
                    step([nil, nil, UnsafeRawPointer(bitPattern: UInt.max - 3)])),
            ])
        }
        let model = try Model(SGD(), sizes: [4, 5])
        let own = UnsafeRawPointer(model.parameters[1][0].start + 4)
        assertRefused(
            .overlap,
            message:
                "layer \"0\": tensor \"0\": the gradient shares bytes with the parameters of layer \"1\": tensor \"0\""
        ) { try step([own, nil])(model.optimizer) }
    }

    func testStates() throws {
        let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: 4 * 333, alignment: 64)
        memory.initializeMemory(as: UInt8.self, repeating: 0xff)
        defer { memory.deallocate() }
        let rest = UnsafeMutableRawBufferPointer(rebasing: memory[4...])
        let eight = UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(memory)[..<8])
        try check([
            Row(.notFound, "no layer has index 3, expected 0 to 1") { _ = try $0.states(layer: 3, tensor: 0) },
            Row(.notFound, "layer \"0\": no tensor has index 2, expected 0 to 1") {
                _ = try $0.states(layer: 0, tensor: 2)
            },
            Row(.notFound, "layer \"1\": no tensor has index -1, expected 0 to 0") {
                try $0.readState(layer: 1, tensor: -1, name: "step", into: memory)
            },
            Row(.notFound, "layer \"1\": no tensor has index 1, expected 0 to 0") {
                try $0.bind(layer: 1, tensor: 1, parameters: memory.baseAddress, gradients: nil)
            },
            Row(.invalidArgument, "layer \"1\": tensor \"0\": parameters are NULL") {
                try $0.bind(layer: 1, tensor: 0, parameters: nil, gradients: nil)
            },
            Row(
                .unknownName,
                "layer \"1\": tensor \"0\": no state is called \"master\", expected one of step, exp_avg, exp_avg_sq",
                { try $0.readState(layer: 1, tensor: 0, name: "master", into: memory) }),
            Row(.shape, "layer \"1\": tensor \"0\": state \"exp_avg\" has 1332 bytes, the buffer has 1328") {
                try $0.writeState(layer: 1, tensor: 0, name: "exp_avg", from: UnsafeRawBufferPointer(rest))
            },
            Row(.shape, "layer \"1\": tensor \"0\": state \"step\" has 8 bytes, the buffer has 1332") {
                try $0.readState(layer: 1, tensor: 0, name: "step", into: memory)
            },
            Row(.outOfRange, "layer \"1\": tensor \"0\": a step count must not be negative") {
                try $0.writeState(layer: 1, tensor: 0, name: "step", from: eight)
            },
        ])
        XCTAssertTrue(memory.allSatisfy { $0 == 0xff }, "a refused read wrote to its buffer")
    }
}
