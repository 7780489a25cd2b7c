# SPDX-License-Identifier: Apache-2.0
"""Keyword values on their way to the library and back: an array of lw_setting, a number or a choice."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Iterable, Mapping
from typing import Any, SupportsFloat

from . import _binding as lw
from .errors import InvalidArgument, OutOfRange
from .rule import Rule

Pair = tuple[str, object]

Tuples = Mapping[str, tuple[str, ...]]
"""Keywords of a rule that hold several settings of the library, as in torch, with the library's keys."""


def expand(settings: Mapping[str, object], rule: Rule | type[Rule]) -> list[Pair]:
    """The library's keys and values for keyword arguments: `betas` becomes `beta1` and `beta2`."""
    pairs: list[Pair] = []
    tuples = rule.tuples
    for key, value in settings.items():
        if key not in tuples:
            # NaN says "none" to the library.
            pairs.append((key, math.nan if value is None and key in rule.optional else value))
            continue
        for part, one in zip(tuples[key], several(key, value, len(tuples[key])), strict=True):
            pairs.append((part, math.nan if one is None and part in rule.optional else one))
    return pairs


def several(what: str, value: object, count: int) -> tuple[Any, ...]:
    """As many numbers as expected; the library judges what they are."""
    expected = {2: "two", 3: "three"}.get(count, str(count))
    if not isinstance(value, Iterable) or isinstance(value, str | bytes):
        raise TypeError(f"{what}: expected {expected} numbers, found {value!r}")
    values = tuple(value)
    if len(values) != count:
        raise InvalidArgument(f"{what}: expected {expected} numbers, found {len(values)}")
    return values


def pack(pairs: Iterable[Pair]) -> tuple[ctypes.Array[lw.lw_setting], int]:
    """The array and its count, as two arguments.  The array keeps its strings alive."""
    items = list(pairs)
    array = lw.array_type(lw.lw_setting, len(items))()
    for entry, (key, value) in zip(array, items, strict=True):
        entry.key = lw.name(key)
        if isinstance(value, str):
            entry.choice = lw.name(value)
        else:
            entry.number = number(key, value, "a number, a flag or a choice")
    return array, len(items)


def call(pairs: Iterable[Pair], function: lw.NativeFunction, *arguments: Any) -> None:
    """Call a function that is given these settings; where one is a number as text, the refusal says so."""
    try:
        lw.call(function, *arguments)
    except OutOfRange as error:
        for key, value in pairs:
            if isinstance(value, str) and f"{key} takes a number" in str(error) and is_number(value):
                error.args = (f"{error}, which is text: write {key}={value.strip()}, or float({value!r})",)
        raise


def is_number(text: str) -> bool:
    """Whether a text is that of a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def number(what: str, value: object, expected: str = "a number") -> float:
    """A number as the library takes it."""
    # To ask for a protocol takes microseconds.
    if type(value) is float:
        return value
    if isinstance(value, SupportsFloat) or hasattr(value, "__index__"):
        return float(value)
    raise TypeError(f"{what}: expected {expected}, found {type(value).__name__}")


def value(get_number: lw.NativeFunction, get_choice: lw.NativeFunction, *target: Any) -> float | str:
    """The value of a setting, which is a number or, where the library says so, a choice."""
    number = ctypes.c_double()
    try:
        lw.call(get_number, *target, ctypes.byref(number))
    except InvalidArgument:
        choice = ctypes.c_char_p()
        lw.call(get_choice, *target, ctypes.byref(choice))
        return (choice.value or b"").decode()
    return number.value


def get(
    get_number: lw.NativeFunction, get_choice: lw.NativeFunction, *target: Any, key: str, tuples: Tuples
) -> float | str | tuple[float | str, ...]:
    """The value of one keyword: a number, a choice, or a tuple for a keyword that holds several settings."""
    values = tuple(value(get_number, get_choice, *target, lw.name(part)) for part in tuples.get(key, (key,)))
    return values if key in tuples else values[0]
