// SPDX-License-Identifier: Apache-2.0
import LayerwisePlatform
import LayerwiseRules

/// The losses that a search for a rate has seen.
///
/// A *sweep* is one run whose rate rises at every step; its losses are smoothed, and its ends are left out, as in fastai.  *Trials*
/// begin from one snapshot, each with one rate.  Both may be repeated with other batches.
public struct RateCurve: Sendable {
    /// How the losses came about.
    public enum Kind: String, CaseIterable, Sendable {
        /// `sweep`: one run whose rate rises from step to step; `trials`: a short run for each rate.
        case sweep, trials

        /// `count` rates from the lowest to the highest, with a constant ratio: lowest · (highest / lowest)^(i / n).  For trials n
        /// is count − 1, so that the last is the highest.  For a sweep n is `count`, as in fastai.
        public func rates(from lowest: Double, to highest: Double, count: Int) throws(LayerwiseError) -> [Double] {
            let ratio = highest / lowest
            if !(lowest > 0 && ratio > 1 && ratio < .infinity && highest < .infinity) {
                throw LayerwiseError(
                    .outOfRange, "rates must rise from above 0 by a finite ratio, found \(lowest) to \(highest)")
            }
            if count < 2 || count > RateCurve.mostRates {
                throw LayerwiseError(
                    .outOfRange, "the number of rates must be from 2 to \(RateCurve.mostRates), found \(count)")
            }
            let steps = Double(self == .sweep ? count : count - 1)
            return (0..<count).map { index in
                Double(index) == steps ? highest : lowest * pow(ratio, Double(index) / steps)
            }
        }
    }

    /// Some suggestions compare all pairs.
    static let mostRates = 1 << 14

    /// How the losses came about.
    public let kind: Kind
    /// Rising.
    public let rates: [Double]
    /// The loss at each rate, by repeat; NaN where a repeat had ended before, or was not finite.
    public let losses: [[Double]]

    /// Creates a curve of losses by rate.
    public init(_ kind: Kind, rates: [Double], losses: [[Double]]) throws(LayerwiseError) {
        if rates.isEmpty || rates.count > Self.mostRates {
            throw LayerwiseError(
                .shape, "the number of rates must be from 1 to \(Self.mostRates), found \(rates.count)")
        }
        if losses.isEmpty || losses.contains(where: { $0.count != rates.count }) {
            throw LayerwiseError(.shape, "expected one loss for each of \(rates.count) rates in each repeat")
        }
        for (lower, higher) in zip([0] + rates, rates) where !(lower < higher && higher < .infinity) {
            throw LayerwiseError(.outOfRange, "rates must be above 0 and rise, found \(higher) after \(lower)")
        }
        self.kind = kind
        self.rates = rates
        self.losses = losses
    }

    /// The mean over repeats, of smoothed losses in a sweep; NaN from where one of the repeats is not finite.
    public var means: [Double] {
        let curves = kind == .sweep ? losses.map { Self.smoothed($0, steps: rates.count) } : losses
        let means = rates.indices.map { index in
            curves.reduce(0) { $0 + $1[index] } / Double(curves.count)
        }
        guard kind == .sweep, let end = means.firstIndex(where: { !$0.isFinite }) else {
            return means.map { $0.isFinite ? $0 : .nan }
        }
        return means[..<end] + Array(repeating: .nan, count: means.count - end)
    }

    /// The standard deviation over repeats at each rate, after the median of each repeat is taken away: a batch that is hard at every
    /// rate says nothing about rates, and neither does how far a loss explodes.  0 for one repeat; NaN where a loss is not finite.
    public var spreads: [Double] {
        let finite = rates.indices.filter { index in losses.allSatisfy { $0[index].isFinite } }
        let centres = losses.map { own in median(finite.map { own[$0] }) }
        let isFinite = Set(finite)
        return rates.indices.map { index in
            if !isFinite.contains(index) { return .nan }
            return standardDeviation(zip(losses, centres).map { $0[index] - $1 })
        }
    }

    /// m ← β·m + (1 − β)·loss, divided by 1 − β^t.  β = 0.98 at 100 steps, as in fastai and Lightning; a shorter sweep has less to
    /// average over: β = 0.98^(100 / steps).
    private static func smoothed(_ losses: [Double], steps: Int) -> [Double] {
        let keep = steps < 100 ? pow(0.98, 100 / Double(steps)) : 0.98
        var (average, share) = (0.0, 1.0)
        return losses.map { loss in
            average = keep * average + (1 - keep) * loss
            share *= keep
            return average / (1 - share)
        }
    }

    /// Whether a sweep of `steps` steps that has seen these losses so far need not go on: its smoothed loss is not finite, or above
    /// 4 times the lowest, as in fastai.
    public static func hasDiverged(_ losses: [Double], steps: Int) -> Bool {
        let smoothed = smoothed(losses, steps: max(1, steps))
        guard let last = smoothed.last else { return false }
        return !last.isFinite || last > 4 * (smoothed.min() ?? last)
    }

    /// Factors divided by their geometric mean: how layers differ, at the level that all had.  A factor that is not above 0 and finite,
    /// of a layer for which none was found, is passed over and becomes 1.
    package static func levelled(_ factors: [Double]) -> [Double] {
        let known = factors.filter { $0 > 0 && $0 < .infinity }
        if known.isEmpty { return factors.map { _ in 1 } }
        let level = exp(known.reduce(0) { $0 + log($1) } / Double(known.count))
        return factors.map { $0 > 0 && $0 < .infinity ? $0 / level : 1 }
    }

    /// As JSON: {"mean": [...], "spread": [...], "suggestions": {name: rate or null}}.
    package var json: String {
        let means = means
        return JSON.object([
            ("mean", JSON.array(means.map { JSON.number($0) })),
            ("spread", JSON.array(spreads.map { JSON.number($0) })),
            (
                "suggestions",
                JSON.object(RateSuggestion.allCases.map { ($0.rawValue, JSON.number($0.rate(of: self, means))) })
            ),
        ])
    }
}

/// The middle value, the lower one of two; 0 for none.
private func median(_ values: [Double]) -> Double {
    values.isEmpty ? 0 : values.sorted()[(values.count - 1) / 2]
}

/// n − 1 in the denominator; 0 for fewer than two.
func standardDeviation(_ values: [Double]) -> Double {
    if values.count < 2 { return 0 }
    let mean = values.reduce(0, +) / Double(values.count)
    return (values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(values.count - 1)).squareRoot()
}
