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
        var row = offset / columns
        var column = offset % columns
        var index = 0
        while index < count {
            let run = min(columns - column, count - index)
            if isDouble {
                (tile + index * 8).assumingMemoryBound(to: Double.self).update(repeating: rowFactors[row], count: run)
            } else {
                (tile + index * 4).assumingMemoryBound(to: Float.self)
                    .update(repeating: Float(rowFactors[row]), count: run)
            }
            index += run
            column = 0
            row += 1
        }
    }
}

/// The largest numbers of a block, by row and by column.
struct Maxima {
    private let tensor: UnsafePointer<TensorStepData>
    private let kernels: UnsafePointer<KernelTable>
    private let rowMaxima: UnsafeMutablePointer<Double>
    private let columnMaxima: UnsafeMutableRawPointer
    private let firstRow: Int
    private let start: Int
    private let isWithinRow: Bool

    init(_ block: Block, _ tensor: UnsafePointer<TensorStepData>, _ context: StepContext) {
        self.tensor = tensor
        kernels = context.kernels
        let rows = tensor.pointee.matrices.rows(in: block)
        firstRow = rows.lowerBound
        rowMaxima = context.factors + block.firstFactor
        columnMaxima = UnsafeMutableRawPointer(rowMaxima + rows.count)
        start = block.start
        isWithinRow = tensor.pointee.matrices.isWithinRow(block)
    }

    /// Raises them to those of `count` lanes.  The first is element `offset` of the tensor.
    func add(_ lanes: UnsafeRawPointer, _ offset: Int, _ count: Int) {
        let columns = tensor.pointee.matrices.columns
        let size = tensor.pointee.laneType.size
        let table =
            tensor.pointee.laneType == .float64 ? kernels.pointee.factors64 : kernels.pointee.factors32
        if !isWithinRow {
            return table.addMaxima(
                lanes, count, offset, columns, rowMaxima + (offset / columns - firstRow), columnMaxima)
        }
        forEachRun(offset, count, columns) { row, column, run in
            let element = offset + run.lowerBound
            table.addMaxima(
                lanes + run.lowerBound * size, run.count, element, columns, rowMaxima + (row - firstRow),
                columnMaxima + (element - start - column) * size)
        }
    }
}

/// The sums of a block's squares, by row and by column, or by row alone.
struct FactorSums {
    private let tensor: UnsafePointer<TensorStepData>
    private let kernels: UnsafePointer<KernelTable>
    private let rowSums: UnsafeMutablePointer<Double>
    private let columnSums: UnsafeMutablePointer<Double>
    private let firstRow: Int
    private let start: Int
    private let isWithinRow: Bool

    init(_ block: Block, _ tensor: UnsafePointer<TensorStepData>, _ context: StepContext) {
        self.tensor = tensor
        kernels = context.kernels
        let rows = tensor.pointee.matrices.rows(in: block)
        firstRow = rows.lowerBound
        rowSums = context.factors + block.firstFactor
        columnSums = rowSums + rows.count
        start = block.start
        isWithinRow = tensor.pointee.matrices.isWithinRow(block)
        rowSums.update(repeating: 0, count: tensor.pointee.factorRoom(of: block))
    }

    /// Adds the squares of `count` lanes.  The first is element `offset` of the tensor.
    func add(_ lanes: UnsafeRawPointer, _ offset: Int, _ count: Int) {
        let (rows, columns) = (tensor.pointee.matrices.rows, tensor.pointee.matrices.columns)
        let isDouble = tensor.pointee.laneType == .float64
        let row = offset / columns
        if tensor.pointee.factors.0.kind != .product {
            let slices = isDouble ? kernels.pointee.slices64 : kernels.pointee.slices32
            return slices.addSums(lanes, count, offset, columns, 1, nil, rowSums + (row - firstRow))
        }
        let table = isDouble ? kernels.pointee.factors64 : kernels.pointee.factors32
        if !isWithinRow {
            return table.addSquares(
                lanes, count, offset, rows, columns, rowSums + (row - firstRow),
                columnSums + (row / rows - firstRow / rows) * columns)
        }
        forEachRun(offset, count, columns) { row, column, run in
            let element = offset + run.lowerBound
            table.addSquares(
                lanes + run.lowerBound * tensor.pointee.laneType.size, run.count, element, rows, columns,
                rowSums + (row - firstRow), columnSums + (element - start - column))
        }
    }
}

/// Calls `body` with each run of `count` elements that lies in one row of `length` elements: the row, the run's place in it, and the run
/// itself.  The first element is element `start` of its tensor; the elements of runs are counted from it.
@inline(__always)
func forEachRun(
    _ start: Int, _ count: Int, _ length: Int, _ body: (_ row: Int, _ place: Int, _ run: Range<Int>) -> Void
) {
    var index = 0
    while index < count {
        let (row, place) = (start + index).quotientAndRemainder(dividingBy: length)
        let end = index + min(length - place, count - index)
        body(row, place, index..<end)
        index = end
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
