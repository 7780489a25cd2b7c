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
    ///
    /// With a `delay` it copies the weights and returns.  A thread computes meanwhile, and the result is in force from the step
    /// on that comes `delay` steps after the next, which waits for the thread if need be.  So the thread's speed changes no bit.  A
    /// layer whose weights are not finite then has no new value, where without a delay the call is refused.  A checkpoint or
    /// snapshot that is made meanwhile waits for the result, and has it.
    public func measureSpectra(delay: Int = 0) throws(LayerwiseError) {
        if isTorn { throw Self.torn }
        if settings.dryRun {
            throw LayerwiseError(.invalidArgument, "an optimizer with dry_run has no memory and measures nothing")
        }
        if delay < 0 || delay > mostSteps {
            throw LayerwiseError(.outOfRange, "the delay must be from 0 to \(mostSteps) steps, found \(delay)")
        }
        try checkMemory()
        try refresh()
        guard let policy = spectralPolicy else {
            throw LayerwiseError(
                .invalidArgument,
                "the policy \(type(of: self.policy).declaration.name) goes by no singular values, as temp_balance does")
        }
        if spectraDue != .max {
            throw LayerwiseError(
                .invalidArgument,
                "singular values are being computed already, for the steps from \(spectraDue) on")
        }
        let job = try SpectraJob(
            try spectrumSources(policy), layers: layers.count, policy, copies: delay > 0, blas: try BLAS.current())
        let due = clock.next + Int64(delay)
        if delay == 0 {
            job.wait()
            if let layer = job.firstNonFinite {
                throw LayerwiseError(
                    .nonfinite, "\(subject(layer)): its weights, or their squares, are not finite", layer: layer)
            }
        }
        for layer in 0..<measurements.count {
            measurements.elements[layer].pendingValue = .nan
            measurements.elements[layer].pendingStep = due
        }
        spectraDue = due
        spectraJob = job
        if delay == 0 { applySpectra() } else { job.start() }
    }

    /// The singular values of a tensor of rank 2 or more, squared: of its first two axes at each place of the others.
    public func spectrum(layer: Int, tensor: Int) throws(LayerwiseError) -> Spectrum {
        try check(layer: layer, tensor: tensor)
        if settings.dryRun {
            throw LayerwiseError(.invalidArgument, "an optimizer with dry_run has no memory and measures nothing")
        }
        try checkMemory()
        let source = try spectrumSource(layer, tensor)
        guard let room = SpectrumRoom([source]) else {
            throw .outOfMemory("singular values of \(subject(layer))", layer: layer)
        }
        guard let squares = source.squares(room, try BLAS.current(), isCancelled: { false }) else {
            throw LayerwiseError(
                .nonfinite, "\(subject(layer)): its weights, or their squares, are not finite", layer: layer)
        }
        return Spectrum(squares: squares)
    }

    /// The matrices of all layers and their parts that are large enough.
    private func spectrumSources(_ policy: any SpectralPolicy) throws(LayerwiseError) -> [SpectrumSource] {
        var sources: [SpectrumSource] = []
        for layer in 0..<layers.count {
            for (tensor, place) in entries[layer].tensors.enumerated() where place.part.count > 1 {
                if place.shape.prefix(2).min() ?? 0 < policy.spectra.leastRank { continue }
                sources.append(try spectrumSource(layer, tensor))
            }
        }
        return sources
    }

    private func spectrumSource(_ layer: Int, _ tensor: Int) throws(LayerwiseError) -> SpectrumSource {
        let place = entries[layer].tensors[tensor]
        if place.shape.count < 2 || place.part != place.shape {
            throw LayerwiseError(
                .shape,
                "\(subject(layer, tensor)): singular values are those of a whole tensor of two axes or more",
                layer: layer, tensor: tensor)
        }
        let record = tensors.elements[layers.elements[layer].firstTensor + tensor]
        let (rows, columns) = (place.shape[0], place.shape[1])
        let memory = record.master ?? record.parameters
        return SpectrumSource(
            memory: memory.map { UnsafeRawPointer($0) }, dtype: record.master == nil ? record.dtype : record.laneType,
            rows: rows, columns: columns,
            places: memory == nil || record.count == 0 ? 0 : record.count / (rows * columns),
            unit: layers.elements[layer].whole)
    }

    // MARK: - What is under way

    /// Waits for the thread, and takes its values to the measurements, where checkpoints find them.
    func settleSpectra() {
        guard let job = spectraJob else { return }
        job.wait()
        for layer in 0..<min(measurements.count, job.values.count)
        where measurements.elements[layer].pendingStep == spectraDue {
            measurements.elements[layer].pendingValue = job.values[layer]
        }
        spectraJob = nil
    }

    /// Takes the values that are due into averages and targets.
    func applySpectra() {
        settleSpectra()
        spectraDue = .max
        guard let policy = spectralPolicy else { return }
        let all = UnsafeMutableBufferPointer(start: measurements.elements, count: measurements.count)
        for layer in all.indices {
            guard let step = all[layer].pendingStep, step <= clock.next else { continue }
            let value = all[layer].pendingValue
            all[layer].pendingStep = nil
            if !value.isFinite { continue }
            let old = all[layer].average
            all[layer].average = old.isNaN ? value : old + (1 - policy.spectra.average) * (value - old)
            if all[layer].count < Int64(mostSteps) { all[layer].count += 1 }
        }
        policy.setTargets(all)
        for layer in all.indices where all[layer].target.isFinite {
            all[layer].goal = all[layer].target
            all[layer].stepsToGoal = policy.spectra.ramp
            if policy.spectra.ramp == 0 { all[layer].scale = all[layer].target }
        }
        scalesAreStale = true
        findPendingSpectra()
    }

    /// Moves the scales of the layers stepped on to what was measured.  Whether there were any to move.
    func rampSpectra(_ stepped: Range<Int>) -> Bool {
        let all = measurements.elements
        for layer in 0..<measurements.count { all[layer].isStepped = false }
        for layer in stepped where hasActiveTensor(layer) { all[all[layer].unit].isStepped = true }
        var moves = false
        for layer in 0..<measurements.count where all[layer].isStepped && all[layer].stepsToGoal > 0 {
            all[layer].moveToGoal()
            moves = true
        }
        return moves
    }

    /// Forgets a measurement that is under way.
    func dropSpectra() {
        spectraJob = nil
        spectraDue = .max
    }

    /// Finds out from which step on values are in force that are not yet, as after a load.
    func findPendingSpectra() {
        spectraDue = .max
        if spectralPolicy == nil { return }
        for layer in 0..<measurements.count {
            if let step = measurements.elements[layer].pendingStep { spectraDue = min(spectraDue, step) }
        }
    }
}

/// What a spectral policy keeps in a layer's memory.
extension LayerMeasurement {
    /// The scale that was last aimed at.
    var goal: Double {
        get { max(0, memory[0]) }
        set { memory[0] = newValue }
    }

    /// Steps until the scale is there.
    var stepsToGoal: Int {
        get { memory[1] >= 1 ? Int(exactly: memory[1].rounded(.down)) ?? 1 : 0 }
        set { memory[1] = Double(newValue) }
    }

    /// A value that is not in force yet; NaN where there is none.
    var pendingValue: Double {
        get { memory[2] >= 0 ? memory[2] : .nan }
        set { memory[2] = newValue.isFinite ? newValue : -1 }
    }

    /// The step from which on it is; nil where none is under way.
    var pendingStep: Int64? {
        get { memory[3] >= 1 ? Int64(exactly: memory[3].rounded(.down)).map { $0 - 1 } : nil }
        set { memory[3] = newValue.map { Double($0 + 1) } ?? 0 }
    }

    /// Goes one of equal steps on.
    mutating func moveToGoal() {
        let left = stepsToGoal
        scale = left == 1 ? goal : scale + (goal - scale) / Double(left)
        stepsToGoal = left - 1
    }
}
