# SPDX-License-Identifier: Apache-2.0
"""Whether two tables of layers put the parameters of a model into the same order."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from torch import nn

from layerwise.torch import LayerTable, layers

Places = Mapping[str, tuple[str, int]]
"""For each parameter its tower and its depth."""


def places(table: LayerTable) -> Places:
    return {name: (row.tower, row.depth or 0) for row in table for name in row.parameters}


def inversion(one: Places, other: Places) -> tuple[str, str] | None:
    """Two parameters of which the first comes before the second in one table and after it in the other; None without.

    Only what is in one tower in both tables has an order in both.
    """
    depths: dict[tuple[str, str], dict[int, list[tuple[int, str]]]] = {}
    for name in sorted(one.keys() & other.keys()):
        tower, depth = one[name]
        other_tower, other_depth = other[name]
        depths.setdefault((tower, other_tower), {}).setdefault(depth, []).append((other_depth, name))
    for by_depth in depths.values():
        highest: tuple[int, str] | None = None
        for depth in sorted(by_depth):
            lowest = min(by_depth[depth])
            if highest is not None and lowest[0] < highest[0]:
                return highest[1], lowest[1]
            highest = max(by_depth[depth] if highest is None else [highest, *by_depth[depth]])
    return None


def both_ways(model: nn.Module, example: Any) -> tuple[LayerTable, dict[str, Any]]:
    """The layers from watching, and how those from names compare with them."""
    named, watched = layers(model), layers(model, example=example)
    return watched, {
        "guesses": {
            "names": [row.name for row in named if row.guess],
            "watching": [row.name for row in watched if row.guess],
        },
        "unused": [row.name for row in watched if "does not use it" in row.reason],
        "towers": {
            way: sorted({row.tower for row in table}) for way, table in (("names", named), ("watching", watched))
        },
        "inversion": inversion(places(watched), places(named)),
        "named": {name: list(place) for name, place in places(named).items()},
    }


def stack_faults(watched: LayerTable, stacks: Mapping[str, int]) -> list[str]:
    """Of lists of blocks, by path and length, those that are not one tower in the order of their numbers."""
    found: dict[str, dict[int, set[tuple[str, int]]]] = {path: {} for path in stacks}
    for row in watched:
        if row.guess:
            continue
        for name in row.parameters:
            pieces = name.split(".")
            for length in range(1, len(pieces)):
                path = ".".join(pieces[:length])
                if path in found:
                    found[path].setdefault(int(pieces[length]), set()).add((row.tower, row.depth or 0))
    faults = []
    for path, blocks in found.items():
        seen = [blocks[number] for number in sorted(blocks)]
        depths = [next(iter(block))[1] for block in seen]
        is_right = (
            all(len(block) == 1 for block in seen)
            and len({tower for block in seen for tower, _ in block}) <= 1
            and all(one < other for one, other in pairwise(depths))
        )
        if not is_right:
            faults.append(path)
    return faults
