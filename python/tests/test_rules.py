# SPDX-License-Identifier: Apache-2.0
"""The typed classes of rules and policies agree with what the library declares."""

import dataclasses
import inspect
import math
import re
import sys
from typing import Any, get_args

import numpy as np
import pytest

import layerwise as lw

RULES: list[type[lw.Rule]] = [lw.SGD, lw.LARS, lw.Adam, lw.AdamW, lw.LAMB]
POLICIES: list[type[lw.Policy]] = [lw.Uniform, lw.Explicit, lw.LayerDecay, lw.Range]
DECLARED = {declaration["name"]: declaration for declaration in lw.rules()}


def hyperparameters(rule: type[lw.Rule]) -> dict[str, dict[str, Any]]:
    return {entry["key"]: entry for entry in DECLARED[rule.name]["hyperparameters"]}


def as_keyword(key: str) -> str:
    return "betas" if key in ("beta1", "beta2") else key


def documented(rule: type[Any], keyword: str) -> str:
    """The paragraph of the docstring on one argument."""
    paragraph = re.search(
        rf"^    {keyword}: (.*?)(?=^    \w+: |\Z)", inspect.getdoc(rule) or "", re.DOTALL | re.MULTILINE
    )
    assert paragraph, f"{rule.__name__}.{keyword} is not documented"
    return " ".join(paragraph[1].split())


def documented_default(rule: type[lw.Rule], key: str) -> object:
    text = re.search(r"Default (.+?)\.?$", documented(rule, as_keyword(key)))
    assert text, f"{rule.__name__}.{key} has no documented default"
    value = eval(text[1], {"inf": math.inf})
    return value[int(key[-1]) - 1] if isinstance(value, tuple) else value


def test_every_rule_has_a_class() -> None:
    assert {rule.name for rule in RULES} == set(DECLARED)


def test_every_policy_has_a_class() -> None:
    assert {policy.name for policy in POLICIES} == {declaration["name"] for declaration in lw.policies()}


@pytest.mark.parametrize("rule", RULES)
def test_every_key_is_a_field_and_every_field_a_key(rule: type[lw.Rule]) -> None:
    fields = {field.name for field in dataclasses.fields(rule)}  # type: ignore[arg-type]
    assert fields - {"variant"} == {as_keyword(key) for key in hyperparameters(rule)}
    assert ("variant" in fields) == bool(DECLARED[rule.name]["presets"])


@pytest.mark.parametrize("rule", RULES)
def test_documented_defaults_are_the_librarys(rule: type[lw.Rule]) -> None:
    for key, entry in hyperparameters(rule).items():
        # JSON has no infinity.
        expected = math.inf if entry["default"] is None else entry["default"]
        assert documented_default(rule, key) == expected, key


@pytest.mark.parametrize("rule", RULES)
def test_defaults_of_the_class_are_those_in_force(rule: type[lw.Rule]) -> None:
    with lw.Optimizer(rule()) as opt:
        for key in hyperparameters(rule):
            assert opt.get(key) == documented_default(rule, key), key
        assert opt.get("lr") == opt.lr


@pytest.mark.parametrize("rule", RULES)
def test_documented_ranges_are_the_librarys(rule: type[lw.Rule]) -> None:
    for key, entry in hyperparameters(rule).items():
        if entry["kind"] == "number":
            assert entry["range"] in documented(rule, as_keyword(key)), key


@pytest.mark.parametrize("policy", POLICIES)
def test_policies_agree(policy: type[lw.Policy]) -> None:
    (declaration,) = (entry for entry in lw.policies() if entry["name"] == policy.name)
    entries = {entry["key"]: entry for entry in declaration["settings"]}
    # The keys of an explicit policy are names of layers.
    fields = {} if policy is lw.Explicit else {field.name: field for field in dataclasses.fields(policy)}  # type: ignore[arg-type]
    assert set(fields) == set(entries)
    for key, entry in entries.items():
        assert fields[key].default in (entry["default"], dataclasses.MISSING), key
        for text in [entry["range"]] if entry["kind"] == "number" else entry["choices"]:
            assert text in documented(policy, key), key


@pytest.mark.parametrize("rule", RULES)
def test_choices_are_the_librarys(rule: type[lw.Rule]) -> None:
    # typing.get_type_hints of Python 3.10 fails on KW_ONLY.
    module = vars(sys.modules[rule.__module__])
    hints = {field.name: eval(field.type, module) for field in dataclasses.fields(rule)}  # type: ignore[arg-type]
    for key, entry in hyperparameters(rule).items():
        if entry["kind"] == "choice":
            assert set(get_args(get_args(hints[key])[0])) == set(entry["choices"]), key
            assert all(f'"{choice}"' in documented(rule, key) for choice in entry["choices"]), key
    presets = DECLARED[rule.name]["presets"]
    if presets:
        assert set(get_args(get_args(hints["variant"])[0])) == set(presets)
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


def scales(policy: lw.Policy) -> list[float]:
    with lw.Optimizer(lw.SGD(), policy=policy) as opt:
        for name in ("a", "b", "c"):
            opt.add_layer(name, np.ones(2))
        return [layer.scale for layer in opt.layers.values()]


def test_policies() -> None:
    assert scales(lw.Uniform()) == [1.0, 1.0, 1.0]
    assert scales(lw.LayerDecay(0.5)) == [0.25, 0.5, 1.0]
    assert scales(lw.LayerDecay(0.5, min_scale=0.3)) == [0.3, 0.5, 1.0]
    assert scales(lw.LayerDecay(0.5, direction="output")) == [1.0, 0.5, 0.25]
    assert scales(lw.Range(0.01)) == pytest.approx([0.01, 0.1, 1.0], rel=1e-15)
    assert scales(lw.Range(1.0, 100.0)) == pytest.approx([1.0, 10.0, 100.0], rel=1e-15)


def test_explicit_policy() -> None:
    with lw.Optimizer(lw.SGD(lr=2.0)) as opt:
        for name in ("a", "b", "c"):
            opt.add_layer(name, np.ones(2))
        opt.policy = lw.Explicit({"b": 10.0, "*": 0.5})
        assert [layer.effective_lr for layer in opt.layers.values()] == [1.0, 20.0, 1.0]


def test_an_explicit_policy_must_fit_the_layers_at_the_step() -> None:
    weight = np.ones(2)
    with lw.Optimizer(lw.SGD(lr=1.0), policy=lw.Explicit({"a": 0.5})) as opt:
        opt.add_layer("a", weight, grads=np.ones(2))
        opt.step()
        assert (weight == 0.5).all()
        for scales, match in (({"a": 1.0, "nobody": 1.0}, "nobody"), ({}, '"a"')):
            opt.policy = lw.Explicit(scales)
            with pytest.raises(lw.LayerwiseError, match=match):
                opt.step()
        assert (weight == 0.5).all()
        opt.policy = lw.Explicit({"*": 0.25})
        opt.step()
        assert (weight == 0.25).all()


def test_an_explicit_policy_is_a_copy() -> None:
    given = {"*": 1.0}
    policy = lw.Explicit(given)
    given["*"] = 2.0
    assert policy.scales == {"*": 1.0}


def test_a_bad_policy_leaves_the_old_one() -> None:
    with lw.Optimizer(lw.SGD(), policy=lw.LayerDecay(0.5)) as opt:
        opt.add_layer("a", np.ones(2))
        opt.add_layer("b", np.ones(2))
        with pytest.raises(lw.OutOfRange):
            opt.policy = lw.LayerDecay(1.5)
        assert opt.policy == lw.LayerDecay(0.5)
        assert opt.layer("a").scale == 0.5
        with pytest.raises(TypeError):
            opt.policy = "uniform"  # type: ignore[assignment]
