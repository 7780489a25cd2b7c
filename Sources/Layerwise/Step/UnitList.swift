// SPDX-License-Identifier: Apache-2.0
import LayerwisePlatform
import LayerwiseRules

/// The tensors gathered into units, for rules of several stages: the sums of a stage must be known for the whole unit before
/// the next stage begins.
///
/// A small unit is done whole by one thread, all stages while it is in cache.  A large one is done stage by stage by all
/// threads; each thread takes the same part of it in every stage.
struct UnitList: ~Copyable {
    private(set) var units = UnsafeArray<Unit>()
    /// Small units that one thread takes at a time.
    private(set) var smallItems = UnsafeArray<WorkItem>()
    /// Where the directions of a large unit are kept between its stages.
    var directions: UnsafeMutableRawPointer? { directionMemory.start }
    private var directionMemory = WorkMemory()

    /// The directions of larger units are computed again in the last stage: they would not stay in any cache.
    private static let mostDirectionBytes = 16 << 20

    init() {}

    /// Moves to memory from another source; if it is only counted, nothing changes.
    mutating func move(to source: inout MemorySource) {
        units.move(to: &source)
        smallItems.move(to: &source)
        directionMemory.move(to: &source)
    }

    /// Builds the list; false if there is no memory.  `keepsDirections`: whether a rule can use directions that a stage kept.
    mutating func build(
        _ tensors: UnsafeMutablePointer<TensorStepData>, _ tensorCount: Int, _ blocks: borrowing UnsafeArray<Block>,
        _ source: inout MemorySource, keepsDirections: Bool, unitOf scope: (_ layer: Int) -> Stage.Scope,
        orthogonalizes: (_ tensor: Int) -> Bool
    ) -> Bool {
        units.removeAll()
        smallItems.removeAll()
        guard units.reserve(tensorCount, from: &source), smallItems.reserve(tensorCount, from: &source) else {
            return false
        }
        gatherUnits(tensors, tensorCount, blocks, scope, orthogonalizes)
        gatherSmallUnits()
        if keepsDirections { reserveDirections(&source) }
        return true
    }

    /// A unit is a tensor, or the tensors of a layer.
    private mutating func gatherUnits(
        _ tensors: UnsafeMutablePointer<TensorStepData>, _ tensorCount: Int, _ blocks: borrowing UnsafeArray<Block>,
        _ scope: (_ layer: Int) -> Stage.Scope, _ orthogonalizes: (_ tensor: Int) -> Bool
    ) {
        var index = 0
        while index < tensorCount {
            let layer = tensors[index].layer
            var end = index + 1
            if scope(layer) == .layer {
                while end < tensorCount && tensors[end].layer == layer { end += 1 }
            }
            let firstBlock = tensors[index].firstBlock
            let endBlock = tensors[end - 1].firstBlock + tensors[end - 1].blockCount
            var count = 0
            var bytes = 0
            for block in firstBlock..<endBlock {
                let own = blocks.elements + block
                own.pointee.directionOffset = bytes
                count += own.pointee.paddedCount
                bytes += own.pointee.paddedCount * tensors[own.pointee.tensor].laneType.size
            }
            units.append(
                Unit(
                    firstTensor: index, endTensor: end, firstBlock: firstBlock, endBlock: endBlock,
                    directionCount: count, directionBytes: bytes, orthogonalizes: orthogonalizes(index)))
            index = end
        }
    }

    /// Neighbouring small units share an item.
    private mutating func gatherSmallUnits() {
        var index = 0
        while index < units.count {
            let first = index
            var gathered = 0
            while index < units.count, units.elements[index].isSmall {
                gathered += units.elements[index].directionCount
                if gathered > Block.elements { break }
                index += 1
            }
            if index > first { smallItems.append(WorkItem(first: first, end: index)) } else { index += 1 }
        }
    }

    /// Room for the directions of any large unit that is not too large.  Where there is no memory they are computed again.
    private mutating func reserveDirections(_ source: inout MemorySource) {
        var largest = 0
        for index in 0..<units.count {
            let unit = units.elements[index]
            if unit.isSmall || unit.orthogonalizes || unit.directionBytes > Self.mostDirectionBytes { continue }
            units.elements[index].keepsDirections = true
            largest = max(largest, unit.directionBytes)
        }
        if !directionMemory.reserve(largest, from: &source) {
            for index in 0..<units.count { units.elements[index].keepsDirections = false }
        }
    }
}

/// Tensors that share the sums of their stages.
struct Unit: BitwiseCopyable {
    let firstTensor: Int
    let endTensor: Int
    let firstBlock: Int
    let endBlock: Int
    /// The numbers of its directions, each block padded to whole groups of lanes.
    let directionCount: Int
    /// Their bytes.  A layer may have tensors of different width.
    let directionBytes: Int
    /// Whether the directions of its one tensor are made orthogonal, which all threads do together.
    let orthogonalizes: Bool
    /// Whether a large unit's directions are kept between its stages.
    var keepsDirections = false

    /// Small enough for one thread to do it whole.
    var isSmall: Bool { directionCount <= Block.elements && !orthogonalizes }
}
