// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

/// Rates by width, so that what was tuned on a narrow model carries over to a wide one: the maximal update parametrization.
///
/// m_in = fan_in / base fan_in and m_out = fan_out / base fan_out, each 1 where no base is given.  With family `adam`:
///
///     both infinite:  scale = 1 / m_in,     λ·m_in
///     else:           scale = 1
///
/// With family `sgd`:
///
///     both infinite:  scale = m_out / m_in, λ·m_in / m_out
///     one infinite:   scale = m,            λ / m
///
/// A dimension is infinite where its base is given.  λ is left as it is with `decoupled_decay`.
///
/// Source: Yang et al. 2022 (Tensor Programs V, arXiv:2203.03466), table 8; equals MuAdam, MuAdamW and MuSGD of
/// microsoft/mup.  Initialisation and the output's multiplier belong to the model and are not touched.
public struct MuP: DeclaredPolicy {
    /// Whose scaling: Adam's, where the update does not depend on the gradient's size, or SGD's.
    public enum Family: String, Choice {
        case adam, sgd
    }

    /// Where a weight's dimensions stand.
    public enum Layout: String, Choice {
        /// (fan_out, fan_in, …), as in torch.
        case outIn = "out_in"
        /// (…, fan_in, fan_out), as in JAX and Keras.
        case inOut = "in_out"
    }

    /// The base widths of tensors that match.
    public struct Base: Component {
        /// A pattern of "layer/tensor".
        public var match = ""
        /// The fan-in of the narrow model; 0 if it is finite.
        public var fanIn = 0
        /// The fan-out of the narrow model; 0 if it is finite.
        public var fanOut = 0

        public init() {}

        /// 0 leaves a dimension finite.
        public init(_ match: String, fanIn: Int = 0, fanOut: Int = 0) {
            self.match = match
            self.fanIn = fanIn
            self.fanOut = fanOut
        }

        package static let declaration = Declaration(
            name: "base", summary: "base widths of tensors that match", equation: "", source: "")

        package static let parameters: [Parameter<Self>] = [
            .text("match", \.match, "\"layer/tensor\", or a pattern of it"),
            .integer("fan_in", \.fanIn, 0...mostSteps, "base fan-in; 0: this dimension is finite"),
            .integer("fan_out", \.fanOut, 0...mostSteps, "base fan-out; 0: this dimension is finite"),
        ]

        package func validate() throws(SettingError) {
            if match.isEmpty { throw .invalid("match must be given") }
            if fanIn == 0 && fanOut == 0 { throw .invalid("\"\(match)\" needs a fan_in or a fan_out of at least 1") }
        }
    }

    /// Which rules' scaling: `adam` or `sgd`.
    public var family = Family.adam
    /// Leave the decay as it is; else γ·λ stays as it is.
    public var decoupledDecay = false
    /// Where a weight's dimensions stand: `out_in` (fan_out, fan_in, ...) as in torch, `in_out` (..., fan_in, fan_out)
    /// as in JAX and Keras.
    public var layout = Layout.outIn
    /// How patterns are written: `exact`, `glob` or `regex`.
    public var syntax = PatternSyntax.glob
    /// The widths of the base model, by patterns of names.
    public private(set) var bases: [Base] = []

    public init() {}

    /// Creates the policy; throws if a value is outside its range.  The properties document the settings.
    public init(
        _ bases: [Base], family: Family = .adam, decoupledDecay: Bool = false, layout: Layout = .outIn,
        syntax: PatternSyntax = .glob
    ) throws(SettingError) {
        self.bases = bases
        self.family = family
        self.decoupledDecay = decoupledDecay
        self.layout = layout
        self.syntax = syntax
        try settle()
    }

    package static let declaration = Declaration(
        name: "mup", title: "MuP", summary: "rates by width: the maximal update parametrization",
        details: """
            With m_in = fan_in / base fan_in and m_out = fan_out / base fan_out, each 1 where no base is given: family \
            "adam" has scale = 1 / m_in for tensors with two infinite dimensions, else 1; "sgd" has scale = m_out / \
            m_in for those, m for tensors with one.  A dimension is infinite where its base is given.  Decay is \
            multiplied by 1 / scale.  Initialisation and the multiplier of the output belong to the model.
            """,
        equation: "adam: scale = base_fan_in/fan_in of matrices; sgd: scale = (m_out/m_in) of matrices, m of vectors",
        source: "Yang et al. 2022, arXiv:2203.03466, table 8; microsoft/mup MuAdam, MuSGD",
        parts: "base: match, fan_in, fan_out",
        arguments: [
            .byPattern(
                "bases", Base.self, ["fan_in", "fan_out"],
                "(base fan_in, base fan_out) by pattern of \"layer/tensor\"; 0 for a dimension that is finite; tensors that no pattern matches keep scale 1"
            )
        ],
        positional: ["bases"])

    package static let depthDependence = DepthDependence.never

    package static let parameters: [Parameter<Self>] = [
        .choice("family", \.family, "which rules' scaling: \"adam\" or \"sgd\""),
        .flag("decoupled_decay", \.decoupledDecay, "leave the decay as it is; else γ·λ stays as it is"),
        .choice(
            "layout", \.layout,
            "where a weight's dimensions stand: \"out_in\" (fan_out, fan_in, ...) as in torch, \"in_out\" (..., fan_in, fan_out) as in JAX and Keras"
        ),
        .choice("syntax", \.syntax, "how patterns are written: \"exact\", \"glob\" or \"regex\""),
    ]

    package var components: [any Component] { bases }

    package mutating func take(parts: [Spec]) throws(SettingError) {
        bases = try Layerwise.parts(parts, of: Self.declaration.name)
    }

    package func validate() throws(SettingError) {
        if bases.isEmpty { throw .invalid("needs the base widths of some tensors") }
        try matching.check(bases.map(\.match))
    }

    private var matching: Matching {
        var matching = Matching()
        matching.syntax = syntax
        matching.unmatched = .keep
        return matching
    }

    package func shares(of layers: [LayerDescriptor]) throws(SettingError) -> [LayerScaling] {
        let names = tensorNames(layers)
        let taken = try matching.assign(bases.map(\.match), to: names, "tensor")
        var shares: [LayerScaling] = []
        var position = 0
        for layer in layers {
            var tensors: [TensorScaling] = []
            for tensor in layer.tensors {
                tensors.append(try share(tensor, taken[position].map { bases[$0] }, names[position]))
                position += 1
            }
            shares.append(LayerScaling(tensors, origin: Self.declaration.name))
        }
        return shares
    }

    private func share(_ tensor: TensorDescriptor, _ base: Base?, _ name: String) throws(SettingError) -> TensorScaling
    {
        guard let base else { return TensorScaling() }
        let rank = tensor.shape.count
        if rank == 0 || tensor.shape.contains(0) || (rank == 1 && base.fanIn > 0) {
            throw .invalid("tensor \"\(name)\" of shape \(tensor.shape) has no \(rank == 1 ? "fan-in" : "width")")
        }
        let (fanIn, fanOut) =
            switch layout {
            case .outIn: (rank > 1 ? tensor.shape[1] : 1, tensor.shape[0])
            case .inOut: (rank > 1 ? tensor.shape[rank - 2] : 1, tensor.shape[rank - 1])
            }
        let mIn = base.fanIn > 0 ? Double(fanIn) / Double(base.fanIn) : 1
        let mOut = base.fanOut > 0 ? Double(fanOut) / Double(base.fanOut) : 1
        let isMatrixLike = base.fanIn > 0 && base.fanOut > 0
        let scale: Double =
            switch family {
            case .adam: isMatrixLike ? 1 / mIn : 1
            case .sgd: isMatrixLike ? mOut / mIn : (base.fanIn > 0 ? mIn : mOut)
            }
        return TensorScaling(scale: scale, decay: decoupledDecay ? 1 : 1 / scale)
    }
}
