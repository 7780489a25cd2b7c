// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

/// One block of layers trains at a time, for many steps, and its moments begin again at each turn.
///
///     active at the turns ⌊t/every⌋ of its block
///
/// Source: Luo, Yu, Li 2024 (BAdam, arXiv:2404.02827), with LLaMA-Factory's defaults: 50 steps, from the input.  Theirs leaves
/// embeddings and head frozen unless it is asked to include them; here they take turns, and `ends` says otherwise.
public struct BAdam: FreezePlan {
    /// Steps of a turn.
    public var every = 50
    /// Depths of a block.
    public var layers = 1
    /// Of the blocks: `ascending` from the input, `descending` or `random`.
    public var order = Turns.Order.ascending
    /// Of the random order.
    public var seed = 0
    /// What layers of other roles than block do: always `train`, take `turns` too, or stay `frozen`.
    public var ends = EndLayers.turns
    /// The states of a layer at rest: `keep` or `clear`.
    public var states = IdleStates.clear

    public init() {}

    /// Creates the plan; throws if a value is outside its range.  The properties document the settings.
    public init(
        every: Int = 50, layers: Int = 1, order: Turns.Order = .ascending, seed: Int = 0, ends: EndLayers = .turns,
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

    public static let declaration = Declaration(
        name: "badam", title: "BAdam",
        summary: "one block of layers trains at a time, and its moments begin again at each turn",
        details: """
            Blocks of `layers` depths that follow each other take turns of `every` steps, each tower by itself.  With order "random", \
            each round through all blocks has its own order, which depends on the seed and the step alone.  With states "clear", \
            the moments and step counts of a layer begin again at its next turn, and memory of 2 MiB and more is given back \
            meanwhile.
            """,
        equation: "active at turns ⌊t/every⌋ of its block",
        source: "Luo, Yu, Li 2024, arXiv:2404.02827; LLaMA-Factory",
        positional: ["every"])

    public static let depthDependence = DepthDependence.always

    public static let parameters: [Parameter<Self>] = [
        .integer("layers", \.layers, 1...1 << 20, "depths of a block"),
        .integer("every", \.every, 1...mostSteps, "steps of a turn"),
        .choice("order", \.order, "of the blocks: \"ascending\" from the input, \"descending\" or \"random\""),
        .integer("seed", \.seed, 0...mostSteps, "of the random order"),
        .choice(
            "ends", \.ends,
            "what layers of other roles than block do: always \"train\", take \"turns\" too, or stay \"frozen\""),
        .choice("states", \.states, "the states of a layer at rest: \"keep\" or \"clear\""),
    ]

    public var clearsStates: Bool { states == .clear }

    public func activities(of layers: [LayerDescriptor]) -> [Activity] {
        Turns.activities(
            of: layers, size: self.layers, every: every, order: order, seed: seed, ends: ends)
    }
}
