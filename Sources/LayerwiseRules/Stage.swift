// SPDX-License-Identifier: Apache-2.0

/// One pass of a rule over a tensor.
///
/// A rule is a list of stages, the last of which changes the weights.  A stage before it may advance the states and leaves
/// sums over the elements; when these are known for the whole tensor, layer or optimizer, the rule's `finish` turns them into
/// the numbers that the kernels of the following stages read.
package struct Stage: Sendable, Equatable, BitwiseCopyable {
    /// Over what the sums of a stage are taken.
    package enum Scope: Sendable, BitwiseCopyable {
        case tensor
        case layer
        /// All tensors that the step takes.  Layers can then not be stepped one by one.
        case optimizer
    }

    /// Over what the sums are taken that must be known before the next stage; nil for the last stage, which has none.
    package let scope: Scope?
    /// Whether the kernel reads the gradients, or only what an earlier stage left in the states.
    package let readsGradients: Bool
    /// Whether the stage before the last leaves the direction of each element for the last, where there is room for it.
    package let keepsDirections: Bool
    /// Whether the stage takes the mean squares of the gradients by row and by column into the states of these shapes, and
    /// does nothing else.
    package let factors: Bool
    /// Whether the stage leaves the directions of matrices, which the engine then makes orthogonal as the rule's `orthogonalization`
    /// says.  Tensors of rank 0 and 1 pass it by.
    package let orthogonalizes: Bool
    /// Whether the stage, which factors, takes the squares of the directions that its kernel leaves in place of those of the
    /// gradients.
    package let factorsDirections: Bool
    /// Whether the stage changes nothing, and counts the elements whose change has the sign of the gradient.
    package let countsAgreement: Bool

    private init(
        scope: Scope?, readsGradients: Bool = true, keepsDirections: Bool = false, factors: Bool = false,
        orthogonalizes: Bool = false, factorsDirections: Bool = false, countsAgreement: Bool = false
    ) {
        self.scope = scope
        self.readsGradients = readsGradients
        self.keepsDirections = keepsDirections
        self.factors = factors
        self.orthogonalizes = orthogonalizes
        self.factorsDirections = factorsDirections
        self.countsAgreement = countsAgreement
    }

    /// A stage that takes sums over `scope`.
    package static func measure(over scope: Scope, keepsDirections: Bool = false) -> Self {
        Self(scope: scope, keepsDirections: keepsDirections)
    }

    /// The stage that changes the weights.
    package static func change(readsGradients: Bool = true, keepsDirections: Bool = false) -> Self {
        Self(scope: nil, readsGradients: readsGradients, keepsDirections: keepsDirections)
    }

    /// The stage that advances the rows and columns, or the row means, of tensors that have them, as the rule's `factorAverage` says.
    package static let factor = Self(scope: .tensor, factors: true)

    /// The stage that advances a second pair of rows and columns by the squares of the directions that its kernel leaves.
    /// Tensors of rank 0 and 1 pass it by.
    package static let factorDirections = Self(scope: .tensor, factors: true, factorsDirections: true)

    /// The stage that `UpdateOptions` adds before the last.
    static let countAgreement = Self(scope: .tensor, countsAgreement: true)

    /// The stage that advances the states of matrices and makes their directions orthogonal.  The kernel of the stage behind it
    /// finds them in the place of the gradients.
    package static let orthogonalize = Self(scope: .tensor, keepsDirections: true, orthogonalizes: true)
}

/// The sums of a stage over a tensor, a layer or the optimizer, in float64 and in the order of the blocks.
package struct StageSums: Sendable, BitwiseCopyable {
    /// What the rule's `gather` has added up.  They may be added up over processes too.
    package var values = SIMD4<Double>()
    /// Powers of two by which the weights and the directions were multiplied before their squares were taken.
    package var scales = StageScales()

    /// Creates what changes nothing: sums of 0, scales of 1.
    package init() {}
}

/// Powers of two that keep the squares of weights and directions in the range of float64.
package struct StageScales: Sendable, Equatable, BitwiseCopyable {
    /// The factor of weights.
    package var weights = 1.0
    /// The factor of directions.
    package var directions = 1.0

    /// Creates what changes nothing: sums of 0, scales of 1.
    package init() {}

    /// Creates scales.
    package init(weights: Double, directions: Double) {
        self.weights = weights
        self.directions = directions
    }
}

/// How the mean squares of a step enter a state's rows and columns.
package struct FactorAverage: Sendable, Equatable, BitwiseCopyable {
    /// s of x ← x + s·(mean + offset − x).
    package var share: Double
    /// What is added to a mean square before it is averaged.
    package var offset: Double
    /// The least mean of a matrix's rows that the product of rows and columns is divided by.
    package var floor: Double
    /// Of row means: how many rows share one; 0 is all.
    package var rows = 1
    /// Of axes: whether their largest numbers never fall.
    package var keepsMaxima = false

    /// Creates the rule of an average.
    package init(share: Double, offset: Double = 0, floor: Double = 0) {
        self.share = share
        self.offset = offset
        self.floor = floor
    }

    /// Creates the rule of row means.
    init(share: Double, rows: Int) {
        self.init(share: share)
        self.rows = rows
    }

    /// Creates the rule of axes.
    init(keepsMaxima: Bool) {
        self.init(share: 0)
        self.keepsMaxima = keepsMaxima
    }
}

/// What a rule's `finish` leaves for the kernels of the following stages: `lwk_tile.numbers`.
package typealias StageNumbers = SIMD4<Double>
