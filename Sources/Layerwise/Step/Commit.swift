// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

extension Optimizer {
    /// Counts the step, and keeps what was observed.
    func commit(_ stepped: Range<Int>, _ measured: Measurement, _ options: StepOptions) {
        let layers = layers.elements
        let tensors = tensors.elements
        let observes = observes
        for layer in stepped {
            let record = layers + layer
            record.pointee.round = currentStep
            if let own = record.pointee.ownShared { own[0] = own[1] }
            for index in record.pointee.firstTensor..<record.pointee.firstTensor + record.pointee.tensorCount {
                let tensor = tensors + index
                if !tensor.pointee.active { continue }
                if tensor.pointee.steps < .max { tensor.pointee.steps += 1 }
                tensor.pointee.scalars = tensor.pointee.nextScalars
            }
            if observes { observe(layer, measured) } else { record.pointee.telemetry.nonfiniteCount = 0 }
        }
        if observes, let reduce = options.reduce { addUpTelemetry(stepped, measured, reduce) }
        countFollowing()
        measure(stepped)
        clearStates(stepped)
        shared.elements.pointee = nextShared
        nextLoss = nil
        clock.advance(to: currentStep)
        summary.nextStep = clock.next
        summary.steps += 1
        summary.gradientNorm = measured.gradientNorm
        summary.clipFactor = measured.clipFactor
        if observes && !measured.isMeasured {
            let total = stepped.reduce(0.0) { sum, layer in
                let norm = layers[layer].telemetry.gradientNorm
                return sum + norm * norm
            }
            summary.gradientNorm = total.squareRoot()
        }
    }

    private func observe(_ layer: Int, _ measured: Measurement) {
        let record = layers.elements + layer
        var telemetry = LayerTelemetry()
        telemetry.effectiveRate = record.pointee.frozen ? 0 : record.pointee.effectiveRate
        var gradients = 0.0
        var weights = 0.0
        var updates = 0.0
        var lost = 0.0
        var ratios = 0.0
        var active = 0
        record.pointee.watched = WatchedSums()
        let hasRatio = ruleRecords.elements[record.pointee.rule].hasTrustRatio
        for index in record.pointee.firstTensor..<record.pointee.firstTensor + record.pointee.tensorCount {
            let tensor = tensors.elements[index]
            if !tensor.active { continue }
            active += 1
            ratios += hasRatio ? tensor.numbers[0] : 1
            var own = 0.0
            for block in tensor.firstBlock..<tensor.firstBlock + tensor.blockCount {
                let sums = work.sums.elements[block].observed
                record.pointee.watched += work.sums.elements[block].watched
                own += sums.gradients
                weights += sums.weights
                updates += sums.updates
                lost += sums.lost
            }
            gradients += own
            if !own.isFinite { telemetry.nonfiniteCount += Self.nonFinite(tensor).count }
        }
        telemetry.gradientNorm =
            measured.isMeasured ? record.pointee.gradientNorm.number : gradients.squareRoot()
        telemetry.weightNorm = weights.squareRoot()
        telemetry.updateNorm = updates.squareRoot()
        telemetry.lostCount = Int(lost)
        record.pointee.watched.elements = activeElements(layer)
        if active > 0 {
            telemetry.trustRatio = ratios / Double(active)
            telemetry.clipFactor = record.pointee.clipFactor.number
        }
        record.pointee.telemetry = telemetry
    }
}
