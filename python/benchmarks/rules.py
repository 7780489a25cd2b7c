# SPDX-License-Identifier: Apache-2.0
"""Every rule of the library, for the case that compares them by the bytes that they move."""

from __future__ import annotations

import layerwise as lw

WITHOUT = ("muon",)
"""Rules whose time is not that of memory."""


def all_rules() -> dict[str, lw.Rule]:
    """A rule of each kind, with its defaults but SGD with momentum, by the name of its class."""
    rules = (lw.rule_by_name(entry["name"]) for entry in lw.rules() if entry["name"] not in WITHOUT)
    named = {type(rule).__name__: rule for rule in rules}
    return named | {"SGD": lw.SGD(momentum=0.9)}


def elementwise() -> list[str]:
    """The rules that go over their arrays once."""
    once = {entry["name"] for entry in lw.rules() if not entry["has_sums"]}
    return [name for name, rule in all_rules().items() if rule.name in once]
