// SPDX-License-Identifier: Apache-2.0
import CLayerwiseKernels
import LayerwiseRules

/// What a step knows of a tensor: plain values, side by side in memory.
struct TensorRecord: BitwiseCopyable {
    // As registered.
    let layer: Int
    let count: Int
    let dtype: DType
    let gradientDType: DType
    /// What rules may treat it by; the policy sets what it has a say in.
    var kind: TensorKind
    /// What the policy multiplies its rate by, on top of its layer's scale.
    var scale = 1.0
    var parameters: UnsafeMutableRawPointer?
    var boundGradient: UnsafeRawPointer?

    // Kept by the library.
    var master: UnsafeMutableRawPointer?
    var states = (
        UnsafeMutableRawPointer?.none, UnsafeMutableRawPointer?.none, UnsafeMutableRawPointer?.none,
        UnsafeMutableRawPointer?.none
    )
    var steps: Int64 = 0
    var firstBlock = 0
    var blockCount = 0

    // For the step under way.
    var active = false
    var gradient: UnsafeRawPointer?
    var coefficients: UnsafeMutableRawPointer?
    /// What gradients are multiplied by: direction, gradient scale and clipping.
    var factor = 1.0
    var trustRatio = 1.0
    var learningRate = 0.0
    var decayRate = 0.0

    /// The type of lanes, moments and arithmetic.
    var laneType: DType { dtype.laneType }

    /// The bytes of one state: whole groups of lanes, so that no kernel needs a shorter last one.
    var stateBytes: Int { (count * laneType.size + 63) / 64 * 64 }

    static let stateSlots = 4

    /// Zeroed memory for the state in `slot`, or for the master copy, which has the slot after the last; nil if there is none.
    ///
    /// Parameters and states begin 13 cache lines apart in their pages.  On a Zen 3 processor, loops over four arrays that begin
    /// at one offset moved 25 GB/s, and over arrays at least 3 lines apart 44 GB/s.
    func allocateState(_ slot: Int) -> UnsafeMutableRawPointer? {
        let distance = 13 * 64 * (slot + 1)
        return Memory.allocateZeroed(stateBytes, pageOffset: Int(bitPattern: parameters) &+ distance)
    }

    func state(_ slot: Int) -> UnsafeMutableRawPointer? {
        switch slot {
        case 0: states.0
        case 1: states.1
        case 2: states.2
        default: states.3
        }
    }

    mutating func setState(_ slot: Int, _ memory: UnsafeMutableRawPointer?) {
        switch slot {
        case 0: states.0 = memory
        case 1: states.1 = memory
        case 2: states.2 = memory
        default: states.3 = memory
        }
    }
}

/// What a thread takes of a tensor.  The size is fixed, so that sums over blocks do not depend on the threads.
struct Block: BitwiseCopyable {
    static let elements = 16384

    let tensor: Int
    let start: Int
    let count: Int
    /// Where its directions begin among those of its unit, in bytes.
    var directionOffset = 0

    /// The count, rounded up to whole groups of lanes of either type.
    var paddedCount: Int { (count + 15) / 16 * 16 }
}

/// The sums of squares of one block, float64.
struct BlockSums: BitwiseCopyable {
    /// Gradients, by the pass that looks before anything is written; raw, or clamped where values are clipped.
    var scanned = 0.0
    /// Weights and directions, by the first pass of a rule with a trust ratio.
    var measured = lwk_sums()
    /// Conditioned gradients, old weights and changes, by the pass that updates.
    var observed = lwk_sums()
}
