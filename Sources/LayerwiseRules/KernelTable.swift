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

    /// What each row has, what the columns have, the place of the first element, count, columns, target: the least of both.
    package typealias Minimize =
        @convention(c) (UnsafePointer<Double>, UnsafeRawPointer, Int, Int, Int, UnsafeMutableRawPointer) -> Void
    /// Lanes, count, the place of the first in its tensor, columns, the largest numbers of the first element's row and of those
    /// behind it, and those of the columns, as lanes.
    package typealias AddMaxima =
        @convention(c) (
            UnsafeRawPointer, Int, Int, Int, UnsafeMutablePointer<Double>, UnsafeMutableRawPointer
        ) -> Void

    package let addSquares: AddSquares
    package let multiply: Multiply
    package let minimize: Minimize
    package let addMaxima: AddMaxima

    package init(
        addSquares: AddSquares, multiply: Multiply, minimize: Minimize, addMaxima: AddMaxima
    ) {
        self.addSquares = addSquares
        self.multiply = multiply
        self.minimize = minimize
        self.addMaxima = addMaxima
    }
}

/// What adjusts gradients and changes in a tile, for lanes of one type.
package struct SliceKernels: Sendable {
    /// Lanes, count, the place of the first in its tensor, elements of a slice, from one slice's numbers to the next's, and the sums
    /// of the first element's slice and of those behind it: of the numbers, or nil, and of their squares.
    package typealias AddSums =
        @convention(c) (
            UnsafeRawPointer, Int, Int, Int, Int, UnsafeMutablePointer<Double>?, UnsafeMutablePointer<Double>
        ) -> Void
    /// Lanes, count, the place of the first in its tensor, elements of a slice, a factor and an offset for every slice of the tensor,
    /// target: factor·x − offset.
    package typealias Adjust =
        @convention(c) (
            UnsafeRawPointer, Int, Int, Int, UnsafePointer<Double>, UnsafeMutableRawPointer
        ) -> Void
    /// Negatives of changes, gradients, count: changes that have not the sign of the gradient become 0; how many are left.
    package typealias Mask = @convention(c) (UnsafeMutableRawPointer, UnsafeRawPointer, Int) -> Double

    /// Lanes, the place of the first in its tensor, count, deviation, key, step: adds normal noise.
    package typealias AddNoise = @convention(c) (UnsafeMutableRawPointer, Int, Int, Double, UInt64, UInt64) -> Void

    package let addSums: AddSums
    package let adjust: Adjust
    package let mask: Mask
    package let addNoise: AddNoise

    package init(addSums: AddSums, adjust: Adjust, mask: Mask, addNoise: AddNoise) {
        self.addSums = addSums
        self.adjust = adjust
        self.mask = mask
        self.addNoise = addNoise
    }
}

/// Products of matrices, for lanes of one type.
package struct MatrixKernels: Sendable {
    /// The product that the arguments describe, in the scratch memory behind them.
    package typealias Product = @convention(c) (UnsafePointer<lwk_product>, UnsafeMutableRawPointer) -> Void

    package let product: Product

    package init(product: Product) { self.product = product }
}

/// What measured policies and freezing plans watch of each element, for lanes of one type.
///
/// A kernel reads and writes whole groups of lanes, and adds to the sums behind its last argument.
package struct WatchingKernels: Sendable {
    /// Weights before and after the step, conditioned gradients, the last change, count, two sums: ⟨g, last⟩ and ‖last‖².
    package typealias Products =
        @convention(c) (
            UnsafeRawPointer, UnsafeRawPointer, UnsafeRawPointer, UnsafeMutableRawPointer, Int,
            UnsafeMutablePointer<Double>
        ) -> Void
    /// Weights before and after the step, the signs of the last change in bytes, count, two sums: of the products of signs, and of
    /// their squares.
    package typealias Signs =
        @convention(c) (
            UnsafeRawPointer, UnsafeRawPointer, UnsafeMutableRawPointer, Int, UnsafeMutablePointer<Double>
        ) -> Void
    /// Weights after the step, weights at the start, count, one sum: ‖w − w₀‖².
    package typealias Distance =
        @convention(c) (UnsafeRawPointer, UnsafeRawPointer, Int, UnsafeMutablePointer<Double>) -> Void

    /// Conditioned gradients, count, one sum: Σ|g|.
    package typealias Magnitudes = @convention(c) (UnsafeRawPointer, Int, UnsafeMutablePointer<Double>) -> Void
    /// Weights before and after the step, count, one sum: Σ|Δw|.
    package typealias Changes =
        @convention(c) (UnsafeRawPointer, UnsafeRawPointer, Int, UnsafeMutablePointer<Double>) -> Void

    package let products: Products
    package let signs: Signs
    package let distance: Distance
    package let magnitudes: Magnitudes
    package let changes: Changes

    package init(
        products: Products, signs: Signs, distance: Distance, magnitudes: Magnitudes, changes: Changes
    ) {
        self.products = products
        self.signs = signs
        self.distance = distance
        self.magnitudes = magnitudes
        self.changes = changes
    }
}

/// The kernels of one instruction set that convert and measure, and know no rule.
package struct KernelTable: Sendable {
    package let float32, float64, float16, bfloat16: StorageKernels
    /// float32 gradients of float64 parameters.
    package let conditionWidened: StorageKernels.Condition
    package let conditionWidenedWide: StorageKernels.ConditionWide
    package let squareSumWidened: StorageKernels.SquareSum
    package let factors32, factors64: FactorKernels
    package let slices32, slices64: SliceKernels
    package let matrices32, matrices64: MatrixKernels
    package let watching32, watching64: WatchingKernels

    package init(
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
