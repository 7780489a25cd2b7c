// SPDX-License-Identifier: Apache-2.0

/// A rule that lowers its rate where a model of the loss says that a smaller step reaches the lowest possible loss, such as MoMo.
///
/// The model is the average of the tangents at the weights so far: at w it is f̄ + q, where f̄ averages the losses, d the gradients,
/// and q = ⟨d, w⟩ minus the average of ⟨g, w⟩.  q is kept by how the weights move: q ← β·(q + ⟨d, Δw⟩), in which nothing cancels.
/// The rule's first stage advances d and adds up ⟨d, w⟩ and ⟨d, u⟩, where u is the direction of the change; c is a tensor's decay of this
/// step, and r its rate over the base rate:
///
///     B = Σ r·⟨d, u⟩/(1 + c);  C = Σ c·⟨d, w⟩/(1 + c)
///     τ = min(γ/ρ, max(0, f̄ + q − C − ρ·lb)/B)
///     w ← (w − r·τ·u)/(1 + c)
///
/// ρ is the sum of the weights in the averages.
protocol MoMoRule: DeclaredRule {
    /// β.
    var averaging: Double { get }
    /// lb, a lower bound of the loss.
    var lowerBound: Double { get }
    /// Whether the lower bound is estimated, from `lowerBound` on.
    var estimatesLowerBound: Bool { get }
    /// Whether the averages start at 0, and their weights add up to ρ < 1 at first.
    var startsAtZero: Bool { get }
    /// Whether the decay divides the weights that are stepped; else it is subtracted as in AdamW.
    var divides: Bool { get }
    /// What ⟨d, u⟩ is, of a sum of the first stage.
    func directionFactor(_ step: Int64) -> Double
}

/// What such a rule keeps of all tensors.
let lossStates: [StateDeclaration] = [
    .shared("loss_avg", start: 0), .shared("loss_weight", start: 0), .shared("gap", start: 0),
    .shared("lb", startKey: "lb"), .shared("tau", start: 0),
]

extension MoMoRule {
    package var needsLoss: Bool { true }

    package var decouplesDecay: Bool { true }

    package var stages: [Stage] { [.measure(over: .optimizer), .change(readsGradients: false)] }

    /// c.
    private func decay(_ moment: StepInput) -> Double {
        moment.decayRate * weightDecay * decayScale(moment.tensor)
    }

    package func gather(_ first: Double, _ second: Double, of moment: StepInput, into sums: inout StageSums) {
        let c = decay(moment)
        let length = moment.scale * directionFactor(moment.step) * second
        sums.values += [length / (1 + c), c * first / (1 + c), length, c * first]
    }

    package func advance(_ shared: SharedScalars, _ sums: StageSums, _ step: OptimizerStep) -> SharedScalars {
        func bounded(_ x: Double) -> Double {
            x.isNaN ? 0 : min(max(x, -.greatestFiniteMagnitude), .greatestFiniteMagnitude)
        }
        let (divided, dividedDecay, length, decay) = (
            bounded(sums.values[0]), bounded(sums.values[1]), bounded(sums.values[2]), bounded(sums.values[3])
        )
        let isFirst = shared[1] == 0
        let weight = startsAtZero ? averaging * shared[1] + (1 - averaging) : 1
        let share = isFirst && !startsAtZero ? 1 : 1 - averaging
        let loss = bounded((shared[0] - share * shared[0]) + share * step.loss)
        let gap = averaging * shared[2]
        let height = loss + gap
        var bound = estimatesLowerBound ? shared[3] : lowerBound
        if estimatesLowerBound && height - dividedDecay < weight * bound {
            bound = max((height - dividedDecay) / (2 * weight), lowerBound)
        }
        let reach = divided > 0 ? max(height - dividedDecay - weight * bound, 0) / divided : 0
        let tau = bounded(min(step.baseRate / weight, reach))
        if estimatesLowerBound { bound = max((height - 0.5 * tau * length) / weight, lowerBound) }
        let moved = divides ? dividedDecay + tau * divided : decay + tau * length
        return SharedScalars(loss, weight, bounded(gap - moved), bounded(bound), tau, 0, 0, 0)
    }

    package func finish(_ stage: Int, _ sums: StageSums, _ moment: StepInput) -> StageNumbers {
        let c = decay(moment)
        let step = moment.shared[4] * moment.scale * directionFactor(moment.step)
        return divides ? [step / (1 + c), c / (1 + c), 0, 0] : [step, c, 0, 0]
    }
}
