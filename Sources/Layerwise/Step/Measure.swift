// SPDX-License-Identifier: Apache-2.0
import LayerwisePlatform
import LayerwiseRules

/// What the pass over the gradients found, before anything is written.
struct Measurement {
    /// Of all gradients, scaled, before clipping; NaN where it was not measured.
    var gradientNorm = Double.nan
    var clipFactor = 1.0
    /// Whether each layer's gradient norm is known.
    var isMeasured = false
}

enum Verdict {
    case proceed(Measurement)
    /// A gradient is not finite, and the step is to be skipped.
    case skip(gradientNorm: Double)
}

extension Optimizer {
    /// Looks at the gradients, where clipping or the check for NaN and infinity asks for it, and sets every tensor's
    /// factor.  The square sums of float32 gradients fit float64, so one sum tells both the norm and whether all are finite.
    func measure(
        _ context: StepContext, _ stepped: Range<Int>, _ options: StepOptions
    ) throws(LayerwiseError) -> Verdict {
        let checks = settings.nonfinite != .propagate
        let clips = settings.clipGlobalNorm < .infinity || settings.clipLayerNorm < .infinity
        let clamps = settings.clipValue < .infinity && settings.telemetry
        guard checks || clips || clamps else { return .proceed(Measurement()) }

        scan(context, limit: .infinity)
        var norm = gatherNorms(stepped, scale: options.gradientScale, isExact: clips)
        if let reduce = options.reduce { norm = try addUpNorms(stepped, reduce) }
        let gradientNorm = norm.number
        // A norm beyond the largest number is finite here, with an exponent.
        if checks, !norm.value.isFinite {
            let place = locateNonFinite(stepped)
            let isFound = place != nil || options.reduce != nil
            if isFound, settings.nonfinite == .skip { return .skip(gradientNorm: gradientNorm) }
            if let place { throw nonFiniteGradient(place) }
            if isFound { throw Self.nonFiniteElsewhere }
        }
        var measurement = Measurement(gradientNorm: gradientNorm, isMeasured: true)
        if clips { measurement.clipFactor = try clip(context, stepped, options.reduce) }
        return .proceed(measurement)
    }

    /// Sums the squares of every active tensor's gradients, block by block.
    func scan(_ context: StepContext, limit: Double) {
        var context = context
        context.scanLimit = limit
        context.items = UnsafePointer(work.items.elements)
        run(scanItem, context, count: work.items.count)
    }

    /// Each layer's gradient norm, over `scale`, from the sums of the scan; returns that of all.  What overflowed is measured
    /// again; with `isExact` also what lost digits, since its squares are too small.
    func gatherNorms(_ stepped: Range<Int>, scale: Double, isExact: Bool) -> ScaledNumber {
        for layer in stepped {
            let record = layers.elements + layer
            let sum = scannedSum(record.pointee)
            let needsMore = sum > Self.exactSquares.upperBound || (isExact && sum < Self.exactSquares.lowerBound)
            let (value, exponent) = needsMore ? exactNorm(record.pointee, sum) : (sum.squareRoot(), 0)
            let quotient = value / scale
            record.pointee.gradientNorm =
                exponent == 0 && (quotient.isNormal || quotient == value || !value.isFinite)
                ? ScaledNumber(quotient)
                : ScaledNumber(value / scale.significand, scaledBy: exponent - Int(scale.exponent))
        }
        return norm(of: stepped)
    }

    /// Sums of squares in this range have lost nothing; those of other types than float64 are always in it, or 0.
    private static let exactSquares = 0x1p-900...0x1p+1000

    private func scannedSum(_ layer: LayerStepData) -> Double {
        var sum = 0.0
        for index in layer.firstTensor..<layer.firstTensor + layer.tensorCount {
            let tensor = tensors.elements + index
            if !tensor.pointee.active { continue }
            let first = tensor.pointee.firstBlock
            for block in first..<first + tensor.pointee.blockCount { sum += work.sums.elements[block].scanned }
        }
        return sum
    }

    /// The norm of a layer whose squares overflow or are too small, value · 2^exponent: gradients of float64 are scaled
    /// before they are squared.
    private func exactNorm(_ layer: LayerStepData, _ sum: Double) -> (value: Double, exponent: Int) {
        if sum.isNaN { return (sum, 0) }
        let exponent = sum > 1 ? 600 : -600
        let scale = sum > 1 ? 0x1p-600 : 0x1p+600
        var scaled = 0.0
        var hasDouble = false
        for index in layer.firstTensor..<layer.firstTensor + layer.tensorCount {
            let tensor = tensors.elements[index]
            guard tensor.active, let gradient = tensor.gradient else { continue }
            if tensor.gradientDType == .float64 {
                hasDouble = true
                scaled += InstructionSet.kernels.float64.squareSum(gradient, tensor.count, scale, .infinity)
            } else {
                // Finite ones are nothing beside the others; infinity stays.
                for block in tensor.firstBlock..<tensor.firstBlock + tensor.blockCount {
                    scaled += work.sums.elements[block].scanned * scale * scale
                }
            }
        }
        return hasDouble ? (scaled.squareRoot(), exponent) : (sum.squareRoot(), 0)
    }

    /// Each layer's norm after its values were clipped; `scan` clamped them.
    private func gatherClippedNorms(_ stepped: Range<Int>) {
        for layer in stepped {
            let record = layers.elements + layer
            if record.pointee.unclippedNorm.value == 0 { continue }
            let sum = scannedSum(record.pointee)
            record.pointee.gradientNorm = ScaledNumber(
                Self.exactSquares.contains(sum) ? sum.squareRoot() : carefulNorm(record.pointee))
        }
    }

    /// The norm of a layer's clipped gradients where their squares overflow or are too small.
    private func carefulNorm(_ layer: LayerStepData) -> Double {
        var norm = CarefulNorm()
        for index in layer.firstTensor..<layer.firstTensor + layer.tensorCount where tensors.elements[index].active {
            let tensor = tensors.elements[index]
            for element in 0..<tensor.count { norm.add(Self.clipped(tensor, element, settings.clipValue)) }
        }
        return norm.value
    }

    /// The magnitude of one gradient, times its tensor's factor and clipped.
    fileprivate static func clipped(_ tensor: TensorStepData, _ element: Int, _ limit: Double) -> Double {
        let (factor, power) = tensor.factor.parts
        let value = (gradient(tensor, element) * power * power * factor).magnitude
        return value > limit ? limit : value
    }

    /// The norm of the layers' norms, also where their squares overflow or are too small.
    func norm(of stepped: Range<Int>) -> ScaledNumber { Self.norm(stepped) { layers.elements[$0].gradientNorm } }

    private static func norm(_ range: Range<Int>, _ value: (Int) -> ScaledNumber) -> ScaledNumber {
        var sum = 0.0
        var exponent: Int?
        for index in range {
            let number = value(index)
            sum += number.value * number.value
            if number.value != 0 { exponent = max(exponent ?? number.exponent, number.exponent) }
        }
        // Norms that have no exponent and whose squares are in range, as nearly always.
        let isPlain = range.allSatisfy { value($0).exponent == 0 }
        if isPlain && exactSquares.contains(sum) || sum.isNaN { return ScaledNumber(sum.squareRoot()) }
        var careful = CarefulNorm()
        let shift = exponent ?? 0
        for index in range {
            let number = value(index)
            careful.add(number.exponent == shift ? number.value : .scaled(number.value, by: number.exponent - shift))
        }
        return careful.value < .infinity || sum.isNaN
            ? ScaledNumber(careful.value, scaledBy: shift)
            : ScaledNumber(careful.scaledValue, exponent: shift + CarefulNorm.exponent)
    }

    /// Sets the tensors' factors for clipping by layer norm, then by the norm of all; returns the latter's factor.
    private func clip(
        _ context: StepContext, _ stepped: Range<Int>, _ reduce: Reducer?
    ) throws(LayerwiseError) -> Double {
        let layers = layers.elements
        for layer in stepped { layers[layer].unclippedNorm = layers[layer].gradientNorm }
        if settings.clipValue < .infinity {
            // Values are clipped before norms are.
            scan(context, limit: settings.clipValue)
            gatherClippedNorms(stepped)
            if let reduce { _ = try addUpNorms(stepped, reduce) }
        }
        gatherWholeNorms(stepped)
        for layer in stepped {
            let norm = layers[layers[layer].whole].wholeNorm
            layers[layer].clipFactor = Self.clipFactor(settings.clipLayerNorm, norm)
        }
        let total = Self.norm(stepped) { layers[$0].gradientNorm * layers[$0].clipFactor }
        let global = Self.clipFactor(settings.clipGlobalNorm, total)
        for layer in stepped {
            let record = layers + layer
            record.pointee.clipFactor = record.pointee.clipFactor * global
            record.pointee.gradientNorm = record.pointee.unclippedNorm
            for index in record.pointee.firstTensor..<record.pointee.firstTensor + record.pointee.tensorCount {
                let tensor = tensors.elements + index
                tensor.pointee.factor = tensor.pointee.factor * record.pointee.clipFactor
            }
        }
        return global.number
    }

    /// min(1, limit / (norm + 1e-6)), as torch's clip_grad_norm_.
    private static func clipFactor(_ limit: Double, _ norm: ScaledNumber) -> ScaledNumber {
        if limit == .infinity { return ScaledNumber(1) }
        let divisor = norm.number + 1e-6
        let factor = limit / divisor
        if factor > 0x1p-1000 || factor.isNaN || norm.value == .infinity {
            return ScaledNumber(factor < 1 || factor.isNaN ? factor : 1)
        }
        // The quotient is too small for a float64, or the norm is too large, and 1e-6 nothing beside it.
        let own = divisor < .infinity ? ScaledNumber(divisor) : norm
        return ScaledNumber(
            limit.significand / own.value.significand,
            scaledBy: Int(limit.exponent) - Int(own.value.exponent) - own.exponent)
    }

    /// Counts the NaN and infinite gradients of each layer and returns the first, or nil where there is none.
    private func locateNonFinite(_ stepped: Range<Int>) -> (layer: Int, tensor: Int, element: Int)? {
        var first: (layer: Int, tensor: Int, element: Int)?
        for layer in stepped {
            let record = layers.elements + layer
            record.pointee.telemetry.nonfiniteCount = 0
            for tensor in 0..<record.pointee.tensorCount {
                let own = tensors.elements[record.pointee.firstTensor + tensor]
                if !own.active { continue }
                let found = Self.nonFinite(own)
                record.pointee.telemetry.nonfiniteCount += found.count
                if first == nil, let element = found.first { first = (layer, tensor, element) }
            }
        }
        return first
    }

    private func nonFiniteGradient(_ place: (layer: Int, tensor: Int, element: Int)) -> LayerwiseError {
        let own = tensors.elements[layers.elements[place.layer].firstTensor + place.tensor]
        let value = Self.gradient(own, place.element)
        return LayerwiseError(
            .nonfinite, "\(subject(place.layer, place.tensor)): gradient is \(value) at element \(place.element)",
            layer: place.layer, tensor: place.tensor, element: place.element)
    }

    /// How many gradients of a tensor are NaN or infinite, and the first.
    static func nonFinite(_ tensor: TensorStepData) -> (count: Int, first: Int?) {
        var count = 0
        var first: Int?
        for element in 0..<tensor.count where !gradient(tensor, element).isFinite {
            count += 1
            if first == nil { first = element }
        }
        return (count, first)
    }

    /// One gradient element, as it is stored.
    static func gradient(_ tensor: TensorStepData, _ element: Int) -> Double {
        tensor.gradient.map { Self.element($0, element, tensor.gradientDType) } ?? 0
    }

    /// One element of a buffer.
    static func element(_ memory: UnsafeRawPointer, _ index: Int, _ dtype: DType) -> Double {
        let offset = index * dtype.size
        switch dtype {
        case .float64: return memory.loadUnaligned(fromByteOffset: offset, as: Double.self)
        case .float16: return decodeFloat16(memory.loadUnaligned(fromByteOffset: offset, as: UInt16.self))
        case .bfloat16:
            let bits = memory.loadUnaligned(fromByteOffset: offset, as: UInt16.self)
            return Double(Float(bitPattern: UInt32(bits) << 16))
        case .float32, .int64, .int8: return Double(memory.loadUnaligned(fromByteOffset: offset, as: Float.self))
        }
    }
}

/// A Euclidean norm whose squares do not overflow: they are taken relative to the largest magnitude so far.
private struct CarefulNorm {
    private var largest = 0.0
    private var sum = 0.0

    mutating func add(_ x: Double) {
        let x = x.magnitude
        if x > largest {
            sum = x < .infinity ? sum * (largest / x) * (largest / x) + 1 : .infinity
            largest = x
        } else if largest > 0 {
            sum += (x / largest) * (x / largest)
        } else if x.isNaN {
            sum = .nan
        }
    }

    var value: Double { largest == 0 ? sum : largest * sum.squareRoot() }

    /// value · 2^-exponent, where the value itself is too large.
    var scaledValue: Double { largest * 0x1p-64 * sum.squareRoot() }

    static let exponent = 64
}

/// The value of an IEEE binary16 number.
private func decodeFloat16(_ bits: UInt16) -> Double {
    let exponent = Int(bits >> 10 & 0x1f)
    let fraction = Double(bits & 0x3ff)
    let sign = bits >> 15 == 0 ? 1.0 : -1.0
    switch exponent {
    case 0: return sign * fraction * 0x1p-24
    case 31: return fraction == 0 ? sign * .infinity : .nan
    default: return sign * (1024 + fraction) * Double(sign: .plus, exponent: exponent - 25, significand: 1)
    }
}

/// Scans the blocks of one item.
private let scanItem: ThreadPool.Job = { memory, item, _ in
    let context = memory.load(as: StepContext.self)
    let item = context.items[item]
    for index in item.first..<item.end {
        let block = context.blocks[index]
        let tensor = context.tensors + block.tensor
        guard tensor.pointee.active, let gradient = tensor.pointee.gradient else { continue }
        let type = tensor.pointee.gradientDType
        // The factor matters only where values are clamped after it, and then they are as wide as the update has them.
        let clamps = context.scanLimit < .infinity
        let widens = clamps && tensor.pointee.laneType == .float64 && type == .float32
        let sum = widens ? context.table.squareSumWidened : type.kernels(in: context.table).squareSum
        if clamps && !tensor.pointee.factor.fits(tensor.pointee.laneType) {
            var squares = 0.0
            for element in block.start..<block.start + block.count {
                let value = Optimizer.clipped(tensor.pointee, element, context.scanLimit)
                squares += value * value
            }
            context.sums[index].scanned = squares
            continue
        }
        context.sums[index].scanned = sum(
            gradient + block.start * type.size, block.count, clamps ? tensor.pointee.factor.value : 1,
            context.scanLimit)
    }
}
