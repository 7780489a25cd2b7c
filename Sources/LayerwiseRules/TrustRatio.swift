// SPDX-License-Identifier: Apache-2.0

/// A rule that multiplies the change of a tensor by a ratio of norms, such as LARS and LAMB.
///
/// Its first stage measures the weights and the directions, and its second changes the weights by the ratio.
protocol TrustRatioRule: DeclaredRule {
    /// Where the ratio is taken.
    var scope: TrustRatioScope { get }

    /// Whether the first stage advances the states and may leave its directions for the second, which then reads no gradients.
    static var advancesFirst: Bool { get }

    /// Whether the ratio adapts a tensor of this kind; the ratio of others is 1.
    func adapts(_ tensor: TensorTraits) -> Bool

    /// The ratio of tensors that are adapted together, from their norms and rates.
    func trustRatio(_ norms: TrustNorms, rates: TrustRates) -> Double
}

extension TrustRatioRule {
    package var stages: [Stage] {
        [
            .measure(over: scope == .tensor ? .tensor : .layer, keepsDirections: Self.advancesFirst),
            .change(readsGradients: !Self.advancesFirst, keepsDirections: Self.advancesFirst),
        ]
    }

    package var hasTrustRatio: Bool { true }

    package func gather(_ first: Double, _ second: Double, of moment: StepInput, into sums: inout StageSums) {
        if !adapts(moment.tensor) { return }
        TrustNorms.add(weights: first, directions: second, decayScale: decayScale(moment.tensor), to: &sums)
    }

    package func betterScales(_ sums: StageSums) -> StageScales? { TrustNorms.betterScales(sums) }

    package func finish(_ stage: Int, _ sums: StageSums, _ moment: StepInput) -> StageNumbers {
        if !adapts(moment.tensor) { return StageNumbers(repeating: 1) }
        let rates = TrustRates(learningRate: moment.learningRate, decayRate: moment.decayRate)
        return StageNumbers(repeating: min(trustRatio(TrustNorms(sums), rates: rates), .greatestFiniteMagnitude))
    }
}

/// The Euclidean norms that a trust ratio is made of, over all tensors that share it.
package struct TrustNorms: Sendable {
    private let weightSquares, directionSquares: Double
    /// Squares of the weights that decay, by the first and the second power of each tensor's share of the decay.
    private let decaying: (first: Double, second: Double)
    /// What weights and directions were multiplied by before they were squared.
    private let scales: StageScales

    /// The norms of what `add` has added to `sums`.
    init(_ sums: StageSums) {
        weightSquares = sums.values[0]
        directionSquares = sums.values[1]
        decaying = (sums.values[2], sums.values[3])
        scales = sums.scales
    }

    /// Adds sums of squares of a tensor, or of a part of one, whose share of the decay is `decayScale`.
    static func add(weights: Double, directions: Double, decayScale: Double, to sums: inout StageSums) {
        sums.values += SIMD4(weights, directions, decayScale * weights, decayScale * decayScale * weights)
    }

    /// The powers of two that keep the squares in the range of float64; nil where these sums are in range.
    static func betterScales(_ sums: StageSums) -> StageScales? {
        let scales = StageScales(weights: scale(for: sums.values[0]), directions: scale(for: sums.values[1]))
        return scales == StageScales() ? nil : scales
    }

    private static func scale(for sum: Double) -> Double { sum > 0x1p+1000 ? 0x1p-600 : sum < 0x1p-900 ? 0x1p+600 : 1 }

    /// ‖w‖, before the step.
    package var weights: Double { Self.norm(weightSquares, scales.weights) }

    /// ‖direction‖, as the first pass measured it.
    package var directions: Double { Self.norm(directionSquares, scales.directions) }

    /// ‖d·w‖, with each tensor's share of the decay d.
    package var decayingWeights: Double { Self.norm(decaying.second, scales.weights) }

    /// One that is beyond the largest number counts as that.
    private static func norm(_ squares: Double, _ scale: Double) -> Double {
        min(squares.squareRoot() / scale, .greatestFiniteMagnitude)
    }

    /// ‖w − x·d·w‖: what decay by x leaves of the weights.
    func weights(after x: Double) -> Double {
        Self.norm(
            max(
                0,
                weightSquares - decaying.second + ((1 - x) * (1 - x) * decaying.second)
                    - 2 * x * (decaying.first - decaying.second)), scales.weights)
    }
}

/// The rates that a trust ratio may depend on: the tensor's own, or the layer's where its tensors share a ratio.
package struct TrustRates: Sendable {
    /// The rate of the layer at this step.
    package let learningRate: Double
    /// The rate that weight decay is multiplied by.
    package let decayRate: Double

    /// Creates the rates of a step.
    package init(learningRate: Double, decayRate: Double) {
        self.learningRate = learningRate
        self.decayRate = decayRate
    }
}

/// Over what a trust ratio is taken.
public enum TrustRatioScope: String, Choice {
    /// Each tensor has its own, as in every reference implementation.
    case tensor
    /// One for all tensors of a layer.
    case layer
}

/// Which tensors a trust ratio adapts; the others have the ratio 1.
public enum Adapt: String, Choice {
    case all
    /// Only where there is weight decay.
    case decayed
    /// Only tensors of rank 2 or more.
    case matrices

    /// `weightDecay`: λ as it is for this tensor.
    func includes(_ tensor: TensorTraits, weightDecay: Double) -> Bool {
        guard tensor.mayAdapt else { return false }
        return switch self {
        case .all: true
        case .decayed: weightDecay != 0
        case .matrices: tensor.isMatrix
        }
    }
}
