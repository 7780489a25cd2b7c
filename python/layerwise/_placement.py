# SPDX-License-Identifier: Apache-2.0
"""Which layer every parameter belongs to: from the user's rules, or from the parameters' names."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from .errors import UnknownName
from .introspection import infer_layers, match_names

LayerRules: TypeAlias = Mapping[str | re.Pattern[str], int | str | Mapping[str, Any]]
"""The user's own rules: what each pattern of parameter names means; see `layers`."""

KEYS = ("layer", "depth", "tower", "role", "scale")
"""What a rule or a param group may say of its layer."""


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
    """The placement of every name: inferred, and then as the rules say."""
    found: dict[str, Placement] = {}
    for layer in infer_layers(names):
        placement = Placement(layer.name, layer.depth, layer.tower, layer.role, None, layer.reason, layer.guess)
        for index in layer.tensors:
            found[names[index]] = placement
    placed = {name: found[name] for name in names}
    return _apply(rules, placed) if rules else placed


def _apply(rules: LayerRules, placed: dict[str, Placement]) -> dict[str, Placement]:
    if not isinstance(rules, Mapping):
        raise TypeError(f"layers: expected a mapping from pattern to depth or layer, found {type(rules).__name__}")
    inferred = {placement.layer: placement for placement in placed.values()}
    left, result = dict(placed), dict(placed)
    for pattern, rule in rules.items():
        given = _given(pattern, rule)
        matched = _matched(pattern, list(placed))
        if not matched:
            text = pattern.pattern if isinstance(pattern, re.Pattern) else pattern
            raise UnknownName(f'layers: no parameter matches "{text}"; the first is called "{next(iter(placed))}"')
        free = [name for name in matched if name in left]
        for name, placement in _placements(given, {name: left.pop(name) for name in free}, inferred).items():
            result[name] = placement
    return _told_apart(result)


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


def _matched(pattern: str | re.Pattern[str], names: list[str]) -> list[str]:
    """The names that a pattern matches as a whole; a text as the library's own patterns match."""
    if isinstance(pattern, re.Pattern):
        return [name for name in names if pattern.fullmatch(name) is not None]
    return [name for name, matches in zip(names, match_names(pattern, names), strict=True) if matches]


def _placements(
    given: dict[str, Any], matched: dict[str, Placement], inferred: dict[str, Placement]
) -> dict[str, Placement]:
    """What a rule makes of the parameters that it matches."""
    changes = {key: value for key, value in given.items() if key != "layer"}
    base: Placement | None = None
    if "layer" in given and matched:
        # Parameters that are called one layer have one place: that of the layer of this name, or the lowest of theirs.
        lowest = min(matched.values(), key=lambda placement: -1 if placement.depth is None else placement.depth)
        base = replace(inferred.get(given["layer"], lowest), layer=given["layer"])
    return {
        name: replace(base or placement, reason="by a rule", guess=False, **changes)
        for name, placement in matched.items()
    }


def _told_apart(placed: dict[str, Placement]) -> dict[str, Placement]:
    """A layer of which a rule has moved a part becomes several, with names of their own."""
    places: dict[str, list[Placement]] = {}
    for placement in placed.values():
        known = places.setdefault(placement.layer, [])
        if not any(_same_place(placement, other) for other in known):
            known.append(placement)
    result = {}
    for name, placement in placed.items():
        known = places[placement.layer]
        first = next(other for other in known if _same_place(placement, other))
        # One placement for all: what they are told by may differ from name to name.
        index = known.index(first)
        result[name] = first if index == 0 else replace(first, layer=f"{placement.layer} ({index + 1})")
    return result


def _same_place(one: Placement, other: Placement) -> bool:
    return (one.depth, one.tower, one.role, one.scale) == (other.depth, other.tower, other.role, other.scale)
