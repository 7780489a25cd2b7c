// SPDX-License-Identifier: Apache-2.0
import Layerwise
import XCTest

/// Layers and tensors that cannot be registered.
final class TensorRefusalTests: XCTestCase {
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
            try assertAllRefused([
                RefusedCall(.duplicate, "a layer is called \"0\" already", add([tensor(start)], name: "0")),
                RefusedCall(
                    .invalidArgument, "a layer's name must have 1 to 255 bytes, found 0", add([tensor(start)], name: "")
                ),
                RefusedCall(
                    .invalidArgument, "a layer's name must have 1 to 255 bytes, found 256",
                    add([tensor(start)], name: long)),
                RefusedCall(
                    .invalidArgument, "a layer's name must not hold control characters",
                    add([tensor(start)], name: "a\nb")),
                RefusedCall(.invalidArgument, "layer \"new\": expected at least one tensor, found none", add([])),
                RefusedCall(
                    .invalidArgument, "a tensor's name must have 1 to 255 bytes, found 0",
                    add([tensor(start, name: "")])),
                RefusedCall(
                    .duplicate, "layer \"new\": tensor \"w\": the layer has a tensor of this name already",
                    add([tensor(start), tensor(start + 64)])),
                RefusedCall(
                    .shape, "layer \"new\": tensor \"w\": extents must not be negative, found shape [2, -1]",
                    add([tensor(start, shape: [2, -1])])),
                RefusedCall(
                    .shape, "layer \"new\": tensor \"w\": shape [4611686018427387904, 4] has too many elements",
                    add([tensor(start, shape: [1 << 62, 4])])),
                RefusedCall(
                    .shape, "layer \"new\": tensor \"w\": shape [\(Int.max)] has too many elements",
                    add([tensor(start, shape: [Int.max])])),
                RefusedCall(
                    .dtype, "layer \"new\": tensor \"w\": parameters must be floating point, found int64",
                    add([tensor(start, dtype: .int64)])),
                RefusedCall(
                    .dtype, "layer \"new\": tensor \"w\": gradients must be float32, found float16",
                    add([tensor(start, gradientDType: .float16)])),
                RefusedCall(
                    .dtype, "layer \"new\": tensor \"w\": gradients must be bfloat16 or float32, found float16",
                    add([tensor(start, dtype: .bfloat16, gradientDType: .float16)])),
                RefusedCall(
                    .dtype, "layer \"new\": tensor \"w\": a master copy is for float16 and bfloat16, found float64",
                    add([tensor(start, dtype: .float64, master: true)])),
                RefusedCall(.invalidArgument, "layer \"new\": tensor \"w\": parameters are NULL", add([tensor(nil)])),
                RefusedCall(
                    .overlap, "layer \"new\": tensor \"w\": parameters and gradients share bytes",
                    add([tensor(start, start + 12)])),
                RefusedCall(
                    .overlap,
                    "layer \"new\": tensor \"v\": parameters share bytes with those of tensor 0 of this layer",
                    add([tensor(start), tensor(start + 12, name: "v")])),
                RefusedCall(
                    .overlap,
                    "layer \"new\": tensor \"v\": gradients share bytes with the parameters of tensor 0 of this layer",
                    add([tensor(start), tensor(start + 64, start, name: "v")])),
                RefusedCall(
                    .overlap,
                    "layer \"new\": tensor \"v\": parameters share bytes with the gradients of tensor 0 of this layer",
                    add([tensor(start, start + 64), tensor(start + 76, name: "v")])),
                RefusedCall(
                    .invalidArgument,
                    "layer \"new\": tensor \"w\": parameters must be aligned to 4 bytes, as float32 is",
                    add([tensor(start + 2)])),
                RefusedCall(
                    .invalidArgument,
                    "layer \"new\": tensor \"w\": gradients must be aligned to 2 bytes, as float16 is",
                    add([tensor(start, start + 65, dtype: .float16)])),
                RefusedCall(
                    .overlap, "layer \"new\": tensor \"w\": the buffer runs past the end of the address space",
                    add([tensor(last)])),
                RefusedCall(
                    .outOfRange, "layer \"new\": lr must be in [0, inf), found -1.0",
                    add([tensor(start)], settings: settings(["lr": -1]))),
                RefusedCall(
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
}
