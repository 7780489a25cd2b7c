// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

/// Blocks of layers that train by turns of equal length.
///
/// The turn of step t is ⌊t / every⌋.  Which blocks train follows from the turn and the seed alone, so that a run that resumes, or
/// seeks another step, trains the same ones.
public struct Turns: Sendable, Equatable {
    /// In which order the blocks take their turns.
    public enum Order: String, Choice {
        /// From the input to the output.
        case ascending
        /// From the output to the input.
        case descending
        /// Another order in each round through all blocks.
        case random
    }

    /// Which of the blocks the layer is in, and how many there are.
    public var block: Int
    /// How many blocks there are.
    public var count: Int
    /// The steps of a turn.
    public var every: Int64
    /// The seed of the random order.
    public var seed: Int64
    /// The order in which one block a turn trains; nil where `drawn` of them are drawn at each turn, all alike.
    public var order: Order?
    /// How many blocks each turn draws; 0 where they follow an order.
    public var drawn: Int

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

    /// One block a turn, in an order.
    static func activities(
        of layers: [LayerDescriptor], size: Int, every: Int, order: Order, seed: Int, ends: EndLayers
    ) -> [Activity] {
        func takesPart(_ layer: LayerDescriptor) -> Bool { layer.role == .block || ends == .turns }
        return layers.map { layer in
            if !takesPart(layer) { return ends == .train ? .always : Activity(spans: []) }
            let depths = depths(layers, tower: layer.tower, takesPart: takesPart)
            guard let place = block(layer.depth, of: depths, size: size) else { return .always }
            return Activity(
                turns: Turns(
                    block: place.block, count: place.count, every: Int64(every), seed: Int64(seed), order: order,
                    drawn: 1))
        }
    }

    /// The depths of the layers of a tower that take part, from the input, each once.
    static func depths(_ layers: [LayerDescriptor], tower: String, takesPart: (LayerDescriptor) -> Bool) -> [Int] {
        Set(layers.filter { $0.tower == tower && takesPart($0) }.map(\.depth)).sorted()
    }
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
