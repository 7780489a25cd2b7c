# SPDX-License-Identifier: Apache-2.0
"""Schedules equal the classes of torch/optim/lr_scheduler.py (torch 2.13.0), which name the cases below.

Parameter groups with rates of their own stand beside layers with scales.  torch's eta_min is one rate for all groups:
floors are absolute here, and a group whose rate is below it rises.

The chainable classes multiply the rate of the step before; hundreds of roundings in a row stay within the tolerance.
"""

import math
from collections.abc import Callable
from itertools import accumulate
from operator import mul
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from support.conformance import BASE, RATES, assert_same, optimizer, rates_of_layers
from support.material import Array
from torch.optim import lr_scheduler
from torch.optim.lr_scheduler import (
    ChainedScheduler,
    ConstantLR,
    CosineAnnealingLR,
    CosineAnnealingWarmRestarts,
    CyclicLR,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    MultiplicativeLR,
    MultiStepLR,
    OneCycleLR,
    PolynomialLR,
    ReduceLROnPlateau,
    SequentialLR,
    StepLR,
)

import layerwise as lw

Make = Callable[[torch.optim.Optimizer], lr_scheduler.LRScheduler]

PEAKS = list(RATES.values())
ETA_MIN = 0.002


def groups() -> list[dict[str, Any]]:
    return [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": rate} for rate in PEAKS]


def rates_of_groups(make: Make, steps: int) -> Array:
    """What torch's groups get, one row each."""
    twin = torch.optim.SGD(groups(), lr=BASE)
    scheduler = make(twin)
    rows: list[list[float]] = []
    for _ in range(steps):
        rows.append([group["lr"] for group in twin.param_groups])
        twin.step()
        scheduler.step()
    rates: Array = np.array(rows).T
    return rates


def weekly(step: int) -> float:
    return (1 + step % 7) / (1 + 0.1 * step)


def nearly_one(step: int) -> float:
    return 0.9 + 0.01 * (step % 15)


def chained(*makes: Make) -> Make:
    return lambda twin: ChainedScheduler([make(twin) for make in makes])


def sequential(milestones: list[int], *makes: Make) -> Make:
    return lambda twin: SequentialLR(twin, [make(twin) for make in makes], milestones)


CASES: dict[str, tuple[Make, lw.Schedule, int]] = {
    "LambdaLR": (lambda twin: LambdaLR(twin, weekly), lw.FactorTable.from_callable(weekly, 60), 60),
    "MultiplicativeLR": (
        lambda twin: MultiplicativeLR(twin, nearly_one),
        lw.FactorTable(list(accumulate((nearly_one(step) for step in range(1, 300)), mul, initial=1.0))),
        300,
    ),
    "StepLR": (lambda twin: StepLR(twin, 7, 0.3), lw.StepDecay(7, 0.3), 60),
    "StepLR, defaults": (lambda twin: StepLR(twin, 30), lw.StepDecay(30), 100),
    "MultiStepLR": (lambda twin: MultiStepLR(twin, [3, 4, 20, 50], 0.6), lw.MultiStep([3, 4, 20, 50], 0.6), 60),
    "MultiStepLR, at once": (lambda twin: MultiStepLR(twin, [0, 10]), lw.MultiStep([0, 10]), 20),
    "MultiStepLR, twice at one step": (
        lambda twin: MultiStepLR(twin, [5, 9, 9], 0.7),
        lw.Product(lw.MultiStep([5, 9], 0.7), lw.MultiStep([9], 0.7)),
        20,
    ),
    "ConstantLR, defaults": (lambda twin: ConstantLR(twin), lw.Warmup(5, shape="constant", start=1 / 3), 20),
    "ConstantLR": (lambda twin: ConstantLR(twin, 0.35, 12), lw.Warmup(12, shape="constant", start=0.35), 20),
    "LinearLR, defaults": (lambda twin: LinearLR(twin), lw.Warmup(5, start=1 / 3), 20),
    "LinearLR, up": (lambda twin: LinearLR(twin, 0.01, 1.0, 300), lw.Warmup(300, start=0.01), 400),
    "LinearLR, down": (lambda twin: LinearLR(twin, 1.0, 0.05, 300), lw.Linear(300, min_factor=0.05), 400),
    "LinearLR, from factor to factor": (
        lambda twin: LinearLR(twin, 0.2, 0.7, 30),
        lw.Piecewise([(0, 0.2), (30, 0.7)], "linear"),
        40,
    ),
    "ExponentialLR": (lambda twin: ExponentialLR(twin, 0.97), lw.Exponential(0.97), 400),
    "PolynomialLR, defaults": (lambda twin: PolynomialLR(twin), lw.Polynomial(5), 10),
    "PolynomialLR": (lambda twin: PolynomialLR(twin, 200, 2.5), lw.Polynomial(200, 2.5), 250),
    "PolynomialLR, root": (lambda twin: PolynomialLR(twin, 200, 0.5), lw.Polynomial(200, 0.5), 250),
    "CosineAnnealingLR": (lambda twin: CosineAnnealingLR(twin, 300), lw.Cosine(300), 301),
    "CosineAnnealingLR, eta_min": (
        lambda twin: CosineAnnealingLR(twin, 300, ETA_MIN),
        lw.Cosine(300, min_lr=ETA_MIN, floor="absolute"),
        301,
    ),
    "CosineAnnealingWarmRestarts": (
        lambda twin: CosineAnnealingWarmRestarts(twin, 17),
        lw.CosineRestarts(17),
        200,
    ),
    "CosineAnnealingWarmRestarts, longer and longer": (
        lambda twin: CosineAnnealingWarmRestarts(twin, 7, 3, ETA_MIN),
        lw.CosineRestarts(7, cycle_mult=3, min_lr=ETA_MIN, floor="absolute"),
        1000,
    ),
    "SequentialLR": (
        sequential(
            [10, 40],
            lambda twin: LinearLR(twin, 0.1, 1.0, 10),
            lambda twin: ExponentialLR(twin, 0.98),
            lambda twin: CosineAnnealingLR(twin, 60, ETA_MIN),
        ),
        lw.Sequential(
            [lw.Warmup(10, start=0.1), lw.Exponential(0.98), lw.Cosine(60, min_lr=ETA_MIN, floor="absolute")], [10, 40]
        ),
        100,
    ),
    "SequentialLR, warm-up": (
        sequential([20], lambda twin: ConstantLR(twin, 0.1, 20), lambda twin: CosineAnnealingLR(twin, 80)),
        lw.Warmup(20, lw.Cosine(80), shape="constant", start=0.1),
        100,
    ),
    "ChainedScheduler": (
        chained(lambda twin: ConstantLR(twin, 0.1, 10), lambda twin: ExponentialLR(twin, 0.95)),
        lw.Product(lw.Warmup(10, shape="constant", start=0.1), lw.Exponential(0.95)),
        100,
    ),
    "ChainedScheduler of four": (
        chained(
            lambda twin: LinearLR(twin, 0.2, 1.0, 15),
            lambda twin: StepLR(twin, 25, 0.5),
            lambda twin: CosineAnnealingLR(twin, 120),
            lambda twin: PolynomialLR(twin, 200, 1.5),
        ),
        lw.Product(lw.Warmup(15, start=0.2), lw.StepDecay(25, 0.5), lw.Cosine(120), lw.Polynomial(200, 1.5)),
        121,
    ),
}


@pytest.mark.parametrize(("make", "schedule", "steps"), CASES.values(), ids=CASES)
def test_rates_of_all_groups(make: Make, schedule: lw.Schedule, steps: int) -> None:
    assert_same(rates_of_layers(schedule, steps), rates_of_groups(make, steps))


def test_a_lambda_for_each_group() -> None:
    """LambdaLR with a list; here a layer has a schedule of its own."""
    functions: list[Callable[[int], float]] = [weekly, nearly_one, lambda step: 0.5**step]
    opt = optimizer(None)
    for name, function in zip(RATES, functions, strict=True):
        opt.layer(name).schedule = lw.FactorTable.from_callable(function, 50)
    assert_same(opt.preview(50), rates_of_groups(lambda twin: LambdaLR(twin, functions), 50))


# ---- Cycles, and the momentum that goes with them


class Cycle(NamedTuple):
    """A class of torch with its options, our schedules of the rate and of the momentum, and the steps to compare."""

    theirs: Callable[..., lr_scheduler.LRScheduler]
    options: dict[str, Any]
    rate: lw.Schedule
    momentum: lw.Schedule
    steps: int

    def make(self, twin: torch.optim.Optimizer, **more: Any) -> lr_scheduler.LRScheduler:
        return self.theirs(twin, max_lr=PEAKS, **self.options, **more)


def cyclic(mode: Any, up: int, down: int | None) -> Cycle:
    options: dict[str, Any] = {"mode": mode, "step_size_up": up, "gamma": 0.98 if mode == "exp_range" else 1.0}
    ours = options | ({"step_size_down": down} if down else {})
    bases = [0.1 * peak for peak in PEAKS]
    return Cycle(
        CyclicLR,
        {"base_lr": bases, "step_size_down": down} | options,
        lw.Cyclic(lowest=0.1, **ours),
        lw.CyclicMomentum(**ours),
        100,
    )


def one_cycle(anneal: Any, three_phase: bool, steps: int, pct_start: float) -> Cycle:
    options: dict[str, Any] = {"pct_start": pct_start, "three_phase": three_phase}
    divisors: dict[str, Any] = {"div_factor": 20.0, "final_div_factor": 500.0}
    strategy = {"cosine": "cos", "linear": "linear"}[anneal]
    return Cycle(
        OneCycleLR,
        {"total_steps": steps, "anneal_strategy": strategy} | options | divisors,
        lw.OneCycle(steps, anneal=anneal, **options, **divisors),
        lw.OneCycleMomentum(steps, anneal=anneal, **options),
        steps,
    )


CYCLES = {
    f"CyclicLR, {mode}, {up} and {down}": cyclic(mode, up, down)
    for mode in ("triangular", "triangular2", "exp_range")
    for up, down in ((10, None), (7, 12), (1, 5))
} | {
    f"OneCycleLR, {anneal}, {'three' if three else 'two'} phases, {pct_start} of {steps}": one_cycle(
        anneal, three, steps, pct_start
    )
    for anneal in ("cosine", "linear")
    for three in (False, True)
    for steps, pct_start in ((100, 0.3), (97, 0.23), (64, 0.5), (1, 0.3), (2, 0.3), (3, 0.3))
}
STEPPED = {name: cycle for name, cycle in CYCLES.items() if name.endswith(("7 and 12", "0.23 of 97"))}


@pytest.mark.parametrize("cycle", CYCLES.values(), ids=CYCLES)
def test_rates_of_cycles(cycle: Cycle) -> None:
    expected = rates_of_groups(lambda twin: cycle.make(twin, cycle_momentum=False), cycle.steps)
    # CyclicLR takes the place in a cycle from 1 + t/length, whose last digits are gone after many.
    assert_same(rates_of_layers(cycle.rate, cycle.steps), expected, size=1e-14)


def momentum_of(group: dict[str, Any]) -> float:
    return float(group["betas"][0] if "betas" in group else group["momentum"])


@pytest.mark.parametrize("kind", ["SGD", "Adam", "AdamW"])
@pytest.mark.parametrize("cycle", STEPPED.values(), ids=STEPPED)
def test_momentum_of_cycles(cycle: Cycle, kind: str) -> None:
    """The steps themselves: weights that both have moved with the momentum, or beta1, and the rate of each step."""
    generator = torch.Generator().manual_seed(5)
    start = torch.randn(len(PEAKS), 40, dtype=torch.float64, generator=generator)
    ours = start.clone()
    theirs = [torch.nn.Parameter(row.clone()) for row in start]
    rows = [{"params": [weights], "lr": peak} for weights, peak in zip(theirs, PEAKS, strict=True)]
    own = {"momentum": 0.9} if kind == "SGD" else {"betas": (0.9, 0.98)}
    twin: torch.optim.Optimizer = getattr(torch.optim, kind)(rows, lr=BASE, foreach=False, **own)
    scheduler = cycle.make(twin)
    key = "momentum" if kind == "SGD" else "beta1"
    opt = lw.Optimizer(getattr(lw, kind)(lr=BASE, **own), schedule={"lr": cycle.rate, key: cycle.momentum})
    for (name, peak), weights in zip(RATES.items(), ours, strict=True):
        opt.add_layer(name, weights, scale=peak / BASE)
    used = []
    for _ in range(cycle.steps):
        gradients = torch.randn(start.shape, dtype=torch.float64, generator=generator)
        used.append(momentum_of(twin.param_groups[0]))
        for weights, gradient in zip(theirs, gradients, strict=True):
            weights.grad = gradient.clone()
        opt.step(dict(zip(RATES, gradients, strict=True)))
        twin.step()
        scheduler.step()
    assert_same(cycle.momentum.evaluate(cycle.steps), used)
    assert len(set(used)) > 10
    for found, expected, first in zip(ours, theirs, start, strict=True):
        assert (found - expected).norm() <= 1e-12 * (expected - first).norm()


# ---- A metric

PLATEAUS: list[dict[str, Any]] = [
    {},
    {"factor": 0.5, "patience": 0},
    {"factor": 0.3, "patience": 2, "cooldown": 3, "threshold": 0.05},
    {"factor": 0.9, "patience": 1, "cooldown": 1, "threshold": 0.0},
    {"factor": 0.6, "patience": 3, "threshold": 0.3, "min_factor": 0.01},
]


@pytest.mark.parametrize("options", PLATEAUS, ids=str)
@pytest.mark.parametrize("threshold_mode", ["rel", "abs", "torch_rel"])
@pytest.mark.parametrize("mode", ["min", "max"])
def test_plateau(mode: Any, threshold_mode: Any, options: dict[str, Any]) -> None:
    """ReduceLROnPlateau with eps = 0; its min_lr of each group is a share of the group's rate.

    Our "rel" is torch's where metrics are not negative, our "torch_rel" everywhere.
    """
    theirs = threshold_mode.removeprefix("torch_")
    generator = np.random.default_rng(11)
    given = {key: value for key, value in options.items() if key != "min_factor"}
    lowest = options.get("min_factor", 0.0)
    fallen = 0
    for trend in (-0.05, 0.0, 0.05):
        twin = torch.optim.SGD(groups(), lr=BASE)
        scheduler = ReduceLROnPlateau(
            twin, mode, threshold_mode=theirs, min_lr=[lowest * peak for peak in PEAKS], eps=0.0, **given
        )
        opt = optimizer(lw.ReduceOnPlateau(mode=mode, threshold_mode=threshold_mode, **options))
        metrics = 2 + trend * np.arange(100) + generator.normal(size=100)
        metrics[[3, 30, 31]] = math.nan, math.inf, -math.inf
        if threshold_mode == "rel":
            metrics = np.exp(metrics)
        found, expected = [], []
        for metric in metrics:
            found.append(np.asarray(opt.preview(1))[:, 0])
            expected.append([group["lr"] for group in twin.param_groups])
            opt.report(metric)
            scheduler.step(metric)
        assert_same(found, expected)
        gain, best, bad, cooldown = opt.schedule_state()
        assert (best, bad, cooldown) == (scheduler.best, scheduler.num_bad_epochs, scheduler.cooldown_counter)
        assert_same(gain * np.array(PEAKS), [group["lr"] for group in twin.param_groups])
        fallen += gain < 1
    assert fallen > 0


# ---- What torch does otherwise


@pytest.mark.parametrize("mode", ["min", "max"])
def test_a_flat_negative_metric(mode: Any) -> None:
    """torch never sees a plateau of a negative metric, since -1 < -1 * (1 - threshold); our "rel" does."""
    metric, factors = -1.0, {}
    for threshold_mode in ("rel", "torch_rel", "abs"):
        opt = optimizer(lw.ReduceOnPlateau(mode=mode, factor=0.1, patience=2, threshold_mode=threshold_mode))  # type: ignore[arg-type]
        for _ in range(8):
            opt.report(metric)
        factors[threshold_mode] = opt.schedule_state()[0]
    twin = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = ReduceLROnPlateau(twin, mode, patience=2, eps=0.0)
    for _ in range(8):
        scheduler.step(metric)
    assert factors["rel"] == factors["abs"] == pytest.approx(0.01)
    assert factors["torch_rel"] == twin.param_groups[0]["lr"] == 1


def test_eps_of_a_plateau() -> None:
    """ReduceLROnPlateau keeps a rate that it would lower by less than eps, by default 1e-8; ours has no eps."""
    twin = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1e-7)
    scheduler = ReduceLROnPlateau(twin, patience=0)
    opt = optimizer(lw.ReduceOnPlateau(patience=0), {"tiny": 1e-7})
    for _ in range(3):
        scheduler.step(1.0)
        opt.report(1.0)
    assert twin.param_groups[0]["lr"] == pytest.approx(1e-8, rel=1e-12)
    assert opt.layer("tiny").effective_lr == pytest.approx(1e-9, rel=1e-12)


def test_the_end_of_a_cosine() -> None:
    """CosineAnnealingLR rises again after T_max; ours stays at the floor, as timm's and optax's do."""
    found = rates_of_layers(lw.Cosine(50, min_lr=ETA_MIN, floor="absolute"), 101)
    expected = rates_of_groups(lambda twin: CosineAnnealingLR(twin, 50, ETA_MIN), 101)
    assert_same(expected[:, 100], PEAKS)
    assert_same(found[:, 50:], np.full((len(PEAKS), 51), ETA_MIN))


@pytest.mark.parametrize("three_phase", [False, True])
def test_phases_without_length(three_phase: bool) -> None:
    """OneCycleLR divides by 0 where its first phase ends at step 0; ours passes it at once."""
    with pytest.raises(ZeroDivisionError):
        rates_of_groups(lambda twin: OneCycleLR(twin, PEAKS, 10, pct_start=0.1, three_phase=three_phase), 1)
    found = lw.OneCycle(10, pct_start=0.1, three_phase=three_phase).evaluate(10)
    assert found[0] == (1.0 if not three_phase else 1 / 25)
    assert found[9] == pytest.approx(1 / 25e4, rel=1e-12)


def test_three_phases_that_do_not_fit() -> None:
    """OneCycleLR with three phases and pct_start > 0.5 never comes to its third; ours refuses."""
    found = rates_of_groups(lambda twin: OneCycleLR(twin, PEAKS, 100, pct_start=0.6, three_phase=True), 100)
    assert (found[:, -1] > np.array(PEAKS) / 25).all()
    with pytest.raises(lw.OutOfRange, match=r"pct_start must be in \[0, 0.5\] with three_phase, found 0.6"):
        lw.OneCycle(100, pct_start=0.6, three_phase=True).evaluate(100)


def test_constant_zero() -> None:
    """ConstantLR divides by its factor at the end, and so fails with 0; ours starts at the end."""
    with pytest.raises(ZeroDivisionError):
        rates_of_groups(lambda twin: ConstantLR(twin, 0.0, 3), 5)
    assert list(lw.Warmup(3, shape="constant", start=0).evaluate(5)) == [0, 0, 0, 1, 1]


def test_floors_in_a_chain() -> None:
    """Chained, CosineAnnealingLR takes what the others made of the rate for its own, and applies its floor to that.

    Its rates depend on the path there.  Ours are products, of the floor too.
    """
    theirs = rates_of_groups(
        chained(lambda twin: CosineAnnealingLR(twin, 50, ETA_MIN), lambda twin: ExponentialLR(twin, 0.9)), 51
    )
    ours = rates_of_layers(lw.Product(lw.Cosine(50, min_lr=ETA_MIN, floor="absolute"), lw.Exponential(0.9)), 51)
    assert_same(ours[:, 50], np.full(len(PEAKS), ETA_MIN * 0.9**50))
    assert not np.allclose(theirs[:, 50], ours[:, 50], rtol=0.1)
