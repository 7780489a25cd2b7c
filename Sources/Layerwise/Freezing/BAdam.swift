// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

/// One block of layers trains at a time, for many steps, and its moments begin again at each turn.
///
///     active at the turns ⌊t/every⌋ of its block
///
/// Source: Luo, Yu, Li 2024 (BAdam, arXiv:2404.02827), with LLaMA-Factory's defaults: 50 steps, from the input.  Theirs leaves
/// embeddings and head frozen unless it is asked to include them; here they take turns, and `ends` says otherwise.
public struct BAdam: TakesTurns {
    /// Steps of a turn.
    public var every = 50
    /// Depths of a block.
    public var layers = 1
    /// Of the blocks: `ascending` from the input, `descending` or `random`.
    public var order = TurnOrder.ascending
    /// Of the random order.
    public var seed = 0
    /// What layers of other roles than block do: always `train`, take `turns` too, or stay `frozen`.
    public var ends = EndLayers.turns
    /// The states of a layer at rest: `keep` or `clear`.
    public var states = IdleStates.clear

    public init() {}

    /// Creates the plan; throws if a value is outside its range.  The properties document the settings.
    public init(
        every: Int = 50, layers: Int = 1, order: TurnOrder = .ascending, seed: Int = 0, ends: EndLayers = .turns,
        states: IdleStates = .clear
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
        name: "badam", title: "BAdam",
        summary: "one block of layers trains at a time, and its moments begin again at each turn",
        details: turnDetails, equation: turnEquation,
        source: "Luo, Yu, Li 2024, arXiv:2404.02827; LLaMA-Factory",
        positional: ["every"])

    package static let parameters = turnParameters
}
