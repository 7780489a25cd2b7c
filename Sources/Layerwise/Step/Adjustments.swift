// SPDX-License-Identifier: Apache-2.0
import CLayerwiseKernels
import LayerwisePlatform
import LayerwiseRules

// What the settings do to gradients after norms were clipped: adaptive clipping and centralization by slice, and noise.

/// The settings for it, as a step reads them.
struct GradientAdjustments: BitwiseCopyable {
    /// λ: the largest norm of a slice's gradients over that of its weights; infinity is no limit.
    let ratio: Double
    /// ε: the least norm of a slice's weights.
    let leastWeightNorm: Double
    let centralizes: Bool
    /// η: the variance of the noise at a tensor's first step; 0 is no noise.
    let noise: Double
    /// γ of η/(1 + t)^γ.
    let noiseDecay: Double
    let seed: UInt64

    init(_ settings: Settings) {
        ratio = settings.clipUnitRatio
        leastWeightNorm = settings.clipUnitEpsilon
        centralizes = settings.centralizeGradients
        noise = settings.gradientNoise
        noiseDecay = settings.gradientNoiseDecay
        seed = UInt64(settings.gradientNoiseSeed)
    }

    var clipsSlices: Bool { ratio < .infinity }

    /// Whether gradients are adjusted at all.
    var areAny: Bool { concernsSlices || noise > 0 }

    /// Whether any tensor has slices whose sums are needed.
    var concernsSlices: Bool { clipsSlices || centralizes }

    /// Whether the slices of a tensor are adjusted.
    func concernsSlices(of tensor: TensorStepData) -> Bool {
        clipsSlices || (centralizes && tensor.kind.isMatrix)
    }

    /// The noise of a tensor at the step under way.
    func noise(of tensor: TensorStepData) -> NormalNoise? {
        if noise == 0 { return nil }
        let deviation = (noise / pow(1 + Double(tensor.steps), noiseDecay)).squareRoot()
        return NormalNoise(deviation: deviation, seed: seed, key: tensor.noiseKey, step: UInt64(tensor.steps))
    }
}

extension Optimizer {
    /// Finds for each slice of the tensors that are stepped what its gradients are multiplied by, and their mean.
    ///
    /// A slice is a part of a tensor along its first axis, such as the weights of one neuron or of one filter; a tensor of rank 0 or
    /// 1 is one slice.
    ///
    ///     c = min(1, λ·max(‖w‖, ε) / max(‖g‖, 10⁻⁶));  g ← c·g − c·mean(g)
    ///
    /// The mean is 0 without centralization, and for tensors of rank 0 and 1.
    func adjustSlices(_ context: StepContext, _ reduce: Reducer?) throws(LayerwiseError) {
        if !context.adjustments.concernsSlices { return }
        var context = context
        context.items = UnsafePointer(work.items.elements)
        run(sliceItem, context, count: work.items.count)
        for index in 0..<tensors.count where tensors.elements[index].active { addUpSlices(tensors.elements[index]) }
        if let reduce, context.adjustments.clipsSlices { try addUpVectors(reduce) }
        for index in 0..<tensors.count where tensors.elements[index].active {
            adjustSlices(of: tensors.elements[index], context.adjustments)
        }
    }

    /// Adds the sums of a tensor's blocks: sum and squares of the gradients, and squares of the weights, of each slice.
    private func addUpSlices(_ tensor: TensorStepData) {
        let sums = work.sliceSums.elements + 3 * tensor.firstSlice
        sums.update(repeating: 0, count: 3 * tensor.sliceCount)
        for index in tensor.firstBlock..<tensor.firstBlock + tensor.blockCount {
            let block = work.blocks.elements[index]
            let slices = tensor.slices(in: block)
            let own = work.sliceSums.elements + 3 * block.firstSlice
            for position in 0..<3 * slices.count { sums[3 * slices.lowerBound + position] += own[position] }
        }
    }

    /// Adds up the sums of tensors of rank 0 and 1 over processes.  Each process may have a part of such a tensor.
    private func addUpVectors(_ reduce: Reducer) throws(LayerwiseError) {
        let numbers = UnsafeMutableBufferPointer(start: work.numbers.elements, count: 2 * tensors.count)
        for index in 0..<tensors.count {
            let tensor = tensors.elements[index]
            let sums = work.sliceSums.elements + 3 * tensor.firstSlice
            let isAdded = tensor.active && !tensor.kind.isMatrix && tensor.count > 0
            numbers[2 * index] = isAdded ? sums[1] : 0
            numbers[2 * index + 1] = isAdded ? sums[2] : 0
        }
        if !reduce(numbers) {
            throw LayerwiseError(.reduce, "the sums over processes failed; nothing was changed")
        }
        for index in 0..<tensors.count {
            let tensor = tensors.elements[index]
            if !tensor.active || tensor.kind.isMatrix || tensor.count == 0 { continue }
            work.sliceSums.elements[3 * tensor.firstSlice + 1] = numbers[2 * index]
            work.sliceSums.elements[3 * tensor.firstSlice + 2] = numbers[2 * index + 1]
        }
    }

    private func adjustSlices(of tensor: TensorStepData, _ adjustments: GradientAdjustments) {
        let length = Double(tensor.sliceLength)
        for slice in tensor.firstSlice..<tensor.firstSlice + tensor.sliceCount {
            let sums = work.sliceSums.elements + 3 * slice
            // The sums of finite numbers stay finite.
            let norm = min(sums[1], .greatestFiniteMagnitude).squareRoot()
            let weights = min(sums[2], .greatestFiniteMagnitude).squareRoot()
            let most = adjustments.ratio * max(weights, adjustments.leastWeightNorm)
            let factor = adjustments.clipsSlices && norm >= most ? most / max(norm, 1e-6) : 1
            let mean = adjustments.centralizes && tensor.kind.isMatrix ? sums[0] / length : 0
            work.slices.elements[2 * slice] = factor
            work.slices.elements[2 * slice + 1] = factor * mean
        }
    }

    /// Refuses tensors whose slices are spread over processes.
    func checkSlices() throws(LayerwiseError) {
        for index in 0..<tensors.count where tensors.elements[index].kind.isMatrix {
            let tensor = tensors.elements[index]
            if !tensor.matrices.isCutAcross { continue }
            let own = index - layers.elements[tensor.layer].firstTensor
            throw LayerwiseError(
                .shape,
                "\(subject(tensor.layer, own)): adaptive clipping and centralization take sums along the first axis, along which "
                    + "alone a tensor may be spread over processes", layer: tensor.layer, tensor: own)
        }
    }
}

/// The sums of the slices of one item's blocks.
private let sliceItem: ThreadPool.Job = { memory, item, slot in
    let context = memory.load(as: StepContext.self)
    let item = context.items[item]
    let scratch = context.scratch(slot)
    for index in item.first..<item.end {
        let block = context.blocks[index]
        let tensor = context.tensors + block.tensor
        guard tensor.pointee.active, let gradients = tensor.pointee.gradient, let parameters = tensor.pointee.parameters
        else { continue }
        let lane = tensor.pointee.laneType
        let kernels = lane == .float64 ? context.table.slices64 : context.table.slices32
        let length = tensor.pointee.sliceLength
        let slices = tensor.pointee.slices(in: block)
        let sums = context.sliceSums + 3 * block.firstSlice
        sums.update(repeating: 0, count: 3 * slices.count)
        let conditioned = ConditionedGradients(
            tensor, gradients, UnsafePointer(context.layers + tensor.pointee.layer), context, scratch, adjusts: false)
        let weightType = tensor.pointee.master == nil ? tensor.pointee.dtype : lane
        let weights = tensor.pointee.master ?? parameters
        let tileCount = Scratch.tileBytes / lane.size
        var offset = block.start
        while offset < block.start + block.count {
            let count = min(tileCount, block.start + block.count - offset)
            let own = sums + 3 * (offset / length - slices.lowerBound)
            conditioned.fill(offset, count)
            kernels.addSums(scratch.gradients, count, offset, length, 3, own, own + 1)
            if context.adjustments.clipsSlices {
                if let master = tensor.pointee.master {
                    tensor.pointee.dtype.kernels(in: context.table).adopt?(
                        parameters + offset * tensor.pointee.dtype.size, count, master + offset * lane.size)
                }
                weightType.kernels(in: context.table).decode(
                    weights + offset * weightType.size, count, scratch.weights)
                kernels.addSums(scratch.weights, count, offset, length, 3, nil, own + 2)
            }
            offset += count
        }
    }
}

extension TensorStepData {
    /// How many slices a tensor has, and the elements of one.
    var sliceCount: Int { count == 0 ? 0 : kind.isMatrix ? matrices.firstAxis : 1 }
    var sliceLength: Int { sliceCount == 0 ? 1 : count / sliceCount }

    /// The slices that a block has elements of.
    func slices(in block: Block) -> Range<Int> {
        block.start / sliceLength..<(block.start + block.count - 1) / sliceLength + 1
    }
}
