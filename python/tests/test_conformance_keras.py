# SPDX-License-Identifier: Apache-2.0
"""Schedules equal those of Keras 3.15.1, DeepSpeed 0.19.8 and fairseq, by their names there.

None of them is installed: their formulas are written out here, from keras/src/optimizers/schedules/
learning_rate_schedule.py, deepspeed/runtime/lr_schedules.py and fairseq/optim/lr_scheduler/
inverse_square_root_schedule.py.
"""

import math
from collections.abc import Callable

import pytest
from support.conformance import BASE, RATES, assert_same, rates_of_layers

import layerwise as lw

Formula = Callable[[float, int], float]
"""A rate from the initial rate and the step."""

LOWEST = 0.0004

# ---- Keras


def exponential_decay(decay_steps: int, decay_rate: float, *, staircase: bool = False) -> Formula:
    return lambda rate, step: rate * float(decay_rate ** (step // decay_steps if staircase else step / decay_steps))


def inverse_time_decay(decay_steps: int, decay_rate: float, *, staircase: bool = False) -> Formula:
    return lambda rate, step: rate / (1 + decay_rate * (step // decay_steps if staircase else step / decay_steps))


def piecewise_constant_decay(boundaries: list[int], factors: list[float]) -> Formula:
    """A boundary belongs to the piece before it."""
    return lambda rate, step: rate * factors[sum(step > boundary for boundary in boundaries)]


def polynomial_decay(decay_steps: int, end: float, power: float) -> Formula:
    """Without `cycle`."""
    return lambda rate, step: (rate - end) * float((1 - min(step, decay_steps) / decay_steps) ** power) + end


def cosine_decay(decay_steps: int, alpha: float, *, warmup_steps: int = 0, first: float = 0.0) -> Formula:
    """With a warm-up, from a share `first` of the rate to the rate, decay_steps begin after it."""

    def value(rate: float, step: int) -> float:
        if step < warmup_steps:
            return (rate - first * rate) * step / warmup_steps + first * rate
        share = min(step - warmup_steps, decay_steps) / decay_steps
        return rate * ((1 - alpha) * 0.5 * (1 + math.cos(math.pi * share)) + alpha)

    return value


def cosine_decay_restarts(first: int, t_mul: float, m_mul: float, alpha: float) -> Formula:
    def value(rate: float, step: int) -> float:
        share = step / first
        if t_mul == 1:
            cycle = math.floor(share)
            share -= cycle
        else:
            cycle = math.floor(math.log(1 - share * (1 - t_mul)) / math.log(t_mul))
            share = (share - (1 - t_mul**cycle) / (1 - t_mul)) / t_mul**cycle
        return rate * ((1 - alpha) * 0.5 * m_mul**cycle * (1 + math.cos(math.pi * share)) + alpha)

    return value


# ---- DeepSpeed


def warmup_lr(steps: int, kind: str, lowest: float, total: int | None = None) -> Formula:
    """`WarmupLR`, and with `total` `WarmupDecayLR`, by the number of the iteration.

    `lowest` is warmup_min_lr as a share of the rate.  A training loop that steps the scheduler after the optimizer has
    the rate of iteration 0 twice, and is one step behind from then on.
    """

    def value(rate: float, step: int) -> float:
        if step < steps:
            share = math.log(step + 1) / math.log(steps) if kind == "log" else step / steps
        else:
            share = 1.0 if total is None else max(0.0, (total - step) / max(1, total - steps))
        return lowest * rate + (rate - lowest * rate) * share

    return value


# ---- fairseq


def inverse_sqrt(warmup_updates: int, first: float = 0.0) -> Formula:
    """`InverseSquareRootSchedule`; `first` is warmup_init_lr as a share of the rate."""

    def value(rate: float, step: int) -> float:
        if step < warmup_updates:
            return first * rate + step * (rate - first * rate) / warmup_updates
        return rate * float(warmup_updates**0.5 * step**-0.5)

    return value


CASES: dict[str, tuple[Formula, lw.Schedule]] = {
    "ExponentialDecay": (exponential_decay(13, 0.8), lw.Exponential(0.8, every=13)),
    "ExponentialDecay, staircase": (
        exponential_decay(13, 0.8, staircase=True),
        lw.Exponential(0.8, every=13, staircase=True),
    ),
    "InverseTimeDecay": (inverse_time_decay(13, 0.7), lw.InverseTime(0.7, every=13)),
    "InverseTimeDecay, staircase": (
        inverse_time_decay(13, 0.7, staircase=True),
        lw.InverseTime(0.7, every=13, staircase=True),
    ),
    "PiecewiseConstantDecay": (
        piecewise_constant_decay([10, 30, 31], [1.0, 0.5, 2.0, 0.0]),
        lw.Piecewise([(boundary + 1, factor) for boundary, factor in ((10, 0.5), (30, 2.0), (31, 0.0))]),
    ),
    "PiecewiseConstantDecay, from another value": (
        piecewise_constant_decay([10, 30], [0.3, 1.0, 0.1]),
        lw.Piecewise([(0, 0.3), (11, 1.0), (31, 0.1)]),
    ),
    "PolynomialDecay": (
        polynomial_decay(100, LOWEST, 1.0),
        lw.Polynomial(100, min_lr=LOWEST, floor="absolute"),
    ),
    "PolynomialDecay, root": (
        polynomial_decay(100, LOWEST, 0.5),
        lw.Polynomial(100, 0.5, min_lr=LOWEST, floor="absolute"),
    ),
    "CosineDecay": (cosine_decay(100, 0.05), lw.Cosine(100, min_factor=0.05)),
    "CosineDecay, warm-up": (
        cosine_decay(100, 0.05, warmup_steps=15, first=0.1),
        lw.Warmup(15, lw.Cosine(100, min_factor=0.05), start=0.1),
    ),
    "CosineDecayRestarts": (
        cosine_decay_restarts(30, 2.0, 1.0, 0.05),
        lw.CosineRestarts(30, cycle_mult=2, min_factor=0.05),
    ),
    "CosineDecayRestarts, of one length": (
        cosine_decay_restarts(30, 1.0, 0.6, 0.0),
        lw.CosineRestarts(30, amplitude=0.6),
    ),
    "CosineDecayRestarts, falling": (
        cosine_decay_restarts(20, 1.5, 0.7, 0.0),
        lw.CosineRestarts(20, cycle_mult=1.5, amplitude=0.7),
    ),
    "WarmupLR": (warmup_lr(40, "log", 0.0), lw.Warmup(40, shape="log")),
    "WarmupLR, from above 0": (warmup_lr(40, "log", 0.02), lw.Warmup(40, shape="log", start=0.02)),
    "WarmupLR, line": (warmup_lr(40, "linear", 0.02), lw.Warmup(40, start=0.02)),
    "WarmupLR, two steps": (warmup_lr(2, "log", 0.0), lw.Warmup(2, shape="log")),
    "WarmupDecayLR": (
        warmup_lr(40, "log", 0.02, 150),
        lw.Warmup(40, lw.Linear(110, min_factor=0.02), shape="log", start=0.02),
    ),
    "WarmupDecayLR, line": (warmup_lr(40, "linear", 0.0, 150), lw.Linear(150, warmup_steps=40)),
    "InverseSquareRootSchedule": (inverse_sqrt(30), lw.InverseSqrt(30)),
    "InverseSquareRootSchedule, from above 0": (
        inverse_sqrt(30, 0.01),
        lw.Warmup(30, lw.InverseSqrt(timescale=30), start=0.01),
    ),
}


@pytest.mark.parametrize(("formula", "schedule"), CASES.values(), ids=CASES)
def test_rates(formula: Formula, schedule: lw.Schedule) -> None:
    expected = [[formula(rate, step) for step in range(200)] for rate in RATES.values()]
    assert_same(rates_of_layers(schedule, 200), expected)


# ---- What Keras does otherwise


def test_floors_of_falling_cycles() -> None:
    """With m_mul and alpha, each peak of CosineDecayRestarts is (1 - alpha) * m_mul ** cycle above the floor.

    Ours is m_mul ** cycle of the rate itself, as in timm.
    """
    formula, alpha, fall = cosine_decay_restarts(30, 1.0, 0.5, 0.2), 0.2, 0.5
    ours = lw.CosineRestarts(30, amplitude=fall, min_factor=alpha).evaluate(200, base=BASE)
    for cycle in range(6):
        assert formula(BASE, 30 * cycle) == pytest.approx(BASE * ((1 - alpha) * fall**cycle + alpha), rel=1e-12)
        assert ours[30 * cycle] == pytest.approx(BASE * fall**cycle, rel=1e-12)
