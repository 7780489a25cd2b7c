// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

/// Rates that follow the spectra of the weights: layers whose spectra have light tails learn faster.
///
///     value = α, the exponent of the tail of the squared singular values, in the mean over the matrices of a layer
///     scale = lowest + (highest − lowest) · (value − least) / (largest − least)
///
/// Least and largest are of all layers that have a value.  α is Hill's estimate over the upper half; it is large where a layer is
/// "under-trained".
///
/// Source: Zhou et al. 2023 (Temperature Balancing, NeurIPS 2023), with these defaults, each epoch, for each matrix; first and last layer
/// left out.  With lowest 1, highest 5, ends "highest" and ramp 50 it is LLR (arXiv:2605.22297), for each layer: theirs measures each
/// matrix every 100 steps, and each ramp goes from the present rate to the new one.
///
/// *Edge cases*: a layer without a matrix of `least_rank` rows and columns has scale 1, as have layers with equal values.
public struct TempBalance: SpectralPolicy {
    /// Scale of the layer with the least value.
    public var lowest = 0.5
    /// Scale of the layer with the largest value.
    public var highest = 1.5
    public var spectra = SpectralMeasuring()

    public init() {}

    /// Creates the policy; throws if a value is outside its range.  The properties document the settings.
    public init(
        _ lowest: Double = 0.5, _ highest: Double = 1.5, spectra: SpectralMeasuring = SpectralMeasuring()
    ) throws(SettingError) {
        self.lowest = lowest
        self.highest = highest
        self.spectra = spectra
        try settle()
    }

    package static let declaration = Declaration(
        name: "temp_balance", title: "TempBalance",
        summary: "rates that follow the singular values of the weights, whenever measure_spectra is called",
        details: """
            Call measure_spectra now and then, such as once an epoch.  value = alpha, the exponent of the tail of the squared singular \
            values, in the mean over the matrices of a layer; scale = lowest + (highest - lowest) * (value - least) / (largest - least) \
            over all layers.  Until the first call all scales are 1; from then on they go over to new ones in `ramp` steps.  Scales are \
            saved in checkpoints.  It costs nothing in a step; a call takes about 4 n**3 + 2 n**2 m operations for an n * m matrix, on a \
            thread of its own if it has a delay.
            """,
        equation: "scale = lowest + (highest − lowest)·(α − min)/(max − min)",
        source: "Zhou et al. 2023, TempBalance; LLR, arXiv:2605.22297", positional: ["lowest", "highest"])

    package static let parameters: [Parameter<Self>] =
        [
            .number("lowest", \.lowest, .nonNegative, "scale of the layer with the least value"),
            .number("highest", \.highest, .positive, "scale of the layer with the largest value"),
        ]
        + SpectralMeasuring.parameters.map { $0.lifted(\.spectra) }

    package func validate() throws(SettingError) {
        if lowest > highest { throw .invalid("lowest must not exceed highest, found \(lowest) and \(highest)") }
    }

    package func setTargets(_ layers: UnsafeMutableBufferPointer<LayerMeasurement>) {
        setTargets(layers, lowest, highest) { value, all in (value - all.least) / (all.largest - all.least) }
    }
}
