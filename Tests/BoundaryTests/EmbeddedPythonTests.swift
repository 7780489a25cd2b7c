// SPDX-License-Identifier: Apache-2.0
import Foundation
import Layerwise
import XCTest

/// The Python package, driven from an interpreter inside this process, on buffers that Swift owns: the same run through
/// Python → C → Swift and through Swift alone gives the same bits.
final class EmbeddedPythonTests: XCTestCase {
    /// A rule and its settings, as Python says it and as Swift does.
    private struct Run {
        let python: String
        let rule: String
        let settings: [Setting]
    }

    private static let runs = [
        Run(
            python: "lw.SGD(lr=0.03, momentum=0.9, nesterov=True, weight_decay=0.07)", rule: "sgd",
            settings: [
                Setting("lr", 0.03), Setting("momentum", 0.9), Setting("nesterov", 1), Setting("weight_decay", 0.07),
            ]),
        Run(
            python: "lw.LARS(lr=0.7, weight_decay=0.03, variant='mae')", rule: "lars",
            settings: [Setting("variant", "mae"), Setting("lr", 0.7), Setting("weight_decay", 0.03)]),
        Run(
            python: "lw.Adam(lr=0.03, betas=(0.8, 0.95), eps=1e-6, weight_decay=0.07, amsgrad=True)", rule: "adam",
            settings: [
                Setting("lr", 0.03), Setting("beta1", 0.8), Setting("beta2", 0.95), Setting("eps", 1e-6),
                Setting("weight_decay", 0.07), Setting("amsgrad", 1),
            ]),
        Run(python: "lw.AdamW(lr=0.03)", rule: "adamw", settings: [Setting("lr", 0.03)]),
        Run(
            python: "lw.LAMB(lr=0.03, weight_decay=0.07, decay='decoupled')", rule: "lamb",
            settings: [Setting("lr", 0.03), Setting("weight_decay", 0.07), Setting("decay", "decoupled")]),
    ]

    private static let shapes = ["body.weight": [37, 29], "body.bias": [37], "head.weight": [60000]]

    func testSameBitsAsSwift() throws {
        let python = try Python.shared.get()
        for run in Self.runs {
            for dtype in [DType.float32, .float64] {
                let label = "\(run.rule), \(dtype.name)"
                let (owned, wrapped) = (Tensors(dtype, Self.shapes), Tensors(dtype, Self.shapes))
                let states = try stepInSwift(run, owned)
                let seen = Tensors(dtype, states.shapes)
                let succeeded = withExtendedLifetime((wrapped, seen)) { python.run(script(run, wrapped, seen)) }
                XCTAssertTrue(succeeded, "\(label): the script raised, see its traceback above")
                XCTAssertTrue(owned.parametersEqual(wrapped), "\(label): parameters differ")
                XCTAssertTrue(states.parametersEqual(seen), "\(label): states differ")
            }
        }
    }

    /// An error of the library arrives as the exception that a user would catch, and nothing has changed.
    func testRefusalArrivesAsAnException() throws {
        let python = try Python.shared.get()
        let tensors = Tensors(.float32, ["layer.weight": [40]])
        let untouched = Tensors(.float32, ["layer.weight": [40]])
        let code = """
            \(preamble)
            with lw.Optimizer(lw.SGD(lr=0.5)) as opt:
                opt.add_layer("layer", {"weight": \(tensors.view("layer.weight"))})
                try:
                    opt.add_layer("again", {"weight": \(tensors.view("layer.weight"))})
                except ValueError as error:
                    assert isinstance(error, lw.LayerwiseError) and "share bytes" in str(error), error
                else:
                    raise AssertionError("overlapping buffers were accepted")
            """
        XCTAssertTrue(withExtendedLifetime(tensors) { python.run(code) })
        XCTAssertTrue(tensors.parametersEqual(untouched))
    }

    private var preamble: String {
        """
        import ctypes, sys
        sys.path.insert(0, \(quoted(Checkout.path("python"))))
        import layerwise as lw
        """
    }

    private func script(_ run: Run, _ tensors: Tensors, _ states: Tensors) -> String {
        let reads = states.names.map { name in
            let parts = name.split(separator: "/")
            let place = parts[0].split(separator: ".")
            return """
                    opt.layer("\(place[0])").read_state("\(place[1])", "\(parts[1])", out=\(states.view(name)))
                """
        }
        return """
            \(preamble)
            with lw.Optimizer(\(run.python), policy=lw.LayerDecay(0.5), threads=2) as opt:
                opt.add_layer(
                    "body", {"weight": \(tensors.view("body.weight")), "bias": \(tensors.view("body.bias"))},
                    grads={"weight": \(tensors.gradientView("body.weight")), "bias": \(tensors.gradientView("body.bias"))})
                opt.add_layer(
                    "head", {"weight": \(tensors.view("head.weight"))},
                    grads={"weight": \(tensors.gradientView("head.weight"))})
                opt.step()
                opt.layer("head").freeze()
                opt.step()
                opt.layer("head").unfreeze()
                opt.set(clip_global_norm=0.5)
                opt.step()
                opt.lr = 0.01
                opt.step()
            \(reads.joined(separator: "\n"))
            """
    }

    /// Makes the same run in Swift; returns the moments.
    private func stepInSwift(_ run: Run, _ tensors: Tensors) throws -> Tensors {
        let optimizer = try Optimizer(rule: run.rule, settings: run.settings)
        optimizer.setPolicy(try LayerDecay(0.5))
        try optimizer.addLayer("body", [tensors.description("body.weight"), tensors.description("body.bias")])
        try optimizer.addLayer("head", [tensors.description("head.weight")])
        try optimizer.step()
        try optimizer.setFrozen(1, true)
        try optimizer.step()
        try optimizer.setFrozen(1, false)
        try optimizer.set([Setting("clip_global_norm", 0.5)])
        try optimizer.step()
        try optimizer.set([Setting("lr", 0.01)])
        try optimizer.step()

        let places = [("body.weight", 0, 0), ("body.bias", 0, 1), ("head.weight", 1, 0)]
        var shapes: [String: [Int]] = [:]
        for (name, layer, tensor) in places {
            for state in try optimizer.states(layer: layer, tensor: tensor) where state.dtype == tensors.dtype {
                shapes["\(name)/\(state.name)"] = [state.count]
            }
        }
        let states = Tensors(tensors.dtype, shapes)
        for (name, layer, tensor) in places {
            for state in try optimizer.states(layer: layer, tensor: tensor) where state.dtype == tensors.dtype {
                try optimizer.readState(
                    layer: layer, tensor: tensor, name: state.name, into: states.parameters("\(name)/\(state.name)"))
            }
        }
        return states
    }
}

private func quoted(_ text: String) -> String {
    "\"" + text.replacingOccurrences(of: "\\", with: "\\\\").replacingOccurrences(of: "\"", with: "\\\"") + "\""
}

/// Named buffers in Swift's memory, filled alike every time, and how Python reaches them.
private final class Tensors {
    let dtype: DType
    let shapes: [String: [Int]]
    private var buffers:
        [String: (parameters: UnsafeMutableRawBufferPointer, gradients: UnsafeMutableRawBufferPointer)] =
            [:]

    init(_ dtype: DType, _ shapes: [String: [Int]]) {
        self.dtype = dtype
        self.shapes = shapes
        for name in shapes.keys {
            let count = count(name)
            let pair = (parameters: allocate(count), gradients: allocate(count))
            for i in 0..<count {
                store(Double(i % 101) / 50 - 1, pair.parameters, i)
                store(Double(i % 37) / 200 - 0.09, pair.gradients, i)
            }
            buffers[name] = pair
        }
    }

    deinit {
        for pair in buffers.values {
            pair.parameters.deallocate()
            pair.gradients.deallocate()
        }
    }

    var names: [String] { shapes.keys.sorted() }

    func parameters(_ name: String) -> UnsafeMutableRawBufferPointer { pair(name).parameters }

    func description(_ name: String) -> TensorDescription {
        TensorDescription(
            String(name.split(separator: ".")[1]), parameters: pair(name).parameters.baseAddress,
            gradients: UnsafeRawPointer(pair(name).gradients.baseAddress), shape: shapes[name] ?? [], dtype: dtype)
    }

    /// A Python expression for the memory, as a ctypes array of its shape.
    func view(_ name: String) -> String { view(name, pair(name).parameters) }
    func gradientView(_ name: String) -> String { view(name, pair(name).gradients) }

    func parametersEqual(_ other: Tensors) -> Bool {
        withExtendedLifetime((self, other)) {
            names == other.names
                && names.allSatisfy {
                    let (a, b) = (parameters($0), other.parameters($0))
                    return a.count == b.count && a.elementsEqual(b)
                }
        }
    }

    private func view(_ name: String, _ buffer: UnsafeMutableRawBufferPointer) -> String {
        let element = dtype == .float64 ? "ctypes.c_double" : "ctypes.c_float"
        // An array of rows has its extents from the outside in.
        let type = (shapes[name] ?? []).reversed().reduce(element) { "(\($0) * \($1))" }
        return "\(type).from_address(\(UInt(bitPattern: buffer.baseAddress)))"
    }

    private func pair(
        _ name: String
    ) -> (parameters: UnsafeMutableRawBufferPointer, gradients: UnsafeMutableRawBufferPointer) {
        guard let pair = buffers[name] else { fatalError("no tensor is called \(name)") }
        return pair
    }

    private func count(_ name: String) -> Int { (shapes[name] ?? []).reduce(1, *) }

    private func allocate(_ count: Int) -> UnsafeMutableRawBufferPointer {
        .allocate(byteCount: count * dtype.size, alignment: 64)
    }

    private func store(_ x: Double, _ buffer: UnsafeMutableRawBufferPointer, _ index: Int) {
        if dtype == .float64 {
            buffer.storeBytes(of: x, toByteOffset: 8 * index, as: Double.self)
        } else {
            buffer.storeBytes(of: Float(x), toByteOffset: 4 * index, as: Float.self)
        }
    }
}
