// SPDX-License-Identifier: Apache-2.0
import Layerwise
import XCTest

/// Many steps stay beside the reference: no rounding adds up.
final class DriftTests: XCTestCase {
    func testTwoHundredSteps() throws {
        for ruleCase in try RuleCase.all() {
            // Steps of one size in one direction are rounded alike, by up to half a unit each, as long as the weight stays in
            // its binade; other roundings have no direction.
            let bound = ruleCase.rule is Lion || ruleCase.rule is Rprop ? 200 * 0x1p-25 : 1e-6
            let single = try drift(ruleCase, Kind(.float32), Double.self)
            XCTAssertLessThan(single, bound, "\(ruleCase), float32")
            let master = try drift(ruleCase, Kind(.bfloat16, gradients: .float32, master: true), Double.self)
            XCTAssertLessThan(master, bound, "\(ruleCase), bfloat16 with a master copy")
            let double = try drift(ruleCase, Kind(.float64), Wide.self)
            XCTAssertLessThan(double, 1e-14, "\(ruleCase), float64")
        }
    }

    /// ‖w − w_reference‖ / ‖w_reference‖ after 200 steps.
    private func drift<N: BinaryFloatingPoint>(_ ruleCase: RuleCase, _ kind: Kind, _: N.Type) throws -> Double {
        let shapes = [[11, 13], [57]]
        let model = try Model(ruleCase.rule, kind, shapes: [shapes])
        var layer = shapes.indices.map { tensor in
            ReferenceTensor<N>(
                weights: model.parameters[0][tensor].values.map { N($0) }, gradients: [],
                isMatrix: shapes[tensor].count > 1, floor: 0)
        }
        for _ in 0..<200 {
            model.drawGradients()
            for tensor in shapes.indices { layer[tensor].gradients = model.gradients[0][tensor].values.map { N($0) } }
            XCTAssertTrue(referenceStep(ruleCase.rule, &layer))
            try model.optimizer.step()
        }
        var error: N = 0
        var size: N = 0
        for tensor in shapes.indices {
            let found = kind.master ? try model.state("master", layer: 0, tensor: tensor) : model.parameters[0][tensor]
            for (found, wanted) in zip(found.values, layer[tensor].weights) {
                error += (N(found) - wanted) * (N(found) - wanted)
                size += wanted * wanted
            }
        }
        return Double((error / size).squareRoot())
    }
}
