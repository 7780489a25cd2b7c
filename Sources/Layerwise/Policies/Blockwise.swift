// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

/// Rates by what a tensor of a transformer does: flat parts of the loss get higher rates.
///
///     scale = 1 for norms, 4 for values and outputs of attention, 6 for feed-forward, 8 for queries and keys, 10 for embeddings
///
/// Source: Wang et al. 2025 (The Sharpness Disparity Principle in Transformers, arXiv:2502.19002), blockwise rates for pre-training
/// with AdamW.  They are relative to the rate that is best for one rate, and the authors' floor is the same for all: give the
/// schedule a `min_lr`.
///
/// What a tensor does is read off "layer/tensor", in lower case, by the patterns in this order: norm, query and key, value and output,
/// feed-forward, embedding.  The first that matches decides; a tensor that none matches has the scale `others`.  A
/// projection of queries, keys and values in one is among values and outputs, the lower of both.
public struct Blockwise: DeclaredPolicy {
    /// Scale of norms.
    public var norm = 1.0
    /// Scale of values and outputs of attention.
    public var valueOutput = 4.0
    /// Scale of feed-forward layers.
    public var feedForward = 6.0
    /// Scale of queries and keys.
    public var queryKey = 8.0
    /// Scale of embeddings.
    public var embedding = 10.0
    /// Scale of all others, such as the head.
    public var others = 1.0
    /// Regular expression of norms; ``: the usual names.
    public var normMatch = ""
    /// Likewise of queries and keys.
    public var queryKeyMatch = ""
    /// Likewise of values and outputs of attention.
    public var valueOutputMatch = ""
    /// Likewise of feed-forward layers.
    public var feedForwardMatch = ""
    /// Likewise of embeddings.
    public var embeddingMatch = ""

    public init() {}

    /// Creates the policy; throws if a value is outside its range.  The properties document the settings.
    public init(
        norm: Double = 1, valueOutput: Double = 4, feedForward: Double = 6, queryKey: Double = 8,
        embedding: Double = 10,
        others: Double = 1
    ) throws(SettingError) {
        self.norm = norm
        self.valueOutput = valueOutput
        self.feedForward = feedForward
        self.queryKey = queryKey
        self.embedding = embedding
        self.others = others
        try settle()
    }

    package static let declaration = Declaration(
        name: "blockwise", title: "Blockwise",
        summary: "rates by what a tensor of a transformer does: norm, attention, feed-forward, embedding",
        details: """
            What a tensor does is read off "layer/tensor" in lower case, by patterns in the order norm, query and key, value and output, \
            feed-forward, embedding; the first that matches decides, and a tensor that none matches has the scale `others`.  A \
            projection of queries, keys and values in one is among values and outputs.  Refused where no tensor matches any.  For \
            pre-training; the ratios are relative to the best single rate of AdamW.
            """,
        equation: "scale = 1 : 4 : 6 : 8 : 10 for norm : VO : FFN : QK : embedding",
        source: "Wang et al. 2025, arXiv:2502.19002")

    package static let depthDependence = DepthDependence.never

    package static let parameters: [Parameter<Self>] = [
        .number("norm", \.norm, .nonNegative, "scale of norms"),
        .number("value_output", \.valueOutput, .nonNegative, "scale of values and outputs of attention"),
        .number("feed_forward", \.feedForward, .nonNegative, "scale of feed-forward layers"),
        .number("query_key", \.queryKey, .nonNegative, "scale of queries and keys"),
        .number("embedding", \.embedding, .nonNegative, "scale of embeddings"),
        .number("others", \.others, .nonNegative, "scale of all others, such as the head"),
        .text("norm_match", \.normMatch, "regular expression of norms; \"\": the usual names"),
        .text("query_key_match", \.queryKeyMatch, "likewise of queries and keys"),
        .text("value_output_match", \.valueOutputMatch, "likewise of values and outputs of attention"),
        .text("feed_forward_match", \.feedForwardMatch, "likewise of feed-forward layers"),
        .text("embedding_match", \.embeddingMatch, "likewise of embeddings"),
    ]

    /// What tensors are usually called in torch's and Hugging Face's models, timm, and JAX's ports of them.
    private enum Usual {
        static let norm =
            #".*(norm|(^|[./_])ln(_?[0-9fx]+)?[./_]).*"#
        static let queryKey =
            #".*(^|[./_])(q|k|query|key|q_proj|k_proj|to_q|to_k|wq|wk|q_lin|k_lin|"#
            + #"linear_[qk])[./].*"#
        static let valueOutput =
            #".*((^|[./_])(v|o|value|v_proj|o_proj|out_proj|to_v|to_out|wv|v_lin|out_lin|qkv|"#
            + #"in_proj_weight|in_proj_bias|c_attn)([./]|$)|att[a-z]*[./](output|c_proj|proj|dense|"#
            + #"out|wo)([./]|$)|query_key_value).*"#
        static let feedForward =
            #".*(mlp|ffn|feed_?forward|intermediate|(^|[./_])(fc_?[12]|lin[12]|linear[12]|c_fc|"#
            + #"w[123]|wi(_[01])?|wo|gate_proj|up_proj|down_proj|output[./]dense|dense_h_to_4h|"#
            + #"dense_4h_to_h)[./]).*"#
        static let embedding =
            #".*(embed|(^|[./_])(wte|wpe|shared|cls_token|pos_token)([./]|$)).*"#
    }

    /// The patterns in their order, and their scales.
    private var kinds: [(pattern: String, scale: Double)] {
        [
            (normMatch.isEmpty ? Usual.norm : normMatch, norm),
            (queryKeyMatch.isEmpty ? Usual.queryKey : queryKeyMatch, queryKey),
            (valueOutputMatch.isEmpty ? Usual.valueOutput : valueOutputMatch, valueOutput),
            (feedForwardMatch.isEmpty ? Usual.feedForward : feedForwardMatch, feedForward),
            (embeddingMatch.isEmpty ? Usual.embedding : embeddingMatch, embedding),
        ]
    }

    package func validate() throws(SettingError) {
        for kind in kinds { _ = try NamePattern(kind.pattern, .regex) }
    }

    package func shares(of layers: [LayerDescriptor]) throws(SettingError) -> [LayerScaling] {
        var patterns: [(NamePattern, Double)] = []
        for kind in kinds { patterns.append((try NamePattern(kind.pattern, .regex), kind.scale)) }
        var names = tensorNames(layers)[...]
        var isAny = layers.isEmpty
        let shares = layers.map { layer in
            let tensors = layer.tensors.map { _ -> TensorScaling in
                let name = (names.popFirst() ?? "").lowercased()
                guard let kind = patterns.first(where: { $0.0.matches(name) }) else {
                    return TensorScaling(scale: others)
                }
                isAny = true
                return TensorScaling(scale: kind.1)
            }
            return LayerScaling(tensors, origin: Self.declaration.name)
        }
        if !isAny {
            throw .invalid(
                "no tensor is called as a norm, an attention, a feed-forward layer or an embedding is; the patterns "
                    + "norm_match to embedding_match say how they are called here")
        }
        return shares
    }
}
