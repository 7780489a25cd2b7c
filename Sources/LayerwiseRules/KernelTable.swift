// SPDX-License-Identifier: Apache-2.0
import CLayerwiseKernels

// Internal to Layerwise, though public: rules name their kernels by these types.

/// A pass over a tile.
public typealias PassKernel = @convention(c) (UnsafePointer<lwk_tile>) -> Void

/// A pass over a tile that keeps sums.
public typealias SummingKernel = @convention(c) (UnsafePointer<lwk_tile>, UnsafeMutablePointer<lwk_sums>) -> Void

/// A rule's passes for one type of lanes.
public struct PassKernels: Sendable, BitwiseCopyable {
    /// w ← w − δ.
    public let update: PassKernel
    /// The same, with the sums of gradients, old weights and changes.
    public let observe: SummingKernel
    /// First pass of a rule with a trust ratio: advances the state, with the sums of weights and directions.
    public let advance: SummingKernel?
    /// Second pass of such a rule, from directions that the first pass kept.
    public let finish: PassKernel?

    public init(
        update: PassKernel, observe: SummingKernel, advance: SummingKernel? = nil, finish: PassKernel? = nil
    ) {
        self.update = update
        self.observe = observe
        self.advance = advance
        self.finish = finish
    }
}

/// A rule's passes in float32 and float64.
public struct Kernels: Sendable, BitwiseCopyable {
    public let float: PassKernels
    public let double: PassKernels
    /// Whether the pass that changes the weights reads the gradients, or only what the first pass left in the states.
    public let changeReadsGradients: Bool

    public init(float: PassKernels, double: PassKernels, changeReadsGradients: Bool = true) {
        self.float = float
        self.double = double
        self.changeReadsGradients = changeReadsGradients
    }
}

/// What one storage of elements needs: source, count, and then factor and limit, or the target.
public struct StorageKernels: Sendable {
    public typealias Condition =
        @convention(c) (UnsafeRawPointer, Int, Double, Double, UnsafeMutableRawPointer) -> Void
    public typealias SquareSum = @convention(c) (UnsafeRawPointer, Int, Double, Double) -> Double
    public typealias Convert = @convention(c) (UnsafeRawPointer, Int, UnsafeMutableRawPointer) -> Void

    public let condition: Condition
    public let squareSum: SquareSum
    public let decode: Convert
    public let encode: Convert

    public init(
        condition: Condition, squareSum: SquareSum, decode: Convert, encode: Convert
    ) {
        self.condition = condition
        self.squareSum = squareSum
        self.decode = decode
        self.encode = encode
    }
}

/// Every kernel of one instruction set.
public struct KernelTable: Sendable {
    public struct Rules: Sendable {
        public let sgd, momentum, lars, larsMomentum, adam, amsgrad, lamb: Kernels

        public init(
            sgd: Kernels, momentum: Kernels, lars: Kernels, larsMomentum: Kernels, adam: Kernels, amsgrad: Kernels,
            lamb: Kernels
        ) {
            self.sgd = sgd
            self.momentum = momentum
            self.lars = lars
            self.larsMomentum = larsMomentum
            self.adam = adam
            self.amsgrad = amsgrad
            self.lamb = lamb
        }
    }

    public let rules: Rules
    public let float32, float64, float16, bfloat16: StorageKernels
    /// float32 gradients of float64 parameters.
    public let conditionWidened: StorageKernels.Condition
    public let squareSumWidened: StorageKernels.SquareSum

    public init(
        rules: Rules, float32: StorageKernels, float64: StorageKernels, float16: StorageKernels,
        bfloat16: StorageKernels, conditionWidened: StorageKernels.Condition,
        squareSumWidened: StorageKernels.SquareSum
    ) {
        self.rules = rules
        self.float32 = float32
        self.float64 = float64
        self.float16 = float16
        self.bfloat16 = bfloat16
        self.conditionWidened = conditionWidened
        self.squareSumWidened = squareSumWidened
    }
}
