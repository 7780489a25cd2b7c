// SPDX-License-Identifier: Apache-2.0
import LayerwisePlatform
import LayerwiseRules

/// A way to read a rate off a curve.
///
/// The first four are fastai's (callback/schedule.py), which takes neither the first tenth of a sweep nor its last five losses.
/// They are computed in float64, fastai's in float32.
public enum RateSuggestion: String, CaseIterable, Sendable {
    /// In the longest valley, the longest strictly falling subsequence, two thirds of the way down.
    case valley
    /// Goes left from the end until the slopes at the two ends of a window of 15 losses agree within 0.005.
    case slide
    /// A tenth of the rate of the lowest loss.
    case minimum
    /// Where the loss falls most steeply over the logarithm of the rate.
    case steep
    /// Lightning's: where the loss falls most steeply over the rate itself, without the first ten losses and the last.
    case lightning
    /// Of trials: the highest rate whose loss stays within the spread of the best.
    case spread

    /// The rate; nil where the curve has too few points for it.  `means`: those of the curve.
    func rate(of curve: RateCurve, _ means: [Double]) -> Double? {
        let isSweep = curve.kind == .sweep
        let recorded = means.firstIndex { !$0.isFinite } ?? means.count
        let inner = isSweep ? curve.rates.count / 10..<max(curve.rates.count / 10, recorded - 5) : 0..<recorded
        let (rates, losses) = (Array(curve.rates[inner]), Array(means[inner]))
        switch self {
        case .valley: return Self.valley(rates, losses)
        case .slide: return Self.slide(rates, losses)
        case .minimum: return Self.lowest(losses).map { rates[$0] / 10 }
        case .steep: return Self.steep(rates, losses)
        case .lightning:
            return isSweep ? Self.lightning(Array(curve.rates[..<recorded]), Array(means[..<recorded])) : nil
        case .spread: return isSweep ? nil : Self.spread(curve, means)
        }
    }

    /// The order of the comparisons is fastai's: the start of the valley is noted when a longer one is found first.
    private static func valley(_ rates: [Double], _ losses: [Double]) -> Double? {
        var lengths = [Int](repeating: 1, count: losses.count)
        var (start, end) = (0, 0)
        for i in losses.indices.dropFirst() {
            for j in 0..<i {
                if losses[i] < losses[j] && lengths[i] < lengths[j] + 1 { lengths[i] = lengths[j] + 1 }
                if lengths[end] < lengths[i] {
                    end = i
                    start = end - lengths[end]
                }
            }
        }
        let sections = Double(end - start) / 3
        let index = start + Int(sections) + Int(sections / 2)
        // Without a valley there is nothing to suggest; fastai takes the first rate or the last.
        return end > 0 && rates.indices.contains(index) ? rates[index] : nil
    }

    private static func slide(_ rates: [Double], _ losses: [Double]) -> Double? {
        let window = 15
        if losses.count <= window { return nil }
        let slopes = gradient(losses)
        var right = losses.count - 1
        var left = right - window
        var found = rates[left]
        while left >= 0 && (slopes[right] - slopes[left]).magnitude > 0.005 {
            found = rates[left]
            right -= 1
            left -= 1
        }
        return found
    }

    private static func steep(_ rates: [Double], _ losses: [Double]) -> Double? {
        if losses.count < 2 { return nil }
        let slopes = (1..<losses.count).map { (losses[$0] - losses[$0 - 1]) / (log(rates[$0]) - log(rates[$0 - 1])) }
        return lowest(slopes).map { rates[$0] }
    }

    private static func lightning(_ rates: [Double], _ losses: [Double]) -> Double? {
        if losses.count < 13 { return nil }
        let (rates, losses) = (Array(rates[10..<rates.count - 1]), Array(losses[10..<losses.count - 1]))
        let last = losses.count - 1
        let slopes = losses.indices.map { i -> Double in
            if i == 0 { return (losses[1] - losses[0]) / (rates[1] - rates[0]) }
            if i == last { return (losses[i] - losses[i - 1]) / (rates[i] - rates[i - 1]) }
            // Second order for uneven distances, as in torch.gradient.
            let (left, right) = (rates[i] - rates[i - 1], rates[i + 1] - rates[i])
            let sum = left + right
            return losses[i - 1] * (-right / (left * sum)) + losses[i] * ((right - left) / (left * right))
                + losses[i + 1] * (left / (right * sum))
        }
        return lowest(slopes).map { rates[$0] }
    }

    private static func spread(_ curve: RateCurve, _ means: [Double]) -> Double? {
        guard let best = lowest(means) else { return nil }
        let limit = means[best] + curve.spreads[best]
        let end = means[best...].firstIndex { !($0 <= limit) } ?? means.count
        return curve.rates[end - 1]
    }

    /// The index of the lowest finite number, the first if there are several.
    private static func lowest(_ values: [Double]) -> Int? {
        values.indices.filter { values[$0].isFinite }.min { values[$0] < values[$1] }
    }

    /// Central differences, one-sided at the ends.
    private static func gradient(_ values: [Double]) -> [Double] {
        values.indices.map { i in
            let (low, high) = (max(i - 1, 0), min(i + 1, values.count - 1))
            return (values[high] - values[low]) / Double(high - low)
        }
    }
}
