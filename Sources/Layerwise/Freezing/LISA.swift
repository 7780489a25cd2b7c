// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

/// Few blocks train at a time, drawn again at each turn; the first layer, norms and the head always train.
///
///     at turn ⌊t/every⌋: `blocks` of all blocks, drawn without replacement, all alike
///
/// Source: Pan et al. 2024 (LISA, arXiv:2403.17919), with the defaults of LMFlow's `lisa_trainer.py`.  The draw is that of
/// `Turns`, so it differs from theirs by the random numbers.
public struct LISA: DeclaredFreezePlan {
    /// How many blocks train at a time.
    public var blocks = 2
    /// Steps of a turn.
    public var every = 20
    /// Of the draws.
    public var seed = 0
    /// The states of a layer at rest: `keep` or `clear`.
    public var states = IdleStates.keep

    public init() {}

    /// Creates the plan; throws if a value is outside its range.  The properties document the settings.
    public init(
        blocks: Int = 2, every: Int = 20, seed: Int = 0, states: IdleStates = .keep
    ) throws(SettingError) {
        self.blocks = blocks
        self.every = every
        self.seed = seed
        self.states = states
        try settle()
    }

    package static let declaration = Declaration(
        name: "lisa", title: "LISA",
        summary: "few blocks train at a time, drawn at each turn; the first layer, norms and the head always train",
        details: """
            At each turn of `every` steps, `blocks` of the layers with the role block are drawn without replacement, all alike; \
            layers of one depth are drawn together, and each tower has its own draw.  What is drawn depends on the seed \
            and the step alone.  With states "clear", the moments and step counts of a layer begin again at its next turn, and memory \
            of 2 MiB and more is given back meanwhile.
            """,
        equation: "active at turn ⌊t/every⌋ if drawn",
        source: "Pan et al. 2024, arXiv:2403.17919; LMFlow lisa_trainer",
        positional: ["blocks"])

    package static let depthDependence = DepthDependence.always

    package static let parameters: [Parameter<Self>] = [
        .integer("blocks", \.blocks, 1...1 << 20, "how many blocks train at a time"),
        .integer("every", \.every, 1...mostSteps, "steps of a turn"),
        .integer("seed", \.seed, 0...mostSteps, "of the draws"),
        .choice("states", \.states, "the states of a layer at rest: \"keep\" or \"clear\""),
    ]

    package var clearsStates: Bool { states == .clear }

    package func activities(of layers: [LayerDescriptor]) -> [Activity] {
        layers.map { layer in
            let depths = Turns.depths(layers, tower: layer.tower) { $0.role == .block }
            guard layer.role == .block, let place = Turns.block(layer.depth, of: depths, size: 1) else {
                return .always
            }
            return Activity(
                turns: Turns(
                    block: place.block, count: place.count, every: Int64(every), seed: Int64(seed), order: nil,
                    drawn: blocks))
        }
    }
}
