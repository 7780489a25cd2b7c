// SPDX-License-Identifier: Apache-2.0

/// A value given by key: a number (flags are 0 or 1), or the name of a choice.
public struct Setting: Sendable, Equatable {
    public enum Value: Sendable, Equatable {
        case number(Double)
        case choice(String)
    }

    public let key: String
    public let value: Value

    public init(_ key: String, _ number: Double) {
        self.key = key
        value = .number(number)
    }

    public init(_ key: String, _ choice: String) {
        self.key = key
        value = .choice(choice)
    }
}

/// Why a setting was refused.
public enum SettingError: Error, Equatable {
    /// No such key, or no such choice.
    case unknown(String)
    /// A key given twice.
    case duplicate(String)
    /// A value outside its range, a number where a choice is expected or the reverse, or values that exclude each other.
    case invalid(String)
}

/// An interval of valid numbers.
public struct ValidRange: Sendable, CustomStringConvertible {
    let lower: Double
    let upper: Double
    let includesLower: Bool
    let includesUpper: Bool

    /// x ≥ 0, finite.
    public static let nonNegative = ValidRange(lower: 0, upper: .infinity, includesLower: true, includesUpper: false)
    /// x > 0, finite.
    public static let positive = ValidRange(lower: 0, upper: .infinity, includesLower: false, includesUpper: false)
    /// x > 0, where infinity means "no limit".
    public static let limit = ValidRange(lower: 0, upper: .infinity, includesLower: false, includesUpper: true)
    /// 0 ≤ x < 1.
    public static let fraction = ValidRange(lower: 0, upper: 1, includesLower: true, includesUpper: false)
    /// 0 < x ≤ 1.
    public static let positiveFraction = ValidRange(lower: 0, upper: 1, includesLower: false, includesUpper: true)
    /// 0 ≤ x ≤ 1.
    public static let closedFraction = ValidRange(lower: 0, upper: 1, includesLower: true, includesUpper: true)

    public func contains(_ x: Double) -> Bool {
        (includesLower ? x >= lower : x > lower) && (includesUpper ? x <= upper : x < upper)
    }

    public var description: String {
        func text(_ x: Double) -> String {
            if x == .infinity { return "inf" }
            return x == x.rounded() && x.magnitude < 1e15 ? String(Int64(x)) : String(x)
        }
        return "\(includesLower ? "[" : "(")\(text(lower)), \(text(upper))\(includesUpper ? "]" : ")")"
    }
}

/// An option with named values, such as `LARS.Norm`.
public protocol Choice: CaseIterable, RawRepresentable, Sendable where RawValue == String {}
