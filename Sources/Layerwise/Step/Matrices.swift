// SPDX-License-Identifier: Apache-2.0
import CLayerwiseKernels
import LayerwiseRules

// Rules that make the directions of matrices orthogonal.  A matrix goes through its stages alone: its blocks advance the state and
// leave their directions, a few products of matrices make these orthogonal, and its blocks change the weights.  All threads share
// each of these.

extension Optimizer {
    /// Every stage of all matrices, where the other tensors were done together.
    func updateMatrices(_ context: StepContext) {
        if !rulesInForce.orthogonalizes { return }
        for index in 0..<unitList.units.count {
            let unit = unitList.units.elements[index]
            if unit.orthogonalizes && context.tensors[unit.firstTensor].active { updateMatrices(unit, context) }
        }
    }

    /// Every stage of one tensor.
    func updateMatrices(_ unit: Unit, _ context: StepContext) {
        let rule = rule(of: unit, context)
        guard let how = rule.orthogonalization else { return }
        let tensor = context.tensors + unit.firstTensor
        let matrices = tensor.pointee.matrices(how.axes)
        if tensor.pointee.count == 0 { return }
        var context = context
        context.firstBlock = unit.firstBlock
        context.directions = matrixMemory.directions
        context.stage = 0
        run(stageBlock, context, count: unit.endBlock - unit.firstBlock)
        for matrix in 0..<matrices.count { orthogonalize(matrix, matrices, how, tensor.pointee.laneType, &context) }
        let layer = context.layers[tensor.pointee.layer]
        var moment = tensor.pointee.moment(layer, context.shared)
        (moment.rows, moment.columns) = (Double(matrices.rows), Double(matrices.columns))
        tensor.pointee.numbers = rule.finish(0, StageSums(), moment)
        context.stage = 1
        run(stageBlock, context, count: unit.endBlock - unit.firstBlock)
    }

    /// Makes the directions of one matrix of a tensor orthogonal, in place.
    private func orthogonalize(
        _ index: Int, _ matrices: Matrices, _ how: NewtonSchulz, _ lane: DType, _ context: inout StepContext
    ) {
        guard let directions = matrixMemory.directions, let other = matrixMemory.other, let gram = matrixMemory.gram,
            let polynomial = matrixMemory.polynomial
        else { return }
        let (rows, columns) = (matrices.rows, matrices.columns)
        let own = directions + index * rows * columns * lane.size
        let halves = how.precision == .bfloat16 ? matrixMemory.halves : nil
        round(own, rows * columns, halves?.matrix, lane, &context)
        normalize(own, rows * columns, how, lane, context, into: other)
        round(other, rows * columns, halves?.matrix, lane, &context)
        // The products are of the order of the shorter side: from the left with X·Xᵀ, or from the right with Xᵀ·X.
        let isWide = rows <= columns
        let order = min(rows, columns)
        var (now, next) = (other, own)
        for iteration in 0..<how.steps {
            let coefficients = how.coefficients(iteration)
            let x = MatrixView(now, rowStep: columns, columnStep: 1, half: halves?.matrix)
            let a = MatrixView(gram, rowStep: order, columnStep: 1, half: halves?.gram)
            let p = MatrixView(polynomial, rowStep: order, columnStep: 1, half: halves?.polynomial)
            // A = X·Xᵀ;  P = c·A² + b·A;  X ← P·X + a·X.
            multiply(
                isWide ? x : x.transposed, isWide ? x.transposed : x, into: gram, rows: order, columns: order,
                depth: isWide ? columns : rows, isSymmetric: true, lane, &context)
            round(gram, order * order, halves?.gram, lane, &context)
            multiply(
                a, a, coefficients[2], plus: gram, coefficients[1], into: polynomial, rows: order, columns: order,
                depth: order, isSymmetric: true, lane, &context)
            round(polynomial, order * order, halves?.polynomial, lane, &context)
            multiply(
                isWide ? p : x, isWide ? x : p, plus: now, coefficients[0], into: next, rows: rows, columns: columns,
                depth: order, isSymmetric: false, lane, &context)
            round(next, rows * columns, halves?.matrix, lane, &context)
            swap(&now, &next)
        }
        if now != own { own.copyMemory(from: now, byteCount: rows * columns * lane.size) }
    }

    /// Rounds a matrix to bfloat16, and keeps a copy of that type, where there is memory for one.
    private func round(
        _ matrix: UnsafeMutableRawPointer, _ count: Int, _ half: UnsafeMutableRawPointer?, _ lane: DType,
        _ context: inout StepContext
    ) {
        guard let half else { return }
        context.rounding = MatrixRounding(matrix: matrix, half: half, count: count, isDouble: lane == .float64)
        run(
            roundPart, context, count: context.rounding.partCount, isShared: context.rounding.partCount > 1,
            wakes: context.rounding.partCount >= 16)
    }

    /// target = X / max(‖X‖, ε).  Up to a group of lanes behind the target is written.
    private func normalize(
        _ x: UnsafeMutableRawPointer, _ count: Int, _ how: NewtonSchulz, _ lane: DType, _ context: StepContext,
        into target: UnsafeMutableRawPointer
    ) {
        let epsilon = how.epsilon
        let kernels = lane.kernels(in: context.table)
        var norm = ScaledNumber(kernels.squareSum(x, count, 1, .infinity).squareRoot())
        if lane == .float64 && !(0x1p-450...0x1p+500).contains(norm.value) {
            // Squares that overflow or lose digits are taken again, scaled.
            let exponent = norm.value > 1 ? 600 : -600
            let scaled = kernels.squareSum(x, count, norm.value > 1 ? 0x1p-600 : 0x1p+600, .infinity)
            norm = ScaledNumber(scaled.squareRoot(), scaledBy: exponent)
        }
        if how.precision == .bfloat16, MatrixRounding.range.contains(norm.value) {
            norm = ScaledNumber(MatrixRounding.rounded(norm.value))
        }
        // One that has an exponent below 0 is less than any ε.
        let isSmall = norm.exponent < 0 || (norm.exponent == 0 && norm.value < epsilon)
        var factor = ScaledNumber(sign: 1, over: isSmall ? epsilon : norm.value)
        if !isSmall { factor.exponent -= norm.exponent }
        if factor.fits(lane) {
            kernels.condition(x, count, factor.value, .infinity, target)
        } else {
            let parts = factor.parts
            kernels.conditionWide(x, count, parts.factor, parts.power, .infinity, target)
        }
    }

    /// target = alpha·A·B + beta·D, on all threads.  A symmetric product is computed on and above its diagonal.
    private func multiply(
        _ a: MatrixView, _ b: MatrixView, _ alpha: Double = 1, plus d: UnsafeMutableRawPointer? = nil,
        _ beta: Double = 0, into target: UnsafeMutableRawPointer, rows: Int, columns: Int, depth: Int,
        isSymmetric: Bool, _ lane: DType, _ context: inout StepContext
    ) {
        context.product = MatrixProduct(
            a: a, b: b, d: d, target: target, scratch: matrixMemory.scratch, alpha: alpha, beta: beta, rows: rows,
            columns: columns, depth: depth, isSymmetric: isSymmetric, isDouble: lane == .float64)
        if multiplyByBLAS(context.product, d, isDouble: lane == .float64) { return }
        let operations = Double(rows) * Double(columns) * Double(depth)
        run(
            productTile, context, count: context.product.tileCount,
            isShared: threadLimit > 1 && operations >= Self.sharedOperations,
            wakes: operations >= Self.wakingOperations)
    }

    /// Lets a BLAS compute a product; false where none is in use.
    private func multiplyByBLAS(_ product: MatrixProduct, _ d: UnsafeMutableRawPointer?, isDouble: Bool) -> Bool {
        guard let a = product.a, let b = product.b, let target = product.target, matrixMemory.hasBLAS else {
            return false
        }
        if let d { target.copyMemory(from: d, byteCount: product.rows * product.columns * (isDouble ? 8 : 4)) }
        return matrixMemory.blas.multiply(
            BLASProduct(
                a: a, b: b, alpha: product.alpha, beta: product.beta, target: target, rows: product.rows,
                columns: product.columns, depth: product.depth),
            isSymmetric: product.isSymmetric, isDouble: isDouble)
    }

    /// Products of fewer multiplications stay on the caller's thread: at about 30 of them a nanosecond, they take less than 30 µs.
    private static let sharedOperations = 0x1p+20
    /// From so many on, workers that sleep are woken.
    private static let wakingOperations = 0x1p+23

    /// Memory for the largest matrix, whatever its axes; false if there is none.
    func reserveMatrices() -> Bool {
        if !rulesInForce.orthogonalizes { return true }
        var (bytes, squareBytes) = (0, 0)
        for index in 0..<unitList.units.count where unitList.units.elements[index].orthogonalizes {
            let unit = unitList.units.elements[index]
            let tensor = tensors.elements + unit.firstTensor
            // Other extents of an empty tensor may be any.
            if tensor.pointee.count == 0 { continue }
            bytes = max(bytes, unit.directionBytes)
            for axes in NewtonSchulz.Axes.allCases {
                let matrices = tensor.pointee.matrices(axes)
                let order = min(matrices.rows, matrices.columns)
                // A kernel may read the rest of the last group of lanes.
                squareBytes = max(squareBytes, order * order * tensor.pointee.laneType.size + 64)
            }
        }
        return matrixMemory.reserve(bytes, squareBytes, rounds: roundsMatrices, from: &memory)
    }

    /// Whether a rule rounds matrices to bfloat16.
    private var roundsMatrices: Bool {
        (0..<ruleRecords.count).contains { ruleInForce($0).orthogonalization?.precision == .bfloat16 }
    }

    /// Scratch memory for each thread that a product may use; false if there is none.
    func growMatrixScratch() -> Bool {
        !rulesInForce.orthogonalizes || matrixMemory.reserve(threads: threadLimit, from: &memory)
    }
}

/// Does one part of a product.
private let productTile: ThreadPool.Job = { memory, item, slot in
    let context = memory.load(as: StepContext.self)
    let kernels = context.product.isDouble ? context.table.matrices64 : context.table.matrices32
    context.product.multiply(item, slot, kernels)
}

/// Rounds one part of a matrix.
private let roundPart: ThreadPool.Job = { memory, item, _ in
    let context = memory.load(as: StepContext.self)
    context.rounding.round(item, context.table)
}

/// A matrix in memory, addressed in elements.
struct MatrixView: BitwiseCopyable {
    let memory: UnsafeMutableRawPointer
    let rowStep: Int
    let columnStep: Int
    /// The same numbers in bfloat16, if they are kept.
    let half: UnsafeMutableRawPointer?

    init(
        _ memory: UnsafeMutableRawPointer, rowStep: Int, columnStep: Int, half: UnsafeMutableRawPointer? = nil
    ) {
        self.memory = memory
        self.rowStep = rowStep
        self.columnStep = columnStep
        self.half = half
    }

    var transposed: Self { Self(memory, rowStep: columnStep, columnStep: rowStep, half: half) }
}

/// A matrix that is rounded to bfloat16 in place and copied in that type, in parts that one thread takes at a time.
struct MatrixRounding: BitwiseCopyable {
    var matrix: UnsafeMutableRawPointer?
    var half: UnsafeMutableRawPointer?
    var count = 0
    var isDouble = false

    /// A whole number of groups of lanes.
    private static let partElements = 1 << 16

    var partCount: Int { (count + Self.partElements - 1) / Self.partElements }

    func round(_ part: Int, _ table: KernelTable) {
        guard let matrix, let half else { return }
        let first = part * Self.partElements
        let end = min(first + Self.partElements, count)
        if isDouble {
            let numbers = matrix.assumingMemoryBound(to: Double.self)
            for index in first..<end { numbers[index] = Self.rounded(numbers[index]) }
            return
        }
        let kernels = DType.bfloat16.kernels(in: table)
        kernels.encodeFinite(matrix + first * 4, end - first, half + first * 2)
        // Whole groups of lanes, since the kernel writes such.
        let whole = (end - first) / 16 * 16
        kernels.decode(half + first * 2, whole, matrix + first * 4)
        for index in first + whole..<end {
            let bits = half.load(fromByteOffset: index * 2, as: UInt16.self)
            matrix.storeBytes(of: Float(bitPattern: UInt32(bits) << 16), toByteOffset: index * 4, as: Float.self)
        }
    }

    /// Numbers that bfloat16 has with all of its digits.
    static let range = 0x1p-126...0x1.fep+127

    /// A number as bfloat16, to the nearest and of two to the even one; the largest where a finite one is beyond the range.
    static func rounded(_ x: Double) -> Double {
        if !x.isFinite { return x }
        let limit = 0x1.fep+127
        let bits = Float(max(-limit, min(x, limit))).bitPattern
        return Double(Float(bitPattern: (bits &+ 0x7FFF &+ (bits >> 16 & 1)) & 0xFFFF_0000))
    }
}

/// A product of matrices, in tiles that one thread takes at a time: target = alpha·A·B + beta·D.
struct MatrixProduct: BitwiseCopyable {
    var a: MatrixView?
    var b: MatrixView?
    var d: UnsafeMutableRawPointer?
    var target: UnsafeMutableRawPointer?
    var scratch: UnsafeMutableRawPointer?
    var alpha = 1.0
    var beta = 0.0
    var rows = 0
    var columns = 0
    var depth = 0
    /// Whether only the tiles on and above the diagonal are computed; the others are their mirrors.
    var isSymmetric = false
    var isDouble = false

    private static let tileRows = Int(LWK_PRODUCT_ROWS)
    private static let tileColumns = Int(LWK_PRODUCT_COLUMNS)

    /// Tiles of a symmetric product are square, so that each has a mirror.
    private var width: Int { isSymmetric ? Self.tileRows : Self.tileColumns }
    private var down: Int { (rows + Self.tileRows - 1) / Self.tileRows }
    private var across: Int { (columns + width - 1) / width }

    var tileCount: Int { isSymmetric ? down * (down + 1) / 2 : down * across }

    /// The row and the column of a tile, in tiles.
    private func place(_ tile: Int) -> (row: Int, column: Int) {
        if !isSymmetric { return (tile / across, tile % across) }
        var (row, first) = (0, 0)
        while tile >= first + (down - row) {
            first += down - row
            row += 1
        }
        return (row, row + tile - first)
    }

    func multiply(_ tile: Int, _ slot: Int, _ kernels: MatrixKernels) {
        guard let a, let b, let target, let scratch else { return }
        let size = isDouble ? 8 : 4
        let (row, column) = place(tile)
        let (firstRow, firstColumn) = (row * Self.tileRows, column * width)
        let offset = (firstRow * columns + firstColumn) * size
        let mirrored = isSymmetric && row != column
        var product = lwk_product(
            a: a.memory + firstRow * a.rowStep * size, a_row_step: Int64(a.rowStep),
            a_column_step: Int64(a.columnStep), b: b.memory + firstColumn * b.columnStep * size,
            b_row_step: Int64(b.rowStep), b_column_step: Int64(b.columnStep),
            d: d.map { UnsafeRawPointer($0 + offset) },
            c: target + offset, c_row_step: Int64(columns),
            mirror: mirrored ? target + (firstColumn * columns + firstRow) * size : nil, alpha: alpha, beta: beta,
            rows: Int64(min(Self.tileRows, rows - firstRow)), columns: Int64(min(width, columns - firstColumn)),
            depth: Int64(depth))
        kernels.product(&product, scratch + slot * MatrixMemory.scratchBytes)
    }
}

/// The matrices of a tensor, one behind the other.
struct Matrices: BitwiseCopyable {
    let count: Int
    let rows: Int
    let columns: Int
}

extension TensorStepData {
    func matrices(_ axes: NewtonSchulz.Axes) -> Matrices {
        switch axes {
        case .first:
            Matrices(
                count: 1, rows: matrices.firstAxis, columns: matrices.firstAxis == 0 ? 0 : count / matrices.firstAxis)
        case .last: Matrices(count: count == 0 ? 0 : matrices.count, rows: matrices.rows, columns: matrices.columns)
        }
    }
}

/// Memory for the matrices of a step, which have it one after the other.
struct MatrixMemory: ~Copyable {
    /// The scratch memory of one thread, for numbers of 8 bytes: parts of both factors and the sums of a tile.
    static let scratchBytes =
        8 * Int(LWK_PRODUCT_ROWS * LWK_PRODUCT_DEPTH + LWK_PRODUCT_DEPTH * LWK_PRODUCT_COLUMNS)
        + 8 * Int(LWK_PRODUCT_ROWS * LWK_PRODUCT_COLUMNS)

    private var directionMemory = WorkMemory()
    private var otherMemory = WorkMemory()
    private var gramMemory = WorkMemory()
    private var polynomialMemory = WorkMemory()
    private var halfMatrixMemory = WorkMemory()
    private var halfGramMemory = WorkMemory()
    private var halfPolynomialMemory = WorkMemory()
    private var scratchMemory = WorkMemory()

    /// The directions of a tensor, and room for their next values.
    var directions: UnsafeMutableRawPointer? { directionMemory.start }
    var other: UnsafeMutableRawPointer? { otherMemory.start }
    /// X·Xᵀ, and the polynomial of it.
    var gram: UnsafeMutableRawPointer? { gramMemory.start }
    var polynomial: UnsafeMutableRawPointer? { polynomialMemory.start }
    /// Copies in bfloat16 of the matrix, of X·Xᵀ and of the polynomial, where these are rounded.
    var halves: (matrix: UnsafeMutableRawPointer, gram: UnsafeMutableRawPointer, polynomial: UnsafeMutableRawPointer)? {
        guard let matrix = halfMatrixMemory.start, let gram = halfGramMemory.start,
            let polynomial = halfPolynomialMemory.start
        else { return nil }
        return (matrix, gram, polynomial)
    }
    /// Scratch memory for each thread.
    var scratch: UnsafeMutableRawPointer? { scratchMemory.start }
    /// What multiplies matrices in place of the library's own kernels.
    var blas = BLASFunctions()
    var hasBLAS: Bool { blas.isPresent }

    init() {}

    /// Grows to so many bytes; false if there is no memory.  `rounds`: whether matrices are rounded.
    mutating func reserve(
        _ bytes: Int, _ squareBytes: Int, rounds: Bool, from source: inout MemorySource
    ) -> Bool {
        let hasDirections = directionMemory.reserve(bytes, from: &source)
        let hasOther = otherMemory.reserve(bytes, from: &source)
        let hasGram = gramMemory.reserve(squareBytes, from: &source)
        let hasPolynomial = polynomialMemory.reserve(squareBytes, from: &source)
        if !rounds { return hasDirections && hasOther && hasGram && hasPolynomial }
        // Half of float32's bytes.
        let hasHalfMatrix = halfMatrixMemory.reserve(bytes / 2 + 64, from: &source)
        let hasHalfGram = halfGramMemory.reserve(squareBytes / 2, from: &source)
        let hasHalfPolynomial = halfPolynomialMemory.reserve(squareBytes / 2, from: &source)
        return hasDirections && hasOther && hasGram && hasPolynomial && hasHalfMatrix && hasHalfGram
            && hasHalfPolynomial
    }

    /// Grows to so many threads; false if there is no memory.
    mutating func reserve(threads: Int, from source: inout MemorySource) -> Bool {
        scratchMemory.reserve(threads * Self.scratchBytes, from: &source)
    }

    /// Moves to memory from another source; if it is only counted, nothing changes.
    mutating func move(to source: inout MemorySource) {
        directionMemory.move(to: &source)
        otherMemory.move(to: &source)
        gramMemory.move(to: &source)
        polynomialMemory.move(to: &source)
        halfMatrixMemory.move(to: &source)
        halfGramMemory.move(to: &source)
        halfPolynomialMemory.move(to: &source)
        scratchMemory.move(to: &source)
    }
}
