// SPDX-License-Identifier: Apache-2.0
import CLayerwiseKernels
import LayerwiseRules

// The buffers that a kernel works on, each with its codec.  A codec that is the identity leaves the kernel to work where the buffer lies;
// the others decode a tile of it to lanes in scratch memory, and encode what was changed back.
//
// The structures hold addresses and numbers alone: what a tensor lacks must cost nothing in the step of a small tensor.

/// The weights of a tensor: its parameters, or the master copy that these follow.
///
/// | stored as | codec |
/// |---|---|
/// | the lanes' type | identity |
/// | float16, bfloat16 | in the registers of a kernel for that storage; or decoded, and rounded when they are encoded |
/// | master copy and parameters | identity for the copy, which parameters that were changed from outside replace; it is encoded to the parameters |
struct WeightOperand {
    /// The type that kernels read and write.
    let type: DType
    private let memory: UnsafeMutableRawPointer
    /// The parameters that follow the master copy.
    private let followers: UnsafeMutableRawPointer?
    private let followerType: DType
    private let kernels: UnsafePointer<KernelTable>
    private let tile: UnsafeMutableRawPointer

    @inline(__always)
    init(
        _ tensor: UnsafePointer<TensorStepData>, _ parameters: UnsafeMutableRawPointer, _ context: StepContext,
        _ scratch: Scratch
    ) {
        let hasMaster = tensor.pointee.master != nil
        type = hasMaster ? tensor.pointee.laneType : tensor.pointee.dtype
        memory = tensor.pointee.master ?? parameters
        followers = hasMaster ? parameters : nil
        followerType = tensor.pointee.dtype
        kernels = context.kernels
        tile = scratch.weights
    }

    /// How results are rounded behind a kernel that works on the lanes of a tile.
    @inline(__always)
    var rounding: Int32 {
        switch type {
        case .float16: lwk_rounding_float16
        case .bfloat16: lwk_rounding_bfloat16
        default: lwk_rounding_none
        }
    }

    @inline(__always)
    func stored(_ offset: Int) -> UnsafeMutableRawPointer { memory + offset * type.size }

    /// Lets the master copy take the values of parameters that were changed from outside.
    @inline(__always)
    func adopt(_ offset: Int, _ count: Int) {
        guard let followers else { return }
        followerType.kernels(in: kernels.pointee).adopt?(
            followers + offset * followerType.size, count, stored(offset))
    }

    /// The weights from `offset` on: decoded to a tile, or where they lie.
    @inline(__always)
    func fetch(_ offset: Int, _ count: Int, decodes: Bool) -> UnsafeMutableRawPointer {
        if !decodes { return stored(offset) }
        decode(offset, count, to: tile)
        return tile
    }

    @inline(__always)
    func decode(_ offset: Int, _ count: Int, to target: UnsafeMutableRawPointer) {
        type.kernels(in: kernels.pointee).decode(stored(offset), count, target)
    }

    /// Writes `weights`, which `fetch` has given, back.
    @inline(__always)
    func store(_ weights: UnsafeRawPointer, _ offset: Int, _ count: Int, encodes: Bool) {
        if encodes { type.kernels(in: kernels.pointee).encodeFinite(weights, count, stored(offset)) }
        guard let followers else { return }
        followerType.kernels(in: kernels.pointee).encodeFinite(
            weights, count, followers + offset * followerType.size)
    }
}

/// What a kernel reads as the gradients of a block.
///
/// | read | codec |
/// |---|---|
/// | gradients of the weights' type that are multiplied by no more than a number | identity, with the number as the kernel's factor |
/// | other gradients | decoded and conditioned (`ConditionedGradients`) |
/// | directions that were made orthogonal | identity: they are lanes |
struct GradientOperand {
    let conditioned: ConditionedGradients
    private let memory: UnsafeRawPointer
    private let type: DType
    private let factor: Double
    /// Directions in place of the gradients: those of the block's elements.
    private let directions: UnsafeRawPointer?
    private let start: Int
    private let laneSize: Int

    @inline(__always)
    init(
        _ conditioned: ConditionedGradients, _ tensor: UnsafePointer<TensorStepData>, _ gradients: UnsafeRawPointer,
        _ block: Block, directions: UnsafeRawPointer?
    ) {
        self.conditioned = conditioned
        let lane = tensor.pointee.laneType
        memory = gradients
        type = directions == nil ? tensor.pointee.gradientDType : lane
        factor = tensor.pointee.factor.value
        self.directions = directions.map { $0 + block.directionOffset }
        start = block.start
        laneSize = lane.size
    }

    /// Whether a kernel that works on weights of a type reads them where they lie.
    @inline(__always)
    func isPlain(for weights: DType) -> Bool {
        type == weights && (directions != nil || conditioned.isPlain)
    }

    /// The gradients from `offset` on, and what a kernel multiplies them by: decoded and conditioned in a tile, or where they lie.
    @inline(__always)
    func fetch(_ offset: Int, _ count: Int, decodes: Bool) -> (memory: UnsafeRawPointer, factor: Double) {
        if let directions { return (directions + (offset - start) * laneSize, 1) }
        if !decodes { return (memory + offset * type.size, factor) }
        return fetchConditioned(offset, count)
    }

    /// The gradients themselves, where directions are in their place too.
    @inline(__always)
    func fetchConditioned(_ offset: Int, _ count: Int) -> (memory: UnsafeRawPointer, factor: Double) {
        conditioned.fill(offset, count)
        return (conditioned.tile, 1)
    }
}

/// The states of a tensor.
///
/// | state of shape | codec |
/// |---|---|
/// | `parameter` | identity |
/// | `rows` and `columns`, `rowMeans`, `axes` | decoded (`FactoredState`); they are advanced at the end of a stage (Factors.swift) |
/// | `strided` | identity here; the elements that have them are gathered and put back (StridedStates.swift) |
struct StateOperands {
    typealias Tiles = (
        UnsafeMutableRawPointer?, UnsafeMutableRawPointer?, UnsafeMutableRawPointer?, UnsafeMutableRawPointer?
    )

    private let tensor: UnsafePointer<TensorStepData>
    private let laneSize: Int
    private let factored: FactoredState?

    /// `pair`: the rows and columns that are in force.
    @inline(__always)
    init(_ tensor: UnsafePointer<TensorStepData>, pair: Int, _ context: StepContext, _ scratch: Scratch) {
        self.tensor = tensor
        laneSize = tensor.pointee.laneType.size
        factored = tensor.pointee.isFactored ? FactoredState(tensor, pair, context, scratch) : nil
    }

    /// The states of the elements from `offset` on.
    @inline(__always)
    func fetch(_ offset: Int, _ count: Int) -> Tiles {
        let shift = offset * laneSize
        var states = (
            tensor.pointee.states.0.map { $0 + shift }, tensor.pointee.states.1.map { $0 + shift },
            tensor.pointee.states.2.map { $0 + shift }, tensor.pointee.states.3.map { $0 + shift }
        )
        factored?.fill(offset, count, &states)
        return states
    }
}
