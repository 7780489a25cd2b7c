// SPDX-License-Identifier: Apache-2.0
import Layerwise
import XCTest

/// Steps and accesses to state that are refused.
final class StepRefusalTests: XCTestCase {
    func testSteps() throws {
        let gradient = Buffer(.float32, count: 333)
        let address: UnsafeRawPointer? = UnsafeRawPointer(gradient.start)
        func step(_ gradients: [UnsafeRawPointer?], layer: Int? = nil) -> (Optimizer) throws -> Void {
            { optimizer in
                try gradients.withUnsafeBufferPointer { try optimizer.step(StepOptions(layer: layer, gradients: $0)) }
            }
        }
        try withExtendedLifetime(gradient) {
            try assertAllRefused([
                RefusedCall(.outOfRange, "gradient_scale must be in (0, inf), found 0.0") {
                    try $0.step(StepOptions(gradientScale: 0))
                },
                RefusedCall(.outOfRange, "gradient_scale must be in (0, inf), found -1.0") {
                    try $0.step(StepOptions(gradientScale: -1))
                },
                RefusedCall(.outOfRange, "gradient_scale must be in (0, inf), found nan") {
                    try $0.step(StepOptions(gradientScale: .nan))
                },
                RefusedCall(.outOfRange, "gradient_scale must be in (0, inf), found inf") {
                    try $0.step(StepOptions(gradientScale: .infinity))
                },
                RefusedCall(.notFound, "no layer has index 2, expected 0 to 1") { try $0.step(StepOptions(layer: 2)) },
                RefusedCall(.notFound, "no layer has index -1, expected 0 to 1") {
                    try $0.step(StepOptions(layer: -1))
                },
                RefusedCall(
                    .invalidArgument,
                    "no layer that trains has a gradient; with the setting empty_step = allow such a step counts and "
                        + "trains nothing",
                    step([nil, nil, nil])),
                RefusedCall(
                    .shape, "expected 3 gradients, one for each tensor of the layers stepped, found 2",
                    step([address, nil])),
                RefusedCall(
                    .shape, "expected 1 gradients, one for each tensor of the layers stepped, found 3",
                    step([nil, nil, address], layer: 1)),
                RefusedCall(
                    .invalidArgument,
                    "layer \"1\": tensor \"0\": the gradient must be aligned to 4 bytes, as float32 is",
                    step([nil, nil, address.map { $0 + 1 }])),
                RefusedCall(
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
        try assertAllRefused([
            RefusedCall(.notFound, "no layer has index 3, expected 0 to 1") { _ = try $0.states(layer: 3, tensor: 0) },
            RefusedCall(.notFound, "layer \"0\": no tensor has index 2, expected 0 to 1") {
                _ = try $0.states(layer: 0, tensor: 2)
            },
            RefusedCall(.notFound, "layer \"1\": no tensor has index -1, expected 0 to 0") {
                try $0.readState(layer: 1, tensor: -1, name: "step", into: memory)
            },
            RefusedCall(.notFound, "layer \"1\": no tensor has index 1, expected 0 to 0") {
                try $0.bind(layer: 1, tensor: 1, parameters: memory.baseAddress, gradients: nil)
            },
            RefusedCall(.invalidArgument, "layer \"1\": tensor \"0\": parameters are NULL") {
                try $0.bind(layer: 1, tensor: 0, parameters: nil, gradients: nil)
            },
            RefusedCall(
                .unknownName,
                "layer \"1\": tensor \"0\": no state is called \"master\", expected one of step, exp_avg, exp_avg_sq",
                { try $0.readState(layer: 1, tensor: 0, name: "master", into: memory) }),
            RefusedCall(.shape, "layer \"1\": tensor \"0\": state \"exp_avg\" has 1332 bytes, the buffer has 1328") {
                try $0.writeState(layer: 1, tensor: 0, name: "exp_avg", from: UnsafeRawBufferPointer(rest))
            },
            RefusedCall(.shape, "layer \"1\": tensor \"0\": state \"step\" has 8 bytes, the buffer has 1332") {
                try $0.readState(layer: 1, tensor: 0, name: "step", into: memory)
            },
            RefusedCall(.outOfRange, "layer \"1\": tensor \"0\": a step count must not be negative") {
                try $0.writeState(layer: 1, tensor: 0, name: "step", from: eight)
            },
        ])
        XCTAssertTrue(memory.allSatisfy { $0 == 0xff }, "a refused read wrote to its buffer")
    }
}
