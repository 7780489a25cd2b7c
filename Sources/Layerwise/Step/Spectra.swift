// SPDX-License-Identifier: Apache-2.0
import LayerwisePlatform
import LayerwiseRules

/// The singular values of one tensor's matrices, squared, rising.
public struct Spectrum: Sendable {
    /// The squares, in ascending order.
    public let squares: [Double]

    /// α of a power law of the upper half of the squares, by Hill's estimator: 1 + n / Σ ln(λᵢ/λ_k) over the n largest, λ_k the smallest
    /// of them.  nil where there are fewer than two, or one of them is 0.
    public var tailExponent: Double? {
        let first = squares.count / 2
        let tail = squares[first...]
        guard tail.count > 1, let least = tail.first, least > 0 else { return nil }
        let sum = tail.reduce(0) { $0 + log($1 / least) }
        return sum > 0 ? 1 + Double(tail.count) / sum : nil
    }

    /// ‖W‖² / σ₁²; nil for a matrix of zeros.
    public var stableRank: Double? {
        guard let largest = squares.last, largest > 0 else { return nil }
        return squares.reduce(0, +) / largest
    }

    /// σ₁.
    public var norm: Double { (squares.last ?? 0).squareRoot() }
}

extension Optimizer {
    /// Computes the singular values of the weights, for a policy such as `TempBalance`, and sets its scales, for the steps to come.
    ///
    /// It takes about 4 n³ + 2 n² m operations for an n × m matrix, n ≤ m, so it is called now and then: once an epoch.
    public func measureSpectra() throws(LayerwiseError) {
        if isTorn { throw Self.torn }
        if settings.dryRun {
            throw LayerwiseError(.invalidArgument, "an optimizer with dry_run has no memory and measures nothing")
        }
        try checkMemory()
        try refresh()
        guard let policy = measuredPolicy as? any SpectralPolicy else {
            throw LayerwiseError(
                .invalidArgument,
                "the policy \(type(of: self.policy).declaration.name) goes by no singular values, as temp_balance does")
        }
        var values: [Double?] = []
        for layer in 0..<layers.count {
            values.append(layers.elements[layer].whole == layer ? try spectralValue(layer, policy) : nil)
        }
        let all = UnsafeMutableBufferPointer(start: measurements.elements, count: measurements.count)
        for layer in all.indices {
            all[layer].isStepped = false
            guard let value = values[layer], value.isFinite else { continue }
            all[layer].average = value
            if all[layer].count < Int64(mostSteps) { all[layer].count += 1 }
        }
        policy.setTargets(all)
        for layer in all.indices where all[layer].target.isFinite { all[layer].scale = all[layer].target }
        scalesAreStale = true
    }

    /// The singular values of a tensor of rank 2 or more, squared: of its first two axes at each place of the others.
    public func spectrum(layer: Int, tensor: Int) throws(LayerwiseError) -> Spectrum {
        try check(layer: layer, tensor: tensor)
        if settings.dryRun {
            throw LayerwiseError(.invalidArgument, "an optimizer with dry_run has no memory and measures nothing")
        }
        try checkMemory()
        let place = entries[layer].tensors[tensor]
        if place.shape.count < 2 || place.part != place.shape {
            throw LayerwiseError(
                .shape,
                "\(subject(layer, tensor)): singular values are those of a whole tensor of two axes or more",
                layer: layer, tensor: tensor)
        }
        return Spectrum(squares: try squares(layers.elements[layer].firstTensor + tensor, place.shape))
    }

    /// The mean over the matrices of a layer and its parts that are large enough; nil where there is none.
    private func spectralValue(_ whole: Int, _ policy: any SpectralPolicy) throws(LayerwiseError) -> Double? {
        var sum = 0.0
        var count = 0.0
        for layer in CollectionOfOne(whole) + parts(of: whole) {
            for (tensor, place) in entries[layer].tensors.enumerated() where place.part.count > 1 {
                if place.shape.prefix(2).min() ?? 0 < policy.leastRank { continue }
                guard let value = policy.value(of: try spectrum(layer: layer, tensor: tensor)) else { continue }
                sum += value
                count += 1
            }
        }
        return count > 0 ? sum / count : nil
    }

    private func squares(_ index: Int, _ shape: [Int]) throws(LayerwiseError) -> [Double] {
        let record = tensors.elements + index
        let layer = record.pointee.layer
        guard let memory = record.pointee.master ?? record.pointee.parameters, record.pointee.count > 0 else {
            return []
        }
        let dtype = record.pointee.master == nil ? record.pointee.dtype : record.pointee.laneType
        let (rows, columns) = (shape[0], shape[1])
        let places = record.pointee.count / (rows * columns)
        let (short, long) = (min(rows, columns), max(rows, columns))
        let bytes = (short * short + short) * MemoryLayout<Double>.size
        guard let room = Memory.allocateZeroed(bytes) else {
            throw .outOfMemory("singular values of \(subject(layer))", layer: layer)
        }
        defer { Memory.free(room, bytes) }
        let gram = room.bindMemory(to: Double.self, capacity: short * short + short)
        let line = gram + short * short
        var squares: [Double] = []
        for place in 0..<places {
            gram.update(repeating: 0, count: short * short)
            for far in 0..<long {
                for near in 0..<short {
                    let element = rows <= columns ? near * columns + far : far * columns + near
                    line[near] = Self.element(memory, element * places + place, dtype)
                }
                for near in 0..<short where line[near] != 0 {
                    let own = gram + near * short
                    let factor = line[near]
                    for other in 0..<short { own[other] += factor * line[other] }
                }
            }
            guard let own = Eigenvalues.of(gram, short) else {
                throw LayerwiseError(
                    .nonfinite, "\(subject(layer)): its weights, or their squares, are not finite", layer: layer)
            }
            squares += own.map { max(0, $0) }
        }
        return squares.sorted()
    }
}
