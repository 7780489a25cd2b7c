# SPDX-License-Identifier: Apache-2.0
"""The native layers of param groups: which parameters make one, and where it is."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .._placement import KEYS, UNUSED, Placement
from ..errors import InvalidArgument
from ._layers import Layers, placements
from ._options import LR_SCALE
from ._parameters import Group, names_of
from ._warn import warn


@dataclass(frozen=True)
class NativeLayer:
    """One layer of the native optimizer: parameters of one group that share a place."""

    name: str
    group: int
    place: Placement
    members: tuple[tuple[str, Tensor], ...]
    """Names of the tensors in the layer, and the tensors."""
    part_of: str | None = None
    """The native layer of which it is a part: policies and freezing plans see one layer of that name."""


def arrange(
    groups: Sequence[Group],
    names: Mapping[int, str],
    all_names: Sequence[str],
    rules: Layers | None,
    left_out: Container[int] = (),
    *,
    apply_lr_scale: bool = False,
) -> list[NativeLayer]:
    """The native layers of some groups.

    Groups may differ in hyperparameters, so a layer whose parameters are in several groups is registered in parts, one
    for each group.  To everything that goes by layers the parts are one layer.

    Args:
        groups: The groups.
        names: Name of each parameter that has one, by identity.
        all_names: Names of all parameters of the model, which tell more than those of a part.
        rules: The user's own rules, or a table of `layers`.
        left_out: Identities of parameters that make no layer.
        apply_lr_scale: Take the "lr_scale" of a group for its scale.

    Raises:
        InvalidArgument: There are rules, and parameters have no names.
    """
    if rules and not names:
        raise InvalidArgument(
            "layers: rules go by names of parameters, and there are none: pass the module, named parameters, or module="
        )
    placed = placements(all_names, rules) if all_names else {}
    found: list[NativeLayer] = []
    taken: set[str] = set()
    wholes: dict[str, NativeLayer] = {}
    done: set[int] = set()
    for index, group in enumerate(groups):
        members: dict[Placement, list[tuple[str, Tensor]]] = {}
        own = names_of(group)
        for position, param in enumerate(group["params"]):
            if id(param) in left_out:
                continue
            if id(param) in done:
                # torch has warned of a parameter that is there twice; it is stepped once.
                continue
            done.add(id(param))
            name = names.get(id(param)) or (own[position] if own else None)
            inferred = None if name is None else placed.get(name)
            placement = _of_group(group, index, inferred, apply_lr_scale)
            members.setdefault(placement, []).append((name or str(position), param))
        if not group["params"] and group.get("depth") is not None:
            # Another process has its parameters; depths count here as there.
            elsewhere = torch.empty(0, dtype=torch.float32, device="cpu")
            members[_of_group(group, index, None, apply_lr_scale)] = [("elsewhere", elsewhere)]
        for placement, tensors in members.items():
            name = placement.layer
            if name in taken:
                name = f"{placement.layer} (group {index})"
            while name in taken:
                name += "'"
            taken.add(name)
            whole = wholes.get(placement.layer)
            part_of = whole.name if whole is not None and _same_place(whole.place, placement) else None
            layer = NativeLayer(name, index, placement, _short_names(placement.layer, tensors), part_of)
            wholes.setdefault(placement.layer, layer)
            found.append(layer)
    return found


def _same_place(one: Placement, other: Placement) -> bool:
    """Whether two placements are of one layer; each group's part of it may have a scale of its own."""
    return (one.tower, one.depth, one.role) == (other.tower, other.depth, other.role)


def _of_group(group: Group, index: int, inferred: Placement | None, apply_lr_scale: bool) -> Placement:
    """What the keys of a group say goes before what names tell; with "layer" or "depth" the group is one layer."""
    given = {key: group[key] for key in KEYS if group.get(key) is not None}
    if apply_lr_scale and LR_SCALE in group:
        given["scale"] = group[LR_SCALE]
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


def unplaced(layers: Sequence[NativeLayer]) -> list[NativeLayer]:
    """Layers of which nothing tells the depth."""
    return [layer for layer in layers if layer.place.depth is None]


def guessed(layers: Sequence[NativeLayer]) -> list[NativeLayer]:
    """Layers whose depth is a guess."""
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
        is_watched = all(layer.place.reason.startswith(UNUSED) for layer in guesses)
        teller = (
            "the forward pass does not use them, and only the name" if is_watched else "only the order of registration"
        )
        names = ", ".join(f"{layer.name} at depth {layer.place.depth}" for layer in guesses[:8])
        more = f" and {len(guesses) - 8} more" if len(guesses) > 8 else ""
        warn(
            f"{teller} tells the depth of {names}{more}: see layerwise.torch.layers(model), "
            "and say it with layers={pattern: depth}"
        )
