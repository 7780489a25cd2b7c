// SPDX-License-Identifier: Apache-2.0
import LayerwisePlatform
import LayerwiseRules

/// A policy that goes by the singular values of the weights, when `Optimizer.measureSpectra` is called.
package protocol SpectralPolicy: MeasuredPolicy {
    /// The number that is taken from each spectrum, the layers that count, and how scales follow.
    var spectra: SpectralMeasuring { get }
}

/// What spectral policies have in common.
public struct SpectralMeasuring: Configurable {
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

    /// What is read off: `alpha`, `stable_rank` or `spectral_norm`.
    public var measure = Measure.alpha
    /// Scale of the first layer and the head: `one`, the `highest`, or as `measured`.
    public var ends = Ends.one
    /// Tensors with fewer rows or columns are left out.
    public var leastRank = 50
    /// β of `average ← β · average + (1 − β) · value` over calls: 0 takes the last one's value alone.
    public var average = 0.0
    /// Steps of a layer in which its scale goes from the present one to a new one, in equal parts.
    public var ramp = 0

    /// Everything at its default.
    public init() {}

    package static let parameters: [Parameter<Self>] = [
        .choice("measure", \.measure, "what is read off: \"alpha\", \"stable_rank\" or \"spectral_norm\""),
        .choice(
            "ends", \.ends, "scale of the first layer and the head: \"one\", the \"highest\", or as \"measured\""),
        .integer("least_rank", \.leastRank, 2...1 << 20, "tensors with fewer rows or columns are left out"),
        .number("average", \.average, .fraction, "share of the average that a call keeps; 0: the last value alone"),
        .integer("ramp", \.ramp, 0...mostSteps, "steps in which a scale goes from the present one to a new one"),
    ]
}

extension SpectralPolicy {
    package static var depthDependence: DepthDependence { .always }
    package static var memoryCount: Int { 4 }
    package var measuring: Measuring { Measuring() }

    /// Steps measure nothing.
    package func value(of layer: LayerMeasurement) -> Double? { nil }

    /// The goal outlives a checkpoint.
    package func shownTarget(of layer: LayerMeasurement) -> Double { layer.count > 0 ? layer.goal : .nan }

    /// The value of one tensor; nil where it is undefined.
    func value(of spectrum: Spectrum) -> Double? {
        switch spectra.measure {
        case .alpha: spectrum.tailExponent
        case .stableRank: spectrum.stableRank
        case .spectralNorm: spectrum.norm
        }
    }

    /// Sets targets between `lowest` and `highest` by the share of the way that `share` says of a value.
    func setTargets(
        _ layers: UnsafeMutableBufferPointer<LayerMeasurement>, _ lowest: Double, _ highest: Double,
        share: (_ value: Double, _ all: SpectralValues) -> Double
    ) {
        var all = SpectralValues()
        for layer in layers where isMeasured(layer) { all.add(layer.average) }
        for index in layers.indices {
            let layer = layers[index]
            layers[index].target =
                if layer.isEnd && spectra.ends != .measured {
                    spectra.ends == .one ? 1 : highest
                } else if isMeasured(layer) && all.largest > all.least {
                    lowest + (highest - lowest) * share(layer.average, all)
                } else { 1 }
        }
    }

    private func isMeasured(_ layer: LayerMeasurement) -> Bool {
        layer.count > 0 && (spectra.ends == .measured || !layer.isEnd)
    }
}

/// The values of all layers that have one.
struct SpectralValues {
    private(set) var least = Double.infinity
    private(set) var largest = -Double.infinity
    private var count = 0.0
    private(set) var mean = 0.0
    private var squares = 0.0

    /// By Welford's sums.
    mutating func add(_ value: Double) {
        least = min(least, value)
        largest = max(largest, value)
        count += 1
        let distance = value - mean
        mean += distance / count
        squares += distance * (value - mean)
    }

    /// Of the values themselves, not of what they are drawn from.
    var deviation: Double { (squares / count).squareRoot() }
}
