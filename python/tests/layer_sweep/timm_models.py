# SPDX-License-Identifier: Apache-2.0
"""The models of timm, and its own groups.

timm imports torchvision, for its data sets and for one class of norms that no model here has.  Where torchvision is not
installed, a stand-in takes its place, so that nothing but timm itself is needed.
"""

import hashlib
import importlib.util
import re
import sys
from collections.abc import Iterator
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from itertools import zip_longest
from types import ModuleType
from typing import Any

import torch
from torch import nn

from .compare import both_ways, inversion, places

LARGEST = 200_000_000
"""Parameters of a model that is made with values, where it cannot be made or run without."""


class _Named(type):
    """A class whose attributes are their own names, as those of an enumeration are enough for."""

    def __getattr__(cls, name: str) -> str:
        if name.startswith("__"):
            raise AttributeError(name)
        return name


class _StandIn(ModuleType):
    """Every name in it is a class of its own, which nothing is an instance of."""

    __path__: list[str] = []  # noqa: RUF012

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        made = _Named(name, (), {})
        setattr(self, name, made)
        return made


class _Finder(MetaPathFinder, Loader):
    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        return ModuleSpec(name, self, is_package=True) if name.partition(".")[0] == "torchvision" else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _StandIn(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        pass


if importlib.util.find_spec("torchvision") is None:
    sys.meta_path.append(_Finder())

import timm  # noqa: E402
from timm.models import group_parameters  # noqa: E402
from timm.models._registry import _module_to_models  # noqa: E402


def names(per_module: int) -> list[str]:
    """Some models of each of timm's modules, evenly over their names, or all of them for 0; the modules by turns.

    A run that is stopped has seen all modules.
    """
    columns: list[list[str]] = []
    for _, models in sorted(_module_to_models.items()):
        ordered = sorted(models)
        count = min(per_module or len(ordered), len(ordered))
        columns.append([ordered[index * len(ordered) // count] for index in range(count)])
    return [name for row in zip_longest(*columns) for name in row if name]


def made(name: str, device: str) -> nn.Module:
    with torch.device(device):
        return timm.create_model(name, pretrained=False)


def structure(model: nn.Module) -> str:
    """A digest of its module and of the names of its parameters without their numbers."""
    patterns = sorted({re.sub(r"\d+", "#", name) for name, _ in model.named_parameters()})
    return hashlib.sha256("\n".join([type(model).__module__, *patterns]).encode()).hexdigest()[:16]


def look(name: str, known: dict[str, str]) -> dict[str, Any]:
    """What there is to say of a model, unless one of its structure is known."""
    try:
        model = made(name, "meta")
        if (kind := structure(model)) in known:
            return {"like": known[kind]}
        watched, found = both_ways(model, example(model))
    except (RuntimeError, NotImplementedError):
        # Some compute values when they are made, or look at them when they run.
        model = made(name, "cpu")
        if (kind := structure(model)) in known:
            return {"like": known[kind]}
        if sum(param.numel() for param in model.parameters()) > LARGEST:
            raise
        watched, found = both_ways(model, example(model))
    found["structure"] = kind
    known[kind] = name
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


def example(model: Any) -> torch.Tensor:
    return torch.zeros(2, *model.default_cfg.get("input_size", (3, 224, 224)))


def all_of(per_module: int, known: dict[str, str]) -> Iterator[tuple[str, Any]]:
    for name in names(per_module):
        yield name, lambda name=name: look(name, known)
