// SPDX-License-Identifier: Apache-2.0
import Layerwise
import XCTest

/// Which layers the names of real checkpoints tell of.  The lists are shortened: fewer blocks, fewer tensors in each.
final class InferenceTests: XCTestCase {
    /// A layer and the names of its tensors, where "{a,b}" stands for a and for b.
    private struct Expected {
        let tower: String
        let depth: Int
        let role: LayerRole
        let name: String
        let tensors: [String]

        init(_ depth: Int, _ role: LayerRole, _ name: String, _ tensors: String..., tower: String = "") {
            (self.tower, self.depth, self.role, self.name) = (tower, depth, role, name)
            self.tensors = tensors.flatMap(Expected.expand)
        }

        private static func expand(_ pattern: String) -> [String] {
            guard let open = pattern.firstIndex(of: "{"), let close = pattern.firstIndex(of: "}") else {
                return [pattern]
            }
            return pattern[pattern.index(after: open)..<close].split(separator: ",", omittingEmptySubsequences: false)
                .flatMap { expand("\(pattern[..<open])\($0)\(pattern[pattern.index(after: close)...])") }
        }
    }

    /// Checks that the names, in the order of the expected layers, sorted as in a file, reversed and shuffled, tell these layers and
    /// nothing by its place.
    private func assertLayers(_ expected: Expected..., file: StaticString = #filePath, line: UInt = #line) {
        assertLayers(expected, file: file, line: line)
    }

    private func assertLayers(
        _ expected: [Expected], guessing guesses: Set<String> = [], file: StaticString = #filePath, line: UInt = #line
    ) {
        let names = expected.flatMap(\.tensors)
        XCTAssertEqual(Set(names).count, names.count, "a name is there twice", file: file, line: line)
        assertInOrder(names, expected, guesses, file: file, line: line)
        var random = Random(seed: 1)
        for names in [names.sorted(), names.reversed(), names.shuffled(using: &random)] {
            let towers = names.compactMap { name in expected.first { $0.tensors.contains(name) }?.tower }
            let inOrder = expected.enumerated().sorted { a, b in
                let order = (towers.firstIndex(of: a.element.tower) ?? 0, towers.firstIndex(of: b.element.tower) ?? 0)
                return order.0 != order.1 ? order.0 < order.1 : a.offset < b.offset
            }
            assertInOrder(names, inOrder.map(\.element), guesses, file: file, line: line)
        }
    }

    private func assertInOrder(
        _ names: [String], _ expected: [Expected], _ guesses: Set<String>, file: StaticString, line: UInt
    ) {
        let layers = inferLayers(names)
        XCTAssertEqual(
            layers.map { "\($0.tower) \($0.depth) \($0.role) \($0.name)" },
            expected.map { "\($0.tower) \($0.depth) \($0.role) \($0.name)" }, file: file, line: line)
        for (layer, expected) in zip(layers, expected) {
            XCTAssertEqual(
                layer.tensors.map { names[$0] }.sorted(), expected.tensors.sorted(), layer.name, file: file, line: line)
            XCTAssertEqual(layer.tensors, layer.tensors.sorted(), layer.name, file: file, line: line)
            XCTAssertEqual(
                layer.isGuess, guesses.contains(layer.name), "\(layer.name): \(layer.reason)", file: file, line: line)
        }
    }

    // MARK: - Encoders of text

    func testBERT() {
        assertLayers(
            Expected(
                0, .stem, "bert.embeddings",
                "bert.embeddings.{word,position,token_type}_embeddings.weight", "bert.embeddings.LayerNorm.{gamma,beta}"
            ),
            Expected(
                1, .block, "bert.encoder.layer.0",
                "bert.encoder.layer.0.attention.self.{query,key,value}.{weight,bias}",
                "bert.encoder.layer.0.attention.output.LayerNorm.{gamma,beta}"),
            Expected(
                2, .block, "bert.encoder.layer.1", "bert.encoder.layer.1.{intermediate,output}.dense.{weight,bias}"),
            Expected(
                3, .block, "bert.encoder.layer.2", "bert.encoder.layer.2.{intermediate,output}.dense.{weight,bias}"),
            Expected(
                4, .block, "bert.encoder.layer.10", "bert.encoder.layer.10.{intermediate,output}.dense.{weight,bias}"),
            Expected(
                5, .head, "head", "bert.pooler.dense.{weight,bias}", "cls.predictions.bias",
                "cls.predictions.transform.{dense,LayerNorm}.{weight,bias}", "cls.predictions.decoder.weight",
                "cls.seq_relationship.{weight,bias}"))
    }

    func testRoBERTa() {
        assertLayers(
            Expected(
                0, .stem, "roberta.embeddings", "roberta.embeddings.{word,position,token_type}_embeddings.weight",
                "roberta.embeddings.position_ids", "roberta.embeddings.LayerNorm.{weight,bias}"),
            Expected(
                1, .block, "roberta.encoder.layer.0", "roberta.encoder.layer.0.attention.self.query.{weight,bias}"),
            Expected(
                2, .block, "roberta.encoder.layer.1", "roberta.encoder.layer.1.attention.self.query.{weight,bias}"),
            Expected(3, .head, "lm_head", "lm_head.{dense,layer_norm}.{weight,bias}", "lm_head.{bias,decoder.weight}"))
        assertLayers(
            Expected(0, .stem, "roberta.embeddings.word_embeddings", "roberta.embeddings.word_embeddings.weight"),
            Expected(1, .block, "roberta.encoder.layer.0", "roberta.encoder.layer.0.attention.self.query.weight"),
            Expected(2, .head, "classifier", "classifier.{dense,out_proj}.{weight,bias}"))
    }

    func testDistilBERT() {
        assertLayers(
            Expected(
                0, .stem, "distilbert.embeddings", "distilbert.embeddings.{word_embeddings,LayerNorm}.weight"),
            Expected(
                1, .block, "distilbert.transformer.layer.0",
                "distilbert.transformer.layer.0.{attention.q_lin,sa_layer_norm,ffn.lin1,output_layer_norm}.weight"),
            Expected(
                2, .block, "distilbert.transformer.layer.1",
                "distilbert.transformer.layer.1.{attention.q_lin,sa_layer_norm,ffn.lin1,output_layer_norm}.weight"),
            Expected(3, .head, "head", "{pre_classifier,classifier}.{weight,bias}"))
        assertLayers(
            Expected(0, .stem, "embeddings.word_embeddings", "embeddings.word_embeddings.weight"),
            Expected(1, .block, "transformer.layer.0", "transformer.layer.0.ffn.lin1.weight"),
            Expected(2, .head, "head", "vocab_{transform,layer_norm,projector}.{weight,bias}"))
    }

    func testELECTRA() {
        assertLayers(
            Expected(
                0, .stem, "stem", "electra.embeddings.{word_embeddings,LayerNorm}.weight",
                "electra.embeddings_project.{weight,bias}"),
            Expected(1, .block, "electra.encoder.layer.0", "electra.encoder.layer.0.output.dense.{weight,bias}"),
            Expected(2, .block, "electra.encoder.layer.1", "electra.encoder.layer.1.output.dense.{weight,bias}"),
            Expected(
                3, .head, "discriminator_predictions",
                "discriminator_predictions.{dense,dense_prediction}.{weight,bias}"))
        assertLayers(
            Expected(0, .stem, "electra.embeddings.word_embeddings", "electra.embeddings.word_embeddings.weight"),
            Expected(1, .block, "electra.encoder.layer.0", "electra.encoder.layer.0.output.dense.{weight,bias}"),
            Expected(2, .head, "head", "generator_predictions.{LayerNorm,dense}.weight", "generator_lm_head.bias"))
    }

    /// All its layers share their parameters: one block.
    func testALBERT() {
        let block = "albert.encoder.albert_layer_groups.0"
        assertLayers(
            Expected(
                0, .stem, "stem", "albert.embeddings.{word_embeddings,LayerNorm}.weight",
                "albert.encoder.embedding_hidden_mapping_in.{weight,bias}"),
            Expected(
                1, .block, block,
                "\(block).albert_layers.0.{full_layer_layer_norm,attention.query,ffn,ffn_output}.weight"),
            Expected(2, .head, "head", "albert.pooler.{weight,bias}", "classifier.{weight,bias}"))
    }

    /// Version 2 norms its relative embeddings, and nothing that leaves the last block.
    func testDeBERTa() {
        assertLayers(
            Expected(0, .stem, "deberta.embeddings", "deberta.embeddings.{word_embeddings,LayerNorm}.weight"),
            Expected(
                1, .block, "deberta.encoder.layer.0", "deberta.encoder.layer.0.attention.self.{in_proj.weight,q_bias}"),
            Expected(
                2, .block, "deberta.encoder.layer.1", "deberta.encoder.layer.1.attention.self.{in_proj.weight,q_bias}"),
            Expected(3, .head, "head", "pooler.dense.{weight,bias}", "classifier.{weight,bias}"))
        assertLayers(
            Expected(
                0, .stem, "stem", "deberta.embeddings.word_embeddings.weight", "deberta.encoder.rel_embeddings.weight",
                "deberta.encoder.LayerNorm.{weight,bias}", "deberta.encoder.conv.{conv,LayerNorm}.weight"),
            Expected(1, .block, "deberta.encoder.layer.0", "deberta.encoder.layer.0.output.LayerNorm.weight"),
            Expected(2, .block, "deberta.encoder.layer.1", "deberta.encoder.layer.1.output.LayerNorm.weight"),
            Expected(3, .head, "lm_predictions.lm_head", "lm_predictions.lm_head.{bias,dense.weight,LayerNorm.weight}"))
    }

    /// As in the file of all-MiniLM-L6-v2.
    func testSentenceTransformers() {
        assertLayers(
            Expected(
                0, .stem, "embeddings", "embeddings.{position_ids,LayerNorm.weight,LayerNorm.bias}",
                "embeddings.{position,token_type,word}_embeddings.weight"),
            Expected(1, .block, "encoder.layer.0", "encoder.layer.0.attention.output.{LayerNorm,dense}.{weight,bias}"),
            Expected(2, .block, "encoder.layer.1", "encoder.layer.1.attention.output.{LayerNorm,dense}.{weight,bias}"),
            Expected(3, .head, "pooler.dense", "pooler.dense.{weight,bias}"))
        // As torch has it: the transformer is the first module of a list.
        assertLayers(
            Expected(
                0, .stem, "0.auto_model.embeddings.word_embeddings", "0.auto_model.embeddings.word_embeddings.weight"),
            Expected(1, .block, "0.auto_model.encoder.layer.0", "0.auto_model.encoder.layer.0.output.dense.weight"),
            Expected(2, .block, "0.auto_model.encoder.layer.1", "0.auto_model.encoder.layer.1.output.dense.weight"),
            Expected(3, .head, "0.auto_model.pooler.dense", "0.auto_model.pooler.dense.weight"))
    }

    // MARK: - Decoders of text

    func testGPT2() {
        for prefix in ["", "transformer."] {
            assertLayers(
                Expected(0, .stem, "stem", "\(prefix){wte,wpe}.weight"),
                Expected(1, .block, "\(prefix)h.0", "\(prefix)h.0.{ln_1,attn.c_attn,mlp.c_fc}.{weight,bias}"),
                Expected(2, .block, "\(prefix)h.1", "\(prefix)h.1.{ln_1,attn.c_attn,mlp.c_fc}.{weight,bias}"),
                Expected(3, .block, "\(prefix)h.2", "\(prefix)h.2.{ln_1,attn.c_attn,mlp.c_fc}.{weight,bias}"),
                Expected(4, .block, "\(prefix)h.11", "\(prefix)h.11.{ln_1,attn.c_attn,mlp.c_fc}.{weight,bias}"),
                Expected(5, .norm, "\(prefix)ln_f", "\(prefix)ln_f.{weight,bias}"),
                Expected(6, .head, "lm_head", "lm_head.weight"))
        }
    }

    func testLlama() {
        assertLayers(
            Expected(0, .stem, "model.embed_tokens", "model.embed_tokens.weight"),
            Expected(
                1, .block, "model.layers.0",
                "model.layers.0.{self_attn.q_proj,mlp.gate_proj,input_layernorm,post_attention_layernorm}.weight"),
            Expected(
                2, .block, "model.layers.1",
                "model.layers.1.{self_attn.q_proj,mlp.gate_proj,input_layernorm,post_attention_layernorm}.weight"),
            Expected(3, .norm, "model.norm", "model.norm.weight"),
            Expected(4, .head, "lm_head", "lm_head.weight"))
        // As Meta wrote it, and as llama.cpp does.
        assertLayers(
            Expected(0, .stem, "tok_embeddings", "tok_embeddings.weight"),
            Expected(1, .block, "layers.0", "layers.0.{attention.wq,feed_forward.w1,attention_norm}.weight"),
            Expected(2, .block, "layers.1", "layers.1.{attention.wq,feed_forward.w1,attention_norm}.weight"),
            Expected(3, .norm, "norm", "norm.weight"),
            Expected(4, .head, "output", "output.weight"))
        assertLayers(
            Expected(0, .stem, "token_embd", "token_embd.weight"),
            Expected(1, .block, "blk.0", "blk.0.{attn_q,attn_norm}.weight"),
            Expected(2, .block, "blk.1", "blk.1.{attn_q,attn_norm}.weight"),
            Expected(3, .norm, "output_norm", "output_norm.weight"),
            Expected(4, .head, "output", "output.weight"))
    }

    func testMixtureOfExperts() {
        assertLayers(
            Expected(0, .stem, "model.embed_tokens", "model.embed_tokens.weight"),
            Expected(1, .block, "model.layers.0", "model.layers.0.block_sparse_moe.experts.{0,1,2}.{w1,w2,w3}.weight"),
            Expected(2, .block, "model.layers.1", "model.layers.1.block_sparse_moe.experts.{0,1,2}.{w1,w2,w3}.weight"),
            Expected(3, .norm, "model.norm", "model.norm.weight"))
    }

    func testLoRA() {
        let layers = "base_model.model.model.layers"
        assertLayers(
            Expected(1, .block, "\(layers).0", "\(layers).0.self_attn.{q,v}_proj.lora_{A,B}.weight"),
            Expected(2, .block, "\(layers).2", "\(layers).2.self_attn.{q,v}_proj.lora_{A,B}.weight"),
            Expected(3, .block, "\(layers).10", "\(layers).10.self_attn.{q,v}_proj.lora_{A,B}.weight"))
        // Adapters of attention only leave T5's blocks with one part each.
        assertLayers(
            Expected(1, .block, "encoder.block.0", "encoder.block.0.layer.0.SelfAttention.{q,v}.lora_{A,B}.weight"),
            Expected(2, .block, "encoder.block.1", "encoder.block.1.layer.0.SelfAttention.{q,v}.lora_{A,B}.weight"))
    }

    // MARK: - Encoders with decoders

    func testT5() {
        assertLayers(
            Expected(0, .stem, "shared", "shared.weight", tower: "encoder"),
            Expected(
                1, .block, "encoder.block.0",
                "encoder.block.0.layer.0.SelfAttention.{q,k,v,o,relative_attention_bias}.weight",
                "encoder.block.0.layer.1.DenseReluDense.{wi,wo}.weight",
                "encoder.block.0.layer.{0,1}.layer_norm.weight",
                tower: "encoder"),
            Expected(
                2, .block, "encoder.block.1", "encoder.block.1.layer.0.SelfAttention.{q,k,v,o}.weight",
                "encoder.block.1.layer.1.DenseReluDense.{wi,wo}.weight",
                "encoder.block.1.layer.{0,1}.layer_norm.weight",
                tower: "encoder"),
            Expected(3, .norm, "encoder.final_layer_norm", "encoder.final_layer_norm.weight", tower: "encoder"),
            Expected(
                1, .block, "decoder.block.0",
                "decoder.block.0.layer.0.SelfAttention.{q,k,v,o,relative_attention_bias}.weight",
                "decoder.block.0.layer.1.EncDecAttention.{q,k,v,o}.weight",
                "decoder.block.0.layer.2.DenseReluDense.{wi,wo}.weight",
                "decoder.block.0.layer.{0,1,2}.layer_norm.weight",
                tower: "decoder"),
            Expected(2, .norm, "decoder.final_layer_norm", "decoder.final_layer_norm.weight", tower: "decoder"),
            Expected(3, .head, "lm_head", "lm_head.weight", tower: "decoder"))
    }

    func testBART() {
        for norm in [false, true] {
            var expected = [
                Expected(
                    0, .stem, "encoder.stem", "model.shared.weight",
                    "model.encoder.{embed_tokens,embed_positions,layernorm_embedding}.weight", tower: "encoder"),
                Expected(
                    1, .block, "model.encoder.layers.0",
                    "model.encoder.layers.0.{self_attn.k_proj,final_layer_norm}.weight",
                    tower: "encoder"),
                Expected(
                    2, .block, "model.encoder.layers.1",
                    "model.encoder.layers.1.{self_attn.k_proj,final_layer_norm}.weight",
                    tower: "encoder"),
                Expected(
                    0, .stem, "decoder.stem", "model.decoder.{embed_tokens,embed_positions,layernorm_embedding}.weight",
                    tower: "decoder"),
                Expected(
                    1, .block, "model.decoder.layers.0", "model.decoder.layers.0.{encoder_attn.k_proj,fc1}.weight",
                    tower: "decoder"),
            ]
            // mBART's.
            if norm {
                expected.append(
                    Expected(2, .norm, "model.decoder.layer_norm", "model.decoder.layer_norm.weight", tower: "decoder"))
            }
            expected.append(
                Expected(
                    norm ? 3 : 2, .head, "decoder.head", "final_logits_bias", "lm_head.weight", tower: "decoder"))
            assertLayers(expected)
        }
    }

    func testWhisper() {
        assertLayers(
            Expected(
                0, .stem, "encoder.stem", "model.encoder.{conv1,conv2}.{weight,bias}",
                "model.encoder.embed_positions.weight", tower: "encoder"),
            Expected(1, .block, "model.encoder.layers.0", "model.encoder.layers.0.{fc1,fc2}.weight", tower: "encoder"),
            Expected(2, .block, "model.encoder.layers.1", "model.encoder.layers.1.{fc1,fc2}.weight", tower: "encoder"),
            Expected(3, .norm, "model.encoder.layer_norm", "model.encoder.layer_norm.{weight,bias}", tower: "encoder"),
            Expected(
                0, .stem, "decoder.stem", "model.decoder.{embed_tokens,embed_positions}.weight", tower: "decoder"),
            Expected(1, .block, "model.decoder.layers.0", "model.decoder.layers.0.{fc1,fc2}.weight", tower: "decoder"),
            Expected(2, .norm, "model.decoder.layer_norm", "model.decoder.layer_norm.{weight,bias}", tower: "decoder"),
            Expected(3, .head, "proj_out", "proj_out.weight", tower: "decoder"))
    }

    /// Its encoder's norm is before the blocks, or after them with `do_stable_layer_norm`; the names are the same.
    func testWav2Vec2() {
        assertLayers(
            [
                Expected(
                    0, .stem, "stem", "wav2vec2.masked_spec_embed",
                    "wav2vec2.feature_extractor.conv_layers.{0,1}.conv.weight",
                    "wav2vec2.feature_projection.{layer_norm,projection}.weight",
                    "wav2vec2.encoder.pos_conv_embed.conv.bias"),
                Expected(
                    1, .block, "wav2vec2.encoder.layers.0",
                    "wav2vec2.encoder.layers.0.{layer_norm,attention.k_proj}.weight"
                ),
                Expected(
                    2, .block, "wav2vec2.encoder.layers.1",
                    "wav2vec2.encoder.layers.1.{layer_norm,attention.k_proj}.weight"
                ),
                Expected(3, .norm, "wav2vec2.encoder.layer_norm", "wav2vec2.encoder.layer_norm.weight"),
                Expected(4, .head, "lm_head", "lm_head.{weight,bias}"),
            ], guessing: ["wav2vec2.encoder.layer_norm"])
    }

    // MARK: - Two towers

    func testCLIP() {
        assertLayers(
            Expected(
                0, .stem, "text_model.embeddings", "text_model.embeddings.{token,position}_embedding.weight",
                tower: "text_model"),
            Expected(
                1, .block, "text_model.encoder.layers.0", "text_model.encoder.layers.0.{mlp.fc1,layer_norm1}.weight",
                tower: "text_model"),
            Expected(
                2, .norm, "text_model.final_layer_norm", "text_model.final_layer_norm.{weight,bias}",
                tower: "text_model"),
            Expected(3, .head, "text_model.head", "logit_scale", "text_projection.weight", tower: "text_model"),
            Expected(
                0, .stem, "vision_model.stem", "vision_model.embeddings.{class_embedding,patch_embedding.weight}",
                "vision_model.pre_layrnorm.{weight,bias}", tower: "vision_model"),
            Expected(
                1, .block, "vision_model.encoder.layers.0",
                "vision_model.encoder.layers.0.{mlp.fc1,layer_norm1}.weight",
                tower: "vision_model"),
            Expected(
                2, .block, "vision_model.encoder.layers.1",
                "vision_model.encoder.layers.1.{mlp.fc1,layer_norm1}.weight",
                tower: "vision_model"),
            Expected(
                3, .norm, "vision_model.post_layernorm", "vision_model.post_layernorm.{weight,bias}",
                tower: "vision_model"),
            Expected(4, .head, "visual_projection", "visual_projection.weight", tower: "vision_model"))
    }

    /// As OpenAI wrote it: the text tower stands beside "visual".
    func testOriginalCLIP() {
        assertLayers(
            Expected(
                0, .stem, "transformer.stem", "positional_embedding", "token_embedding.weight", tower: "transformer"),
            Expected(
                1, .block, "transformer.resblocks.0", "transformer.resblocks.0.{ln_1,mlp.c_fc}.weight",
                tower: "transformer"),
            Expected(2, .norm, "ln_final", "ln_final.{weight,bias}", tower: "transformer"),
            Expected(3, .head, "transformer.head", "text_projection", "logit_scale", tower: "transformer"),
            Expected(
                0, .stem, "visual.stem", "visual.{class_embedding,positional_embedding,conv1.weight,ln_pre.weight}",
                tower: "visual"),
            Expected(
                1, .block, "visual.transformer.resblocks.0", "visual.transformer.resblocks.0.{ln_1,mlp.c_fc}.weight",
                tower: "visual"),
            Expected(2, .norm, "visual.ln_post", "visual.ln_post.{weight,bias}", tower: "visual"),
            Expected(3, .head, "visual.proj", "visual.proj", tower: "visual"))
    }

    func testLLaVA() {
        assertLayers(
            Expected(
                0, .stem, "vision_tower.stem", "model.vision_tower.embeddings.class_embedding",
                "model.vision_tower.pre_layrnorm.weight", tower: "vision_tower"),
            Expected(
                1, .block, "model.vision_tower.encoder.layers.0", "model.vision_tower.encoder.layers.0.mlp.fc1.weight",
                tower: "vision_tower"),
            Expected(
                2, .norm, "model.vision_tower.post_layernorm", "model.vision_tower.post_layernorm.weight",
                tower: "vision_tower"),
            Expected(
                3, .head, "model.multi_modal_projector.linear_1", "model.multi_modal_projector.linear_1.weight",
                tower: "vision_tower"),
            Expected(
                0, .stem, "model.language_model.embed_tokens", "model.language_model.embed_tokens.weight",
                tower: "language_model"),
            Expected(
                1, .block, "model.language_model.layers.0", "model.language_model.layers.0.mlp.up_proj.weight",
                tower: "language_model"),
            Expected(
                2, .norm, "model.language_model.norm", "model.language_model.norm.weight", tower: "language_model"),
            Expected(
                3, .head, "lm_head", "lm_head.weight", tower: "language_model"))
    }

    // MARK: - Vision Transformers

    func testHuggingFaceViT() {
        for layers in ["vit.encoder.layer", "vit.layers"] {
            assertLayers(
                Expected(
                    0, .stem, "vit.embeddings", "vit.embeddings.{cls_token,position_embeddings}",
                    "vit.embeddings.patch_embeddings.projection.{weight,bias}"),
                Expected(1, .block, "\(layers).0", "\(layers).0.{layernorm_before,attention.attention.query}.weight"),
                Expected(2, .block, "\(layers).1", "\(layers).1.{layernorm_before,attention.attention.query}.weight"),
                Expected(3, .norm, "vit.layernorm", "vit.layernorm.{weight,bias}"),
                Expected(4, .head, "classifier", "classifier.{weight,bias}"))
        }
    }

    /// timm counts "fc_norm" to the head as everything it knows no better place for.
    func testTimmViT() {
        assertLayers(
            Expected(
                0, .stem, "stem", "cls_token", "reg_token", "pos_embed", "patch_embed.proj.{weight,bias}",
                "norm_pre.weight"),
            Expected(
                1, .block, "blocks.0", "blocks.0.{norm1,attn.qkv,attn.proj,mlp.fc1}.{weight,bias}", "blocks.0.ls1.gamma"
            ),
            Expected(
                2, .block, "blocks.1", "blocks.1.{norm1,attn.qkv,attn.proj,mlp.fc1}.{weight,bias}", "blocks.1.ls1.gamma"
            ),
            Expected(3, .norm, "norm", "norm.{weight,bias}"),
            Expected(4, .head, "head", "fc_norm.{weight,bias}", "head.{weight,bias}"))
    }

    func testTorchvisionViT() {
        assertLayers(
            Expected(0, .stem, "stem", "class_token", "conv_proj.{weight,bias}", "encoder.pos_embedding"),
            Expected(
                1, .block, "encoder.layers.encoder_layer_0",
                "encoder.layers.encoder_layer_0.{ln_1,self_attention.out_proj,mlp.0,mlp.3}.{weight,bias}"),
            Expected(
                2, .block, "encoder.layers.encoder_layer_2",
                "encoder.layers.encoder_layer_2.{ln_1,self_attention.out_proj,mlp.0,mlp.3}.{weight,bias}"),
            Expected(
                3, .block, "encoder.layers.encoder_layer_10",
                "encoder.layers.encoder_layer_10.{ln_1,self_attention.out_proj,mlp.0,mlp.3}.{weight,bias}"),
            Expected(4, .norm, "encoder.ln", "encoder.ln.{weight,bias}"),
            Expected(5, .head, "heads.head", "heads.head.{weight,bias}"))
    }

    /// Its scales of layers are numbered, too.
    func testDINOv2() {
        assertLayers(
            Expected(0, .stem, "dinov2.embeddings", "dinov2.embeddings.{cls_token,mask_token,position_embeddings}"),
            Expected(
                1, .block, "dinov2.encoder.layer.0", "dinov2.encoder.layer.0.layer_scale{1,2}.lambda1",
                "dinov2.encoder.layer.0.norm{1,2}.weight"),
            Expected(
                2, .block, "dinov2.encoder.layer.1", "dinov2.encoder.layer.1.layer_scale{1,2}.lambda1",
                "dinov2.encoder.layer.1.norm{1,2}.weight"),
            Expected(3, .norm, "dinov2.layernorm", "dinov2.layernorm.{weight,bias}"),
            Expected(4, .head, "classifier", "classifier.{weight,bias}"))
    }

    // MARK: - Stages

    /// Downsampling leads into a stage in timm, and out of one in Hugging Face's and the original.
    func testSwin() {
        let tensors = "{norm1,attn.qkv,mlp.fc1}.{weight,bias}"
        assertLayers(
            Expected(0, .stem, "patch_embed", "patch_embed.{proj,norm}.{weight,bias}"),
            Expected(1, .block, "layers.0.blocks.0", "layers.0.blocks.0.\(tensors)"),
            Expected(2, .block, "layers.0.blocks.1", "layers.0.blocks.1.\(tensors)"),
            Expected(
                3, .block, "layers.1.blocks.0", "layers.1.blocks.0.\(tensors)",
                "layers.1.downsample.{norm,reduction}.weight"),
            Expected(4, .block, "layers.1.blocks.1", "layers.1.blocks.1.\(tensors)"),
            Expected(5, .norm, "norm", "norm.{weight,bias}"),
            Expected(6, .head, "head.fc", "head.fc.{weight,bias}"))
        assertLayers(
            Expected(
                0, .stem, "swin.embeddings", "swin.embeddings.patch_embeddings.projection.weight",
                "swin.embeddings.norm.bias"),
            Expected(1, .block, "swin.encoder.layers.0.blocks.0", "swin.encoder.layers.0.blocks.0.\(tensors)"),
            Expected(
                2, .block, "swin.encoder.layers.0.blocks.1", "swin.encoder.layers.0.blocks.1.\(tensors)",
                "swin.encoder.layers.0.downsample.{norm,reduction}.weight"),
            Expected(3, .block, "swin.encoder.layers.1.blocks.0", "swin.encoder.layers.1.blocks.0.\(tensors)"),
            Expected(4, .block, "swin.encoder.layers.1.blocks.1", "swin.encoder.layers.1.blocks.1.\(tensors)"),
            Expected(5, .norm, "swin.layernorm", "swin.layernorm.{weight,bias}"),
            Expected(6, .head, "classifier", "classifier.{weight,bias}"))
    }

    func testResNet() {
        for prefix in ["", "backbone.", "feature_extractor."] {
            let tensors = "{conv1.weight,bn1.weight,bn1.running_mean,conv2.weight,bn2.weight,bn2.running_mean}"
            assertLayers(
                Expected(0, .stem, "stem", "\(prefix)conv1.weight", "\(prefix)bn1.{weight,bias,num_batches_tracked}"),
                Expected(1, .block, "\(prefix)layer1.0", "\(prefix)layer1.0.\(tensors)"),
                Expected(2, .block, "\(prefix)layer1.1", "\(prefix)layer1.1.\(tensors)"),
                Expected(
                    3, .block, "\(prefix)layer2.0", "\(prefix)layer2.0.\(tensors)",
                    "\(prefix)layer2.0.downsample.{0.weight,1.weight,1.bias}"),
                Expected(4, .block, "\(prefix)layer2.1", "\(prefix)layer2.1.\(tensors)"),
                Expected(5, .head, "fc", "fc.{weight,bias}"))
        }
        // Hugging Face's, whose blocks have numbered layers that are alike.
        assertLayers(
            Expected(
                0, .stem, "resnet.embedder.embedder", "resnet.embedder.embedder.{convolution,normalization}.weight"),
            Expected(
                1, .block, "resnet.encoder.stages.0.layers.0",
                "resnet.encoder.stages.0.layers.0.{shortcut,layer.0,layer.1}.convolution.weight"),
            Expected(
                2, .block, "resnet.encoder.stages.0.layers.1",
                "resnet.encoder.stages.0.layers.1.{layer.0,layer.1}.convolution.weight"),
            Expected(3, .head, "classifier.1", "classifier.1.{weight,bias}"))
    }

    func testConvNeXt() {
        // timm's.
        let tensors = "{gamma,conv_dw.weight,norm.weight,mlp.fc1.weight}"
        assertLayers(
            Expected(0, .stem, "stem", "stem.{0,1}.{weight,bias}"),
            Expected(1, .block, "stages.0.blocks.0", "stages.0.blocks.0.\(tensors)"),
            Expected(2, .block, "stages.0.blocks.1", "stages.0.blocks.1.\(tensors)"),
            Expected(
                3, .block, "stages.1.blocks.0", "stages.1.downsample.{0,1}.{weight,bias}",
                "stages.1.blocks.0.\(tensors)"),
            Expected(4, .block, "stages.1.blocks.1", "stages.1.blocks.1.\(tensors)"),
            Expected(5, .head, "head", "head.{norm,fc}.{weight,bias}"))
        // torchvision's: stem and downsampling are stages of their own.
        let members = "{layer_scale,block.0.weight,block.2.weight,block.5.weight}"
        assertLayers(
            Expected(0, .stem, "features.0", "features.0.{0,1}.{weight,bias}"),
            Expected(1, .block, "features.1.0", "features.1.0.\(members)"),
            Expected(2, .block, "features.1.1", "features.1.1.\(members)"),
            Expected(3, .block, "features.3.0", "features.2.{0,1}.{weight,bias}", "features.3.0.\(members)"),
            Expected(4, .block, "features.3.1", "features.3.1.\(members)"),
            Expected(5, .head, "classifier", "classifier.{0,2}.{weight,bias}"))
    }

    func testEfficientNet() {
        let tensors = "{conv_pw.weight,bn1.weight,se.conv_reduce.weight}"
        assertLayers(
            Expected(0, .stem, "stem", "conv_stem.weight", "bn1.{weight,bias,running_mean}"),
            Expected(1, .block, "blocks.0.0", "blocks.0.0.\(tensors)"),
            Expected(2, .block, "blocks.1.0", "blocks.1.0.\(tensors)"),
            Expected(3, .block, "blocks.1.1", "blocks.1.1.\(tensors)"),
            Expected(4, .norm, "norm", "conv_head.weight", "bn2.{weight,bias,running_mean}"),
            Expected(5, .head, "classifier", "classifier.{weight,bias}"))
    }

    func testDenseNet() {
        let tensors = "{norm1.weight,conv1.weight,conv2.weight}"
        assertLayers(
            Expected(0, .stem, "stem", "features.{conv0,norm0}.weight"),
            Expected(
                1, .block, "features.denseblock1.denselayer1", "features.denseblock1.denselayer1.\(tensors)"),
            Expected(
                2, .block, "features.denseblock1.denselayer2", "features.denseblock1.denselayer2.\(tensors)"),
            Expected(3, .block, "features.transition1", "features.transition1.{norm,conv}.weight"),
            Expected(
                4, .block, "features.denseblock2.denselayer1", "features.denseblock2.denselayer1.\(tensors)"),
            Expected(
                5, .block, "features.denseblock2.denselayer10", "features.denseblock2.denselayer10.\(tensors)"),
            Expected(6, .block, "features.transition2", "features.transition2.{norm,conv}.weight"),
            Expected(7, .norm, "features.norm5", "features.norm5.weight"),
            Expected(8, .head, "classifier", "classifier.{weight,bias}"))
    }

    // MARK: - What words alone would misplace

    /// The norm after the last block, whose name has "emb" in it.
    func testESM2() {
        assertLayers(
            Expected(0, .stem, "esm.embeddings.word_embeddings", "esm.embeddings.word_embeddings.weight"),
            Expected(1, .block, "esm.encoder.layer.0", "esm.encoder.layer.0.attention.self.query.weight"),
            Expected(2, .block, "esm.encoder.layer.1", "esm.encoder.layer.1.attention.self.query.weight"),
            Expected(3, .norm, "esm.encoder.emb_layer_norm_after", "esm.encoder.emb_layer_norm_after.{weight,bias}"),
            Expected(4, .head, "classifier", "classifier.{dense,out_proj}.{weight,bias}"))
    }

    /// A projector is one place, the output of the tower that sees, whatever its parts are called: Mistral 3's and Gemma 3's; HunYuan's merger likewise.
    func testProjectors() {
        for projector in [
            "{norm,patch_merger.merging_layer,linear_1,linear_2}.weight",
            "{mm_input_projection_weight,mm_soft_emb_norm.weight}",
        ] {
            assertLayers(
                Expected(
                    0, .stem, "vision_tower.stem", "model.vision_tower.{patch_conv,ln_pre}.weight",
                    tower: "vision_tower"),
                Expected(
                    1, .block, "model.vision_tower.transformer.layers.0",
                    "model.vision_tower.transformer.layers.0.attention.q_proj.weight", tower: "vision_tower"),
                Expected(
                    2, .block, "model.vision_tower.transformer.layers.1",
                    "model.vision_tower.transformer.layers.1.attention.q_proj.weight", tower: "vision_tower"),
                Expected(
                    3, .head, "model.multi_modal_projector", "model.multi_modal_projector.\(projector)",
                    tower: "vision_tower"),
                Expected(
                    0, .stem, "model.language_model.embed_tokens", "model.language_model.embed_tokens.weight",
                    tower: "language_model"),
                Expected(
                    1, .block, "model.language_model.layers.0", "model.language_model.layers.0.mlp.up_proj.weight",
                    tower: "language_model"),
                Expected(
                    2, .norm, "model.language_model.norm", "model.language_model.norm.weight", tower: "language_model"),
                Expected(3, .head, "lm_head", "lm_head.weight", tower: "language_model"))
        }
        assertLayers(
            Expected(
                0, .stem, "visual.embeddings.patch_embedding", "visual.embeddings.patch_embedding.weight",
                tower: "visual"),
            Expected(1, .block, "visual.layers.0", "visual.layers.0.mlp.up_proj.weight", tower: "visual"),
            Expected(
                2, .head, "visual.patch_merger", "visual.patch_merger.{image_newline,proj.0.weight,before_rms.weight}",
                tower: "visual"),
            Expected(0, .stem, "model.embed_tokens", "model.embed_tokens.weight", tower: "model"),
            Expected(1, .block, "model.layers.0", "model.layers.0.mlp.up_proj.weight", tower: "model"),
            Expected(2, .norm, "model.norm", "model.norm.weight", tower: "model"),
            Expected(3, .head, "lm_head", "lm_head.weight", tower: "model"))
    }

    /// A whole ViT in a module that is called "patch_encoder".
    func testDepthPro() {
        assertLayers(
            ["patch_encoder", "image_encoder"].flatMap { encoder in
                let model = "encoder.\(encoder).model"
                return [
                    Expected(
                        0, .stem, "\(model).embeddings", "\(model).embeddings.{cls_token,position_embeddings}",
                        tower: encoder),
                    Expected(
                        1, .block, "\(model).encoder.layer.0", "\(model).encoder.layer.0.{norm1,mlp.fc1}.weight",
                        tower: encoder),
                    Expected(
                        2, .block, "\(model).encoder.layer.1", "\(model).encoder.layer.1.{norm1,mlp.fc1}.weight",
                        tower: encoder),
                    Expected(3, .norm, "\(model).layernorm", "\(model).layernorm.{weight,bias}", tower: encoder),
                ]
            })
    }

    /// A list beside the stages goes with them: mmsegmentation's norms after those of Swin.
    func testNormsOfStages() {
        let tensors = "{attn.w_msa.qkv,ffn.layers.0.0,norm1}.weight"
        var expected = [
            Expected(0, .stem, "backbone.patch_embed.projection", "backbone.patch_embed.projection.weight")
        ]
        for stage in 0..<3 {
            let blocks = "backbone.stages.\(stage).blocks"
            expected.append(Expected(2 * stage + 1, .block, "\(blocks).0", "\(blocks).0.\(tensors)"))
            let norm = stage < 2 ? "backbone.norm\(stage).{weight,bias}" : "\(blocks).1.norm2.weight"
            expected.append(Expected(2 * stage + 2, .block, "\(blocks).1", "\(blocks).1.\(tensors)", norm))
        }
        expected.append(Expected(7, .norm, "backbone.norm2", "backbone.norm2.{weight,bias}"))
        expected.append(Expected(8, .head, "decode_head.conv_seg", "decode_head.conv_seg.{weight,bias}"))
        assertLayers(expected)
    }

    /// Patch embeddings of later stages: PVT's, PoolFormer's, GLPN's and Twins' in a list, Visformer's and CoaT's with a number each.
    func testPatchEmbeddingsOfStages() {
        func check(_ embedding: (Int) -> String, _ blocks: (Int) -> String) {
            func block(_ stage: Int, _ index: Int) -> String { "\(blocks(stage)).\(index)" }
            assertLayers(
                Expected(0, .stem, "\(embedding(0)).proj", "\(embedding(0)).proj.{weight,bias}"),
                Expected(1, .block, block(0, 0), "\(block(0, 0)).{norm1,attn.q,mlp.fc1}.weight"),
                Expected(2, .block, block(0, 1), "\(block(0, 1)).{norm1,attn.q,mlp.fc1}.weight"),
                Expected(
                    3, .block, block(1, 0), "\(block(1, 0)).{norm1,attn.q,mlp.fc1}.weight",
                    "\(embedding(1)).proj.{weight,bias}"),
                Expected(4, .block, block(1, 1), "\(block(1, 1)).{norm1,attn.q,mlp.fc1}.weight"),
                Expected(5, .head, "head", "head.{weight,bias}"))
        }
        check({ "encoder.patch_embeddings.\($0)" }, { "encoder.block.\($0)" })
        check({ "patch_embeds.\($0)" }, { "blocks.\($0)" })
        check({ "patch_embed\($0 + 1)" }, { "stage\($0 + 1)" })
        check({ "patch_embed\($0 + 1)" }, { "serial_blocks\($0 + 1)" })
    }

    /// A norm goes with the convolution of its number: HRNet's and Xception's stems have two of each.
    func testTwoConvolutionsInAStem() {
        assertLayers(
            Expected(0, .stem, "stem", "{conv1,bn1,conv2,bn2}.weight"),
            Expected(1, .block, "stage2", "stage2.0.branches.{0,1}.0.{conv1,bn1,conv2,bn2}.weight"),
            Expected(2, .block, "stage3", "stage3.0.branches.{0,1}.0.{conv1,bn1,conv2,bn2}.weight"),
            Expected(3, .head, "classifier", "classifier.weight"))
    }

    /// The head of text is of no tower that sees, whichever comes first.
    func testHeadOfTheLanguageModel() {
        for vision in ["vision", "image_encoder"] {
            assertLayers(
                Expected(0, .stem, "\(vision).embeddings", "\(vision).embeddings.weight", tower: vision),
                Expected(1, .block, "\(vision).layers.0", "\(vision).layers.0.mlp.fc1.weight", tower: vision),
                Expected(2, .block, "\(vision).layers.1", "\(vision).layers.1.mlp.fc1.weight", tower: vision),
                Expected(0, .stem, "model.embed_tokens", "model.embed_tokens.weight", tower: "model"),
                Expected(1, .block, "model.layers.0", "model.layers.0.mlp.fc1.weight", tower: "model"),
                Expected(2, .norm, "model.norm", "model.norm.weight", tower: "model"),
                Expected(3, .head, "lm_head", "lm_head.weight", tower: "model"))
        }
    }

    /// Heads that are called "class_embed" and "bbox_embed", DETR's and after.
    func testDetectors() {
        assertLayers(
            Expected(1, .block, "model.decoder.layers.0", "model.decoder.layers.0.{fc1,fc2}.weight"),
            Expected(2, .block, "model.decoder.layers.1", "model.decoder.layers.1.{fc1,fc2}.weight"),
            Expected(3, .norm, "model.decoder.layernorm", "model.decoder.layernorm.{weight,bias}"),
            Expected(
                4, .head, "head", "model.enc_out_class_embed.{0,1}.weight",
                "model.enc_out_bbox_embed.{0,1}.layers.{0,1}.weight", "class_embed.weight"))
    }

    /// Stages in a list that is not named like blocks, with what leads from one to the next.
    func testPiT() {
        assertLayers(
            Expected(0, .stem, "stem", "pos_embed", "cls_token", "patch_embed.conv.weight"),
            Expected(1, .block, "transformers.0.blocks.0", "transformers.0.blocks.0.{norm1,attn.qkv}.weight"),
            Expected(2, .block, "transformers.0.blocks.1", "transformers.0.blocks.1.{norm1,attn.qkv}.weight"),
            Expected(
                3, .block, "transformers.1.blocks.0", "transformers.1.pool.{conv,fc}.weight",
                "transformers.1.blocks.0.{norm1,attn.qkv}.weight"),
            Expected(4, .block, "transformers.1.blocks.1", "transformers.1.blocks.1.{norm1,attn.qkv}.weight"),
            Expected(5, .norm, "norm", "norm.weight"), Expected(6, .head, "head", "head.weight"))
    }

    /// A list of blocks that is not named like one: Gemma 3n's audio tower.
    func testBlocksByTheirLikeness() {
        let tensors = "{ffw_layer_start.ffw_layer_1,attention.attn.q_proj,lconv1d.linear_start,norm}.weight"
        assertLayers(
            Expected(
                0, .stem, "audio_tower.embedding", "audio_tower.embedding.weight", tower: "audio_tower"),
            Expected(
                1, .block, "audio_tower.conformer.0", "audio_tower.conformer.0.\(tensors)", tower: "audio_tower"),
            Expected(
                2, .block, "audio_tower.conformer.1", "audio_tower.conformer.1.\(tensors)", tower: "audio_tower"),
            Expected(
                0, .stem, "language_model.embed_tokens", "language_model.embed_tokens.weight", tower: "language_model"),
            Expected(
                1, .block, "language_model.layers.0", "language_model.layers.0.mlp.up_proj.weight",
                tower: "language_model"))
    }

    /// What wrappers put into names is not seen.
    func testWrappersInNames() {
        assertLayers(
            Expected(0, .stem, "module.embeddings", "module.embeddings.weight"),
            Expected(1, .block, "module.layers.module.0", "module.layers.module.0.{a,b}.weight"),
            Expected(2, .block, "module.layers.module.1", "module.layers.module.1.{a,b}.weight"),
            Expected(3, .head, "module.head", "module.head.weight"))
    }

    /// fastai's AWD-LSTM classifier in the groups of its `awd_lstm_clas_split`.
    func testAWDLSTM() {
        let names =
            ["0.encoder.weight", "0.encoder_dp.emb.weight"]
            + (0..<3).flatMap { ["0.rnns.\($0).weight_hh_l0_raw", "0.rnns.\($0).module.weight_ih_l0"] }
            + ["1.layers.0.0.weight", "1.layers.1.2.weight"]
        XCTAssertEqual(
            rows(names),
            [
                "0 stem stem [0, 1] guess", "1 block 0.rnns.0 [2, 3]", "2 block 0.rnns.1 [4, 5]",
                "3 block 0.rnns.2 [6, 7]", "4 head 1.layers [8, 9]",
            ])
    }

    /// Where names leave it open, the order decides and it is a guess: lists of one module, numbers that count other things, and
    /// which tower something goes with.
    func testWhatRemainsAGuess() {
        func guesses(_ names: [String]) -> [String] { inferLayers(names).filter(\.isGuess).map(\.name) }
        XCTAssertEqual(
            guesses(["layers.0.a.weight", "layers.0.b.weight", "cross_layers.0.a.weight", "cross_layers.0.b.weight"]),
            ["layers.0", "cross_layers.0"])
        XCTAssertEqual(
            inferLayers(
                ["cell_0.a.w", "cell_1.a.w", "reduction_cell_0.a.w"] + (2..<8).map { "cell_\($0).a.w" }
                    + ["reduction_cell_1.a.w", "cell_8.a.w"]
            ).map { "\($0.name) \($0.isGuess)" }.prefix(4),
            ["cell_0 true", "cell_1 true", "reduction_cell_0 true", "cell_2 true"])
        // SAM's prompt encoder stays together.
        let names =
            (0..<2).map { "vision_encoder.layers.\($0).a.weight" }
            + (0..<2).map { "mask_decoder.layers.\($0).a.weight" }
            + ["prompt_encoder.mask_embed.conv1.weight", "prompt_encoder.no_mask_embed.weight"]
        let prompt = inferLayers(names).filter { $0.tensors.contains(4) || $0.tensors.contains(5) }
        XCTAssertEqual(prompt.map(\.tensors), [[4, 5]])
        XCTAssertEqual(prompt.map(\.tower), ["mask_decoder"])
    }

    // MARK: - What a sweep over transformers found

    /// Where a tensor is: its tower, its depth and role, and "?" where that is a guess.
    private func place(_ tensor: String, in names: [String]) -> String {
        inferLayers(names).first { $0.tensors.contains { names[$0] == tensor } }.map {
            "\($0.tower.isEmpty ? "" : "\($0.tower) ")\($0.depth) \($0.role)\($0.isGuess ? "?" : "")"
        } ?? ""
    }

    private func blocks(_ path: String, _ count: Int = 3) -> [String] {
        (0..<count).flatMap { block in
            ["attn.q", "attn.k", "mlp.fc1", "mlp.fc2"].map { "\(path).\(block).\($0).weight" }
        }
    }

    /// "embedding_projection" leads in here and out there; an input's projection leads in, and "relative_head" is a head.
    func testWordsThatContradictEachOther() {
        let model = ["vlm.embed_tokens.weight"] + blocks("vlm.layers") + ["vlm.norm.weight"]
        XCTAssertEqual(
            place("embedding_proj_layer.weight", in: model + ["embedding_proj_layer.weight"]), "5 head?")
        XCTAssertEqual(
            place("vlm.inputs_embeds_projector.weight", in: model + ["vlm.inputs_embeds_projector.weight"]), "0 stem")
        XCTAssertEqual(place("relative_head.conv1.weight", in: model + ["relative_head.conv1.weight"]), "5 head")
        XCTAssertEqual(place("vlm.query_pos_head.0.weight", in: model + ["vlm.query_pos_head.0.weight"]), "0 stem")
        XCTAssertEqual(
            place("vlm.mask_embed.layers.0.weight", in: model + ["vlm.mask_embed.layers.0.weight"]), "5 head?")
    }

    /// A norm whose name is common and that is made before the blocks may lead in, and so may one of several.
    func testNormsThatMayLeadIn() {
        func norm(_ name: String, isFirst: Bool, beside other: String? = nil) -> String {
            let stem = ["encoder.embeddings.weight"]
            let norms = [name] + [other].compactMap(\.self)
            let layers = blocks("encoder.layers")
            return place(name, in: stem + (isFirst ? norms + layers : layers + norms))
        }
        XCTAssertEqual(norm("encoder.layer_norm.weight", isFirst: true), "4 norm?")
        XCTAssertEqual(norm("encoder.layer_norm.weight", isFirst: false), "4 norm")
        XCTAssertEqual(norm("encoder.norm.weight", isFirst: true), "4 norm")
        XCTAssertEqual(norm("encoder.final_layer_norm.weight", isFirst: true), "4 norm")
        XCTAssertEqual(norm("encoder.input_layer_norm.weight", isFirst: true), "0 stem")
        XCTAssertEqual(norm("encoder.input_layer_norm.weight", isFirst: false), "0 stem")
        XCTAssertEqual(norm("encoder.mask_norm.weight", isFirst: false, beside: "encoder.vit_norm.weight"), "4 norm?")
        // The order of a sorted file tells nothing.
        let sorted = (["encoder.embeddings.weight", "encoder.layer_norm.weight"] + blocks("encoder.layers")).sorted()
        XCTAssertEqual(place("encoder.layer_norm.weight", in: sorted), "4 norm")
    }

    /// A projection that is made before the blocks leads in, and one of several beside them may: Idefics 2's, Gemma 3n's.
    func testProjectionsThatMayLeadIn() {
        let layers = blocks("model.layers")
        XCTAssertEqual(
            place("model.modality_proj.weight", in: ["model.modality_proj.weight"] + layers + ["model.norm.weight"]),
            "0 stem?")
        XCTAssertEqual(place("model.audio_proj.weight", in: layers + ["model.audio_proj.weight"]), "4 head")
        XCTAssertEqual(
            place("model.audio_proj.weight", in: layers + ["model.audio_proj.weight", "model.prompt_proj.weight"]),
            "4 head?")
        // CamemBERT's head is made before its model.
        XCTAssertEqual(place("lm_head.dense.weight", in: ["lm_head.dense.weight"] + layers), "4 head")
    }

    /// DAC's second convolution is after the blocks.
    func testConvolutionsAfterTheBlocks() {
        let names = ["conv1.weight"] + blocks("block") + ["snake1.alpha", "conv2.weight"]
        XCTAssertEqual(place("conv1.weight", in: names), "0 stem")
        XCTAssertEqual(place("conv2.weight", in: names), "4 head?")
        XCTAssertEqual(place("conv2.weight", in: names.sorted()), "0 stem?")
        let whisper = ["conv1.weight", "conv2.weight"] + blocks("layers") + ["layer_norm.weight"]
        XCTAssertEqual(place("conv2.weight", in: whisper), "0 stem")
    }

    /// One linear map that makes features for a head, beside a whole extractor.
    func testExtractorOfAHead() {
        let names =
            ["wav2vec2.feature_extractor.conv_layers.0.conv.weight"] + blocks("wav2vec2.encoder.layers")
            + ["projector.weight", "tdnn.0.kernel.weight", "feature_extractor.weight", "classifier.weight"]
        XCTAssertEqual(place("feature_extractor.weight", in: names), "4 head?")
        XCTAssertEqual(place("wav2vec2.feature_extractor.conv_layers.0.conv.weight", in: names), "0 stem")
    }

    /// Only what speaks of text goes with the tower of text for certain; what stands beside both may be of either: OWL-ViT's.
    func testWhatStandsBesideTwoTowers() {
        let names =
            ["text_model.embeddings.weight"] + blocks("text_model.layers") + ["text_model.final_layer_norm.weight"]
            + ["vision_model.embeddings.weight"] + blocks("vision_model.layers")
            + ["vision_model.post_layernorm.weight", "layer_norm.weight", "class_head.dense0.weight", "lm_head.weight"]
        XCTAssertEqual(place("layer_norm.weight", in: names), "text_model 4 norm?")
        XCTAssertEqual(place("class_head.dense0.weight", in: names), "text_model 5 head?")
        XCTAssertEqual(
            place("lm_head.weight", in: names.filter { !$0.hasPrefix("class_head") }), "text_model 5 head")
    }

    /// What leads from a tower that sees into a language model is the output of the former: BLIP-2's, Idefics 3's, Gemma 3n's.
    func testWhatLeadsIntoALanguageModel() {
        func names(_ connector: String) -> [String] {
            ["vision_tower.embeddings.weight"] + blocks("vision_tower.layers") + [connector]
                + ["language_model.model.embed_tokens.weight"] + blocks("language_model.model.layers")
                + ["language_model.lm_head.weight"]
        }
        for (name, expected) in [
            "connector.modality_projection.weight": "vision_tower 4 head",
            "multi_modal_projector.linear_1.weight": "vision_tower 4 head",
            "language_projection.weight": "vision_tower 4 head?",
            "embed_vision.embedding.weight": "vision_tower 4 head?",
            "shared_image_embedding.positional_embedding": "vision_tower 0 stem",
        ] {
            XCTAssertEqual(place(name, in: names(name)), expected, name)
            XCTAssertEqual(place("language_model.lm_head.weight", in: names(name)), "language_model 4 head", name)
        }
    }

    /// A whole model in a stem is a tower, unless it makes the patches of a ViT: PE's and Phi-4's, and a hybrid ViT's.
    func testTowersInStems() {
        let outer = blocks("video_encoder.layers")
        for inner in ["embedder.vision_model.timm_model.blocks", "embed_extend.img_processor.encoder.layers"] {
            let names = blocks("video_encoder.\(inner)") + outer
            let found = place("video_encoder.\(inner).1.mlp.fc1.weight", in: names)
            XCTAssertTrue(found.hasSuffix(" 2 block"), found)
            XCTAssertTrue(place("video_encoder.layers.1.mlp.fc1.weight", in: names).hasSuffix("2 block"))
        }
        let hybrid = blocks("patch_embed.backbone.stages.0.blocks") + ["patch_embed.proj.weight"] + blocks("blocks")
        XCTAssertEqual(place("patch_embed.backbone.stages.0.blocks.1.mlp.fc1.weight", in: hybrid), "0 stem")
    }

    /// What stands beside the blocks of every stage, and whose name is not known, is before or after them: the order of making
    /// tells, and after them it is a guess.  Tokens lead in.
    func testWhatStandsInStages() {
        func names(_ part: String, isFirst: Bool) -> [String] {
            (0..<2).flatMap { stage in
                let layers = blocks("stages.\(stage).layers", 2)
                return isFirst ? ["stages.\(stage).\(part)"] + layers : layers + ["stages.\(stage).\(part)"]
            }
        }
        XCTAssertEqual(place("stages.1.conv.weight", in: names("conv.weight", isFirst: false)), "4 block?")
        XCTAssertEqual(place("stages.1.conv.weight", in: names("conv.weight", isFirst: true)), "3 block")
        XCTAssertEqual(place("stages.1.conv.weight", in: names("conv.weight", isFirst: true).sorted()), "3 block?")
        XCTAssertEqual(place("stages.1.group_token", in: names("group_token", isFirst: true)), "3 block")
        XCTAssertEqual(place("stages.1.downsample.weight", in: names("downsample.weight", isFirst: false)), "3 block")
    }

    /// BigBird-Pegasus's is the last norm, BART's the first; mBART has the last one beside it.
    func testNormsOfEmbeddingsThatMayBeLast() {
        func blocks(_ tower: String, _ attention: String) -> [String] {
            (0..<2).map { "model.\(tower).layers.\($0).\(attention).weight" }
        }
        let (first, second) = ("model.encoder.layernorm_embedding.weight", "model.decoder.layernorm_embedding.weight")
        let decoder = [second] + blocks("decoder", "encoder_attn.q_proj")
        let bart = [first] + blocks("encoder", "self_attn.q_proj")
        let bigBird = [first] + blocks("encoder", "self_attn.self.query")
        for (norm, tower) in [(first, "encoder"), (second, "decoder")] {
            XCTAssertEqual(place(norm, in: bart + decoder), "\(tower) 0 stem")
            XCTAssertEqual(place(norm, in: bigBird + decoder), "\(tower) 3 norm")
        }
        XCTAssertEqual(place(first, in: bart), "0 stem")
        XCTAssertEqual(place(second, in: decoder), "0 stem?")
        XCTAssertEqual(place(second, in: decoder + ["model.decoder.layer_norm.weight"]), "0 stem")
    }

    /// VOLO's positions enter behind its first stage, PiT's before it, and some say that they enter in the middle.
    func testPositionsThatMayEnterLater() {
        let stem = ["pos_embed", "patch_embed.proj.weight"]
        let staged = (0..<4).map { "network.\($0 / 2).\($0 % 2).attn.weight" }
        let blocks = (0..<4).map { "blocks.\($0).attn.weight" }
        XCTAssertEqual(place("pos_embed", in: stem + staged), "0 stem?")
        let pit = (0..<4).map { "transformers.\($0 / 2).blocks.\($0 % 2).attn.weight" }
        XCTAssertEqual(place("pos_embed", in: stem + pit), "0 stem")
        XCTAssertEqual(place("pos_embed", in: stem + blocks), "0 stem")
        let yolos = ["embeddings.position_embeddings"] + (0..<4).map { "encoder.layer.\($0).attention.weight" }
        XCTAssertEqual(place("embeddings.position_embeddings", in: yolos), "0 stem")
        for middle in ["encoder.mid_position_embeddings", "encoder.interpolation.mid_position_embeddings"] {
            XCTAssertEqual(place(middle, in: yolos + [middle]), "0 stem?")
        }
    }

    // MARK: - Without blocks

    private func rows(_ names: [String]) -> [String] {
        inferLayers(names).map { "\($0.depth) \($0.role) \($0.name) \($0.tensors)\($0.isGuess ? " guess" : "")" }
    }

    func testSequential() {
        XCTAssertEqual(
            rows(["0.bias", "0.weight", "10.weight", "2.weight", "4.weight"]),
            ["0 stem 0 [0, 1]", "1 block 2 [3]", "2 block 4 [4]", "3 head 10 [2]"])
        // VGG's.
        XCTAssertEqual(
            rows([
                "classifier.0.weight", "classifier.3.weight", "features.0.weight", "features.10.weight",
                "features.2.weight",
            ]),
            ["0 stem features.0 [2]", "1 block features.2 [4]", "2 block features.10 [3]", "3 head classifier [0, 1]"])
        // With blocks in it.
        XCTAssertEqual(
            rows(["0.weight", "1.conv1.weight", "1.conv2.weight", "10.weight", "2.conv1.weight", "2.conv2.weight"]),
            ["0 stem 0 [0]", "1 block 1 [1, 2]", "2 block 2 [4, 5]", "3 head 10 [3]"])
    }

    func testPerceptron() {
        XCTAssertEqual(
            rows(["fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias", "fc3.weight", "fc3.bias"]),
            ["0 stem fc1 [0, 1]", "1 block fc2 [2, 3]", "2 head fc3 [4, 5]"])
        XCTAssertEqual(
            rows(["hidden.weight", "middle.weight", "last.weight"]),
            ["0 stem hidden [0] guess", "1 block middle [1] guess", "2 head last [2] guess"])
        XCTAssertEqual(
            rows(["conv1.weight", "bn1.weight", "conv2.weight", "fc.weight"]),
            ["0 stem conv1 [0] guess", "1 block bn1 [1] guess", "2 block conv2 [2] guess", "3 head fc [3]"])
        XCTAssertEqual(
            rows(["head.weight", "lstm.weight_ih_l0", "lstm.weight_hh_l0", "embedding.weight"]),
            ["0 stem embedding [3]", "1 block lstm [1, 2] guess", "2 head head [0]"])
        XCTAssertEqual(rows(["weight", "bias"]), ["0 head model [0, 1]"])
        XCTAssertEqual(rows([]), [])
    }

    // MARK: - By place

    func testGuesses() {
        let names = [
            "preparation.weight", "model.layers.0.mlp.weight", "mixer.weight", "model.layers.1.mlp.weight",
            "lm_head.weight",
            "final.weight",
        ]
        XCTAssertEqual(
            rows(names),
            [
                "0 stem preparation [0] guess", "1 block model.layers.0 [1, 2] guess", "2 block model.layers.1 [3]",
                "3 head head [4, 5] guess",
            ])
        XCTAssertEqual(
            inferLayers(names).map(\.reason),
            [
                "before the first block", "block 0 of model.layers; some tensors by their place after it",
                "block 1 of model.layers", "named like a head: lm_head; some tensors after the last block",
            ])
    }

    /// A whole model in a module that is called like a stem.
    func testWrapper() {
        assertLayers(
            Expected(0, .stem, "embedder.embeddings.word_embeddings", "embedder.embeddings.word_embeddings.weight"),
            Expected(1, .block, "embedder.encoder.layer.0", "embedder.encoder.layer.0.output.dense.weight"),
            Expected(2, .block, "embedder.encoder.layer.1", "embedder.encoder.layer.1.output.dense.weight"))
    }

    // MARK: - Any names

    func testNumbersOfAnyLength() {
        let long = String(repeating: "9", count: 40)
        XCTAssertEqual(
            rows(["h.\(long).a.weight", "h.1\(long).a.weight", "h.007.a.weight", "h.8.a.weight", "h.7.a.bias"]),
            [
                "1 block h.007 [2, 4]", "2 block h.8 [3]", "3 block h.\(long) [0]", "4 block h.1\(long) [1]",
            ])
    }

    func testEqualNames() {
        XCTAssertEqual(
            rows(["h.0.a.weight", "h.0.a.weight", "stem.weight", "stem.weight"]),
            ["0 stem stem [2, 3]", "1 block h.0 [0, 1]"])
        // Two towers with the same shared stem's name, and a layer that is called like the copy.
        let names = ["a.h.0.x.w", "b.h.0.x.w", "b.stem.w", "a.stem.w", "a.stem (2).w"]
        XCTAssertEqual(Set(inferLayers(names).map(\.name)).count, inferLayers(names).count)
    }

    /// Every tensor is in one layer, every layer has a name of its own, depths rise without gaps.
    func testRandomNames() {
        let parts = [
            "", "0", "1", "10", "2", "layer", "layers", "block1", "block2", "layer1", "h", "stages", "blocks",
            "encoder", "decoder",
            "embed", "head", "norm", "LayerNorm", "rel_embeddings", "conv1", "weight", "bias", "proj", "features", "x",
            "é", "_",
            "-1", "layer_0", "0_", "model", "downsample",
        ]
        var random = Random(seed: 2)
        for _ in 0..<1000 {
            let names = (0..<Int.random(in: 0...14, using: &random)).map { _ in
                (0..<Int.random(in: 1...6, using: &random)).map { _ in parts.randomElement(using: &random) ?? "" }
                    .joined(separator: Bool.random(using: &random) ? "." : "/")
            }
            let layers = inferLayers(names)
            XCTAssertEqual(layers.flatMap(\.tensors).sorted(), Array(names.indices), "\(names)")
            XCTAssertEqual(Set(layers.map(\.name)).count, layers.count, "\(names)")
            XCTAssertFalse(layers.contains { $0.name.isEmpty || $0.tensors.isEmpty }, "\(names)")
            for tower in Dictionary(grouping: layers, by: \.tower).values {
                let depths = tower.map(\.depth)
                XCTAssertEqual(depths, Array((depths.first ?? 0)..<(depths.first ?? 0) + depths.count), "\(names)")
                XCTAssertLessThanOrEqual(depths.first ?? 0, 1, "\(names)")
                XCTAssertEqual(
                    tower.filter { $0.role == .stem }.map(\.depth),
                    depths.first == 0 && tower[0].role == .stem ? [0] : [])
            }
        }
    }

    func testManyAndLongNames() {
        let many = (0..<20_000).map { "model.layers.\($0 / 10).part\($0 % 10).weight" }
        XCTAssertEqual(inferLayers(many).count, 2000)
        let towers = (0..<3000).map { "tower\($0).layers.0.x.weight" }
        XCTAssertEqual(inferLayers(towers).count, 3000)
        let deep = String(repeating: "0.", count: 5000)
        XCTAssertEqual(inferLayers([deep + "weight", deep + "1.weight", "a" + deep]).flatMap(\.tensors).count, 3)
    }
}
