# SPDX-License-Identifier: Apache-2.0
"""Schedules of the optimizer and of its layers: what they move, when they count, and what is refused."""

import array
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from support.recipes import SCHEDULES, name_of, optimizer, weights

import layerwise as lw


def test_evaluate() -> None:
    values = lw.Linear(4).evaluate(6)
    assert isinstance(values, array.array)
    assert values.tolist() == [1.0, 0.75, 0.5, 0.25, 0.0, 0.0]
    assert lw.Linear(4).evaluate(2, base=8.0, first=1).tolist() == [6.0, 4.0]
    assert lw.Linear(4).evaluate(3, first=1, stride=2).tolist() == [0.75, 0.25, 0.0]
    assert lw.Linear(4, min_lr=0.5).evaluate(3, base=2.0, stride=2).tolist() == [2.0, 1.25, 0.5]
    assert lw.Linear(4).evaluate(1, first=2**53).tolist() == [0.0]
    assert lw.Linear(4).evaluate(0).tolist() == []
    assert lw.Linear(4).evaluate(np.int32(2), base=np.float32(1)).tolist() == [1.0, 0.75]  # type: ignore[arg-type]


def test_evaluate_refuses() -> None:
    schedule = lw.Linear(4)
    for options, match in (
        ({"steps": -1}, "steps must be from 0 to"),
        ({"steps": 2**64 + 1}, "steps must be from 0 to"),
        ({"steps": 1, "first": -1}, "first must be from 0 to"),
        ({"steps": 1, "first": 2**63 - 1}, "first must be at least 0"),
        ({"steps": 1, "stride": 0}, "stride at least 1"),
        ({"steps": 3, "stride": 2**53}, "at most 2"),
        ({"steps": 1, "base": -1.0}, r"base must be in \[0, inf\), found -1"),
        ({"steps": 1, "base": math.nan}, r"base must be in \[0, inf\), found nan"),
        ({"steps": 1, "base": math.inf}, r"base must be in \[0, inf\), found inf"),
    ):
        with pytest.raises(lw.OutOfRange, match=match):
            schedule.evaluate(**options)  # type: ignore[arg-type]
    for options in ({"steps": 1.0}, {"steps": "1"}, {"steps": 1, "first": 0.5}, {"steps": 1, "base": "1"}):
        with pytest.raises((TypeError, lw.OutOfRange)):
            schedule.evaluate(**options)  # type: ignore[arg-type]
    with pytest.raises(MemoryError):
        schedule.evaluate(2**60)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=name_of)
def test_a_schedule_is_a_rate_for_each_step(schedule: lw.Schedule) -> None:
    with optimizer(schedule=schedule) as scheduled, optimizer() as by_hand:
        for value in schedule.evaluate(25, base=0.1):
            by_hand.lr = value
            by_hand.step()
            scheduled.step()
            assert weights(scheduled) == weights(by_hand)


MOVED: list[tuple[lw.Rule, str, lw.Schedule]] = [
    (lw.SGD(0.1, momentum=0.5), "momentum", lw.OneCycleMomentum(8)),
    (lw.SGD(0.1, momentum=0.5, weight_decay=0.1), "weight_decay", lw.Linear(8)),
    (lw.Adam(0.01), "beta1", lw.CyclicMomentum(step_size_up=3)),
    (lw.AdamW(0.01), "eps", lw.Piecewise([(3, 0.5)])),
    (lw.LARS(0.1, momentum=0.9), "trust_coefficient", lw.Cosine(16)),
    (lw.LAMB(0.01), "beta2", lw.Exponential(0.99)),
]


@pytest.mark.parametrize(("rule", "key", "schedule"), MOVED, ids=lambda value: value if isinstance(value, str) else "")
def test_any_number_of_the_rule_can_be_moved(rule: lw.Rule, key: str, schedule: lw.Schedule) -> None:
    with optimizer(rule, schedule={key: schedule}) as scheduled, optimizer(rule) as by_hand:
        base = scheduled.get(key)
        assert isinstance(base, float)
        for value in schedule.evaluate(8, base=base):
            by_hand.set(**{key: value})
            by_hand.step()
            scheduled.step()
            assert weights(scheduled) == weights(by_hand)
        assert scheduled.get(key) == base
        scheduled.set_schedule(None, key)
        by_hand.set(**{key: base})
        by_hand.step()
        scheduled.step()
        assert weights(scheduled) == weights(by_hand)


def test_several_at_once() -> None:
    schedules = {"lr": lw.OneCycle(10), "momentum": lw.OneCycleMomentum(10)}
    with optimizer(lw.SGD(0.5, momentum=0.9), schedule=schedules) as opt:
        assert opt.schedule == lw.OneCycle(10)
        assert opt.preview(3).tolist()[0] == lw.OneCycle(10).evaluate(3, base=0.5).tolist()
        opt.schedule = None
        opt.step()
    assert optimizer(schedule={}).schedule is None


def test_what_leaves_its_range_is_refused_at_the_step() -> None:
    with optimizer(lw.LARS(0.1, momentum=0.6), schedule={"momentum": lw.FactorTable([1.0, 2.0])}) as opt:
        opt.step()
        before = weights(opt), opt.summary().steps, opt.next_step
        with pytest.raises(
            lw.OutOfRange, match=r"schedule of momentum at step 1: momentum must be in \[0, 1\), found 1.2"
        ):
            opt.step()
        assert (weights(opt), opt.summary().steps, opt.next_step) == before
    with optimizer(lw.SGD(1e300), schedule=lw.Constant(1e300)) as opt:
        before = weights(opt), opt.summary().steps, opt.next_step
        with pytest.raises(lw.OutOfRange, match=r'layer ".*": the effective rate at step 0 is not finite'):
            opt.step()
        assert (weights(opt), opt.summary().steps, opt.next_step) == before


def test_unknown_numbers() -> None:
    with optimizer(lw.Adam()) as opt:
        for key in ("betas", "momentum", "amsgrad", "", "LR"):
            with pytest.raises(lw.UnknownName, match=f'Adam: no number is called "{key}".*, expected one of lr, beta1'):
                opt.set_schedule(lw.Constant(), key)
            with pytest.raises(lw.UnknownName, match="expected one of lr, beta1"):
                opt.set_schedule(lw.Constant(), key, "head")
    with pytest.raises(lw.UnknownName, match="expected one of lr, momentum"):
        lw.Optimizer(lw.SGD(), schedule={"betas": lw.Constant()})


# ---- Layers


def test_a_layers_own_schedule() -> None:
    with optimizer(schedule=lw.Linear(4)) as opt:
        head = opt.add_layer("own", np.ones(2), np.ones(2), schedule=lw.Constant(0.5), scale=2.0)
        assert head.schedule == lw.Constant(0.5)
        assert head.effective_lr == 0.1
        opt.step()
        assert (opt.layer("embed").effective_lr, head.effective_lr) == (0.1 * 0.75, 0.1)
        head.schedule = lw.FactorTable([1.0, 0.25])
        assert head.effective_lr == 0.05
        head.schedule = None
        assert head.schedule is None
        assert head.effective_lr == 2 * opt.layer("embed").effective_lr
        opt.set_schedule(lw.Constant(3.0), layer="own")
        assert opt.layer("own").schedule == lw.Constant(3.0)
        assert opt.schedule == lw.Linear(4)


def test_a_layers_own_schedule_waits_for_another_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """The layer is added before its schedule is set, and a thread that steps meanwhile must not keep it from it."""
    refusals = [lw.BusyOptimizer("another thread is inside")] * 3
    set_schedule = lw.Optimizer.set_schedule

    def busy_at_first(opt: lw.Optimizer, *arguments: Any, **options: Any) -> None:
        if refusals:
            raise refusals.pop()
        set_schedule(opt, *arguments, **options)

    monkeypatch.setattr(lw.Optimizer, "set_schedule", busy_at_first)
    with optimizer() as opt:
        layer = opt.add_layer("own", np.ones(2), schedule=lw.Constant(0.5))
        assert layer.schedule == lw.Constant(0.5)
        assert layer.effective_lr == 0.05
        assert not refusals


def test_a_layers_own_schedule_of_another_number() -> None:
    gradient = np.ones(2)
    with lw.Optimizer(lw.SGD(1.0, weight_decay=0.5), schedule={"weight_decay": lw.Constant(0.0)}) as opt:
        first, second = np.ones(2), np.ones(2)
        opt.add_layer("a", first, gradient)
        opt.add_layer("b", second, gradient)
        opt.set_schedule(lw.Constant(1.0), "weight_decay", layer="b")
        opt.step()
        assert (first == 0.0).all()
        assert (second == -0.5).all()


def test_a_layer_may_start_later() -> None:
    with optimizer(schedule=lw.Linear(4)) as opt:
        late = opt.add_layer("late", np.ones(2), np.ones(2), start=2)
        assert (late.start, opt.layer("embed").start) == (2, 0)
        rates = np.asarray(opt.preview(6))
        assert rates[0].tolist() == [0.1 * factor for factor in (1, 0.75, 0.5, 0.25, 0, 0)]
        assert rates[-1].tolist() == [0.1 * factor for factor in (1, 1, 1, 0.75, 0.5, 0.25)]
        late.set(start=0)
        assert np.array_equal(np.asarray(opt.preview(6))[-1], rates[0])


BAD: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: lw.Cosine(0), lw.OutOfRange, "total_steps must be a whole number from 1 to 9007199254740992, found 0"),
    (
        lambda: lw.Cosine(10, warmup_steps=11),
        lw.OutOfRange,
        "warmup_steps must not exceed total_steps, found 11 and 10",
    ),
    (lambda: lw.Cosine(1.5), lw.OutOfRange, "total_steps must be a whole number from 1 to"),  # type: ignore[arg-type]
    (lambda: lw.Cosine(math.nan), lw.OutOfRange, "total_steps must be a whole number from 1 to"),  # type: ignore[arg-type]
    (lambda: lw.Cosine(10, min_lr=-1e-3), lw.OutOfRange, r"min_lr must be in \[0, inf\), found -0.001"),
    (lambda: lw.Cosine(10, min_factor=2.0), lw.OutOfRange, r"min_factor must be in \[0, 1\], found 2.0"),
    (lambda: lw.Cosine(10, min_lr=1.0, min_factor=0.5), lw.OutOfRange, "min_lr or min_factor, not both"),
    (lambda: lw.Cosine(10, min_factor=0.5, floor="absolute"), lw.OutOfRange, "no effect on min_factor"),
    (lambda: lw.Cosine(10, floor="round"), lw.UnknownName, "one of scaled, absolute, relative"),  # type: ignore[arg-type]
    (lambda: lw.Cosine(10, cycles=0.0), lw.OutOfRange, r"cycles must be in \(0, inf\)"),
    (lambda: lw.CosineRestarts(0.5), lw.OutOfRange, r"cycle_steps must be in \[1, inf\), found 0.5"),
    (lambda: lw.CosineRestarts(5, cycle_mult=0.5), lw.OutOfRange, r"cycle_mult must be in \[1, inf\)"),
    (lambda: lw.Polynomial(10, -1.0), lw.OutOfRange, r"power must be in \(0, inf\)"),
    (lambda: lw.Exponential(1.5), lw.OutOfRange, r"gamma must be in \(0, 1\], found 1.5"),
    (lambda: lw.Exponential(0.5, every=0), lw.OutOfRange, "every must be a whole number from 1"),
    (lambda: lw.Exponential(0.5, staircase=2), lw.OutOfRange, "staircase must be 0 or 1"),  # type: ignore[arg-type]
    (lambda: lw.StepDecay(0), lw.OutOfRange, "every must be a whole number from 1"),
    (lambda: lw.MultiStep([]), lw.OutOfRange, "milestones must be given, at least one"),
    (lambda: lw.MultiStep([5, 3]), lw.OutOfRange, "milestones must rise, found 3 after 5"),
    (lambda: lw.MultiStep([1.5]), lw.OutOfRange, "milestones must be whole numbers from 0 to"),  # type: ignore[list-item]
    (lambda: lw.MultiStep([math.nan]), lw.OutOfRange, "number 0 of the list must be finite, found nan"),  # type: ignore[list-item]
    (lambda: lw.InverseTime(0.0), lw.OutOfRange, r"rate must be in \(0, inf\)"),
    (lambda: lw.Noam(0, 10), lw.OutOfRange, "model_size must be a whole number from 1"),
    (lambda: lw.OneCycle(10, pct_start=1.5), lw.OutOfRange, r"pct_start must be in \[0, 1\]"),
    (
        lambda: lw.OneCycle(10, pct_start=0.75, three_phase=True),
        lw.OutOfRange,
        r"pct_start must be in \[0, 0.5\] with three_phase",
    ),
    (lambda: lw.OneCycleMomentum(10, max_momentum=1.0), lw.OutOfRange, r"max_momentum must be in \[0, 1\), found 1.0"),
    (lambda: lw.SlantedTriangular(10, ratio=0.5), lw.OutOfRange, r"ratio must be in \[1, inf\)"),
    (
        lambda: lw.WarmupStableDecay(10, 6, warmup_steps=5),
        lw.OutOfRange,
        r"must not exceed total_steps, found 5 \+ 6 and 10",
    ),
    (lambda: lw.WarmupStableDecay(10, 6, cycles=1.0), lw.OutOfRange, "cycles must be 0.5 unless decay is cosine"),
    (lambda: lw.Tanh(10, lower=3.0, upper=-7.0), lw.OutOfRange, "lower must be less than upper, found 3.0 and -7.0"),
    (lambda: lw.Cyclic(gamma=0.5), lw.OutOfRange, "gamma must be 1 unless mode is exp_range"),
    (lambda: lw.Piecewise([]), lw.OutOfRange, "expected pairs of a step and its factor"),
    (lambda: lw.Piecewise([(1, -0.5)]), lw.OutOfRange, "factors must not be negative, found -0.5 at 0"),
    (lambda: lw.FactorTable([]), lw.OutOfRange, "factors must be given, at least one"),
    (lambda: lw.FactorTable([1.0, math.inf]), lw.OutOfRange, "number 1 of the list must be finite, found inf"),
    (lambda: lw.ReduceOnPlateau(factor=1.0), lw.OutOfRange, r"factor must be in \(0, 1\)"),
    (lambda: lw.ReduceOnPlateau(patience=-1), lw.OutOfRange, "patience must be a whole number from 0"),
    (lambda: lw.Warmup(0), lw.OutOfRange, "steps must be a whole number from 1"),
    (lambda: lw.Warmup(5, shape="exponential"), lw.OutOfRange, r"start must be in \(0, 1\] if shape is exponential"),
    (lambda: lw.Warmup(5, overlap=True), lw.OutOfRange, "overlap must be 0 without a schedule"),
    (lambda: lw.Warmup(5, count_from=2), lw.OutOfRange, "count_from must be a whole number from 0 to 1"),
    (lambda: lw.Warmup(5, lw.Cosine(0)), lw.OutOfRange, "cosine: total_steps"),
    (lambda: lw.Sequential([lw.Linear(5)], []), lw.OutOfRange, "expected at least two schedules, found 1"),
    (
        lambda: lw.Sequential([lw.Linear(5), lw.Linear(5)], [1, 2]),
        lw.OutOfRange,
        "expected 1 milestones for 2 schedules, found 2",
    ),
    (lambda: lw.Sequential([lw.Linear(5), lw.Linear(5)], [0]), lw.OutOfRange, "the first milestone must be at least 1"),
    (lambda: lw.Product(lw.Linear(5)), lw.OutOfRange, "two schedules"),
    (lambda: "cosine", TypeError, "expected one such as"),
    (lambda: lw.Cosine, TypeError, "expected one such as"),
    (lambda: lw.Cosine([10]), TypeError, "total_steps: expected a number"),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("make", "exception", "match"), BAD, ids=lambda value: None)
def test_refused(make: Callable[[], Any], exception: type[Exception], match: str) -> None:
    """Wherever a schedule is given, and a refused one leaves what was."""
    with optimizer(schedule=lw.Linear(7)) as opt:
        opt.layer("head").schedule = lw.Constant(0.5)
        before = opt.explain()
        attempts = [
            lambda: opt.set_schedule(make()),
            lambda: opt.set_schedule(make(), layer="head"),
            lambda: opt.add_layer("new", np.ones(2), schedule=make()),
            lambda: lw.Optimizer(lw.SGD(), schedule=make()),
        ]
        for attempt in attempts:
            with pytest.raises(exception, match=match):
                attempt()
        assert opt.explain() == before
        assert (opt.schedule, opt.layer("head").schedule) == (lw.Linear(7), lw.Constant(0.5))
        assert "new" not in opt.layers
        opt.add_layer("new", np.ones(2))


# ---- Time


def test_steps_count_from_the_first() -> None:
    with optimizer(schedule=lw.Linear(10), nonfinite="skip") as opt:
        assert opt.next_step == opt.summary().next_step == 0
        opt.step()
        assert opt.next_step == 1
        opt.step({"embed": {"bias": np.full(4, math.nan)}})
        assert (opt.next_step, opt.summary().skipped_steps) == (1, 1)
        with pytest.raises(lw.OutOfRange):
            opt.step(gradient_scale=0.0)
        assert opt.next_step == 1


def test_a_round_of_single_layers_is_one_step() -> None:
    with optimizer(schedule=lw.Linear(10), telemetry=True) as opt, optimizer(schedule=lw.Linear(10)) as at_once:
        for _ in range(3):
            for name in reversed(opt.layers):
                opt.step(layer=name)
            at_once.step()
            assert weights(opt) == weights(at_once)
            assert opt.next_step == at_once.next_step
        opt.step(layer="head")
        opt.step(layer="head")
        assert opt.layer("head").telemetry.effective_lr == 0.1 * 0.6
        assert opt.next_step == 5


def test_a_schedule_that_is_set_later_does_not_begin_anew() -> None:
    with optimizer() as opt:
        opt.step()
        opt.step()
        opt.schedule = lw.Linear(4)
        assert opt.layer("embed").effective_lr == 0.05
        opt.seek(0)
        assert opt.layer("embed").effective_lr == 0.1


def test_seek_refuses() -> None:
    with optimizer() as opt:
        opt.seek(5)
        for step in (-1, -(2**64), 2**53 + 1, 2**63, 2**64 + 7):
            with pytest.raises(lw.OutOfRange, match="step must be from 0 to"):
                opt.seek(step)
        for step in (1.0, "1", None):
            with pytest.raises(TypeError):
                opt.seek(step)  # type: ignore[arg-type]
        assert opt.next_step == 5
        opt.seek(2**53)
        assert opt.next_step == 2**53


# ---- Decay


def test_what_decay_follows() -> None:
    def decayed(**options: Any) -> float:
        weight = np.ones(1)
        with lw.Optimizer(lw.AdamW(lr=0.5, weight_decay=0.1), schedule=lw.Constant(0.5), **options) as opt:
            opt.add_layer("a", weight, np.zeros(1), scale=0.25)
            opt.step()
        return float(weight[0])

    assert decayed() == decayed(decay_follows="layer_lr") == 1 - 0.5 * 0.5 * 0.25 * 0.1
    assert decayed(decay_follows="base_lr") == 1 - 0.5 * 0.5 * 0.1
    assert decayed(decay_follows="independent") == 1 - 0.5 * 0.1
    with pytest.raises(lw.UnknownName, match="one of layer_lr, base_lr, independent"):
        decayed(decay_follows="nothing")


# ---- Metrics


def test_reports() -> None:
    with optimizer(schedule=lw.ReduceOnPlateau(factor=0.5, patience=1)) as opt:
        opt.layer("head").schedule = lw.Warmup(1, lw.ReduceOnPlateau(factor=0.1, patience=2), start=1.0)
        for metric in (1.0, np.float32(2.0), 3, math.nan):
            opt.report(metric)  # type: ignore[arg-type]
        assert opt.layer("embed").effective_lr == 0.05
        assert opt.layer("head").effective_lr == pytest.approx(0.01)
        for metric in ("low", None, [1.0]):
            with pytest.raises((TypeError, ValueError)):
                opt.report(metric)  # type: ignore[arg-type]


def test_a_report_that_nobody_takes() -> None:
    with optimizer(schedule=lw.Linear(4)) as opt, pytest.raises(lw.NotFound, match="no schedule takes a metric"):
        opt.report(1.0)
