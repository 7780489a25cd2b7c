# SPDX-License-Identifier: Apache-2.0
"""Layers from a forward pass that is watched, of one small model for each shape of network.

Names of modules tell nothing here, or mislead, where a test does not say otherwise.
"""

import functools
import random
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import layerwise as lw
from layerwise.torch import AdamW, LayerRates, LayerTable, layers, param_groups

X = torch.ones(2, 4)
IDS = torch.arange(6).reshape(2, 3)


class Block(nn.Module):
    """A residual block, whose input reaches its output also past all parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(4), nn.Linear(4, 8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.down(torch.relu(self.up(self.norm(x))))


class Cross(Block):
    """A block of a decoder: it reads what an encoder made."""

    def __init__(self) -> None:
        super().__init__()
        self.key = nn.Linear(4, 4)

    def forward(self, x: Tensor, memory: Tensor | None = None) -> Tensor:
        return super().forward(x) + (0 if memory is None else self.key(memory).mean())


class Model(nn.Module):
    """A model of some modules and of how they are called."""

    def __init__(self, run: Callable[..., Any], **modules: nn.Module | nn.Parameter) -> None:
        super().__init__()
        self.run = run
        for name, module in modules.items():
            setattr(self, name, module)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.run(self, *args, **kwargs)


def blocks(count: int) -> nn.ModuleList:
    return nn.ModuleList([Block() for _ in range(count)])


def through(modules: Any, x: Tensor) -> Tensor:
    return functools.reduce(lambda value, module: module(value), modules, x)


def found(table: LayerTable) -> dict[str, tuple[str, int | None, str | None]]:
    return {name: (row.tower, row.depth, row.role) for row in table for name in row.parameters}


def depths(table: LayerTable) -> dict[str, int | None]:
    """The depth of each module with parameters of its own, of one tower."""
    assert {row.tower for row in table} == {""}
    assert not any(row.guess for row in table)
    return {name.rpartition(".")[0] or name: depth for name, (_, depth, _) in found(table).items()}


def roles(table: LayerTable) -> list[tuple[str, str | None]]:
    return [(row.name, row.role) for row in table]


# ---- Order


def test_order_of_execution_and_not_of_registration() -> None:
    """What is made last runs first, and names say the contrary of what is so."""
    model = Model(
        lambda self, x: self.embedding(through(reversed(self.layer), self.head(x))),
        embedding=nn.Linear(4, 2),
        layer=blocks(3),
        head=nn.Linear(4, 4),
    )
    table = layers(model, example=X)
    assert roles(table) == [
        ("head", "stem"),
        ("layer.2", "block"),
        ("layer.1", "block"),
        ("layer.0", "block"),
        ("embedding", "head"),
    ]
    assert [row.depth for row in table] == [0, 1, 2, 3, 4]
    assert not any(row.guess for row in table)


def test_a_model_without_blocks() -> None:
    model = Model(lambda self, x: self.a(self.b(self.c(x))), a=nn.Linear(4, 1), b=nn.Linear(4, 4), c=nn.Linear(4, 4))
    table = layers(model, example=X)
    assert roles(table) == [("c", "stem"), ("b", "block"), ("a", "head")]


def test_a_perceptron_of_lists() -> None:
    body = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
    table = layers(Model(lambda self, x: self.top(self.body(x)), top=nn.Linear(4, 1), body=body), example=X)
    assert depths(table) == {"body.0": 0, "body.2": 1, "body.4": 2, "top": 3}


def test_a_model_in_one_list() -> None:
    """A stem and a head in the list of the blocks are none of them."""
    model = nn.Sequential(nn.Embedding(9, 4), Block(), Block(), Block(), nn.LayerNorm(4), nn.Linear(4, 2))
    table = layers(model, example=IDS)
    assert [(row.depth, row.role) for row in table] == [
        (0, "stem"),
        (1, "block"),
        (2, "block"),
        (3, "block"),
        (4, "norm"),
        (5, "head"),
    ]


def test_what_follows_a_norm_is_after_it_and_what_leads_to_it_before() -> None:
    model = Model(
        lambda self, x: self.z(self.norm(self.mix(through(self.h, x)))),
        norm=nn.LayerNorm(4),
        z=nn.Linear(4, 2),
        mix=nn.Linear(4, 4),
        h=blocks(2),
    )
    table = found(layers(model, example=X))
    assert [table[f"{name}.weight"][1] for name in ("mix", "norm", "z")] == [3, 3, 4]


def test_one_block() -> None:
    model = Model(lambda self, x: self.out(through(self.h, x)), out=nn.Linear(4, 2), h=blocks(1))
    assert depths(layers(model, example=X))["h.0.up"] == 1


# ---- Blocks in the module tree


def test_stages_and_what_is_between_them() -> None:
    class Stage(nn.Module):
        def __init__(self, count: int, first: bool) -> None:
            super().__init__()
            self.blocks = blocks(count)
            self.down = None if first else nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            return through(self.blocks, x if self.down is None else self.down(x))

    model = Model(
        lambda self, x: self.y(through(self.s, self.x(x))),
        y=nn.Linear(4, 2),
        s=nn.ModuleList([Stage(2, True), Stage(3, False)]),
        x=nn.Linear(4, 4),
    )
    table = depths(layers(model, example=X))
    assert [table[f"s.{stage}.blocks.{block}.up"] for stage, block in ((0, 0), (0, 1), (1, 0), (1, 2))] == [1, 2, 3, 5]
    assert table["s.1.down"] == 3
    assert (table["x"], table["y"]) == (0, 6)


def test_lists_beside_the_blocks_go_with_them() -> None:
    """An adapter for each block, in a list of its own, runs after it."""

    def run(self: Any, x: Tensor) -> Tensor:
        for block, adapter in zip(self.b, self.a, strict=True):
            x = adapter(block(x))
        return x

    adapters = nn.ModuleList([nn.Sequential(nn.Linear(4, 1), nn.ReLU(), nn.Linear(1, 4)) for _ in range(3)])
    table = depths(layers(Model(run, b=blocks(3), a=adapters), example=X))
    assert [table[f"b.{index}.up"] for index in range(3)] == [1, 2, 3]
    assert [table[f"a.{index}.0"] for index in range(3)] == [1, 2, 3]


def test_experts_are_no_blocks() -> None:
    class Experts(Block):
        def __init__(self) -> None:
            super().__init__()
            self.gate = nn.Linear(4, 3)
            self.experts = nn.ModuleList([nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)) for _ in range(3)])

        def forward(self, x: Tensor) -> Tensor:
            weights = self.gate(x).softmax(-1)
            return super().forward(x) + sum(
                weights[..., index : index + 1] * expert(x) for index, expert in enumerate(self.experts)
            )

    model = Model(lambda self, x: through(self.h, x), h=nn.ModuleList([Experts(), Experts()]))
    table = depths(layers(model, example=X))
    assert {table[f"h.0.experts.{index}.0"] for index in range(3)} == {1}
    assert table["h.1.experts.2.0"] == 2


def test_experts_that_no_token_reaches_are_in_their_block() -> None:
    class Routed(Block):
        def __init__(self) -> None:
            super().__init__()
            self.experts = nn.ModuleList([nn.Linear(4, 4) for _ in range(3)])

        def forward(self, x: Tensor) -> Tensor:
            return self.experts[int(x.mean() > 0)](super().forward(x))

    model = Model(lambda self, x: through(self.h, x), h=nn.ModuleList([Routed(), Routed()]))
    table = layers(model, example=X)
    assert found(table)["h.1.experts.2.weight"] == ("", 2, "block")


def test_a_block_that_runs_again_and_again() -> None:
    """ALBERT's: one block, executed several times."""
    model = Model(
        lambda self, x: self.o(self.b(self.b(self.b(self.i(x))))), o=nn.Linear(4, 2), b=Block(), i=nn.Linear(4, 4)
    )
    table = depths(layers(model, example=X))
    assert table["i"] < table["b.up"] <= table["b.down"] < table["o"]


def test_blocks_in_a_loop_keep_the_order_of_their_first_round() -> None:
    model = Model(lambda self, x: self.o(through(self.h, through(self.h, x))), o=nn.Linear(4, 2), h=blocks(3))
    table = depths(layers(model, example=X))
    assert [table[f"h.{index}.up"] for index in range(3)] == [1, 2, 3]
    assert table["o"] == 4


def test_down_middle_and_up() -> None:
    """A UNet: what goes up reads what went down."""

    def run(self: Any, x: Tensor, time: Tensor) -> Tensor:
        time = self.time(time)
        kept = []
        x = self.start(x)
        for block in self.down:
            x = block(x + time)
            kept.append(x)
        x = self.mid(x)
        for block in self.up:
            x = block(x + kept.pop() + time)
        return self.finish(x)

    model = Model(
        run,
        finish=nn.Linear(4, 4),
        up=blocks(2),
        mid=Block(),
        down=blocks(2),
        start=nn.Linear(4, 4),
        time=nn.Linear(4, 4),
    )
    table = depths(layers(model, example=(X, X)))
    order = ["start", "down.0.up", "down.1.up", "mid.up", "up.0.up", "up.1.up", "finish"]
    assert [table[name] for name in order] == list(range(7))
    assert table["time"] == 0


def test_blocks_of_a_stage_that_makes_its_input_smaller_with_a_list() -> None:
    """As in FastViT and SHViT of timm: each stage has two lists, one after the other, and one of them is its blocks."""

    class Stage(nn.Module):
        def __init__(self, count: int, *, has_smaller: bool) -> None:
            super().__init__()
            self.blocks = blocks(count)
            self.smaller = nn.Sequential(Block(), Block()) if has_smaller else nn.Identity()

        def forward(self, x: Tensor) -> Tensor:
            return through(self.blocks, self.smaller(x))

    stages = nn.Sequential(Stage(3, has_smaller=False), Stage(6, has_smaller=True), Stage(4, has_smaller=True))
    model = Model(lambda self, x: self.o(self.s(self.i(x))), o=nn.Linear(4, 2), s=stages, i=nn.Linear(4, 4))
    table = depths(layers(model, example=X))
    order = [f"s.{stage}.blocks.{block}.up" for stage, count in enumerate((3, 6, 4)) for block in range(count)]
    assert all(table[one] < table[other] for one, other in pairwise(order))
    assert table["s.0.blocks.2.up"] < table["s.1.smaller.0.up"] <= table["s.1.blocks.0.up"]
    assert table["i"] == 0
    assert table["o"] == max(table.values())


# ---- Towers


def test_towers_that_are_independent() -> None:
    model = Model(
        lambda self, one, other: (self.p(through(self.v, one)) @ self.q(through(self.w, other)).T) * self.scale.exp(),
        v=blocks(2),
        w=blocks(3),
        p=nn.Linear(4, 2),
        q=nn.Linear(4, 2),
        scale=nn.Parameter(torch.zeros(())),
    )
    table = found(layers(model, example=(X, X)))
    assert {name.partition(".")[0]: tower for name, (tower, _, _) in table.items()} == {
        "v": "v",
        "w": "w",
        "p": "v",
        "q": "w",
        "scale": "w",
    }
    assert table["p.weight"] == ("v", 3, "head")
    assert table["q.weight"] == ("w", 4, "head")


def test_towers_of_perceptrons() -> None:
    def body() -> nn.Module:
        return nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))

    model = Model(
        lambda self, one, other: self.join(self.a(one) * self.b(other)), join=nn.Linear(4, 1), a=body(), b=body()
    )
    table = found(layers(model, example={"one": X, "other": X}))
    assert [table[f"a.{index}.weight"][:2] for index in (0, 2)] == [("a", 0), ("a", 1)]
    assert [table[f"b.{index}.weight"][:2] for index in (0, 2)] == [("b", 0), ("b", 1)]
    assert table["join.weight"] == ("b", 2, "head")


def test_encoder_and_decoder() -> None:
    """A decoder has an input of its own, and reads the encoder's output in every block."""

    def run(self: Any, source: Tensor, target: Tensor) -> Tensor:
        memory = self.norm(through(self.first, self.words(source)))
        x = self.words(target)
        for block in self.second:
            x = block(x, memory)
        return self.out(x)

    model = Model(
        run,
        out=nn.Linear(4, 9),
        second=nn.ModuleList([Cross(), Cross()]),
        first=blocks(2),
        norm=nn.LayerNorm(4),
        words=nn.Embedding(9, 4),
    )
    table = found(layers(model, example=(IDS, IDS)))
    assert table["words.weight"] == ("first", 0, "stem")
    assert table["first.1.up.weight"] == ("first", 2, "block")
    assert table["norm.weight"] == ("first", 3, "norm")
    assert table["second.0.up.weight"] == ("second", 1, "block")
    assert table["out.weight"] == ("second", 3, "head")


def test_a_stack_that_continues_another_one() -> None:
    """All that the second one gets comes from the first, at its beginning: one tower, in two modules."""
    front = Model(lambda self, x: through(self.conv, x), conv=blocks(2))
    back = Model(lambda self, x: through(self.layer, x), layer=blocks(3))
    model = Model(
        lambda self, x: self.o(self.back(self.middle(self.front(x)))),
        o=nn.Linear(4, 2),
        back=back,
        front=front,
        middle=nn.Linear(4, 4),
    )
    table = depths(layers(model, example=X))
    assert [table[f"front.conv.{index}.up"] for index in range(2)] == [1, 2]
    assert [table[f"back.layer.{index}.up"] for index in range(3)] == [3, 4, 5]
    assert table["middle"] == 3
    assert table["o"] == 6


def test_a_tower_that_leads_into_one_with_an_input_of_its_own() -> None:
    """A picture goes into a language model: two towers, and what projects it is the head of the first."""
    model = Model(
        lambda self, ids, picture: self.lm(
            through(self.text, torch.cat([self.lead(through(self.eye, picture)), self.words(ids)]))
        ),
        lm=nn.Linear(4, 9),
        text=blocks(2),
        eye=blocks(2),
        lead=nn.Linear(4, 4),
        words=nn.Embedding(9, 4),
    )
    table = found(layers(model, example=(torch.ones(2, dtype=torch.long), X)))
    assert table["lead.weight"] == ("eye", 3, "head")
    assert table["words.weight"] == ("text", 0, "stem")
    assert table["lm.weight"] == ("text", 3, "head")


def test_twins_share_one_tower() -> None:
    """A Siamese network runs one stack twice, on two inputs."""
    model = Model(
        lambda self, one, other: self.d(torch.cat([through(self.h, self.e(one)), through(self.h, self.e(other))], 1)),
        d=nn.Linear(8, 1),
        h=blocks(2),
        e=nn.Linear(4, 4),
    )
    table = depths(layers(model, example=(X, X)))
    assert [table[name] for name in ("e", "h.0.up", "h.1.up", "d")] == [0, 1, 2, 3]


def test_an_auxiliary_head_is_a_head() -> None:
    def run(self: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.h[0](x)
        early = self.aux(x)
        return self.main(self.h[1](x)), early

    model = Model(run, main=nn.Linear(4, 2), aux=nn.Linear(4, 2), h=blocks(2))
    table = found(layers(model, example=X))
    assert table["aux.weight"] == table["main.weight"] == ("", 3, "head")


def test_an_auxiliary_head_of_training_only() -> None:
    def run(self: Any, x: Tensor) -> tuple[Tensor, Tensor | None]:
        x = self.h[0](x)
        early = self.aux(x) if self.training else None
        return self.main(self.h[1](x)), early

    model = Model(run, main=nn.Linear(4, 2), aux=nn.Linear(4, 2), h=blocks(2)).eval()
    table = layers(model, example=X)
    assert found(table)["aux.weight"] == ("", 3, "head")
    assert not any(row.guess for row in table)


def test_norms_of_stages_go_with_them() -> None:
    def run(self: Any, x: Tensor) -> list[Tensor]:
        results = []
        for block, norm in zip(self.h, (self.norm0, self.norm1, self.norm2), strict=True):
            x = block(x)
            results.append(norm(x))
        return results

    model = Model(run, **{f"norm{index}": nn.LayerNorm(4) for index in range(3)}, h=blocks(3))
    table = found(layers(model, example=X))
    assert [table[f"norm{index}.weight"][1] for index in range(3)] == [1, 2, 4]


# ---- How parameters are used


class Functional(nn.Module):
    """A block whose modules are never called."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(nn.functional.linear(x, self.a.weight, self.a.bias), self.b.weight, self.b.bias)


def test_parameters_that_functions_read() -> None:
    model = Model(lambda self, x: through(self.h, x), h=nn.ModuleList([Functional(), Functional()]))
    table = depths(layers(model, example=X))
    assert [table[f"h.{index}.b"] for index in range(2)] == [1, 2]


def test_a_list_of_parameters() -> None:
    model = Model(
        lambda self, x: functools.reduce(lambda value, weight: value @ weight, reversed(self.w), x),
        w=nn.ParameterList([torch.ones(4, 4) for _ in range(3)]),
    )
    table = layers(model, example=X)
    assert [row.parameters for row in table] == [("w.2",), ("w.1",), ("w.0",)]


def test_attention_is_in_its_block() -> None:
    model = nn.Sequential(
        nn.Linear(4, 4), nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2, 8, batch_first=True), 3)
    )
    table = layers(model, example=torch.ones(2, 3, 4))
    assert found(table)["1.layers.2.self_attn.in_proj_weight"] == ("", 3, "block")
    assert not any(row.guess for row in table)


def test_tied_weights_are_where_they_are_used_first() -> None:
    model = Model(
        lambda self, ids: self.lm(through(self.h, self.words(ids))),
        lm=nn.Linear(4, 9, bias=False),
        h=blocks(2),
        words=nn.Embedding(9, 4),
    )
    model.words.weight = model.lm.weight
    table = found(layers(model, example=IDS))
    assert table["lm.weight"] == ("", 0, "stem")


@pytest.mark.parametrize("normed", [nn.utils.parametrizations.weight_norm, nn.utils.parametrizations.spectral_norm])
def test_parametrizations(normed: Callable[[nn.Module], nn.Module]) -> None:
    model = Model(lambda self, x: self.o(through(self.h, x)), o=normed(nn.Linear(4, 2)), h=blocks(2))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    table = layers(model, example=X)
    assert {depth for name, (_, depth, _) in found(table).items() if name.startswith("o.")} == {3}
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_what_is_written_through_a_view() -> None:
    def run(self: Any, x: Tensor) -> Tensor:
        whole = torch.zeros(2, 2, 4)
        whole[0] = self.h[0](x)
        whole[1] = whole[0]
        return self.h[1](whole[1])

    table = depths(layers(Model(run, h=blocks(2)), example=X))
    assert [table[f"h.{index}.up"] for index in range(2)] == [1, 2]


def test_frozen_and_quantized_parameters_keep_their_places() -> None:
    class Quantized(Block):
        def __init__(self) -> None:
            super().__init__()
            self.codes = nn.Parameter(torch.ones(4, 4, dtype=torch.int8), requires_grad=False)

        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) @ self.codes.to(x.dtype)

    model = Model(lambda self, x: self.o(through(self.h, x)), o=nn.Linear(4, 2), h=nn.ModuleList([Quantized()] * 1))
    model.h.append(Quantized())
    model.h.requires_grad_(False)
    table = found(layers(model, example=X))
    assert table["h.1.codes"] == ("", 2, "block")
    assert table["o.weight"] == ("", 3, "head")


def test_adapters_inside_of_blocks() -> None:
    """LoRA, as peft nests it."""

    class LoRA(nn.Module):
        def __init__(self, base: nn.Linear) -> None:
            super().__init__()
            self.base_layer = base.requires_grad_(False)
            self.lora_A = nn.ModuleDict({"default": nn.Linear(base.in_features, 1, bias=False)})
            self.lora_B = nn.ModuleDict({"default": nn.Linear(1, base.out_features, bias=False)})

        def forward(self, x: Tensor) -> Tensor:
            return self.base_layer(x) + self.lora_B["default"](self.lora_A["default"](x))

    model = Model(lambda self, x: self.o(through(self.h, x)), o=nn.Linear(4, 2), h=blocks(2))
    for block in model.h:
        block.up = LoRA(block.up)
    table = found(layers(model, example=X))
    assert table["h.1.up.lora_B.default.weight"] == table["h.1.up.base_layer.weight"] == ("", 2, "block")


def test_a_forward_pass_that_takes_derivatives() -> None:
    def run(self: Any, x: Tensor) -> Tensor:
        x = x.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(self.o(through(self.h, x)).sum(), x)
        return gradient

    model = Model(run, o=nn.Linear(4, 2), h=blocks(2))
    table = depths(layers(model, example=X))
    assert [table[name] for name in ("h.0.up", "h.1.up", "o")] == [1, 2, 3]
    assert all(param.grad is None for param in model.parameters())


def test_a_forward_pass_that_looks_at_values() -> None:
    """It cannot run without computing."""
    model = Model(lambda self, x: self.o(self.h[1](x)) if (x := self.h[0](x)).sum() > -1e9 else x, o=nn.Linear(4, 2))
    model.h = blocks(2)
    table = depths(layers(model, example=X))
    assert [table[name] for name in ("h.0.up", "h.1.up", "o")] == [1, 2, 3]


def test_on_the_meta_device() -> None:
    with torch.device("meta"):
        model = Model(lambda self, ids: through(self.h, self.e(ids + torch.arange(3))), e=nn.Embedding(9, 4))
        model.h = blocks(2)
    table = depths(layers(model, example=IDS))
    assert [table[name] for name in ("e", "h.0.up", "h.1.up")] == [0, 1, 2]


# ---- What was not used


def test_what_is_not_used_is_placed_by_its_name_and_is_a_guess() -> None:
    model = Model(lambda self, x: self.o(through(self.h, x)), o=nn.Linear(4, 2), h=blocks(2), pooler=nn.Linear(4, 4))
    table = layers(model, example=X)
    guesses = [row for row in table if row.guess]
    assert [(row.parameters, row.depth, row.role) for row in guesses] == [(("pooler.weight", "pooler.bias"), 3, "head")]
    assert "does not use it" in guesses[0].reason
    with pytest.warns(UserWarning, match="pooler"):
        AdamW(model, layers=table, layer_decay=0.5)


def test_what_is_not_used_in_a_block_is_there() -> None:
    model = Model(lambda self, x: through(self.h, x), h=nn.ModuleList([Cross(), Cross()]))
    table = found(layers(model, example=X))
    assert table["h.1.key.weight"] == ("", 2, "block")


def test_what_is_beside_everything_is_a_guess() -> None:
    model = Model(lambda self, x: through(self.h, x) + self.wide(x), wide=nn.Linear(4, 4), h=blocks(2))
    rows = [row for row in layers(model, example=X) if "wide.weight" in row.parameters]
    assert [(row.guess, row.role) for row in rows] == [(True, "head")]


# ---- The example, and everything as it was


@pytest.mark.parametrize(
    "example",
    [X, (X,), [X], {"x": X}, {"x": X, "scale": 2.0}, (X, 2.0)],
    ids=["tensor", "tuple", "list", "mapping", "mapping with a number", "tuple with a number"],
)
def test_examples(example: Any) -> None:
    def run(self: Any, x: Tensor, scale: float = 1.0) -> Tensor:
        return through(self.h, x * scale)

    assert depths(layers(Model(run, h=blocks(2)), example=example))["h.1.up"] == 2


def test_an_example_of_another_mapping() -> None:
    from transformers import BatchEncoding

    model = Model(lambda self, input_ids: through(self.h, self.e(input_ids)), e=nn.Embedding(9, 4), h=blocks(2))
    assert depths(layers(model, example=BatchEncoding({"input_ids": IDS})))["e"] == 0


def everything(model: nn.Module) -> Iterator[Any]:
    yield torch.get_rng_state().tolist()
    yield random.getstate()
    yield str(np.random.get_state())
    yield torch.is_grad_enabled()
    yield torch.backends.mha.get_fastpath_enabled()
    for module in model.modules():
        yield module.training
        yield sorted(module.__dict__)
        yield [len(hooks) for hooks in (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks)]
    for tensor in [*model.parameters(), *model.buffers()]:
        yield id(tensor)
        yield tensor.tolist()
        yield tensor.requires_grad
        yield None if tensor.grad is None else (id(tensor.grad), tensor.grad.tolist())


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("computes", [False, True])
def test_everything_is_as_it_was(fails: bool, computes: bool) -> None:
    def run(self: Any, x: Tensor) -> Tensor:
        self.calls = self.calls + 1
        self.count += 1
        self.kept = self.norm(through(self.h, x + torch.rand(4)))
        random.random()
        np.random.rand()
        if computes:
            self.kept.sum().item()
        if fails:
            raise ZeroDivisionError
        return self.kept

    model = Model(run, h=blocks(2), norm=nn.BatchNorm1d(4))
    model.calls = 0
    model.register_buffer("count", torch.zeros(()))
    model.h[1].eval()
    model.h[0].register_forward_hook(lambda module, args, result: result)
    model.norm.weight.grad = torch.ones(4)
    model.h[0].up.requires_grad_(False)
    x = torch.ones(3, 4)
    before = list(everything(model))
    if fails:
        with pytest.raises(ZeroDivisionError):
            layers(model, example=x)
    else:
        layers(model, example=x)
    assert list(everything(model)) == before
    assert model.calls == 0
    assert torch.equal(x, torch.ones(3, 4))


def test_nothing_is_left_in_caches_of_functions() -> None:
    @functools.lru_cache
    def table(weight: nn.Parameter) -> Tensor:
        return weight * 2

    model = Model(lambda self, x: through(self.h, x) @ table(self.w), w=nn.Parameter(torch.eye(4)), h=blocks(2))
    layers(model, example=X)
    assert not model(X).is_meta


def test_a_model_of_which_nothing_is_computed() -> None:
    """A weight of a terabyte is watched."""
    model = Model(lambda self, x: self.o(through(self.h, x)), o=nn.Linear(4, 2), h=blocks(2))
    model.o.weight = nn.Parameter(torch.ones(1).expand(1 << 38, 4), requires_grad=False)
    model.o.bias = None
    assert depths(layers(model, example=X))["o"] == 3


# ---- What takes the table


def test_the_table_is_taken_for_layers() -> None:
    model = Model(
        lambda self, x: self.embedding(through(reversed(self.layer), self.head(x))),
        embedding=nn.Linear(4, 2),
        layer=blocks(2),
        head=nn.Linear(4, 4),
    )
    table = layers(model, example=X)
    expected = {"head": 0.125, "layer.1": 0.25, "layer.0": 0.5, "embedding": 1.0}
    optimizer = AdamW(model, lr=1.0, layers=table, layer_decay=0.5)
    assert {row["layer"]: row["scale"] for row in optimizer.native.explain_rows()} == expected
    optimizer = AdamW(param_groups(model, layers=table), lr=1.0, layer_decay=0.5)
    assert {row["layer"]: row["scale"] for row in optimizer.native.explain_rows()} == expected
    groups = param_groups(model, layers=table, policy=lw.LayerDecay(0.5), lr=1.0)
    assert sorted(group["lr"] for group in groups) == sorted(expected.values())
    plain = torch.optim.SGD(model.parameters(), lr=1.0)
    LayerRates(plain, model, layers=table, layer_decay=0.5)
    rates = {id(param): group["lr"] for group in plain.param_groups for param in group["params"]}
    assert rates[id(model.head.weight)] == 0.125
    assert rates[id(model.embedding.weight)] == 1.0


def test_a_table_of_another_model() -> None:
    table = layers(Model(lambda self, x: through(self.h, x), h=blocks(2)), example=X)
    with pytest.raises(lw.InvalidArgument, match=r'no parameter "o\.weight"'):
        AdamW(Model(lambda self, x: x, h=blocks(2), o=nn.Linear(4, 4)), layers=table)


def test_rules_go_before_what_is_seen() -> None:
    model = Model(lambda self, x: self.o(through(self.h, x)), o=nn.Linear(4, 2), h=blocks(2))
    table = layers(
        model,
        example=X,
        rules={"h.0.norm.*": 0, "*.bias": {"scale": 2.0}, "h.?.up.weight": "ups", "o.weight": {"role": "norm"}},
    )
    rows = {name: row for row in table for name in row.parameters}
    assert (rows["h.0.norm.bias"].depth, rows["h.0.norm.bias"].scale) == (0, None)
    assert (rows["h.1.down.bias"].depth, rows["h.1.down.bias"].scale) == (2, 2.0)
    assert rows["h.0.up.weight"] is rows["h.1.up.weight"]
    assert (rows["h.0.up.weight"].name, rows["h.0.up.weight"].depth) == ("ups", 1)
    assert (rows["o.weight"].role, rows["o.weight"].depth) == ("norm", 3)
    assert rows["h.1.down.weight"].name == "h.1"
    assert len({row.name for row in table}) == len(table)
    with pytest.raises(lw.UnknownName, match="nothing"):
        layers(model, example=X, rules={"nothing": 0})


def test_refused() -> None:
    with pytest.raises(lw.InvalidArgument, match="only a module can be run"):
        layers([("w", nn.Parameter(torch.ones(1)))], example=X)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        layers(nn.Linear(3, 2), example=X)


def test_wrappers_do_not_matter() -> None:
    model = Model(lambda self, x: self.o(through(self.h, x)), o=nn.Linear(4, 2), h=blocks(2))
    plain = found(layers(model, example=X))
    assert found(layers(nn.DataParallel(model), example=X)) == plain
    assert found(layers(torch.compile(model), example=X)) == plain


def test_linear_in_the_number_of_parameters() -> None:
    """What is counted and not timed: the nodes that are noted, for ten times the blocks."""
    from layerwise.torch import _watching

    counts = []
    for count in (5, 50):
        model = Model(lambda self, x: through(self.h, x), h=blocks(count))
        counts.append(len(_watching.watch(model, list(model.parameters()), X).parents))
    assert counts[1] < 11 * counts[0]


def test_a_mask_that_picks_rows_needs_no_computing() -> None:
    """How many rows it picks says the shape of what follows; BART picks the end of a sentence."""

    def run(self: Any, ids: Tensor) -> Tensor:
        return self.o(through(self.h, self.e(ids))[ids == 2].reshape(1, 4))

    model = Model(run, o=nn.Linear(4, 2), h=blocks(2), e=nn.Embedding(9, 4)).to("meta")
    assert depths(layers(model, example=IDS))["o"] == 3


def test_a_scripted_module_is_refused() -> None:
    with pytest.raises(lw.InvalidArgument, match="scripted"):
        layers(torch.jit.script(nn.Linear(4, 4)), example=X)
