// SPDX-License-Identifier: Apache-2.0
import LayerwisePlatform
import LayerwiseRules

/// How candidates of a tournament stand after a round, by scores of which less is better.
public struct Standing: Sendable {
    /// By candidate.
    public let means: [Double]
    /// The standard deviation over repeats.
    public let spreads: [Double]
    /// The candidates, best first; of equal ones the earlier.
    public let order: [Int]
    /// The candidates that cannot be distinguished from the best, which is one of them: the mean difference over paired repeats is below what
    /// chance would give in 95 of 100 cases, by Student's t.  One repeat tells nothing of chance, and then only equal scores tie.
    public let tied: [Int]

    /// `scores`: by candidate and repeat; one that is not finite is worse than any other.
    public init(_ scores: [[Double]]) throws(LayerwiseError) {
        let repeats = scores.first?.count ?? 0
        if repeats == 0 || scores.contains(where: { $0.count != repeats }) {
            throw LayerwiseError(.shape, "expected as many scores, at least one, for each candidate")
        }
        let means = scores.map { own -> Double in
            let mean = own.reduce(0, +) / Double(repeats)
            return mean.isFinite ? mean : .infinity
        }
        self.means = means
        spreads = zip(scores, means).map { $1.isFinite ? standardDeviation($0) : .nan }
        order = scores.indices.sorted { (means[$0], $0) < (means[$1], $1) }
        let best = order[0]
        tied = order.filter { candidate in
            if candidate == best { return true }
            if !means[candidate].isFinite { return false }
            let differences = zip(scores[candidate], scores[best]).map { $0 - $1 }
            let error = standardDeviation(differences) / Double(repeats).squareRoot()
            return means[candidate] - means[best] <= Self.studentT(repeats - 1) * error
        }
    }

    /// The two-sided 95 % quantile of Student's t.
    private static func studentT(_ freedom: Int) -> Double {
        let quantiles = [
            12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
            2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
        ]
        if freedom < 1 { return 0 }
        return freedom <= quantiles.count ? quantiles[freedom - 1] : 1.96
    }

    /// As JSON: {"mean": [...], "spread": [...], "order": [...], "tied": [...]}; a mean that is not finite is null.
    package var json: String {
        JSON.object([
            ("mean", JSON.array(means.map { JSON.number($0) })),
            ("spread", JSON.array(spreads.map { JSON.number($0) })),
            ("order", JSON.array(order.map { "\($0)" })), ("tied", JSON.array(tied.map { "\($0)" })),
        ])
    }
}
