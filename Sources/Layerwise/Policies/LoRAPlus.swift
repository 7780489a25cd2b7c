// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

/// Higher rates for the second of LoRA's two matrices.
///
///     scale = ratio for tensors whose "layer/tensor" matches (B), and for vectors; 1 for the others (A)
///
/// Source: Hayou, Ghosh, Yu 2024 (LoRA+, arXiv:2402.12354).  Equals PEFT's `create_loraplus_optimizer` for LoRA's matrices
/// and vectors; PEFT gives embeddings a rate apart, which here is a layer's own `lr` or `scale`.
public struct LoRAPlus: DeclaredPolicy {
    /// Rate of B over rate of A.
    public var ratio = 16.0
    /// Pattern of B, a `layer/tensor`, which must match some tensor.
    public var match = "*lora_B*"
    /// Tensors of rank 0 and 1 have B's rate, as in PEFT.
    public var vectors = true
    /// How the pattern is written: `exact`, `glob` or `regex`.
    public var syntax = PatternSyntax.glob

    public init() {}

    /// Creates the policy; throws if a value is outside its range.  The properties document the settings.
    public init(
        ratio: Double, match: String = "*lora_B*", vectors: Bool = true, syntax: PatternSyntax = .glob
    ) throws(SettingError) {
        self.ratio = ratio
        self.match = match
        self.vectors = vectors
        self.syntax = syntax
        try settle()
    }

    package static let declaration = Declaration(
        name: "lora_plus", title: "LoRAPlus", summary: "higher rates for LoRA's B",
        details: """
            scale = ratio for tensors whose "layer/tensor" matches, and for vectors; 1 for the others.  It equals \
            PEFT's optimizer, except that embeddings have no rate apart.
            """,
        equation: "scale = ratio for B and vectors, 1 for A",
        source: "Hayou, Ghosh, Yu 2024, arXiv:2402.12354; PEFT create_loraplus_optimizer",
        positional: ["ratio"])

    package static let depthDependence = DepthDependence.never

    package static let parameters: [Parameter<Self>] = [
        .number("ratio", \.ratio, .positive, "rate of B over rate of A"),
        .text("match", \.match, "pattern of B, a \"layer/tensor\", which must match some tensor"),
        .flag("vectors", \.vectors, "tensors of rank 0 and 1 have B's rate, as in PEFT"),
        .choice("syntax", \.syntax, "how the pattern is written: \"exact\", \"glob\" or \"regex\""),
    ]

    package func validate() throws(SettingError) { _ = try NamePattern(match, syntax) }

    package func shares(of layers: [LayerDescriptor]) throws(SettingError) -> [LayerScaling] {
        var matching = Matching()
        matching.syntax = syntax
        matching.unmatched = .keep
        var taken = try matching.assign([match], to: tensorNames(layers), "tensor")[...]
        return layers.map { layer in
            let tensors = layer.tensors.map { tensor in
                let isNamed = taken.popFirst().flatMap { $0 } != nil
                return TensorScaling(scale: isNamed || (vectors && tensor.shape.count <= 1) ? ratio : 1)
            }
            return LayerScaling(tensors, origin: Self.declaration.name)
        }
    }
}
