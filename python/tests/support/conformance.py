# SPDX-License-Identifier: Apache-2.0
"""Comparing whole schedules with those of other libraries, number for number."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

import layerwise as lw

from .material import Array

BASE = 0.1
RATES = {"low": 0.0007, "same": BASE, "high": 0.3}
"""Learning rates of layers, or parameter groups: one below the floors of the tests, the optimizer's own, one above."""


def assert_same(found: ArrayLike, expected: ArrayLike, *, rel: float = 1e-12, size: float = 1e-15) -> None:
    """Equal to `rel` of each value, or to `size` of the largest of its row.

    The latter is a few last bits: what 1 + cos leaves of 1 near its end has no more digits.
    """
    ours, theirs = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    assert ours.shape == theirs.shape
    bound = rel * np.abs(theirs) + size * np.abs(theirs).max(axis=-1, keepdims=True, initial=0.0)
    wrong = np.argwhere(~(np.abs(ours - theirs) <= bound))
    assert len(wrong) == 0, "\n".join(
        f"at {index}: {ours[tuple(index)]}, expected {theirs[tuple(index)]}" for index in wrong[:9]
    )


def optimizer(schedule: lw.Schedule | None, rates: dict[str, float] = RATES, **options: Any) -> lw.Optimizer:
    """An optimizer without memory that has a layer for each rate."""
    opt = lw.Optimizer(lw.SGD(lr=BASE), schedule=schedule, dry_run=True, **options)
    for name, rate in rates.items():
        opt.add_layer(name, {"weight": (1,)}, scale=rate / BASE)
    return opt


def rates_of_layers(schedule: lw.Schedule, steps: int) -> Array:
    """What the layers of `RATES` get, one row each."""
    return np.asarray(optimizer(schedule).preview(steps))
