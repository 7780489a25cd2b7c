// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

/// Tensors without decay, without a trust ratio, or without both: biases and norms, by rank or by name.
///
/// A tensor's name here is "layer/tensor".  Source: timm's and BERT's exclusions from weight decay (one-dimensional
/// parameters, names like bias and LayerNorm), and LARS's from adaptation.
public struct Exclude: DeclaredPolicy {
    /// Tensors by name.
    public struct Names: Component {
        /// A pattern of "layer/tensor".
        public var match = ""

        public init() {}

        /// Creates a pattern.
        public init(_ match: String) { self.match = match }

        package static let declaration = Declaration(
            name: "tensors", summary: "tensors by name", equation: "", source: "")

        package static let parameters: [Parameter<Self>] = [
            .text("match", \.match, "\"layer/tensor\", or a pattern of it")
        ]

        package func validate() throws(SettingError) {
            if match.isEmpty { throw .invalid("match must be given") }
        }
    }

    /// They do not decay.
    public var decay = true
    /// No trust ratio adapts them.
    public var trustRatio = true
    /// Tensors of this rank or less are excluded; -1: none.
    public var maxRank = 1
    /// How patterns are written: `exact`, `glob` or `regex`.
    public var syntax = PatternSyntax.glob
    /// What a pattern that matches no tensor is: an `error`, or something to `ignore`.
    public var unused = Matching.Unused.error
    /// Patterns of names that are excluded.
    public private(set) var names: [Names] = []

    public init() {}

    /// `maxRank`: −1 excludes none by rank.
    public init(
        names: [String] = [], maxRank: Int = 1, decay: Bool = true, trustRatio: Bool = true,
        syntax: PatternSyntax = .glob, unused: Matching.Unused = .error
    ) throws(SettingError) {
        self.names = names.map(Names.init)
        self.maxRank = maxRank
        self.decay = decay
        self.trustRatio = trustRatio
        self.syntax = syntax
        self.unused = unused
        try settle()
    }

    package static let declaration = Declaration(
        name: "exclude", title: "Exclude", summary: "tensors without decay or trust ratio, by rank or name",
        details: """
            Put it beside another policy: `Combine(LayerDecay(0.75), Exclude())`.
            """,
        equation: "λ = 0 and trust ratio 1 for tensors of rank ≤ max_rank and those that a pattern matches",
        source: "timm (weight_decay_exclude_1d, no_weight_decay), BERT, LARS",
        parts: "tensors: match",
        arguments: [
            .patterns("names", Names.self, "patterns of \"layer/tensor\"")
        ],
        positional: ["names"])

    package static let depthDependence = DepthDependence.never

    package static let parameters: [Parameter<Self>] = [
        .flag("decay", \.decay, "they do not decay"),
        .flag("trust_ratio", \.trustRatio, "no trust ratio adapts them"),
        .integer("max_rank", \.maxRank, -1...16, "tensors of this rank or less are excluded; -1: none"),
        .choice("syntax", \.syntax, "how patterns are written: \"exact\", \"glob\" or \"regex\""),
        .choice(
            "unused", \.unused, "what a pattern that matches no tensor is: an \"error\", or something to \"ignore\""),
    ]

    package var components: [any Component] { names }

    package mutating func take(parts: [Spec]) throws(SettingError) {
        names = try Layerwise.parts(parts, of: Self.declaration.name)
    }

    package func validate() throws(SettingError) {
        if !decay && !trustRatio { throw .invalid("excludes from nothing: decay or trust_ratio must be 1") }
        if maxRank < 0 && names.isEmpty { throw .invalid("excludes nothing: needs max_rank ≥ 0 or a pattern") }
        try matching.check(names.map(\.match))
    }

    private var matching: Matching {
        var matching = Matching()
        matching.syntax = syntax
        matching.unused = unused
        matching.unmatched = .keep
        matching.ambiguous = .first
        return matching
    }

    package func shares(of layers: [LayerDescriptor]) throws(SettingError) -> [LayerScaling] {
        var taken = try matching.assign(names.map(\.match), to: tensorNames(layers), "tensor")[...]
        return layers.map { layer in
            let tensors = layer.tensors.map { tensor in
                let isNamed = taken.popFirst().flatMap { $0 } != nil
                let isExcluded = isNamed || tensor.shape.count <= maxRank
                return TensorScaling(decay: isExcluded && decay ? 0 : 1, mayAdapt: !(isExcluded && trustRatio))
            }
            return LayerScaling(tensors, origin: Self.declaration.name)
        }
    }
}

/// "layer/tensor" for every tensor.
func tensorNames(_ layers: [LayerDescriptor]) -> [String] {
    layers.flatMap { layer in layer.tensors.map { "\(layer.name)/\($0.name)" } }
}
