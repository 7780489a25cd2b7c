// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

/// Each step trains the next few layers, in a round through all of them; their moments are kept.
///
///     active at the turns ⌊t/every⌋ of its block
///
/// Source: Liu et al. 2024 (HiFT, arXiv:2401.15207): one group a step.  Their learning rate advances once a round, which here is a
/// schedule in rounds, such as StepDecay.
public struct HiFT: TakesTurns {
    /// Depths of a block.
    public var layers = 1
    /// Steps of a turn.
    public var every = 1
    /// Of the blocks: `ascending` from the input, `descending` or `random`.
    public var order = TurnOrder.ascending
    /// Of the random order.
    public var seed = 0
    /// What layers of other roles than block do: always `train`, take `turns` too, or stay `frozen`.
    public var ends = EndLayers.turns
    /// The states of a layer at rest: `keep` or `clear`.
    public var states = IdleStates.keep

    public init() {}

    /// Creates the plan; throws if a value is outside its range.  The properties document the settings.
    public init(
        layers: Int = 1, every: Int = 1, order: TurnOrder = .ascending, seed: Int = 0, ends: EndLayers = .turns,
        states: IdleStates = .keep
    ) throws(SettingError) {
        self.layers = layers
        self.every = every
        self.order = order
        self.seed = seed
        self.ends = ends
        self.states = states
        try settle()
    }

    package static let declaration = Declaration(
        name: "hift", title: "HiFT",
        summary: "each step trains the next few layers, in a round through all of them",
        details: turnDetails, equation: turnEquation,
        source: "Liu et al. 2024, arXiv:2401.15207",
        positional: ["layers"])

    package static let parameters = turnParameters
}
