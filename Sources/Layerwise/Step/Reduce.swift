// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

// Sums over processes.  Where tensors are spread over processes, each steps its part, and whatever depends on a norm needs that
// of the whole: the check for NaN and infinity, clipping, trust ratios, telemetry.  All of these are sums of squares, so a
// step asks for sums, the same ones in the same order in every process.

extension Optimizer {
    /// Adds up the square of each layer's gradient norm; returns the norm of all.
    func addUpNorms(_ stepped: Range<Int>, _ reduce: StepOptions.Reduce) throws(LayerwiseError) -> Double {
        var squares = stepped.map { layers.elements[$0].gradientNorm * layers.elements[$0].gradientNorm }
        if !squares.withUnsafeMutableBufferPointer({ reduce($0) }) {
            throw LayerwiseError(.reduce, "the sums over processes failed; nothing was changed")
        }
        for (layer, square) in zip(stepped, squares) { layers.elements[layer].gradientNorm = square.squareRoot() }
        return Self.norm(stepped) { layers.elements[$0].gradientNorm }
    }

    /// What a gradient that is not finite is called in a process that does not hold it.
    func elsewhere(_ options: StepOptions) -> LayerwiseError? {
        options.reduce == nil
            ? nil : LayerwiseError(.nonfinite, "a gradient is NaN or infinite, or its square is, in another process")
    }

    /// Adds up what trust ratios are made of.
    func addUp(_ norms: inout [TrustNorms], _ reduce: StepOptions.Reduce) throws(LayerwiseError) {
        var sums = norms.flatMap { [$0.sums.0, $0.sums.1, $0.sums.2, $0.sums.3] }
        if !sums.withUnsafeMutableBufferPointer({ reduce($0) }) {
            throw LayerwiseError(
                .reduce,
                "the sums over processes failed: moments are those after this step, parameters and step counts those before it"
            )
        }
        for index in norms.indices {
            norms[index].sums = (sums[4 * index], sums[4 * index + 1], sums[4 * index + 2], sums[4 * index + 3])
        }
    }

    /// Adds up the norms that were observed; NaN where that failed, since the step is done.
    func addUpTelemetry(_ stepped: Range<Int>, _ measured: Measurement, _ reduce: StepOptions.Reduce) {
        var squares = stepped.flatMap { layer in
            let telemetry = layers.elements[layer].telemetry
            return [telemetry.gradientNorm, telemetry.weightNorm, telemetry.updateNorm].map { $0 * $0 }
        }
        let succeeded = squares.withUnsafeMutableBufferPointer { reduce($0) }
        for (position, layer) in stepped.enumerated() {
            let norms = (0..<3).map { succeeded ? squares[3 * position + $0].squareRoot() : .nan }
            let record = layers.elements + layer
            // One that was measured is that of the whole already.
            if !measured.isMeasured { record.pointee.telemetry.gradientNorm = norms[0] }
            record.pointee.telemetry.weightNorm = norms[1]
            record.pointee.telemetry.updateNorm = norms[2]
        }
    }
}
