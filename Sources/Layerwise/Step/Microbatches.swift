// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

// What accumulation shows of the noise of gradients: after each micro-batch, the norms of what was added up so far.

extension Optimizer {
    /// Measures the gradients of the micro-batches so far, before the step that takes their sum, for a policy such as
    /// `GradientNoise`.  To be called after each micro-batch, the last one too: the gradients are those that the step would read
    /// at that moment, and `gradientScale` may be any, the same at each call.
    ///
    /// Nothing but measurements changes.  They are forgotten by the next step of all layers, and are in no checkpoint.
    public func measureMicrobatch(_ options: StepOptions = StepOptions()) throws(LayerwiseError) {
        if isTorn { throw Self.torn }
        if settings.dryRun {
            throw LayerwiseError(.invalidArgument, "an optimizer with dry_run has no memory and measures nothing")
        }
        try checkMemory()
        if options.layer != nil {
            throw LayerwiseError(.invalidArgument, "micro-batches are measured of all layers")
        }
        try refresh()
        guard let policy = measuredPolicy, policy.countsMicrobatches else {
            throw LayerwiseError(
                .invalidArgument,
                "the policy \(type(of: self.policy).declaration.name) measures no micro-batches, as gradient_noise does"
            )
        }
        let stepped = try plan(options)
        wakesWorkers = true
        scan(context(), limit: .infinity)
        if isTorn { throw Self.torn }
        _ = gatherNorms(stepped, scale: options.gradientScale, isExact: false)
        if let reduce = options.reduce { _ = try addUpNorms(stepped, reduce) }
        let all = measurements.elements
        for layer in 0..<measurements.count { all[layer].squares = 0 }
        for layer in stepped where layers.elements[layer].whole < measurements.count {
            let norm = layers.elements[layer].gradientNorm.number
            all[all[layers.elements[layer].whole].unit].squares += norm * norm
        }
        for layer in 0..<measurements.count where all[layer].unit == layer {
            all[layer].microbatches.add(all[layer].squares)
        }
    }
}

/// What the running sums of micro-batches tell.  With gradients G + noise of variance S each, the square of the sum of k of them is
/// k²|G|² + k·S in the mean: a line in k once it is divided by k.
struct MicrobatchSums: BitwiseCopyable {
    private(set) var count = 0.0
    /// Of the squares over k, and of these times k.
    private var sum = 0.0
    private var product = 0.0

    mutating func add(_ square: Double) {
        count += 1
        sum += square / count
        product += square
    }

    /// |G|² and S, by least squares; nil for fewer than two micro-batches.
    var line: (signal: Double, noise: Double)? {
        if count < 2 { return nil }
        let mean = 0.5 * (count + 1)
        let signal = (product - mean * sum) / (count * (count * count - 1) / 12)
        return (signal, sum / count - signal * mean)
    }
}
