// SPDX-License-Identifier: Apache-2.0
import Glibc
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
        var gradientNorm = gatherNorms(stepped, scale: options.gradientScale, limit: .infinity)
        if let reduce = options.reduce { gradientNorm = try addUpNorms(stepped, reduce) }
        if checks, !gradientNorm.isFinite, let fault = locateNonFinite(stepped) ?? elsewhere(options) {
            if settings.nonfinite == .skip { return .skip(gradientNorm: gradientNorm) }
            throw fault
        }
        var measurement = Measurement(gradientNorm: gradientNorm, isMeasured: true)
        if clips { measurement.clipFactor = try clip(context, stepped, options.reduce) }
        return .proceed(measurement)
    }

    /// Sums the squares of every active tensor's gradients, block by block.
    private func scan(_ context: StepContext, limit: Double) {
        var context = context
        context.scanLimit = limit
        context.items = UnsafePointer(work.items.elements)
        run(scanItem, context, count: work.items.count)
    }

    /// Each layer's gradient norm; returns that of all.  `scale` is the gradient scale, or 1 where the scan applied it.
    private func gatherNorms(_ stepped: Range<Int>, scale: Double, limit: Double) -> Double {
        let layers = layers.elements
        let tensors = tensors.elements
        let sums = work.sums.elements
        for layer in stepped {
            let record = layers + layer
            var sum = 0.0
            for index in record.pointee.firstTensor..<record.pointee.firstTensor + record.pointee.tensorCount {
                let tensor = tensors + index
                if !tensor.pointee.active { continue }
                let first = tensor.pointee.firstBlock
                for block in first..<first + tensor.pointee.blockCount { sum += sums[block].scanned }
            }
            let norm = sum.squareRoot()
            record.pointee.gradientNorm = (norm == .infinity ? carefulNorm(layer, limit) : norm) / scale
        }
        return Self.norm(stepped) { layers[$0].gradientNorm }
    }

    /// The norm of a layer's gradients where their squares overflow, which only float64 gradients can do.
    private func carefulNorm(_ layer: Int, _ limit: Double) -> Double {
        var norm = CarefulNorm()
        let record = layers.elements[layer]
        for index in record.firstTensor..<record.firstTensor + record.tensorCount where tensors.elements[index].active {
            let tensor = tensors.elements[index]
            let factor = limit < .infinity ? tensor.factor.magnitude : 1
            for element in 0..<tensor.count {
                norm.add(min(Self.gradient(tensor, element).magnitude * factor, limit))
            }
        }
        return norm.value
    }

    /// The norm of norms, also where their squares overflow.
    static func norm(_ range: Range<Int>, _ value: (Int) -> Double) -> Double {
        let norm = range.reduce(0.0) { $0 + value($1) * value($1) }.squareRoot()
        if norm < .infinity || norm.isNaN { return norm }
        var careful = CarefulNorm()
        for index in range { careful.add(value(index)) }
        return careful.value
    }

    /// Sets the tensors' factors for clipping by layer norm, then by the norm of all; returns the latter's factor.
    private func clip(
        _ context: StepContext, _ stepped: Range<Int>, _ reduce: StepOptions.Reduce?
    ) throws(LayerwiseError) -> Double {
        let unclamped = stepped.map { layers.elements[$0].gradientNorm }
        if settings.clipValue < .infinity {
            // Values are clipped before norms are.
            scan(context, limit: settings.clipValue)
            _ = gatherNorms(stepped, scale: 1, limit: settings.clipValue)
            if let reduce { _ = try addUpNorms(stepped, reduce) }
        }
        gatherWholeNorms(stepped)
        for layer in stepped {
            let record = layers.elements + layer
            let norm = layers.elements[record.pointee.whole].wholeNorm
            record.pointee.clipFactor = Self.clipFactor(settings.clipLayerNorm, norm)
        }
        let total = Self.norm(stepped) { layers.elements[$0].gradientNorm * layers.elements[$0].clipFactor }
        let global = Self.clipFactor(settings.clipGlobalNorm, total)
        for (layer, norm) in zip(stepped, unclamped) {
            let record = layers.elements + layer
            record.pointee.clipFactor *= global
            record.pointee.gradientNorm = norm
            for index in record.pointee.firstTensor..<record.pointee.firstTensor + record.pointee.tensorCount {
                tensors.elements[index].factor *= record.pointee.clipFactor
            }
        }
        return global
    }

    /// min(1, limit / (norm + 1e-6)), as torch's clip_grad_norm_.
    private static func clipFactor(_ limit: Double, _ norm: Double) -> Double {
        if limit == .infinity { return 1 }
        let factor = limit / (norm + 1e-6)
        return factor < 1 || factor.isNaN ? factor : 1
    }

    /// Counts the NaN and infinite gradients of each layer and describes the first, or returns nil where there is none.
    private func locateNonFinite(_ stepped: Range<Int>) -> LayerwiseError? {
        var fault: LayerwiseError?
        for layer in stepped {
            let record = layers.elements + layer
            record.pointee.telemetry.nonfiniteCount = 0
            for tensor in 0..<record.pointee.tensorCount {
                let own = tensors.elements[record.pointee.firstTensor + tensor]
                if !own.active { continue }
                let found = Self.nonFinite(own)
                record.pointee.telemetry.nonfiniteCount += found.count
                if fault == nil, let element = found.first {
                    let value = Self.gradient(own, element)
                    fault = LayerwiseError(
                        .nonfinite, "\(subject(layer, tensor)): gradient is \(value) at element \(element)",
                        layer: layer, tensor: tensor, element: element)
                }
            }
        }
        return fault
    }

    /// How many gradients of a tensor are NaN or infinite, and the first.
    static func nonFinite(_ tensor: TensorRecord) -> (count: Int, first: Int?) {
        var count = 0
        var first: Int?
        for element in 0..<tensor.count where !gradient(tensor, element).isFinite {
            count += 1
            if first == nil { first = element }
        }
        return (count, first)
    }

    /// One gradient element, as it is stored.
    static func gradient(_ tensor: TensorRecord, _ element: Int) -> Double {
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
        case .float32, .int64: return Double(memory.loadUnaligned(fromByteOffset: offset, as: Float.self))
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
        context.sums[index].scanned = sum(
            gradient + block.start * type.size, block.count, clamps ? tensor.pointee.factor : 1, context.scanLimit)
    }
}
