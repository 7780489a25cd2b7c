// SPDX-License-Identifier: Apache-2.0
import Glibc

/// The tensors cut into blocks, and the blocks gathered into items, each of which one thread takes at a time.
///
/// It depends on layers only, and is made anew when those change; tensors that a step leaves out are passed over.
struct WorkList: ~Copyable {
    var isStale = true
    private(set) var blocks = Table<Block>()
    private(set) var sums = Table<BlockSums>()
    /// Blocks that one thread takes at a time.
    private(set) var items = Table<WorkItem>()
    /// Room for what is summed over processes: up to four numbers a tensor.
    private(set) var numbers = Table<Double>()
    /// All elements.
    private(set) var elements = 0

    init() {}

    /// Cuts all tensors anew; false if there is no memory.
    mutating func build(_ tensors: UnsafeMutablePointer<TensorRecord>, _ tensorCount: Int) -> Bool {
        isStale = true
        blocks.removeAll()
        sums.removeAll()
        items.removeAll()
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
        guard items.reserve(blocks.count), numbers.reserve(4 * tensorCount) else { return false }
        gatherItems()
        isStale = false
        return true
    }

    /// Neighbouring small blocks share an item.
    private mutating func gatherItems() {
        var first = 0
        var gathered = 0
        for index in 0..<blocks.count {
            let count = blocks.elements[index].count
            if index > first && gathered + count > Block.elements {
                items.append(WorkItem(first: first, end: index))
                first = index
                gathered = 0
            }
            gathered += count
        }
        if first < blocks.count { items.append(WorkItem(first: first, end: blocks.count)) }
    }
}

/// What one thread takes at a time: blocks, or units, from `first` to `end`.
struct WorkItem: BitwiseCopyable {
    let first: Int
    let end: Int
}
