// SPDX-License-Identifier: Apache-2.0
import CLayerwiseKernels

// Internal to Layerwise, though public: rules name their kernels by these types.

/// A rule's passes, `lwk_pass_…`, over tiles of one storage.
public typealias RuleKernel =
    @convention(c) (Int32, UnsafePointer<lwk_tile>, UnsafeMutablePointer<lwk_sums>) -> Void

/// The kernels of one `KernelKey` for one instruction set: each works on weights and gradients of one storage.
public struct RuleKernels: Sendable, BitwiseCopyable {
    public let float32, float64: RuleKernel
    /// nil where tensors of this storage go by tiles of float32.
    public let float16, bfloat16: RuleKernel?

    public init(
        float32: RuleKernel, float64: RuleKernel, float16: RuleKernel? = nil, bfloat16: RuleKernel? = nil
    ) {
        self.float32 = float32
        self.float64 = float64
        self.float16 = float16
        self.bfloat16 = bfloat16
    }
}

/// What one storage of elements needs: source, count, and then factor and limit, or the target.
public struct StorageKernels: Sendable {
    public typealias Condition =
        @convention(c) (UnsafeRawPointer, Int, Double, Double, UnsafeMutableRawPointer) -> Void
    public typealias SquareSum = @convention(c) (UnsafeRawPointer, Int, Double, Double) -> Double
    public typealias Convert = @convention(c) (UnsafeRawPointer, Int, UnsafeMutableRawPointer) -> Void

    /// Source, count, factor, power, limit, target: for a factor that lanes cannot hold.
    public typealias ConditionWide =
        @convention(c) (UnsafeRawPointer, Int, Double, Double, Double, UnsafeMutableRawPointer) -> Void

    public let condition: Condition
    public let conditionWide: ConditionWide
    public let squareSum: SquareSum
    public let decode: Convert
    public let encode: Convert
    /// Encodes so that a finite number stays finite.
    public let encodeFinite: Convert
    /// State, count, factor, elements: e ← e + factor·(state − e), for a state of lanes; a finite number stays finite.
    public typealias Blend = @convention(c) (UnsafeRawPointer, Int, Double, UnsafeMutableRawPointer) -> Void

    public let blend: Blend
    /// Parameters, count, master copy: takes in what was changed from outside.  Of 16-bit storage.
    public let adopt: Convert?

    public init(
        condition: Condition, conditionWide: ConditionWide, squareSum: SquareSum, decode: Convert, encode: Convert,
        encodeFinite: Convert, blend: Blend, adopt: Convert? = nil
    ) {
        self.condition = condition
        self.conditionWide = conditionWide
        self.squareSum = squareSum
        self.decode = decode
        self.encode = encode
        self.encodeFinite = encodeFinite
        self.blend = blend
        self.adopt = adopt
    }
}

/// What states need that are kept by rows and columns, for lanes of one type.
public struct FactorKernels: Sendable {
    /// Lanes, count, the place of the first in its tensor, rows and columns of its matrices; the sums of the first element's row
    /// and of those behind it, and the sums of the columns of its matrix and of those behind it.
    public typealias AddSquares =
        @convention(c) (
            UnsafeRawPointer, Int, Int, Int, Int, UnsafeMutablePointer<Double>, UnsafeMutablePointer<Double>
        ) -> Void
    /// What each row is multiplied by, the columns, the place of the first element, count, rows and columns, target: the
    /// products, at most the largest number.
    public typealias Multiply =
        @convention(c) (
            UnsafePointer<Double>, UnsafeRawPointer, Int, Int, Int, Int, UnsafeMutableRawPointer
        ) -> Void

    public let addSquares: AddSquares
    public let multiply: Multiply

    public init(addSquares: AddSquares, multiply: Multiply) {
        self.addSquares = addSquares
        self.multiply = multiply
    }
}

/// What adjusts gradients and changes in a tile, for lanes of one type.
public struct SliceKernels: Sendable {
    /// Lanes, count, the place of the first in its tensor, elements of a slice, from one slice's numbers to the next's, and the sums
    /// of the first element's slice and of those behind it: of the numbers, or nil, and of their squares.
    public typealias AddSums =
        @convention(c) (
            UnsafeRawPointer, Int, Int, Int, Int, UnsafeMutablePointer<Double>?, UnsafeMutablePointer<Double>
        ) -> Void
    /// Lanes, count, the place of the first in its tensor, elements of a slice, a factor and an offset for every slice of the tensor,
    /// target: factor·x − offset.
    public typealias Adjust =
        @convention(c) (
            UnsafeRawPointer, Int, Int, Int, UnsafePointer<Double>, UnsafeMutableRawPointer
        ) -> Void
    /// Negatives of changes, gradients, count: changes that have not the sign of the gradient become 0; how many are left.
    public typealias Mask = @convention(c) (UnsafeMutableRawPointer, UnsafeRawPointer, Int) -> Double

    public let addSums: AddSums
    public let adjust: Adjust
    public let mask: Mask

    public init(addSums: AddSums, adjust: Adjust, mask: Mask) {
        self.addSums = addSums
        self.adjust = adjust
        self.mask = mask
    }
}

/// Products of matrices, for lanes of one type.
public struct MatrixKernels: Sendable {
    /// The product that the arguments describe, in the scratch memory behind them.
    public typealias Product = @convention(c) (UnsafePointer<lwk_product>, UnsafeMutableRawPointer) -> Void

    public let product: Product

    public init(product: Product) { self.product = product }
}

/// What measured policies watch of each element, for lanes of one type.
///
/// A kernel reads and writes whole groups of lanes, and adds to the sums behind its last argument.
public struct WatchingKernels: Sendable {
    /// Weights before and after the step, conditioned gradients, the last change, count, two sums: ⟨g, last⟩ and ‖last‖².
    public typealias Products =
        @convention(c) (
            UnsafeRawPointer, UnsafeRawPointer, UnsafeRawPointer, UnsafeMutableRawPointer, Int,
            UnsafeMutablePointer<Double>
        ) -> Void
    /// Weights before and after the step, the last change, count, two sums: of the products of signs, and of their squares.
    public typealias Signs =
        @convention(c) (
            UnsafeRawPointer, UnsafeRawPointer, UnsafeMutableRawPointer, Int, UnsafeMutablePointer<Double>
        ) -> Void
    /// Weights after the step, weights at the start, count, one sum: ‖w − w₀‖².
    public typealias Distance =
        @convention(c) (UnsafeRawPointer, UnsafeRawPointer, Int, UnsafeMutablePointer<Double>) -> Void

    public let products: Products
    public let signs: Signs
    public let distance: Distance

    public init(products: Products, signs: Signs, distance: Distance) {
        self.products = products
        self.signs = signs
        self.distance = distance
    }
}

/// The kernels of one instruction set that convert and measure, and know no rule.
public struct KernelTable: Sendable {
    public let float32, float64, float16, bfloat16: StorageKernels
    /// float32 gradients of float64 parameters.
    public let conditionWidened: StorageKernels.Condition
    public let conditionWidenedWide: StorageKernels.ConditionWide
    public let squareSumWidened: StorageKernels.SquareSum
    public let factors32, factors64: FactorKernels
    public let slices32, slices64: SliceKernels
    public let matrices32, matrices64: MatrixKernels
    public let watching32, watching64: WatchingKernels

    public init(
        float32: StorageKernels, float64: StorageKernels, float16: StorageKernels,
        bfloat16: StorageKernels, conditionWidened: StorageKernels.Condition,
        conditionWidenedWide: StorageKernels.ConditionWide, squareSumWidened: StorageKernels.SquareSum,
        factors32: FactorKernels, factors64: FactorKernels, slices32: SliceKernels, slices64: SliceKernels,
        matrices32: MatrixKernels, matrices64: MatrixKernels, watching32: WatchingKernels,
        watching64: WatchingKernels
    ) {
        self.float32 = float32
        self.float64 = float64
        self.float16 = float16
        self.bfloat16 = bfloat16
        self.conditionWidened = conditionWidened
        self.conditionWidenedWide = conditionWidenedWide
        self.squareSumWidened = squareSumWidened
        self.factors32 = factors32
        self.factors64 = factors64
        self.slices32 = slices32
        self.slices64 = slices64
        self.matrices32 = matrices32
        self.matrices64 = matrices64
        self.watching32 = watching32
        self.watching64 = watching64
    }
}
