# SPDX-License-Identifier: Apache-2.0
"""The typed classes of rules agree with what the library declares."""

import dataclasses
import inspect
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.declarations import choices, documented, documented_default, documented_range, fields
from support.rules import PARITY, TABLE, WITH_LOSS, peer

import layerwise as lw

RULES: list[type[lw.Rule]] = [getattr(lw, name) for name in (*TABLE, *WITH_LOSS)]
DECLARED = {declaration["name"]: declaration for declaration in lw.rules()}


def hyperparameters(rule: type[lw.Rule]) -> dict[str, dict[str, Any]]:
    return {entry["key"]: entry for entry in DECLARED[rule.name]["hyperparameters"]}


def as_keyword(rule: type[lw.Rule], key: str) -> str:
    return next((keyword for keyword, keys in rule.tuples.items() if key in keys), key)


def default_of(rule: type[lw.Rule], key: str) -> object:
    value = documented_default(rule, as_keyword(rule, key))
    keys = rule.tuples.get(as_keyword(rule, key), (key,))
    one = value[keys.index(key)] if isinstance(value, tuple) else value
    return hyperparameters(rule)[key]["none"] if one is None else one


@pytest.mark.spawns
def test_the_classes_are_what_the_declarations_and_torch_make_of_them() -> None:
    root = Path(__file__).parents[2]
    command = [sys.executable, str(root / ".ci" / "rule-classes"), "--check"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr


def test_every_rule_has_a_class_and_a_row_in_the_table() -> None:
    names = [getattr(lw, name).name for name in WITH_LOSS]
    assert [rule.name for rule in RULES] == [name for name in DECLARED if name not in names] + names, (
        "add the rule to support/rules.py"
    )
    assert names == [name for name, declared in DECLARED.items() if declared["needs_loss"]]


def test_the_table_compares_every_option_of_rules_that_have_a_peer() -> None:
    for name, row in TABLE.items():
        if row.peer:
            known = set(inspect.signature(peer(name)).parameters) & set(fields(getattr(lw, name)))
            compared = {key for case, options in PARITY.values() if case == name for key in options}
            assert compared >= known, name


@pytest.mark.parametrize("rule", RULES)
def test_every_key_is_a_field_and_every_field_a_key(rule: type[lw.Rule]) -> None:
    assert set(fields(rule)) - {"variant"} == {as_keyword(rule, key) for key in hyperparameters(rule)}
    assert ("variant" in fields(rule)) == bool(DECLARED[rule.name]["presets"])


@pytest.mark.parametrize("rule", RULES)
def test_documented_defaults_are_the_librarys(rule: type[lw.Rule]) -> None:
    for key, entry in hyperparameters(rule).items():
        # JSON has no infinity.
        expected = math.inf if entry["default"] is None else entry["default"]
        assert default_of(rule, key) == expected, key


@pytest.mark.parametrize("rule", RULES)
def test_defaults_of_the_class_are_those_in_force(rule: type[lw.Rule]) -> None:
    with lw.Optimizer(rule()) as opt:
        for key in hyperparameters(rule):
            assert opt.get(key) == default_of(rule, key), key
        assert opt.get("lr") == opt.lr


@pytest.mark.parametrize("rule", RULES)
def test_documented_ranges_are_the_librarys(rule: type[lw.Rule]) -> None:
    for key, entry in hyperparameters(rule).items():
        if entry["kind"] == "number":
            assert documented_range(entry) in documented(rule, as_keyword(rule, key)), key


@pytest.mark.parametrize("rule", RULES)
def test_choices_are_the_librarys(rule: type[lw.Rule]) -> None:
    for key, entry in hyperparameters(rule).items():
        if entry["kind"] == "choice":
            assert choices(rule, key) == set(entry["choices"]), key
            assert all(f'"{choice}"' in documented(rule, key) for choice in entry["choices"]), key
    presets = DECLARED[rule.name]["presets"]
    if presets:
        assert choices(rule, "variant") == set(presets)
        assert all(f'"{preset}"' in documented(rule, "variant") for preset in presets)


@pytest.mark.parametrize("rule", RULES)
def test_the_first_argument_is_the_rate_and_the_rest_are_keywords(rule: type[Any]) -> None:
    assert rule(0.25).lr == 0.25
    with pytest.raises(TypeError):
        rule(0.25, 0.9)
    with pytest.raises(dataclasses.FrozenInstanceError):
        rule().lr = 1.0


def test_a_value_given_with_a_variant_overrides_it() -> None:
    with lw.Optimizer(lw.LARS(norm="separate", variant="mae")) as opt:
        assert opt.get("norm") == "separate"
        assert opt.get("lr_position") == "outside"
    with lw.Optimizer(lw.LARS(variant="timm")) as opt:
        assert opt.get("momentum") == 0.0
    with lw.Optimizer(lw.LARS(variant="timm", momentum=0.9)) as opt:
        assert opt.get("momentum") == 0.9


def test_repr_shows_what_was_given() -> None:
    assert repr(lw.LAMB(variant="timm", lr=0.5)) == "LAMB(variant='timm', lr=0.5)"
    assert repr(lw.SGD(0.1, momentum=0.9)).startswith("SGD(lr=0.1, momentum=0.9, ")


def test_rules_compare_by_value() -> None:
    assert lw.AdamW(lr=0.1) == lw.AdamW(lr=0.1) != lw.AdamW(lr=0.2)
    assert hash(lw.AdamW(lr=0.1)) == hash(lw.AdamW(lr=0.1))
