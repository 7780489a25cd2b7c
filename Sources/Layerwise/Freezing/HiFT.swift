// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

/// Each step trains the next few layers, in a round through all of them; their moments are kept.
///
///     active at the turns ⌊t/every⌋ of its block
///
/// Source: Liu et al. 2024 (HiFT, arXiv:2401.15207): one group a step.  Their learning rate advances once a round, which here is a
/// schedule in rounds, such as StepDecay.
public struct HiFT: FreezePlan {
    /// Depths of a block.
    public var layers = 1
    /// Steps of a turn.
    public var every = 1
    /// Of the blocks: `ascending` from the input, `descending` or `random`.
    public var order = Turns.Order.ascending
    /// Of the random order.
    public var seed = 0
    /// What layers of other roles than block do: always `train`, take `turns` too, or stay `frozen`.
    public var ends = EndLayers.turns
    /// The states of a layer at rest: `keep` or `clear`.
    public var states = IdleStates.keep

    public init() {}

    /// Creates the plan; throws if a value is outside its range.  The properties document the settings.
    public init(
        layers: Int = 1, every: Int = 1, order: Turns.Order = .ascending, seed: Int = 0, ends: EndLayers = .turns,
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

    public static let declaration = Declaration(
        name: "hift", title: "HiFT",
        summary: "each step trains the next few layers, in a round through all of them",
        details: """
            Blocks of `layers` depths that follow each other take turns of `every` steps, each tower by itself.  With order "random", \
            each round through all blocks has its own order, which depends on the seed and the step alone.  With states "clear", \
            the moments and step counts of a layer begin again at its next turn, and memory of 2 MiB and more is given back \
            meanwhile.
            """,
        equation: "active at turns ⌊t/every⌋ of its block",
        source: "Liu et al. 2024, arXiv:2401.15207",
        positional: ["layers"])

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
