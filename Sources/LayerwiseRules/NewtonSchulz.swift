// SPDX-License-Identifier: Apache-2.0

/// How the directions of a matrix are made orthogonal: an odd polynomial of the matrix, several times.
///
///     X ← X / max(‖X‖_F, ε)
///     A = X·Xᵀ;  X ← a·X + (b·A + c·A²)·X                     (`steps` times; with A = XᵀX from the right where R > C)
///
/// The polynomial moves every singular value towards 1 and leaves the singular vectors as they are.
public struct NewtonSchulz: Sendable, Equatable, BitwiseCopyable {
    /// The coefficients (a, b, c) of the iterations.
    public enum Schedule: String, Choice, BitwiseCopyable {
        /// The same coefficients in every iteration.
        case constant
        /// Five polynomials that were found together, by Cesista and Jiacheng.
        case quintic
        /// The minimax polynomials of Amsel et al. 2025 (arXiv:2505.16932), with their safety factor 1.01.
        case polarExpress = "polar_express"
    }

    /// Which matrices a tensor of rank 3 and more is.
    public enum Axes: String, Choice, BitwiseCopyable {
        /// One: the first axis against all others, as for the kernels of a convolution.
        case first
        /// One for each index of the axes before the last two, as for a stack of matrices.
        case last
    }

    /// What the matrices of the iterations are rounded to.
    public enum Precision: String, Choice, BitwiseCopyable {
        /// Nothing: they stay in the type of the lanes.
        case full
        /// bfloat16, as in the published code and in torch: the direction, its norm, and each product, whose sums are not.  Numbers
        /// beyond bfloat16's range become its largest.
        case bfloat16
    }

    /// How many iterations there are.
    package var steps: Int
    /// The coefficients of each iteration.
    package var schedule: Schedule
    /// The coefficients of each iteration.
    package var coefficients: SIMD3<Double>
    /// The number that is added to the norm of the matrix.
    package var epsilon: Double
    /// Which dimensions of a tensor are rows and columns.
    package var axes: Axes
    /// What the matrices of the iterations are rounded to.
    package var precision: Precision

    /// (a, b, c) of an iteration, counted from 0.  Behind the end of a list its last entry is repeated.
    package func coefficients(_ iteration: Int) -> SIMD3<Double> {
        switch schedule {
        case .constant: coefficients
        case .quintic:
            switch iteration {
            case 0: [4.0848, -6.8946, 2.9270]
            case 1: [3.9505, -6.3029, 2.6377]
            case 2: [3.7418, -5.5913, 2.3037]
            case 3: [2.8769, -3.1427, 1.2046]
            default: [2.8366, -3.0525, 1.2012]
            }
        case .polarExpress:
            switch iteration {
            case 0: Self.safe(8.28721201814563, -23.595886519098837, 17.300387312530933)
            case 1: Self.safe(4.107059111542203, -2.9478499167379106, 0.5448431082926601)
            case 2: Self.safe(3.9486908534822946, -2.908902115962949, 0.5518191394370137)
            case 3: Self.safe(3.3184196573706015, -2.488488024314874, 0.51004894012372)
            case 4: Self.safe(2.300652019954817, -1.6689039845747493, 0.4188073119525673)
            case 5: Self.safe(1.891301407787398, -1.2679958271945868, 0.37680408948524835)
            case 6: Self.safe(1.8750014808534479, -1.2500016453999487, 0.3750001645474248)
            default: [1.875, -1.25, 0.375]
            }
        }
    }

    /// A polynomial of X / 1.01, so that rounding cannot move a singular value beyond the interval on which it is the best.
    private static func safe(_ a: Double, _ b: Double, _ c: Double) -> SIMD3<Double> {
        [a / 1.01, b / (1.01 * 1.01 * 1.01), c / (1.01 * 1.01 * 1.01 * 1.01 * 1.01)]
    }
}
