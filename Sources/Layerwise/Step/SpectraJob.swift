// SPDX-License-Identifier: Apache-2.0
import CLayerwiseKernels
import LayerwisePlatform
import LayerwiseRules
import Synchronization

/// A tensor whose singular values are wanted: a matrix at each place of its further axes.
struct SpectrumSource: BitwiseCopyable {
    var memory: UnsafeRawPointer?
    let dtype: DType
    let rows: Int
    let columns: Int
    let places: Int
    /// The layer that its value belongs to.
    let unit: Int

    var byteCount: Int { rows * columns * places * dtype.size }
    private var short: Int { min(rows, columns) }
    private var long: Int { max(rows, columns) }

    /// The elements that are read at once.
    private static let lines = 128

    /// The numbers of room that it takes: for a Gram matrix and for some lines of elements.
    var room: Int { short * short + short * Self.lines }

    /// The squares of all singular values, rising; nil where they are not finite, or where it was cancelled.
    func squares(_ room: borrowing SpectrumRoom, _ blas: BLASFunctions, isCancelled: () -> Bool) -> [Double]? {
        var squares: [Double] = []
        for place in 0..<places {
            addUp(place, room.memory, blas, isCancelled)
            // A NaN or infinity anywhere is on the diagonal.
            for row in 0..<short where !room.memory[row * short + row].isFinite { return nil }
            if isCancelled() { return nil }
            let own =
                if let solve = blas.eigenvalues(short) { solve(room.memory, short) } else {
                    Eigenvalues.of(room.memory, short, isCancelled: isCancelled)
                }
            guard let own else { return nil }
            squares += own.map { max(0, $0) }
        }
        return squares.sorted()
    }

    /// Computes the Gram matrix of one place.
    private func addUp(
        _ place: Int, _ gram: UnsafeMutablePointer<Double>, _ blas: BLASFunctions, _ isCancelled: () -> Bool
    ) {
        guard let memory else { return }
        gram.update(repeating: 0, count: short * short)
        let panel = gram + short * short
        for start in stride(from: 0, to: long, by: Self.lines) {
            if isCancelled() { return }
            let count = min(Self.lines, long - start)
            for line in 0..<count {
                let far = start + line
                for near in 0..<short {
                    let element = rows <= columns ? near * columns + far : far * columns + near
                    panel[line * short + near] = Optimizer.element(memory, element * places + place, dtype)
                }
            }
            let matrix = MatrixView(UnsafeMutableRawPointer(panel), rowStep: 1, columnStep: short)
            let product = BLASProduct(
                a: matrix, b: matrix.transposed, alpha: 1, beta: 1, target: UnsafeMutableRawPointer(gram), rows: short,
                columns: short, depth: count)
            if blas.multiply(product, isSymmetric: true, isDouble: true) { continue }
            for line in 0..<count {
                let own = panel + line * short
                for near in 0..<short where own[near] != 0 {
                    let (row, factor) = (gram + near * short, own[near])
                    for other in 0..<short { row[other] += factor * own[other] }
                }
            }
        }
    }
}

/// Memory for the largest of some matrices.
struct SpectrumRoom: ~Copyable {
    let memory: UnsafeMutablePointer<Double>
    private let count: Int

    /// nil where there is no memory.
    init?(_ sources: [SpectrumSource]) {
        count = max(1, sources.map(\.room).max() ?? 0)
        let (bytes, overflow) = count.multipliedReportingOverflow(by: MemoryLayout<Double>.size)
        guard !overflow, let room = Memory.allocateZeroed(bytes) else { return nil }
        memory = room.bindMemory(to: Double.self, capacity: count)
    }

    deinit { Memory.free(UnsafeMutableRawPointer(memory), count * MemoryLayout<Double>.size) }
}

/// Singular values that are computed when they are waited for, or on a thread of its own from copies of the weights.
///
/// It belongs to the thread of its optimizer.  Between `start` and `wait` the thread that it makes alone writes `results`.
final class SpectraJob {
    private let sources: [SpectrumSource]
    private let policy: any SpectralPolicy
    private let blas: BLASFunctions
    private let room: SpectrumRoom
    private let copies: UnsafeMutableRawPointer?
    private let copyBytes: Int
    /// The value of each layer, NaN where there is none; and whether some of it was not finite.
    private let results: UnsafeMutablePointer<Double>
    private let failures: UnsafeMutablePointer<Bool>
    private let layerCount: Int
    private let isCancelled = Atomic<Bool>(false)
    private var thread: pthread_t?
    private var forks = 0
    private var isDone = false

    /// With `copies` it copies the weights; else it reads them where they are, and must be waited for before they change.
    init(
        _ sources: [SpectrumSource], layers: Int, _ policy: any SpectralPolicy, copies: Bool, blas: BLASFunctions
    ) throws(LayerwiseError) {
        var sources = sources
        copyBytes = copies ? sources.reduce(0) { $0 + ($1.byteCount + 63) / 64 * 64 } : 0
        guard let room = SpectrumRoom(sources) else { throw .outOfMemory("singular values") }
        self.copies = copyBytes > 0 ? Memory.allocateZeroed(copyBytes) : nil
        if copyBytes > 0 && self.copies == nil { throw .outOfMemory("a copy of the weights") }
        let values = calloc(max(1, layers), MemoryLayout<Double>.stride)
        let flags = calloc(max(1, layers), MemoryLayout<Bool>.stride)
        guard let values, let flags else {
            free(values)
            free(flags)
            Memory.free(self.copies, copyBytes)
            throw .outOfMemory("singular values")
        }
        results = values.bindMemory(to: Double.self, capacity: max(1, layers))
        failures = flags.bindMemory(to: Bool.self, capacity: max(1, layers))
        layerCount = layers
        self.room = room
        self.policy = policy
        self.blas = blas
        if var target = self.copies {
            for index in sources.indices {
                let bytes = sources[index].byteCount
                if let memory = sources[index].memory, bytes > 0 { memcpy(target, memory, bytes) }
                sources[index].memory = UnsafeRawPointer(target)
                target += (bytes + 63) / 64 * 64
            }
        }
        self.sources = sources
    }

    deinit {
        isCancelled.store(true, ordering: .relaxed)
        join()
        Memory.free(copies, copyBytes)
        free(results)
        free(failures)
    }

    /// The value of each layer, once it was waited for.
    var values: UnsafeBufferPointer<Double> { UnsafeBufferPointer(start: results, count: layerCount) }

    /// The first layer whose weights are not finite.
    var firstNonFinite: Int? { (0..<layerCount).first { failures[$0] } }

    /// Computes on a thread of its own.  Where none can be made, `wait` does it.
    func start() {
        forks = ThreadPool.forks.load(ordering: .relaxed)
        var all = sigset_t()
        var previous = sigset_t()
        sigfillset(&all)
        pthread_sigmask(SIG_SETMASK, &all, &previous)
        defer { pthread_sigmask(SIG_SETMASK, &previous, nil) }
        var thread = pthread_t()
        let job = Unmanaged.passUnretained(self).toOpaque()
        let made = pthread_create(
            &thread, nil,
            { job in
                lwk_use_default_floating_point()
                if let job { Unmanaged<SpectraJob>.fromOpaque(job).takeUnretainedValue().compute() }
                return nil
            }, job)
        if made == 0 { self.thread = thread }
    }

    /// Returns once all values are there.
    func wait() {
        if isDone { return }
        // A forked child has no such thread, and computes again.
        if !join() { compute() }
        isDone = true
    }

    /// Ends the thread; false where there is none.
    @discardableResult
    private func join() -> Bool {
        guard let thread, ThreadPool.forks.load(ordering: .relaxed) == forks else { return false }
        pthread_join(thread, nil)
        self.thread = nil
        return true
    }

    /// The mean over the matrices of each layer.
    private func compute() {
        var first = 0
        for layer in 0..<layerCount {
            results[layer] = .nan
            failures[layer] = false
        }
        // Sources of one layer lie side by side but for those of its parts.
        let order = sources.indices.sorted { (sources[$0].unit, $0) < (sources[$1].unit, $1) }
        while first < order.count {
            let unit = sources[order[first]].unit
            var sum = 0.0
            var count = 0.0
            while first < order.count && sources[order[first]].unit == unit {
                let squares = sources[order[first]].squares(room, blas) { isCancelled.load(ordering: .relaxed) }
                first += 1
                guard let squares else {
                    failures[unit] = true
                    continue
                }
                guard let value = policy.value(of: Spectrum(squares: squares)) else { continue }
                sum += value
                count += 1
            }
            if count > 0 && !failures[unit] { results[unit] = sum / count }
        }
    }
}
