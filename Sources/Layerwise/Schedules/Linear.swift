// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

/// Down a straight line.
///
///     decay(p) = 1 − p
///
/// Source: Hugging Face's `linear`, optax's linear_schedule, torch's LinearLR from 1 to its end factor (`min_factor`),
/// timm's poly with power 1, all of which it equals.
public struct Linear: Decay {
    public var span = Span()

    public init() {}

    public init(
        totalSteps: Int, warmupSteps: Int = 0, minRate: Double = 0, floor: FloorKind = .scaled, minFactor: Double = 0
    ) throws(SettingError) {
        try self.init(Spec("linear", Setting.span(totalSteps, warmupSteps, minRate, floor, minFactor)))
    }

    public static let declaration = RecipeDeclaration(
        name: "linear", doc: "down a straight line", equation: "f = 1 − p",
        source: "Hugging Face linear, torch LinearLR, optax linear_schedule")

    public static let parameters: [Parameter<Self>] = spanParameters

    public func decay(_ p: Double) -> Double { 1 - p }
}
