// SPDX-License-Identifier: Apache-2.0
import Glibc
import Synchronization

/// The items of a rule with a trust ratio, which must know a unit's norms before it changes the unit's weights, in the order
/// in which threads take them.
///
/// Small units are done whole, both passes while they are in cache.  A large unit is measured forward and changed backward:
/// the second pass begins with what the first touched last, which is still in cache.
struct RatioQueue: ~Copyable {
    private(set) var items = Table<WorkItem>()
    private(set) var units = Table<RatioUnit>()
    private(set) var progress: UnsafeMutablePointer<RatioProgress>?
    private var kept: UnsafeMutableRawPointer?
    private var keptBytes = 0

    /// How many large units may have their directions kept at a time: while one is changed, the next is measured.
    private static let keptUnits = 2

    /// The directions of larger units are made again in the second pass: they would not stay in any cache.
    private static let mostKeptBytes = 16 << 20

    init() {}

    deinit {
        free(progress)
        Memory.free(kept, keptBytes)
    }

    /// Makes the queue anew; false if there is no memory.  `keepsDirections`: whether the rule can use directions that the
    /// first pass kept.
    mutating func build(
        _ tensors: UnsafeMutablePointer<TensorRecord>, _ tensorCount: Int, _ blocks: borrowing Table<Block>,
        keepsDirections: Bool, unitOf scope: (_ layer: Int) -> RatioScope
    ) -> Bool {
        items.removeAll()
        units.removeAll()
        guard units.reserve(tensorCount), items.reserve(tensorCount + 2 * blocks.count) else { return false }
        gatherUnits(tensors, tensorCount, blocks, scope)
        let bytes = max(1, units.count) * MemoryLayout<RatioProgress>.stride
        guard let memory = realloc(progress, bytes) else { return false }
        progress = memory.assumingMemoryBound(to: RatioProgress.self)
        if keepsDirections { placeDirections(tensors) }
        gatherItems()
        return true
    }

    /// A unit is what shares a trust ratio: a tensor, or the tensors of a layer.
    private mutating func gatherUnits(
        _ tensors: UnsafeMutablePointer<TensorRecord>, _ tensorCount: Int, _ blocks: borrowing Table<Block>,
        _ scope: (_ layer: Int) -> RatioScope
    ) {
        var index = 0
        while index < tensorCount {
            let layer = tensors[index].layer
            var end = index + 1
            if scope(layer) == .layer {
                while end < tensorCount && tensors[end].layer == layer { end += 1 }
            }
            let firstBlock = tensors[index].firstBlock
            let endBlock = tensors[end - 1].firstBlock + tensors[end - 1].blockCount
            var direction = 0
            for block in firstBlock..<endBlock {
                blocks.elements[block].direction = direction
                direction += blocks.elements[block].paddedCount
            }
            units.append(
                RatioUnit(
                    firstTensor: index, endTensor: end, firstBlock: firstBlock, endBlock: endBlock,
                    directionCount: direction))
            index = end
        }
    }

    /// Gives large units, in turn, one of a few places for their directions.  Where there is no memory they have none.
    private mutating func placeDirections(_ tensors: UnsafeMutablePointer<TensorRecord>) {
        func bytes(_ unit: RatioUnit) -> Int? {
            if unit.isSmall { return nil }
            let size = (unit.firstTensor..<unit.endTensor).map { tensors[$0].laneType.size }.max() ?? 0
            let bytes = unit.directionCount * size
            return bytes <= Self.mostKeptBytes ? bytes : nil
        }
        var largest = 0
        for index in 0..<units.count { largest = max(largest, bytes(units.elements[index]) ?? 0) }
        if largest * Self.keptUnits > keptBytes {
            Memory.free(kept, keptBytes)
            keptBytes = largest * Self.keptUnits
            kept = Memory.allocateZeroed(keptBytes)
            if kept == nil { keptBytes = 0 }
        }
        guard let kept else { return }
        var turns: [Int] = []
        for index in 0..<units.count where bytes(units.elements[index]) != nil {
            units.elements[index].directions = kept + (turns.count % Self.keptUnits) * largest
            if turns.count >= Self.keptUnits { units.elements[index].predecessor = turns[turns.count - Self.keptUnits] }
            turns.append(index)
        }
    }

    private mutating func gatherItems() {
        var index = 0
        while index < units.count {
            let unit = units.elements[index]
            if unit.isSmall {
                let first = index
                var gathered = 0
                while index < units.count, units.elements[index].isSmall {
                    gathered += units.elements[index].directionCount
                    if gathered > Block.elements { break }
                    index += 1
                }
                items.append(WorkItem(kind: .units, first: first, end: index, unit: first))
            } else {
                for block in unit.firstBlock..<unit.endBlock {
                    items.append(WorkItem(kind: .measure, first: block, end: block + 1, unit: index))
                }
                for block in (unit.firstBlock..<unit.endBlock).reversed() {
                    items.append(WorkItem(kind: .change, first: block, end: block + 1, unit: index))
                }
                index += 1
            }
        }
    }

    /// Before a step: nothing of any unit is done.
    func resetProgress() {
        guard let progress else { return }
        for index in 0..<units.count {
            let unit = units.elements[index]
            (progress + index).initialize(to: RatioProgress(blocks: unit.endBlock - unit.firstBlock))
        }
    }
}

/// Where a trust ratio is taken, or that there is none.
enum RatioScope {
    case none, tensor, layer
}

/// Tensors that share a trust ratio.
struct RatioUnit: BitwiseCopyable {
    let firstTensor: Int
    let endTensor: Int
    let firstBlock: Int
    let endBlock: Int
    /// The numbers of its directions, each block padded to whole groups of lanes.
    let directionCount: Int
    /// Where its directions are kept between the passes, for a large unit.
    var directions: UnsafeMutableRawPointer?
    /// The unit that had the same place before, or -1.
    var predecessor = -1

    /// Small enough for one thread to do it whole.
    var isSmall: Bool { directionCount <= Block.elements }
}

/// How far a unit is.
struct RatioProgress: ~Copyable {
    /// Blocks whose first pass is not done.
    let unmeasured: Atomic<Int>
    /// Blocks whose second pass is not done.
    let unchanged: Atomic<Int>
    /// Whether the unit's trust ratio is known.
    let isMeasured = Atomic<Bool>(false)

    init(blocks: Int) {
        unmeasured = Atomic(blocks)
        unchanged = Atomic(blocks)
    }
}
