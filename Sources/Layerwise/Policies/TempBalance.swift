// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

/// A policy that goes by the singular values of the weights, when `Optimizer.measureSpectra` is called.
public protocol SpectralPolicy: MeasuredPolicy {
    /// The value of one tensor; nil where it is undefined.
    func value(of spectrum: Spectrum) -> Double?

    /// Tensors with fewer rows or columns are left out.
    var leastRank: Int { get }
}

/// Rates that follow the spectra of the weights: layers whose spectra have light tails learn faster.
///
///     value = α, the exponent of the tail of the squared singular values, in the mean over the matrices of a layer
///     scale = lowest + (highest − lowest) · (value − least) / (largest − least)
///
/// Least and largest are of all layers that have a value.  α is Hill's estimate over the upper half; it is large where a layer is
/// "under-trained".
///
/// Source: Zhou et al. 2023 (Temperature Balancing, NeurIPS 2023), with these defaults, each epoch, for each matrix; first and last layer
/// left out.  With lowest 1, highest 5 and ends "highest" it is LLR (arXiv:2605.22297), for each layer, which ramps to new rates.
///
/// *Edge cases*: a layer without a matrix of `least_rank` rows and columns has scale 1, as have layers with equal values.
public struct TempBalance: SpectralPolicy {
    /// What is read off the singular values.
    public enum Measure: String, Choice {
        case alpha
        case stableRank = "stable_rank"
        case spectralNorm = "spectral_norm"
    }

    /// The scale of layers with the roles stem and head.
    public enum Ends: String, Choice {
        case one, highest, measured
    }

    /// Scale of the layer with the least value.
    public var lowest = 0.5
    /// Scale of the layer with the largest value.
    public var highest = 1.5
    /// What is read off: `alpha`, `stable_rank` or `spectral_norm`.
    public var measure = Measure.alpha
    /// Scale of the first layer and the head: `one`, the `highest`, or as `measured`.
    public var ends = Ends.one
    /// Tensors with fewer rows or columns are left out.
    public var leastRank = 50

    public init() {}

    /// Creates the policy; throws if a value is outside its range.  The properties document the settings.
    public init(
        _ lowest: Double = 0.5, _ highest: Double = 1.5, measure: Measure = .alpha, ends: Ends = .one,
        leastRank: Int = 50
    ) throws(SettingError) {
        self.lowest = lowest
        self.highest = highest
        self.measure = measure
        self.ends = ends
        self.leastRank = leastRank
        try settle()
    }

    public static let declaration = Declaration(
        name: "temp_balance", title: "TempBalance",
        summary: "rates that follow the singular values of the weights, whenever measure_spectra is called",
        details: """
            Call measure_spectra now and then, such as once an epoch.  value = alpha, the exponent of the tail of the squared singular \
            values, in the mean over the matrices of a layer; scale = lowest + (highest - lowest) * (value - least) / (largest - least) \
            over all layers.  Until the first call all scales are 1.  Scales are saved in checkpoints.  It costs nothing in a step; a call \
            takes about 4 n**3 + 2 n**2 m operations for an n * m matrix.
            """,
        equation: "scale = lowest + (highest − lowest)·(α − min)/(max − min)",
        source: "Zhou et al. 2023, TempBalance; LLR, arXiv:2605.22297", positional: ["lowest", "highest"])

    public static let depthDependence = DepthDependence.always

    public static let parameters: [Parameter<Self>] = [
        .number("lowest", \.lowest, .nonNegative, "scale of the layer with the least value"),
        .number("highest", \.highest, .positive, "scale of the layer with the largest value"),
        .choice("measure", \.measure, "what is read off: \"alpha\", \"stable_rank\" or \"spectral_norm\""),
        .choice(
            "ends", \.ends, "scale of the first layer and the head: \"one\", the \"highest\", or as \"measured\""),
        .integer("least_rank", \.leastRank, 2...1 << 20, "tensors with fewer rows or columns are left out"),
    ]

    public func validate() throws(SettingError) {
        if lowest > highest { throw .invalid("lowest must not exceed highest, found \(lowest) and \(highest)") }
    }

    public var measuring: Measuring { Measuring() }

    public func value(of layer: LayerMeasurement) -> Double? { nil }

    public func value(of spectrum: Spectrum) -> Double? {
        switch measure {
        case .alpha: spectrum.tailExponent
        case .stableRank: spectrum.stableRank
        case .spectralNorm: spectrum.norm
        }
    }

    public func setTargets(_ layers: UnsafeMutableBufferPointer<LayerMeasurement>) {
        var least = Double.infinity
        var largest = -Double.infinity
        for layer in layers where isMeasured(layer) {
            least = min(least, layer.average)
            largest = max(largest, layer.average)
        }
        for index in layers.indices {
            let layer = layers[index]
            layers[index].target =
                if layer.isEnd && ends != .measured {
                    ends == .one ? 1 : highest
                } else if isMeasured(layer) && largest > least {
                    lowest + (highest - lowest) * (layer.average - least) / (largest - least)
                } else { 1 }
        }
    }

    private func isMeasured(_ layer: LayerMeasurement) -> Bool {
        layer.count > 0 && (ends == .measured || !layer.isEnd)
    }
}
