# SPDX-License-Identifier: Apache-2.0
"""Schedules equal those of `get_scheduler` of transformers 5.23.0 (transformers/optimization.py), by their names there.

All but "greedy", which follows a metric in a way of its own.  Hugging Face's factors multiply the rate of each
parameter group, and its floors are shares of `optimizer.defaults["lr"]`: they are relative here.
"""

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from support.conformance import BASE, RATES, assert_same, optimizer, rates_of_layers
from support.material import Array
from transformers import optimization

import layerwise as lw

T = 120
MIN_LR = 0.004
PEAKS = list(RATES.values())


def scheduler(name: str, warmup: int | None, steps: int | None, options: dict[str, Any]) -> tuple[Any, Any]:
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": rate} for rate in PEAKS]
    twin = torch.optim.SGD(groups, lr=BASE)
    return twin, optimization.get_scheduler(name, twin, warmup, steps, options)


def rates_of_groups(name: str, warmup: int | None, steps: int, count: int, options: dict[str, Any]) -> Array:
    twin, theirs = scheduler(name, warmup, steps, options)
    rows = []
    for _ in range(count):
        rows.append([group["lr"] for group in twin.param_groups])
        twin.step()
        theirs.step()
    rates: Array = np.array(rows).T
    return rates


Case = tuple[str, int | None, dict[str, Any], lw.Schedule, int]
"""The name, the warm-up, what is given beside it, our schedule, and the steps that are compared."""

CASES: list[Case] = [("constant", None, {}, lw.Constant(), 50), ("constant_with_warmup", 0, {}, lw.Constant(), 50)]
for warmup in (0, 1, 17):
    CASES += [
        ("linear", warmup, {}, lw.Linear(T, warmup_steps=warmup), T + 20),
        ("cosine", warmup, {}, lw.Cosine(T, warmup_steps=warmup), T + 1),
        ("cosine", warmup, {"num_cycles": 1.75}, lw.Cosine(T, warmup_steps=warmup, cycles=1.75), T + 1),
        ("polynomial", warmup, {}, lw.Polynomial(T, warmup_steps=warmup, min_lr=1e-7, floor="relative"), T + 20),
        (
            "polynomial",
            warmup,
            {"lr_end": MIN_LR, "power": 2.5},
            lw.Polynomial(T, 2.5, warmup_steps=warmup, min_lr=MIN_LR, floor="relative"),
            T + 20,
        ),
        ("inverse_sqrt", warmup, {}, lw.InverseSqrt(warmup), T),
        ("inverse_sqrt", warmup, {"timescale": 40}, lw.InverseSqrt(warmup, timescale=40), T),
        ("inverse_sqrt", warmup, {"timescale": 5}, lw.InverseSqrt(warmup, timescale=5), T),
        (
            "cosine_with_min_lr",
            warmup,
            {"min_lr": MIN_LR},
            lw.Cosine(T, warmup_steps=warmup, min_lr=MIN_LR, floor="relative"),
            T + 1,
        ),
        (
            "cosine_with_min_lr",
            warmup,
            {"min_lr_rate": 0.2, "num_cycles": 1.5},
            lw.Cosine(T, warmup_steps=warmup, cycles=1.5, min_factor=0.2),
            T + 1,
        ),
        *(
            (
                "cosine_with_restarts",
                warmup,
                {"num_cycles": cycles},
                lw.CosineRestarts((T - warmup) / cycles, cycle_limit=cycles, warmup_steps=warmup),
                T + 20,
            )
            for cycles in (1, 2, 3, 4)
        ),
    ]
for warmup in (1, 17):
    CASES += [("constant_with_warmup", warmup, {}, lw.Warmup(warmup), 50)]
for warmup in (2, 17):
    # Its cosine is a step ahead: step W - 1 is the peak, and step T - 1 the floor.
    floor: dict[str, Any] = {"min_lr": MIN_LR, "floor": "relative"}
    CASES += [
        (
            "cosine_warmup_with_min_lr",
            warmup,
            {"min_lr": MIN_LR},
            lw.Warmup(warmup - 1, lw.Cosine(T - warmup, **floor), start=1 / warmup),
            T,
        ),
        (
            "cosine_warmup_with_min_lr",
            warmup,
            {"min_lr_rate": 0.1, "warmup_lr_rate": 0.3, "num_cycles": 0.8},
            lw.Warmup(warmup - 1, lw.Cosine(T - warmup, cycles=0.8, min_factor=0.1), start=0.3),
            T,
        ),
    ]
CURVES = {"linear": "linear", "cosine": "cosine", "1-sqrt": "one_minus_sqrt"}
"""Their names of curves, and ours."""
for up, down, warmup, lowest in product(CURVES, CURVES, (0, 17), (0.0, 0.15)):
    for cycles in (0.5, 1.3) if down == "cosine" else (0.5,):
        curves: Any = {"warmup": CURVES[up], "decay": CURVES[down]}
        CASES.append(
            (
                "warmup_stable_decay",
                warmup,
                {
                    "num_decay_steps": 30,
                    "warmup_type": up,
                    "decay_type": down,
                    "min_lr_ratio": lowest,
                    "num_cycles": cycles,
                },
                lw.WarmupStableDecay(T, 30, warmup_steps=warmup, cycles=cycles, min_factor=lowest, **curves),
                T + 20,
            )
        )
CASES.append(
    (
        "warmup_stable_decay",
        9,
        {"num_decay_steps": T - 9},
        lw.WarmupStableDecay(T, T - 9, warmup_steps=9, decay="cosine"),
        T + 5,
    )
)


@pytest.mark.parametrize(
    ("name", "warmup", "options", "schedule", "count"),
    CASES,
    ids=[f"{case[0]}, {case[1]}, {case[2]}" for case in CASES],
)
def test_rates_of_all_groups(
    name: str, warmup: int | None, options: dict[str, Any], schedule: lw.Schedule, count: int
) -> None:
    assert_same(rates_of_layers(schedule, count), rates_of_groups(name, warmup, T, count, options))


def test_reduce_lr_on_plateau() -> None:
    """torch's ReduceLROnPlateau, where `test_conformance_torch` tries every mode."""
    twin, theirs = scheduler(
        "reduce_lr_on_plateau", None, None, {"factor": 0.4, "patience": 3, "cooldown": 2, "eps": 0}
    )
    opt = optimizer(lw.ReduceOnPlateau(factor=0.4, patience=3, cooldown=2))
    found, expected = [], []
    for metric in np.random.default_rng(3).normal(size=60):
        found.append(np.asarray(opt.preview(1))[:, 0])
        expected.append([group["lr"] for group in twin.param_groups])
        opt.report(metric)
        theirs.step(metric)
    assert_same(found, expected)
    assert expected[-1][0] < 0.01 * PEAKS[0]


# ---- What transformers does otherwise


def test_cosines_rise_again() -> None:
    """After the last step "cosine" rises; ours stays at the floor."""
    theirs = rates_of_groups("cosine", 0, T, 2 * T + 1, {})
    assert_same(theirs[:, 2 * T], PEAKS)
    assert not rates_of_layers(lw.Cosine(T), 2 * T + 1)[:, T:].any()


def test_a_restart_that_rounding_misses() -> None:
    """The remainder of cycles * progress in "cosine_with_restarts", in step 75 of 110 with 22 cycles.

    It is a last bit below 15, and so the rate is 0 where the cycle begins.  Ours starts it.
    """
    schedule = lw.CosineRestarts(5, cycle_limit=22)
    theirs = rates_of_groups("cosine_with_restarts", 0, 110, 110, {"num_cycles": 22})
    ours = rates_of_layers(schedule, 110)
    assert not theirs[:, 75].any()
    assert_same(ours[:, 75], PEAKS)
    assert_same(np.delete(ours, 75, axis=1), np.delete(theirs, 75, axis=1))
