// SPDX-License-Identifier: Apache-2.0

/// How a rule's weights for evaluation follow from those for training and a state: x = y + a·(s − y), y = x + b·(s − x).
package struct Evaluation: Sendable, Equatable, BitwiseCopyable {
    /// The slot of the state s.
    let slot: Int
    /// a.
    package let toEvaluation: Double
    /// b, which undoes a: 1 − b = 1/(1 − a).
    package let toTraining: Double

    /// `slot`: of a state of the parameter's shape.
    init(slot: Int, toEvaluation: Double, toTraining: Double) {
        self.slot = slot
        self.toEvaluation = toEvaluation
        self.toTraining = toTraining
    }

    package var stateSlot: Int { slot }
}

/// What the parameters hold, for rules whose weights differ between training and evaluation.
public enum Mode: String, Sendable {
    case training
    case evaluation
}
