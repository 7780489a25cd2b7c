# SPDX-License-Identifier: Apache-2.0
"""The preview has the rates that the steps use, bit for bit."""

import json
import math
from itertools import product
from typing import Any

import numpy as np
import pytest
from support.recipes import FIXED_PLANS, LAYERS, MEASURING, POLICIES, SCHEDULES, name_of, optimizer

import layerwise as lw


def step_and_observe(opt: lw.Optimizer) -> list[float]:
    """The rates of one step, as it took them."""
    opt.step()
    return [telemetry.effective_lr for telemetry in opt.telemetry().values()]


PREVIEWED = [policy for policy in POLICIES if not isinstance(policy, MEASURING)]


@pytest.mark.parametrize("plan", [None, *FIXED_PLANS], ids=name_of)
@pytest.mark.parametrize("schedule", SCHEDULES, ids=name_of)
def test_preview_is_what_steps_do(schedule: lw.Schedule, plan: lw.FreezePlan | None) -> None:
    """Each schedule with each plan; a third of the policies, in turns, so that each of them meets all of both."""
    turn = SCHEDULES.index(schedule) + len(FIXED_PLANS if plan is None else FIXED_PLANS[: FIXED_PLANS.index(plan)])
    for policy in PREVIEWED[turn % 3 :: 3]:
        with optimizer(policy=policy, schedule=schedule, freezing=plan, telemetry=True) as opt:
            opt.layer("block.1").schedule = lw.Warmup(3, lw.InverseTime(0.3))
            opt.layer("norm").set(start=4, lr=0.03)
            preview = np.asarray(opt.preview(24))
            for step in range(24):
                if step % 7 == 0:
                    assert [row["effective_lr"] for row in opt.explain_rows()] == preview[:, step].tolist()
                    assert [layer.effective_lr for layer in opt.layers.values()] == preview[:, step].tolist()
                assert step_and_observe(opt) == preview[:, step].tolist()


@pytest.mark.parametrize("schedule", SCHEDULES, ids=name_of)
def test_any_steps_can_be_asked_for(schedule: lw.Schedule) -> None:
    with optimizer(policy=lw.LayerDecay(0.5), schedule=schedule, freezing=lw.FreezeOut(20)) as opt:
        whole = np.asarray(opt.preview(3000))
        assert np.array_equal(opt.preview(5, first=7), whole[:, 7:12])
        assert np.array_equal(opt.preview(300, first=2, stride=7), whole[:, 2:2102:7])
        opt.step()
        opt.step()
        assert np.array_equal(opt.preview(5), whole[:, 2:7])
        assert np.array_equal(opt.preview(1, first=0), whole[:, :1])
        assert opt.explain(5) != opt.explain()
        for step in (0, 5, 11):
            assert [row["effective_lr"] for row in opt.explain_rows(step)] == whole[:, step].tolist()
            assert json.loads(opt.explain_json(step))["step"] == step


@pytest.mark.parametrize("schedule", SCHEDULES, ids=name_of)
def test_a_layer_of_scale_1_gets_what_evaluate_says(schedule: lw.Schedule) -> None:
    with optimizer(schedule=schedule) as opt:
        assert opt.preview(30).tolist()[0] == schedule.evaluate(30, base=0.1).tolist()


def test_reports_change_what_comes() -> None:
    with optimizer(schedule=lw.ReduceOnPlateau(patience=0, factor=0.5), telemetry=True) as opt:
        assert opt.preview(2).tolist()[0] == [0.1, 0.1]
        opt.report(1.0)
        opt.report(2.0)
        assert opt.preview(2).tolist()[0] == [0.05, 0.05] == 2 * [step_and_observe(opt)[0]]


def test_the_view() -> None:
    with optimizer(schedule=lw.Linear(10)) as opt:
        view = opt.preview(7)
        assert isinstance(view.view, memoryview)
        assert view.shape == view.view.shape == (len(LAYERS), 7)
        assert (view.view.format, view.view.ndim, view.view.c_contiguous) == ("d", 2, True)
        assert view[2, 3] == view[LAYERS[2], 3] == view[LAYERS[2]][3] == np.asarray(view)[2, 3]
        assert np.shares_memory(np.asarray(view), np.asarray(view))
        assert not np.shares_memory(np.array(view), np.asarray(view))
        assert list(view) == view.tolist() == np.asarray(view).tolist() and len(view) == len(LAYERS)
        assert view == opt.preview(7) != opt.preview(6)
        with pytest.raises(KeyError, match="no layer is called 'haed'"):
            view["haed"]
        with pytest.raises(IndexError):
            view[len(LAYERS)]
        assert np.asarray(opt.preview(0)).shape == (len(LAYERS), 0)
    with lw.Optimizer(lw.SGD()) as empty:
        assert np.asarray(empty.preview(3)).shape == (0, 3)
        assert empty.explain_rows() == []


def test_preview_refuses() -> None:
    with optimizer() as opt:
        attempts: list[dict[str, Any]] = [
            {"steps": -1},
            {"steps": 1, "first": -1},
            {"steps": 1, "first": 2**53 + 1},
            {"steps": 1, "first": 2**64},
            {"steps": 1, "stride": 0},
            {"steps": 1, "stride": -1},
            {"steps": 1, "stride": 2**64 + 1},
            {"steps": 3, "stride": 2**53},
        ]
        for options in attempts:
            with pytest.raises(lw.OutOfRange):
                opt.preview(**options)
        for options in ({"steps": 1.5}, {"steps": None}, {"steps": 1, "first": "0"}):
            with pytest.raises(TypeError):
                opt.preview(**options)  # type: ignore[arg-type]
        with pytest.raises(MemoryError):
            opt.preview(2**50)
        for step in (-1, -2, 2**53 + 1, 2**64):
            for call in (opt.explain, opt.explain_json, opt.explain_rows):
                with pytest.raises(lw.OutOfRange, match="step must be from 0"):
                    call(step)


def test_rows() -> None:
    schedule = lw.Cosine(10, warmup_steps=2, min_lr=0.01)
    with optimizer(lw.AdamW(lr=0.1, weight_decay=0.5), policy=lw.LayerDecay(0.5), schedule=schedule) as opt:
        opt.layer("head").set(scale=3.0, weight_decay=0.0)
        rows = opt.explain_rows(1)
        assert [row["layer"] for row in rows] == list(LAYERS)
        assert [row["depth"] for row in rows] == [0, 1, 2, 3, 4]
        assert [row["role"] for row in rows] == ["stem", "block", "block", "norm", "head"]
        assert [row["scale"] for row in rows] == [1 / 16, 1 / 8, 1 / 4, 1 / 2, 3.0]
        assert [row["scale_from"] for row in rows] == 4 * ["layer_decay"] + ["layer"]
        assert [row["base_lr"] for row in rows] == 5 * [0.1]
        assert [row["schedule_factor"] for row in rows] == 5 * [0.5]
        assert [row["floor_lr"] for row in rows] == [0.01 * row["scale"] for row in rows]
        assert [row["weight_decay"] for row in rows] == 4 * [0.5] + [0.0]
        assert [row["parameters"] for row in rows] == 5 * [16]
        top = json.loads(opt.explain_json())
        assert {key: top[key] for key in ("rule", "base_lr", "policy", "schedule", "freezing", "step")} == {
            "rule": "adamw",
            "base_lr": 0.1,
            "policy": "layer_decay",
            "schedule": "cosine",
            "freezing": None,
            "step": 0,
        }


def test_what_is_told_of_a_layer_is_in_the_rows() -> None:
    for schedule, plan in product(SCHEDULES[:4], FIXED_PLANS):
        with optimizer(lw.Adam(), policy=POLICIES[2], schedule=schedule, freezing=plan) as opt:
            opt.seek(3)
            for row, layer in zip(opt.explain_rows(), opt.layers.values(), strict=True):
                info = layer.info
                assert (row["layer"], row["depth"], row["tower"]) == (layer.name, layer.depth, layer.tower)
                assert (row["role"], row["scale"]) == (layer.role, layer.scale) == (info.role, info.scale)
                assert (row["frozen_by"], row["changes_at"]) == (info.frozen_by, info.changes_at)
                assert row["schedule_factor"] == info.schedule_factor
                assert not math.isnan(info.schedule_factor)


def test_names_are_escaped() -> None:
    name = 'a"b\\c\u00e9\U0001f600'
    with lw.Optimizer(lw.SGD()) as opt:
        opt.add_layer(name, np.ones(1), tower=name)
        (row,) = opt.explain_rows()
        assert (row["layer"], row["tower"]) == (name, name)
        assert opt.layer(name).tower == opt.layer(name).get("tower") == name
