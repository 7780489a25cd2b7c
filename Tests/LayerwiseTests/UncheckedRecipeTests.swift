// SPDX-License-Identifier: Apache-2.0
import Foundation
import Layerwise
import XCTest

/// Policies, schedules and plans that were put together in Swift, value by value, and never checked: an optimizer
/// refuses them as it does such rules, and none ends the process.
final class UncheckedRecipeTests: XCTestCase {
    private static let key = "LAYERWISE_TEST_UNCHECKED"

    /// In a process of their own, as what is not refused may end it.
    func testAreRefused() throws {
        if ProcessInfo.processInfo.environment[Self.key] != nil { return }
        for part in ["Schedules", "Policies", "Plans", "Empty"] {
            let child = try Child.run(["UncheckedRecipeTests/testChild\(part)"], environment: [Self.key: "1"])
            XCTAssertEqual(child.status, 0, "\(part): \(child.output.suffix(4000))")
            XCTAssertTrue(child.output.contains("Executed 1 test"), child.output)
        }
    }

    private func optimizer() throws -> Optimizer {
        var settings = Settings()
        settings.dryRun = true
        let optimizer = try Optimizer(AdamW(lr: 1), settings: settings)
        for layer in 0..<3 {
            try optimizer.addLayer(
                "\(layer)", [TensorDescription("w", parameters: nil, shape: [4, 4], dtype: .float32)])
        }
        return optimizer
    }

    /// Refused when it is set, or at the latest when it is asked; and then the optimizer goes on without it.
    private func assertRefused(_ label: String, _ set: (Optimizer) throws -> Void, line: UInt = #line) throws {
        let optimizer = try optimizer()
        XCTAssertThrowsError(
            try {
                try set(optimizer)
                _ = try optimizer.infos(at: 5)
                _ = try optimizer.explain()
            }(), label, line: line
        ) { XCTAssertEqual(($0 as? LayerwiseError)?.code, .outOfRange, "\(label): \($0)", line: line) }
        optimizer.setPolicy(Uniform())
        optimizer.setFreezePlan(nil)
        try optimizer.setSchedule(nil)
        XCTAssertNoThrow(try optimizer.infos(at: 5), label, line: line)
    }

    private func changed<Value>(_ value: Value, _ change: (inout Value) -> Void) -> Value {
        var value = value
        change(&value)
        return value
    }

    func testChildSchedules() throws {
        guard ProcessInfo.processInfo.environment[Self.key] != nil else { return }
        let schedules: [any DeclaredSchedule] = [
            changed(Constant()) { $0.factor = -1 }, changed(Constant()) { $0.factor = .nan },
            changed(try Linear(totalSteps: 9)) { $0.span.totalSteps = -1 },
            changed(try Cosine(totalSteps: 9)) { $0.span.floor.minRate = -0.5 },
            changed(try Exponential(gamma: 0.5)) { $0.every = 0 },
            changed(try Exponential(gamma: 0.5)) { $0.gamma = -2 },
            changed(try StepDecay(every: 5)) { $0.every = 0 },
            changed(try Noam(modelSize: 4, warmupSteps: 4)) { $0.modelSize = -4 },
            changed(try OneCycle(totalSteps: 9)) { $0.phases.pctStart = 7 },
            changed(Cyclic()) { $0.wave.stepSizeUp = 0 }, changed(try Warmup(steps: 4)) { $0.start = -1 },
            changed(ReduceOnPlateau()) { $0.factor = 3 },
        ]
        for schedule in schedules {
            try assertRefused("\(schedule.spec)") { try $0.setSchedule(schedule) }
            try assertRefused("\(schedule.spec) of a layer") { try $0.setSchedule(schedule, layer: 1) }
            XCTAssertThrowsError(try Optimizer(SGD(lr: 1), schedule: schedule), "\(schedule.spec)")
        }
    }

    func testChildPolicies() throws {
        guard ProcessInfo.processInfo.environment[Self.key] != nil else { return }
        let policies: [any DeclaredPolicy] = [
            changed(try LayerDecay(0.5)) { $0.decay = -1 }, changed(try LayerDecay(0.5)) { $0.minScale = .nan },
            changed(try GeometricRange(lowest: 0.5)) { $0.lowest = -1 },
            changed(try ULMFiT(factor: 2)) { $0.factor = 0 },
            changed(try RateSlice(1)) { $0.highest = -1 }, changed(Exclude()) { $0.maxRank = .max },
            changed(try LoRAPlus(ratio: 2, match: "*/w")) { $0.ratio = -1 },
            changed(try MuP([MuP.Base("*/w", fanIn: 2)])) { $0.syntax = .regex },
        ]
        for policy in policies { try assertRefused("\(policy.spec)") { $0.setPolicy(policy) } }
    }

    func testChildPlans() throws {
        guard ProcessInfo.processInfo.environment[Self.key] != nil else { return }
        let plans: [any DeclaredFreezePlan] = [
            changed(try GradualUnfreezing(every: 2)) { $0.stageLength.every = .max },
            changed(try GradualUnfreezing(every: 2)) { $0.first = .min },
            changed(try ChainThaw(every: 2)) { $0.stageLength.every = -1 },
            changed(try FreezeOut(totalSteps: 9)) { $0.totalSteps = .max },
            changed(try FreezeOut(totalSteps: 9)) { $0.start = 1e300 },
            changed(try LayerFreezing(totalSteps: 9)) { $0.level = 1e300 },
            changed(try LayerFreezing(totalSteps: 9)) { $0.totalSteps = 0 },
        ]
        for plan in plans { try assertRefused("\(plan.spec)") { $0.setFreezePlan(plan) } }
    }

    /// Those that lack what they must be given.
    func testChildEmpty() throws {
        guard ProcessInfo.processInfo.environment[Self.key] != nil else { return }
        for kind in allSchedules where (try? schedule(Spec(kind.declaration.name))) == nil {
            try assertRefused(kind.declaration.name) { try $0.setSchedule(kind.init()) }
        }
        for kind in allPolicies where (try? policy(Spec(kind.declaration.name))) == nil {
            try assertRefused(kind.declaration.name) { $0.setPolicy(kind.init()) }
        }
        for kind in allFreezePlans where (try? freezePlan(Spec(kind.declaration.name))) == nil {
            try assertRefused(kind.declaration.name) { $0.setFreezePlan(kind.init()) }
        }
    }
}
