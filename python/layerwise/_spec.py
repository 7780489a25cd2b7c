# SPDX-License-Identifier: Apache-2.0
"""Policies, schedules and freezing plans on their way to the library: a tree in an array of lw_spec."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Sequence
from typing import ClassVar

from . import _binding as lw
from . import _settings
from .errors import LayerwiseError


class Recipe:
    """What policies, schedules and freezing plans share: they hold values, the library checks them and computes."""

    name: ClassVar[str]
    """The library's name of its kind."""

    def settings(self) -> dict[str, object]:
        """The values that were given, by the library's keys."""
        return {key: value for key, value in vars(self).items() if value is not None}

    def values(self) -> Sequence[float]:
        """Its list of numbers, such as milestones."""
        return ()

    def parts(self) -> Sequence[Recipe]:
        """What it is made of."""
        return ()

    def _repr_html_(self) -> str | None:
        """A schedule with its picture; notebooks show the `repr` of all others."""
        if not hasattr(self, "evaluate"):
            return None
        from . import _html

        try:
            return _html.of_schedule(self)
        except LayerwiseError:
            # Its values are refused when it is used.
            return None


def pack(recipe: Recipe | None) -> tuple[ctypes.Array[lw.lw_spec] | None, int]:
    """The array and its count, as two arguments; NULL and 0 for None.  The array keeps what it points to alive."""
    if recipe is None:
        return None, 0
    entries = list(_whole_before_parts(recipe))
    specs = lw.array_type(lw.lw_spec, len(entries))()
    for spec, (entry, part_count) in zip(specs, entries, strict=True):
        values = lw.array_of(entry.values())
        spec.struct_size = ctypes.sizeof(lw.lw_spec)
        spec.part_count = part_count
        spec.name = lw.name(entry.name)
        settings, spec.setting_count = _settings.pack(entry.settings().items())
        # NULL where there are none: an address with a count of 0 looks like a count that was forgotten.
        if spec.setting_count:
            spec.settings = settings
        if values:
            spec.values, spec.value_count = lw.pointer(values), len(values)
    return specs, len(specs)


def _whole_before_parts(recipe: Recipe) -> Iterable[tuple[Recipe, int]]:
    """Each recipe of the tree and how many parts it has."""
    # Without recursion: how deep is too deep is for the library to say.
    ahead: list[object] = [recipe]
    while ahead:
        whole = ahead.pop()
        if not isinstance(whole, Recipe):
            raise TypeError(f"{recipe.name}: {whole!r} cannot be a part of it")
        parts = whole.parts()
        yield whole, len(parts)
        ahead.extend(reversed(parts))
