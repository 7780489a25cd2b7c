// SPDX-License-Identifier: Apache-2.0

/// What is done with the change that a rule computes, before the weights take it.
///
///     δ = the change without decay;  d = decay·w
///     update:  k = 1 where δ·g > 0, else 0;  w ← w − δ·k / max(mean(k), 10⁻³) − d
///     decay:   w ← w − δ − d where δ·w ≥ 0,  w ← w − δ elsewhere
///
/// g is the gradient as the rule sees it, and the mean is taken over the tensor.  The states advance as without the option.
/// A tensor of one element moves by δ or not at all.
///
/// Sources: Liang et al. 2024 (arXiv:2411.16085) for `update`, as timm's `caution` has it; pytorch_optimizer multiplies by n/(Σk + 1)
/// in place of n/Σk.  Chen et al. 2025 (arXiv:2510.12402) for `decay`.  Defazio 2025 (arXiv:2506.02285) for the corrected decay.
public struct UpdateOptions: Sendable, Equatable, BitwiseCopyable {
    /// Which part of a change the weights take only where its sign agrees.
    public enum Cautious: String, Choice, BitwiseCopyable {
        case none, update, decay
    }

    /// Which part of a change is taken only where its sign agrees; none by default.
    public var cautious = Cautious.none

    /// Whether decoupled decay is multiplied by what the schedule multiplies the learning rate by.
    public var correctsDecay = false

    /// Takes every change whole, and the decay as it is.
    public init() {}

    /// What a change is multiplied by where `kept` of `count` elements keep theirs.
    package static func scale(kept: Double, of count: Double) -> Double {
        count > 0 ? 1 / max(kept / count, 1e-3) : 1
    }
}

/// A rule that has the options of `UpdateOptions`: it appends `updateParameters` to its parameters.
package protocol AdjustableRule: DeclaredRule {
    var updateOptions: UpdateOptions { get set }
}

extension AdjustableRule {
    /// The settings of `UpdateOptions`.  They are younger than version 0.1.0, whose checkpoints do not have them.
    static var updateParameters: [Parameter<Self>] {
        [
            .choice(
                "cautious", \.updateOptions.cautious,
                "weights take the \"update\" only where it has the sign of the gradient, or the \"decay\" only where it has "
                    + "the sign of the update; \"none\" takes both everywhere"
            ).omittedAtDefault,
            .flag(
                "corrected_weight_decay", \.updateOptions.correctsDecay,
                "multiply decoupled decay by what the schedule multiplies lr by"
            ).omittedAtDefault,
        ]
    }

    /// Refuses options that need decay apart from the change, where it is a part of the gradient.
    func validateUpdateOptions() throws(SettingError) {
        if decouplesDecay || weightDecay == 0 { return }
        if updateOptions.cautious != .none {
            throw .invalid(
                "cautious needs a decay apart from the gradient: set decoupled_weight_decay, or weight_decay to 0")
        }
        if updateOptions.correctsDecay {
            throw .invalid(
                "corrected_weight_decay needs a decay apart from the gradient: set decoupled_weight_decay, or weight_decay to 0"
            )
        }
    }

    package func validate() throws(SettingError) { try validateUpdateOptions() }
}
