# SPDX-License-Identifier: Apache-2.0
"""How a tree of policies, schedules or freezing plans becomes an array of lw_spec, and what cannot become one."""

import ctypes
import gc
from typing import Any

import numpy as np
import pytest
from support.recipes import PLANS, POLICIES, SCHEDULES, name_of, optimizer

import layerwise as lw
from layerwise import _binding, _spec

Unpacked = tuple[str, dict[str, Any], list[float], int]


def unpack(recipe: _spec.Recipe | None) -> list[Unpacked]:
    """What the library would read."""
    specs, count = _spec.pack(recipe)
    gc.collect()
    found = []
    for spec in (specs or [])[:count]:
        assert spec.struct_size == ctypes.sizeof(_binding.lw_spec)
        settings = {
            setting.key.decode(): setting.number if setting.choice is None else setting.choice.decode()
            for setting in spec.settings[: spec.setting_count]
        }
        found.append((spec.name.decode(), settings, spec.values[: spec.value_count], spec.part_count))
    return found


def test_one() -> None:
    assert unpack(lw.StepDecay(5)) == [("step_decay", {"every": 5.0, "gamma": 0.1}, [], 0)]
    assert unpack(lw.MultiStep([3, 7])) == [("multi_step", {"gamma": 0.1}, [3.0, 7.0], 0)]
    assert unpack(lw.Uniform()) == [("uniform", {}, [], 0)]


def test_none() -> None:
    assert _spec.pack(None) == (None, 0)


def test_what_is_not_given_is_not_said() -> None:
    assert unpack(lw.RateSlice(0.5)) == [("rate_slice", {"highest": 0.5}, [], 0)]
    assert unpack(lw.RateSlice(0.25, 0.5)) == [("rate_slice", {"lowest": 0.25, "highest": 0.5}, [], 0)]
    assert "head_scale" not in unpack(lw.LayerDecay(0.5))[0][1]
    assert unpack(lw.Warmup(5)) == [(*unpack(lw.Warmup(5))[0][:2], [], 0)]


def test_parts_follow_their_whole_each_with_its_own_behind_it() -> None:
    schedule = lw.Sequential([lw.Warmup(2, lw.Product(lw.Constant(), lw.Linear(3))), lw.FactorTable([1.0, 0.5])], [10])
    assert [(name, values, parts) for name, _, values, parts in unpack(schedule)] == [
        ("sequential", [10.0], 2),
        ("warmup", [], 1),
        ("product", [], 2),
        ("constant", [], 0),
        ("linear", [], 0),
        ("factor_table", [1.0, 0.5], 0),
    ]


def test_patterns_are_parts() -> None:
    policy = lw.Explicit({"b": 2, "a": 0.5}, rates={"c": 1e-3, "b": 0.25})
    assert [entry[:2] for entry in unpack(policy)[1:]] == [
        ("layers", {"match": "b", "scale": 2.0, "lr": 0.25}),
        ("layers", {"match": "a", "scale": 0.5}),
        ("layers", {"match": "c", "lr": 1e-3}),
    ]
    assert [entry[:2] for entry in unpack(lw.FreezeAt({"a": 1}, {"b": 2, "a": 5}))[1:]] == [
        ("layers", {"match": "a", "unfreeze_at": 1.0, "freeze_at": 5.0}),
        ("layers", {"match": "b", "freeze_at": 2.0}),
    ]
    assert [entry[:2] for entry in unpack(lw.MuP({"a": (3, 4), "b": (0, 5)}))[1:]] == [
        ("base", {"match": "a", "fan_in": 3.0, "fan_out": 4.0}),
        ("base", {"match": "b", "fan_in": 0.0, "fan_out": 5.0}),
    ]


def test_points_are_numbers_one_after_another() -> None:
    assert unpack(lw.Piecewise([(2, 0.5), (5, 0.25)]))[0][2] == [2.0, 0.5, 5.0, 0.25]


def test_sequences_of_any_kind() -> None:
    for milestones in ([1, 2], (1, 2), range(1, 3), np.array([1, 2]), iter([1, 2])):
        assert lw.MultiStep(milestones) == lw.MultiStep([1, 2])  # type: ignore[arg-type]
    assert lw.FactorTable(np.array([1.0, 0.5])).evaluate(3).tolist() == [1.0, 0.5, 0.5]
    assert lw.Piecewise(np.array([[1, 0.5], [2, 0.25]])).evaluate(3).tolist() == [1.0, 0.5, 0.25]
    assert lw.Constant(np.float32(0.5)).evaluate(1)[0] == lw.Constant(True).evaluate(1)[0] / 2 == 0.5


def test_what_was_given_is_copied() -> None:
    milestones, scales = [1, 2], {"*": 1.0}
    schedule, policy = lw.MultiStep(milestones), lw.Explicit(scales)
    milestones.append(3)
    scales["*"] = 2.0
    assert schedule.milestones == (1, 2)
    assert policy.scales == {"*": 1.0}


@pytest.mark.parametrize("recipe", [*POLICIES, *SCHEDULES, *PLANS], ids=name_of)
def test_counts_of_parts_add_up(recipe: _spec.Recipe) -> None:
    entries = unpack(recipe)
    assert 1 + sum(parts for _, _, _, parts in entries) == len(entries)


@pytest.mark.parametrize("value", ["many", [1], {}, 1j, b"1", ...], ids=repr)
def test_what_is_no_number_is_refused(value: Any) -> None:
    for make in (
        lambda: lw.Constant(value),
        lambda: lw.MultiStep([1, value]),
        lambda: lw.FactorTable([value]),
        lambda: lw.Piecewise([(1, value)]),
        lambda: lw.Sequential([lw.Linear(1), lw.Linear(1)], [value]),
    ):
        with pytest.raises((TypeError, lw.OutOfRange), match="number"):
            make()


def test_lists_that_are_none() -> None:
    for make in (
        lambda: lw.MultiStep(5),  # type: ignore[arg-type]
        lambda: lw.FactorTable(0.5),  # type: ignore[arg-type]
        lambda: lw.Piecewise([1, 2]),  # type: ignore[list-item]
        lambda: lw.Exclude("*/bias"),
        lambda: lw.MuP({"a": 8}),  # type: ignore[dict-item]
        lambda: lw.Explicit([1.0]),  # type: ignore[arg-type]
        lambda: lw.RateSlice(),  # type: ignore[call-overload]
        lambda: lw.RateSlice(1.0, 2.0, 3.0),  # type: ignore[call-overload]
    ):
        with pytest.raises(TypeError):
            make()
    for pair in ((1,), (1, 2, 3), ()):
        with pytest.raises(lw.InvalidArgument, match="expected two numbers"):
            lw.MuP({"a": pair})  # type: ignore[dict-item]
        with pytest.raises(lw.InvalidArgument, match=r"points\[1\]: expected two numbers"):
            lw.Piecewise([(0, 1.0), pair])  # type: ignore[list-item]


def test_parts_that_are_none() -> None:
    for make in (
        lambda: lw.Warmup(2, "cosine"),  # type: ignore[arg-type]
        lambda: lw.Product(lw.Linear, lw.Linear),  # type: ignore[arg-type]
        lambda: lw.Sequential([1, 2], [1]),  # type: ignore[list-item]
        lambda: lw.Combine("uniform", lw.Uniform()),  # type: ignore[arg-type]
        lambda: lw.ForTower("", None),  # type: ignore[arg-type]
    ):
        with pytest.raises(TypeError, match="cannot be a part"):
            make()


def test_parts_of_another_kind() -> None:
    with pytest.raises(lw.UnknownName, match='no schedule is called "layer_decay", expected one of constant, '):
        lw.Warmup(2, lw.LayerDecay(0.5))  # type: ignore[arg-type]
    with pytest.raises(lw.UnknownName, match=r'no policy is called "cosine".*, expected one of uniform, '):
        lw.Combine(lw.Uniform(), lw.Cosine(3))  # type: ignore[arg-type]
    with optimizer() as opt:
        for key, value in (("schedule", lw.Uniform()), ("policy", lw.Cosine(3)), ("freezing", lw.Uniform())):
            with pytest.raises(TypeError, match=f"{key}.*: expected one such as"):
                setattr(opt, key, value)


def test_nested_too_deep() -> None:
    schedule: lw.Schedule = lw.Constant()
    for _ in range(32):
        schedule = lw.Warmup(1, schedule)
    assert schedule.evaluate(1)[0] == 0.0
    for _ in range(5000):
        # The library judges a whole, however it came to be.
        whole = object.__new__(lw.Warmup)
        vars(whole).update(vars(lw.Warmup(1)) | {"then": schedule})
        schedule = whole
    with pytest.raises(lw.InvalidArgument, match="deep"):
        schedule.evaluate(1)
    with pytest.raises(lw.InvalidArgument, match="deep"):
        lw.Warmup(1, schedule)


def test_names_that_c_cannot_hold() -> None:
    for make in (
        lambda: lw.Explicit({"a\0b": 1.0}),
        lambda: lw.Exclude(["a\0b"]),
        lambda: lw.LoRAPlus(match="a\0b"),
        lambda: lw.ForTower("a\0b", lw.Uniform()),
        lambda: lw.MuP({"a\0b": (1, 1)}),
        lambda: lw.FreezeAt({"a\0b": 1}),
    ):
        with pytest.raises(lw.InvalidArgument, match="NUL"):
            make()
    with pytest.raises(lw.InvalidArgument, match="NUL"), optimizer() as opt:
        opt.set_schedule(lw.Constant(), key="l\0r")
    with pytest.raises(lw.OutOfRange, match="takes text"):
        lw.Explicit({1: 1.0})  # type: ignore[dict-item]
    with pytest.raises(lw.InvalidArgument, match="UTF-8"):
        lw.Explicit({"\ud800": 1.0})
    with pytest.raises(lw.OutOfRange, match="255 bytes"):
        lw.Explicit({"x" * 256: 1.0})
