// SPDX-License-Identifier: Apache-2.0
import LayerwisePlatform
import LayerwiseRules

/// Weight decay, or rates, that follow the spectra of the weights: layers whose spectra have light tails decay more.
///
///     value = α, the exponent of the tail of the squared singular values, in the mean over the matrices of a layer
///     map linear:  factor of λ = lowest + (highest − lowest) · (value − least) / (largest − least)
///     map sigmoid: factor of λ = lowest + (highest − lowest) / (1 + e^(−4z)),  z = (value − mean) / deviation
///
/// Least, largest, mean and deviation are of all layers that have a value.
///
/// Source: AlphaDecay (arXiv:2506.14562) and its repository, each matrix: `tb_linear_map` from 0.5 to 1.5 is the linear map, and
/// `layerwise_sigmoid`, 2 / (1 + e^(−4z)), is the sigmoid from 0 to 2 with z within each block; here z is of a layer among all.
///
/// *Edge cases*: those of TempBalance.  Tensors that do not decay, by policy or rule, do not decay here either.
public struct AlphaDecay: SpectralPolicy {
    /// How a value becomes a factor.
    public enum Map: String, Choice {
        case linear, sigmoid
    }

    /// What the factor is of.
    public enum Subject: String, Choice {
        case decay, rate
    }

    /// Factor of the layer with the least value.
    public var lowest = 0.5
    /// Factor of the layer with the largest value.
    public var highest = 1.5
    /// How values become factors: `linear` or `sigmoid`.
    public var map = Map.linear
    /// What has the factors: the weight `decay` or the `rate`.
    public var of = Subject.decay
    public var spectra = SpectralMeasuring()

    public init() {}

    /// Creates the policy; throws if a value is outside its range.  The properties document the settings.
    public init(
        _ lowest: Double = 0.5, _ highest: Double = 1.5, map: Map = .linear, of: Subject = .decay,
        spectra: SpectralMeasuring = SpectralMeasuring()
    ) throws(SettingError) {
        self.lowest = lowest
        self.highest = highest
        self.map = map
        self.of = of
        self.spectra = spectra
        try settle()
    }

    package static let declaration = Declaration(
        name: "alpha_decay", title: "AlphaDecay",
        summary: "weight decay that follows the singular values of the weights, whenever measure_spectra is called",
        details: """
            Call measure_spectra now and then.  value = alpha, the exponent of the tail of the squared singular values, in the mean over the \
            matrices of a layer.  With map "linear" the weight decay is multiplied by lowest + (highest - lowest) * (value - least) / \
            (largest - least) over all layers; with "sigmoid" by lowest + (highest - lowest) / (1 + exp(-4 z)), z = (value - mean) / \
            standard deviation, which is the published one from 0 to 2.  With of "rate" the rate is multiplied instead.  Until the first \
            call all factors are 1.  They are saved in checkpoints.  It costs what TempBalance costs.
            """,
        equation: "λ · (lowest + (highest − lowest)·(α − min)/(max − min))",
        source: "AlphaDecay, arXiv:2506.14562, for each layer", positional: ["lowest", "highest"])

    package static let parameters: [Parameter<Self>] =
        [
            .number("lowest", \.lowest, .nonNegative, "factor of the layer with the least value"),
            .number("highest", \.highest, .positive, "factor of the layer with the largest value"),
            .choice("map", \.map, "how values become factors: \"linear\" or \"sigmoid\""),
            .choice("of", \.of, "what is multiplied: the weight \"decay\" or the \"rate\""),
        ]
        + SpectralMeasuring.parameters.map { $0.lifted(\.spectra) }

    package func validate() throws(SettingError) {
        if lowest > highest { throw .invalid("lowest must not exceed highest, found \(lowest) and \(highest)") }
    }

    package var scalesDecay: Bool { of == .decay }

    package func setTargets(_ layers: UnsafeMutableBufferPointer<LayerMeasurement>) {
        setTargets(layers, lowest, highest) { value, all in
            switch map {
            case .linear: (value - all.least) / (all.largest - all.least)
            case .sigmoid: 1 / (1 + exp(-4 * (value - all.mean) / all.deviation))
            }
        }
    }
}
