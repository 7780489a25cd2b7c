// SPDX-License-Identifier: Apache-2.0
import Foundation
import Layerwise
import XCTest

/// What is saved comes back: a run that was stopped goes on with the bits of one that was not.
final class CheckpointTests: XCTestCase {
    /// The numbers of JSON are Doubles, which cannot distinguish more steps.
    func testMostSteps() throws {
        let model = try Model(SGD(lr: 0.1), sizes: [3])
        try model.optimizer.seek((1 << 53) - 1)
        try model.optimizer.step()
        let room = UnsafeMutableRawBufferPointer(start: nil, count: 0)
        XCTAssertGreaterThan(try model.optimizer.export(into: room), 0)
        try model.optimizer.step()
        assertRefused(.outOfRange, message: "a checkpoint counts steps up to 2^53, found 9007199254740993") {
            _ = try model.optimizer.export(into: room)
        }
    }

    private var folder: URL!

    override func setUpWithError() throws {
        folder = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    }

    override func tearDownWithError() throws { try FileManager.default.removeItem(at: folder) }

    private func path(_ name: String = "run.safetensors") -> String { folder.appendingPathComponent(name).path }

    private func bytes(_ path: String) throws -> [UInt8] { Array(try Data(contentsOf: URL(fileURLWithPath: path))) }

    private static let shapes: [[[Int]]] = [[[37], [3, 4]], [[]], [[0, 2], [129]]]

    private func options(_ model: Model) throws {
        try model.optimizer.set(settings(["clip_global_norm": 0.5]))
        model.optimizer.setPolicy(try LayerDecay(0.75))
        try model.optimizer.setSchedule(try Warmup(steps: 3))
        model.optimizer.setFreezePlan(try GradualUnfreezing(every: 2))
    }

    /// Through a file and through memory, with and without parameters, for every rule and every way to store a tensor.  Options that
    /// keep the same states differ in the identity only.
    func testEveryRuleAndKind() throws {
        for (kind, cases) in try RuleCase.byKind() {
            for ruleCase in cases {
                let straight = try Model(ruleCase.rule, kind, shapes: Self.shapes)
                try options(straight)
                for _ in 0..<3 { try straight.optimizer.step() }
                try straight.optimizer.save(to: path(), SaveOptions(parameters: true))
                let exported = try straight.optimizer.exported(SaveOptions(parameters: true))
                XCTAssertEqual(try bytes(path()), exported, "\(ruleCase), \(kind)")

                let fromFile = try Model(ruleCase.rule, kind, shapes: Self.shapes, seed: 2)
                let fromMemory = try Model(ruleCase.rule, kind, shapes: Self.shapes, seed: 3)
                let withoutParameters = try Model(ruleCase.rule, kind, shapes: Self.shapes, copying: straight)
                for model in [fromFile, fromMemory, withoutParameters] {
                    try options(model)
                    model.copyGradients(of: straight)
                }
                let report = try fromFile.optimizer.load(from: path())
                XCTAssertEqual(Set(report.loaded), Set(try CheckpointFile(exported).tensors.map(\.key)))
                XCTAssertEqual(report.problems, [])
                try fromMemory.optimizer.load(exported)
                try withoutParameters.optimizer.load(straight.optimizer.exported())
                for _ in 0..<3 {
                    for model in [straight, fromFile, fromMemory, withoutParameters] { try model.optimizer.step() }
                }
                let digest = try straight.digest()
                for (name, model) in [
                    ("file", fromFile), ("memory", fromMemory), ("without parameters", withoutParameters),
                ] {
                    XCTAssertEqual(try model.digest(), digest, "\(ruleCase), \(kind): \(name)")
                    XCTAssertEqual(model.optimizer.summary.steps, 6)
                    XCTAssertEqual(model.optimizer.summary.nextStep, 6)
                }
            }
        }
    }

    /// Nothing of a checkpoint depends on addresses, and a save of what was loaded is the same file.
    func testSavedAgain() throws {
        let model = try smallCheckpointModel()
        let first = try model.optimizer.exported(SaveOptions(parameters: true))
        let other = try Model(Adam(lr: 0.5), shapes: [[[3]], [[2, 2]]], seed: 9)
        try other.optimizer.load(first)
        XCTAssertEqual(try other.optimizer.exported(SaveOptions(parameters: true)), first)
    }

    /// Bytes at any address.
    func testUnalignedMemory() throws {
        let model = try smallCheckpointModel()
        let bytes = try model.optimizer.exported(SaveOptions(parameters: true))
        for offset in 1..<8 {
            let other = try Model(Adam(), shapes: [[[3]], [[2, 2]]], seed: 9)
            let moved = Array(repeating: 0, count: offset) + bytes
            try moved.withUnsafeBytes {
                _ = try other.optimizer.load(UnsafeRawBufferPointer(rebasing: $0[offset...]))
            }
            XCTAssertEqual(try other.digest(), try model.digest())
        }
    }

    func testWithoutLayersAndWithoutElements() throws {
        let empty = try Optimizer(SGD(lr: 0.25))
        try empty.seek(7)
        try empty.save(to: path())
        let other = try Optimizer(SGD(lr: 1))
        let report = try other.load(from: path())
        XCTAssertEqual(report.loaded, [])
        XCTAssertEqual(report.problems, [])
        XCTAssertEqual(other.summary.nextStep, 7)
        XCTAssertEqual(try other.value(of: "lr"), .number(0.25))
        XCTAssertEqual(try other.exported(), try bytes(path()))

        let hollow = try Model(Adam(), shapes: [[[0]], [[4, 0, 2]]])
        try hollow.optimizer.step()
        try hollow.optimizer.save(to: path(), SaveOptions(parameters: true))
        let next = try Model(Adam(), shapes: [[[0]], [[4, 0, 2]]])
        XCTAssertEqual(try next.optimizer.load(from: path()).loaded.count, 8)
        XCTAssertEqual(try next.digest(), try hollow.digest())
    }

    /// A layer that is registered elsewhere is the same layer, where nothing goes by depth.
    func testOrderOfLayersAndTensors() throws {
        func optimizer(_ buffers: [String: Buffer], _ order: [[String]]) throws -> Optimizer {
            let optimizer = try Optimizer(AdamW(lr: 0.1))
            for layer in order {
                try optimizer.addLayer(
                    String(layer[0].prefix(1)),
                    layer.map {
                        TensorDescription(
                            $0, parameters: buffers[$0]?.start, gradients: buffers["gradient"]?.start, shape: [5],
                            dtype: .float32)
                    })
            }
            return optimizer
        }
        func buffers(_ seed: Double) -> [String: Buffer] {
            var buffers: [String: Buffer] = ["gradient": Buffer(.float32, [1, -2, 3, -4, 5])]
            for (index, name) in ["a0", "a1", "b0", "c0", "c1"].enumerated() {
                buffers[name] = Buffer(.float32, (0..<5).map { seed + Double($0 + 10 * index) })
            }
            return buffers
        }
        let (own, others) = (buffers(0), buffers(100))
        try withExtendedLifetime((own, others)) {
            let first = try optimizer(own, [["a0", "a1"], ["b0"], ["c0", "c1"]])
            for _ in 0..<3 { try first.step() }
            try first.step(StepOptions(layer: 1))
            let second = try optimizer(others, [["c1", "c0"], ["a1", "a0"], ["b0"]])
            try second.load(first.exported(SaveOptions(parameters: true)))
            for layer in [1, 0, 2] { try first.step(StepOptions(layer: layer)) }
            for layer in [2, 1, 0] { try second.step(StepOptions(layer: layer)) }
            XCTAssertEqual([first.summary.steps, first.summary.nextStep], [7, 5])
            XCTAssertEqual([second.summary.steps, second.summary.nextStep], [7, 5])
            for (name, buffer) in own { XCTAssertEqual(buffer.values, others[name]?.values, name) }

            // Where something goes by depth, depths count and not the order.
            first.setPolicy(try LayerDecay(0.5))
            second.setPolicy(try LayerDecay(0.5))
            XCTAssertThrowsError(try second.load(first.exported()))
            XCTAssertEqual(
                second.loadReport.problems,
                [
                    "layers.a.depth: 0 in the checkpoint, 1 here",
                    "layers.b.depth: 1 in the checkpoint, 2 here",
                    "layers.c.depth: 2 in the checkpoint, 0 here",
                ])
            for (layer, depth) in [(0, 2), (1, 0), (2, 1)] {
                try second.setLayer(layer, [Setting("depth", Double(depth))])
            }
            try second.load(first.exported())
        }
    }

    /// Names of any kind are keys that differ, in three parts.
    func testNames() throws {
        let names = [
            "a/b", "a%2Fb", "a%252Fb", "%", "%%", "/", "//", "%2", "%25", "a b", "\"", "\\", "\\u0041",
            "../../etc/passwd", "..",
            "__metadata__", "{}", "\u{e9}", "\u{1f642}", "\u{202e}", "'; --", String(repeating: "/", count: 255),
            "parameters",
            "step", "head%2f",
        ]
        let buffers = (0..<2 * names.count).map { Buffer(.float32, [Double($0), 1, 2]) }
        try withExtendedLifetime(buffers) {
            let saved = try optimizerWithNames(names, Array(buffers[..<names.count]))
            try saved.set([Setting("empty_step", "allow")])
            try saved.step()
            let file = try CheckpointFile(saved.exported(SaveOptions(parameters: true)))
            XCTAssertEqual(Set(file.tensors.map(\.key)).count, 4 * names.count)
            for tensor in file.tensors {
                XCTAssertEqual(
                    tensor.key.utf8.split(separator: 0x2f, omittingEmptySubsequences: false).count, 3, tensor.key)
            }
            let other = try optimizerWithNames(names.reversed(), Array(buffers[names.count...]).reversed())
            let report = try other.load(saved.exported(SaveOptions(parameters: true)))
            XCTAssertEqual(report.loaded.count, 4 * names.count)
            for index in names.indices {
                XCTAssertEqual(buffers[index].values, buffers[names.count + index].values, names[index])
            }
        }
    }

    private func optimizerWithNames(_ names: [String], _ buffers: [Buffer]) throws -> Optimizer {
        let optimizer = try Optimizer(Adam(lr: 0.1))
        for (name, buffer) in zip(names, buffers) {
            try optimizer.addLayer(
                name, [TensorDescription(name, parameters: buffer.start, shape: [3], dtype: .float32)])
        }
        return optimizer
    }

    /// A state that the rule has no need of as it is set now, but had, is kept: the setting may come back.
    func testFormerStates() throws {
        func model() throws -> Model {
            let model = try Model(
                SGD(lr: 0.5, momentum: 0.5), Kind(.bfloat16, master: true), shapes: [[[3], [2]], [[0], [5]]])
            try model.optimizer.setLayer(0, [Setting("momentum", 0.25)])
            return model
        }
        let straight = try model()
        try straight.optimizer.step()
        try straight.optimizer.unsetLayer(0, key: "momentum")
        try straight.optimizer.set([Setting("momentum", 0)])
        try straight.optimizer.step()
        let bytes = try straight.optimizer.exported(SaveOptions(parameters: true))
        let other = try Model(SGD(lr: 0.5), Kind(.bfloat16, master: true), shapes: [[[3], [2]], [[0], [5]]])
        for (own, gradients) in zip(other.gradients.joined(), straight.gradients.joined()) {
            own.values = gradients.values
        }
        XCTAssertEqual(try other.optimizer.load(bytes).loaded.count, try CheckpointFile(bytes).tensors.count)
        for model in [straight, other] {
            try model.optimizer.step()
            try model.optimizer.set([Setting("momentum", 0.5)])
            try model.optimizer.step()
        }
        XCTAssertEqual(try other.digest(), try straight.digest())
        // Of another shape they are not taken.
        var file = try CheckpointFile(bytes)
        let velocity = try XCTUnwrap(file.tensors.firstIndex { $0.key == "0/0/momentum_buffer" })
        file.tensors[velocity].shape = "[3, 1]"
        try assertMismatch(
            try Model(SGD(lr: 0.5), Kind(.bfloat16, master: true), shapes: [[[3], [2]], [[0], [5]]]), file.bytes(),
            ["0/0/momentum_buffer: only in the checkpoint"])
    }

    /// What no reader could read is not written.
    func testShapesThatNoFileCanHold() throws {
        let buffer = Buffer(.float32, count: 1)
        try withExtendedLifetime(buffer) {
            let optimizer = try Optimizer(SGD(lr: 1))
            try optimizer.addLayer(
                "a", [TensorDescription("w", parameters: buffer.start, shape: [1 << 62, 4, 0], dtype: .float32)])
            let all = SaveOptions(parameters: true)
            assertRefused(.shape, layer: 0, tensor: 0) { try optimizer.save(to: path(), all) }
            assertRefused(.shape, layer: 0, tensor: 0) { _ = try optimizer.exported(all) }
            XCTAssertEqual(try FileManager.default.contentsOfDirectory(atPath: folder.path), [])
            // Without its parameters there is only the step count.
            XCTAssertNoThrow(try optimizer.load(optimizer.exported()))
        }
    }

    func testDryRunHasNothingToSave() throws {
        var settings = Settings()
        settings.dryRun = true
        let optimizer = try Optimizer(SGD(), settings: settings)
        let message = "an optimizer with dry_run has no state to save or load"
        assertRefused(.invalidArgument, message: message) { try optimizer.save(to: path()) }
        assertRefused(.invalidArgument, message: message) { _ = try optimizer.exported() }
        let other = try Optimizer(SGD())
        assertRefused(.invalidArgument, message: message) { try optimizer.load(other.exported()) }
        XCTAssertFalse(FileManager.default.fileExists(atPath: path()))
    }

    /// A NaN is saved as it is, unless that is asked not to be; then the good file stays.
    func testRequireFinite() throws {
        for (kind, places) in [
            (Kind(.float32), ["exp_avg", "parameters"]), (Kind(.float64), ["exp_avg_sq"]),
            (Kind(.bfloat16, master: true), ["master", "parameters", "exp_avg"]), (Kind(.float16), ["parameters"]),
        ] {
            for place in places {
                for bad in [Double.nan, .infinity, -.infinity] {
                    let model = try Model(Adam(), kind, shapes: [[[3]], [[2], [601]]])
                    try model.optimizer.step()
                    let all = SaveOptions(parameters: true, requireFinite: true)
                    try model.optimizer.save(to: path(), all)
                    let good = try bytes(path())
                    if place == "parameters" {
                        model.parameters[1][1][600] = bad
                    } else {
                        let state = try model.state(place, layer: 1, tensor: 1)
                        state[600] = bad
                        try model.optimizer.writeState(
                            layer: 1, tensor: 1, name: place, from: UnsafeRawBufferPointer(state.bytes))
                    }
                    let before = try model.fullDigest()
                    for call in [
                        { try model.optimizer.save(to: self.path(), all) }, { _ = try model.optimizer.exported(all) },
                    ] {
                        XCTAssertThrowsError(try call(), "\(kind), \(place), \(bad)") {
                            let error = $0 as? LayerwiseError
                            XCTAssertEqual(error?.code, .nonfinite)
                            XCTAssertEqual([error?.layer, error?.tensor], [1, 1])
                            XCTAssertEqual(
                                "\($0)",
                                "layer \"1\": tensor \"1\": 1/1/\(place) holds a NaN or an infinity; nothing was saved"
                            )
                        }
                    }
                    XCTAssertEqual(try bytes(path()), good)
                    XCTAssertEqual(try model.fullDigest(), before)
                    XCTAssertEqual(try FileManager.default.contentsOfDirectory(atPath: folder.path).count, 1)
                    // Otherwise it is saved, and comes back with its bits.
                    let other = try Model(Adam(), kind, shapes: [[[3]], [[2], [601]]], seed: 5)
                    try other.optimizer.load(model.optimizer.exported(SaveOptions(parameters: true)))
                    XCTAssertEqual(try other.digest(), try model.digest())
                }
            }
        }
        // Squares that overflow are of numbers that do not.
        let model = try Model(SGD(), Kind(.float64), sizes: [4])
        model.parameters[0][0][1] = .greatestFiniteMagnitude
        XCTAssertNoThrow(try model.optimizer.exported(SaveOptions(parameters: true, requireFinite: true)))
        let single = try Model(SGD(), sizes: [4])
        for index in 0..<4 { single.parameters[0][0][index] = Double(Float.greatestFiniteMagnitude) }
        XCTAssertNoThrow(try single.optimizer.exported(SaveOptions(parameters: true, requireFinite: true)))
    }

    /// A buffer that is too small is not written to, and neither is what lies behind one that is large enough.
    func testExportStaysWithinItsBuffer() throws {
        let model = try smallCheckpointModel()
        let whole = try model.optimizer.exported()
        for room in [0, 1, 7, 8, 9, whole.count - 1, whole.count, whole.count + 5] {
            var bytes = [UInt8](repeating: 0x77, count: room + 3)
            let size = try bytes.withUnsafeMutableBytes {
                try model.optimizer.export(into: UnsafeMutableRawBufferPointer(rebasing: $0[..<room]))
            }
            XCTAssertEqual(size, whole.count)
            let written = room < whole.count ? [] : whole
            XCTAssertEqual(
                bytes, written + Array(repeating: 0x77, count: room + 3 - written.count), "\(room) of \(whole.count)")
        }
    }

    func testDescription() throws {
        let model = try smallCheckpointModel()
        try model.optimizer.save(to: path(), SaveOptions(parameters: true))
        var seen: [(Int, Int)] = []
        let text = try describeCheckpoint(at: path()) { seen.append(($0, $1)) }
        XCTAssertFalse(text.contains("\n"))
        // Foundation does not read 1e999 as infinity.
        let description = try JSONValue(parsing: text.replacingOccurrences(of: "1e999", with: "null"))
        let file = try CheckpointFile(bytes(path()))
        let data = file.tensors.reduce(0) { $0 + $1.bytes.count }
        XCTAssertEqual(seen.count, file.tensors.count)
        XCTAssertEqual(seen.last?.0, data)
        XCTAssertTrue(seen.allSatisfy { $0.1 == data })
        XCTAssertEqual(description["format_version"], .text("1"))
        XCTAssertEqual(description["layerwise_version"], .text(layerwiseVersion))
        XCTAssertEqual(description["bytes"], .number(Double(try bytes(path()).count)))
        for key in ["identity", "progress"] {
            XCTAssertTrue(text.contains("\"\(key)\": \(file.metadata[key] ?? "nothing"), "), text)
        }
        XCTAssertEqual(description["progress"]?["next_step"], .number(2))
        XCTAssertEqual(description["tensors"]?.list?.count, file.tensors.count)
        for (found, tensor) in zip(description["tensors"]?.list ?? [], file.tensors) {
            XCTAssertEqual(found["key"], .text(tensor.key))
            XCTAssertEqual(found["dtype"], .text(tensor.dtype == "I64" ? "int64" : "float32"))
            XCTAssertEqual(found["shape"], try JSONValue(parsing: tensor.shape))
            XCTAssertEqual(found["bytes"], .number(Double(tensor.bytes.count)))
            XCTAssertEqual(found["crc32c"], .text(checksumText(tensor.bytes)))
        }
        // Also where another writer has broken the lines of its JSON.
        var broken = file
        for key in ["identity", "progress"] {
            broken.metadata[key] = file.metadata[key]?.replacingOccurrences(of: ", ", with: ",\r\n\t")
        }
        XCTAssertNotEqual(broken.metadata, file.metadata)
        try Data(broken.bytes()).write(to: URL(fileURLWithPath: path()))
        let joined = try describeCheckpoint(at: path())
        XCTAssertFalse(joined.utf8.contains { $0 < 0x20 })
        XCTAssertTrue(joined.contains("\"next_step\": 2,   \"round\""), joined)
        // A tensor of more than a MiB is read, and reported, in pieces.
        let large = try Model(SGD(lr: 1, momentum: 0.5), sizes: [1 << 18 + 1])
        try large.optimizer.save(to: path(), SaveOptions(parameters: true))
        var steps: [Int] = []
        _ = try describeCheckpoint(at: path()) { done, _ in steps.append(done) }
        XCTAssertEqual(steps, [8, 8 + 1 << 20, 12 + 1 << 20, 12 + 2 << 20, 16 + 2 << 20])
        var damaged = try bytes(path())
        damaged[damaged.count - 1] ^= 1
        try Data(damaged).write(to: URL(fileURLWithPath: path()))
        XCTAssertThrowsError(try describeCheckpoint(at: path())) {
            XCTAssertEqual(($0 as? LayerwiseError)?.code, .corrupt)
            XCTAssertTrue("\($0)".contains("tensor \"0/0/parameters\" was changed"), "\($0)")
        }
    }
}

extension Model {
    fileprivate func copyGradients(of other: Model) {
        for (own, other) in zip(gradients.joined(), other.gradients.joined()) {
            own.bytes.copyBytes(from: other.bytes)
        }
    }
}
