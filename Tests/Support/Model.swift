// SPDX-License-Identifier: Apache-2.0
import Layerwise

/// An optimizer over buffers of its own, filled from a seed, and everything of it that can be seen.
final class Model {
    let optimizer: Optimizer
    /// By layer and tensor.
    let parameters: [[Buffer]]
    let gradients: [[Buffer]]
    private var random: Random
    /// The keys of the rule's hyperparameters.
    private lazy var keys = Self.allKeys.filter { key in (try? optimizer.value(of: key)) != nil }
    private static let allKeys = Set(allRules.flatMap { parameterKeys(of: $0) }).sorted()

    /// Layers "0", "1" ... of tensors "0", "1" ... with these shapes, filled from the seed or from a model alike.
    ///
    /// `rules`: rules of layers in place of the optimizer's, by the layer's index.  `wholes`: the shapes of the tensors of which these
    /// are parts.
    init(
        _ rule: any DeclaredRule, _ kind: Kind = Kind(.float32), shapes: [[[Int]]],
        rules: [Int: any DeclaredRule] = [:],
        settings: Settings = Settings(), policy: any DeclaredPolicy = Uniform(), seed: UInt64 = 1,
        copying source: Model? = nil,
        wholes: [[[Int]]]? = nil
    ) throws {
        optimizer = try Optimizer(rule, policy: policy, settings: settings)
        random = Random(seed: seed)
        parameters = shapes.map { $0.map { Buffer(kind.dtype, count: $0.reduce(1, *)) } }
        gradients = shapes.map { $0.map { Buffer(kind.gradientDType, count: $0.reduce(1, *)) } }
        if let source { copyBuffers(of: source) } else { fill(seed) }
        for layer in shapes.indices {
            try optimizer.addLayer(
                "\(layer)",
                shapes[layer].indices.map { tensor in
                    TensorDescription(
                        "\(tensor)", parameters: parameters[layer][tensor].start,
                        gradients: gradients[layer][tensor].start, shape: shapes[layer][tensor],
                        wholeShape: wholes?[layer][tensor], dtype: kind.dtype, gradientDType: kind.gradientDType,
                        master: kind.master)
                }, rule: rules[layer])
        }
    }

    /// Vectors of these sizes, one to a layer.
    convenience init(
        _ rule: any DeclaredRule, _ kind: Kind = Kind(.float32), sizes: [Int], settings: Settings = Settings()
    ) throws {
        try self.init(rule, kind, shapes: sizes.map { [[$0]] }, settings: settings)
    }

    private func fill(_ seed: UInt64) {
        // Sequences of their own, so that a longer tensor begins as a shorter one does.
        var streams = (parameters: Random(seed: seed), gradients: Random(seed: ~seed))
        for buffer in parameters.joined() {
            buffer.fill { _ in streams.parameters.uniform() }
        }
        for buffer in gradients.joined() {
            buffer.fill { _ in 0.1 * streams.gradients.uniform() }
        }
    }

    private func copyBuffers(of source: Model) {
        for (own, other) in zip(parameters.joined(), source.parameters.joined()) {
            own.bytes.copyBytes(from: other.bytes)
        }
        for (own, other) in zip(gradients.joined(), source.gradients.joined()) {
            own.bytes.copyBytes(from: other.bytes)
        }
    }

    func drawGradients() {
        for buffer in gradients.joined() {
            buffer.fill { _ in 0.1 * random.uniform() }
        }
    }

    func state(_ name: String, layer: Int, tensor: Int = 0) throws -> Buffer {
        guard let info = try optimizer.states(layer: layer, tensor: tensor).first(where: { $0.name == name }) else {
            throw LayerwiseError(.unknownName, "no state \(name)")
        }
        let buffer = Buffer(info.dtype, count: info.count)
        try optimizer.readState(layer: layer, tensor: tensor, name: name, into: buffer.bytes)
        return buffer
    }

    /// The step count of a tensor.
    func steps(layer: Int, tensor: Int = 0) throws -> Int64 {
        var steps: Int64 = -1
        try withUnsafeMutableBytes(of: &steps) {
            try optimizer.readState(layer: layer, tensor: tensor, name: "step", into: $0)
        }
        return steps
    }

    /// Parameters, and states by name.
    func digest() throws -> Digest {
        var digest = Digest()
        let largest = parameters.joined().map(\.count).max() ?? 0
        // A state has eight bytes for each element at most, and may have a few where there are none.
        let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: 8 * max(largest, 1000), alignment: 64)
        defer { memory.deallocate() }
        for layer in parameters.indices {
            for tensor in parameters[layer].indices {
                digest.add(parameters[layer][tensor])
                for state in try optimizer.states(layer: layer, tensor: tensor) {
                    let bytes = UnsafeMutableRawBufferPointer(rebasing: memory[..<state.size])
                    try optimizer.readState(layer: layer, tensor: tensor, name: state.name, into: bytes)
                    digest.add(UnsafeRawBufferPointer(bytes))
                }
            }
        }
        return digest
    }

    /// A digest that covers settings, gradients, summary and telemetry too: a refused call must not change it.
    func fullDigest() throws -> Digest {
        var digest = try digest()
        for buffer in gradients.joined() { digest.add(buffer) }
        digest.add(optimizer.summary.steps)
        digest.add(optimizer.summary.skippedSteps)
        digest.add(optimizer.summary.gradientNorm)
        digest.add(optimizer.summary.clipFactor)
        digest.add(optimizer.summary.nextStep)
        var text = "\(optimizer.layerCount) \(try optimizer.explainJSON()) \(try schedules(layer: nil))"
        for layer in 0..<optimizer.layerCount {
            text += "\(try optimizer.info(layer)) \(try optimizer.states(layer: layer, tensor: 0))"
            text += try schedules(layer: layer)
            for key in keys { text += "\(try optimizer.value(of: key, layer: layer))" }
            digest.add(try optimizer.telemetry(layer))
        }
        for key in keys + Settings.parameters.map(\.key) { text += "\(try optimizer.value(of: key))" }
        var bytes = Array(text.utf8)
        bytes.withUnsafeMutableBytes { digest.add(UnsafeRawBufferPointer($0)) }
        return digest
    }

    /// The schedules of all layers, or those of one, and what reports have left behind in them.
    private func schedules(layer: Int?) throws -> String {
        try keys.compactMap { key in
            try optimizer.schedule(for: key, layer: layer).map { schedule in
                let schedule = schedule.implementation.schedule
                return "\(key): \(schedule.spec) \(schedule.state)"
            }
        }.joined(separator: " ")
    }
}

extension Optimizer {
    /// The schedule of "lr" in words.
    func scheduleInWords(layer: Int? = nil) throws -> Spec? {
        try schedule(layer: layer)?.implementation.schedule.spec
    }
}

/// The keys of the rule's hyperparameters.
func parameterKeys(of rule: any DeclaredRule.Type) -> [String] {
    func keys<R: DeclaredRule>(_: R.Type) -> [String] { R.parameters.map(\.key) }
    return keys(rule)
}

extension Model {
    /// Steps with these gradients in place of the bound ones; nil skips a tensor.
    func step(gradients: [Buffer?], layer: Int? = nil) throws {
        let addresses = gradients.map { $0.map { UnsafeRawPointer($0.start) } }
        try withExtendedLifetime(gradients) {
            try addresses.withUnsafeBufferPointer {
                try optimizer.step(StepOptions(layer: layer, gradients: $0))
            }
        }
    }
}
