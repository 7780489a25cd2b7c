// SPDX-License-Identifier: Apache-2.0

/// What a part of a name says of a tensor's place.
enum Meaning {
    /// Before the blocks.
    case stem
    /// Before the blocks, where it stands directly beside them: a name such as "conv1" is common elsewhere, too.
    case opening
    /// Before the blocks of a model that has some.
    case extractor
    /// After the blocks and before the head, where it stands directly beside the blocks.
    case norm
    /// After everything else.
    case head
    /// After everything else, where no other part of the name says otherwise.
    case output

    init?(of text: String, words: [String]) {
        if let known = Vocabulary.inFull[text.lowercased().drop { $0 == "_" }] {
            self = known
        } else if Vocabulary.stems.has(anyOf: words) || Vocabulary.lastWordsOfStems.has(anyOf: words.suffix(1)) {
            self = .stem
        } else if Vocabulary.heads.has(anyOf: words) {
            self = .head
        } else if Vocabulary.norms.has(anyOf: words) {
            self = words.contains("pre") ? .opening : .norm
        } else if Vocabulary.outputs.has(anyOf: words) {
            self = .output
        } else {
            return nil
        }
    }
}

/// The words by which parts of names are told, as Hugging Face transformers, torchvision, timm, fairseq, llama.cpp and the
/// original releases use them.  Plurals go with their singular.
enum Vocabulary {
    static let stems: Set = [
        "embed", "embedding", "embedder", "emb", "embd", "wte", "wpe", "stem", "patch", "pos", "position", "positional",
        "relative",
    ]
    /// "cls_token", but not "token_classifier".
    static let lastWordsOfStems: Set = ["token"]
    static let heads: Set = [
        "head", "classifier", "classif", "classification", "regressor", "logit", "score", "predictor", "prediction",
        "predict", "pred", "pooler", "summary", "vocab", "temperature",
    ]
    static let norms: Set = [
        "norm", "layernorm", "layrnorm", "batchnorm", "groupnorm", "rmsnorm", "normalization", "ln", "bn",
    ]
    static let outputs: Set = ["output", "out", "proj", "projection", "projector"]

    /// Parts that mean something only as a whole, or something else than their words do.
    static let inFull: [Substring: Meaning] = [
        // T5's and BART's embedding, the patches of torchvision's ViT, what leads into OPT and DETR.
        "shared": .stem, "conv_proj": .stem, "input": .stem, "input_proj": .stem, "input_projection": .stem,
        "project_in": .stem,
        // ResNet's, Whisper's, DenseNet's.
        "conv": .opening, "conv0": .opening, "conv1": .opening, "conv2": .opening,
        "bn0": .opening, "bn1": .opening, "norm0": .opening, "norm1": .opening,
        // wav2vec 2.0's.
        "feature_extractor": .extractor, "feature_projection": .extractor, "conv_layers": .extractor,
        // What timm counts to the last block of EfficientNet and NFNet, and transformers' name for it.
        "conv_head": .norm, "final_conv": .norm, "top_conv": .norm,
        // ResNet's, timm's, BERT's, CLIP's, Llama's.
        "fc": .head, "fc_norm": .head, "cls": .head, "attn_pool": .head, "attnpool": .head, "output": .head,
        // The output layers of UNets, GPT-NeoX and DETR.
        "out": .head, "embed_out": .head, "class_embed": .head, "bbox_embed": .head,
    ]

    /// Last words of parts.
    static let blocks: Set = [
        "layer", "block", "blk", "resblock", "denseblock", "denselayer", "stage", "group", "cell", "unit", "feature",
        "network", "transition",
    ]
    /// GPT-2's, and timm's in RegNet and CaiT.
    static let blocksInFull: Set = ["h", "s", "b", "blocks_token_only"]

    /// What "visual_projection" has in common with "vision_model".
    static func unified(_ word: String) -> String { ["visual", "image"].contains(word) ? "vision" : word }

    /// The first words of what torch and others call the tensors of a plain module.
    static let plainTensors: Set = ["weight", "bias", "gamma", "beta", "running", "num", "kernel", "scale"]
}

extension Set<String> {
    func has(anyOf words: some Sequence<String>) -> Bool {
        words.contains { contains($0) || $0.hasSuffix("s") && contains(String($0.dropLast())) }
    }
}
