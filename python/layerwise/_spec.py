# SPDX-License-Identifier: Apache-2.0
"""Policies, schedules and freezing plans on their way to the library: a tree in an array of lw_spec."""

from __future__ import annotations

import ctypes
import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, ClassVar

from . import _binding as lw
from . import _settings
from ._settings import several
from ._values import Mapped, Value, changed


class Recipe(Value):
    """What policies, schedules and freezing plans share: they hold values, the library checks them and computes."""

    name: ClassVar[str]
    """The library's name of its kind."""

    contents: ClassVar[tuple[Content, ...]] = ()
    """The fields that are no settings: a list of numbers, or parts."""

    def __post_init__(self) -> None:
        # Copies, because a recipe is a value: changing the caller's list later must not look as if it did something.
        for content in self.contents:
            for field in content.fields:
                object.__setattr__(self, field, content.kept(field, getattr(self, field)))
        self._check()

    def _check(self) -> None:
        """Refuse values that the library refuses."""

    def settings(self) -> dict[str, object]:
        """The values that were given, by the library's keys."""
        fields = {field for content in self.contents for field in content.fields}
        # None stands for what is not given.  A class with a list or parts has no such settings: the library refuses it.
        return {key: value for key, value in vars(self).items() if key not in fields and (value is not None or fields)}

    def values(self) -> Sequence[float]:
        """Its list of numbers, such as milestones."""
        return [number for content in self.contents for number in content.numbers(self)]

    def parts(self) -> Sequence[Recipe]:
        """What it is made of."""
        return [part for content in self.contents for part in content.parts(self)]

    def _repr_html_(self) -> str | None:
        """A schedule with its picture; notebooks show the `repr` of all others."""
        if not hasattr(self, "evaluate"):
            return None
        from . import _html

        return _html.of_schedule(self)


class Content:
    """Fields of a recipe that stand for its list of numbers, or for parts."""

    def __init__(self, *fields: str) -> None:
        self.fields = fields

    def kept(self, field: str, value: Any) -> Any:
        """What the field `field` holds for a value that was given; a list becomes a tuple."""
        return tuple(value)

    def numbers(self, recipe: Recipe) -> Iterable[float]:
        """The list of numbers."""
        return ()

    def parts(self, recipe: Recipe) -> Iterable[Recipe]:
        """The parts."""
        return ()


class Numbers(Content):
    """A list of numbers."""

    def numbers(self, recipe: Recipe) -> Iterable[float]:
        """The field as it is."""
        values: tuple[float, ...] = getattr(recipe, self.fields[0])
        return values


class Pairs(Content):
    """A list of pairs of numbers."""

    def kept(self, field: str, value: Any) -> Any:
        """A tuple of pairs."""
        return tuple(several(f"{field}[{index}]", one, 2) for index, one in enumerate(value))

    def numbers(self, recipe: Recipe) -> Iterable[float]:
        """The pairs, one after another."""
        return chain.from_iterable(getattr(recipe, self.fields[0]))


class Parts(Content):
    """A list of recipes."""

    def parts(self, recipe: Recipe) -> Iterable[Recipe]:
        """The field as it is."""
        parts: tuple[Recipe, ...] = getattr(recipe, self.fields[0])
        return parts


class Part(Content):
    """One recipe."""

    def kept(self, field: str, value: Any) -> Any:
        """The recipe itself."""
        return value

    def parts(self, recipe: Recipe) -> Iterable[Recipe]:
        """The recipe."""
        return (getattr(recipe, self.fields[0]),)


class OptionalPart(Part):
    """One recipe, or None."""

    def parts(self, recipe: Recipe) -> Iterable[Recipe]:
        """The recipe, if there is one."""
        return () if getattr(recipe, self.fields[0]) is None else super().parts(recipe)


class Patterns(Content):
    """Patterns of names: a list of them, or a mapping from each to a value.

    Args:
        part: The library's name of the part that each pattern makes.
        keys: For each field, the settings of the part that its values give: none for a list of patterns, several where
            a value is as many numbers.
    """

    def __init__(self, part: str, keys: Mapping[str, tuple[str, ...]]) -> None:
        super().__init__(*keys)
        self.part, self.keys = part, keys

    def kept(self, field: str, value: Any) -> Any:
        """A tuple of patterns, or a dictionary."""
        keys = self.keys[field]
        if not keys:
            if isinstance(value, str):
                raise TypeError(f"{field}: expected a list of patterns, found {value!r}")
            return tuple(value)
        if len(keys) == 1:
            return Mapped(value or {})
        return Mapped({match: several(f"{field}[{match!r}]", one, len(keys)) for match, one in value.items()})

    def parts(self, recipe: Recipe) -> Iterable[Recipe]:
        """A part for each pattern, in the order of the fields."""
        found: list[tuple[str, dict[str, object]]] = []
        by_pattern: dict[str, dict[str, object]] = {}
        for field, keys in self.keys.items():
            values = getattr(recipe, field)
            if not keys:
                # A pattern that is given twice is for the library to refuse.
                found += [(match, {}) for match in values]
                continue
            for match, value in values.items():
                own = by_pattern.setdefault(match, {})
                own.update(zip(keys, value if len(keys) > 1 else (value,), strict=True))
        return [OfPattern(self.part, match, own) for match, own in (*found, *by_pattern.items())]


class OfPattern(Recipe):
    """What the names that match a pattern get."""

    def __init__(self, name: str, match: str, settings: Mapping[str, object]) -> None:
        self.name = name  # type: ignore[misc]
        self._settings = {"match": match, **settings}

    def settings(self) -> dict[str, object]:
        """The pattern, and the values."""
        return {key: value for key, value in self._settings.items() if value is not None}


class Unnamed(Recipe):
    """A recipe whose arguments are given without their names."""

    def __repr__(self) -> str:
        values = [getattr(self, field.name) for field in dataclasses.fields(self)]  # type: ignore[arg-type]
        given = [one for value in values for one in (value if isinstance(value, tuple) else (value,))]
        return f"{type(self).__name__}({', '.join(repr(one) for one in given if one is not None)})"

    def _with(self, arguments: dict[str, Any]) -> Any:
        fields = [field.name for field in dataclasses.fields(self)]  # type: ignore[arg-type]
        if len(fields) == 1 and isinstance(arguments[fields[0]], tuple | list):
            return type(self)(*arguments[fields[0]])
        return type(self)(*(arguments[field] for field in fields if arguments[field] is not None))

    def _fill(self, given: Sequence[object]) -> None:
        """Assign the fields, of which the first is None where it is not given."""
        fields = [field.name for field in dataclasses.fields(self)]  # type: ignore[arg-type]
        if not len(fields) - 1 <= len(given) <= len(fields):
            name = type(self).__name__
            short, long = ", ".join(fields[1:]), ", ".join(fields)
            raise TypeError(f"expected {name}({short}) or {name}({long}), found {len(given)} arguments")
        for field, value in zip(reversed(fields), reversed([None, *given]), strict=False):
            object.__setattr__(self, field, value)
        self._check()


def pack(recipe: Recipe | None, *, only_changed: bool = False) -> tuple[ctypes.Array[lw.lw_spec] | None, int]:
    """The array and its count, as two arguments; NULL and 0 for None.  The array keeps what it points to alive.

    Args:
        recipe: The whole.
        only_changed: Leave out settings that have their default, which says the same in less time.
    """
    if recipe is None:
        return None, 0
    entries = list(_whole_before_parts(recipe))
    specs = lw.array_type(lw.lw_spec, len(entries))()
    for spec, (entry, part_count) in zip(specs, entries, strict=True):
        values = lw.array_of(entry.values())
        spec.struct_size = ctypes.sizeof(lw.lw_spec)
        spec.part_count = part_count
        spec.name = lw.name(entry.name)
        given = changed(entry, entry.settings()) if only_changed else entry.settings()
        settings, spec.setting_count = _settings.pack(given.items())
        # NULL where there are none: an address with a count of 0 looks like a count that was forgotten.
        if spec.setting_count:
            spec.settings = settings
        if values:
            spec.values, spec.value_count = lw.pointer(values), len(values)
    return specs, len(specs)


def call(recipe: Recipe, function: lw.NativeFunction, *arguments: Any, only_changed: bool = False) -> None:
    """Call a function that takes a recipe last; see `pack`."""
    specs = pack(recipe, only_changed=only_changed)
    _settings.call(all_settings(recipe), function, *arguments, *specs)


def all_settings(recipe: Recipe) -> Iterable[_settings.Pair]:
    """The settings of a recipe and of its parts."""
    return (pair for whole, _ in _whole_before_parts(recipe) for pair in whole.settings().items())


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
