# SPDX-License-Identifier: Apache-2.0
"""Which layer every parameter belongs to: from the user's rules, or from the parameters' names."""

from __future__ import annotations

import ctypes
import json
import operator
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

from . import _binding as lw
from ._values import dataclass
from .errors import UnknownName
from .introspection import match_names

LayerRules: TypeAlias = Mapping[str | re.Pattern[str], int | str | Mapping[str, Any]]
"""The user's own rules: what each pattern of parameter names means; see `layers`."""

KEYS = ("layer", "depth", "tower", "role", "scale")
"""What a rule or a param group may say of its layer."""


UNUSED = "the forward pass does not use it"
"""How the reason begins where a model was watched, and its names alone tell."""


@dataclass(frozen=True)
class Placement:
    """Where one parameter belongs."""

    layer: str
    depth: int | None
    tower: str = ""
    role: str | None = None
    scale: float | None = None
    reason: str = ""
    guess: bool = False


def by_name(names: Sequence[str], rules: LayerRules | None) -> dict[str, Placement]:
    """The placement of every name: as the rules say, or else as the library infers it."""
    if rules is not None and not isinstance(rules, Mapping):
        raise TypeError(f"layers: expected a mapping from pattern to depth or layer, found {type(rules).__name__}")
    packed = [_pack(pattern, rule, names) for pattern, rule in (rules or {}).items()]
    texts = [lw.name(name) for name in names]
    count = len(packed)
    found = json.loads(
        lw.text(
            lw.lw_place_layers,
            lw.array_type(ctypes.c_char_p, len(texts))(*texts),
            len(texts),
            lw.array_type(lw.lw_layer_rule, count)(*packed),
            count,
        )
    )
    placed: dict[str, Placement] = {}
    for layer in found:
        tensors = layer.pop("tensors")
        placement = Placement(layer.pop("name"), **layer)
        for index in tensors:
            placed[names[index]] = placement
    return {name: placed[name] for name in names}


def with_rules(placed: Mapping[str, Placement], rules: LayerRules | None) -> dict[str, Placement]:
    """Placements that were found otherwise than by name, where the user's rules go before them.

    Args:
        placed: The placement of every name.
        rules: Rules that `by_name` takes for these names.
    """
    found = dict(placed)
    open_names = set(placed)
    known = {placement.layer: placement for placement in placed.values()}
    for pattern, rule in (rules or {}).items():
        given = {key: value for key, value in _given(pattern, rule).items() if value is not None}
        names = [name for name in _matched(pattern, list(placed)) if name in open_names]
        together = None
        if "layer" in given and names:
            lowest = min((placed[name] for name in names), key=lambda one: one.depth or 0)
            together = known.get(given["layer"], lowest)
        for name in names:
            found[name] = replace(together or placed[name], **given, reason="by a rule", guess=False)
        open_names.difference_update(names)
    # A layer of which a part is elsewhere becomes several.
    taken: dict[str, list[Placement]] = {}
    for name, placement in found.items():
        same = taken.setdefault(placement.layer, [])
        place = replace(placement, reason="", guess=False)
        if place not in same:
            same.append(place)
        copy = same.index(place)
        if copy:
            found[name] = replace(placement, layer=f"{placement.layer} ({copy + 1})")
    return found


def _matched(pattern: str | re.Pattern[str], names: Sequence[str]) -> list[str]:
    if isinstance(pattern, re.Pattern):
        return [name for name in names if pattern.fullmatch(name)]
    return [name for name, matched in zip(names, match_names(pattern, names), strict=True) if matched]


def _pack(pattern: str | re.Pattern[str], rule: object, names: Sequence[str]) -> lw.lw_layer_rule:
    given = {key: value for key, value in _given(pattern, rule).items() if value is not None}
    packed = lw.lw_layer_rule(ctypes.sizeof(lw.lw_layer_rule))
    if isinstance(pattern, re.Pattern):
        # Python's expressions are matched by Python.
        packed.pattern = pattern.pattern.encode("utf-8", "replace")[:1000]
        marks = [pattern.fullmatch(name) is not None for name in names]
        packed.matched = ctypes.cast((ctypes.c_uint8 * len(marks))(*marks), ctypes.POINTER(ctypes.c_uint8))
    else:
        packed.pattern = lw.name(pattern)
    for key in ("layer", "tower", "role"):
        if key in given:
            setattr(packed, key, lw.name(given[key]))
    if "depth" in given:
        packed.has_depth, packed.depth = 1, _within_int64(operator.index(given["depth"]))
    if "scale" in given:
        packed.has_scale, packed.scale = 1, float(given["scale"])
    return packed


def _within_int64(number: int) -> int:
    """What an int64 cannot hold becomes what the library refuses."""
    return number if -(1 << 63) <= number < 1 << 63 else -1


def _given(pattern: object, rule: object) -> dict[str, Any]:
    if isinstance(rule, bool) or not isinstance(rule, int | str | Mapping):
        raise TypeError(
            f"layers: {pattern!r}: expected a depth, the name of a layer, or a mapping with {', '.join(KEYS)}, "
            f"found {rule!r}"
        )
    given = {"depth": rule} if isinstance(rule, int) else {"layer": rule} if isinstance(rule, str) else dict(rule)
    for key in given:
        if key not in KEYS:
            raise UnknownName(f"layers: {pattern!r}: unknown key {key!r}, expected one of {', '.join(KEYS)}")
    return given
