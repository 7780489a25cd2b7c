// SPDX-License-Identifier: Apache-2.0
import Layerwise
import LayerwiseRules

/// Where all parameters and gradients are: they live as long as the process, and are no leak.
private nonisolated(unsafe) var kept: [UnsafeMutableRawPointer] = []

/// What an optimizer under test is made of.
struct Model {
    var rule = "adamw"
    var settings: [Setting] = []
    /// The names of its layers, each of which has a matrix "w" and, where `dtype` is not float32, a float32 vector "b".
    var layers = ["a", "b"]
    var dtype = DType.float32
    var master = false
    var policy: Spec?
    var schedules: [String: Spec] = [:]
    var freezePlan: Spec?
    /// Reported after each step.
    var metric: Double?

    /// An optimizer that has taken three steps.
    func trained() throws -> Optimizer {
        let optimizer = try Optimizer(rule: rule, settings: settings)
        for (index, name) in layers.enumerated() {
            var tensors = [tensor("w", [2, 3 + index], dtype, master)]
            if dtype != .float32 { tensors.append(tensor("b", [3], .float32, false)) }
            try optimizer.addLayer(name, tensors)
        }
        if let policy { optimizer.setPolicy(try Layerwise.policy(policy)) }
        for (key, spec) in schedules.sorted(by: { $0.key < $1.key }) {
            try optimizer.setSchedule(try schedule(spec), for: key)
        }
        if let freezePlan { optimizer.setFreezePlan(try Layerwise.freezePlan(freezePlan)) }
        for step in 0..<3 {
            try optimizer.step()
            if let metric { try optimizer.report(metric + Double(step)) }
        }
        return optimizer
    }

    private func tensor(_ name: String, _ shape: [Int], _ dtype: DType, _ master: Bool) -> TensorDescription {
        let count = shape.reduce(1, *)
        let memory = (0..<2).map { _ in
            UnsafeMutableRawPointer.allocate(byteCount: count * dtype.size, alignment: 64)
        }
        kept += memory
        for index in 0..<count {
            for (which, start) in memory.enumerated() {
                let value = Double(1 + index) / Double(4 << which)
                switch dtype {
                case .float64: start.storeBytes(of: value, toByteOffset: 8 * index, as: Double.self)
                case .float32: start.storeBytes(of: Float(value), toByteOffset: 4 * index, as: Float.self)
                // The upper half of a float32 is a bfloat16, and some number as a float16.
                default:
                    let bits = UInt16(truncatingIfNeeded: Float(value).bitPattern >> 16)
                    start.storeBytes(of: bits, toByteOffset: 2 * index, as: UInt16.self)
                }
            }
        }
        return TensorDescription(
            name, parameters: memory[0], gradients: UnsafeRawPointer(memory[1]), shape: shape, dtype: dtype,
            master: master)
    }
}
