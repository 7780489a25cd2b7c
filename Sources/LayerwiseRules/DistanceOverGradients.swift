// SPDX-License-Identifier: Apache-2.0

/// A rule whose step size follows from the distance to the start and the norms of all gradients, such as DoG.
///
/// Its first stage measures g′ = g + λ·w and w − w₀, and at a tensor's first step w itself.  Its second subtracts η·g′.
protocol DistanceRule: DeclaredRule {
    /// Over what both are taken.
    var distanceScope: Stage.Scope { get }
}

/// What `DistanceArithmetic` reads.
package struct DistanceCoefficients: BitwiseCopyable {
    package let coupledDecay, start: Double
}

extension DistanceRule {
    package var stages: [Stage] { [.measure(over: distanceScope), .change()] }

    package func plan(_ moment: StepInput, powers: inout BiasCorrectionCache, into target: UnsafeMutableRawPointer) {
        let coefficients = DistanceCoefficients(
            coupledDecay: weightDecay * decayScale(moment.tensor), start: moment.step == 1 ? 0 : 1)
        target.storeBytes(of: coefficients, as: DistanceCoefficients.self)
    }

    package func gather(_ first: Double, _ second: Double, of moment: StepInput, into sums: inout StageSums) {
        sums.values[0] += first
        sums.values[moment.step == 1 ? 2 : 1] += second
    }

    package var kernel: KernelKey { .distance }
}

/// The sums of such a stage; one that is beyond the range of float64 counts as the largest number.
struct DistanceSums {
    /// ‖g′‖².
    let gradientSquares: Double
    /// ‖w − w₀‖².
    let distanceSquare: Double
    /// ‖w₀‖² of the tensors that take their first step.
    let startSquare: Double

    init(_ sums: StageSums) {
        func bounded(_ x: Double) -> Double { x.isNaN ? 0 : min(x, .greatestFiniteMagnitude) }
        gradientSquares = bounded(sums.values[0])
        distanceSquare = bounded(sums.values[1])
        startSquare = bounded(sums.values[2])
    }
}

/// What DoG keeps of a tensor, a layer or the optimizer.
struct DistanceOverGradients {
    /// r̄, the largest distance so far.
    var distance: Double
    /// G, the sum of all squared norms of gradients, and ε.
    var squares: Double

    /// Takes the sums of a step.
    mutating func advance(_ sums: DistanceSums, firstDistance: Double, epsilon: Double) {
        let isFirst = squares == 0
        if isFirst {
            distance = max(distance, firstDistance * (1 + sums.startSquare.squareRoot()))
            squares = epsilon
        }
        distance = min(max(distance, sums.distanceSquare.squareRoot()), .greatestFiniteMagnitude)
        squares = min(squares + sums.gradientSquares, .greatestFiniteMagnitude)
    }

    /// η, for a rate of 1; where nothing has moved yet `first`, if there is one.
    func step(first: Double) -> Double {
        if first > 0 && distance == 0 { return first }
        return squares == 0 ? 0 : min(distance / squares.squareRoot(), .greatestFiniteMagnitude)
    }
}
