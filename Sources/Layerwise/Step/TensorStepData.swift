// SPDX-License-Identifier: Apache-2.0
import CLayerwiseKernels
import LayerwiseRules

/// What a step knows of a tensor: plain values, side by side in memory.
struct TensorStepData: BitwiseCopyable {
    // As registered.
    let layer: Int
    let count: Int
    let dtype: DType
    let gradientDType: DType
    let matrices: MatrixShape
    /// What rules may treat it by; the policy sets what it has a say in.
    var kind: TensorTraits
    /// What the policy multiplies its rate by, on top of its layer's scale.
    var scale = 1.0
    var parameters: UnsafeMutableRawPointer?
    var boundGradient: UnsafeRawPointer?

    // Kept by the library (States/TensorStates.swift).
    var master: UnsafeMutableRawPointer?
    /// Which copies of lanes it has besides the states of its rule.
    var copies = LaneCopies()
    /// Which of the states that the rule declares there are.
    var kept = StateSet()
    /// The distance in the parameter between two numbers of its states of shape `strided`.
    var stride: Int32 = 1
    /// States of the parameter's shape, and strided ones, by slot.
    var states = (
        UnsafeMutableRawPointer?.none, UnsafeMutableRawPointer?.none, UnsafeMutableRawPointer?.none,
        UnsafeMutableRawPointer?.none
    )
    /// Rows and columns, row means or axes that stand for states of the parameter's shape.
    var factors = (FactorPair(), FactorPair())
    /// Where the sums by row and column begin in `WorkList.factors`: those of the first pair, and behind them those of the second.
    var firstFactor = 0
    /// Where its first slice has its sums in `WorkList.sliceSums`.
    var firstSlice = 0
    /// From the names of the layer and the tensor.
    var noiseKey: UInt64 = 0
    /// The last change, its signs, and the weights at the start, where the policy watches these.
    var lastChange: UnsafeMutableRawPointer?
    var lastSigns: UnsafeMutableRawPointer?
    var startWeights: UnsafeMutableRawPointer?
    /// The average of the weights and the slow weights of Lookahead (WeightAverages.swift).
    var following = FollowingWeights()
    /// States of one number, by slot.
    var scalars = StateScalars()
    var steps: Int64 = 0
    var firstBlock = 0
    var blockCount = 0

    // For the step under way.
    var active = false
    var gradient: UnsafeRawPointer?
    var coefficients: UnsafeMutableRawPointer?
    /// What gradients are multiplied by: direction, gradient scale and clipping.
    var factor = ScaledNumber(1)
    /// What the stages before the one under way found (`Rule.finish`).
    var numbers = StageNumbers(repeating: 1)
    /// The scalars after the step.
    var nextScalars = StateScalars()
    var learningRate = 0.0
    var decayRate = 0.0
    /// What a cautious rule multiplies the change by, and what the weight is multiplied by and then decays by.
    var changeScale = 1.0
    var separateDecay = 0.0

    // What is asked for each block is inlined: the record is large, and a call would copy it.

    /// The type of lanes, moments and arithmetic.
    @inline(__always)
    var laneType: DType { dtype.laneType }

    /// The bytes of one state: whole groups of lanes, so that no kernel needs a shorter last one.
    var stateBytes: Int { (count * laneType.size + 63) / 64 * 64 }

    /// The bytes of its signs, likewise.
    var signBytes: Int { (count + 63) / 64 * 64 }

    static let stateSlots = 4

    /// How many numbers its strided states have.
    var stridedCount: Int { (count - 1 + Int(stride)) / Int(stride) }

    /// Whether rows and columns, row means or axes stand for one of its states.
    @inline(__always)
    var isFactored: Bool { factors.0.isPresent }

    /// How many pairs of rows and columns there are.
    var factorPairs: Int { (factors.0.isPresent ? 1 : 0) + (factors.1.isPresent ? 1 : 0) }

    /// Where the sums of a pair begin.
    @inline(__always)
    func firstFactor(_ pair: Int) -> Int { firstFactor + pair * (matrices.rowCount + matrices.columnCount) }

    /// Room that its sums take in `WorkList.factors`: those of the tensor, and those of a block.
    var factorRoom: Int {
        switch factors.0.kind {
        case .product: factorPairs * (matrices.rowCount + matrices.columnCount)
        case .means, .least: isFactored ? matrices.rowCount : 0
        }
    }
    func factorRoom(of block: Block) -> Int {
        let rows = matrices.rows(in: block).count
        if factors.0.kind == .means { return rows }
        if matrices.isWithinRow(block) { return rows + block.count }
        let matrixCount = factors.0.kind == .product ? matrices.matrices(in: block).count : 1
        return rows + matrixCount * matrices.columns
    }

    /// How many of its sums are added up over processes.
    var spreadFactorCount: Int {
        if !isFactored { return 0 }
        return switch factors.0.kind {
        case .product: matrices.sharesColumns ? matrices.columnCount + 1 : 0
        case .means: 1
        case .least: 0
        }
    }

    /// The most elements of a block.  Each block of a matrix keeps sums of all columns, so a large matrix has at most 128.
    var blockElements: Int {
        if !isFactored || factors.0.kind != .product { return Block.elements }
        let ofMatrix = matrices.count == 0 ? 0 : matrices.rows * matrices.columns
        return Block.elements * max(1, (ofMatrix + 128 * Block.elements - 1) / (128 * Block.elements))
    }

    /// What a rule may depend on at the step under way.  `isSpread`: whether sums are taken over processes.
    @inline(__always)
    func moment(_ layer: LayerStepData, _ shared: SharedScalars, isSpread: Bool = false) -> StepInput {
        var moment = StepInput(
            learningRate: learningRate, decayRate: decayRate, step: steps == .max ? .max : steps + 1, tensor: kind)
        moment.shared = shared
        moment.baseRate = layer.baseRate
        moment.policyScale = layer.scale * scale
        if let own = layer.ownShared {
            // As if the layer had an optimizer of its own, with the layer's rate.
            moment.shared = own[1]
            moment.baseRate = layer.effectiveRate
            moment.policyScale = scale
        }
        moment.elements = isSpread ? matrices.wholeElements : Double(count)
        return moment
    }

    /// Zeroed memory for the state in `slot`, or for the master copy, which has the slot after the last; nil if there is none.
    ///
    /// Parameters and states begin 13 cache lines apart in their pages.  On a Zen 3 processor, loops over four arrays that begin
    /// at one offset moved 25 GB/s, and over arrays at least 3 lines apart 44 GB/s.
    func allocateState(_ slot: Int, from source: inout MemorySource) -> UnsafeMutableRawPointer? {
        let distance = 13 * 64 * (slot + 1)
        return source.allocateZeroed(stateBytes, pageOffset: Int(bitPattern: parameters) &+ distance)
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

/// Copies of lanes that a tensor has besides the states of its rule: the master copy, what a policy watches, and what follows the
/// weights.
struct LaneCopies: OptionSet, BitwiseCopyable {
    let rawValue: UInt8

    static let master = Self(rawValue: 1)
    static let lastChange = Self(rawValue: 2)
    static let startWeights = Self(rawValue: 4)
    static let average = Self(rawValue: 8)
    static let parked = Self(rawValue: 16)
    static let slow = Self(rawValue: 32)
    /// One byte for each element, and not a lane.
    static let lastSigns = Self(rawValue: 64)
}

/// What stands for a state of the parameter's shape.
struct FactorPair: BitwiseCopyable {
    enum Kind: BitwiseCopyable {
        /// Rows and columns: the state is their product over the mean of the rows.
        case product
        /// An average for each row alone.
        case means
        /// Numbers for the places along each axis, which lie side by side from `rows` on; those of the last axis are the `columns`.
        /// The state is the least of an element's numbers.
        case least
    }

    var kind = Kind.product
    /// The slot of that state.
    var slot = 0
    var rows: UnsafeMutableRawPointer?
    var columns: UnsafeMutableRawPointer?
    /// Whether there are such states, which may have no memory yet.
    var hasRows = false
    var hasColumns = false

    var isPresent: Bool { hasRows && (hasColumns || kind == .means) }
}

/// A tensor as matrices: its last two axes are rows and columns.  A tensor of rank 0 or 1 is one row.
struct MatrixShape: BitwiseCopyable {
    /// How many matrices there are.
    let count: Int
    let rows: Int
    let columns: Int
    /// The length of the tensor's first axis.
    let firstAxis: Int
    /// The rows of each matrix of the whole tensor, which several processes may share.
    let wholeRows: Int
    /// Elements of that tensor.
    let wholeElements: Double
    /// Whether parts of the tensor's matrices are in other processes: its first axis is that of the rows.
    let sharesColumns: Bool
    /// Whether it is a part of that tensor along another axis than the first.
    let isCutAcross: Bool
    /// The places along all axes; one for a tensor of rank 0, none for a tensor without elements.
    let axisCount: Int

    init(_ shape: [Int], of whole: [Int]) {
        rows = shape.count < 2 ? 1 : shape[shape.count - 2]
        columns = shape.last ?? 1
        firstAxis = shape.first ?? 1
        // A tensor without elements may have any extents besides.
        let count = shape.dropLast(2).reduce(1.0) { $0 * Double($1) }
        let isPossible = count * max(1, Double(rows)) * Double(columns) <= Double(Int.max / 64)
        self.count = isPossible ? Int(count) : 0
        sharesColumns = shape.count == 2
        wholeRows = sharesColumns ? whole[0] : rows
        wholeElements = whole.reduce(1) { $0 * Double($1) }
        isCutAcross = zip(shape, whole).dropFirst().contains { $0 != $1 }
        // A tensor that has elements has fewer places than these.
        axisCount = shape.contains(0) ? 0 : shape.isEmpty ? 1 : shape.reduce(0, &+)
    }

    /// The rows that a block has elements of, counted through all matrices; and the matrices.
    func rows(in block: Block) -> Range<Int> {
        block.start / columns..<(block.start + block.count - 1) / columns + 1
    }
    /// Whether a block is shorter than a row.  It has no column twice and keeps a number for each element in place of one for each
    /// column: room and work for all columns of every block would grow with the square of the columns.
    func isWithinRow(_ block: Block) -> Bool { block.count < columns }
    func matrices(in block: Block) -> Range<Int> {
        let rows = rows(in: block)
        return rows.lowerBound / self.rows..<(rows.upperBound - 1) / self.rows + 1
    }

    /// The rows of all matrices, if there are elements; and the columns.
    var rowCount: Int { columns == 0 ? 0 : count * rows }
    var columnCount: Int { count * columns }
}

/// value · 2^exponent.  The exponent is 0 but for factors and norms of gradients near the ends of float64's range and beyond it,
/// which a large or small gradient scale and huge gradients make.
struct ScaledNumber: BitwiseCopyable {
    var value: Double
    var exponent = 0

    private static let ordinary = 0x1p-1000...0x1p+1000

    init(_ value: Double, exponent: Int = 0) {
        self.value = value
        self.exponent = exponent
    }

    /// `sign` / `scale`, for a finite scale above 0.
    init(sign: Double, over scale: Double) {
        let isOrdinary = Self.ordinary.contains(scale)
        value = sign / (isOrdinary ? scale : scale.significand)
        if !isOrdinary { exponent = -Int(scale.exponent) }
    }

    static func * (a: Self, b: Self) -> Self {
        let product = Self(a.value * b.value, exponent: a.exponent + b.exponent)
        let isOrdinary = ordinary.contains(product.value.magnitude)
        if isOrdinary || !a.value.isNormal || !b.value.isNormal { return product }
        let sign = (a.value < 0) == (b.value < 0) ? 1.0 : -1
        return Self(
            sign * a.value.significand * b.value.significand,
            exponent: product.exponent + Int(a.value.exponent) + Int(b.value.exponent))
    }

    /// x · 2^exponent, as one number if that has all digits.
    init(_ x: Double, scaledBy exponent: Int) {
        let number = exponent == 0 ? x : Double.scaled(x, by: exponent)
        let isWhole = number.isNormal || x == 0 || !x.isFinite
        self.init(isWhole ? number : x, exponent: isWhole ? 0 : exponent)
    }

    /// As one number, which is 0 or infinity where it is beyond the range.
    var number: Double { exponent == 0 ? value : Double.scaled(value, by: exponent) }

    /// Whether lanes of a type hold it with all digits.
    @inline(__always)
    func fits(_ lane: DType) -> Bool {
        let magnitude = value.magnitude
        let range =
            lane == .float64
            ? Double.leastNormalMagnitude...Double.greatestFiniteMagnitude
            : Double(Float.leastNormalMagnitude)...Double(Float.greatestFiniteMagnitude)
        return exponent == 0 && (range.contains(magnitude) || magnitude == 0 || !magnitude.isFinite)
    }

    /// A factor near 1, and a power of two to be multiplied by twice.
    var parts: (factor: Double, power: Double) {
        guard value.isFinite, value != 0 else { return (value, 1) }
        let whole = exponent + Int(value.exponent)
        let half = max(-1074, min(whole >> 1, 1023))
        let sign = value < 0 ? -1.0 : 1
        return (
            sign * value.significand * (whole & 1 == 1 ? 2 : 1),
            Double(sign: .plus, exponent: half, significand: 1)
        )
    }
}

extension Double {
    /// x · 2^exponent, for any exponent.
    static func scaled(_ x: Double, by exponent: Int) -> Double {
        // In two steps, each of which is in range, so that a subnormal result is rounded by the last alone.
        let half = max(-1000, min(exponent, 1000))
        let rest = max(-1000, min(exponent - half, 1000))
        let last = max(-1000, min(exponent - half - rest, 1000))
        return x * Double(sign: .plus, exponent: half, significand: 1)
            * Double(sign: .plus, exponent: rest, significand: 1)
            * Double(sign: .plus, exponent: last, significand: 1)
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
    /// Where its sums by row and column begin in `WorkList.factors`.
    var firstFactor = 0
    /// Where its first slice has its sums in `WorkList.sliceSums`.
    var firstSlice = 0

    /// The count, rounded up to whole groups of lanes of either type.
    var paddedCount: Int { (count + 15) / 16 * 16 }
}

/// The sums of squares of one block, float64.
struct BlockSums: BitwiseCopyable {
    /// Gradients, by the pass that looks before anything is written; raw, or clamped where values are clipped.
    var scanned = 0.0
    /// The sums of a stage before the last.
    var measured = lwk_sums()
    /// Conditioned gradients, old weights and changes, by the pass that updates.
    var observed = lwk_sums()
    /// What policy and freezing plan watch.
    var watched = WatchedSums()
}

/// What is watched of elements, added up.
struct WatchedSums: BitwiseCopyable {
    /// ⟨g, last change⟩, ‖last change‖² and ‖g‖², of conditioned gradients.
    var product = 0.0
    var lastSquares = 0.0
    var gradientSquares = 0.0
    /// Elements that kept the sign of their last change less those that did not, and how many had two changes.
    var signs = 0.0
    var compared = 0.0
    /// ‖w − w₀‖².
    var distanceSquares = 0.0
    /// Σ|g| of conditioned gradients, and Σ|Δw|.
    var gradientMagnitudes = 0.0
    var updateMagnitudes = 0.0
    /// How many elements the step took; of a layer.
    var elements = 0.0

    static func += (a: inout Self, b: Self) {
        a.product += b.product
        a.lastSquares += b.lastSquares
        a.gradientSquares += b.gradientSquares
        a.signs += b.signs
        a.compared += b.compared
        a.distanceSquares += b.distanceSquares
        a.gradientMagnitudes += b.gradientMagnitudes
        a.updateMagnitudes += b.updateMagnitudes
    }
}
