// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

/// Blocks of layers that train by turns of equal length.
///
/// The turn of step t is ⌊t / every⌋.  Which blocks train follows from the turn and the seed alone, so that a run that resumes, or
/// seeks another step, trains the same ones.
package struct Turns: Sendable, Equatable {
    /// Which of the blocks the layer is in, and how many there are.
    package var block: Int
    /// How many blocks there are.
    package var count: Int
    /// The steps of a turn.
    package var every: Int64
    /// The seed of the random order.
    package var seed: Int64
    /// The order in which one block a turn trains; nil where `drawn` of them are drawn at each turn, all alike.
    package var order: TurnOrder?
    /// How many blocks each turn draws; 0 where they follow an order.
    package var drawn: Int

    /// Whether the layer's block trains at step t.
    func isActive(at step: Int64) -> Bool {
        let turn = step / every
        let position = Int(turn % Int64(count))
        switch order {
        case .ascending: return block == position
        case .descending: return block == count - 1 - position
        case .random: return rank(of: turn / Int64(count)) == position
        case nil: return rank(of: turn) < drawn
        }
    }

    /// The first step of the turn after that of step t; nil where there is none.
    func nextTurn(after step: Int64) -> Int64? {
        let (next, overflow) = (step / every + 1).multipliedReportingOverflow(by: every)
        return overflow ? nil : next
    }

    /// The place of the layer's block where all blocks are sorted by random numbers.
    private func rank(of draw: Int64) -> Int {
        let own = number(draw, block)
        var rank = 0
        for other in 0..<count where other != block {
            let number = number(draw, other)
            if number < own || (number == own && other < block) { rank += 1 }
        }
        return rank
    }

    /// A random number that depends on nothing but seed, draw and block.
    private func number(_ draw: Int64, _ block: Int) -> UInt64 {
        let key = Self.mixed(UInt64(bitPattern: seed) &+ 0x9e37_79b9_7f4a_7c15)
        return Self.mixed(Self.mixed(key ^ UInt64(bitPattern: draw)) &+ UInt64(block))
    }

    /// The output function of SplitMix64 (Steele, Lea, Flood 2014).
    private static func mixed(_ number: UInt64) -> UInt64 {
        var z = number &+ 0x9e37_79b9_7f4a_7c15
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }
}

extension Turns {
    /// The blocks that depths make: `size` depths that follow each other are one.  nil for a layer whose depth is not in `depths`.
    static func block(_ depth: Int, of depths: [Int], size: Int) -> (block: Int, count: Int)? {
        guard let place = depths.firstIndex(of: depth) else { return nil }
        return (place / size, (depths.count + size - 1) / size)
    }

    /// The depths of the layers of a tower that take part, from the input, each once.
    static func depths(_ layers: [LayerDescriptor], tower: String, takesPart: (LayerDescriptor) -> Bool) -> [Int] {
        Set(layers.filter { $0.tower == tower && takesPart($0) }.map(\.depth)).sorted()
    }
}

/// A plan by which one block of layers trains at a time, in an order: `BAdam` and `HiFT`, which differ in their defaults.
protocol TakesTurns: DeclaredFreezePlan {
    var layers: Int { get set }
    var every: Int { get set }
    var order: TurnOrder { get set }
    var seed: Int { get set }
    var ends: EndLayers { get set }
    var states: IdleStates { get set }
}

extension TakesTurns {
    package static var depthDependence: DepthDependence { .always }

    static var turnDetails: String {
        """
        Blocks of `layers` depths that follow each other take turns of `every` steps, each tower by itself.  With order "random", \
        each round through all blocks has its own order, which depends on the seed and the step alone.  With states "clear", \
        the moments and step counts of a layer begin again at its next turn, and memory of 2 MiB and more is given back \
        meanwhile.
        """
    }

    static var turnEquation: String { "active at turns ⌊t/every⌋ of its block" }

    static var turnParameters: [Parameter<Self>] {
        [
            .integer("layers", \.layers, 1...1 << 20, "depths of a block"),
            .integer("every", \.every, 1...mostSteps, "steps of a turn"),
            .choice("order", \.order, "of the blocks: \"ascending\" from the input, \"descending\" or \"random\""),
            .integer("seed", \.seed, 0...mostSteps, "of the random order"),
            .choice(
                "ends", \.ends,
                "what layers of other roles than block do: always \"train\", take \"turns\" too, or stay \"frozen\""),
            .choice("states", \.states, "the states of a layer at rest: \"keep\" or \"clear\""),
        ]
    }

    package var clearsStates: Bool { states == .clear }

    package func activities(of layers: [LayerDescriptor]) -> [Activity] {
        func takesPart(_ layer: LayerDescriptor) -> Bool { layer.role == .block || ends == .turns }
        return layers.map { layer in
            if !takesPart(layer) { return ends == .train ? .always : Activity(spans: []) }
            let depths = Turns.depths(layers, tower: layer.tower, takesPart: takesPart)
            guard let place = Turns.block(layer.depth, of: depths, size: self.layers) else { return .always }
            return Activity(
                turns: Turns(
                    block: place.block, count: place.count, every: Int64(every), seed: Int64(seed), order: order,
                    drawn: 1))
        }
    }
}

/// In which order the blocks take their turns.
public enum TurnOrder: String, Choice {
    /// From the input to the output.
    case ascending
    /// From the output to the input.
    case descending
    /// Another order in each round through all blocks.
    case random
}

/// What becomes of the states of a layer that does not train.
public enum IdleStates: String, Choice {
    case keep, clear
}

/// What the first layer, final norms and the head do while blocks take turns.
public enum EndLayers: String, Choice {
    /// They always train.
    case train
    /// They take turns as blocks do.
    case turns
    /// They never train.
    case frozen
}
