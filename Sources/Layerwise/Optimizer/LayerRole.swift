// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

/// What a layer is for, as conventions of layer decay distinguish them.
public enum LayerRole: String, Choice {
    /// What makes the first features: embeddings, a first convolution, class tokens.
    case stem
    /// One of the blocks that repeat.
    case block
    /// The final norm, or a final convolution: after the last block and before the head.
    case norm
    /// What makes the output: poolers, projections, classifiers.
    case head
}
