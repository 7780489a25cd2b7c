# SPDX-License-Identifier: Apache-2.0
"""The library judges rules, policies, schedules and freezing plans when they are made, and not when they are used."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from . import _binding as lw
from . import _settings, _spec
from ._values import changed
from .errors import LayerwiseError

if TYPE_CHECKING:
    from .rule import Rule


def check_rule(rule: Rule) -> None:
    """Refuse a rule that no optimizer can have.

    Raises:
        LayerwiseError: A value is out of its range, or values exclude each other.
        TypeError: A value is no number, flag or choice.
    """
    pairs = _settings.expand(changed(rule, rule.settings()), rule)
    with _optimizer(rule.name, pairs):
        pass


def check_options(settings: Mapping[str, object], names: Mapping[str, str]) -> None:
    """Refuse settings that no optimizer can have; messages name them by `names`."""
    try:
        with _optimizer("sgd", list(settings.items())):
            pass
    except LayerwiseError as error:
        text = str(error).removeprefix("SGD: ")
        for key, name in names.items():
            text = text.replace(key, name)
        error.args = (text,)
        raise


def check_policy(policy: _spec.Recipe) -> None:
    """Refuse a policy that no optimizer can have."""
    with _optimizer("sgd") as handle:
        _spec.call(policy, lw.lw_optimizer_set_policy, handle, only_changed=True)


def check_freeze_plan(plan: _spec.Recipe) -> None:
    """Refuse a freezing plan that no optimizer can have."""
    with _optimizer("sgd") as handle:
        _spec.call(plan, lw.lw_optimizer_set_freeze_plan, handle, only_changed=True)


def check_schedule(schedule: _spec.Recipe) -> None:
    """Refuse a schedule that no optimizer can have."""
    nothing = lw.doubles(0)
    specs, count = _spec.pack(schedule, only_changed=True)
    _settings.call(
        _spec.all_settings(schedule), lw.lw_schedule_evaluate, specs, count, 1.0, 0, 0, 1, lw.pointer(nothing)
    )


@contextmanager
def _optimizer(rule: str, pairs: list[_settings.Pair] | None = None) -> Iterator[ctypes._Pointer[lw.lw_optimizer]]:
    """An optimizer without layers."""
    handle = lw.Handle()
    settings = list(pairs or ())
    _settings.call(settings, lw.lw_optimizer_create, ctypes.byref(handle), lw.name(rule), *_settings.pack(settings))
    try:
        yield handle
    finally:
        lw.call(lw.lw_optimizer_destroy, handle)
