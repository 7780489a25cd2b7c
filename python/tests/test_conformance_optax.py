# SPDX-License-Identifier: Apache-2.0
"""Schedules equal those of optax 0.2.8 (optax/schedules/_schedule.py and _join.py), which name the cases below.

optax's schedules are values where ours are factors of a base rate, here `PEAK`.  Both compute in float64.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import optax  # type: ignore[import-untyped]
import pytest
from support.conformance import assert_same
from support.material import Array

import layerwise as lw

jax.config.update("jax_enable_x64", True)  # type: ignore[no-untyped-call]

PEAK, END = 0.3, 0.012


Schedule = Callable[[Any], Any]
"""A schedule of optax."""


STEPS = 320
"""All schedules are as long: JAX compiles each operation once for each length."""


def values(schedule: Schedule) -> Array:
    """What an optax schedule says, at all steps at once."""
    return np.asarray(jax.vmap(lambda step: jax.numpy.asarray(schedule(step), float))(jax.numpy.arange(STEPS)))


def sgdr(*cycles: dict[str, Any]) -> Schedule:
    schedule: Schedule = optax.sgdr_schedule(cycles)
    return schedule


CYCLE = {"init_value": 0.03, "peak_value": PEAK, "warmup_steps": 8, "decay_steps": 50, "end_value": END}
"""A cycle of optax's sgdr_schedule, whose decay_steps include the warm-up."""


def cycle(steps: int, share: float = 1.0) -> lw.Schedule:
    """One cycle of another length, and a share of the peak."""
    return lw.Product(
        lw.Constant(share), lw.Warmup(8, lw.Cosine(steps - 8, min_factor=END / PEAK / share), start=0.03 / PEAK / share)
    )


CASES: dict[str, tuple[Schedule, lw.Schedule]] = {
    "constant_schedule": (optax.constant_schedule(PEAK), lw.Constant()),
    "polynomial_schedule": (optax.polynomial_schedule(PEAK, END, 2.5, 80), lw.Polynomial(80, 2.5, min_lr=END)),
    "polynomial_schedule, later": (
        optax.polynomial_schedule(PEAK, END, 0.4, 80, transition_begin=15),
        lw.Sequential([lw.Constant(), lw.Polynomial(80, 0.4, min_factor=END / PEAK)], [15]),
    ),
    "linear_schedule": (optax.linear_schedule(PEAK, END, 80), lw.Linear(80, min_lr=END)),
    "linear_schedule, up": (optax.linear_schedule(END, PEAK, 80), lw.Warmup(80, start=END / PEAK)),
    "piecewise_constant_schedule": (
        optax.piecewise_constant_schedule(PEAK, {10: 0.5, 30: 0.1, 31: 4.0}),
        lw.Piecewise([(10, 0.5), (30, 0.05), (31, 0.2)]),
    ),
    "piecewise_constant_schedule, from the start": (
        optax.piecewise_constant_schedule(PEAK, {0: 0.5, 30: 0.0}),
        lw.Piecewise([(0, 0.5), (30, 0.0)]),
    ),
    "exponential_decay": (optax.exponential_decay(PEAK, 7, 0.8), lw.Exponential(0.8, every=7)),
    "exponential_decay, staircase": (
        optax.exponential_decay(PEAK, 7, 0.8, staircase=True),
        lw.Exponential(0.8, every=7, staircase=True),
    ),
    "exponential_decay, end_value": (
        optax.exponential_decay(PEAK, 7, 0.8, transition_begin=12, end_value=END),
        lw.Sequential([lw.Constant(), lw.Exponential(0.8, every=7, lowest=END / PEAK)], [12]),
    ),
    "cosine_decay_schedule": (optax.cosine_decay_schedule(PEAK, 300), lw.Cosine(300)),
    "cosine_decay_schedule, alpha and exponent": (
        optax.cosine_decay_schedule(PEAK, 300, alpha=0.04, exponent=1.7),
        lw.Cosine(300, exponent=1.7, min_factor=0.04),
    ),
    "piecewise_interpolate_schedule, linear": (
        optax.piecewise_interpolate_schedule("linear", PEAK, {20: 0.3, 50: 1.5, 51: 0.2}),
        lw.Piecewise([(20, 0.3), (50, 0.45), (51, 0.09)], "linear"),
    ),
    "piecewise_interpolate_schedule, cosine": (
        optax.piecewise_interpolate_schedule("cosine", PEAK, {20: 0.3, 50: 1.5, 90: 0.0}),
        lw.Piecewise([(20, 0.3), (50, 0.45), (90, 0.0)], "cosine"),
    ),
    "linear_onecycle_schedule": (
        optax.linear_onecycle_schedule(200, PEAK, 0.3, 0.6, 20.0, 300.0),
        lw.OneCycle(200, anneal="linear", three_phase=True, timing="fraction", div_factor=20, final_div_factor=300),
    ),
    "linear_onecycle_schedule, defaults": (
        optax.linear_onecycle_schedule(200, PEAK),
        lw.Piecewise([(0, 1 / 25), (60, 1), (170, 1 / 25), (200, 1 / 25e4)], "linear"),
    ),
    "cosine_onecycle_schedule": (optax.cosine_onecycle_schedule(200, PEAK), lw.OneCycle(200, timing="fraction")),
    "cosine_onecycle_schedule, of a part of a step": (
        # It ends its first phase at a whole step, int(0.27 * 90) = 24.
        optax.cosine_onecycle_schedule(90, PEAK, 0.27, 10.0, 1000.0),
        lw.Piecewise([(0, 0.1), (24, 1), (90, 1e-4)], "cosine"),
    ),
    "warmup_constant_schedule": (optax.warmup_constant_schedule(END, PEAK, 25), lw.Warmup(25, start=END / PEAK)),
    "warmup_cosine_decay_schedule": (
        optax.warmup_cosine_decay_schedule(0.03, PEAK, 25, 200, END, 1.3),
        lw.Warmup(25, lw.Cosine(175, exponent=1.3, min_lr=END), start=0.1),
    ),
    "warmup_cosine_decay_schedule, from 0": (
        optax.warmup_cosine_decay_schedule(0.0, PEAK, 25, 200),
        lw.Cosine(200, warmup_steps=25),
    ),
    "warmup_exponential_decay_schedule": (
        optax.warmup_exponential_decay_schedule(0.03, PEAK, 25, 9, 0.7, 5, staircase=True, end_value=END),
        lw.Warmup(
            25,
            lw.Sequential([lw.Constant(), lw.Exponential(0.7, every=9, staircase=True, lowest=END / PEAK)], [5]),
            start=0.1,
        ),
    ),
    "sgdr_schedule": (
        sgdr(CYCLE, CYCLE | {"decay_steps": 80}, CYCLE | {"decay_steps": 30, "peak_value": PEAK / 2}),
        lw.Sequential([cycle(50), cycle(80), cycle(30, 0.5)], [50, 130]),
    ),
    "sgdr_schedule, without warm-up": (
        sgdr(*(CYCLE | {"warmup_steps": 0, "decay_steps": 20 * 2**power} for power in range(4))),
        lw.CosineRestarts(20, cycle_mult=2, cycle_limit=4, min_lr=END),
    ),
    "join_schedules": (
        optax.join_schedules(
            [
                optax.linear_schedule(0.0, PEAK, 12),
                optax.constant_schedule(PEAK),
                optax.cosine_decay_schedule(PEAK, 60),
            ],
            [12, 40],
        ),
        lw.Sequential([lw.Warmup(12), lw.Constant(), lw.Cosine(60)], [12, 40]),
    ),
}


@pytest.mark.parametrize(("theirs", "ours"), CASES.values(), ids=CASES)
def test_values(theirs: Schedule, ours: lw.Schedule) -> None:
    assert_same(ours.evaluate(STEPS, base=PEAK), values(theirs))
