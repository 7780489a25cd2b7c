// SPDX-License-Identifier: Apache-2.0
import Layerwise
import LayerwiseRules

/// An optimizer under test, and a checkpoint to begin with.
struct Case {
    let subject: Subject
    let seed: [UInt8]

    init(_ model: Model, _ options: LoadOptions = LoadOptions(), from saver: Model? = nil) throws {
        seed = try Subject.state(of: try (saver ?? model).trained())
        subject = try Subject(try model.trained(), options)
    }
}

/// An optimizer under test, and texts of run states to begin with.
struct TextCase {
    let subject: Subject
    let seeds: [String]

    init(_ model: Model, _ former: String...) throws {
        seeds = [try model.trained().runStateText()] + former
        subject = try Subject(try model.trained())
    }
}

/// Everything that a run state may say, in the words of this version and of 0.1.0.
func textCases() throws -> [TextCase] {
    let sgd = [Setting("lr", 0.1), Setting("momentum", 0.9)]
    let plateau = Spec("reduce_on_plateau", [Setting("patience", 1)])
    let grades = Spec("grades", [Setting("threshold", 1), Setting("total_steps", 9)])
    return [
        try TextCase(
            Model(
                rule: "sgd", settings: sgd, schedules: ["lr": plateau, "momentum": plateau],
                freezePlan: Spec("gradual_unfreezing", [Setting("every", 2)]), metric: 1),
            #"{"next_step": 4, "schedules": {"lr": [0.25, 1.0, 0.0, 0.0]}, "frozen": {"a": "yes", "b": "no"}}"#, "{}"),
        try TextCase(
            Model(policy: Spec("sign_agreement"), freezePlan: grades),
            #"{"next_step": 4, "measurements": {"a": [0.75, 3.0, 1.03, 1.5, 0.5, 4.0, 1.0, 0.25, 2.0]}}"#),
        try TextCase(Model(rule: "prodigy")),
        try TextCase(Model(rule: "prodigy", settings: [Setting("estimate_scope", "layer")])),
        try TextCase(
            Model(rule: "schedule_free_adamw", settings: [Setting("lr", 0.1)]),
            #"{"next_step": 4, "mode": "evaluation"}"#),
    ]
}

/// Rules, types, schedules and plans of all kinds, and every way to load.
func cases() throws -> [Case] {
    let plain = Model()
    let scheduled = Model(
        policy: Spec("layer_decay", [Setting("decay", 0.5)]),
        schedules: [
            "lr": Spec("cosine", [Setting("total_steps", 10)]), "beta1": Spec("constant", [Setting("factor", 0.9)]),
        ])
    let reporting = Model(
        rule: "sgd", settings: [Setting("lr", 0.1), Setting("momentum", 0.9)],
        schedules: ["lr": Spec("reduce_on_plateau", [Setting("patience", 1)])], metric: 1)
    let unfreezing = Model(
        rule: "lamb", dtype: .float64, freezePlan: Spec("gradual_unfreezing", [Setting("every", 2)]))
    let mixed = Model(dtype: .bfloat16, master: true)
    let half = Model(rule: "sgd", settings: [Setting("lr", 0.1), Setting("momentum", 0.9)], dtype: .float16)
    let double = Model(dtype: .float64)
    let named = Model(layers: ["a/b", "c%"])
    let shared = Model(rule: "prodigy")
    let evaluated = Model(rule: "schedule_free_adamw", settings: [Setting("lr", 0.1)])
    return [
        try Case(plain), try Case(scheduled), try Case(reporting), try Case(unfreezing), try Case(mixed),
        try Case(plain, LoadOptions(strict: false)), try Case(reporting, LoadOptions(strict: false)),
        try Case(unfreezing, LoadOptions(strict: false)), try Case(half, LoadOptions(strict: false)),
        try Case(mixed, LoadOptions(convert: true), from: Model(dtype: .float64)),
        try Case(mixed, LoadOptions(strict: false, convert: true), from: plain),
        try Case(double, LoadOptions(strict: false, convert: true), from: mixed),
        try Case(half, LoadOptions(strict: false, convert: true)),
        try Case(plain, LoadOptions(renames: ["a/b": "a", "c%": "b"]), from: named),
        try Case(named, LoadOptions(strict: false, renames: ["a": "c%", "b": "a/b"]), from: plain),
        try Case(plain, LoadOptions(renames: ["a": "b", "b": "a"]), from: Model(layers: ["b", "a"])),
        try Case(shared), try Case(evaluated), try Case(shared, LoadOptions(strict: false)),
        try Case(evaluated, LoadOptions(strict: false)),
    ]
}
