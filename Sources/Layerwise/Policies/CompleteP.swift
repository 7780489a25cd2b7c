// SPDX-License-Identifier: Apache-2.0
import LayerwisePlatform
import LayerwiseRules

/// Rates by width and depth, so that what was tuned on a narrow and shallow transformer carries over to a wide and deep one.
///
/// With m_N = width / base width, m_L = depth / base depth and exponent a, for layers with the role block:
///
///     matrices:  scale = m_N⁻¹ · m_L^(a−1),   λ · m_N
///     vectors:   scale = m_L^(a−1),           no decay
///
/// and for all others scale 1, matrices with the rule's decay, vectors with none.
///
/// Source: Dey et al. 2025 (CompleteP, arXiv:2505.01618), with Adam's rules; the branch completep of EleutherAI/nanoGPT-mup.  Initialisation,
/// the multiplier of the output and that of the residual branches, m_L^(−a), belong to the model.  Their ε is m_N⁻¹ · m_L^(−a) times
/// the base's for all tensors: give the rule that eps (`epsilon(_:)`).
public struct CompleteP: DeclaredPolicy {
    /// M_N: the width over that of the base model.
    public var width = Double.nan
    /// M_L: the number of blocks over that of the base model.
    public var depth = Double.nan
    /// A: the exponent of the depth; residual branches have m_L^(−a).
    public var alpha = 1.0

    public init() {}

    /// Creates the policy; throws if a value is outside its range.  The properties document the settings.
    public init(width: Double, depth: Double, alpha: Double = 1) throws(SettingError) {
        self.width = width
        self.depth = depth
        self.alpha = alpha
        try settle()
    }

    package static let declaration = Declaration(
        name: "completep", title: "CompleteP",
        summary: "rates by width and depth: muP with a factor for the depth",
        details: """
            With width = m_N and depth = m_L, both relative to the model on which rates were tuned: matrices of layers with the role block \
            have scale = m_L ** (alpha - 1) / m_N and m_N times the decay, vectors of these layers scale = m_L ** (alpha - 1) and \
            no decay; all other layers have scale 1, and their vectors no decay.  Give the rule an eps of base eps / (m_N * m_L \
            ** alpha).  Initialisation and multipliers of the output and of residual branches belong to the model.
            """,
        equation: "blocks: scale = m_L^(a−1)/m_N of matrices, m_L^(a−1) of vectors",
        source: "Dey et al. 2025, arXiv:2505.01618; EleutherAI/nanoGPT-mup, branch completep",
        positional: ["width", "depth"])

    package static let depthDependence = DepthDependence.always

    package static let parameters: [Parameter<Self>] = [
        .number("width", \.width, .positive, "m_N: the width over that of the base model").required,
        .number("depth", \.depth, .positive, "m_L: the number of blocks over that of the base model").required,
        .number("alpha", \.alpha, .closedFraction, "a: the exponent of the depth; residual branches have m_L^(−a)"),
    ]

    package func validate() throws(SettingError) {
        if width.isNaN || depth.isNaN { throw .invalid("width and depth must be given") }
    }

    /// The rule's ε for a base model's.
    public func epsilon(_ base: Double) -> Double { base / (width * pow(depth, alpha)) }

    package func shares(of layers: [LayerDescriptor]) -> [LayerScaling] {
        let factor = pow(depth, alpha - 1)
        return layers.map { layer in
            let isBlock = layer.role == .block
            let tensors = layer.tensors.map { tensor in
                let isMatrix = tensor.shape.count > 1
                return TensorScaling(
                    scale: isBlock ? (isMatrix ? factor / width : factor) : 1,
                    decay: isMatrix ? (isBlock ? width : 1) : 0)
            }
            return LayerScaling(tensors, origin: Self.declaration.name)
        }
    }
}
