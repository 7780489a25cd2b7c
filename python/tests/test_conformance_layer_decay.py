# SPDX-License-Identifier: Apache-2.0
"""Layer decay, and what does not decay, of every tensor of a model as timm, BEiT, MAE and ELECTRA have it.

None of them is installed: what they make of a name is written out here, with the file that it comes from.  The layers
of a model are those that `infer_layers` finds, and once more set by hand.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import pytest
from support.conformance import assert_same

import layerwise as lw

BLOCKS = 12
DECAY, WEIGHT_DECAY = 0.65, 0.05

Shapes = dict[str, tuple[int, ...]]


def vit(*, final: str | None = "norm", head: bool = True, blocks: int = BLOCKS) -> Shapes:
    """A vision transformer as timm names it."""
    shapes: Shapes = {
        "cls_token": (1, 1, 8),
        "pos_embed": (1, 5, 8),
        "patch_embed.proj.weight": (8, 3, 4, 4),
        "patch_embed.proj.bias": (8,),
    }
    for block in range(blocks):
        for name, shape in {
            "norm1.weight": (8,),
            "norm1.bias": (8,),
            "attn.qkv.weight": (24, 8),
            "attn.qkv.bias": (24,),
            "attn.proj.weight": (8, 8),
            "ls1.gamma": (8,),
            "norm2.weight": (8,),
            "mlp.fc1.weight": (32, 8),
            "mlp.fc1.bias": (32,),
            "mlp.fc2.weight": (8, 32),
        }.items():
            shapes[f"blocks.{block}.{name}"] = shape
    if final:
        shapes |= {f"{final}.weight": (8,), f"{final}.bias": (8,)}
    if head:
        shapes |= {"head.weight": (10, 8), "head.bias": (10,)}
    return shapes


# ---- As others count


def timm(shapes: Shapes) -> dict[str, float]:
    """The stem, then a group for each block; the final norm joins the last block, and what has no group comes last.

    timm 1.0.31, models/vision_transformer.py `group_matcher`, models/_manipulate.py `group_with_matcher`, and
    optim/_param_groups.py `param_groups_layer_decay`.
    """

    def place(name: str) -> tuple[float, ...]:
        if re.match(r"^cls_token|reg_token|pos_embed|patch_embed|norm_pre", name):
            return (0,)
        if block := re.match(r"^blocks\.(\d+)", name):
            return (1, int(block[1]))
        return (1, math.inf) if name.startswith("norm") else (math.inf,)

    ids: dict[tuple[float, ...], int] = {}
    for group in sorted({place(name) for name in shapes}):
        ids[group] = len(set(ids.values())) - (group == (1, math.inf))
    top = max(ids.values())
    return {name: DECAY ** (top - ids[place(name)]) for name in shapes}


def beit(shapes: Shapes) -> dict[str, float]:
    """microsoft/unilm, beit/optim_factory.py `get_num_layer_for_vit`, with run_class_finetuning.py's values."""
    values = [DECAY ** (BLOCKS + 1 - layer) for layer in range(BLOCKS + 2)]

    def layer(name: str) -> int:
        if name in ("cls_token", "mask_token", "pos_embed") or name.startswith("patch_embed"):
            return 0
        return int(name.split(".")[1]) + 1 if name.startswith("blocks") else len(values) - 1

    return {name: values[layer(name)] for name in shapes}


def mae(shapes: Shapes) -> dict[str, float]:
    """facebookresearch/mae, util/lr_decay.py `param_groups_lrd` and `get_layer_id_for_vit`."""
    layers = BLOCKS + 1

    def layer(name: str) -> int:
        if name in ("cls_token", "pos_embed") or name.startswith("patch_embed"):
            return 0
        return int(name.split(".")[1]) + 1 if name.startswith("blocks") else layers

    return {name: DECAY ** (layers - layer(name)) for name in shapes}


def electra(shapes: Shapes) -> dict[str, float]:
    """google-research/electra, model/optimization.py `_get_layer_lrs`: a part of the name tells the depth."""
    depths = {"/embeddings/": 0, "/embeddings_project/": 0, "task_specific/": BLOCKS + 2}
    depths |= {f"encoder/layer_{layer}/": layer + 1 for layer in range(BLOCKS)}
    return {
        name: next(DECAY ** (BLOCKS + 2 - depth) for part, depth in depths.items() if part in name) for name in shapes
    }


def no_decay(shapes: Shapes) -> dict[str, float]:
    """timm, BEiT and MAE: neither vectors nor what the model's `no_weight_decay` names."""
    return {
        name: 0.0 if len(shape) <= 1 or name in ("cls_token", "pos_embed") else WEIGHT_DECAY
        for name, shape in shapes.items()
    }


# ---- As Layerwise counts

Layers = Mapping[str, tuple[str, Iterable[str]]]
"""Each layer's role and tensors."""


def by_hand(shapes: Shapes) -> Layers:
    layers: dict[str, tuple[str, list[str]]] = {}
    for name in shapes:
        block = re.match(r"blocks\.\d+|electra/encoder/layer_\d+", name)
        if block:
            layer, role = block[0], "block"
        elif name.startswith(("head", "task_specific", "fc_norm")):
            layer, role = "top", "head"
        elif name.startswith(("norm", "rel_pos_bias")):
            layer, role = name.split(".")[0], "norm"
        else:
            layer, role = "bottom", "stem"
        layers.setdefault(layer, (role, []))[1].append(name)
    return layers


def inferred(shapes: Shapes) -> Layers:
    names = list(shapes)
    return {layer.name: (layer.role, [names[index] for index in layer.tensors]) for layer in lw.infer_layers(names)}


def optimizer(policy: lw.Policy, shapes: Shapes, layers: Layers, **options: Any) -> lw.Optimizer:
    opt = lw.Optimizer(lw.AdamW(lr=1.0, weight_decay=WEIGHT_DECAY), policy=policy, dry_run=True, **options)
    for name, (role, tensors) in layers.items():
        opt.add_layer(name, {tensor: shapes[tensor] for tensor in tensors}, role=role)  # type: ignore[arg-type]
    return opt


def scales(opt: lw.Optimizer, layers: Layers) -> dict[str, float]:
    """The scale of every tensor."""
    rows = {row["layer"]: row["scale"] for row in opt.explain_rows()}
    return {tensor: rows[name] for name, (_, tensors) in layers.items() for tensor in tensors}


def assert_same_scales(found: dict[str, float], expected: dict[str, float]) -> None:
    assert found.keys() == expected.keys()
    assert_same([found[name] for name in expected], list(expected.values()))


def electra_model() -> Shapes:
    """google-research/electra's variables."""
    shapes: Shapes = {
        "electra/embeddings/word_embeddings": (99, 4),
        "electra/embeddings/LayerNorm/gamma": (4,),
        "electra/embeddings_project/kernel": (4, 8),
    }
    for layer in range(BLOCKS):
        shapes |= {
            f"electra/encoder/layer_{layer}/attention/self/query/kernel": (8, 8),
            f"electra/encoder/layer_{layer}/output/LayerNorm/gamma": (8,),
        }
    return shapes | {"task_specific/mnli/dense/kernel": (8, 3), "task_specific/mnli/dense/bias": (3,)}


CASES: dict[str, tuple[Callable[[Shapes], dict[str, float]], Shapes]] = {
    "timm": (timm, vit()),
    "timm, without a final norm": (timm, vit(final="fc_norm")),
    "timm, without a head": (timm, vit(head=False)),
    "timm, two blocks": (timm, vit(blocks=2)),
    "beit": (beit, vit()),
    "beit, mean pooling": (beit, vit(final="fc_norm")),
    "mae": (mae, vit()),
    "mae, mean pooling": (mae, vit(final="fc_norm")),
    "electra": (electra, electra_model()),
}


@pytest.mark.parametrize("find", [inferred, by_hand])
@pytest.mark.parametrize("case", CASES)
def test_scales_of_all_tensors(case: str, find: Callable[[Shapes], Layers]) -> None:
    expected, shapes = CASES[case]
    convention: Any = case.split(",")[0]
    layers = find(shapes)
    opt = optimizer(lw.LayerDecay(DECAY, convention=convention), shapes, layers)
    assert_same_scales(scales(opt, layers), expected(shapes))


def test_the_conventions_differ() -> None:
    """What the table of `LayerDecay` says."""
    layers = by_hand(vit())
    found = {}
    for convention in ("depth", "timm", "beit", "mae", "electra"):
        opt = optimizer(lw.LayerDecay(0.5, convention=convention), vit(), layers)
        powers = [-math.log2(row["scale"]) for row in opt.explain_rows()]
        found[convention] = [round(powers[index]) for index in (0, 1, BLOCKS, BLOCKS + 1, BLOCKS + 2)]
    assert found == {
        "depth": [14, 13, 2, 1, 0],
        "timm": [13, 12, 1, 1, 0],
        "beit": [13, 12, 1, 0, 0],
        "mae": [13, 12, 1, 0, 0],
        "electra": [14, 13, 2, 2, 0],
    }


def test_min_scale() -> None:
    """timm's min_scale."""
    layers = by_hand(vit())
    opt = optimizer(lw.LayerDecay(DECAY, min_scale=0.1, convention="timm"), vit(), layers)
    assert_same_scales(scales(opt, layers), {name: max(0.1, scale) for name, scale in timm(vit()).items()})


@pytest.mark.parametrize("find", [inferred, by_hand])
def test_decay_of_all_tensors(find: Callable[[Shapes], Layers]) -> None:
    shapes = vit()
    layers = find(shapes)
    exclude = lw.Exclude(["*/cls_token", "*/pos_embed"], trust_ratio=False)
    opt = optimizer(lw.Combine(lw.LayerDecay(DECAY, convention="timm"), exclude), shapes, layers)
    found: dict[str, float] = {}
    for row in opt.explain_rows():
        apart = {tensor["tensor"]: tensor["decay_scale"] * WEIGHT_DECAY for tensor in row["apart"]}
        found |= {tensor: apart.get(tensor, row["weight_decay"]) for tensor in layers[row["layer"]][1]}
    assert_same_scales(found, no_decay(shapes))
    assert_same_scales(scales(opt, layers), timm(shapes))


def test_a_bias_that_all_blocks_share() -> None:
    """BEiT gives its shared rel_pos_bias the rate of the head, timm (models/beit.py, `group_matcher`) that of the stem.

    `infer_layers` puts it into the stem; as a layer with the role norm it has BEiT's.
    """
    shapes = vit() | {"rel_pos_bias.relative_position_bias_table": (9, 2)}
    table = "rel_pos_bias.relative_position_bias_table"
    policy = lw.LayerDecay(DECAY, convention="beit")
    layers = by_hand(shapes)
    assert_same_scales(scales(optimizer(policy, shapes, layers), layers), beit(shapes))
    guessed = inferred(shapes)
    found = scales(optimizer(policy, shapes, guessed), guessed)
    assert (beit(shapes)[table], found.pop(table)) == pytest.approx((1.0, DECAY ** (BLOCKS + 1)))
    assert_same_scales(found, beit(vit()))


# ---- With their schedules


def test_rates_of_a_fine_tuning() -> None:
    """facebookresearch/mae, util/lr_sched.py `adjust_learning_rate`, and BEiT's: the cosine's floor is scaled too."""
    steps, warmup, lowest = 200, 25, 1e-3

    def rate(step: int) -> float:
        if step < warmup:
            return step / warmup
        return lowest + (1 - lowest) * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))

    layers = by_hand(vit())
    schedule = lw.Cosine(steps, warmup_steps=warmup, min_lr=lowest)
    opt = optimizer(lw.LayerDecay(DECAY, convention="mae"), vit(), layers, schedule=schedule)
    values = np.array([rate(step) for step in range(steps)])
    expected = [mae(vit())[next(iter(tensors))] * values for _, tensors in layers.values()]
    assert_same(np.asarray(opt.preview(steps)), expected)


def test_rates_of_electra() -> None:
    """google-research/electra, model/optimization.py `create_optimizer`: a line to 0 times the warm-up."""
    steps, warmup = 150, 15
    layers = by_hand(electra_model())
    opt = optimizer(
        lw.LayerDecay(DECAY, convention="electra"),
        electra_model(),
        layers,
        schedule=lw.Product(lw.Linear(steps), lw.Warmup(warmup)),
    )
    values = np.array([max(0.0, 1 - step / steps) * min(1.0, step / warmup) for step in range(steps + 10)])
    expected = [electra(electra_model())[next(iter(tensors))] * values for _, tensors in layers.values()]
    assert_same(np.asarray(opt.preview(steps + 10)), expected)
