# SPDX-License-Identifier: Apache-2.0
"""Rules, policies, schedules and freezing plans as a command line spells them, by the library's own names and keys.

    cosine:total_steps=1000,warmup_steps=100
    multi_step:values=300/600,gamma=0.5
    {"name": "warmup", "steps": 100, "parts": ["cosine:total_steps=900"]}

The library judges names, keys and values.  What would be ambiguous in the first form, such as a pattern with a comma
or a layer called "0", goes into the second, which is JSON.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from ._rule_names import resolve
from ._spec import Recipe
from .errors import DuplicateName, InvalidArgument
from .freezing import FreezePlan
from .policy import Policy
from .rule import Rule
from .schedule import Schedule

NOTATION = """\
A rule, policy, schedule or freezing plan is written by the names and keys of `python -m layerwise rules`:
  cosine:total_steps=1000,warmup_steps=100
a list of numbers with the key `values` and slashes:
  multi_step:values=300/600,gamma=0.5
and whatever has parts, or text with a comma, as JSON, in which a part may be text as above:
  '{"name": "warmup", "steps": 100, "parts": ["cosine:total_steps=900"]}'
  '{"name": "explicit", "syntax": "glob", "parts": ["layers:match=*.layer.0,scale=0.1", "layers:match=*,scale=1"]}'"""


class ParsedRule(Rule):
    """A rule by any of its names, and the library's keys."""

    def __init__(self, text: str, **settings: object) -> None:
        name, given = _short(text)
        kind, options = resolve(name)
        self.name = kind.name  # type: ignore[misc]
        self._settings = {**options, **_once([*given, *settings.items()], text)}
        if "values" in self._settings:
            raise InvalidArgument(f"{text}: a rule has no list of numbers")

    def settings(self) -> dict[str, object]:
        """The values that were given."""
        return self._settings


class _InWords(Recipe):
    def __init__(self, words: object) -> None:
        text = words if isinstance(words, str) else json.dumps(words)
        self.name, settings = _read(words, text)  # type: ignore[misc]
        self._values = _numbers(settings.pop("values", ()), text)
        parts = settings.pop("parts", ())
        if not isinstance(parts, list | tuple):
            raise InvalidArgument(f"{text}: expected a list of parts, which needs JSON, found {parts!r}")
        self._parts = [_InWords(part) for part in parts]
        self._settings = settings

    def settings(self) -> dict[str, object]:
        return self._settings

    def values(self) -> Sequence[float]:
        return self._values

    def parts(self) -> Sequence[Recipe]:
        return self._parts


class PolicyInWords(_InWords, Policy):
    """A policy by the library's names and keys."""


class ScheduleInWords(_InWords, Schedule):
    """A schedule by the library's names and keys."""


class FreezePlanInWords(_InWords, FreezePlan):
    """A freezing plan by the library's names and keys."""


def _read(words: object, text: str) -> tuple[str, dict[str, object]]:
    """The name, and everything else by its key."""
    if isinstance(words, str) and not words.lstrip().startswith("{"):
        name, pairs = _short(words)
        return name, _once(pairs, text)
    if isinstance(words, str):
        try:
            words = json.loads(words, parse_int=float, object_pairs_hook=lambda found: _once(found, text))
        except (json.JSONDecodeError, RecursionError) as error:
            raise InvalidArgument(f"{text}: not JSON: {error}") from None
    if not isinstance(words, dict) or not isinstance(words.get("name"), str):
        raise InvalidArgument(f'{text}: expected NAME:KEY=VALUE,... or JSON such as {{"name": "cosine"}}')
    settings = {key: value for key, value in words.items() if key != "name"}
    for key, value in settings.items():
        if key not in ("values", "parts") and not isinstance(value, str | float | bool):
            raise InvalidArgument(f"{text}: {key} must be a number, a flag or text, found {json.dumps(value)}")
    return words["name"], settings


def _short(text: str) -> tuple[str, list[tuple[str, object]]]:
    name, colon, rest = text.partition(":")
    settings: list[tuple[str, object]] = []
    for word in rest.split(",") if colon else []:
        key, equals, value = word.partition("=")
        if not key or not equals:
            raise InvalidArgument(f"{text}: expected KEY=VALUE, found {word!r}")
        settings.append((key, value.split("/") if key == "values" else _number_or_text(value)))
    return name, settings


def _number_or_text(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _numbers(values: Any, text: str) -> list[float]:
    try:
        return [float(value) for value in values]
    except (TypeError, ValueError):
        raise InvalidArgument(f"{text}: values must be a list of numbers, found {values!r}") from None


def _once(settings: Sequence[tuple[str, object]], text: str) -> dict[str, object]:
    found = dict(settings)
    if len(found) < len(settings):
        keys = [key for key, _ in settings]
        repeated = next(key for key in keys if keys.count(key) > 1)
        raise DuplicateName(f"{text}: {repeated} is given twice")
    return found
