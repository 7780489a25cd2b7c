// SPDX-License-Identifier: Apache-2.0

/// A value given by key: a number (flags are 0 or 1), or text: the name of a choice, a pattern.
public struct Setting: Sendable, Hashable {
    /// A number, or text.
    public enum Value: Sendable, Hashable {
        /// A number; flags are 0 or 1.
        case number(Double)
        /// The name of a choice, or a pattern.
        case choice(String)

        public static func == (a: Value, b: Value) -> Bool {
            switch (a, b) {
            case (.number(let x), .number(let y)): x == y
            case (.choice(let x), .choice(let y)): NameKey(x) == NameKey(y)
            default: false
            }
        }

        public func hash(into hasher: inout Hasher) {
            switch self {
            case .number(let x): hasher.combine(x)
            case .choice(let text): hasher.combine(NameKey(text))
            }
        }
    }

    /// The key, such as `weight_decay`.
    public let key: String
    /// The value.
    public let value: Value

    /// A number, or a flag that is 0 or 1.
    public init(_ key: String, _ number: Double) {
        self.key = key
        value = .number(number)
    }

    /// The name of a choice, or text.
    public init(_ key: String, _ choice: String) {
        self.key = key
        value = .choice(choice)
    }
}

/// Refuses a key that is given twice.
package func refuseDuplicates(_ settings: [Setting]) throws(SettingError) {
    var seen: Set<NameKey> = []
    for setting in settings where !seen.insert(NameKey(setting.key)).inserted {
        throw .duplicate("\(setting.key) is given twice")
    }
}

/// An interval of valid numbers.
package struct ValidRange: Sendable, CustomStringConvertible {
    let lower: Double
    let upper: Double
    let includesLower: Bool
    let includesUpper: Bool

    /// x ≥ 0, finite.
    package static let nonNegative = ValidRange(lower: 0, upper: .infinity, includesLower: true, includesUpper: false)
    /// x > 0, finite.
    package static let positive = ValidRange(lower: 0, upper: .infinity, includesLower: false, includesUpper: false)
    /// x > 0, where infinity means "no limit".
    package static let limit = ValidRange(lower: 0, upper: .infinity, includesLower: false, includesUpper: true)
    /// x ≤ 0, finite.
    package static let nonPositive = ValidRange(lower: -.infinity, upper: 0, includesLower: false, includesUpper: true)
    /// x ≥ 1, finite.
    package static let atLeastOne = ValidRange(lower: 1, upper: .infinity, includesLower: true, includesUpper: false)
    /// Any finite number.
    package static let finite = ValidRange(
        lower: -.infinity, upper: .infinity, includesLower: false, includesUpper: false)
    /// 0 ≤ x < 1.
    package static let fraction = ValidRange(lower: 0, upper: 1, includesLower: true, includesUpper: false)
    /// 0 < x < 1.
    package static let openFraction = ValidRange(lower: 0, upper: 1, includesLower: false, includesUpper: false)
    /// 0 < x ≤ 1.
    package static let positiveFraction = ValidRange(lower: 0, upper: 1, includesLower: false, includesUpper: true)
    /// 0 ≤ x ≤ 1.
    package static let closedFraction = ValidRange(lower: 0, upper: 1, includesLower: true, includesUpper: true)

    /// Whether `x` is valid.
    package func contains(_ x: Double) -> Bool {
        (includesLower ? x >= lower : x > lower) && (includesUpper ? x <= upper : x < upper)
    }

    package var description: String {
        func text(_ x: Double) -> String {
            if x.isInfinite { return x > 0 ? "inf" : "-inf" }
            return x == x.rounded() && x.magnitude < 1e15 ? String(Int64(x)) : String(x)
        }
        return "\(includesLower ? "[" : "(")\(text(lower)), \(text(upper))\(includesUpper ? "]" : ")")"
    }
}

/// An option with named values, such as `LARS.Norm`.
package protocol Choice: CaseIterable, RawRepresentable, Sendable where RawValue == String {}
