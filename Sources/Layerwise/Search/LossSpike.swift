// SPDX-License-Identifier: Apache-2.0
import LayerwisePlatform
import LayerwiseRules

/// What counts as a spike of the loss.
public struct LossSpike: Sendable {
    /// With what a loss is compared.
    public enum Threshold: String, CaseIterable, Sendable {
        /// The loss is above the mean of the losses before by more than `limit` of their standard deviations.
        case deviations
        /// The loss is above `limit` times the median of the losses before, which suits losses above 0.
        case ratio
    }

    /// With what a loss is compared.
    public let threshold: Threshold
    /// How far a loss may lie beyond it.
    public let limit: Double

    /// Creates the rule; throws where the limit is outside the range of the threshold.
    public init(_ threshold: Threshold, limit: Double) throws(LayerwiseError) {
        let least = threshold == .ratio ? 1.0 : 0
        if !(limit > least && limit < .infinity) {
            throw LayerwiseError(
                .outOfRange,
                "the limit of \(threshold.rawValue) must be in (\(least == 1 ? "1" : "0"), inf), found \(limit)")
        }
        self.threshold = threshold
        self.limit = limit
    }

    /// Whether `loss` is a spike after the losses `before`.  One that is not finite always is; else nothing is before two finite
    /// losses are known.  Losses before that are not finite do not count.
    public func isSpike(_ loss: Double, after before: [Double]) -> Bool {
        if !loss.isFinite { return true }
        let known = before.filter(\.isFinite)
        if known.count < 2 { return false }
        switch threshold {
        case .deviations:
            let mean = known.reduce(0) { $0 + $1 / Double(known.count) }
            let deviation = standardDeviation(known)
            // Losses that are equal up to rounding have no deviation to speak of.
            let least = 0x1p-40 * mean.magnitude
            return loss - mean > limit * max(deviation, least)
        case .ratio:
            let sorted = known.sorted()
            let middle = sorted.count / 2
            let median = sorted.count % 2 == 1 ? sorted[middle] : 0.5 * sorted[middle - 1] + 0.5 * sorted[middle]
            return median > 0 && loss > limit * median
        }
    }
}
