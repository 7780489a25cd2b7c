// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

/// What the threads of a step share: addresses, and what does not change while it runs.
struct StepContext {
    let optimizer: Unmanaged<Optimizer>
    let layers: UnsafeMutablePointer<LayerStepData>
    let tensors: UnsafeMutablePointer<TensorStepData>
    let rules: UnsafePointer<RuleRecord>
    let blocks: UnsafePointer<Block>
    let sums: UnsafeMutablePointer<BlockSums>
    var items: UnsafePointer<WorkItem>
    let units: UnsafePointer<Unit>
    /// The stage under way, for jobs that do one stage of the blocks of one unit.
    var stage = 0
    /// How many stages come after the one under way, for jobs that do one of all units at once.
    var stagesLeft = 0
    /// Of a large unit's stage: its first block, and where its directions are kept.
    var firstBlock = 0
    var directions: UnsafeMutableRawPointer?
    /// The product of matrices under way, for jobs that do parts of it.
    var product = MatrixProduct()
    /// The matrix that is rounded, for jobs that do parts of it.
    var rounding = MatrixRounding()
    let kernels: UnsafePointer<KernelTable>
    let scratch: UnsafeMutableRawPointer
    /// Gradients are clamped to ±limit.
    let limit: Double
    /// The clamp limit of the pass that measures gradients; infinity is no clamping.
    var scanLimit = Double.infinity
    /// The numbers that all tensors share, as they are at the stage under way.
    var shared = SharedScalars()
    /// The sums by row and by column (`WorkList.factors`).
    let factors: UnsafeMutablePointer<Double>
    /// What the settings do to gradients.
    let adjustments: GradientAdjustments
    /// The sums of slices (`WorkList.sliceSums`), and what each slice's gradients are multiplied by, and their mean.
    let sliceSums: UnsafeMutablePointer<Double>
    let slices: UnsafeMutablePointer<Double>
    /// Whether sums are taken over processes.
    var isSpread = false
    /// Whether the pass that updates keeps sums.
    let observes: Bool
    /// What of each element is watched besides.
    let watching: Watching
    /// Powers of two by which weights and directions are multiplied where a stage measures them again.
    var scales = StageScales()

    /// The kernels that know no rule, of the instruction set in use.
    var table: KernelTable { kernels.pointee }

    /// The scratch memory of one thread.
    func scratch(_ slot: Int) -> Scratch { Scratch(scratch + slot * Scratch.bytes) }
}

/// The working memory of one thread.
struct Scratch {
    /// The bytes of one tile: 384 lanes of float32.  bfloat16 AdamW by tiles took 0.78 of float32's time with it on AVX-512,
    /// 0.83 with 512 lanes and 0.90 with 1,024: what is asked for ahead needs its place in the L1 cache too.
    static let tileBytes = 1536
    /// The bytes of weights that are kept at once where changes are watched in place: more than a tile, since a kernel is called for
    /// each, and less than the L1 cache holds of all arrays.
    static let formerBytes = 4096
    /// A small unit's directions.
    static let directionBytes = Block.elements * MemoryLayout<Double>.size
    /// A group of lanes, which a kernel may write behind a tile.
    private static let slack = 64
    static let bytes =
        (4 + TensorStepData.stateSlots) * tileBytes + formerBytes + 2 * slack + directionBytes

    private let memory: UnsafeMutableRawPointer

    init(_ memory: UnsafeMutableRawPointer) { self.memory = memory }

    // One address, and not one for each part: every block copies the structure.

    /// Tiles, in the L1 cache.
    @inline(__always) var gradients: UnsafeMutableRawPointer { memory }
    @inline(__always) var weights: UnsafeMutableRawPointer { memory + Self.tileBytes }
    /// Changes that are not yet taken from the weights.
    @inline(__always) var change: UnsafeMutableRawPointer { memory + 2 * Self.tileBytes }
    /// Copies of states, one behind the other.
    @inline(__always) var states: UnsafeMutableRawPointer { memory + 3 * Self.tileBytes }
    /// A state that is kept by rows and columns.
    @inline(__always) var product: UnsafeMutableRawPointer { states + TensorStepData.stateSlots * Self.tileBytes }
    /// Weights before the step, where changes are watched.
    @inline(__always) var former: UnsafeMutableRawPointer { product + Self.tileBytes + Self.slack }
    /// Directions between the stages of a small unit.
    @inline(__always) var directions: UnsafeMutableRawPointer { former + Self.formerBytes + Self.slack }
}
