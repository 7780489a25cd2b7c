// SPDX-License-Identifier: Apache-2.0
import LayerwisePlatform

/// The tensors cut into blocks, and the blocks gathered into items, each of which one thread takes at a time.
///
/// It depends on layers only, and is rebuilt when those change; tensors that a step leaves out are passed over.
struct WorkList: ~Copyable {
    var isStale = true
    private(set) var blocks = UnsafeArray<Block>()
    private(set) var sums = UnsafeArray<BlockSums>()
    /// Blocks that one thread takes at a time.
    private(set) var items = UnsafeArray<WorkItem>()
    /// Room for what is summed over processes: up to four numbers a tensor.
    private(set) var numbers = UnsafeArray<Double>()
    /// Room for sums by row and by column.  For each tensor with rows and columns: the sums of all rows, those of all columns, and
    /// for each block those of the rows and matrices that it touches.  With row means, rows alone; with axes, the least numbers of
    /// all rows, and for each block the largest of the rows that it touches and of all columns, the latter as lanes.  Blocks that are
    /// shorter than a row have a number for each element in place of one for each column.
    private(set) var factors = UnsafeArray<Double>()
    /// Room for what of these is summed over processes.
    private(set) var spreadFactors = UnsafeArray<Double>()
    private(set) var spreadFactorCount = 0
    /// Room for three sums of each slice of a tensor (`adjustSlices`), and for those of the slices of each block; empty until it is
    /// asked for.
    private(set) var sliceSums = UnsafeArray<Double>()
    /// Room for two numbers of each slice.
    private(set) var slices = UnsafeArray<Double>()
    private var hasSlices = false
    /// All elements.
    private(set) var elements = 0

    init() {}

    /// Moves to memory from another source; if it is only counted, nothing changes.
    mutating func move(to source: inout MemorySource) {
        blocks.move(to: &source)
        sums.move(to: &source)
        items.move(to: &source)
        numbers.move(to: &source)
        factors.move(to: &source)
        spreadFactors.move(to: &source)
        sliceSums.move(to: &source)
        slices.move(to: &source)
    }

    /// Cuts all tensors again; false if there is no memory.
    mutating func build(
        _ tensors: UnsafeMutablePointer<TensorStepData>, _ tensorCount: Int, _ source: inout MemorySource
    ) -> Bool {
        isStale = true
        blocks.removeAll()
        sums.removeAll()
        items.removeAll()
        elements = 0
        var factorCount = 0
        spreadFactorCount = 0
        hasSlices = false
        var blockCount = 0
        for index in 0..<tensorCount {
            let size = tensors[index].blockElements
            tensors[index].blockCount = (tensors[index].count + size - 1) / size
            blockCount += tensors[index].blockCount
        }
        let hasBlocks = blocks.reserve(blockCount, from: &source)
        let hasSums = sums.reserve(blockCount, from: &source)
        let hasItems = items.reserve(blockCount, from: &source)
        let hasNumbers = numbers.reserve(4 * tensorCount, from: &source)
        // Each is asked for, so that what all of them need is known.
        guard hasBlocks && hasSums && hasItems && hasNumbers else { return false }
        for index in 0..<tensorCount {
            let count = tensors[index].count
            let size = tensors[index].blockElements
            let pieces = tensors[index].blockCount
            let isFactored = tensors[index].isFactored
            if isFactored {
                tensors[index].firstFactor = factorCount
                factorCount += tensors[index].factorRoom
                spreadFactorCount += tensors[index].spreadFactorCount
            }
            tensors[index].firstBlock = blocks.count
            elements += count
            for piece in 0..<pieces {
                var block = Block(tensor: index, start: piece * size, count: min(size, count - piece * size))
                if isFactored {
                    block.firstFactor = factorCount
                    factorCount += tensors[index].factorRoom(of: block)
                }
                blocks.append(block)
                sums.append(BlockSums())
            }
        }
        let hasFactors = factors.reserve(factorCount, from: &source)
        let hasSpreadFactors = spreadFactors.reserve(spreadFactorCount, from: &source)
        guard hasFactors && hasSpreadFactors else { return false }
        gatherItems()
        isStale = false
        return true
    }

    /// Makes room for the slices of all tensors; false if there is no memory.
    mutating func reserveSlices(
        _ tensors: UnsafeMutablePointer<TensorStepData>, _ tensorCount: Int, _ source: inout MemorySource
    ) -> Bool {
        if hasSlices { return true }
        var count = 0
        for index in 0..<tensorCount {
            tensors[index].firstSlice = count
            count += tensors[index].sliceCount
        }
        let hasRoom = slices.reserve(2 * count, from: &source)
        for index in 0..<blocks.count {
            let block = blocks.elements + index
            block.pointee.firstSlice = count
            count += tensors[block.pointee.tensor].slices(in: block.pointee).count
        }
        hasSlices = sliceSums.reserve(3 * count, from: &source) && hasRoom
        return hasSlices
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
