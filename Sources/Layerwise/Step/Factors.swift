// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

// The end of a stage that factors: the sums of squared gradients by row and by column become the averages that are kept, in
// float64 and in the order of the blocks.

extension Optimizer {
    /// Advances the rows and columns of a unit's tensors at the end of a stage.
    func endFactors(_ stage: Int, _ unit: Unit, _ context: StepContext, _ rule: any Rule) {
        for index in unit.firstTensor..<unit.endTensor {
            let tensor = context.tensors[index]
            if !tensor.active || !tensor.isFactored { continue }
            let pair = FactorStage(tensor, stage, context)
            addUpFactors(pair, context)
            advanceFactors(pair, context, rule, rows: tensor.matrices.rows, kept: nil)
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
            if !tensor.isFactored || !matrices.sharesColumns { continue }
            let pair = endedFactors(tensor, context)
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
        rowSums.update(repeating: 0, count: matrices.rowCount + matrices.columnCount)
        for index in tensor.firstBlock..<tensor.firstBlock + tensor.blockCount {
            let block = context.blocks[index]
            let rows = matrices.rows(in: block)
            let own = context.factors + block.firstFactor
            for (offset, row) in rows.enumerated() { rowSums[row] += own[offset] }
            let ownColumns = own + rows.count
            let first = matrices.matrices(in: block).lowerBound * matrices.columns
            let count = matrices.matrices(in: block).count * matrices.columns
            for column in 0..<count { columnSums[first + column] += ownColumns[column] }
        }
    }

    /// Advances a tensor's rows and columns by the sums that were added up, and leaves in place of the sums by row what the
    /// columns are to be multiplied by.
    ///
    /// `rows`: how many rows the sums by column are of.  `kept`: the sum of the rows before the step, where other processes have
    /// some of them.
    private func advanceFactors(
        _ pair: FactorStage, _ context: StepContext, _ rule: any Rule, rows: Int, kept: Double?
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
        get {
            isDouble
                ? memory.load(fromByteOffset: index * 8, as: Double.self)
                : Double(memory.load(fromByteOffset: index * 4, as: Float.self))
        }
        nonmutating set {
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
