// SPDX-License-Identifier: Apache-2.0
import Layerwise
import XCTest

/// Tensors whose memory an object holds.
final class TensorMemoryTests: XCTestCase {
    /// The same bits as in buffers of the caller.
    func testStepsLikeBuffers() throws {
        let values: [Float] = [1, -2, 3, 0.5, 0.25, -1]
        let memory = try TensorMemory(values, shape: [2, 3])
        memory.withGradients { gradients in
            for index in gradients.indices { gradients[index] = 0.1 * Float(index) }
        }
        let parameters = UnsafeMutableBufferPointer<Float>.allocate(capacity: 6)
        let gradients = UnsafeMutableBufferPointer<Float>.allocate(capacity: 6)
        defer {
            parameters.deallocate()
            gradients.deallocate()
        }
        _ = parameters.initialize(from: values)
        _ = gradients.initialize(from: memory.gradients)
        let optimizer = try Optimizer(AdamW(lr: 0.01))
        try optimizer.addLayer("a", [TensorDescription("w", memory)])
        let other = try Optimizer(AdamW(lr: 0.01))
        try other.addLayer("a", [TensorDescription("w", parameters: parameters, gradients: .init(gradients))])
        for _ in 0..<3 {
            try optimizer.step()
            try other.step()
        }
        XCTAssertEqual(memory.parameters, Array(parameters))
        XCTAssertNotEqual(memory.parameters, values)
    }

    func testAnOptimizerKeepsItAlive() throws {
        weak var held: TensorMemory<Double>?
        var optimizer: Optimizer? = try Optimizer(SGD(lr: 1))
        try {
            let memory = try TensorMemory<Double>([1, 2])
            memory.withGradients { $0[1] = 1 }
            held = memory
            try optimizer?.addLayer("a", [TensorDescription("w", memory)])
        }()
        try optimizer?.step()
        XCTAssertEqual(held?.parameters, [1, 1])
        optimizer = nil
        XCTAssertNil(held)
    }

    func testParametersInPlace() throws {
        let memory = try TensorMemory<Float>([1, 2, 3])
        let sum = memory.withParameters { parameters in
            parameters[0] = 5
            return parameters[0] + parameters[1] + parameters[2]
        }
        XCTAssertEqual(sum, 10)
        XCTAssertEqual(memory.parameters, [5, 2, 3])
        XCTAssertEqual(memory.gradients, [0, 0, 0])
        XCTAssertEqual(try TensorMemory<Float>([], shape: [0, 4]).parameters, [])
    }

    func testShapesThatDoNotFit() {
        for shape in [[2, 2], [-3], [0], [Int.max, 3]] {
            assertRefused(.shape) { _ = try TensorMemory<Float>([1, 2, 3], shape: shape) }
        }
    }
}
