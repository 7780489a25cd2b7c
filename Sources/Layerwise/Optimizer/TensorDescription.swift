// SPDX-License-Identifier: Apache-2.0

/// One contiguous buffer of parameters, its gradient and its shape, as they are registered.
public struct TensorDescription {
    /// Of a shape; a checkpoint's reader goes by it too.
    public static let highestRank = 16

    /// Unique in its layer.
    public var name: String
    /// Read and written in place by a step.  The memory stays the caller's and must stay where it is.
    public var parameters: UnsafeMutableRawPointer?
    /// Read by a step; nil where the gradients are given with the step.
    public var gradients: UnsafeRawPointer?
    /// Row-major; empty for one element.
    public var shape: [Int]
    /// Of the tensor of which this is a part, where processes hold parts; nil where it is whole.  Policies go by it.
    public var wholeShape: [Int]?
    /// The type of the parameters.
    public var dtype: DType
    /// The parameters' type, or float32.
    public var gradientDType: DType
    /// Keep a float32 copy of float16 or bfloat16 parameters, which the steps accumulate in.
    public var master: Bool
    /// What the memory belongs to, if the optimizer is to keep it alive.
    var owner: AnyObject?

    /// Describes a tensor in memory of the caller.
    public init(
        _ name: String, parameters: UnsafeMutableRawPointer?, gradients: UnsafeRawPointer? = nil, shape: [Int],
        wholeShape: [Int]? = nil, dtype: DType, gradientDType: DType? = nil, master: Bool = false
    ) {
        self.name = name
        self.parameters = parameters
        self.gradients = gradients
        self.shape = shape
        self.wholeShape = wholeShape
        self.dtype = dtype
        self.gradientDType = gradientDType ?? dtype
        self.master = master
    }

    /// A float32 tensor of rank 1.
    public init(
        _ name: String, parameters: UnsafeMutableBufferPointer<Float>, gradients: UnsafeBufferPointer<Float>? = nil
    ) {
        self.init(
            name, parameters: parameters.baseAddress, gradients: gradients?.baseAddress, shape: [parameters.count],
            dtype: .float32)
    }

    /// A float64 tensor of rank 1.
    public init(
        _ name: String, parameters: UnsafeMutableBufferPointer<Double>, gradients: UnsafeBufferPointer<Double>? = nil
    ) {
        self.init(
            name, parameters: parameters.baseAddress, gradients: gradients?.baseAddress, shape: [parameters.count],
            dtype: .float64)
    }

    /// The number of elements; nil where it, or its bytes with what the library keeps for it, exceeds an Int.
    var count: Int? {
        if shape.contains(0) { return 0 }
        var count = 1
        for extent in shape {
            let (product, overflow) = count.multipliedReportingOverflow(by: extent)
            if overflow || product < 0 { return nil }
            count = product
        }
        return count > Int.max / 64 ? nil : count
    }
}
