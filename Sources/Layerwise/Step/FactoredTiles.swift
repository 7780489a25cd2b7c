// SPDX-License-Identifier: Apache-2.0
import CLayerwiseKernels
import LayerwiseRules

// The structures below hold addresses alone: one that is absent must cost nothing in the step of a small tensor.

/// A state that is kept by rows and columns, by row or by axes, as the kernels read it: in a tile.
struct FactoredState {
    private let tensor: UnsafePointer<TensorStepData>
    private let kernels: UnsafePointer<KernelTable>
    private let rowFactors: UnsafePointer<Double>
    private let columns: UnsafeRawPointer
    private let tile: UnsafeMutableRawPointer
    private let isSecond: Bool

    /// Of the first or the second pair of rows and columns.
    @inline(__always)
    init?(_ tensor: UnsafePointer<TensorStepData>, _ pair: Int, _ context: StepContext, _ scratch: Scratch) {
        isSecond = pair != 0
        guard
            let columns = isSecond
                ? tensor.pointee.factors.1.columns ?? tensor.pointee.factors.1.rows
                : tensor.pointee.factors.0.columns ?? tensor.pointee.factors.0.rows
        else { return nil }
        self.tensor = tensor
        kernels = context.kernels
        rowFactors = UnsafePointer(context.factors + tensor.pointee.firstFactor(pair))
        self.columns = UnsafeRawPointer(columns)
        tile = scratch.product
    }

    /// Works out `count` elements from `offset` on, and puts the tile in the state's place.
    @inline(never)
    func fill(
        _ offset: Int, _ count: Int,
        _ states:
            inout (
                UnsafeMutableRawPointer?, UnsafeMutableRawPointer?, UnsafeMutableRawPointer?, UnsafeMutableRawPointer?
            )
    ) {
        let own = isSecond ? tensor.pointee.factors.1 : tensor.pointee.factors.0
        let isDouble = tensor.pointee.laneType == .float64
        let table = isDouble ? kernels.pointee.factors64 : kernels.pointee.factors32
        let (rows, columnCount) = (tensor.pointee.matrices.rows, tensor.pointee.matrices.columns)
        switch own.kind {
        case .product: table.multiply(rowFactors, columns, offset, count, rows, columnCount, tile)
        case .means: fillRows(offset, count, columnCount, isDouble)
        case .least: table.minimize(rowFactors, columns, offset, count, columnCount, tile)
        }
        switch own.slot {
        case 0: states.0 = tile
        case 1: states.1 = tile
        case 2: states.2 = tile
        default: states.3 = tile
        }
    }

    /// Each element has the number of its row.
    private func fillRows(_ offset: Int, _ count: Int, _ columns: Int, _ isDouble: Bool) {
        forEachRun(offset, count, columns) { row, _, run in
            if isDouble {
                (tile + run.lowerBound * 8).assumingMemoryBound(to: Double.self)
                    .update(repeating: rowFactors[row], count: run.count)
            } else {
                (tile + run.lowerBound * 4).assumingMemoryBound(to: Float.self)
                    .update(repeating: Float(rowFactors[row]), count: run.count)
            }
        }
    }
}

/// Where a block keeps its numbers by row and by column.
private struct BlockFactors {
    let rows: UnsafeMutablePointer<Double>
    let columns: UnsafeMutablePointer<Double>
    let firstRow: Int
    let isWithinRow: Bool
    private let start: Int
    private let length: Int

    init(_ block: Block, _ tensor: UnsafePointer<TensorStepData>, _ context: StepContext) {
        let own = tensor.pointee.matrices.rows(in: block)
        firstRow = own.lowerBound
        rows = context.factors + block.firstFactor
        columns = rows + own.count
        isWithinRow = tensor.pointee.matrices.isWithinRow(block)
        start = block.start
        length = tensor.pointee.matrices.columns
    }

    /// Calls `body` with what one call of a kernel takes of `count` elements from `offset` on: all, or the part in one row where the block
    /// is shorter than a row.  `rows` begins with the part's first row, and `shift` leads from the place of a column to its number.
    @inline(__always)
    func forEachPart(
        _ offset: Int, _ count: Int,
        _ body: (_ part: Range<Int>, _ rows: UnsafeMutablePointer<Double>, _ shift: Int) -> Void
    ) {
        if !isWithinRow { return body(0..<count, rows + (offset / length - firstRow), 0) }
        forEachRun(offset, count, length) { row, column, run in
            body(run, rows + (row - firstRow), offset + run.lowerBound - start - column)
        }
    }
}

/// The largest numbers of a block, by row and by column.
struct Maxima {
    private let tensor: UnsafePointer<TensorStepData>
    private let kernels: UnsafePointer<KernelTable>
    private let factors: BlockFactors

    init(_ block: Block, _ tensor: UnsafePointer<TensorStepData>, _ context: StepContext) {
        self.tensor = tensor
        kernels = context.kernels
        factors = BlockFactors(block, tensor, context)
    }

    /// Raises them to those of `count` lanes.  The first is element `offset` of the tensor.
    func add(_ lanes: UnsafeRawPointer, _ offset: Int, _ count: Int) {
        let size = tensor.pointee.laneType.size
        let table =
            tensor.pointee.laneType == .float64 ? kernels.pointee.factors64 : kernels.pointee.factors32
        factors.forEachPart(offset, count) { part, rows, shift in
            table.addMaxima(
                lanes + part.lowerBound * size, part.count, offset + part.lowerBound, tensor.pointee.matrices.columns,
                rows, UnsafeMutableRawPointer(factors.columns) + shift * size)
        }
    }
}

/// The sums of a block's squares, by row and by column, or by row alone.
struct FactorSums {
    private let tensor: UnsafePointer<TensorStepData>
    private let kernels: UnsafePointer<KernelTable>
    private let factors: BlockFactors

    init(_ block: Block, _ tensor: UnsafePointer<TensorStepData>, _ context: StepContext) {
        self.tensor = tensor
        kernels = context.kernels
        factors = BlockFactors(block, tensor, context)
        factors.rows.update(repeating: 0, count: tensor.pointee.factorRoom(of: block))
    }

    /// Adds the squares of `count` lanes.  The first is element `offset` of the tensor.
    func add(_ lanes: UnsafeRawPointer, _ offset: Int, _ count: Int) {
        let (rows, columns) = (tensor.pointee.matrices.rows, tensor.pointee.matrices.columns)
        let (size, row) = (tensor.pointee.laneType.size, offset / columns)
        let isDouble = tensor.pointee.laneType == .float64
        if tensor.pointee.factors.0.kind != .product {
            let slices = isDouble ? kernels.pointee.slices64 : kernels.pointee.slices32
            return slices.addSums(lanes, count, offset, columns, 1, nil, factors.rows + (row - factors.firstRow))
        }
        let table = isDouble ? kernels.pointee.factors64 : kernels.pointee.factors32
        // A block that is longer than a row has columns of their own for each matrix.
        let matrix = factors.isWithinRow ? 0 : row / rows - factors.firstRow / rows
        factors.forEachPart(offset, count) { part, rowSums, shift in
            table.addSquares(
                lanes + part.lowerBound * size, part.count, offset + part.lowerBound, rows, columns, rowSums,
                factors.columns + (shift + matrix * columns))
        }
    }
}

/// Calls `body` with each run of `count` elements that lies in one row of `length` elements: the row, the run's place in it, and the run
/// itself.  The first element is element `start` of its tensor; the elements of runs are counted from it.
@inline(__always)
func forEachRun(
    _ start: Int, _ count: Int, _ length: Int, _ body: (_ row: Int, _ place: Int, _ run: Range<Int>) -> Void
) {
    var (row, place) = start.quotientAndRemainder(dividingBy: length)
    var index = 0
    while index < count {
        let end = index + min(length - place, count - index)
        body(row, place, index..<end)
        (row, place, index) = (row + 1, 0, end)
    }
}

/// Adds up the squares of a block's conditioned gradients, by row and by column.
func factor(
    _ block: Block, _ tensor: UnsafePointer<TensorStepData>, _ conditioned: ConditionedGradients,
    _ context: StepContext, _ scratch: Scratch
) {
    let sums = FactorSums(block, tensor, context)
    let tileCount = Scratch.tileBytes / tensor.pointee.laneType.size
    let end = block.start + block.count
    var offset = block.start
    while offset < end {
        let count = min(tileCount, end - offset)
        conditioned.fill(offset, count)
        sums.add(scratch.gradients, offset, count)
        offset += count
    }
}
