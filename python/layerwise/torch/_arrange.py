# SPDX-License-Identifier: Apache-2.0
"""The native layers of param groups: which parameters make one, and where it is."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from .._spec import Recipe
from ..errors import InvalidArgument
from ._layers import KEYS, LayerRules, Placement, by_name
from ._parameters import Group, names_of


@dataclass(frozen=True)
class NativeLayer:
    """One layer of the native optimizer: parameters of one group that share a place."""

    name: str
    group: int
    place: Placement
    members: tuple[tuple[str, Tensor], ...]
    """Names of the tensors in the layer, and the tensors."""


def arrange(
    groups: Sequence[Group], names: Mapping[int, str], all_names: Sequence[str], rules: LayerRules | None
) -> list[NativeLayer]:
    """The native layers of some groups.

    A layer never spans two groups, because hyperparameters may differ: it becomes one native layer for each.

    Args:
        groups: The groups.
        names: Name of each parameter that has one, by identity.
        all_names: Names of all parameters of the model, which tell more than those of a part.
        rules: The user's own rules.

    Raises:
        InvalidArgument: There are rules, and parameters have no names.
    """
    if rules and not names:
        raise InvalidArgument(
            "layers: rules go by names of parameters, and there are none: pass the module, named parameters, or module="
        )
    placed = by_name(all_names, rules) if all_names else {}
    found: list[NativeLayer] = []
    taken: set[str] = set()
    done: set[int] = set()
    for index, group in enumerate(groups):
        members: dict[Placement, list[tuple[str, Tensor]]] = {}
        own = names_of(group)
        for position, param in enumerate(group["params"]):
            if id(param) in done:
                # torch has warned of a parameter that is there twice; it is stepped once.
                continue
            done.add(id(param))
            name = names.get(id(param)) or (own[position] if own else None)
            placement = _of_group(group, index, None if name is None else placed.get(name))
            members.setdefault(placement, []).append((name or str(position), param))
        if not group["params"] and group.get("depth") is not None:
            # Another process has its parameters; depths count here as there.
            members[_of_group(group, index, None)] = [("elsewhere", torch.empty(0, dtype=torch.float32, device="cpu"))]
        for placement, tensors in members.items():
            name = placement.layer
            if name in taken:
                name = f"{placement.layer} (group {index})"
            while name in taken:
                name += "'"
            taken.add(name)
            found.append(NativeLayer(name, index, placement, _short_names(placement.layer, tensors)))
    return found


def _of_group(group: Group, index: int, inferred: Placement | None) -> Placement:
    """What the keys of a group say goes before what names tell; with "layer" or "depth" the group is one layer."""
    given = {key: group[key] for key in KEYS if group.get(key) is not None}
    if "layer" in given or "depth" in given:
        base = Placement(f"group {index}", None, reason="by its group")
        return replace(base, **given)
    return replace(inferred or Placement(f"group {index}", None, reason="has no name"), **given)


def _short_names(layer: str, tensors: list[tuple[str, Tensor]]) -> tuple[tuple[str, Tensor], ...]:
    """A tensor is called what its name has beyond the layer's."""
    prefix = f"{layer}."
    if not all(name.startswith(prefix) and len(name) > len(prefix) for name, _ in tensors):
        prefix = ""
    return tuple((name.removeprefix(prefix), param) for name, param in tensors)


def goes_by_depth(recipe: Recipe | None, declarations: Iterable[Mapping[str, Any]]) -> bool:
    """Whether a policy or freezing plan depends on the depths of layers, as the declarations of all of its kind say."""
    if recipe is None:
        return False
    declared = {declaration["name"]: declaration["depends_on_depth"] for declaration in declarations}
    ahead = [recipe]
    while ahead:
        part = ahead.pop()
        dependence = declared.get(part.name, "never")
        if dependence == "always":
            return True
        if dependence == "parts":
            ahead.extend(part.parts())
    return False


def unplaced(layers: Sequence[NativeLayer]) -> list[NativeLayer]:
    """Layers of which nothing tells the depth."""
    return [layer for layer in layers if layer.place.depth is None]


def guessed(layers: Sequence[NativeLayer]) -> list[NativeLayer]:
    """Layers whose depth only the order of registration tells."""
    return [layer for layer in layers if layer.place.guess]


def require_places(recipe: object, layers: Sequence[NativeLayer]) -> None:
    """Refuse a recipe that goes by depth where nothing tells a layer's; warn where it is a guess."""
    missing = unplaced(layers)
    if missing:
        raise InvalidArgument(
            f"{recipe!r} goes by depth, and nothing tells the depth of {missing[0].name}: pass the module or named "
            'parameters, or module=, or give each param group a "depth"'
        )
    guesses = guessed(layers)
    if guesses:
        names = ", ".join(f"{layer.name} at depth {layer.place.depth}" for layer in guesses[:8])
        more = f" and {len(guesses) - 8} more" if len(guesses) > 8 else ""
        warnings.warn(
            f"only the order of registration tells the depth of {names}{more}: see layerwise.torch.layers(model), "
            "and say it with layers={pattern: depth}",
            stacklevel=caller(),
        )


def caller() -> int:
    """How far up the user's code is, for a warning."""
    frame, level = sys._getframe(1), 1
    # torch's schedulers and profiling hooks wrap a step.
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith((__package__, "torch.")):
        frame, level = frame.f_back, level + 1
    return level
