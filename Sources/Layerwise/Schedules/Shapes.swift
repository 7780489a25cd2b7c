// SPDX-License-Identifier: Apache-2.0
import LayerwisePlatform
import LayerwiseRules

// Curves that several schedules share.

/// ½·(1 + cos angle): from 1 at 0 to 0 at π; 0 where the angle has overflowed.
@inline(__always)
func halfWave(_ angle: Double) -> Double { max(0, 0.5 * (1 + cos(angle))) }

/// The way from one value to another.
public enum Anneal: String, Choice {
    /// end + (start − end)·½(1 + cos(π·share))
    case cosine
    /// start + (end − start)·share
    case linear

    /// `share` of the way, 0 ≤ share ≤ 1, rounded as torch and optax round it.
    func between(_ start: Double, _ end: Double, _ share: Double) -> Double {
        switch self {
        case .cosine: end + (start - end) / 2 * (cos(.pi * share) + 1)
        case .linear: (end - start) * share + start
        }
    }
}

/// The way from 0 to 1.
public enum Ramp: String, Choice {
    /// x
    case linear
    /// ½(1 − cos(πx))
    case cosine
    /// 1 − √(1 − x)
    case oneMinusSquareRoot = "one_minus_sqrt"

    /// For 0 ≤ x ≤ 1.
    func rise(_ x: Double) -> Double {
        switch self {
        case .linear: x
        case .cosine: 0.5 * (1 - cos(.pi * x))
        case .oneMinusSquareRoot: 1 - (1 - x).squareRoot()
        }
    }
}
