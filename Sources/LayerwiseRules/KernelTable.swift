// SPDX-License-Identifier: Apache-2.0
import CLayerwiseKernels

/// A rule's passes, `lwk_pass_…`, over tiles of one storage.
package typealias RuleKernel =
    @convention(c) (Int32, UnsafePointer<lwk_tile>, UnsafeMutablePointer<lwk_sums>) -> Void

/// The kernels of one `KernelKey` for one instruction set: each works on weights and gradients of one storage.
package struct RuleKernels: Sendable, BitwiseCopyable {
    package let float32, float64: RuleKernel
    /// nil where tensors of this storage go by tiles of float32.
    package let float16, bfloat16: RuleKernel?

    package init(
        float32: RuleKernel, float64: RuleKernel, float16: RuleKernel? = nil, bfloat16: RuleKernel? = nil
    ) {
        self.float32 = float32
        self.float64 = float64
        self.float16 = float16
        self.bfloat16 = bfloat16
    }
}

/// What one storage of elements needs: source, count, and then factor and limit, or the target.
package struct StorageKernels: Sendable {
    package typealias Condition =
        @convention(c) (UnsafeRawPointer, Int, Double, Double, UnsafeMutableRawPointer) -> Void
    package typealias SquareSum = @convention(c) (UnsafeRawPointer, Int, Double, Double) -> Double
    package typealias Convert = @convention(c) (UnsafeRawPointer, Int, UnsafeMutableRawPointer) -> Void

    /// Source, count, factor, power, limit, target: for a factor that lanes cannot hold.
    package typealias ConditionWide =
        @convention(c) (UnsafeRawPointer, Int, Double, Double, Double, UnsafeMutableRawPointer) -> Void

    package let condition: Condition
    package let conditionWide: ConditionWide
    package let squareSum: SquareSum
    package let decode: Convert
    package let encode: Convert
    /// Encodes so that a finite number stays finite.
    package let encodeFinite: Convert
    /// State, count, factor, elements: e ← e + factor·(state − e), for a state of lanes; a finite number stays finite.
    package typealias Blend = @convention(c) (UnsafeRawPointer, Int, Double, UnsafeMutableRawPointer) -> Void

    package let blend: Blend
    /// Parameters, count, master copy: takes in what was changed from outside.  Of 16-bit storage.
    package let adopt: Convert?

    package init(
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
package struct FactorKernels: Sendable {
    /// Lanes, count, the place of the first in its tensor, rows and columns of its matrices; the sums of the first element's row
    /// and of those behind it, and the sums of the columns of its matrix and of those behind it.
    package typealias AddSquares =
        @convention(c) (
            UnsafeRawPointer, Int, Int, Int, Int, UnsafeMutablePointer<Double>, UnsafeMutablePointer<Double>
        ) -> Void
    /// What each row is multiplied by, the columns, the place of the first element, count, rows and columns, target: the
    /// products, at most the largest number.
    package typealias Multiply =
        @convention(c) (
            UnsafePointer<Double>, UnsafeRawPointer, Int, Int, Int, Int, UnsafeMutableRawPointer
        ) -> Void

    package let addSquares: AddSquares
    package let multiply: Multiply

    package init(addSquares: AddSquares, multiply: Multiply) {
        self.addSquares = addSquares
        self.multiply = multiply
    }
}

/// Products of matrices, for lanes of one type.
package struct MatrixKernels: Sendable {
    /// The product that the arguments describe, in the scratch memory behind them.
    package typealias Product = @convention(c) (UnsafePointer<lwk_product>, UnsafeMutableRawPointer) -> Void

    package let product: Product

    package init(product: Product) { self.product = product }
}

/// The kernels of one instruction set that convert and measure, and know no rule.
package struct KernelTable: Sendable {
    package let float32, float64, float16, bfloat16: StorageKernels
    /// float32 gradients of float64 parameters.
    package let conditionWidened: StorageKernels.Condition
    package let conditionWidenedWide: StorageKernels.ConditionWide
    package let squareSumWidened: StorageKernels.SquareSum
    package let factors32, factors64: FactorKernels
    package let matrices32, matrices64: MatrixKernels

    package init(
        float32: StorageKernels, float64: StorageKernels, float16: StorageKernels,
        bfloat16: StorageKernels, conditionWidened: StorageKernels.Condition,
        conditionWidenedWide: StorageKernels.ConditionWide, squareSumWidened: StorageKernels.SquareSum,
        factors32: FactorKernels, factors64: FactorKernels, matrices32: MatrixKernels, matrices64: MatrixKernels
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
        self.matrices32 = matrices32
        self.matrices64 = matrices64
    }
}
