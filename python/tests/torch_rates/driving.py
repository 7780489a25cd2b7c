# SPDX-License-Identifier: Apache-2.0
"""A model that all policies and plans can act on, and the plainest way to drive an optimizer by layer: by hand."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from layerwise.torch import LayerRates

Make = Callable[[Any], torch.optim.Optimizer]
WIDTH = 6
LAYERS = {"embed.*": 0, "block.0.*": 1, "block.1.*": 2, "norm.*": 3, "head.*": 4}
"""The depths: numbered modules that are plain layers are no blocks, so names alone leave them open."""


class Tower(nn.Module):
    """The layers of `support.recipes.LAYERS`, each with a weight of two dimensions and a bias."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(WIDTH, WIDTH)
        self.block = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(2))
        self.norm = nn.Linear(WIDTH, WIDTH)
        self.head = nn.Linear(WIDTH, WIDTH)

    def forward(self, values: Tensor) -> Tensor:
        values = self.embed(values)
        for block in self.block:
            values = values + torch.tanh(block(values))
        return self.head(self.norm(values))


def tower(dtype: torch.dtype = torch.float32) -> Tower:
    """The same numbers at each call, none of them 0."""
    generator = torch.Generator().manual_seed(7)
    model = Tower()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3 + 0.1)
    return model.to(dtype)


def inputs(count: int, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    generator = torch.Generator().manual_seed(8)
    return [torch.randn(5, WIDTH, generator=generator).to(dtype) for _ in range(count)]


def backward(model: nn.Module, values: Tensor) -> None:
    model(values).square().mean().backward()


def drive(model: nn.Module, optimizer: torch.optim.Optimizer, rates: LayerRates, data: Sequence[Tensor]) -> None:
    """The loop of the documentation."""
    for values in data:
        backward(model, values)
        optimizer.step()
        rates.step()
        optimizer.zero_grad()


def values_by_name(model: nn.Module, rates: LayerRates) -> dict[str, dict[str, Any]]:
    """What each parameter's group says now, and whether its layer rests."""
    frozen = {row["layer"]: row["frozen"] for row in rates.explain_rows()}
    group_of = {id(param): group for group in rates.optimizer.param_groups for param in group["params"]}
    found = {}
    for name, param in model.named_parameters():
        group = group_of[id(param)]
        layer = name.rsplit(".", 1)[0]
        found[name] = {
            "lr": float(group["lr"]),
            "weight_decay": float(group["weight_decay"]),
            "frozen": frozen[layer],
        } | ({"betas": group["betas"]} if "betas" in group else {})
    return found


def by_hand(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    rows: Sequence[dict[str, dict[str, Any]]],
    data: Sequence[Tensor],
) -> None:
    """Train with one group for each parameter, whose values are written before each step.

    Args:
        model: The model.
        optimizer: An optimizer with a group for each named parameter.
        rows: The values of each parameter at each step.
        data: A batch for each step.
    """
    for group in optimizer.param_groups:
        # torch gives all groups the one tensor.
        group["lr"] = group["lr"].clone() if isinstance(group["lr"], Tensor) else group["lr"]
    for row, values in zip(rows, data, strict=True):
        backward(model, values)
        for (name, param), group in zip(model.named_parameters(), optimizer.param_groups, strict=True):
            assert group["params"] == [param] or group["params"][0] is param
            own = dict(row[name])
            if own.pop("frozen"):
                param.grad = None
            rate = own.pop("lr")
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate
            group.update(own)
        optimizer.step()
        optimizer.zero_grad()


def groups_of(model: nn.Module, **values: Any) -> list[dict[str, Any]]:
    """A group for each parameter."""
    return [{"params": [param], **values} for param in model.parameters()]
