# SPDX-License-Identifier: Apache-2.0
"""The rule of a param group: that of the optimizer, or one of the group's own under the key "rule"."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from .._names import nearest
from .._rule_names import kinds
from ..errors import UnknownName
from ..introspection import declaration_of
from ..optimizer import Optimizer
from ..rule import Rule
from ._parameters import Group

RULE = "rule"
"""The key of a group's own rule: its name, beside which the group has all hyperparameters of that rule."""


@dataclass(frozen=True)
class GroupRule:
    """A rule, as groups have it.

    Args:
        kind: The rule's class.
        keys: Its hyperparameters as groups call them, without "lr".
    """

    kind: type[Rule]
    keys: tuple[str, ...]

    @functools.cached_property
    def values(self) -> Callable[[Group], tuple[Any, ...]]:
        """What reads a group's hyperparameters without its rate, and at the end whether it ascends."""
        return itemgetter(*self.keys, "maximize")

    @functools.cached_property
    def row(self) -> Callable[[Group], tuple[Any, ...]]:
        """What reads the rate, and then what `values` reads."""
        return itemgetter("lr", *self.keys, "maximize")

    def named(self, values: Sequence[Any]) -> dict[str, Any]:
        """The hyperparameters by name, of what `values` has read."""
        return dict(zip(self.keys, values[:-1], strict=True))

    def make(self, rate: float, values: Sequence[Any]) -> Rule:
        """The rule with this rate and the hyperparameters that `values` has read."""
        kind: Callable[..., Rule] = self.kind
        return kind(lr=rate, **self.named(values))


def rule_of(group: Group, common: GroupRule) -> GroupRule:
    """The rule that steps a group, where `common` is the optimizer's."""
    name = group.get(RULE)
    return common if name is None else _named(name)


@functools.cache
def _named(name: str) -> GroupRule:
    kind = kinds().get(name)
    if kind is None:
        near = nearest(name, kinds())
        hint = f"; did you mean {near!r}?" if near else ""
        raise UnknownName(f"no rule is called {name!r}, expected one of {', '.join(kinds())}{hint}")
    fields: Any = dataclasses.fields(kind)  # type: ignore[arg-type]
    return GroupRule(kind, tuple(field.name for field in fields if field.name not in ("lr", "variant")))


def values_in_force(rule: Rule, keys: Sequence[str]) -> dict[str, Any]:
    """What the library takes for these keys and "lr", which a variant may set."""
    flags = {entry["key"] for entry in declaration_of(rule.name)["hyperparameters"] if entry["kind"] == "flag"}
    with Optimizer(rule, dry_run=True) as probe:
        values = {key: probe.get(key) for key in ("lr", *keys)}
    return {key: bool(value) if key in flags else value for key, value in values.items()}


def own_rules(groups: Iterable[Group]) -> set[str]:
    """The names of the rules that groups have of their own."""
    return {group[RULE] for group in groups if RULE in group}


def write_out(group: Group, index: int) -> None:
    """Put the name of a group's own rule, and all its hyperparameters that the group lacks, into the group.

    Raises:
        TypeError: The value is neither a rule nor a name.
        UnknownName: No rule has that name.
    """
    given = group.get(RULE)
    if given is None:
        group.pop(RULE, None)
        return
    if isinstance(given, str):
        kind: Callable[[], Rule] = _named(given).kind
        given = kind()
    if not isinstance(given, Rule):
        raise TypeError(f"rule of param group {index}: expected a rule such as Lion(lr=1e-4), found {given!r}")
    values = values_in_force(given, _named(given.name).keys)
    group[RULE] = given.name
    for key, value in values.items():
        group.setdefault(key, value)


def drop_others(group: Group, given: set[str], common: GroupRule) -> None:
    """Take the optimizer's defaults out of a group whose own rule does not have them.

    Args:
        group: A group that torch has filled up.
        given: The keys that it had before.
        common: The optimizer's rule.
    """
    own = rule_of(group, common)
    if own is common:
        return
    for key in set(common.keys) - set(own.keys) - given:
        group.pop(key, None)


def difference(group: Group, saved: Group) -> str | None:
    """What is wrong with a saved group in the place of one here, as far as the rule goes."""
    here, there = group.get(RULE), saved.get(RULE)
    if here == there:
        return None
    name = {None: "the optimizer's"}
    return f"rule is {name.get(there, repr(there))} in the state dict, {name.get(here, repr(here))} here"
