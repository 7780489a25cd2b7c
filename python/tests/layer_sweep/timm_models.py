# SPDX-License-Identifier: Apache-2.0
"""The models of timm, and its own groups."""

from collections.abc import Iterator
from typing import Any

import timm
import torch
from timm.models import group_parameters
from timm.models._registry import _module_to_models

from .compare import both_ways, inversion, places


def names(per_module: int) -> list[str]:
    """Some models of each of timm's modules, evenly over their names; all of them for 0."""
    found: list[str] = []
    for _, models in sorted(_module_to_models.items()):
        ordered = sorted(models)
        step = max(1, len(ordered) / per_module) if per_module else 1
        found += sorted(
            {ordered[int(index * step)] for index in range(per_module or len(ordered)) if index * step < len(ordered)}
        )
    return found


def look(name: str) -> dict[str, Any]:
    try:
        with torch.device("meta"):
            model = timm.create_model(name, pretrained=False)
    except (RuntimeError, NotImplementedError):
        # Some compute values when they are made.
        model = timm.create_model(name, pretrained=False)
    example = torch.zeros(2, *model.default_cfg.get("input_size", (3, 224, 224)))
    watched, found = both_ways(model, example)
    try:
        groups = group_parameters(model, model.group_matcher(coarse=False), reverse=True)
    except (AttributeError, NotImplementedError, TypeError):
        # It has none.
        groups = None
    if groups is not None:
        theirs = {parameter: ("", number) for parameter, number in groups.items()}
        one_tower = len({row.tower for row in watched}) == 1
        found["timm"] = {
            "watching": inversion(places(watched), theirs) if one_tower else ("several", "towers"),
            "names": inversion({key: (place[0], place[1]) for key, place in found["named"].items()}, theirs),
            "depths": [len(set(groups.values())), len({row.depth for row in watched})],
        }
    return found


def all_of(per_module: int) -> Iterator[tuple[str, Any]]:
    for name in names(per_module):
        yield name, lambda name=name: look(name)
