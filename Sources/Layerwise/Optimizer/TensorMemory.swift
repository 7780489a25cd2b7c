// SPDX-License-Identifier: Apache-2.0

/// A type of numbers that Swift code can hold in a `TensorMemory`.
public protocol TensorElement: BitwiseCopyable, Sendable {
    /// Its name in this library.
    static var dtype: DType { get }
}

extension Float: TensorElement {
    /// float32.
    public static var dtype: DType { .float32 }
}

extension Double: TensorElement {
    /// float64.
    public static var dtype: DType { .float64 }
}

/// The parameters and the gradients of one tensor, in memory of their own that never moves.
///
///     let head = try TensorMemory<Float>([1, 1, 1, 1, 1, 1], shape: [2, 3])
///     try optimizer.addLayer("head", [TensorDescription("weight", head)])
///     head.withGradients { gradients in
///         for index in gradients.indices { gradients[index] = 0.1 }
///     }
///     try optimizer.step()
///     print(head.parameters)
///
/// An optimizer keeps the memory of its tensors alive.  Like the optimizer, it belongs to one thread at a time.
public final class TensorMemory<Element: TensorElement> {
    /// Row-major.
    public let shape: [Int]
    /// How many elements there are.
    public let count: Int
    private let memory: UnsafeMutableRawPointer
    private let bytes: Int

    /// Holds `parameters`, and gradients of 0.  The shape is that of one row where it is not given.
    public init(_ parameters: [Element], shape: [Int]? = nil) throws(LayerwiseError) {
        let shape = shape ?? [parameters.count]
        var count = 1
        for extent in shape {
            let (product, overflow) = count.multipliedReportingOverflow(by: extent)
            count = overflow || extent < 0 ? -1 : product
            if count < 0 { break }
        }
        if count != parameters.count {
            throw LayerwiseError(.shape, "expected as many elements as \(shape) has, found \(parameters.count)")
        }
        let (bytes, overflow) = (2 * MemoryLayout<Element>.stride).multipliedReportingOverflow(by: count)
        guard !overflow, let memory = Memory.allocateZeroed(bytes) else {
            throw LayerwiseError(.outOfMemory, "no memory for \(count) elements and their gradients")
        }
        self.shape = shape
        self.count = count
        self.memory = memory
        self.bytes = bytes
        _ = unsafeParameters.update(fromContentsOf: parameters)
    }

    deinit { Memory.free(memory, bytes) }

    /// The parameters, copied.
    public var parameters: [Element] { Array(unsafeParameters) }

    /// The gradients, copied.
    public var gradients: [Element] { Array(unsafeGradients) }

    /// Calls `body` with the parameters in place.
    public func withParameters<Result, Failure: Error>(
        _ body: (inout MutableSpan<Element>) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        var span = MutableSpan(_unsafeElements: unsafeParameters)
        return try body(&span)
    }

    /// Calls `body` with the gradients in place.
    public func withGradients<Result, Failure: Error>(
        _ body: (inout MutableSpan<Element>) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        var span = MutableSpan(_unsafeElements: unsafeGradients)
        return try body(&span)
    }

    var unsafeParameters: UnsafeMutableBufferPointer<Element> {
        UnsafeMutableBufferPointer(start: memory.assumingMemoryBound(to: Element.self), count: count)
    }

    var unsafeGradients: UnsafeMutableBufferPointer<Element> {
        UnsafeMutableBufferPointer(
            start: (memory + bytes / 2).assumingMemoryBound(to: Element.self), count: count)
    }
}

extension TensorDescription {
    /// A tensor in memory that the optimizer keeps alive.
    public init<Element: TensorElement>(_ name: String, _ memory: TensorMemory<Element>) {
        self.init(
            name, parameters: memory.unsafeParameters.baseAddress, gradients: memory.unsafeGradients.baseAddress,
            shape: memory.shape, dtype: Element.dtype)
        owner = memory
    }
}
