// SPDX-License-Identifier: Apache-2.0

// MARK: - Names in parts

/// A run of digits of any length, in the order of the numbers they write.
struct Numeral: Hashable, Comparable, CustomStringConvertible {
    /// Without leading zeros; empty for zero.
    private let digits: [UInt8]

    init(_ digits: some Sequence<UInt8>) { self.digits = Array(digits.drop { $0 == UInt8(ascii: "0") }) }

    static func < (a: Numeral, b: Numeral) -> Bool {
        a.digits.count != b.digits.count
            ? a.digits.count < b.digits.count : a.digits.lexicographicallyPrecedes(b.digits)
    }

    var description: String { digits.isEmpty ? "0" : String(decoding: digits, as: UTF8.self) }
}

/// What stands between two dots of a name.
struct NamePart {
    let text: String
    /// Runs of letters, in lower case, apart where a capital follows a small letter: layer and norm in "LayerNorm".
    let words: [String]
    /// What the digits at the end follow, without "_" and "-": "encoder_layer" in "encoder_layer_0".
    let base: String
    /// The digits at the end.
    let numeral: Numeral?
    let meaning: Meaning?

    init(_ text: String) {
        let bytes = Array(text.utf8)
        let digits = bytes.reversed().prefix(while: Self.isDigit).count
        let base = bytes.dropLast(digits).reversed().drop { $0 == UInt8(ascii: "_") || $0 == UInt8(ascii: "-") }
            .reversed()
        self.text = text
        self.words = Self.words(of: bytes)
        self.base = String(decoding: base, as: UTF8.self)
        self.numeral = digits == 0 ? nil : Numeral(bytes.suffix(digits))
        self.meaning = Meaning(of: text, words: words)
    }

    /// A number and nothing else.
    var isNumber: Bool { numeral != nil && base.isEmpty }

    /// Named like what numbered blocks stand in, as "layer" in "layer.0", or like a block, as "layer1".
    var namesBlocks: Bool {
        (meaning == nil || meaning == .output)
            && (Vocabulary.blocks.has(anyOf: words.suffix(1)) || Vocabulary.blocksInFull.contains(base))
    }

    /// Named like a tensor of one plain module, as "weight", but not like one of a recurrent network, as "weight_hh_l0".
    var namesPlainTensor: Bool {
        guard let first = words.first else { return false }
        return Vocabulary.plainTensors.contains(first) && !words.contains { $0 == "ih" || $0 == "hh" }
    }

    private static func isDigit(_ byte: UInt8) -> Bool { UInt8(ascii: "0")...UInt8(ascii: "9") ~= byte }

    private static func words(of bytes: [UInt8]) -> [String] {
        var words: [String] = []
        var word: [UInt8] = []
        var followsSmall = false
        func close() {
            if !word.isEmpty { words.append(String(decoding: word, as: UTF8.self)) }
            word = []
        }
        for byte in bytes {
            let isCapital = UInt8(ascii: "A")...UInt8(ascii: "Z") ~= byte
            let isLetter = isCapital || UInt8(ascii: "a")...UInt8(ascii: "z") ~= byte || byte >= 0x80
            if !isLetter || isCapital && followsSmall { close() }
            if isLetter { word.append(isCapital ? byte | 0x20 : byte) }
            followsSmall = isLetter && !isCapital
        }
        close()
        return words
    }
}

/// A tensor's name in parts, at dots (torch) or slashes (TensorFlow, Flax).
struct TensorName {
    let text: String
    /// One or more.  What wrappers around modules insert is left out.
    let parts: [NamePart]
    /// Where each part ends in the text.
    private let ends: [String.Index]

    /// - Parameter known: parts met before, by their text: names of one model share most of theirs.
    init(_ text: String, known: inout [String: NamePart]) {
        let pieces = text.utf8.split(omittingEmptySubsequences: false) {
            $0 == UInt8(ascii: ".") || $0 == UInt8(ascii: "/")
        }
        var parts: [NamePart] = []
        var ends: [String.Index] = []
        for (index, slice) in pieces.enumerated() {
            let piece = String(Substring(slice))
            if index < pieces.count - 1, Vocabulary.wrappers.contains(piece) { continue }
            let part = known[piece] ?? NamePart(piece)
            known[piece] = part
            parts.append(part)
            ends.append(slice.endIndex)
        }
        (self.text, self.parts, self.ends) = (text, parts, ends)
    }

    /// The first parts as they are written.
    func path(_ count: Int) -> String {
        count < 1 || ends.isEmpty ? "" : String(text[..<ends[min(count, ends.count) - 1]])
    }

    /// The last parts as they are written.
    func rest(from count: Int) -> String {
        count < 1 || ends.isEmpty ? text : String(text[ends[min(count, ends.count) - 1]...])
    }

    /// The path of the tensor's module without its first parts.
    func module(from count: Int) -> String { parts.dropFirst(count).dropLast().map(\.text).joined(separator: ".") }

    /// The last parts with "#" for their numbers.
    func pattern(from count: Int) -> String {
        parts.dropFirst(count).map { $0.numeral == nil ? $0.text : "\($0.base)#" }.joined(separator: ".")
    }

    /// Whether a numbered part is a plain module (its tensors are "weight", "bias"), or a `Sequential` of some.
    func isPlain(at level: Int) -> Bool {
        let rest = parts.dropFirst(level + 1)
        guard let last = rest.last, last.namesPlainTensor else { return false }
        return rest.count == 1 || rest.count == 2 && rest.first?.isNumber == true
    }

    /// How many parts a tensor's module has: all but the last one, or all of a name that has no dot.
    var moduleLength: Int { max(1, parts.count - 1) }
}

/// How many parts the beginnings of two names have in common.
func sharedLength(_ a: some Sequence<NamePart>, _ b: some Sequence<NamePart>) -> Int {
    zip(a, b).prefix { $0.text == $1.text }.count
}

/// The names of a model's tensors.
struct TensorNames: RandomAccessCollection {
    private let names: [TensorName]
    /// Whether they may be in the order in which the modules were made: they are not sorted, and the names of each module follow
    /// each other.
    let areInOrder: Bool

    init(_ texts: [String]) {
        var known: [String: NamePart] = [:]
        let names = texts.map { TensorName($0, known: &known) }
        self.names = names
        areInOrder = Self.areInOrder(names)
    }

    var startIndex: Int { names.startIndex }
    var endIndex: Int { names.endIndex }
    subscript(index: Int) -> TensorName { names[index] }

    /// More levels than modules are nested in; looking at all would make long names slow.
    private static let mostLevels = 12

    private static func areInOrder(_ names: [TensorName]) -> Bool {
        let pairs = zip(names, names.dropFirst())
        if pairs.allSatisfy({ !$1.text.utf8.lexicographicallyPrecedes($0.text.utf8) }) { return false }
        var left: Set<String> = []
        for (name, next) in pairs {
            let shared = sharedLength(name.parts, next.parts)
            func modules(_ name: TensorName) -> [String] {
                (1...mostLevels).prefix(name.parts.count - 1).dropFirst(shared).map(name.path)
            }
            left.formUnion(modules(name))
            if !left.isDisjoint(with: modules(next)) { return false }
        }
        return true
    }
}

// MARK: - What words mean

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
        let rule = Vocabulary.rules.first { $0.matches(words) }
        guard let meaning = Vocabulary.inFull[text.lowercased().drop { $0 == "_" }] ?? rule?.meaning else { return nil }
        self = meaning
    }
}

/// What words in one part of a name mean together.
struct WordRule {
    /// Nil where they leave it open.
    let meaning: Meaning?
    /// The part has a word of each of these sets, and none of `without`.
    let words: [Set<String>]
    var without: Set<String> = []
    /// Its first word, its last word, and its last two are among these, where they are given.
    var first: Set<String>?
    var last: Set<String>?
    var ending: Set<String>?

    init(
        _ meaning: Meaning?, _ words: Set<String>..., without: Set<String> = [], first: Set<String>? = nil,
        last: Set<String>? = nil, ending: Set<String>? = nil
    ) {
        (self.meaning, self.words, self.without) = (meaning, words, without)
        (self.first, self.last, self.ending) = (first, last, ending)
    }

    func matches(_ part: [String]) -> Bool {
        words.allSatisfy { $0.has(anyOf: part) } && !without.has(anyOf: part)
            && first?.has(anyOf: part.prefix(1)) ?? true && last?.has(anyOf: part.suffix(1)) ?? true
            && ending?.contains(part.suffix(2).joined(separator: " ")) ?? true
    }
}

/// The words that identify parts of names, as Hugging Face transformers, torchvision, timm, fairseq, llama.cpp and the
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
    static let positions: Set = ["pos", "position", "positional"]
    /// What works on the output of the blocks, whatever else is in the name: "patch_merger".
    static let ends: Set = ["merger", "projector", "unembed", "unembedding"]
    /// What the detectors after DETR call their heads, such as RF-DETR's "enc_out_class_embed"; "class_embedding" is a token.
    static let headsOfDetectors: Set = ["class embed", "bbox embed", "box embed"]

    /// SAM's embeds the masks that are given, MaskFormer's and OneFormer's those that come out.
    static let ofEitherSide: Set = ["mask embed", "mask embedder"]

    /// Meanings of parts that are not listed in full; the first rule that matches counts.
    static let rules = [
        // An input's projection; which input, "encoder_input_proj" leaves open.
        WordRule(.stem, outputs, first: inputs),
        WordRule(nil, inputs, outputs),
        WordRule(.head, ending: headsOfDetectors),
        WordRule(.output, ends),
        WordRule(.norm, norms, after),
        WordRule(.stem, last: lastWordsOfStems),
        WordRule(.head, ["relative"], heads),
        // "embedding_projection" leads in here and out there.
        WordRule(nil, stems, outputs, without: ["patch"]),
        WordRule(.stem, stems),
        WordRule(.head, heads),
        WordRule(.opening, norms, before),
        WordRule(.norm, norms),
        WordRule(.output, outputs),
    ]

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
    /// Norms of embeddings that may be the last norm, where that norm does not stand beside them.
    static let normsOfEmbeddings = ["layernorm_embedding": "layer_norm"]
    static let siblings = Set(stemsBeside.values).union(normsOfEither.values).union(normsOfEmbeddings.values)
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
