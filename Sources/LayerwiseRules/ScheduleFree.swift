// SPDX-License-Identifier: Apache-2.0
import LayerwisePlatform

/// A rule whose parameters for evaluation are an average of those that are stepped: x = y + (1 − 1/β)·(z − y), where z is the first
/// state and y the parameters for training.
///
/// The weight of step t in the average is κₜ = tʳ·max(γ₁ … γₜ)^p.
protocol ScheduleFreeRule: DeclaredRule {
    /// β, how near the parameters for training are to the average.
    var averaging: Double { get }
    /// What the rate is multiplied by at a tensor's step.
    func rateFactor(_ step: Int64) -> Double
    /// r.
    var stepPower: Double { get }
    /// p.
    var ratePower: Double { get }
}

/// What such a rule keeps of a tensor's average.
let averageStates: [StateDeclaration] = [.scalar("weight_sum", start: 0), .scalar("lr_max", start: 0)]

extension ScheduleFreeRule {
    package var evaluation: Evaluation? {
        Evaluation(slot: 0, toEvaluation: 1 - 1 / averaging, toTraining: 1 - averaging)
    }

    /// κₜ, from the largest rate so far.
    private func weight(_ step: Int64, _ largest: Double) -> Double {
        min(pow(Double(step), stepPower) * pow(largest, ratePower), .greatestFiniteMagnitude)
    }

    package func advance(_ scalars: StateScalars, _ moment: StepInput) -> StateScalars {
        let largest = max(moment.learningRate * rateFactor(moment.step), scalars[1])
        return StateScalars(min(scalars[0] + weight(moment.step, largest), .greatestFiniteMagnitude), largest)
    }

    /// c = κₜ/Σκ, and next to 0 while all rates were 0: an infinite weight times 0 would be NaN.
    func share(_ moment: StepInput) -> Double {
        let sum = moment.scalars[0]
        return sum > 0 ? weight(moment.step, moment.scalars[1]) / sum : .leastNormalMagnitude
    }
}

/// A linear warm-up over so many steps.
func linearWarmup(_ step: Int64, over steps: Int) -> Double {
    steps > 0 && step < steps ? Double(step) / Double(steps) : 1
}
