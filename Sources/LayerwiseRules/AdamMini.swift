// SPDX-License-Identifier: Apache-2.0
import LayerwisePlatform

/// AdamW with one second moment for each block of a tensor in place of one for each element: half of the memory of its states.
///
///     m ← β₁·m + (1 − β₁)·g
///     v ← β₂·v + (1 − β₂)·(mean of g² over the block)
///     w ← w − γ·(m̂ / (√v̂ + ε) + λ·w)
///
/// A block is `blockRows` rows of a tensor of rank 2 and more, counted through all its axes but the last, or the whole tensor where
/// `blockRows` is 0 or the rank is less than 2.  The authors take the whole tensor, but the rows of one head (`blockRows` of the head's
/// size) for queries and keys, and AdamW for embeddings and the output layer; their paper takes one row, a neuron, for the rest.  Say
/// which by layer: `block_rows` is a hyperparameter that a layer may have of its own, and `AdamW` a rule that a layer may have.
///
/// The state has a number for each row, which the rows of a block share.
///
/// Source: Zhang et al. 2024, algorithm 1 (arXiv:2406.16793); equals the authors' package and `pytorch_optimizer.AdamMini` for blocks
/// of the same rows.
public struct AdamMini: AdjustableRule {
    /// Learning rate γ.
    public var learningRate = 1e-3
    /// Decay β₁ of the first moment.
    public var beta1 = 0.9
    /// Decay β₂ of the second moment.
    public var beta2 = 0.999
    /// Number ε that is added to the denominator.
    public var epsilon = 1e-8
    /// Decay coefficient λ.
    public var weightDecay = 0.0
    /// Rows of a block; 0 is the whole tensor.
    public var blockRows = 0
    /// What is done with the change before the weights take it.
    public var updateOptions = UpdateOptions()

    public init() {}

    /// Creates the rule from its hyperparameters, which the properties document.
    public init(
        lr: Double, betas: (Double, Double) = (0.9, 0.999), eps: Double = 1e-8, weightDecay: Double = 0,
        blockRows: Int = 0
    ) {
        learningRate = lr
        (beta1, beta2) = betas
        epsilon = eps
        self.weightDecay = weightDecay
        self.blockRows = blockRows
    }

    package static let declaration = Declaration(
        name: "adam_mini", title: "Adam-Mini",
        summary: "AdamW with one second moment for each block of rows or for each tensor",
        details: """
            v = beta2 * v + (1 - beta2) * mean(g * g) over the block;  w is changed as AdamW does.  A block is block_rows rows \
            of a tensor of rank 2 and more, counted through all axes but the last, or the whole tensor where block_rows is 0 or \
            the rank is less than 2.  The authors take the whole tensor, the rows of a head for queries and keys, and AdamW for \
            embeddings and the output: give layers a block_rows or a rule of their own.
            """,
        equation: "v ← β₂v + (1−β₂)·mean(g²) of a block; w ← w − γ·(m̂/(√v̂ + ε) + λw)",
        source: "Zhang et al. 2024, algorithm 1, arXiv:2406.16793; equals the authors' package for equal blocks",
        states: [.parameter("exp_avg"), .rowMeans("exp_avg_sq_row")])

    package static let parameters: [Parameter<Self>] =
        [
            .number("lr", \.learningRate, .nonNegative, "learning rate γ"),
            .number("beta1", \.beta1, .fraction, "decay β₁ of the first moment"),
            .number("beta2", \.beta2, .fraction, "decay β₂ of the second moment"),
            .number("eps", \.epsilon, .nonNegative, "number ε that is added to the denominator"),
            .number("weight_decay", \.weightDecay, .nonNegative, "decay coefficient λ"),
            .integer(
                "block_rows", \.blockRows, 0...Int(Int32.max),
                "rows that share a second moment, in tensors of rank 2 and more; 0: the whole tensor"),
        ] + updateParameters

    package var decouplesDecay: Bool { true }

    package var stages: [Stage] { [.factor, .change()] }

    package func factorAverage(_ stage: Int, _ moment: StepInput) -> FactorAverage {
        FactorAverage(share: 1 - beta2, rows: moment.tensor.isMatrix ? blockRows : 0)
    }

    package func plan(_ moment: StepInput, powers: inout BiasCorrectionCache, into target: UnsafeMutableRawPointer) {
        // As in `Adam`; the second moment was advanced in the stage before, so that its share here is 0.
        let root = powers.complement(beta2, moment.step).squareRoot()
        let coefficients = Adam.Coefficients(
            coupledDecay: 0, decay: moment.decayRate * weightDecay * decayScale(moment.tensor), firstShare: 1 - beta1,
            secondShare: 0,
            stepSize: moment.learningRate * root / powers.complement(beta1, moment.step), epsilon: epsilon * root)
        target.storeBytes(of: coefficients, as: Adam.Coefficients.self)
    }

    package var kernel: KernelKey { .adam }
}
