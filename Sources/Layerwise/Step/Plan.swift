// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

extension Optimizer {
    /// Marks the tensors that this step takes, with their gradients and coefficients, and returns the layers it concerns.
    /// What it writes is read by this step only, so a refused step leaves no trace.
    func plan(_ options: StepOptions) throws(LayerwiseError) -> Range<Int> {
        let scale = options.gradientScale
        if !(scale > 0 && scale.isFinite) {
            throw LayerwiseError(.outOfRange, "gradient_scale must be in (0, inf), found \(scale)")
        }
        var stepped = 0..<layers.count
        if let layer = options.layer {
            try check(layer: layer)
            stepped = layer..<layer + 1
            for index in 0..<tensors.count { tensors.elements[index].active = false }
        }
        let given = options.gradients
        if let given { try check(given, stepped) }
        var planner = Planner(
            layers: layers.elements, tensors: tensors.elements, coefficients: coefficients, given: given,
            factor: (settings.maximize ? -1 : 1) / scale, powers: powers)
        var layer = stepped.lowerBound
        while layer < stepped.upperBound {
            // Neighbouring layers that share a rule are planned together.
            let rule = layers.elements[layer].rule
            var end = layer + 1
            while end < stepped.upperBound && layers.elements[end].rule == rule { end += 1 }
            planner.plan(rules[rule], layer..<end)
            layer = end
        }
        powers = planner.powers
        return stepped
    }

    /// Refuses gradients given with the step that are too few, too many, or share bytes with parameters.
    private func check(
        _ given: UnsafeBufferPointer<UnsafeRawPointer?>, _ stepped: Range<Int>
    ) throws(LayerwiseError) {
        let expected = stepped.reduce(0) { $0 + layers.elements[$1].tensorCount }
        if given.count != expected {
            throw LayerwiseError(
                .shape,
                "expected \(expected) gradients, one for each tensor of the layers stepped, found \(given.count)")
        }
        var position = 0
        for layer in stepped {
            let record = layers.elements[layer]
            for tensor in 0..<record.tensorCount {
                let gradient = given[position]
                position += 1
                if gradient == nil { continue }
                let own = tensors.elements[record.firstTensor + tensor]
                do throws(LayerwiseError) {
                    try Self.checkAlignment(gradient, own.gradientDType, "\(subject(layer, tensor)): the gradient")
                } catch { throw error.at(layer: layer, tensor: tensor) }
                guard
                    let bytes = IntervalSet.interval(
                        gradient, own.count * own.gradientDType.size, layer: layer, tensor: tensor)
                else {
                    throw LayerwiseError(
                        .overlap, "\(subject(layer, tensor)): the gradient runs past the end of the address space",
                        layer: layer, tensor: tensor)
                }
                if let other = parameterIntervals.firstSharing(bytes) {
                    throw LayerwiseError(
                        .overlap,
                        "\(subject(layer, tensor)): the gradient shares bytes with the parameters of "
                            + subject(other.layer, other.tensor),
                        layer: layer, tensor: tensor)
                }
            }
        }
    }
}

/// Plans layers one after another.
private struct Planner {
    let layers: UnsafeMutablePointer<LayerRecord>
    let tensors: UnsafeMutablePointer<TensorRecord>
    /// Room for the coefficients of each tensor.
    let coefficients: UnsafeMutableRawPointer?
    /// Gradients in place of the bound ones.
    let given: UnsafeBufferPointer<UnsafeRawPointer?>?
    let factor: Double
    var powers: PowerMemo
    private var position = 0

    init(
        layers: UnsafeMutablePointer<LayerRecord>, tensors: UnsafeMutablePointer<TensorRecord>,
        coefficients: UnsafeMutableRawPointer?, given: UnsafeBufferPointer<UnsafeRawPointer?>?, factor: Double,
        powers: PowerMemo
    ) {
        self.layers = layers
        self.tensors = tensors
        self.coefficients = coefficients
        self.given = given
        self.factor = factor
        self.powers = powers
    }

    /// Marks the tensors of `range`, whose layers all have the rule `rule`.
    mutating func plan(_ rule: some Rule, _ range: Range<Int>) {
        let baseRate = rule.learningRate
        for layer in range {
            let record = layers + layer
            let rate = baseRate * record.pointee.scale
            record.pointee.effectiveRate = rate
            record.pointee.clipFactor = 1
            // Tensors of a layer that are at the same step share their coefficients.
            var shared: UnsafeMutableRawPointer?
            var sharedStep: Int64 = -1
            var sharedIsMatrix = false
            for index in record.pointee.firstTensor..<record.pointee.firstTensor + record.pointee.tensorCount {
                let tensor = tensors + index
                let gradient = given.map { $0[position] } ?? tensor.pointee.boundGradient
                position += 1
                tensor.pointee.gradient = gradient
                tensor.pointee.active = gradient != nil && !record.pointee.frozen
                if !tensor.pointee.active { continue }
                tensor.pointee.factor = factor
                tensor.pointee.trustRatio = 1
                let step = tensor.pointee.steps == .max ? .max : tensor.pointee.steps + 1
                let isMatrix = tensor.pointee.isMatrix
                if shared == nil || step != sharedStep || isMatrix != sharedIsMatrix, let coefficients {
                    let slot = coefficients + index * coefficientBytes
                    let moment = PlanMoment(learningRate: rate, step: step, isMatrix: isMatrix)
                    rule.plan(moment, powers: &powers, into: slot)
                    (shared, sharedStep, sharedIsMatrix) = (slot, step, isMatrix)
                }
                tensor.pointee.coefficients = shared
            }
        }
    }
}
