# SPDX-License-Identifier: Apache-2.0
"""Schedules and rates of layers equal those of fastai 2.8.12, ULMFiT and AllenNLP 2.10.1.

None of them is installed: their formulas are written out here.  ULMFiT is Howard and Ruder 2018, arXiv:1801.06146.

fastai's schedules are functions of the share of the training that is over, at step t of T the quotient t/T.  fastai
computes the place in a phase in float32; the formulas here do in float64.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from support.conformance import BASE, RATES, assert_same, optimizer, rates_of_layers

import layerwise as lw

T = 160

Annealer = Callable[[float], float]


def annealed(start: float, end: float) -> Annealer:
    """fastai/callback/schedule.py, `sched_cos`."""
    return lambda place: start + (1 + math.cos(math.pi * (1 - place))) * (end - start) / 2


def combined(shares: Sequence[float], parts: Sequence[Annealer]) -> Annealer:
    """fastai/callback/schedule.py, `combine_scheds`."""
    limits = [0.0, *np.cumsum(shares)]

    def value(place: float) -> float:
        part = min(max(index for index, limit in enumerate(limits) if place >= limit), len(parts) - 1)
        return parts[part]((place - limits[part]) / (limits[part + 1] - limits[part]))

    return value


def values(schedule: Annealer, steps: int = T) -> list[float]:
    """`ParamScheduler.before_batch`."""
    return [schedule(step / steps) for step in range(steps)]


@pytest.mark.parametrize("pct_start", [0.25, 0.3, 0.99, 0.123])
def test_fit_one_cycle(pct_start: float) -> None:
    """`fit_one_cycle` with its defaults div 25, div_final 1e5 and moms (0.95, 0.85, 0.95)."""
    phases: Any = {"pct_start": pct_start, "timing": "fraction"}
    expected = [
        values(combined([pct_start, 1 - pct_start], [annealed(peak / 25, peak), annealed(peak, peak / 1e5)]))
        for peak in RATES.values()
    ]
    assert_same(rates_of_layers(lw.OneCycle(T, div_factor=25, final_div_factor=1e5 / 25, **phases), T), expected)
    momenta = values(combined([pct_start, 1 - pct_start], [annealed(0.95, 0.85), annealed(0.85, 0.95)]))
    assert_same(lw.OneCycleMomentum(T, **phases).evaluate(T), momenta)


@pytest.mark.parametrize("pct_start", [0.75, 0.5, 0.123])
def test_fit_flat_cos(pct_start: float) -> None:
    """`fit_flat_cos`."""
    expected = [
        values(combined([pct_start, 1 - pct_start], [annealed(peak, peak), annealed(peak, peak / 1e5)]))
        for peak in RATES.values()
    ]
    assert_same(rates_of_layers(lw.FlatCosine(T, pct_start=pct_start, min_factor=1e-5), T), expected)


def restarts(cycles: int, mult: int) -> tuple[list[float], int]:
    """`fit_sgdr` with cycle_len 1: the shares of its cycles, and their epochs."""
    epochs = (mult**cycles - 1) // (mult - 1)
    return [mult**index / epochs for index in range(cycles)], epochs


@pytest.mark.parametrize(("cycles", "mult", "batches"), [(2, 3, 11), (4, 3, 5), (4, 2, 8)])
def test_fit_sgdr(cycles: int, mult: int, batches: int) -> None:
    shares, epochs = restarts(cycles, mult)
    expected = [values(combined(shares, [annealed(peak, 0)] * cycles), epochs * batches) for peak in RATES.values()]
    schedule = lw.CosineRestarts(batches, cycle_mult=mult, cycle_limit=cycles)
    assert_same(rates_of_layers(schedule, epochs * batches), expected)


def test_a_restart_that_float32_misses() -> None:
    """Three cycles of `fit_sgdr`, with its default cycle_mult 2 and ten batches an epoch.

    The third begins at step 30 of 70, but `combine_scheds` compares 3/7 with the sum of 1/7 and 2/7 in float32, which
    is larger: that step has a rate of 0.  Ours restarts.
    """
    shares, epochs = restarts(3, 2)
    limits = torch.cumsum(torch.tensor([0, *shares]), 0)
    assert not bool(30 / 70 >= limits[2])
    assert annealed(1, 0)(float((30 / 70 - limits[1]) / (limits[2] - limits[1]))) < 1e-12
    found = lw.CosineRestarts(10, cycle_mult=2, cycle_limit=3).evaluate(10 * epochs)
    assert found[30] == 1.0


# ---- Rates of layers


def rates_of(policy: lw.Policy, count: int, **options: Any) -> list[float]:
    opt = lw.Optimizer(lw.SGD(lr=BASE), policy=policy, dry_run=True, **options)
    for index in range(count):
        opt.add_layer(str(index), {"weight": (2, 2)})
    return [row["effective_lr"] for row in opt.explain_rows()]


@pytest.mark.parametrize("count", [1, 2, 3, 7, 40])
def test_slices(count: int) -> None:
    """fastcore/basics.py `even_mults`, and fastai/optimizer.py `Optimizer.set_hyper`, which takes a slice."""
    lowest, highest = 3e-6, 2e-3
    ratio = (highest / lowest) ** (1 / max(1, count - 1))
    expected = [highest] if count == 1 else [lowest * ratio**index for index in range(count)]
    assert_same(rates_of(lw.RateSlice(lowest, highest), count), expected)
    assert_same(rates_of(lw.RateSlice(highest), count), [highest / 10] * (count - 1) + [highest])
    # As multiples of the highest.
    scaled = [rate * BASE / highest for rate in expected]
    assert_same(rates_of(lw.GeometricRange(lowest / highest), count), scaled)


def test_fine_tune() -> None:
    """The second half of `fine_tune`: one cycle from a slice of rates, div 5 and pct_start 0.3."""
    base_lr, lr_mult, count = 1e-3, 100, 3
    peaks = [base_lr / lr_mult * (lr_mult ** (1 / (count - 1))) ** index for index in range(count)]
    expected = [values(combined([0.3, 0.7], [annealed(peak / 5, peak), annealed(peak, peak / 1e5)])) for peak in peaks]
    opt = lw.Optimizer(
        lw.SGD(lr=BASE),
        policy=lw.RateSlice(base_lr / lr_mult, base_lr),
        schedule=lw.OneCycle(T, div_factor=5, final_div_factor=1e5 / 5, timing="fraction"),
        dry_run=True,
    )
    for index in range(count):
        opt.add_layer(str(index), {"weight": (2, 2)})
    assert_same(np.asarray(opt.preview(T)), expected)


# ---- ULMFiT and AllenNLP


def test_discriminative_rates() -> None:
    """ULMFiT section 3.2: the rate of a layer is that of the layer above over 2.6."""
    expected = [BASE]
    for _ in range(5):
        expected.insert(0, expected[0] / 2.6)
    assert_same(rates_of(lw.ULMFiT(), 6), expected)


@pytest.mark.parametrize(("steps", "cut_frac", "ratio"), [(200, 0.1, 32), (1000, 0.25, 10)])
def test_slanted_triangles(steps: int, cut_frac: float, ratio: float) -> None:
    """ULMFiT section 3.2, equation 3."""
    cut = math.floor(steps * cut_frac)
    expected = []
    for step in range(steps):
        p = step / cut if step < cut else 1 - (step - cut) / (cut * (1 / cut_frac - 1))
        expected.append([peak * (1 + p * (ratio - 1)) / ratio for peak in RATES.values()])
    found = rates_of_layers(lw.SlantedTriangular(steps, cut_frac=cut_frac, ratio=ratio), steps)
    assert_same(found, np.array(expected).T)


def slanted_triangular(step: int, steps: int, cut_frac: float, ratio: float) -> float:
    """allennlp/training/learning_rate_schedulers/slanted_triangular.py, `SlantedTriangular.get_values`."""
    step = min(step, steps)
    cut = int(steps * cut_frac)
    share = step / cut if step < cut else 1 - (step - cut) / (steps - cut)
    return (1 + share * (ratio - 1)) / ratio


@pytest.mark.parametrize(("steps", "cut_frac"), [(200, 0.1), (197, 0.1), (53, 0.37), (5, 0.1)])
def test_slanted_triangles_of_allennlp(steps: int, cut_frac: float) -> None:
    """With its discriminative rates, decay_factor 0.38.  Its trainer counts batches from 1."""
    rates = {str(index): BASE * 0.38 ** (3 - index) for index in range(4)}
    expected = [
        [rate * slanted_triangular(step, steps, cut_frac, 32) for step in range(1, steps + 1)]
        for rate in rates.values()
    ]
    schedule = lw.SlantedTriangular(steps, cut_frac=cut_frac)
    assert_same(np.asarray(optimizer(schedule, rates).preview(steps, first=1)), expected)
    opt = lw.Optimizer(lw.SGD(lr=BASE), policy=lw.ULMFiT(1 / 0.38), schedule=schedule, dry_run=True)
    for name in rates:
        opt.add_layer(name, {"weight": (2, 2)})
    assert_same(np.asarray(opt.preview(steps, first=1)), expected)


def test_slanted_triangles_while_layers_thaw() -> None:
    """With gradual_unfreezing: a triangle for each epoch in which layers are frozen, and one for the rest."""
    epochs, batches, frozen = 7, 10, 3
    expected = [
        slanted_triangular(batch, batches, 0.3, 32) for _ in range(frozen) for batch in range(1, batches + 1)
    ] + [
        slanted_triangular(batch, (epochs - frozen) * batches, 0.3, 32)
        for batch in range(1, (epochs - frozen) * batches + 1)
    ]
    triangles = [lw.SlantedTriangular(batches, cut_frac=0.3)] * frozen
    rest = lw.SlantedTriangular((epochs - frozen) * batches, cut_frac=0.3)
    schedule = lw.Sequential([*triangles, rest], [batches * (index + 1) for index in range(frozen)])
    assert_same(schedule.evaluate(epochs * batches, first=1), expected)


@pytest.mark.parametrize(("model_size", "warmup"), [(512, 40), (100, 7), (1, 1)])
def test_noam(model_size: int, warmup: int) -> None:
    """Vaswani et al. 2017 (arXiv:1706.03762), section 5.3; AllenNLP's noam.py, whose `factor` is the rate.

    Both count steps from 1.
    """
    expected = [model_size**-0.5 * min(step**-0.5, step * warmup**-1.5) for step in range(1, 301)]
    assert_same(
        rates_of_layers(lw.Noam(model_size, warmup), 300), [np.array(expected) * rate for rate in RATES.values()]
    )
