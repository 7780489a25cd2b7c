// SPDX-License-Identifier: Apache-2.0

/// Over what a rule takes the sums from which it estimates its rate.
public enum EstimateScope: String, Choice {
    /// All tensors of the optimizer, as published: one estimate.
    case optimizer
    /// The tensors of each layer: an estimate for each, and a layer can be stepped alone.
    case layer

    /// The scope of the stage that takes the sums.
    var ofStage: Stage.Scope { self == .optimizer ? .optimizer : .layer }
}

extension DeclaredRule {
    /// Whether the states that are otherwise one number for the optimizer are numbers of each layer.
    package var sharesByLayer: Bool {
        Self.declaration.states.contains { $0.shape == .shared } && !stages.contains { $0.scope == .optimizer }
    }
}
