// SPDX-License-Identifier: Apache-2.0
import Layerwise
import XCTest

/// A layer whose state is forgotten goes on as a new one.
final class ResetTests: XCTestCase {
    func testGoesOnAsANewLayer() throws {
        for ruleCase in try RuleCase.all() {
            for kind in [Kind(.float32), Kind(.float64), Kind(.bfloat16, gradients: .float32, master: true)] {
                let old = try Model(ruleCase.rule, kind, shapes: [[[20], [3, 4]], [[17]]])
                for _ in 0..<5 {
                    old.drawGradients()
                    try old.optimizer.step()
                }
                let other = try old.state("step", layer: 1)
                try old.optimizer.reset(0)
                let fresh = try Model(ruleCase.rule, kind, shapes: [[[20], [3, 4]], [[17]]], copying: old)
                for tensor in 0..<2 {
                    let states = try old.optimizer.states(layer: 0, tensor: tensor)
                    XCTAssertEqual(states, try fresh.optimizer.states(layer: 0, tensor: tensor))
                    for state in states {
                        XCTAssertEqual(
                            try old.state(state.name, layer: 0, tensor: tensor).values,
                            try fresh.state(state.name, layer: 0, tensor: tensor).values,
                            "\(ruleCase), \(kind), \(state.name)")
                    }
                }
                XCTAssertTrue(try old.state("step", layer: 1).startsAlike(other, 1), "the other layer keeps its state")
                for _ in 0..<3 {
                    for model in [old, fresh] { try model.optimizer.step(StepOptions(layer: 0)) }
                    for tensor in 0..<2 {
                        XCTAssertTrue(
                            old.parameters[0][tensor].startsAlike(fresh.parameters[0][tensor], [20, 12][tensor]),
                            "\(ruleCase), \(kind)")
                    }
                }
            }
        }
    }

    func testLeavesTheRestAlone() throws {
        let model = try Model(Adam(lr: 0.1), sizes: [4, 5])
        try model.optimizer.setSchedule(try Linear(totalSteps: 10))
        try model.optimizer.setLayer(0, settings(["scale": 0.5, "frozen": "yes"]))
        for _ in 0..<3 { try model.optimizer.step() }
        let parameters = model.parameters.map { $0[0].values }
        try model.optimizer.reset(0)
        XCTAssertEqual(model.parameters.map { $0[0].values }, parameters)
        XCTAssertEqual(model.optimizer.summary.steps, 3)
        XCTAssertEqual(model.optimizer.summary.nextStep, 3, "schedules count the optimizer's steps")
        XCTAssertEqual(try model.infos().map(\.scale), [0.5, 1])
        XCTAssertEqual(try model.infos().map(\.frozenBy), [.layer, .nobody])
        assertRefused(.notFound) { try model.optimizer.reset(2) }
        assertRefused(.notFound) { try model.optimizer.reset(-1) }
    }
}
