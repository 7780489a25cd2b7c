// SPDX-License-Identifier: Apache-2.0
import CLayerwise
import Layerwise

@_cdecl("lw_search_rates") @implementation
public func lw_search_rates(
    _ kind: UnsafePointer<CChar>!, _ lowest: Double, _ highest: Double, _ rates: UnsafeMutablePointer<Double>!,
    _ rate_count: Int64, _ error: UnsafeMutablePointer<lw_error>!
) -> Int32 {
    boundary(error) { () throws(LayerwiseError) in
        let found = try searchKind(kind).rates(from: lowest, to: highest, count: index(rate_count))
        let rates = try require(rates, "rates")
        for (position, rate) in found.enumerated() { rates[position] = rate }
    }
}

@_cdecl("lw_search_analyse") @implementation
public func lw_search_analyse(
    _ kind: UnsafePointer<CChar>!, _ rates: UnsafePointer<Double>!, _ rate_count: Int64,
    _ losses: UnsafePointer<Double>!, _ repeat_count: Int64, _ text: UnsafeMutablePointer<CChar>!, _ capacity: Int64,
    _ needed: UnsafeMutablePointer<Int64>!, _ error: UnsafeMutablePointer<lw_error>!
) -> Int32 {
    boundary(error) { () throws(LayerwiseError) in
        let kind = try searchKind(kind)
        let rates = try values(rates, rate_count)
        let losses = try rows(losses, repeat_count, of: rate_count, "repeat_count")
        try copy(try RateCurve(kind, rates: rates, losses: losses).json, text, capacity, needed)
    }
}

@_cdecl("lw_search_judge") @implementation
public func lw_search_judge(
    _ scores: UnsafePointer<Double>!, _ candidate_count: Int64, _ repeat_count: Int64,
    _ text: UnsafeMutablePointer<CChar>!, _ capacity: Int64, _ needed: UnsafeMutablePointer<Int64>!,
    _ error: UnsafeMutablePointer<lw_error>!
) -> Int32 {
    boundary(error) { () throws(LayerwiseError) in
        let scores = try rows(scores, candidate_count, of: repeat_count, "candidate_count")
        try copy(try Standing(scores).json, text, capacity, needed)
    }
}

@_cdecl("lw_search_is_spike") @implementation
public func lw_search_is_spike(
    _ threshold: UnsafePointer<CChar>!, _ limit: Double, _ losses: UnsafePointer<Double>!, _ loss_count: Int64,
    _ loss: Double, _ spikes: UnsafeMutablePointer<Int32>!, _ error: UnsafeMutablePointer<lw_error>!
) -> Int32 {
    boundary(error) { () throws(LayerwiseError) in
        let name = try string(threshold, "threshold")
        guard let threshold = LossSpike.Threshold(rawValue: name) else {
            throw LayerwiseError(.unknownName, "threshold must be deviations or ratio, found \"\(name)\"")
        }
        let spike = try LossSpike(threshold, limit: limit)
        let before = try values(losses, loss_count)
        try require(spikes, "spikes").pointee = spike.isSpike(loss, after: before) ? 1 : 0
    }
}

@_cdecl("lw_search_has_diverged") @implementation
public func lw_search_has_diverged(
    _ losses: UnsafePointer<Double>!, _ loss_count: Int64, _ rate_count: Int64,
    _ diverged: UnsafeMutablePointer<Int32>!, _ error: UnsafeMutablePointer<lw_error>!
) -> Int32 {
    boundary(error) { () throws(LayerwiseError) in
        let losses = try values(losses, loss_count)
        try require(diverged, "diverged").pointee = RateCurve.hasDiverged(losses, steps: index(rate_count)) ? 1 : 0
    }
}

@_cdecl("lw_search_scales") @implementation
public func lw_search_scales(
    _ factors: UnsafePointer<Double>!, _ count: Int64, _ scales: UnsafeMutablePointer<Double>!,
    _ error: UnsafeMutablePointer<lw_error>!
) -> Int32 {
    boundary(error) { () throws(LayerwiseError) in
        let found = RateCurve.levelled(try values(factors, count))
        if found.isEmpty { return }
        let scales = try require(scales, "scales")
        for (position, scale) in found.enumerated() { scales[position] = scale }
    }
}

private func searchKind(_ kind: UnsafePointer<CChar>?) throws(LayerwiseError) -> RateCurve.Kind {
    let name = try string(kind, "kind")
    if let kind = RateCurve.Kind(rawValue: name) { return kind }
    throw LayerwiseError(.unknownName, "kind must be sweep or trials, found \"\(name)\"")
}

/// `count` rows of `length` numbers, side by side.
private func rows(
    _ numbers: UnsafePointer<Double>?, _ count: Int64, of length: Int64, _ name: String
) throws(LayerwiseError) -> [[Double]] {
    let most: Int64 = 1 << 14
    if count < 1 || count > most || length < 1 || length > most || count * length > 1 << 20 {
        throw LayerwiseError(
            .invalidArgument,
            "\(name) and the count of numbers in each must be from 1 to \(most), and 1048576 together, found \(count) and "
                + "\(length)")
    }
    let all = try values(numbers, count * length)
    let length = Int(length)
    return (0..<Int(count)).map { Array(all[($0 * length)..<(($0 + 1) * length)]) }
}
