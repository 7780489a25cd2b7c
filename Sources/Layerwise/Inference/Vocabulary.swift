// SPDX-License-Identifier: Apache-2.0

/// What a part of a name says of a tensor's place, where the structure leaves it open.
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
        } else if Vocabulary.inputs.has(anyOf: words), Vocabulary.outputs.has(anyOf: words) {
            // Which input, "encoder_input_proj" leaves open.
            if !Vocabulary.inputs.has(anyOf: words.prefix(1)) { return nil }
            self = .stem
        } else if Vocabulary.headsOfDetectors.contains(words.suffix(2).joined(separator: " ")) {
            self = .head
        } else if Vocabulary.ends.has(anyOf: words) {
            self = .output
        } else if Vocabulary.norms.has(anyOf: words), Vocabulary.after.has(anyOf: words) {
            self = .norm
        } else if Vocabulary.lastWordsOfStems.has(anyOf: words.suffix(1)) {
            self = .stem
        } else if Vocabulary.stems.has(anyOf: words) {
            // "embedding_projection" leads in here and out there; "relative_head" is a head.
            if words.contains("relative"), Vocabulary.heads.has(anyOf: words) {
                self = .head
            } else if Vocabulary.outputs.has(anyOf: words), !words.contains("patch") {
                return nil
            } else {
                self = .stem
            }
        } else if Vocabulary.heads.has(anyOf: words) {
            self = .head
        } else if Vocabulary.norms.has(anyOf: words) {
            self = Vocabulary.before.has(anyOf: words) ? .opening : .norm
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
    /// "emb_layer_norm_after" is ESM's final norm.
    /// Of what is called a norm and nothing else.
    static let wordsOfNorms = norms.union(["layer"])
    static let after: Set = ["after", "post", "final", "last", "f"]
    static let before: Set = ["pre", "input"]
    static let inputs: Set = ["input"]
    static let outputs: Set = ["output", "out", "proj", "projection", "projector"]
    static let projections: Set = ["proj", "projection", "projector"]
    /// What works on the output of the blocks, whatever else is in the name: "patch_merger".
    static let ends: Set = ["merger", "projector", "unembed", "unembedding"]
    /// What the detectors after DETR call their heads, such as RF-DETR's "enc_out_class_embed"; "class_embedding" is a token.
    static let headsOfDetectors: Set = ["class embed", "bbox embed", "box embed"]

    /// SAM's embeds the masks that are given, MaskFormer's and OneFormer's those that come out.
    static let ofEitherSide: Set = ["mask embed", "mask embedder"]

    /// Parts that mean something only as a whole, or something else than their words do.
    static let inFull: [Substring: Meaning] = [
        // T5's and BART's embedding, DETR's noise, Gemma's embeddings for each layer, the patches of torchvision's ViT, what leads
        // into OPT.
        "shared": .stem, "denoising_class_embed": .stem, "per_layer_model_projection": .stem,
        "per_layer_projection_norm": .stem, "conv_proj": .stem, "input": .stem,
        "project_in": .stem, "norm1_proj": .stem, "norm2_proj": .stem,
        // ResNet's, Whisper's, DenseNet's.
        "conv": .opening, "conv0": .opening, "conv1": .opening, "conv2": .opening,
        "bn0": .opening, "bn1": .opening, "norm0": .opening, "norm1": .opening,
        // wav2vec 2.0's.
        "feature_extractor": .extractor, "feature_projection": .extractor, "conv_layers": .extractor,
        // AltCLIP's and LFM2's final norm; what timm counts to the last block of EfficientNet and NFNet, and transformers' name for it.
        "pre_ln": .norm, "embedding_norm": .norm, "conv_head": .norm, "final_conv": .norm, "top_conv": .norm,
        // ResNet's, timm's, BERT's, CLIP's, Llama's.
        "fc": .head, "fc_norm": .head, "cls": .head, "attn_pool": .head, "attnpool": .head, "output": .head,
        // The output layers of UNets and GPT-NeoX.
        "out": .head, "embed_out": .head,
    ]

    /// Parts that belong to the stem where another part stands beside them: DeBERTa's encoder norms its relative embeddings, not
    /// what leaves it; TNT projects pixels into patches.
    static let stemsBeside = ["LayerNorm": "rel_embeddings", "proj": "norm1_proj"]
    /// Norms that are before the blocks or after them, which nothing tells, where another part stands beside them.
    static let normsOfEither = ["layer_norm": "pos_conv_embed"]
    static let siblings = Set(stemsBeside.values).union(normsOfEither.values)
    /// Modules that lead in or out.
    static let ofEitherEnd: Set = ["proj", "projection"]

    /// Last words of parts.
    static let blocks: Set = [
        "layer", "block", "blk", "resblock", "denseblock", "denselayer", "stage", "group", "cell", "unit", "feature",
        "network", "transition",
    ]
    /// GPT-2's, and timm's in RegNet, CaiT and PiT.
    static let blocksInFull: Set = ["h", "s", "b", "blocks_token_only", "transformers"]

    /// Last words of modules that may hold a whole model, whatever stands before: "patch_encoder".
    static let containers: Set = ["encoder", "decoder", "model", "tower", "backbone", "transformer", "trunk"]

    /// Of lists that go with the stages of a network: what leads from one stage to the next.
    static let betweenStages: Set = [
        "downsample", "downsampler", "downsampling", "reduction", "reduce", "merge", "merging", "transition",
    ]

    /// Which of several lists in one module runs before which; 0 without such a word.  UNets go down and up again, pyramids likewise, and blocks of
    /// the class token follow the others ("blocks_token_only", "cls_attn_blocks").
    static let orderOfLists = ["down": -1, "mid": 1, "middle": 1, "up": 2, "pan": 2, "token": 3, "cls": 3, "post": 3]

    /// Words that speak of a tower, with one for those that mean the same: "visual_projection" goes with "vision_model".
    static func unified(_ word: String) -> String { kindsOfTowers[word] ?? word }

    private static let kindsOfTowers: [String: String] = [
        "visual": "vision", "image": "vision", "img": "vision", "video": "vision", "vit": "vision",
        "speech": "audio", "sound": "audio", "acoustic": "audio",
        "enc": "encoder", "dec": "decoder",
        "lm": "text", "llm": "text", "language": "text", "vocab": "text",
    ]

    /// Of embeddings that lead into an encoder where there is a decoder, too.
    static let wordEmbeddings: Set = [
        "shared", "embed", "embedding", "embeddings", "emb", "embd", "token", "tokens", "tok", "word", "wte", "wpe",
        "position", "positions", "positional", "pos",
    ]

    /// Whether what stands beside towers that see and others goes with these: "lm_head", "embed_tokens", "score", "logit_scale".
    static func speaksOfText(_ part: NamePart) -> Bool {
        !part.words.isEmpty && part.words.allSatisfy(wordEmbeddings.contains)
            || part.words.contains {
                ["text", "score", "logit", "logits", "output", "temperature"].contains(unified($0))
            }
    }

    /// Towers that make no text.
    static let senses: Set = ["vision", "audio"]

    /// The first words of what torch and others call the tensors of a plain module.
    static let plainTensors: Set = ["weight", "bias", "gamma", "beta", "running", "num", "kernel", "scale"]

    /// What DistributedDataParallel, torch.compile, activation checkpointing and FSDP put into names.
    static let wrappers: Set = ["module", "_orig_mod", "_checkpoint_wrapped_module", "_fsdp_wrapped_module"]
}

extension Set<String> {
    func has(anyOf words: some Sequence<String>) -> Bool {
        words.contains { contains($0) || $0.hasSuffix("s") && contains(String($0.dropLast())) }
    }
}
