# SPDX-License-Identifier: Apache-2.0
"""A run that is stopped, saved and resumed ends with the bits of one that was not."""

import math
from itertools import zip_longest
from typing import Any

import numpy as np
import pytest
from support.recipes import LAYERS, PLANS, POLICIES, SCHEDULES, name_of, optimizer, weights

import layerwise as lw

RULE = lw.AdamW(lr=0.05, weight_decay=0.1)


def metric(step: int) -> float:
    """A loss that stops falling."""
    return max(1.0 - 0.1 * step, 0.6)


def run(opt: lw.Optimizer, steps: range, *, reports: bool) -> None:
    """Some steps, with metrics between them."""
    for step in steps:
        assert opt.next_step == step
        opt.step()
        if reports:
            opt.report(metric(step))


def carry_over(source: lw.Optimizer, target: lw.Optimizer) -> None:
    """Parameters and all states, as a checkpoint holds them."""
    for name, layer in source.layers.items():
        for old, new in zip(layer._record.tensors, target.layer(name)._record.tensors, strict=True):
            new.parameters.owner[...] = old.parameters.owner  # type: ignore[index]
        for tensor, states in layer.states().items():
            for state in states:
                target.layer(name).write_state(tensor, state, layer.read_state(tensor, state))
    target.seek(source.next_step)
    target.set_measurements(source.measurements())


@pytest.mark.parametrize(
    ("schedule", "policy", "plan"),
    [*zip_longest(SCHEDULES, POLICIES, [*PLANS, None, None, *PLANS])],
    ids=name_of,
)
def test_resumed(schedule: lw.Schedule, policy: lw.Policy | None, plan: lw.FreezePlan | None) -> None:
    reports = isinstance(schedule, lw.ReduceOnPlateau)
    options: dict[str, Any] = {"policy": policy, "schedule": schedule, "freezing": plan}
    with optimizer(RULE, **options) as straight, optimizer(RULE, **options) as first:
        run(straight, range(20), reports=reports)
        run(first, range(11), reports=reports)
        with optimizer(RULE, **options) as second:
            carry_over(first, second)
            second.set_schedule_state(first.schedule_state())
            assert bytes(second.preview(9)) == bytes(first.preview(9))
            run(second, range(11, 20), reports=reports)
            assert weights(second) == weights(straight) != weights(first)


def test_the_state_of_a_schedule() -> None:
    with optimizer(schedule=lw.ReduceOnPlateau(patience=1, factor=0.5, cooldown=3)) as opt:
        assert opt.schedule_state() == [1.0, math.inf, 0.0, 0.0]
        for value in (1.0, 0.5, 0.75, 0.75):
            opt.report(value)
        assert opt.schedule_state() == [0.5, 0.5, 0.0, 3.0]
        opt.report(0.75)
        assert opt.schedule_state() == [0.5, 0.5, 0.0, 2.0]
        with optimizer(schedule=lw.ReduceOnPlateau(patience=1, factor=0.5, cooldown=3)) as other:
            other.set_schedule_state(opt.schedule_state())
            assert other.schedule_state() == opt.schedule_state()
            assert other.layer("embed").effective_lr == 0.05
            other.set_schedule_state(np.array([0.25, 0.5, 1, 0]))  # type: ignore[arg-type]
            assert other.schedule_state() == [0.25, 0.5, 1.0, 0.0]


def test_the_state_of_parts_one_after_another() -> None:
    plateau = lw.ReduceOnPlateau(patience=0, factor=0.5)
    schedule = lw.Product(lw.Warmup(2, plateau), *[lw.ReduceOnPlateau(patience=0, factor=0.1)] * 5, lw.Constant())
    with optimizer(schedule=schedule) as opt:
        opt.report(1.0)
        opt.report(1.0)
        assert opt.schedule_state() == [0.5, 1.0, 0.0, 0.0] + 5 * [0.1, 1.0, 0.0, 0.0]


def test_the_states_of_layers_and_of_other_numbers() -> None:
    with optimizer(lw.SGD(0.1, momentum=0.9), schedule={"momentum": lw.ReduceOnPlateau(patience=0)}) as opt:
        opt.layer("head").schedule = lw.ReduceOnPlateau(patience=0, factor=0.5)
        opt.report(1.0)
        opt.report(1.0)
        assert opt.schedule_state("momentum") == [0.1, 1.0, 0.0, 0.0]
        assert opt.schedule_state(layer="head") == [0.5, 1.0, 0.0, 0.0]
        opt.set_schedule_state([1.0, 1.0, 0.0, 0.0], layer="head")
        assert opt.layer("head").effective_lr == 0.1
        for key, layer in (("lr", None), ("momentum", "head"), ("lr", "embed")):
            with pytest.raises(lw.NotFound, match=f"{key} has no schedule"):
                opt.schedule_state(key, layer)
            with pytest.raises(lw.NotFound, match=f"{key} has no schedule"):
                opt.set_schedule_state([1.0], key, layer)


def test_states_that_do_not_fit() -> None:
    with optimizer(schedule=lw.ReduceOnPlateau(), freezing=None) as opt:
        before = opt.schedule_state()
        for state in ([], [1.0], [1.0] * 5):
            with pytest.raises(lw.ShapeMismatch, match="4 numbers of state"):
                opt.set_schedule_state(state)
        for state in (["1", 1, 1, 1], 1.0, None):
            with pytest.raises(TypeError):
                opt.set_schedule_state(state)  # type: ignore[arg-type]
        for state in ([math.nan, 1.0, 0.0, 0.0], [-1.0, 1.0, 0.0, 0.0], [1.0, 1.0, 0.5, 0.0], [1.0, 1.0, 0.0, -3.0]):
            with pytest.raises(lw.OutOfRange):
                opt.set_schedule_state(state)
            assert opt.schedule_state() == before
        opt.schedule = lw.Linear(5)
        assert opt.schedule_state() == []
        opt.set_schedule_state([])


def test_back_to_the_start() -> None:
    with optimizer(RULE, schedule=lw.Linear(6), freezing=lw.GradualUnfreezing(2)) as opt:
        preview = bytes(opt.preview(12, first=0))
        run(opt, range(4), reports=False)
        opt.seek(0)
        assert bytes(opt.preview(12)) == preview
        run(opt, range(4), reports=False)
        assert [layer.info.steps for layer in opt.layers.values()] == [0, 0, 0, 4, 8]
        assert len(LAYERS) == 5
