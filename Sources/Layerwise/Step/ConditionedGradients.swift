// SPDX-License-Identifier: Apache-2.0
import CLayerwiseKernels
import LayerwiseRules

/// The gradients of a tensor as its rule sees them, tile by tile, in lanes.
///
/// They are multiplied by the tensor's factor and clamped; then the slices of the tensor are scaled and centralized, and noise is
/// added, where the settings ask for it.
struct ConditionedGradients {
    private let tensor: UnsafePointer<TensorStepData>
    private let gradients: UnsafeRawPointer
    private let limit: Double
    /// A factor that lanes cannot hold is applied in float64.
    private let isFactorWide: Bool
    private let kernels: UnsafePointer<KernelTable>
    private let scratch: Scratch
    /// What each slice is multiplied by, and what is taken from it then; nil where slices are left as they are.
    private let slices: UnsafePointer<Double>?
    private let noise: NormalNoise?

    /// `adjusts`: whether slices are adjusted and noise is added.
    init(
        _ tensor: UnsafePointer<TensorStepData>, _ gradients: UnsafeRawPointer, _ layer: UnsafePointer<LayerStepData>,
        _ context: StepContext, _ scratch: Scratch, adjusts: Bool = true
    ) {
        self.tensor = tensor
        self.gradients = gradients
        // Values are clamped before norms are clipped, and both are one multiplication and one bound here.
        limit = context.limit < .infinity ? context.limit * layer.pointee.clipFactor.number : .infinity
        isFactorWide = !tensor.pointee.factor.fits(tensor.pointee.laneType)
        kernels = context.kernels
        self.scratch = scratch
        let adjusts = adjusts && context.adjustments.areAny
        let hasSlices = adjusts && context.adjustments.concernsSlices(of: tensor.pointee)
        slices = hasSlices ? UnsafePointer(context.slices + 2 * tensor.pointee.firstSlice) : nil
        noise = adjusts ? context.adjustments.noise(of: tensor.pointee) : nil
    }

    /// Whether a kernel may read the gradients where they are, if it applies the factor.
    @inline(__always)
    var isPlain: Bool { limit == .infinity && !isFactorWide && slices == nil && noise == nil }

    /// Where `fill` puts them.
    @inline(__always)
    var tile: UnsafeRawPointer { UnsafeRawPointer(scratch.gradients) }

    /// Puts `count` gradients from `offset` on into the tile for gradients, padded with zeros to a whole group.
    func fill(_ offset: Int, _ count: Int) {
        let target = slices == nil ? scratch.gradients : scratch.change
        let source = gradients + offset * tensor.pointee.gradientDType.size
        let type = tensor.pointee.gradientDType
        let table = kernels
        let own = type.kernels(in: table.pointee)
        let widens = type != tensor.pointee.laneType && tensor.pointee.laneType == .float64
        if isFactorWide {
            let (factor, power) = tensor.pointee.factor.parts
            (widens ? table.pointee.conditionWidenedWide : own.conditionWide)(
                source, count, factor, power, limit, target)
        } else {
            (widens ? table.pointee.conditionWidened : own.condition)(
                source, count, tensor.pointee.factor.value, limit, target)
        }
        let isDouble = tensor.pointee.laneType == .float64
        let adjusting = isDouble ? table.pointee.slices64 : table.pointee.slices32
        if let slices {
            adjusting.adjust(target, count, offset, tensor.pointee.sliceLength, slices, scratch.gradients)
        }
        noise?.add(to: scratch.gradients, offset, count, adjusting)
    }
}
