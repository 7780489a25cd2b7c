// SPDX-License-Identifier: Apache-2.0
import Glibc
import Synchronization

/// The tensors cut into blocks, and the blocks gathered into items, each of which one thread takes at a time.
///
/// It depends on layers and on where a trust ratio is taken, and is made anew only when those change; tensors that a step
/// leaves out are passed over.
struct WorkList: ~Copyable {
    var isStale = true
    private(set) var blocks = Table<Block>()
    private(set) var sums = Table<BlockSums>()
    /// For passes whose blocks do not wait for one another.
    private(set) var items = Table<WorkItem>()
    /// For rules with a trust ratio, which must know a unit's norms before they change its weights.
    private(set) var ratioItems = Table<WorkItem>()
    private(set) var units = Table<RatioUnit>()
    private(set) var progress: UnsafeMutablePointer<RatioProgress>?
    /// All elements.
    private(set) var elements = 0

    init() {}

    deinit { free(progress) }

    /// Cuts all tensors anew; false if there is no memory.
    mutating func build(
        _ tensors: UnsafeMutablePointer<TensorRecord>, _ tensorCount: Int, unitOf scope: (_ layer: Int) -> RatioScope
    ) -> Bool {
        isStale = true
        blocks.removeAll()
        sums.removeAll()
        items.removeAll()
        ratioItems.removeAll()
        units.removeAll()
        elements = 0
        for index in 0..<tensorCount {
            let count = tensors[index].count
            let pieces = (count + Block.elements - 1) / Block.elements
            tensors[index].firstBlock = blocks.count
            tensors[index].blockCount = pieces
            elements += count
            guard blocks.reserve(blocks.count + pieces), sums.reserve(blocks.count + pieces) else { return false }
            for piece in 0..<pieces {
                let start = piece * Block.elements
                blocks.append(Block(tensor: index, start: start, count: min(Block.elements, count - start)))
                sums.append(BlockSums())
            }
        }
        guard gatherItems(), gatherUnits(tensors, tensorCount, scope), gatherRatioItems(tensors) else { return false }
        isStale = false
        return true
    }

    /// Neighbouring small blocks share an item.
    private mutating func gatherItems() -> Bool {
        guard items.reserve(blocks.count) else { return false }
        var first = 0
        var gathered = 0
        for index in 0..<blocks.count {
            let count = blocks.elements[index].count
            if index > first && gathered + count > Block.elements {
                items.append(WorkItem(kind: .blocks, first: first, end: index, unit: 0))
                first = index
                gathered = 0
            }
            gathered += count
        }
        if first < blocks.count { items.append(WorkItem(kind: .blocks, first: first, end: blocks.count, unit: 0)) }
        return true
    }

    /// A unit is what shares a trust ratio: a tensor, or the tensors of a layer.
    private mutating func gatherUnits(
        _ tensors: UnsafeMutablePointer<TensorRecord>, _ tensorCount: Int, _ scope: (_ layer: Int) -> RatioScope
    ) -> Bool {
        guard units.reserve(tensorCount) else { return false }
        var index = 0
        while index < tensorCount {
            let layer = tensors[index].layer
            var end = index + 1
            if scope(layer) == .layer {
                while end < tensorCount && tensors[end].layer == layer { end += 1 }
            }
            let last = tensors[end - 1]
            units.append(
                RatioUnit(
                    firstTensor: index, endTensor: end, firstBlock: tensors[index].firstBlock,
                    endBlock: last.firstBlock + last.blockCount))
            index = end
        }
        let bytes = max(1, units.count) * MemoryLayout<RatioProgress>.stride
        guard let memory = realloc(progress, bytes) else { return false }
        progress = memory.assumingMemoryBound(to: RatioProgress.self)
        return true
    }

    /// Small units are done whole, both passes while they are in cache.  A large unit's second pass comes after the first
    /// pass of the next large unit, so that nobody waits long for the norms, and while it may still be in cache.
    private mutating func gatherRatioItems(_ tensors: UnsafeMutablePointer<TensorRecord>) -> Bool {
        guard ratioItems.reserve(units.count + 2 * blocks.count) else { return false }
        var pending: Int?
        func elements(_ unit: RatioUnit) -> Int {
            (unit.firstTensor..<unit.endTensor).reduce(0) { $0 + tensors[$1].count }
        }
        func appendBlocks(_ kind: WorkItem.Kind, _ unit: Int) {
            for block in units.elements[unit].firstBlock..<units.elements[unit].endBlock {
                ratioItems.append(WorkItem(kind: kind, first: block, end: block + 1, unit: unit))
            }
        }
        var index = 0
        while index < units.count {
            if elements(units.elements[index]) <= Block.elements {
                let first = index
                var gathered = 0
                while index < units.count {
                    let more = elements(units.elements[index])
                    if gathered + more > Block.elements { break }
                    gathered += more
                    index += 1
                }
                ratioItems.append(WorkItem(kind: .units, first: first, end: index, unit: first))
            } else {
                appendBlocks(.measure, index)
                if let pending { appendBlocks(.change, pending) }
                pending = index
                index += 1
            }
        }
        if let pending { appendBlocks(.change, pending) }
        return true
    }

    /// Before a step: nothing of any unit is measured.
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

/// What one thread takes at a time.
struct WorkItem: BitwiseCopyable {
    enum Kind: BitwiseCopyable {
        /// Blocks `first` to `end`.
        case blocks
        /// Units `first` to `end`, both passes.
        case units
        /// First pass of one block of `unit`.
        case measure
        /// Second pass of one block of `unit`, once all of it is measured.
        case change
    }

    let kind: Kind
    let first: Int
    let end: Int
    let unit: Int
}

/// Tensors that share a trust ratio.
struct RatioUnit: BitwiseCopyable {
    let firstTensor: Int
    let endTensor: Int
    let firstBlock: Int
    let endBlock: Int
}

/// How far a unit is.
struct RatioProgress: ~Copyable {
    /// Blocks whose first pass is not done.
    let remaining: Atomic<Int>
    /// Whether the unit's trust ratio is known.
    let isMeasured = Atomic<Bool>(false)

    init(blocks: Int) { remaining = Atomic(blocks) }
}
