# SPDX-License-Identifier: Apache-2.0
"""Layers from a forward pass of models whose names have misled, in reports or in other libraries, as they run there."""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from layerwise.torch import AdamW, LayerTable, layers

X = torch.ones(2, 4)
IDS = torch.arange(2)


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(4), nn.Linear(4, 8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.down(torch.relu(self.up(self.norm(x))))


class Net(nn.Module):
    def __init__(self, run: Callable[..., Any], **modules: nn.Module | nn.Parameter) -> None:
        super().__init__()
        self.run = run
        for name, module in modules.items():
            setattr(self, name, module)

    def forward(self, *args: Any) -> Any:
        return self.run(self, *args)


def stack(count: int = 2) -> nn.ModuleList:
    return nn.ModuleList([Block() for _ in range(count)])


def through(modules: Any, x: Tensor) -> Tensor:
    return functools.reduce(lambda value, module: module(value), modules, x)


def linear(out: int = 4) -> nn.Linear:
    return nn.Linear(4, out)


def places(table: LayerTable) -> dict[str, tuple[str, int | None, str | None]]:
    assert not any(row.guess for row in table), table
    return {
        name.rpartition(".")[0] or name: (row.tower, row.depth, row.role) for row in table for name in row.parameters
    }


def test_esm2() -> None:
    """N1: the norm after the last block is called emb_layer_norm_after."""
    encoder = Net(
        lambda self, x: self.emb_layer_norm_after(through(self.layer, x)),
        layer=stack(),
        emb_layer_norm_after=nn.LayerNorm(4),
    )
    model = Net(
        lambda self, ids: self.classifier(self.encoder(self.embeddings(ids))),
        embeddings=nn.Embedding(9, 4),
        encoder=encoder,
        classifier=linear(2),
    )
    assert places(layers(model, example=IDS))["encoder.emb_layer_norm_after"] == ("", 3, "norm")


def language_model(projector: nn.Module) -> nn.Module:
    """A picture is projected into a language model."""
    vision = Net(lambda self, x: through(self.layers, self.patch_conv(x)), patch_conv=linear(), layers=stack())
    language = Net(
        lambda self, ids, x: self.norm(through(self.layers, torch.cat([x, self.embed_tokens(ids)]))),
        embed_tokens=nn.Embedding(9, 4),
        layers=stack(),
        norm=nn.LayerNorm(4),
    )
    return Net(
        lambda self, ids, x: self.lm_head(self.language_model(ids, self.multi_modal_projector(self.vision_tower(x)))),
        lm_head=linear(9),
        language_model=language,
        vision_tower=vision,
        multi_modal_projector=projector,
    )


def test_mistral_3() -> None:
    """N2: the projector has a patch_merger."""
    merger = Net(lambda self, x: self.merging_layer(x), merging_layer=linear())
    projector = Net(
        lambda self, x: self.linear_1(self.patch_merger(self.norm(x))),
        norm=nn.LayerNorm(4),
        patch_merger=merger,
        linear_1=linear(),
    )
    found = places(layers(language_model(projector), example=(IDS, X)))
    parts = {place for name, place in found.items() if name.startswith("multi_modal_projector")}
    assert parts == {("vision_tower", 3, "head")}
    assert found["lm_head"] == ("language_model", 4, "head")


def test_gemma_3() -> None:
    """N3: the projector has a norm of "soft embeddings", and a bare matrix."""
    projector = Net(
        lambda self, x: self.mm_soft_emb_norm(x) @ self.mm_input_projection_weight,
        mm_input_projection_weight=nn.Parameter(torch.ones(4, 4)),
        mm_soft_emb_norm=nn.LayerNorm(4),
    )
    found = places(layers(language_model(projector), example=(IDS, X)))
    parts = {place for name, place in found.items() if name.startswith("multi_modal_projector")}
    assert parts == {("vision_tower", 3, "head")}


def test_depth_pro() -> None:
    """N4: a whole ViT is called patch_encoder."""

    def vit() -> nn.Module:
        return Net(
            lambda self, x: self.layernorm(through(self.layer, x + self.cls_token)),
            cls_token=nn.Parameter(torch.ones(4)),
            layer=stack(3),
            layernorm=nn.LayerNorm(4),
        )

    model = Net(
        lambda self, x: self.fuse(torch.cat([self.patch_encoder(x), self.image_encoder(x)], 1)),
        patch_encoder=vit(),
        image_encoder=vit(),
        fuse=nn.Linear(8, 1),
    )
    found = places(layers(model, example=X))
    for index in range(3):
        assert found[f"patch_encoder.layer.{index}.up"] == ("patch_encoder", index + 1, "block")
        assert found[f"image_encoder.layer.{index}.up"] == ("image_encoder", index + 1, "block")
    assert found["patch_encoder"] == ("patch_encoder", 0, "stem")


def test_norms_of_stages() -> None:
    """N5: mmsegmentation's Swin has norm0 to norm3 beside its stages."""

    def run(self: Any, x: Tensor) -> Tensor:
        results = []
        x = self.patch_embed(x)
        for stage, norm in zip(self.stages, (self.norm0, self.norm1, self.norm2, self.norm3), strict=True):
            x = through(stage.blocks, x)
            results.append(norm(x))
        return self.decode_head(torch.cat(results, 1))

    model = Net(
        run,
        patch_embed=linear(),
        stages=nn.ModuleList([nn.ModuleDict({"blocks": stack()}) for _ in range(4)]),
        **{f"norm{index}": nn.LayerNorm(4) for index in range(4)},
        decode_head=nn.Linear(16, 2),
    )
    found = places(layers(model, example=X))
    assert [found[f"norm{index}"][1] for index in range(4)] == [2, 4, 6, 9]
    assert found["stages.3.blocks.1.up"][1] == 8


def test_a_stem_of_two_convolutions() -> None:
    """N6: HRNet's and Xception's bn2 is no final norm."""
    model = Net(
        lambda self, x: self.classifier(
            through([*self.stage2, *self.stage3, *self.stage4], self.bn2(self.conv2(self.bn1(self.conv1(x)))))
        ),
        conv1=linear(),
        bn1=nn.BatchNorm1d(4),
        conv2=linear(),
        bn2=nn.BatchNorm1d(4),
        stage2=nn.Sequential(Block()),
        stage3=nn.Sequential(Block()),
        stage4=nn.Sequential(Block()),
        classifier=linear(2),
    )
    found = places(layers(model, example=X))
    assert {found[name] for name in ("conv1", "bn1", "conv2", "bn2")} == {("", 0, "stem")}
    assert [found[f"stage{stage}.0.up"][1] for stage in (2, 3, 4)] == [1, 2, 3]


def test_a_head_beside_two_towers() -> None:
    """N7: Idefics calls its language model only "model"."""
    model = Net(
        lambda self, ids, x: self.lm_head(self.model(torch.cat([self.vision(x), self.words(ids)]))),
        vision=Net(lambda self, x: through(self.layers, self.embeddings(x)), embeddings=linear(), layers=stack()),
        words=nn.Embedding(9, 4),
        model=Net(lambda self, x: self.norm(through(self.layers, x)), layers=stack(), norm=nn.LayerNorm(4)),
        lm_head=linear(9),
    )
    found = places(layers(model, example=(IDS, X)))
    assert found["lm_head"] == ("model", 4, "head")
    assert found["words"] == ("model", 0, "stem")


def test_awd_lstm() -> None:
    """N8: fastai's text classifier; five groups, as its awd_lstm_clas_split makes them."""

    class Dropped(nn.Module):
        """fastai's WeightDropout, whose raw weight is copied over that of the module inside."""

        def __init__(self) -> None:
            super().__init__()
            self.module = nn.LSTM(4, 4, batch_first=True)
            self.weight_hh_l0_raw = nn.Parameter(self.module.weight_hh_l0.detach().clone())
            del self.module._parameters["weight_hh_l0"]

        def forward(self, x: Tensor) -> Tensor:
            self.module.weight_hh_l0 = nn.functional.dropout(self.weight_hh_l0_raw, 0.1, self.training)
            inputs = x @ self.module.weight_ih_l0.T + self.module.bias_ih_l0
            return (inputs @ torch.ones(16, 4) @ self.module.weight_hh_l0.T + self.module.bias_hh_l0)[..., :4]

    encoder = Net(
        lambda self, ids: through(self.rnns, self.encoder(ids)),
        encoder=nn.Embedding(9, 4),
        rnns=nn.ModuleList([Dropped() for _ in range(3)]),
    )
    head = Net(
        lambda self, x: through(self.layers, x),
        layers=nn.Sequential(
            nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 5), nn.ReLU()),
            nn.Sequential(nn.BatchNorm1d(5), nn.Linear(5, 2)),
        ),
    )
    found = places(layers(nn.Sequential(encoder, head), example=IDS))
    names = ["0.encoder", "0.rnns.0", "0.rnns.1", "0.rnns.2", "1.layers.0.1", "1.layers.1.1"]
    assert [found[name][1] for name in names] == [0, 1, 2, 3, 4, 4]


def test_heads_of_a_detector() -> None:
    """N9: RF-DETR has heads called enc_out_class_embed."""

    def run(self: Any, x: Tensor) -> tuple[Tensor, ...]:
        memory = through(self.encoder, x)
        proposals = self.enc_out_class_embed[0](memory)
        x = self.layernorm(through(self.layers, memory + self.refpoint_embed.weight))
        return self.class_embed(x), proposals, self.enc_out_bbox_embed[0](memory)

    model = Net(
        run,
        refpoint_embed=nn.Embedding(2, 4),
        encoder=stack(),
        layers=stack(),
        layernorm=nn.LayerNorm(4),
        enc_out_class_embed=nn.ModuleList([linear(2)]),
        enc_out_bbox_embed=nn.ModuleList([linear(2)]),
        class_embed=linear(2),
    )
    found = places(layers(model, example=X))
    assert {found[name][2] for name in ("class_embed", "enc_out_class_embed.0", "enc_out_bbox_embed.0")} == {"head"}


def test_patch_embeddings_of_later_stages() -> None:
    """PVT's, Twins', GLPN's and PoolFormer's are beside their stages, and no part of the stem."""

    def run(self: Any, x: Tensor) -> Tensor:
        for embed, stage in zip(self.patch_embeddings, self.block, strict=True):
            x = through(stage, embed(x))
        return x

    model = Net(
        run,
        patch_embeddings=nn.ModuleList([linear() for _ in range(3)]),
        block=nn.ModuleList([stack() for _ in range(3)]),
    )
    found = places(layers(model, example=X))
    assert [found[f"patch_embeddings.{index}"][1] for index in range(3)] == [0, 3, 5]


def test_encoders_that_are_called_embedders() -> None:
    """Perception Encoder's towers for pictures and sounds."""
    model = Net(
        lambda self, sound, picture: self.audio_embedder(sound) @ self.video_embedder(picture).T,
        audio_embedder=Net(lambda self, x: through(self.layers, x), layers=stack()),
        video_embedder=Net(lambda self, x: through(self.layers, x), layers=stack(3)),
    )
    found = places(layers(model, example=(X, X)))
    assert found["audio_embedder.layers.1.up"] == ("audio_embedder", 2, "block")
    assert found["video_embedder.layers.2.up"] == ("video_embedder", 3, "block")


def test_an_audio_tower_of_conformers() -> None:
    """Gemma 3n's blocks are called conformer.0."""
    model = Net(
        lambda self, ids, x: through(self.layers, torch.cat([self.embed(ids), through(self.conformer, x)])),
        embed=nn.Embedding(9, 4),
        conformer=stack(),
        layers=stack(),
    )
    found = places(layers(model, example=(IDS, X)))
    assert found["conformer.1.up"] == ("conformer", 2, "block")
    assert found["embed"] == ("layers", 0, "stem")


def test_a_copy_of_the_blocks_that_does_not_run() -> None:
    """An EMA beside the model moves no depth, and is a guess."""
    model = Net(lambda self, x: self.head(through(self.blocks, x)), blocks=stack(), ema=stack(), head=linear(2))
    table = layers(model, example=X)
    depths = {row.name: row.depth for row in table if not row.guess}
    assert depths == {"blocks.0": 1, "blocks.1": 2, "head": 3}
    guessed = {name for row in table if row.guess for name in row.parameters}
    assert guessed == {name for name, _ in model.named_parameters() if name.startswith("ema.")}


class HeadFirst(nn.Module):
    """A model whose head is made before its embeddings, and shares their table, as CamemBERT of Transformers."""

    def __init__(self, is_tied: bool = True) -> None:
        super().__init__()
        self.lm_head = nn.Module()
        self.lm_head.dense, self.lm_head.decoder = nn.Linear(8, 8), nn.Linear(8, 20)
        self.encoder = nn.Module()
        self.encoder.embeddings = nn.Embedding(20, 8)
        self.encoder.layer = nn.ModuleList(nn.Linear(8, 8) for _ in range(3))
        if is_tied:
            self.lm_head.decoder.weight = self.encoder.embeddings.weight


def test_a_shared_table_is_where_it_is_nearest_to_the_input() -> None:
    model = HeadFirst()
    # torch goes by the name that came first.
    assert "lm_head.decoder.weight" in dict(model.named_parameters())
    rows = list(layers(model))
    assert rows[0].parameters == ("encoder.embeddings.weight",)
    assert [(row.depth, row.role) for row in rows] == [(0, "stem"), *((1 + n, "block") for n in range(3)), (4, "head")]
    assert not any(row.guess for row in rows)
    optimizer = AdamW(model, lr=1e-2, layer_decay=0.5)
    assert {row["layer"]: row["scale"] for row in optimizer.native.explain_rows()} == {
        row.name: 0.5 ** (4 - (row.depth or 0)) for row in rows
    }
    # A head that is made last, and one that shares nothing, stay as they were.
    apart = HeadFirst(is_tied=False)
    assert [row.parameters for row in layers(apart)][-1][-2:] == ("lm_head.decoder.weight", "lm_head.decoder.bias")
    last = HeadFirst()
    head = last.lm_head
    del last.lm_head
    last.lm_head = head
    assert [row.parameters for row in layers(last)] == [row.parameters for row in rows]
