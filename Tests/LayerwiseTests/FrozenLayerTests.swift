// SPDX-License-Identifier: Apache-2.0
import Glibc
import Layerwise
import XCTest

/// What a freezing plan does to the layers: frozen ones are not touched, and thawed ones go on where they stopped.
final class FrozenLayerTests: XCTestCase {
    private static func plans() throws -> [any DeclaredFreezePlan] {
        [
            try GradualUnfreezing(every: 4), try ChainThaw(every: 3), try LayerFreezing(totalSteps: 20),
            try FreezeAt([FreezeAt.Times("0", unfreezeAt: 9, freezeAt: 4), FreezeAt.Times("2", unfreezeAt: 3)]),
            try FreezeOut(totalSteps: 18, start: 0.5, spacing: .linear),
        ]
    }

    private func activities(_ plan: any DeclaredFreezePlan, layers: Int) throws -> [Activity] {
        try plan.activities(of: (0..<layers).map { LayerDescriptor(name: "\($0)", depth: $0) })
    }

    private func isActive(_ activity: Activity, _ step: Int64) -> Bool { activity.spans.contains { $0.contains(step) } }

    /// Parameters, every state and the step count of a layer.
    private func digest(_ model: Model, layer: Int) throws -> Digest {
        var digest = Digest()
        for tensor in model.parameters[layer].indices {
            digest.add(model.parameters[layer][tensor])
            for state in try model.optimizer.states(layer: layer, tensor: tensor) {
                digest.add(try model.state(state.name, layer: layer, tensor: tensor))
            }
        }
        return digest
    }

    // MARK: - Untouched

    func testFrozenLayersAreNotTouched() throws {
        for ruleCase in try RuleCase.representatives() {
            for plan in try Self.plans() {
                for kind in [Kind(.float32), Kind(.float16, gradients: .float32, master: true)] {
                    try checkUntouched(ruleCase, plan, kind)
                }
            }
        }
    }

    private func checkUntouched(_ ruleCase: RuleCase, _ plan: any DeclaredFreezePlan, _ kind: Kind) throws {
        let layers = 5
        let model = try Model(ruleCase.rule, kind, shapes: Array(repeating: [[20], [3, 4]], count: layers))
        let activities = try activities(plan, layers: layers)
        model.optimizer.setFreezePlan(plan)
        for t: Int64 in 0..<24 {
            model.drawGradients()
            let active = activities.map { isActive($0, t) }
            let before = try (0..<layers).map { try digest(model, layer: $0) }
            // What is frozen is not read either: not by the check for NaN, not by norms.
            for layer in 0..<layers where !active[layer] {
                for buffer in model.gradients[layer] { buffer[0] = .nan }
            }
            let infos = try model.infos()
            try model.optimizer.step()
            for layer in 0..<layers {
                let label = "\(ruleCase), \(plan.spec.name), \(kind), step \(t), layer \(layer)"
                XCTAssertEqual(try digest(model, layer: layer) == before[layer], !active[layer], label)
                XCTAssertEqual(infos[layer].frozenBy, active[layer] ? .nobody : .plan, label)
                XCTAssertEqual(infos[layer].effectiveRate == 0, !active[layer], label)
            }
        }
        for layer in 0..<layers {
            XCTAssertEqual(
                try model.steps(layer: layer), Int64((0..<24).filter { isActive(activities[layer], $0) }.count))
        }
    }

    // MARK: - Thawed

    /// A layer that was frozen by a plan has lived the steps at which it was active, and no others: moments and bias
    /// correction go on.
    func testThawedLayersGoOn() throws {
        for ruleCase in try RuleCase.representatives() {
            // FreezeOut's rates depend on the step.
            for plan in try Self.plans() where plan.spec.name != "freeze_out" {
                let planned = try Model(ruleCase.rule, shapes: Array(repeating: [[20], [3, 4]], count: 5))
                let single = try Model(ruleCase.rule, shapes: Array(repeating: [[20], [3, 4]], count: 5))
                let activities = try activities(plan, layers: 5)
                planned.optimizer.setFreezePlan(plan)
                for t: Int64 in 0..<24 {
                    for model in [planned, single] { model.drawGradients() }
                    try planned.optimizer.step()
                    for layer in 0..<5 where isActive(activities[layer], t) {
                        try single.optimizer.step(StepOptions(layer: layer))
                    }
                    XCTAssertEqual(
                        try planned.digest(), try single.digest(), "\(ruleCase), \(plan.spec.name), step \(t)")
                }
            }
        }
    }

    // MARK: - FreezeOut

    /// rate × ½(1 + cos(π·t/(tᵢ·T)))/tᵢ, on top of the schedule, and 0 from tᵢ·T on.
    func testFreezeOutAnnealsRates() throws {
        for scaled in [true, false] {
            let model = try Model(SGD(lr: 0.1), Kind(.float64), sizes: [1, 1, 1])
            model.optimizer.setPolicy(try Explicit(["0": 1, "1": 0.5, "2": 2]))
            model.optimizer.setFreezePlan(
                try FreezeOut(totalSteps: 20, start: 0.5, spacing: .squared, scaled: scaled))
            let schedule = try Warmup(steps: 5, start: 0.2)
            try model.optimizer.setSchedule(schedule)
            for t in 0..<25 {
                for layer in 0..<3 {
                    model.parameters[layer][0][0] = 0
                    model.gradients[layer][0][0] = 1
                }
                try model.optimizer.step()
                for (layer, scale) in [1, 0.5, 2].enumerated() {
                    let share = [0.25, 0.5625, 1][layer]
                    let end = share * 20
                    let annealing = 0.5 * (1 + cos(.pi * Double(t) / end)) / (scaled ? share : 1)
                    let wanted = Double(t) < end ? 0.1 * scale * schedule.value(at: Int64(t)) * annealing : 0
                    XCTAssertEqual(-model.parameters[layer][0][0], wanted, accuracy: 1e-16, "step \(t), layer \(layer)")
                }
            }
        }
    }

    /// A layer that is unfrozen by hand does not follow the plan: neither its end nor its annealing.
    func testUnfrozenLayersAreNotAnnealed() throws {
        let model = try Model(SGD(lr: 0.5), Kind(.float64), sizes: [1, 1])
        model.optimizer.setFreezePlan(try FreezeOut(totalSteps: 10, start: 0.5, spacing: .linear))
        try model.optimizer.setFrozen(0, false)
        for t: Int64 in [0, 3, 5, 9, 10, 50] {
            XCTAssertEqual(try model.optimizer.info(0, at: t).effectiveRate, 0.5, "step \(t)")
            try model.optimizer.seek(t)
            model.parameters[0][0][0] = 0
            model.gradients[0][0][0] = 1
            try model.optimizer.step()
            XCTAssertEqual(model.parameters[0][0][0], -0.5, "step \(t)")
        }
    }

    // MARK: - By hand

    func testByHandOverThePlanAndBack() throws {
        let model = try Model(SGD(lr: 1), Kind(.float64), sizes: [1, 1, 1])
        model.optimizer.setFreezePlan(try GradualUnfreezing(every: 10))
        func moved(_ t: Int64) throws -> [Bool] {
            try model.optimizer.seek(t)
            for layer in 0..<3 {
                model.parameters[layer][0][0] = 0
                model.gradients[layer][0][0] = 1
            }
            try model.optimizer.step()
            return model.parameters.map { $0[0][0] != 0 }
        }
        XCTAssertEqual(try moved(0), [false, false, true])
        XCTAssertEqual(try moved(10), [false, true, true])
        try model.optimizer.setFrozen(0, false)
        try model.optimizer.setFrozen(2, true)
        XCTAssertEqual(try moved(0), [true, false, false])
        XCTAssertEqual(try moved(30), [true, true, false])
        XCTAssertEqual(try model.infos().map(\.frozenBy), [.nobody, .nobody, .layer])
        XCTAssertEqual(try model.optimizer.infos(at: 0).map(\.changesAt), [nil, 10, nil])
        try model.optimizer.setLayer(0, settings(["frozen": "plan"]))
        try model.optimizer.unsetLayer(2, key: "frozen")
        XCTAssertEqual(try moved(0), [false, false, true])
        XCTAssertEqual(try model.optimizer.infos(at: 0).map(\.changesAt), [20, 10, nil])
        try model.optimizer.setLayer(1, settings(["frozen": "no"]))
        XCTAssertEqual(try moved(0), [false, true, true])
        XCTAssertEqual(try model.optimizer.value(of: "frozen", layer: 1), .choice("no"))
        model.optimizer.setFreezePlan(nil)
        XCTAssertEqual(try moved(0), [true, true, true])
        model.optimizer.setFreezePlan(try FreezeAt([FreezeAt.Times("*", unfreezeAt: 5)]))
        XCTAssertEqual(try moved(0), [false, true, false])
        XCTAssertEqual(try moved(5), [true, true, true])
    }

    func testPlansAreChangedBetweenSteps() throws {
        let model = try Model(SGD(lr: 1), sizes: [1, 1, 1])
        let states: [(any DeclaredFreezePlan, [LayerInfo.FrozenBy])] = [
            (try GradualUnfreezing(every: 10), [.plan, .plan, .nobody]),
            (try ChainThaw(every: 5), [.plan, .plan, .nobody]),
            (try FreezeAt([FreezeAt.Times("2", freezeAt: 0)]), [.nobody, .nobody, .plan]),
            (try LayerFreezing(totalSteps: 100), [.nobody, .nobody, .nobody]),
        ]
        for (plan, frozen) in states {
            model.optimizer.setFreezePlan(plan)
            XCTAssertEqual(try model.infos().map(\.frozenBy), frozen)
            let before = model.parameters.map { $0[0][0] }
            try model.optimizer.step()
            XCTAssertEqual(zip(before, model.parameters).map { $0 == $1[0][0] }, frozen.map { $0 == .plan })
        }
    }

    /// A plan that names no layer refuses the step, and nothing changes.
    func testPlanThatMatchesNothing() throws {
        let model = try Model(SGD(lr: 1), sizes: [3, 4])
        try model.optimizer.step()
        let before = try model.digest()
        model.optimizer.setFreezePlan(try FreezeAt([FreezeAt.Times("body", freezeAt: 3)]))
        assertRefused(.unknownName, message: "freezing plan: no layer is called \"body\", expected one of \"0\", \"1\"")
        {
            try model.optimizer.step()
        }
        assertRefused(.unknownName, message: "freezing plan: no layer is called \"body\", expected one of \"0\", \"1\"")
        {
            _ = try model.optimizer.explain()
        }
        XCTAssertEqual(try model.digest(), before)
        let (body, gradient) = (Buffer(.float32, [0]), Buffer(.float32, [1]))
        try model.optimizer.addLayer(
            "body",
            [TensorDescription("w", parameters: body.start, gradients: gradient.start, shape: [1], dtype: .float32)])
        try model.optimizer.step()
        XCTAssertEqual(body[0], -1)
    }

    // MARK: - Resuming

    /// A run that is saved and resumed elsewhere thaws at the same steps, to the same bits.
    func testResumedRunThawsAtTheSameStep() throws {
        let rule = Adam(lr: 0.1)
        let schedule = try Cosine(totalSteps: 30, warmupSteps: 4)
        for plan in try Self.plans() {
            for saved: Int64 in [0, 1, 4, 5, 11, 17] {
                func make(copying source: Model? = nil) throws -> Model {
                    let model = try Model(rule, shapes: Array(repeating: [[20]], count: 5), copying: source)
                    model.optimizer.setFreezePlan(plan)
                    try model.optimizer.setSchedule(schedule)
                    return model
                }
                let whole = try make()
                for _ in 0..<saved { try whole.optimizer.step() }
                let resumed = try make(copying: whole)
                for layer in 0..<5 {
                    for state in try whole.optimizer.states(layer: layer, tensor: 0) {
                        let kept = try whole.state(state.name, layer: layer)
                        try withExtendedLifetime(kept) {
                            try resumed.optimizer.writeState(
                                layer: layer, tensor: 0, name: state.name, from: UnsafeRawBufferPointer(kept.bytes))
                        }
                    }
                }
                try resumed.optimizer.seek(whole.optimizer.summary.nextStep)
                for t in saved..<24 {
                    for model in [whole, resumed] { try model.optimizer.step() }
                    XCTAssertEqual(
                        try resumed.digest(), try whole.digest(), "\(plan.spec.name), saved at \(saved), step \(t)")
                }
            }
        }
    }

    // MARK: - Random runs

    /// In 200 random runs nothing moves before its thaw, and everything that is active moves.
    func testNothingTrainsBeforeItsThaw() throws {
        var random = Random(seed: 42)
        for run in 0..<200 {
            let layers = Int.random(in: 1...6, using: &random)
            let places = (0..<layers).map { layer in
                LayerDescriptor(
                    name: "\(layer)", depth: Int.random(in: 0...4, using: &random),
                    tower: ["", "b"].randomElement(using: &random) ?? "",
                    role: [LayerRole.stem, .block, .norm, .head].randomElement(using: &random) ?? .block)
            }
            let plan = try randomPlan(&random, layers: layers)
            let activities = try plan.activities(of: places)
            let model = try Model(SGD(lr: 0.5), Kind(.float64), sizes: Array(repeating: 2, count: layers))
            for (layer, place) in places.enumerated() {
                try model.optimizer.setLayer(
                    layer,
                    [
                        Setting("depth", Double(place.depth)), Setting("tower", place.tower),
                        Setting("role", place.role.rawValue),
                    ])
            }
            model.optimizer.setFreezePlan(plan)
            var t: Int64 = 0
            for _ in 0..<30 {
                if Int.random(in: 0..<12, using: &random) == 0 {
                    t = Int64.random(in: 0..<40, using: &random)
                    try model.optimizer.seek(t)
                }
                let before = try (0..<layers).map { try digest(model, layer: $0) }
                try model.optimizer.step()
                for layer in 0..<layers {
                    let label = "run \(run): \(plan.spec), layer \(layer), step \(t)"
                    let moved = try digest(model, layer: layer) != before[layer]
                    XCTAssertEqual(moved, isActive(activities[layer], t), label)
                    let change = try model.optimizer.info(layer, at: t).changesAt
                    XCTAssertEqual(change, nextChange(activities[layer], after: t), label)
                }
                t += 1
            }
        }
    }

    /// By looking at every step.
    private func nextChange(_ activity: Activity, after step: Int64) -> Int64? {
        (step + 1...step + 200).first { isActive(activity, $0) != isActive(activity, step) }
    }

    private func randomPlan(_ random: inout Random, layers: Int) throws -> any DeclaredFreezePlan {
        let norms = Bool.random(using: &random)
        let every = Int.random(in: 1...8, using: &random)
        let total = Int.random(in: 1...40, using: &random)
        switch Int.random(in: 0..<5, using: &random) {
        case 0:
            return try GradualUnfreezing(
                every: every, stepsPerEpoch: Int.random(in: 1...2, using: &random),
                first: Int.random(in: 1...3, using: &random), trainNorms: norms)
        case 1: return try ChainThaw(every: every, trainNorms: norms)
        case 2: return try LayerFreezing(totalSteps: total, start: 0.3, level: 0.8, trainNorms: norms)
        case 3:
            return try FreezeOut(
                totalSteps: total, start: 0.4, spacing: .squared, scaled: Bool.random(using: &random), trainNorms: norms
            )
        default:
            let thaw = Int.random(in: 0...20, using: &random)
            let freeze = thaw + (Bool.random(using: &random) ? every : -min(thaw, every))
            return try FreezeAt([
                FreezeAt.Times(
                    "\(Int.random(in: 0..<layers, using: &random))", unfreezeAt: thaw,
                    freezeAt: freeze == thaw ? nil : freeze),
                FreezeAt.Times("*", unfreezeAt: every),
            ])
        }
    }
}
