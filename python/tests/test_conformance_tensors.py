# SPDX-License-Identifier: Apache-2.0
"""Rates and decays of single tensors equal those of mup 1.0.0 and of PEFT 0.21.2, which are not installed.

What they give a tensor is written out here, with the file that it comes from, and torch's optimizers (2.13.0) step with
it: the weights after some steps are the same.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from support.material import distance, norm

import layerwise as lw

LR, WEIGHT_DECAY = 0.01, 0.2
STEPS = 20

Shapes = dict[str, tuple[int, ...]]
Given = dict[str, tuple[float, float]]
"""The rate and the decay of each tensor."""


def assert_same_steps(
    kind: str, options: dict[str, Any], shapes: Shapes, given: Given, policy: lw.Policy, layers: dict[str, list[str]]
) -> None:
    """torch's optimizer with a group for each tensor, and ours with the policy, end with the same weights."""
    generator = torch.Generator().manual_seed(2)
    start = {name: torch.randn(shape, dtype=torch.float64, generator=generator) for name, shape in shapes.items()}
    ours = {name: weights.clone() for name, weights in start.items()}
    theirs = {name: torch.nn.Parameter(weights.clone()) for name, weights in start.items()}
    groups = [{"params": [theirs[name]], "lr": lr, "weight_decay": decay} for name, (lr, decay) in given.items()]
    twin = getattr(torch.optim, kind)(groups, foreach=False, **options)
    opt = lw.Optimizer(getattr(lw, kind)(lr=LR, weight_decay=WEIGHT_DECAY, **options), policy=policy)
    for layer, names in layers.items():
        opt.add_layer(layer, {name: ours[name] for name in names})
    for _ in range(STEPS):
        gradients = {
            name: torch.randn(shape, dtype=torch.float64, generator=generator) for name, shape in shapes.items()
        }
        for name, parameter in theirs.items():
            parameter.grad = gradients[name].clone()
        twin.step()
        opt.step({layer: {name: gradients[name] for name in names} for layer, names in layers.items()})
    for name, expected in theirs.items():
        # Each step rounds a weight by up to 1.1e-16 of itself, which counts where the rate is 1e-6.
        bound = 1e-12 * distance(expected.detach(), start[name]) + 1e-15 * norm(start[name])
        assert distance(ours[name], expected.detach()) <= bound, name


# ---- mup

WIDE: Shapes = {
    "embedding": (11, 96),
    "hidden.weight": (128, 96),
    "hidden.bias": (128,),
    "narrow.weight": (32, 128),
    "conv.weight": (64, 32, 3, 3),
    "output.weight": (10, 64),
    "output.bias": (10,),
}
BASE: dict[str, tuple[int | None, ...]] = {
    "embedding": (None, 24),
    "hidden.weight": (16, 24),
    "hidden.bias": (16,),
    "narrow.weight": (8, 16),
    "conv.weight": (8, 8, None, None),
    "output.weight": (None, 8),
    "output.bias": (None,),
}
"""The shapes of the base model; None where a dimension does not depend on the width (mup's InfShape)."""

MODEL = {
    "embedding": ["embedding"],
    "hidden": ["hidden.weight", "hidden.bias", "narrow.weight", "conv.weight"],
    "output": ["output.weight", "output.bias"],
}


def widths(name: str) -> list[float]:
    """mup/infshape.py, `InfDim.width_mult`, of the dimensions that depend on the width."""
    return [extent / base for extent, base in zip(WIDE[name], BASE[name], strict=True) if base is not None]


def mu_adam(name: str) -> tuple[float, float]:
    """mup/optim.py, `MuAdam`; `InfShape.width_mult` is that of the last such dimension: the fan-in of a matrix."""
    mult = widths(name)[-1] if len(widths(name)) == 2 else 1.0
    return LR / mult, WEIGHT_DECAY * mult


def mu_sgd(name: str) -> tuple[float, float]:
    """mup/optim.py, `MuSGD`; infshape.py, `InfShape.fanin_fanout_mult_ratio`."""
    found = widths(name)
    scale = {0: 1.0, 1: found[0] if found else 1.0, 2: found[0] / found[-1] if found else 1.0}[len(found)]
    return LR * scale, WEIGHT_DECAY / scale


BASES = {
    "*/embedding": (24, 0),
    "*/hidden.weight": (24, 16),
    "*/hidden.bias": (0, 16),
    "*/narrow.weight": (16, 8),
    "*/conv.weight": (8, 8),
    "*/output.weight": (8, 0),
}
"""Fan-in and fan-out of the base model, as `MuP` takes them."""

MUP: dict[str, tuple[str, dict[str, Any], Callable[[str], tuple[float, float]], dict[str, Any]]] = {
    "MuAdam": ("Adam", {"betas": (0.8, 0.95)}, mu_adam, {"family": "adam"}),
    "MuAdamW": ("AdamW", {}, mu_adam, {"family": "adam"}),
    # An option that mup has had since: only the rates change.
    "MuAdamW, decoupled_wd": (
        "AdamW",
        {},
        lambda name: (mu_adam(name)[0], WEIGHT_DECAY),
        {"family": "adam", "decoupled_decay": True},
    ),
    "MuSGD": ("SGD", {"momentum": 0.7}, mu_sgd, {"family": "sgd"}),
}


@pytest.mark.parametrize(("kind", "options", "given", "settings"), MUP.values(), ids=MUP)
def test_mup(
    kind: str, options: dict[str, Any], given: Callable[[str], tuple[float, float]], settings: dict[str, Any]
) -> None:
    assert_same_steps(kind, options, WIDE, {name: given(name) for name in WIDE}, lw.MuP(BASES, **settings), MODEL)


def test_numbers_of_mup() -> None:
    """Rates over `LR` and decays over `WEIGHT_DECAY` that mup 1.0.0 itself has put into the groups of these tensors."""
    adam = {"hidden.weight": 4.0, "narrow.weight": 8.0, "conv.weight": 4.0}
    sgd = {
        "embedding": 4.0,
        "hidden.weight": 2.0,
        "hidden.bias": 8.0,
        "narrow.weight": 0.5,
        "conv.weight": 2.0,
        "output.weight": 8.0,
    }
    for name in WIDE:
        divisor, factor = adam.get(name, 1.0), sgd.get(name, 1.0)
        assert mu_adam(name) == pytest.approx((LR / divisor, WEIGHT_DECAY * divisor), rel=1e-15)
        assert mu_sgd(name) == pytest.approx((LR * factor, WEIGHT_DECAY / factor), rel=1e-15)


# ---- LoRA+


def loraplus(name: str, shape: tuple[int, ...], ratio: float) -> tuple[float, float]:
    """peft/optimizers/loraplus.py, `create_loraplus_optimizer`.

    lora_B and vectors have the rate of B, biases no decay, and the matrices of an adapted embedding a rate of 1e-6.
    """
    if "lora_embedding" in name:
        return 1e-6, WEIGHT_DECAY
    rate = LR * ratio if "lora_B" in name or len(shape) == 1 else LR
    return rate, 0.0 if "bias" in name else WEIGHT_DECAY


LORA: Shapes = {
    "embed.lora_embedding_A.default": (4, 30),
    "embed.lora_embedding_B.default": (12, 4),
    "q_proj.lora_A.default.weight": (4, 12),
    "q_proj.lora_B.default.weight": (12, 4),
    "q_proj.lora_magnitude_vector.default.weight": (12,),
    "v_proj.lora_A.default.weight": (4, 12),
    "v_proj.lora_B.default.weight": (12, 4),
    "v_proj.bias": (12,),
}


@pytest.mark.parametrize("ratio", [16.0, 4.0])
@pytest.mark.parametrize("kind", ["AdamW", "SGD"])
def test_lora_plus(kind: str, ratio: float) -> None:
    layers = {layer: [name for name in LORA if name.startswith(layer)] for layer in ("embed", "q_proj", "v_proj")}
    policy = lw.Combine(
        lw.LoRAPlus(ratio),
        lw.Explicit(rates={"embed": 1e-6}, unmatched="keep"),
        lw.Exclude(["*bias*"], max_rank=-1, trust_ratio=False),
    )
    given = {name: loraplus(name, shape, ratio) for name, shape in LORA.items()}
    assert_same_steps(kind, {}, LORA, given, policy, layers)
