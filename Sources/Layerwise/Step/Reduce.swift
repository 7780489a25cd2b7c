// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

// Sums over processes.  Where tensors are spread over processes, each steps its part, and whatever depends on a norm needs that
// of the whole: the check for NaN and infinity, clipping, trust ratios, telemetry.  All of these are sums of squares, so a
// step asks for sums, the same ones in the same order in every process.

extension Optimizer {
    /// Room for numbers to add up.
    private func numbers(_ count: Int) -> UnsafeMutableBufferPointer<Double> {
        UnsafeMutableBufferPointer(start: work.numbers.elements, count: count)
    }

    /// Adds up the square of each layer's gradient norm; returns the norm of all.
    func addUpNorms(_ stepped: Range<Int>, _ reduce: Reducer) throws(LayerwiseError) -> ScaledNumber {
        let squares = numbers(stepped.count)
        for (position, layer) in stepped.enumerated() {
            let norm = layers.elements[layer].gradientNorm.number
            squares[position] = norm * norm
        }
        if !reduce(squares) {
            throw LayerwiseError(.reduce, "the sums over processes failed; nothing was changed")
        }
        for (position, layer) in stepped.enumerated() {
            layers.elements[layer].gradientNorm = ScaledNumber(squares[position].squareRoot())
        }
        return norm(of: stepped)
    }

    /// What a gradient that is not finite is called in a process that does not hold it.
    static var nonFiniteElsewhere: LayerwiseError {
        LayerwiseError(.nonfinite, "a gradient is NaN or infinite, or its square is, in another process")
    }

    /// Adds up the sums of the stage under way of all units, in `numbers`, four to a unit; they are 0 for a unit whose rule
    /// takes none.
    func addUp(_ context: StepContext, _ reduce: Reducer?) throws(LayerwiseError) {
        let sums = numbers(4 * unitList.units.count)
        for index in 0..<unitList.units.count {
            let unit = unitList.units.elements[index]
            let own =
                stageWithSums(unit, context).map { gather($0, unit, context, rule(of: unit, context)).sums.values }
                ?? .zero
            for position in 0..<4 { sums[4 * index + position] = own[position] }
        }
        guard let reduce else { return }
        let after = "moments are those after this step, parameters and step counts those before it"
        if !reduce(sums) { throw LayerwiseError(.reduce, "the sums over processes failed: \(after)") }
        if settings.nonfinite == .propagate { return }
        for index in 0..<unitList.units.count where !(sums[4 * index] + sums[4 * index + 1]).isFinite {
            let layer = tensors.elements[unitList.units.elements[index].firstTensor].layer
            throw LayerwiseError(
                .nonfinite,
                "\(subject(layer)): squares of its parameters or directions add up to more than a float64 holds: \(after)",
                layer: layer)
        }
    }

    /// What was added up of all units whose rule takes sums over the optimizer.
    func totalAdded(_ context: StepContext) -> StageSums {
        var total = StageSums()
        for index in 0..<unitList.units.count {
            if !record(of: unitList.units.elements[index], context).sumsOverOptimizer { continue }
            total.values += addedUp(index).values
        }
        return total
    }

    /// What was added up of one unit.
    func addedUp(_ index: Int) -> StageSums {
        let numbers = numbers(4 * unitList.units.count)
        var sums = StageSums()
        for position in 0..<4 { sums.values[position] = numbers[4 * index + position] }
        return sums
    }

    /// Adds up the norms that were observed, and the counts of lost updates; where that failed norms are NaN and counts those
    /// of this process, since the step is done.
    func addUpTelemetry(_ stepped: Range<Int>, _ measured: Measurement, _ reduce: Reducer) {
        let sums = numbers(4 * stepped.count)
        for (position, layer) in stepped.enumerated() {
            let telemetry = layers.elements[layer].telemetry
            sums[4 * position] = telemetry.gradientNorm * telemetry.gradientNorm
            sums[4 * position + 1] = telemetry.weightNorm * telemetry.weightNorm
            sums[4 * position + 2] = telemetry.updateNorm * telemetry.updateNorm
            sums[4 * position + 3] = Double(telemetry.lostCount)
        }
        let succeeded = reduce(sums)
        for (position, layer) in stepped.enumerated() {
            let record = layers.elements + layer
            func norm(_ index: Int) -> Double { succeeded ? sums[4 * position + index].squareRoot() : .nan }
            // One that was measured is that of the whole already.
            if !measured.isMeasured { record.pointee.telemetry.gradientNorm = norm(0) }
            record.pointee.telemetry.weightNorm = norm(1)
            record.pointee.telemetry.updateNorm = norm(2)
            let lost = sums[4 * position + 3]
            if succeeded, lost >= 0, lost < 0x1p+62 { record.pointee.telemetry.lostCount = Int(lost) }
        }
        let watching = watching
        if watching.countsMagnitudes { addUpMagnitudes(stepped, reduce) }
        if watching.comparesWithStates { addUpWatched(stepped, reduce) }
        if measuredPolicy != nil || measuredPlan != nil { addUpElements(stepped, reduce) }
    }

    /// Adds up how many elements the step took; where that failed it is NaN, which is passed over.
    private func addUpElements(_ stepped: Range<Int>, _ reduce: Reducer) {
        let sums = numbers(stepped.count)
        for (position, layer) in stepped.enumerated() { sums[position] = layers.elements[layer].watched.elements }
        let succeeded = reduce(sums)
        for (position, layer) in stepped.enumerated() {
            layers.elements[layer].watched.elements = succeeded ? sums[position] : .nan
        }
    }

    /// Adds up magnitudes; where that failed they are NaN, which is passed over.
    private func addUpMagnitudes(_ stepped: Range<Int>, _ reduce: Reducer) {
        let sums = numbers(2 * stepped.count)
        for (position, layer) in stepped.enumerated() {
            sums[2 * position] = layers.elements[layer].watched.gradientMagnitudes
            sums[2 * position + 1] = layers.elements[layer].watched.updateMagnitudes
        }
        let succeeded = reduce(sums)
        for (position, layer) in stepped.enumerated() {
            layers.elements[layer].watched.gradientMagnitudes = succeeded ? sums[2 * position] : .nan
            layers.elements[layer].watched.updateMagnitudes = succeeded ? sums[2 * position + 1] : .nan
        }
    }

    /// Adds up what else the policy watches; where that failed it is NaN, which the policy passes over.
    private func addUpWatched(_ stepped: Range<Int>, _ reduce: Reducer) {
        // A policy watches one of these, and so needs at most three sums.
        let watching = watching
        let sums = numbers(3 * stepped.count)
        for (position, layer) in stepped.enumerated() {
            let watched = layers.elements[layer].watched
            sums[3 * position] =
                watching.keepsStart
                ? watched.distanceSquares : watching.contains(.signs) ? watched.signs : watched.product
            sums[3 * position + 1] = watching.contains(.signs) ? watched.compared : watched.lastSquares
            sums[3 * position + 2] = watched.gradientSquares
        }
        let succeeded = reduce(sums)
        for (position, layer) in stepped.enumerated() {
            let first = succeeded ? sums[3 * position] : .nan
            let second = succeeded ? sums[3 * position + 1] : .nan
            let third = succeeded ? sums[3 * position + 2] : .nan
            var watched = layers.elements[layer].watched
            if watching.keepsStart {
                watched.distanceSquares = first
            } else if watching.contains(.signs) {
                (watched.signs, watched.compared) = (first, second)
            } else {
                (watched.product, watched.lastSquares, watched.gradientSquares) = (first, second, third)
            }
            layers.elements[layer].watched = watched
        }
    }
}
