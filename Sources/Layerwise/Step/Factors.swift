// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

// The end of a stage that factors: the sums of squared gradients by row and by column, or by row alone, become the averages that are
// kept, in float64 and in the order of the blocks.  And the largest numbers along axes, which follow from the last stage.

extension Optimizer {
    /// Advances the rows and columns of a unit's tensors at the end of a stage.
    func endFactors(_ stage: Int, _ unit: Unit, _ context: StepContext, _ rule: any DeclaredRule) {
        for index in unit.firstTensor..<unit.endTensor {
            let tensor = context.tensors[index]
            if !tensor.active || !tensor.isFactored { continue }
            let pair = FactorStage(tensor, stage, context)
            addUpFactors(pair, context)
            if pair.factors.kind == .means {
                advanceMeans(pair, context, rule, wholeSum: nil)
            } else {
                advanceFactors(pair, context, rule, rows: tensor.matrices.rows, kept: nil)
            }
        }
    }

    /// Advances those of all units, whose tensors are spread over processes where there is `reduce`: each process has the rows of
    /// its part, and all have the same columns.
    func endFactors(_ context: StepContext, _ reduce: Reducer?) throws(LayerwiseError) {
        for index in 0..<tensors.count {
            if let pair = endedFactors(tensors.elements[index], context) { addUpFactors(pair, context) }
        }
        if let reduce {
            let numbers = UnsafeMutableBufferPointer(
                start: work.spreadFactors.elements, count: work.spreadFactorCount)
            exchangeFactors(context) { numbers[$0] = $1 }
            if !reduce(numbers) {
                throw LayerwiseError(.reduce, "the sums over processes failed; nothing was changed")
            }
        }
        var position = 0
        for index in 0..<tensors.count where tensors.elements[index].isFactored {
            let tensor = tensors.elements[index]
            let layer = layers.elements[tensor.layer]
            let rule = ruleInForce(layer.rule)
            let matrices = tensor.matrices
            let pair = endedFactors(tensor, context)
            if tensor.factors.0.kind == .means {
                let sum = reduce == nil ? nil : work.spreadFactors.elements[position]
                position += 1
                if let pair { advanceMeans(pair, context, rule, wholeSum: sum) }
                continue
            }
            if reduce == nil || !matrices.sharesColumns {
                if let pair { advanceFactors(pair, context, rule, rows: matrices.rows, kept: nil) }
                continue
            }
            let numbers = work.spreadFactors.elements + position
            position += matrices.columnCount + 1
            guard let pair else { continue }
            let columnSums = context.factors + tensor.firstFactor(pair.index) + matrices.rowCount
            columnSums.update(from: numbers, count: matrices.columnCount)
            advanceFactors(
                pair, context, rule, rows: matrices.wholeRows, kept: numbers[matrices.columnCount])
        }
    }

    /// The rows and columns that the stage under way of a tensor's rule advances; nil where it advances none.
    private func endedFactors(_ tensor: TensorStepData, _ context: StepContext) -> FactorStage? {
        if !tensor.active || !tensor.isFactored { return nil }
        let rule = context.rules + context.layers[tensor.layer].rule
        guard let stage = rule.pointee.stage(left: context.stagesLeft), rule.pointee.stage(stage).factors else {
            return nil
        }
        return FactorStage(tensor, stage, context)
    }

    /// Gives `put` what is to be added up over processes: of each tensor that is one matrix the sums of its columns, and the sum of
    /// the rows that it keeps.
    private func exchangeFactors(_ context: StepContext, _ put: (Int, Double) -> Void) {
        var position = 0
        for index in 0..<tensors.count {
            let tensor = tensors.elements[index]
            let matrices = tensor.matrices
            if tensor.spreadFactorCount == 0 { continue }
            let pair = endedFactors(tensor, context)
            if tensor.factors.0.kind == .means {
                let sums = work.factors.elements + tensor.firstFactor(0)
                put(position, pair == nil ? 0 : (0..<matrices.rowCount).reduce(0.0) { $0 + sums[$1] })
                position += 1
                continue
            }
            let sums = work.factors.elements + tensor.firstFactor(pair?.index ?? 0) + matrices.rowCount
            let rows = tensor.lanes((pair?.factors ?? tensor.factors.0).rows)
            let isEnded = pair != nil
            var kept = 0.0
            for row in 0..<matrices.rowCount { kept += rows[row] }
            for column in 0..<matrices.columnCount { put(position + column, isEnded ? sums[column] : 0) }
            put(position + matrices.columnCount, kept)
            position += matrices.columnCount + 1
        }
    }

    /// Adds the sums of a tensor's blocks.
    private func addUpFactors(_ pair: FactorStage, _ context: StepContext) {
        let tensor = pair.tensor
        let matrices = tensor.matrices
        let rowSums = context.factors + tensor.firstFactor(pair.index)
        let columnSums = rowSums + matrices.rowCount
        let hasColumns = pair.factors.kind == .product
        rowSums.update(repeating: 0, count: matrices.rowCount + (hasColumns ? matrices.columnCount : 0))
        for index in tensor.firstBlock..<tensor.firstBlock + tensor.blockCount {
            let block = context.blocks[index]
            let rows = matrices.rows(in: block)
            let own = context.factors + block.firstFactor
            for (offset, row) in rows.enumerated() { rowSums[row] += own[offset] }
            if !hasColumns { continue }
            let ownColumns = own + rows.count
            if matrices.isWithinRow(block) {
                forEachRun(block.start, block.count, matrices.columns) { row, column, run in
                    let sums = columnSums + (row / matrices.rows * matrices.columns + column)
                    for place in run { sums[place - run.lowerBound] += ownColumns[place] }
                }
                continue
            }
            let first = matrices.matrices(in: block).lowerBound * matrices.columns
            let count = matrices.matrices(in: block).count * matrices.columns
            for column in 0..<count { columnSums[first + column] += ownColumns[column] }
        }
    }

    /// Advances a tensor's row means by the sums that were added up, and leaves the means in place of the sums.
    ///
    /// `wholeSum`: the sum of all rows, where other processes have some of them.
    private func advanceMeans(_ pair: FactorStage, _ context: StepContext, _ rule: any DeclaredRule, wholeSum: Double?)
    {
        let tensor = pair.tensor
        let matrices = tensor.matrices
        let average = rule.factorAverage(
            pair.stage,
            tensor.moment(context.layers[tensor.layer], context.shared, isSpread: context.isSpread))
        let sums = context.factors + tensor.firstFactor(pair.index)
        let states = tensor.lanes(pair.factors.rows)
        let size = average.rows > 0 ? average.rows : max(1, matrices.rowCount)
        var first = 0
        while first < matrices.rowCount {
            let block = first..<min(first + size, matrices.rowCount)
            var mean = block.reduce(0.0) { $0 + sums[$1] } / Double(block.count) / Double(matrices.columns)
            if average.rows == 0, let wholeSum { mean = wholeSum / matrices.wholeElements }
            for row in block {
                states[row] = average.advanced(states[row], mean)
                sums[row] = states[row]
            }
            first = block.upperBound
        }
    }

    /// Advances a tensor's rows and columns by the sums that were added up, and leaves in place of the sums by row what the
    /// columns are to be multiplied by.
    ///
    /// `rows`: how many rows the sums by column are of.  `kept`: the sum of the rows before the step, where other processes have
    /// some of them.
    private func advanceFactors(
        _ pair: FactorStage, _ context: StepContext, _ rule: any DeclaredRule, rows: Int, kept: Double?
    ) {
        let tensor = pair.tensor
        let matrices = tensor.matrices
        let average = rule.factorAverage(
            pair.stage,
            tensor.moment(context.layers[tensor.layer], context.shared, isSpread: context.isSpread))
        let rowSums = context.factors + tensor.firstFactor(pair.index)
        let columnSums = rowSums + matrices.rowCount
        let (rowStates, columnStates) = (tensor.lanes(pair.factors.rows), tensor.lanes(pair.factors.columns))
        let columnTotal = (0..<matrices.columnCount).reduce(0.0) { $0 + columnSums[$1] }
        for row in 0..<matrices.rowCount {
            rowStates[row] = average.advanced(rowStates[row], rowSums[row] / Double(matrices.columns))
        }
        for column in 0..<matrices.columnCount {
            columnStates[column] = average.advanced(columnStates[column], columnSums[column] / Double(rows))
        }
        for matrix in 0..<matrices.count {
            let own = matrix * matrices.rows..<(matrix + 1) * matrices.rows
            var mean: Double
            if let kept {
                // The rows of other processes are known by their sum alone.
                mean = average.advanced(kept / Double(rows), columnTotal / Double(rows) / Double(matrices.columns))
            } else {
                mean = own.reduce(0.0) { $0 + rowStates[$1] / Double(matrices.rows) }
            }
            mean = max(mean, average.floor)
            for row in own {
                let state = rowStates[row]
                rowSums[row] = state == 0 ? 0 : state / mean
            }
        }
    }
}

extension Optimizer {
    /// Says for each row of the tensors that step what the axes but the last have at least, in `WorkList.factors`; and begins
    /// the largest numbers of the step.
    func beginAxes(_ context: StepContext) {
        for index in 0..<tensors.count {
            let tensor = tensors.elements + index
            if !tensor.pointee.active || tensor.pointee.factors.0.kind != .least { continue }
            let shape = shape(of: index)
            let values = tensor.pointee.lanes(tensor.pointee.factors.0.rows)
            let least = context.factors + tensor.pointee.firstFactor(0)
            for row in 0..<tensor.pointee.matrices.rowCount {
                least[row] = .infinity
            }
            let inner = RowGroups(shape)
            inner.forEach(in: 0..<tensor.pointee.matrices.rowCount) { group, rows, place in
                var others = Double.infinity
                inner.forEachPlace(of: group) { others = min(others, values[$0]) }
                for offset in 0..<rows.count { least[rows.lowerBound + offset] = min(others, values[place + offset]) }
            }
            for block in tensor.pointee.firstBlock..<tensor.pointee.firstBlock + tensor.pointee.blockCount {
                let own = context.blocks[block]
                (context.factors + own.firstFactor).update(repeating: 0, count: tensor.pointee.factorRoom(of: own))
            }
        }
    }

    /// Puts the largest numbers of the step into the axes of the tensors that stepped.
    func endAxes(_ context: StepContext) {
        for index in 0..<tensors.count {
            let tensor = tensors.elements[index]
            if !tensor.active || tensor.factors.0.kind != .least { continue }
            let inner = RowGroups(shape(of: index))
            let matrices = tensor.matrices
            let rule = ruleInForce(layers.elements[tensor.layer].rule)
            let values = tensor.lanes(tensor.factors.0.rows)
            let (outer, isDouble) = (matrices.axisCount - matrices.columns, tensor.laneType == .float64)
            let moment = tensor.moment(context.layers[tensor.layer], context.shared, isSpread: context.isSpread)
            if !rule.factorAverage(0, moment).keepsMaxima {
                for place in 0..<matrices.axisCount { values[place] = 0 }
            }
            for index in tensor.firstBlock..<tensor.firstBlock + tensor.blockCount {
                let block = context.blocks[index]
                let rows = matrices.rows(in: block)
                let own = context.factors + block.firstFactor
                let first = rows.lowerBound
                inner.forEach(in: rows) { group, rows, place in
                    var most = 0.0
                    for offset in 0..<rows.count {
                        let largest = own[rows.lowerBound - first + offset]
                        most = max(most, largest)
                        values[place + offset] = max(values[place + offset], largest)
                    }
                    inner.forEachPlace(of: group) { values[$0] = max(values[$0], most) }
                }
                let columns = LaneNumbers(memory: UnsafeMutableRawPointer(own + rows.count), isDouble: isDouble)
                // The columns of a block that is shorter than a row begin with that of its first element.
                let isWithinRow = matrices.isWithinRow(block)
                var column = isWithinRow ? block.start % matrices.columns : 0
                for place in 0..<(isWithinRow ? block.count : matrices.columns) {
                    values[outer + column] = max(values[outer + column], columns[place])
                    column = column + 1 == matrices.columns ? 0 : column + 1
                }
            }
        }
    }

    private func shape(of index: Int) -> [Int] {
        let layer = tensors.elements[index].layer
        return entries[layer].tensors[index - layers.elements[layer].firstTensor].part
    }
}

/// The rows of a tensor, in groups that differ in the place along the last axis of rows alone.
private struct RowGroups {
    /// The axes but the last, which is that of columns, and the one before it; empty for a tensor of rank below 3.
    private let outer: ArraySlice<Int>
    /// The length of the axis before the last; 0 for a tensor of rank 0 or 1, which has no places of rows.
    private let length: Int

    init(_ shape: [Int]) {
        outer = shape.dropLast(2)
        length = shape.count < 2 ? 0 : shape[shape.count - 2]
    }

    /// Calls `body` with every group of `rows`, the rows of it, and the place that the first of them has along its axis.
    @inline(__always)
    func forEach(in rows: Range<Int>, _ body: (_ group: Int, _ rows: Range<Int>, _ place: Int) -> Void) {
        if length == 0 { return }
        let start = outer.reduce(0, +)
        var row = rows.lowerBound
        while row < rows.upperBound {
            let (group, place) = row.quotientAndRemainder(dividingBy: length)
            let end = min(row + length - place, rows.upperBound)
            body(group, row..<end, start + place)
            row = end
        }
    }

    /// Calls `body` with the places that a group has along the outer axes.
    @inline(__always)
    func forEachPlace(of group: Int, _ body: (Int) -> Void) {
        var rest = group
        var end = outer.reduce(0, +)
        for axis in outer.indices.reversed() {
            end -= outer[axis]
            body(end + rest % outer[axis])
            rest /= outer[axis]
        }
    }
}

/// The rows and columns of a tensor that a stage advances.
private struct FactorStage {
    let tensor: TensorStepData
    let stage: Int
    /// 0 for the first pair, 1 for the second.
    let index: Int

    init(_ tensor: TensorStepData, _ stage: Int, _ context: StepContext) {
        self.tensor = tensor
        self.stage = stage
        let rule = context.rules + context.layers[tensor.layer].rule
        index = rule.pointee.stage(stage).factorsDirections ? 1 : 0
    }

    var factors: FactorPair { index == 0 ? tensor.factors.0 : tensor.factors.1 }
}

extension FactorAverage {
    /// An average with the mean square of a step in it; a finite one stays finite.
    @inline(__always)
    fileprivate func advanced(_ x: Double, _ mean: Double) -> Double {
        let new = x + share * (min(mean, .greatestFiniteMagnitude) + offset - x)
        return x.isFinite && !mean.isNaN ? min(new, .greatestFiniteMagnitude) : new
    }
}

extension TensorStepData {
    /// Numbers in the type of the tensor's lanes, read and written as float64.
    fileprivate func lanes(_ memory: UnsafeMutableRawPointer?) -> LaneNumbers {
        LaneNumbers(
            memory: memory ?? UnsafeMutableRawPointer(bitPattern: 8).unsafelyUnwrapped, isDouble: laneType == .float64)
    }
}

private struct LaneNumbers {
    let memory: UnsafeMutableRawPointer
    let isDouble: Bool

    subscript(index: Int) -> Double {
        @inline(__always) get {
            isDouble
                ? memory.load(fromByteOffset: index * 8, as: Double.self)
                : Double(memory.load(fromByteOffset: index * 4, as: Float.self))
        }
        @inline(__always) nonmutating set {
            if isDouble {
                memory.storeBytes(of: newValue, toByteOffset: index * 8, as: Double.self)
            } else {
                let largest = Double(Float.greatestFiniteMagnitude)
                memory.storeBytes(
                    of: Float(newValue.isFinite ? min(newValue, largest) : newValue), toByteOffset: index * 4,
                    as: Float.self)
            }
        }
    }
}
