// SPDX-License-Identifier: Apache-2.0
import LayerwisePlatform
import Synchronization

/// A BLAS that multiplies matrices in place of the library's own kernels, found at run time.  Where the shared library has a LAPACK too,
/// as OpenBLAS and MKL do, it also computes the singular values that spectral policies go by.
///
/// None is in use unless it is asked for, by `use(path:)`, by `use(sgemm:dgemm:)` or by the environment variable `LAYERWISE_BLAS`,
/// which is read once.  Results then depend on that library, its threads and the processor, since it rounds its products in an order
/// of its own.  A BLAS serves all optimizers of the process, from their next step on.
public enum BLAS {
    /// CBLAS's `cblas_sgemm`, with integers of 32 bits: order, transpositions, rows, columns, depth, α, A, its leading dimension, B,
    /// its leading dimension, β, C, its leading dimension.
    public typealias SGEMM =
        @convention(c) (
            Int32, Int32, Int32, Int32, Int32, Int32, Float, UnsafePointer<Float>?, Int32, UnsafePointer<Float>?, Int32,
            Float, UnsafeMutablePointer<Float>?, Int32
        ) -> Void

    /// CBLAS's `cblas_dgemm`.
    public typealias DGEMM =
        @convention(c) (
            Int32, Int32, Int32, Int32, Int32, Int32, Double, UnsafePointer<Double>?, Int32, UnsafePointer<Double>?,
            Int32,
            Double, UnsafeMutablePointer<Double>?, Int32
        ) -> Void

    /// CBLAS's `cblas_sbgemm`: A and B in bfloat16, as bits; their product is added up and stored in float32.
    public typealias SBGEMM =
        @convention(c) (
            Int32, Int32, Int32, Int32, Int32, Int32, Float, UnsafePointer<UInt16>?, Int32, UnsafePointer<UInt16>?,
            Int32, Float, UnsafeMutablePointer<Float>?, Int32
        ) -> Void

    private struct State: Sendable {
        var functions = BLASFunctions()
        var name = ""
        /// Why what the environment asks for cannot be had.
        var failure: String?
    }

    private static let state = Mutex(initialState())

    /// The name of the BLAS in use: the path that was asked for, "functions", or "" for the library's own kernels.
    public static var name: String { state.withLock { $0.name } }

    /// Uses the CBLAS in a shared library: its path, a name that the system's loader finds, such as `libopenblas.so.0`, or "auto"
    /// for the first of OpenBLAS, BLIS and MKL that the loader finds.  nil goes back to the library's own kernels.  Where the
    /// library cannot be used, nothing changes.
    public static func use(path: String?) throws(LayerwiseError) {
        let found = if let path { try find(path) } else { State() }
        state.withLock { $0 = found }
    }

    /// Uses these functions, which any thread may call.  Without `dgemm`, float64 is left to the library's own kernels.  Without
    /// `sbgemm`, matrices that were rounded to bfloat16 are multiplied in float32.
    public static func use(sgemm: SGEMM, dgemm: DGEMM? = nil, sbgemm: SBGEMM? = nil) {
        var functions = BLASFunctions()
        functions.float32 = narrow(sgemm)
        functions.float64 = dgemm.map { narrow($0) }
        functions.bfloat16 = sbgemm.map { narrow($0) }
        functions.isNarrow = true
        state.withLock { $0 = State(functions: functions, name: "functions") }
    }

    private static func initialState() -> State {
        guard let path = getenv("LAYERWISE_BLAS").map({ String(cString: $0) }), !path.isEmpty else { return State() }
        do throws(LayerwiseError) { return try find(path) } catch {
            return State(failure: "LAYERWISE_BLAS: \(error.message)")
        }
    }

    private static let known = [
        "libopenblas.so.0", "libopenblas.so", "libblis.so.4", "libmkl_rt.so.3", "libmkl_rt.so.2",
    ]

    private static func find(_ path: String) throws(LayerwiseError) -> State {
        var reasons: [String] = []
        for name in path == "auto" ? known : [path] {
            // Nothing closes it: another thread may be about to call it.
            guard let library = dlopen(name, RTLD_NOW | RTLD_LOCAL) else {
                reasons.append(dlerror().map { String(cString: $0) } ?? "\(name) cannot be loaded")
                continue
            }
            if let functions = functions(library) { return State(functions: functions, name: name) }
            reasons.append("\(name) has no cblas_sgemm, cblas_dgemm, cblas_ssyrk and cblas_dsyrk")
        }
        throw LayerwiseError(.invalidArgument, "no BLAS can be used: \(reasons.joined(separator: "; "))")
    }

    /// The functions of a library.  Those with the suffix "64_" take integers of 64 bits.
    private static func functions(_ library: UnsafeMutableRawPointer) -> BLASFunctions? {
        for prefix in ["cblas", "scipy_cblas"] {
            for suffix in ["", "64_"] {
                func symbol(_ name: String) -> UnsafeMutableRawPointer? { dlsym(library, "\(prefix)_\(name)\(suffix)") }
                guard let sgemm = symbol("sgemm"), let dgemm = symbol("dgemm"), let ssyrk = symbol("ssyrk"),
                    let dsyrk = symbol("dsyrk")
                else { continue }
                var functions = BLASFunctions()
                functions.isNarrow = suffix.isEmpty
                // OpenBLAS's name and MKL's.
                let sbgemm = symbol("sbgemm") ?? dlsym(library, "cblas_gemm_bf16bf16f32\(suffix.isEmpty ? "" : "_64")")
                functions.eigenvalues = LAPACK.eigenvalues(
                    in: library, prefix: prefix.hasPrefix("scipy") ? "scipy_" : "", suffix: suffix)
                if suffix.isEmpty {
                    functions.bfloat16 = sbgemm.map { narrow(unsafeBitCast($0, to: SBGEMM.self)) }
                    functions.float32 = narrow(unsafeBitCast(sgemm, to: SGEMM.self))
                    functions.float64 = narrow(unsafeBitCast(dgemm, to: DGEMM.self))
                    functions.symmetric32 = narrow(unsafeBitCast(ssyrk, to: SSYRK.self))
                    functions.symmetric64 = narrow(unsafeBitCast(dsyrk, to: DSYRK.self))
                } else {
                    functions.bfloat16 = sbgemm.map { wide(unsafeBitCast($0, to: WideSBGEMM.self)) }
                    functions.float32 = wide(unsafeBitCast(sgemm, to: WideSGEMM.self))
                    functions.float64 = wide(unsafeBitCast(dgemm, to: WideDGEMM.self))
                    functions.symmetric32 = wide(unsafeBitCast(ssyrk, to: WideSSYRK.self))
                    functions.symmetric64 = wide(unsafeBitCast(dsyrk, to: WideDSYRK.self))
                }
                return functions
            }
        }
        return nil
    }

    /// What multiplies matrices from now on; refused where the environment asks for a BLAS that cannot be used.
    static func current() throws(LayerwiseError) -> BLASFunctions {
        let (functions, failure) = state.withLock { ($0.functions, $0.failure) }
        if let failure { throw LayerwiseError(.invalidArgument, failure) }
        return functions
    }
}

/// Functions that compute a product; nil where the library's own kernels do.
struct BLASFunctions: Sendable {
    typealias Function = @Sendable (BLASProduct) -> Void

    fileprivate var float32: Function?
    fileprivate var float64: Function?
    /// Takes `a.half` and `b.half`.
    fileprivate var bfloat16: Function?
    /// Functions for A·Aᵀ.  They compute the upper triangle alone.
    fileprivate var symmetric32: Function?
    fileprivate var symmetric64: Function?
    /// Whether their integers have 32 bits.
    fileprivate var isNarrow = false
    /// The eigenvalues of a symmetric matrix, of a LAPACK in the same library.
    fileprivate var eigenvalues: LAPACK.Eigenvalues?

    init() {}

    var isPresent: Bool { float32 != nil }

    /// What computes the eigenvalues of a symmetric n × n matrix; nil where that is left to the library's own functions.
    func eigenvalues(_ n: Int) -> LAPACK.Eigenvalues? {
        n == 0 || (isNarrow && n > Int(Int32.max)) ? nil : eigenvalues
    }

    /// Computes a product; false where the library's own kernels do.  `isSymmetric`: it is A·Aᵀ, or A·A of a symmetric A.
    func multiply(_ product: BLASProduct, isSymmetric: Bool, isDouble: Bool) -> Bool {
        if isNarrow && max(product.rows, product.columns, product.depth) > Int(Int32.max) { return false }
        if !isDouble, product.a.half != nil, product.b.half != nil, let bfloat16 {
            bfloat16(product)
            return true
        }
        if isSymmetric, let function = isDouble ? symmetric64 : symmetric32 {
            function(product)
            product.mirror(isDouble: isDouble)
            return true
        }
        guard let function = isDouble ? float64 : float32 else { return false }
        function(product)
        return true
    }
}

/// target ← alpha·A·B + beta·target, by rows.
struct BLASProduct {
    let a: MatrixView
    let b: MatrixView
    let alpha: Double
    let beta: Double
    let target: UnsafeMutableRawPointer
    let rows: Int
    let columns: Int
    let depth: Int

    /// CblasRowMajor, CblasUpper.
    fileprivate static let (rowMajor, upper): (Int32, Int32) = (101, 121)

    fileprivate var first: Layout { Layout(a, columns: depth) }
    fileprivate var second: Layout { Layout(b, columns: columns) }

    /// How CBLAS takes a matrix.
    fileprivate struct Layout {
        /// CblasNoTrans or CblasTrans.
        let transposition: Int32
        let leading: Int

        init(_ matrix: MatrixView, columns: Int) {
            let isByRows = matrix.columnStep == 1 && matrix.rowStep >= columns
            transposition = isByRows ? 111 : 112
            leading = max(1, isByRows ? matrix.rowStep : matrix.columnStep)
        }
    }

    fileprivate func floats(_ matrix: MatrixView) -> UnsafePointer<Float> {
        UnsafePointer(matrix.memory.assumingMemoryBound(to: Float.self))
    }
    fileprivate func halves(_ matrix: MatrixView) -> UnsafePointer<UInt16>? {
        matrix.half.map { UnsafePointer($0.assumingMemoryBound(to: UInt16.self)) }
    }
    fileprivate func doubles(_ matrix: MatrixView) -> UnsafePointer<Double> {
        UnsafePointer(matrix.memory.assumingMemoryBound(to: Double.self))
    }
    fileprivate var floatTarget: UnsafeMutablePointer<Float> { target.assumingMemoryBound(to: Float.self) }
    fileprivate var doubleTarget: UnsafeMutablePointer<Double> { target.assumingMemoryBound(to: Double.self) }

    /// Copies the upper triangle to the lower.
    fileprivate func mirror(isDouble: Bool) {
        for row in 0..<rows {
            for column in 0..<row {
                if isDouble {
                    doubleTarget[row * columns + column] = doubleTarget[column * columns + row]
                } else {
                    floatTarget[row * columns + column] = floatTarget[column * columns + row]
                }
            }
        }
    }
}

// MARK: - LAPACK

/// The LAPACK in the shared library of a BLAS.
enum LAPACK {
    /// The eigenvalues of a symmetric n × n matrix, which is overwritten, rising; nil if they do not converge.
    typealias Eigenvalues = @Sendable (UnsafeMutablePointer<Double>, Int) -> [Double]?

    // dsyevd's job, triangle, order, matrix, leading dimension, eigenvalues, work, its size, work of integers, its size and result;
    // and the lengths of both texts, which Fortran compilers pass at the end.
    private typealias DSYEVD =
        @convention(c) (
            UnsafePointer<CChar>, UnsafePointer<CChar>, UnsafePointer<Int32>, UnsafeMutablePointer<Double>,
            UnsafePointer<Int32>, UnsafeMutablePointer<Double>, UnsafeMutablePointer<Double>, UnsafePointer<Int32>,
            UnsafeMutablePointer<Int32>, UnsafePointer<Int32>, UnsafeMutablePointer<Int32>, Int, Int
        ) -> Void
    private typealias WideDSYEVD =
        @convention(c) (
            UnsafePointer<CChar>, UnsafePointer<CChar>, UnsafePointer<Int>, UnsafeMutablePointer<Double>,
            UnsafePointer<Int>, UnsafeMutablePointer<Double>, UnsafeMutablePointer<Double>, UnsafePointer<Int>,
            UnsafeMutablePointer<Int>, UnsafePointer<Int>, UnsafeMutablePointer<Int>, Int, Int
        ) -> Void

    /// nil where the library has none.
    fileprivate static func eigenvalues(
        in library: UnsafeMutableRawPointer, prefix: String, suffix: String
    ) -> Eigenvalues? {
        guard let symbol = dlsym(library, suffix.isEmpty ? "\(prefix)dsyevd_" : "\(prefix)dsyevd_\(suffix)") else {
            return nil
        }
        if suffix.isEmpty {
            let function = unsafeBitCast(symbol, to: DSYEVD.self)
            return { matrix, n in
                solve(n, Int32(truncatingIfNeeded: n)) { order, values, work, size, whole, wholeSize, result in
                    function(job, triangle, order, matrix, order, values, work, size, whole, wholeSize, result, 1, 1)
                }
            }
        }
        let function = unsafeBitCast(symbol, to: WideDSYEVD.self)
        return { matrix, n in
            solve(n, n) { order, values, work, size, whole, wholeSize, result in
                function(job, triangle, order, matrix, order, values, work, size, whole, wholeSize, result, 1, 1)
            }
        }
    }

    /// Eigenvalues without vectors, of the upper triangle.
    private static let job: [CChar] = [0x4E, 0]
    private static let triangle: [CChar] = [0x55, 0]

    private static func solve<Whole: FixedWidthInteger>(
        _ n: Int, _ order: Whole,
        _ call: (
            UnsafePointer<Whole>, UnsafeMutablePointer<Double>, UnsafeMutablePointer<Double>, UnsafePointer<Whole>,
            UnsafeMutablePointer<Whole>, UnsafePointer<Whole>, UnsafeMutablePointer<Whole>
        ) -> Void
    ) -> [Double]? {
        var (order, result, ask) = (order, Whole(0), Whole(-1))
        var values = [Double](repeating: 0, count: n)
        // It says first how much room works best.
        var best = [0.0]
        var least: [Whole] = [0]
        call(&order, &values, &best, &ask, &least, &ask, &result)
        guard result == 0, var size = Whole(exactly: best[0].rounded(.up)), var wholeSize = least.first else {
            return nil
        }
        size = max(size, 2 * order + 1)
        wholeSize = max(wholeSize, 1)
        var work = [Double](repeating: 0, count: Int(size))
        var whole = [Whole](repeating: 0, count: Int(wholeSize))
        call(&order, &values, &work, &size, &whole, &wholeSize, &result)
        return result == 0 ? values : nil
    }
}

// MARK: - Calls

private typealias SSYRK =
    @convention(c) (
        Int32, Int32, Int32, Int32, Int32, Float, UnsafePointer<Float>?, Int32, Float, UnsafeMutablePointer<Float>?,
        Int32
    ) -> Void
private typealias DSYRK =
    @convention(c) (
        Int32, Int32, Int32, Int32, Int32, Double, UnsafePointer<Double>?, Int32, Double, UnsafeMutablePointer<Double>?,
        Int32
    ) -> Void
private typealias WideSGEMM =
    @convention(c) (
        Int32, Int32, Int32, Int, Int, Int, Float, UnsafePointer<Float>?, Int, UnsafePointer<Float>?, Int, Float,
        UnsafeMutablePointer<Float>?, Int
    ) -> Void
private typealias WideDGEMM =
    @convention(c) (
        Int32, Int32, Int32, Int, Int, Int, Double, UnsafePointer<Double>?, Int, UnsafePointer<Double>?, Int, Double,
        UnsafeMutablePointer<Double>?, Int
    ) -> Void
private typealias WideSBGEMM =
    @convention(c) (
        Int32, Int32, Int32, Int, Int, Int, Float, UnsafePointer<UInt16>?, Int, UnsafePointer<UInt16>?, Int, Float,
        UnsafeMutablePointer<Float>?, Int
    ) -> Void
private typealias WideSSYRK =
    @convention(c) (
        Int32, Int32, Int32, Int, Int, Float, UnsafePointer<Float>?, Int, Float, UnsafeMutablePointer<Float>?, Int
    ) -> Void
private typealias WideDSYRK =
    @convention(c) (
        Int32, Int32, Int32, Int, Int, Double, UnsafePointer<Double>?, Int, Double, UnsafeMutablePointer<Double>?, Int
    ) -> Void

private func narrow(_ function: BLAS.SGEMM) -> BLASFunctions.Function {
    { p in
        function(
            BLASProduct.rowMajor, p.first.transposition, p.second.transposition, p.rows.narrow, p.columns.narrow,
            p.depth.narrow, Float(p.alpha), p.floats(p.a), p.first.leading.narrow, p.floats(p.b),
            p.second.leading.narrow,
            Float(p.beta), p.floatTarget, p.columns.narrow)
    }
}

private func narrow(_ function: BLAS.DGEMM) -> BLASFunctions.Function {
    { p in
        function(
            BLASProduct.rowMajor, p.first.transposition, p.second.transposition, p.rows.narrow, p.columns.narrow,
            p.depth.narrow, p.alpha, p.doubles(p.a), p.first.leading.narrow, p.doubles(p.b), p.second.leading.narrow,
            p.beta,
            p.doubleTarget, p.columns.narrow)
    }
}

private func narrow(_ function: BLAS.SBGEMM) -> BLASFunctions.Function {
    { p in
        function(
            BLASProduct.rowMajor, p.first.transposition, p.second.transposition, p.rows.narrow, p.columns.narrow,
            p.depth.narrow, Float(p.alpha), p.halves(p.a), p.first.leading.narrow, p.halves(p.b),
            p.second.leading.narrow, Float(p.beta), p.floatTarget, p.columns.narrow)
    }
}

private func narrow(_ function: SSYRK) -> BLASFunctions.Function {
    { p in
        function(
            BLASProduct.rowMajor, BLASProduct.upper, p.first.transposition, p.rows.narrow, p.depth.narrow,
            Float(p.alpha),
            p.floats(p.a), p.first.leading.narrow, Float(p.beta), p.floatTarget, p.columns.narrow)
    }
}

private func narrow(_ function: DSYRK) -> BLASFunctions.Function {
    { p in
        function(
            BLASProduct.rowMajor, BLASProduct.upper, p.first.transposition, p.rows.narrow, p.depth.narrow, p.alpha,
            p.doubles(p.a), p.first.leading.narrow, p.beta, p.doubleTarget, p.columns.narrow)
    }
}

private func wide(_ function: WideSGEMM) -> BLASFunctions.Function {
    { p in
        function(
            BLASProduct.rowMajor, p.first.transposition, p.second.transposition, p.rows, p.columns, p.depth,
            Float(p.alpha), p.floats(p.a), p.first.leading, p.floats(p.b), p.second.leading, Float(p.beta),
            p.floatTarget,
            p.columns)
    }
}

private func wide(_ function: WideDGEMM) -> BLASFunctions.Function {
    { p in
        function(
            BLASProduct.rowMajor, p.first.transposition, p.second.transposition, p.rows, p.columns, p.depth, p.alpha,
            p.doubles(p.a), p.first.leading, p.doubles(p.b), p.second.leading, p.beta, p.doubleTarget, p.columns)
    }
}

private func wide(_ function: WideSBGEMM) -> BLASFunctions.Function {
    { p in
        function(
            BLASProduct.rowMajor, p.first.transposition, p.second.transposition, p.rows, p.columns, p.depth,
            Float(p.alpha), p.halves(p.a), p.first.leading, p.halves(p.b), p.second.leading, Float(p.beta),
            p.floatTarget, p.columns)
    }
}

private func wide(_ function: WideSSYRK) -> BLASFunctions.Function {
    { p in
        function(
            BLASProduct.rowMajor, BLASProduct.upper, p.first.transposition, p.rows, p.depth, Float(p.alpha),
            p.floats(p.a), p.first.leading, Float(p.beta), p.floatTarget, p.columns)
    }
}

private func wide(_ function: WideDSYRK) -> BLASFunctions.Function {
    { p in
        function(
            BLASProduct.rowMajor, BLASProduct.upper, p.first.transposition, p.rows, p.depth, p.alpha, p.doubles(p.a),
            p.first.leading, p.beta, p.doubleTarget, p.columns)
    }
}

extension Int {
    fileprivate var narrow: Int32 { Int32(truncatingIfNeeded: self) }
}
