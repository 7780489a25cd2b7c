# SPDX-License-Identifier: Apache-2.0
"""Schedules equal those of timm 1.0.31 (timm/scheduler), which is not installed: its formulas are written out here.

A scheduler of timm computes one rate, floor and start of the warm-up included, and `Scheduler.update_groups`
(scheduler.py) multiplies it by each group's `lr_scale`.  So floors here are scaled.
"""

import math
from bisect import bisect_right
from collections.abc import Callable

import numpy as np
import pytest
from support.conformance import BASE, RATES, assert_same, rates_of_layers
from support.material import Array

import layerwise as lw

T, W = 90, 12
LOWEST, FIRST = 0.004, 0.01
"""lr_min and warmup_lr_init."""

Falls = Callable[[float, int], float]
"""The share of the way from lr_min to the rate, at a time in a cycle of a length."""


def cosine(k: float = 1.0) -> Falls:
    """cosine_lr.py, `CosineLRScheduler._get_lr`."""
    return lambda time, length: 0.5 * (1 + math.cos(math.pi * time**k / length**k))


def poly(power: float = 0.5, k: float = 1.0) -> Falls:
    """poly_lr.py, `PolyLRScheduler._get_lr`."""
    return lambda time, length: (1 - time**k / length**k) ** power


def tanh(lower: float = -7.0, upper: float = 3.0) -> Falls:
    """tanh_lr.py, `TanhLRScheduler._get_lr`."""
    return lambda time, length: 0.5 * (1 - math.tanh(lower * (1 - time / length) + upper * time / length))


def cycled(
    falls: Falls,
    t: int,
    *,
    t_initial: int = T,
    lr_min: float = LOWEST,
    cycle_mul: float = 1.0,
    cycle_decay: float = 1.0,
    cycle_limit: int = 1,
) -> float:
    """What the three have in common, after the warm-up: cycles of growing length and falling height."""
    if cycle_mul == 1:
        cycle, length = t // t_initial, float(t_initial)
        time = float(t - t_initial * cycle)
    else:
        cycle = math.floor(math.log(1 - t / t_initial * (1 - cycle_mul), cycle_mul))
        length = cycle_mul**cycle * t_initial
        time = t - (1 - cycle_mul**cycle) / (1 - cycle_mul) * t_initial
    if cycle >= cycle_limit:
        return lr_min
    return lr_min + (BASE * cycle_decay**cycle - lr_min) * falls(time, length)  # type: ignore[arg-type]


def stepped(t: int, decay_t: int, decay_rate: float) -> float:
    """step_lr.py, `StepLRScheduler._get_lr`."""
    return BASE * float(decay_rate ** (t // decay_t))


def multistepped(t: int, decay_t: list[int], decay_rate: float) -> float:
    """multistep_lr.py, `MultiStepLRScheduler._get_lr`: a milestone m holds from t = m - 1 on, unlike torch's."""
    return BASE * float(decay_rate ** bisect_right(decay_t, t + 1))


def warmed_up(rate: Callable[[int], float], t: int, *, prefix: bool, top: float = BASE) -> float:
    """The warm-up, the same in all: from warmup_lr_init to `top`; with warmup_prefix what follows starts after it."""
    if t < W:
        return FIRST + t * ((top - FIRST) / W)
    return rate(t - W if prefix else t)


def rates_of_groups(rate: Callable[[int], float], steps: int) -> Array:
    """`Scheduler.update_groups`."""
    values = np.array([rate(t) for t in range(steps)])
    return np.array([values * (peak / BASE) for peak in RATES.values()])


SHAPES: dict[str, tuple[Callable[[int], float], lw.Schedule]] = {
    "CosineLRScheduler": (lambda t: cycled(cosine(), t), lw.Cosine(T, min_lr=LOWEST)),
    "CosineLRScheduler, k_decay": (lambda t: cycled(cosine(1.6), t), lw.Cosine(T, k_decay=1.6, min_lr=LOWEST)),
    "CosineLRScheduler, three cycles": (
        lambda t: cycled(cosine(), t, t_initial=30, cycle_decay=0.4, cycle_limit=3),
        lw.CosineRestarts(30, amplitude=0.4, cycle_limit=3, min_lr=LOWEST),
    ),
    "CosineLRScheduler, longer and longer": (
        lambda t: cycled(cosine(), t, t_initial=20, cycle_mul=2.0, cycle_decay=0.7, cycle_limit=3),
        lw.CosineRestarts(20, cycle_mult=2, amplitude=0.7, cycle_limit=3, min_lr=LOWEST),
    ),
    "CosineLRScheduler, not whole": (
        lambda t: cycled(cosine(), t, t_initial=20, cycle_mul=1.37, cycle_limit=4),
        lw.CosineRestarts(20, cycle_mult=1.37, cycle_limit=4, min_lr=LOWEST),
    ),
    "PolyLRScheduler": (lambda t: cycled(poly(), t), lw.Polynomial(T, 0.5, min_lr=LOWEST)),
    "PolyLRScheduler, k_decay": (
        lambda t: cycled(poly(2.0, 0.7), t),
        lw.Polynomial(T, 2.0, k_decay=0.7, min_lr=LOWEST),
    ),
    "PolyLRScheduler, line": (lambda t: cycled(poly(1.0), t), lw.Linear(T, min_lr=LOWEST)),
    "StepLRScheduler": (lambda t: stepped(t, 25, 0.3), lw.StepDecay(25, 0.3)),
    "MultiStepLRScheduler": (
        lambda t: multistepped(t, [20, 50, 51], 0.4),
        lw.MultiStep([milestone - 1 for milestone in (20, 50, 51)], 0.4),
    ),
}


@pytest.mark.parametrize("warmup", ["no warm-up", "overlap", "prefix"])
@pytest.mark.parametrize(("rate", "schedule"), SHAPES.values(), ids=SHAPES)
def test_rates_of_all_groups(rate: Callable[[int], float], schedule: lw.Schedule, warmup: str) -> None:
    theirs, ours = rate, schedule
    if warmup != "no warm-up":
        prefix = warmup == "prefix"
        ours = lw.Warmup(W, schedule, start=FIRST / BASE, overlap=not prefix)

        def theirs(t: int) -> float:
            return warmed_up(rate, t, prefix=prefix)

    assert_same(rates_of_layers(ours, 200), rates_of_groups(theirs, 200))


@pytest.mark.parametrize(("lower", "upper"), [(-7.0, 3.0), (-4.0, 1.5)])
def test_tanh(lower: float, upper: float) -> None:
    """TanhLRScheduler, whose curve begins a little below the rate."""

    def rate(t: int) -> float:
        return cycled(tanh(lower, upper), t)

    curve = lw.Tanh(T, lower=lower, upper=upper, min_lr=LOWEST)
    assert_same(rates_of_layers(curve, 120), rates_of_groups(rate, 120))
    # With warmup_prefix timm's warm-up ends at the rate, and not where the curve begins, as `Warmup` does.
    rise = lw.Warmup(W, start=FIRST / BASE)
    theirs = rates_of_groups(lambda t: warmed_up(rate, t, prefix=True), 120)
    assert_same(rates_of_layers(lw.Sequential([rise, curve], [W]), 120), theirs)
    lower_rise = rates_of_layers(lw.Warmup(W, curve, start=FIRST / BASE), 120)
    assert_same(lower_rise[:, W:], theirs[:, W:])
    assert_same(lower_rise[:, :W], theirs[:, :W] * rate(0) / BASE)
    # Without it, timm's ends where the curve is at t = W.
    rise_to_curve = lw.Piecewise([(0, FIRST / BASE), (W, rate(W) / BASE)], "linear")
    rest = lw.FactorTable([value / BASE for value in curve.evaluate(120, base=BASE, first=W)])
    assert_same(
        rates_of_layers(lw.Sequential([rise_to_curve, rest], [W]), 120),
        rates_of_groups(lambda t: warmed_up(rate, t, prefix=False, top=rate(W)), 120),
    )


# ---- What timm does otherwise


def test_a_restart_that_a_logarithm_misses() -> None:
    """With cycle_mul 3 the sixth cycle, after 10, 30, 90, 270 and 810 steps, begins at 1210.

    There timm's logarithm gives 4.999..., and its rate is the floor for one step more.  Ours restarts.
    """
    ours = rates_of_layers(lw.CosineRestarts(10, cycle_mult=3, min_lr=LOWEST), 2000)
    theirs = rates_of_groups(lambda t: cycled(cosine(), t, t_initial=10, cycle_mul=3.0, cycle_limit=99), 2000)
    peaks = np.array(list(RATES.values()))
    assert_same(theirs[:, 1210], peaks / BASE * LOWEST)
    assert_same(ours[:, 1210], peaks)
    assert_same(np.delete(ours, 1210, axis=1), np.delete(theirs, 1210, axis=1))
