# SPDX-License-Identifier: Apache-2.0
"""The typed classes of policies, schedules and freezing plans agree with what the library declares."""

import dataclasses
import inspect
import json
import pickle
from typing import Any

import pytest
from support.declarations import (
    MISSING,
    choices,
    concrete,
    documented,
    documented_default,
    documented_range,
    fields,
)
from support.recipes import PLANS, POLICIES, SCHEDULES, name_of, optimizer

import layerwise as lw
from layerwise._spec import Recipe

EXAMPLES: list[Recipe] = [*POLICIES, *SCHEDULES, *PLANS]
CLASSES = [type(example) for example in EXAMPLES]
DECLARED = {
    (kind, declaration["name"]): declaration
    for kind, declarations in (
        (lw.Policy, lw.policies()),
        (lw.Schedule, lw.schedules()),
        (lw.FreezePlan, lw.freeze_plans()),
    )
    for declaration in declarations
}


def declaration(cls: type[Recipe]) -> dict[str, Any]:
    (found,) = (value for (kind, name), value in DECLARED.items() if issubclass(cls, kind) and cls.name == name)
    return found


def entries(cls: type[Recipe]) -> dict[str, dict[str, Any]]:
    return {entry["key"]: entry for entry in declaration(cls)["settings"]}


@pytest.mark.parametrize("kind", [lw.Policy, lw.Schedule, lw.FreezePlan])
def test_there_is_one_class_and_one_example_of_each(kind: type[Recipe]) -> None:
    declared = sorted(name for base, name in DECLARED if base is kind)
    assert sorted(cls.name for cls in concrete(kind)) == declared
    assert sorted(cls.name for cls in CLASSES if issubclass(cls, kind)) == declared


@pytest.mark.parametrize("cls", CLASSES)
def test_every_key_is_a_field_and_every_field_a_key(cls: type[Recipe]) -> None:
    arguments = {argument["name"] for argument in declaration(cls)["arguments"]}
    assert set(fields(cls)) - arguments == set(entries(cls))


@pytest.mark.parametrize("cls", CLASSES)
def test_only_the_declared_arguments_may_be_positional(cls: type[Recipe]) -> None:
    parameters = inspect.signature(cls).parameters.values()
    positional = [parameter.name for parameter in parameters if parameter.kind is not inspect.Parameter.KEYWORD_ONLY]
    # RateSlice(highest) and RateSlice(lowest, highest) share a list.
    assert positional == declaration(cls)["positional"] or (cls, positional) == (lw.RateSlice, ["numbers"])


@pytest.mark.parametrize("example", EXAMPLES, ids=name_of)
def test_every_key_is_passed_on(example: Recipe) -> None:
    assert set(example.settings()) == set(entries(type(example)))


@pytest.mark.parametrize("example", EXAMPLES, ids=name_of)
def test_lists_and_parts_are_where_the_library_has_them(example: Recipe) -> None:
    declared = declaration(type(example))
    assert bool(example.values()) == (declared["values"] is not None)
    assert bool(example.parts()) == (declared["parts"] is not None)


@pytest.mark.parametrize(
    "cls", [cls for cls in CLASSES if any("part" in argument for argument in declaration(cls)["arguments"])]
)
def test_parts_of_a_kind_of_their_own(cls: type[Recipe]) -> None:
    (example,) = (example for example in EXAMPLES if type(example) is cls)
    part = example.parts()[0]
    assert f"{part.name}: {', '.join(part.settings())}" == declaration(cls)["parts"]


@pytest.mark.parametrize("cls", CLASSES)
def test_defaults_are_the_librarys(cls: type[Recipe]) -> None:
    for key, entry in entries(cls).items():
        default = fields(cls)[key].default
        if "default" in entry:
            # What the library has a default for may still have to be given in Python.
            assert default in (entry["default"], MISSING), key
        else:
            assert default in (None, MISSING), key


@pytest.mark.parametrize("cls", CLASSES)
def test_defaults_are_documented(cls: type[Recipe]) -> None:
    for key, field in fields(cls).items():
        if key in entries(cls):
            assert documented_default(cls, key) == field.default, key
        else:
            assert documented(cls, key), key


@pytest.mark.parametrize("cls", CLASSES)
def test_ranges_and_choices_are_documented(cls: type[Recipe]) -> None:
    for key, entry in entries(cls).items():
        if entry["kind"] == "number":
            assert documented_range(entry) in documented(cls, key), key
        if entry["kind"] == "choice":
            assert choices(cls, key) == set(entry["choices"]), key
            assert all(f'"{choice}"' in documented(cls, key) for choice in entry["choices"]), key


@pytest.mark.parametrize("example", EXAMPLES, ids=name_of)
def test_they_are_values(example: Any) -> None:
    assert pickle.loads(pickle.dumps(example)) == example
    with pytest.raises(dataclasses.FrozenInstanceError):
        example.name = "other"


@pytest.mark.parametrize("example", EXAMPLES, ids=name_of)
def test_repr_makes_the_same_again(example: Recipe) -> None:
    assert eval(repr(example), vars(lw)) == example


@pytest.mark.parametrize("policy", POLICIES, ids=name_of)
def test_a_policy_is_set_and_told(policy: lw.Policy) -> None:
    with optimizer(policy=policy) as opt:
        assert opt.policy is policy
        assert json.loads(opt.explain_json())["policy"] == policy.name
        assert f"policy {policy.name}" in opt.explain()
        opt.step()


@pytest.mark.parametrize("schedule", SCHEDULES, ids=name_of)
def test_a_schedule_is_set_and_told(schedule: lw.Schedule) -> None:
    with optimizer(schedule=schedule) as opt:
        assert opt.schedule is schedule
        assert json.loads(opt.explain_json())["schedule"] == schedule.name
        assert f"schedule {schedule.name}" in opt.explain()
        opt.step()
        opt.schedule = None
        assert opt.schedule is None
        assert json.loads(opt.explain_json())["schedule"] is None


@pytest.mark.parametrize("plan", PLANS, ids=name_of)
def test_a_freezing_plan_is_set_and_told(plan: lw.FreezePlan) -> None:
    with optimizer(freezing=plan) as opt:
        assert opt.freezing is plan
        assert json.loads(opt.explain_json())["freezing"] == plan.name
        assert f"freezing {plan.name}" in opt.explain()
        opt.step()
        opt.freezing = None
        assert opt.freezing is None
        assert json.loads(opt.explain_json())["freezing"] is None
