// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

/// Rates that follow the signal in the gradients: layers whose gradients are mostly noise learn slowly.
///
/// From the norms of the running sums of n micro-batches (`Optimizer.measureMicrobatch`), |G|² of the mean gradient and the variance
/// S of one micro-batch are estimated, both without bias, by least squares: |Σ g|²/k = k|G|² + S.
///
///     scale = |G|² / (|G|² + S/n),   both averaged
///
/// S/|G|² is the noise scale, in micro-batches.
///
/// Source: McCandlish et al. 2018 (An Empirical Model of Large-Batch Training, arXiv:1812.06162): "simple" noise scale of appendix A.1,
/// which compares two sizes of batches, and the rate ε_max / (1 + noise scale / n) of equation 2.6; here for each layer.
///
/// *Edge cases*: a step with fewer than two micro-batches has no value.  An estimate of |G|² below 0, as noise may make it, is 0
/// after averaging, and so is the scale.  Without any gradient there is no value.
public struct GradientNoise: MeasuredPolicy {
    public var measuring = GradientNoise.usual

    public init() {}

    /// Creates the policy; throws if a value is outside its range.  The properties document the settings.
    public init(measuring: Measuring) throws(SettingError) {
        self.measuring = measuring
        try settle()
    }

    /// Estimates of single steps scatter widely; no layer stops altogether.
    public static let usual: Measuring = {
        var measuring = Measuring()
        measuring.average = 0.95
        measuring.warmup = 5
        measuring.minScale = 0.01
        return measuring
    }()

    package static let declaration = Declaration(
        name: "gradient_noise", title: "GradientNoise",
        summary: "rates that follow the share of signal in the gradients of each layer, as micro-batches show it",
        details: """
            Call measure_microbatch after each of the n micro-batches of a step, while gradients add up.  |G|**2 and S, the squared mean \
            gradient and the variance of a micro-batch, follow from the norms of the sums by least squares; scale = |G|**2 / (|G|**2 \
            + S / n), both averaged.  A step without such calls measures nothing.  The scales are those of the next step, and are saved in \
            checkpoints.  Each call reads all gradients once.
            """,
        equation: "scale = |G|²/(|G|² + S/n)",
        source: "McCandlish et al. 2018, arXiv:1812.06162, for each layer")

    package static let parameters: [Parameter<Self>] = Measuring.parameters.map { $0.lifted(\.measuring) }

    package func validate() throws(SettingError) { try measuring.validate() }

    package var countsMicrobatches: Bool { true }

    /// The average of S.
    package static var memoryCount: Int { 1 }

    package func value(of layer: LayerMeasurement) -> Double? {
        guard let line = layer.microbatches.line, line.noise.isFinite, line.signal != 0 || line.noise != 0 else {
            return nil
        }
        return line.signal
    }

    package func setTargets(_ layers: UnsafeMutableBufferPointer<LayerMeasurement>) {
        for index in layers.indices where layers[index].isStepped {
            guard let line = layers[index].microbatches.line else { continue }
            let old = layers[index].memory[0]
            layers[index].memory[0] =
                layers[index].count == 1 ? line.noise : old + (1 - measuring.average) * (line.noise - old)
            let signal = max(0, layers[index].average)
            let noise = max(0, layers[index].memory[0]) / layers[index].microbatches.count
            layers[index].target = signal + noise > 0 ? signal / (signal + noise) : 0
        }
    }
}
