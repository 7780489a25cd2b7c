// SPDX-License-Identifier: Apache-2.0
import Layerwise
import XCTest

/// What an optimizer says of its layers: as a table that has the columns it needs, and as JSON that agrees with info.
final class ExplainTests: XCTestCase {
    private func header(_ optimizer: Optimizer, at step: Int64? = nil) throws -> [String] {
        let lines = try optimizer.explain(at: step).split(separator: "\n", omittingEmptySubsequences: false)
        XCTAssertEqual(lines.count, optimizer.layerCount + 3, "title, header, layers, and the end of the last line")
        XCTAssertEqual(lines.last, "")
        XCTAssertTrue(lines.allSatisfy { $0.last != " " }, "no space at the end of a line")
        return lines[1].split(separator: " ").map(String.init)
    }

    private static let plain = [
        "layer", "depth", "tensors", "parameters", "scale", "from", "rate", "decay", "steps", "state",
    ]

    // MARK: - The table

    func testColumnsThatAreAlwaysThere() throws {
        let model = try Model(AdamW(lr: 0.1), sizes: [3, 4])
        XCTAssertEqual(try header(model.optimizer), Self.plain)
        model.optimizer.setPolicy(try LayerDecay(0.5))
        XCTAssertEqual(try header(model.optimizer), Self.plain)
        XCTAssertEqual(
            try model.optimizer.explain(),
            """
            AdamW, base rate 0.1, policy layer_decay, step 0
            layer  depth  tensors  parameters  scale  from         rate  decay  steps  state
            0          0        1           3    0.5  layer_decay  0.05   0.01      0  active
            1          1        1           4      1  layer_decay   0.1   0.01      0  active

            """)
    }

    func testColumnsThatAreNeeded() throws {
        func model() throws -> Model { try Model(AdamW(lr: 0.1), shapes: [[[3], [2, 2]], [[4]]]) }
        func inserted(_ name: String, before: String) -> [String] {
            Self.plain.flatMap { $0 == before ? [name, $0] : [$0] }
        }

        let towers = try model()
        try towers.optimizer.setLayer(1, settings(["tower": "text"]))
        XCTAssertEqual(try header(towers.optimizer), inserted("tower", before: "tensors"))

        let scheduled = try model()
        try scheduled.optimizer.setSchedule(try Linear(totalSteps: 9))
        XCTAssertEqual(try header(scheduled.optimizer), inserted("schedule", before: "rate"))
        try scheduled.optimizer.setSchedule(try Linear(totalSteps: 9), layer: 0)
        try scheduled.optimizer.setSchedule(nil)
        XCTAssertEqual(try header(scheduled.optimizer), inserted("schedule", before: "rate"))

        let floored = try model()
        try floored.optimizer.setSchedule(try Linear(totalSteps: 9, minRate: 0.01), layer: 1)
        let columns = inserted("schedule", before: "rate").flatMap { $0 == "rate" ? ["floor", $0] : [$0] }
        XCTAssertEqual(try header(floored.optimizer), columns)

        let planned = try model()
        planned.optimizer.setFreezePlan(try GradualUnfreezing(every: 5))
        XCTAssertEqual(try header(planned.optimizer), inserted("schedule", before: "rate"))

        let excluded = try model()
        excluded.optimizer.setPolicy(Exclude())
        XCTAssertEqual(try header(excluded.optimizer), inserted("apart", before: "steps"))
        excluded.optimizer.setPolicy(try Exclude(maxRank: 0))
        XCTAssertEqual(try header(excluded.optimizer), Self.plain, "nothing is excluded")

        let observed = try model()
        try observed.optimizer.set(settings(["telemetry": 1]))
        XCTAssertEqual(try header(observed.optimizer), Self.plain + ["|g|", "|w|", "|dw|/|w|", "trust"])
    }

    /// A schedule of something else than the rate, a rate of 0 and a scale of 0 move no rate.
    func testColumnsThatAreNotNeeded() throws {
        let model = try Model(AdamW(lr: 0.1), sizes: [3, 4])
        try model.optimizer.setSchedule(try Exponential(gamma: 0.5), for: "weight_decay")
        XCTAssertEqual(try header(model.optimizer), Self.plain)
        try model.optimizer.setLayer(0, settings(["frozen": "yes"]))
        XCTAssertEqual(try header(model.optimizer), Self.plain)
        try model.optimizer.setLayer(0, settings(["frozen": "no", "scale": 0]))
        XCTAssertEqual(try header(model.optimizer), Self.plain, "scale 0")
        try model.optimizer.setLearningRate(0)
        XCTAssertEqual(try header(model.optimizer), Self.plain, "rate 0")
    }

    func testWhoFreezesUntilWhen() throws {
        let model = try Model(SGD(lr: 1), sizes: [1, 1, 1, 1])
        model.optimizer.setFreezePlan(
            try FreezeAt([
                FreezeAt.Times("0", unfreezeAt: 5), FreezeAt.Times("1", freezeAt: 5), FreezeAt.Times("2", freezeAt: 5),
            ]))
        try model.optimizer.setLayer(2, settings(["frozen": "yes"]))
        func states(_ step: Int64) throws -> [String] {
            let lines = try model.optimizer.explain(at: step).split(separator: "\n").map(Array.init)
            let column = lines[1].count - "state".count
            return lines.dropFirst(2).map { String($0[column...]) }
        }
        XCTAssertEqual(try states(0), ["frozen until 5", "active until 5", "frozen", "active"])
        XCTAssertEqual(try states(5), ["active", "frozen for good", "frozen", "active"])
    }

    /// Nothing that the table prints can hold the end of a line, or an escape of a terminal.
    func testControlCharactersAreRefused() throws {
        let model = try Model(SGD(lr: 1), sizes: [1, 1])
        for bad in ["\n", "\r", "\u{7f}", "\u{1b}[31m", "\0", "\u{80}", "\u{85}", "\u{9f}", "\u{2028}", "\u{2029}"] {
            assertRefused(.outOfRange, message: "layer \"0\": tower must not hold control characters") {
                try model.optimizer.setLayer(0, [Setting("tower", "vision\(bad)")])
            }
            assertRefused(.invalid("explicit: layers: match must not hold control characters")) {
                _ = try Explicit(["\(bad)*": 2])
            }
            assertRefused(.invalid("lora_plus: match must not hold control characters")) {
                _ = try LoRAPlus(ratio: 2, match: "\(bad)*")
            }
        }
        try model.optimizer.setLayer(0, [Setting("tower", "vision 層")])
        XCTAssertEqual(try model.optimizer.value(of: "tower", layer: 0), .choice("vision 層"))
    }

    /// Names of any length and script keep the columns in line.
    func testColumnsAreInLine() throws {
        let optimizer = try Optimizer(SGD(lr: 1))
        let buffers = (0..<3).map { _ in Buffer(.float32, count: 1) }
        for (name, buffer) in zip(["a", "Ωméga.層", String(repeating: "long", count: 20)], buffers) {
            try optimizer.addLayer(
                name, [TensorDescription("w", parameters: buffer.start, shape: [1], dtype: .float32)])
        }
        let lines = try optimizer.explain().split(separator: "\n").dropFirst().map { Array($0.unicodeScalars) }
        let column = try XCTUnwrap(
            lines[0].indices.first { Array(lines[0][$0...]).starts(with: Array("state".unicodeScalars)) })
        for line in lines.dropFirst() {
            XCTAssertEqual(String(String.UnicodeScalarView(line[column...])), "active")
        }
    }

    // MARK: - JSON

    private func layers(_ json: JSONValue) throws -> [JSONValue] { try XCTUnwrap(json["layers"]?.list) }

    private func assert(_ row: JSONValue, says info: LayerInfo, _ label: String) {
        let exceptions = info.exceptions.map { exception in
            JSONValue.object([
                "tensor": .text(exception.name), "scale": .number(exception.scale),
                "decay_scale": .number(exception.decayScale), "adapts": .flag(exception.mayAdapt),
            ])
        }
        let wanted: [String: JSONValue] = [
            "layer": .text(info.name), "part_of": JSONValue(info.partOf.isEmpty ? nil : info.partOf),
            "depth": .number(Double(info.depth)), "tower": .text(info.tower),
            "role": .text(info.role.rawValue), "rule": .text(info.rule), "tensors": .number(Double(info.tensorCount)),
            "parameters": .number(Double(info.parameterCount)), "state_bytes": .number(Double(info.stateBytes)),
            "scale": .number(info.scale), "scale_from": .text(info.origin), "base_lr": .number(info.baseRate),
            "schedule_factor": JSONValue(info.factor), "floor_lr": JSONValue(info.floor),
            "effective_lr": .number(info.effectiveRate), "weight_decay": .number(info.weightDecay),
            "steps": .number(Double(info.steps)), "frozen": .flag(info.frozen),
            "frozen_by": JSONValue(info.frozen ? info.frozenBy.rawValue : nil),
            "changes_at": JSONValue(info.changesAt.map(Double.init)), "apart": .list(exceptions),
        ]
        XCTAssertEqual(row.keys, Set(wanted.keys), label)
        for (key, value) in wanted { XCTAssertEqual(row[key], value, "\(label): \(key)") }
    }

    func testJSONAgreesWithInfo() throws {
        var recipes = RandomRecipes(seed: 70)
        for run in 0..<40 {
            let model = try Model(
                AdamW(lr: 0.3, weightDecay: 0.1), shapes: [[[20], [3, 4]], [[5, 5]], [[7]]],
                policy: try Combine([
                    try LayerDecay(0.7, headScale: 3), Exclude(), try LoRAPlus(ratio: 3, match: "0/1", vectors: false),
                ]))
            try model.optimizer.setSchedule(recipes.schedule())
            try model.optimizer.setLayer(1, settings(["tower": "a \"b\" \\ c", "scale": 0]))
            model.optimizer.setFreezePlan(try ChainThaw(every: 4))
            try model.optimizer.setLayer(2, settings(["frozen": run % 2 == 0 ? "yes" : "plan"]))
            for t: Int64? in [nil, 0, 4, 17, 1 << 53] {
                let text = try model.optimizer.explainJSON(at: t)
                XCTAssertFalse(text.contains("\n"))
                let json = try JSONValue(parsing: text)
                XCTAssertEqual(
                    json.keys, ["rule", "base_lr", "policy", "schedule", "freezing", "step", "layers"], "run \(run)")
                XCTAssertEqual(json["rule"], .text("adamw"))
                XCTAssertEqual(json["base_lr"], .number(0.3))
                XCTAssertEqual(json["policy"], .text("combine"))
                XCTAssertEqual(json["schedule"], JSONValue(try model.optimizer.scheduleInWords()?.name))
                XCTAssertEqual(json["freezing"], .text("chain_thaw"))
                XCTAssertEqual(json["step"], .number(Double(t ?? 0)))
                let rows = try layers(json)
                XCTAssertEqual(rows.count, 3)
                for (layer, row) in rows.enumerated() {
                    assert(row, says: try model.optimizer.info(layer, at: t), "run \(run), layer \(layer)")
                }
            }
        }
    }

    func testJSONWithoutScheduleOrPlan() throws {
        let model = try Model(SGD(lr: 0), sizes: [1])
        let json = try JSONValue(parsing: try model.optimizer.explainJSON())
        XCTAssertEqual([json["schedule"], json["freezing"]], [.null, .null])
        let row = try XCTUnwrap(try layers(json).first)
        XCTAssertEqual(row["schedule_factor"], .null, "0 / 0")
        XCTAssertEqual(["floor_lr", "changes_at", "frozen_by"].map { row[$0] }, [.null, .null, .null])
        XCTAssertEqual(try layers(try JSONValue(parsing: try Optimizer(SGD()).explainJSON())), [])
    }

    func testJSONHasTelemetryWhereItIsOn() throws {
        let model = try Model(LAMB(lr: 0.1), sizes: [4])
        let keys = ["gradient_norm", "weight_norm", "update_ratio", "trust_ratio"]
        func row() throws -> JSONValue {
            try XCTUnwrap(try layers(try JSONValue(parsing: try model.optimizer.explainJSON())).first)
        }
        XCTAssertTrue(try row().keys.isDisjoint(with: keys))
        try model.optimizer.set(settings(["telemetry": 1]))
        XCTAssertEqual(try row()["update_ratio"], .null, "no step yet")
        try model.optimizer.step()
        let telemetry = try model.optimizer.telemetry(0)
        let values = [telemetry.gradientNorm, telemetry.weightNorm, telemetry.updateRatio, telemetry.trustRatio]
        XCTAssertEqual(try keys.map { try row()[$0] }, values.map { .number($0) })
    }

    /// Names with what JSON writes apart.
    func testNamesAreQuoted() throws {
        let name = "a\"b\\c/d é\u{202e}\u{7fff}"
        let optimizer = try Optimizer(SGD(lr: 1))
        let buffer = Buffer(.float32, count: 1)
        try optimizer.addLayer(name, [TensorDescription("w", parameters: buffer.start, shape: [1], dtype: .float32)])
        XCTAssertEqual(try layers(try JSONValue(parsing: try optimizer.explainJSON())).first?["layer"], .text(name))
    }
}
