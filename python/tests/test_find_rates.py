# SPDX-License-Identifier: Apache-2.0
"""The rate finder: fastai's and Lightning's suggestions, rates of layers that are known, and everything put back."""

import json
import math
import random
from collections.abc import Callable
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
import torch
from lightning.pytorch.tuner.lr_finder import _LRFinder
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import layerwise as lw
import layerwise.torch as lt
from layerwise import _searching as searching

Array = np.ndarray[Any, Any]
CURVATURES = {"flat": 1.0, "steep": 100.0, "middle": 10.0}


# ---- Suggestions


def smoothed(losses: Array, steps: int = 100) -> Array:
    keep = 0.98 ** max(1.0, 100 / steps)
    average, found = 0.0, []
    for count, loss in enumerate(losses, 1):
        average = keep * average + (1 - keep) * loss
        found.append(average / (1 - keep**count))
    return np.array(found)


def curve(seed: int, steps: int = 100) -> tuple[Array, Array]:
    """Losses as a sweep shows them: flat, falling, rising, with noise."""
    draw = np.random.default_rng(seed)
    rates = 1e-7 * (10 / 1e-7) ** (np.arange(steps) / steps)
    place = np.log10(rates) + draw.uniform(2, 5)
    losses = 2.3 - 1.5 / (1 + np.exp(-2 * place)) + np.exp(2 * (place - 3)) + 0.02 * draw.standard_normal(steps)
    average = smoothed(losses, steps)
    ended = int(np.argmax(average > 4 * np.minimum.accumulate(average))) + 1
    losses[ended if ended > 1 else steps :] = np.nan
    return rates, losses


def fastai(rates: Array, losses: Array) -> dict[str, float]:
    """The four suggestions of fastai 2.8, from the smoothed losses that it records."""
    recorded = int(np.isfinite(losses).sum())
    inner = slice(len(rates) // 10, recorded - 5)
    x, y = rates[inner], smoothed(losses, len(rates))[inner]
    lengths, start, end = [1] * len(y), 0, 0
    for i in range(1, len(y)):
        for j in range(i):
            if y[i] < y[j]:
                lengths[i] = max(lengths[i], lengths[j] + 1)
            if lengths[i] > lengths[end]:
                start, end = i - lengths[i], i
    third = (end - start) / 3
    slopes = np.gradient(y)
    right = len(y) - 1
    slide = x[right - 15]
    while right >= 15 and abs(slopes[right] - slopes[right - 15]) > 0.005:
        slide = x[right - 15]
        right -= 1
    return {
        "valley": x[start + int(third) + int(third / 2)],
        "slide": slide,
        "minimum": x[np.argmin(y)] / 10,
        "steep": x[np.argmin(np.diff(y) / np.diff(np.log(x)))],
    }


@pytest.mark.parametrize("seed", range(40))
def test_fastai(seed: int) -> None:
    rates, losses = curve(seed, 100 if seed % 4 else 60)
    found = searching.analyse("sweep", rates, [losses])["suggestions"]
    expected = fastai(rates, losses)
    assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-12)
    assert found["spread"] is None


@pytest.mark.parametrize("seed", range(40))
def test_lightning(seed: int) -> None:
    rates, losses = curve(seed)
    losses = losses[np.isfinite(losses)]
    finder = _LRFinder("exponential", 1e-7, 10, 100)
    finder.results = {"lr": list(rates[: len(losses)]), "loss": list(smoothed(losses))}
    expected = finder.suggestion()
    found = searching.analyse("sweep", rates, [[*losses, *[math.nan] * (100 - len(losses))]])["suggestions"][
        "lightning"
    ]
    # Lightning computes the slopes in float32, where those of neighbours may be equal.
    step = rates[1] / rates[0]
    assert expected is not None and found == pytest.approx(expected, rel=1.001 * (step - 1))


def test_the_mean_is_that_of_smoothed_repeats() -> None:
    rates, first = curve(1)
    _, second = curve(2)
    found = searching.analyse("sweep", rates, [first, second])
    mean = (smoothed(first) + smoothed(second)) / 2
    expected = [None if math.isnan(value) else value for value in mean]
    assert found["mean"] == [None if value is None else pytest.approx(value, rel=1e-12) for value in expected]


# ---- A network of quadratic layers, whose best rates are known


def quadratic(
    rule: lw.Rule | None = None, noise: float = 0.0, **options: Any
) -> tuple[lw.Optimizer, Callable[[int], float], list[int]]:
    weights = {name: np.full(4, 1 / math.sqrt(c)) for name, c in CURVATURES.items()}
    grads = {name: np.zeros(4) for name in CURVATURES}
    opt = lw.Optimizer(rule or lw.SGD(lr=1e-3), **options)
    for name, weight in weights.items():
        opt.add_layer(name, weight, grads[name])
    calls: list[int] = []

    def closure(batch: int) -> float:
        calls.append(batch)
        draw, loss = np.random.default_rng(batch), 0.0
        for name, c in CURVATURES.items():
            offset = weights[name] - noise * draw.standard_normal(4) / math.sqrt(c)
            grads[name][...] = c * offset
            loss += 0.5 * c * float(offset @ offset)
        return loss

    return opt, closure, calls


def test_each_layer_gets_its_rate() -> None:
    # After one step of SGD, 1 / curvature is the best rate.
    opt, closure, calls = quadratic(policy=lw.LayerDecay(0.5), schedule=lw.Warmup(100))
    found = lw.find_rates(opt, closure, repeats=1, trial_steps=1, trials=9, between=(1e-3, 1e3))
    for name, c in CURVATURES.items():
        own = found.layers[name]
        nearest = min(own.rates, key=lambda rate: abs(1 - c * rate))
        assert own.suggestions["spread"] == own.rates[int(np.nanargmin(own.mean))] == nearest
        assert own.suggestions["minimum"] == pytest.approx(nearest / 10)
        assert own.rates[0] == pytest.approx(1e-3 * found.held[name])
    scales, factors = found.scales(), [found.layers[name].suggestions["spread"] for name in CURVATURES]
    assert scales["flat"] > scales["middle"] > scales["steep"]
    ratios = [scales[name] / (factor or math.nan) for name, factor in zip(CURVATURES, factors, strict=True)]
    assert ratios == pytest.approx([ratios[0]] * 3)
    assert math.prod(scales[name] * found.lr / found.held[name] for name in CURVATURES) == pytest.approx(1)
    assert found.policy() == lw.Explicit(scales)
    # All trials of a repeat see the same batches.
    assert calls.count(100) == calls.count(101) <= 27
    assert len(calls) <= 100 + 3 * 9 * 2


def test_the_policy_is_ready_to_use() -> None:
    opt, closure, _ = quadratic(noise=0.3)
    found = lw.find_rates(opt, closure)
    opt.lr, opt.policy = found.lr, found.policy()
    assert [row["scale"] for row in opt.explain_rows()] == pytest.approx([found.scales()[name] for name in CURVATURES])
    assert opt.get("lr") == found.lr and found.by == "steep"


def test_ratios_are_fixed_in_the_sweep() -> None:
    opt, closure, _ = quadratic(policy=lw.LayerDecay(0.5))
    opt.layer("steep").set(lr=5e-4)
    rows: list[list[float]] = []

    def watched(batch: int) -> float:
        rows.append([row["effective_lr"] for row in opt.explain_rows()])
        return closure(batch)

    found = lw.find_rates(opt, watched, repeats=1, steps=20, layers=["flat"], trials=2)
    for rate, row in zip(found.base.rates, rows, strict=False):
        assert row == pytest.approx([0.25 * rate, 0.25 * rate, rate], rel=1e-12)
    assert list(found.layers) == ["flat"]
    assert found.held == pytest.approx({"flat": 0.25 * found.lr, "steep": 0.25 * found.lr, "middle": found.lr})
    for row in rows[-3:]:
        assert row[1:] == pytest.approx([0.25 * found.lr, found.lr])
    # A layer with a rate of its own keeps it, so that its scale makes up for the base rate.
    assert found.scales()["steep"] == pytest.approx(0.25 * found.lr / 5e-4)


@pytest.mark.parametrize("fails", [False, True])
def test_everything_is_put_back(fails: bool) -> None:
    schedule, policy = lw.Warmup(100), lw.RelativeGradientNorm()
    opt, closure, calls = quadratic(lw.AdamW(lr=0.01), schedule=schedule, policy=policy)
    opt.layer("middle").schedule = own = lw.Cosine(9)
    closure(0)
    for _ in range(3):
        opt.step()
    before, table = opt.to_bytes(parameters=True), opt.explain()

    def raises(batch: int) -> float:
        if len(calls) > 60:
            raise KeyError("no more batches")
        return closure(batch)

    if fails:
        with pytest.raises(KeyError, match="no more batches"):
            lw.find_rates(opt, raises, repeats=1, steps=50)
    else:
        lw.find_rates(opt, closure, repeats=1, steps=50)
    assert opt.to_bytes(parameters=True) == before and opt.explain() == table
    assert opt.schedule is schedule and opt.policy is policy and opt.layer("middle").schedule is own


def test_frozen_layers_are_left_out_and_parts_go_together() -> None:
    opt, closure, _ = quadratic()
    opt.layer("middle").freeze()
    extra, gradient = np.ones(2), np.zeros(2)
    opt.add_layer("flat, the rest", extra, gradient, part_of="flat", weight_decay=0.0)
    rows: list[list[float]] = []

    def watched(batch: int) -> float:
        rows.append([row["effective_lr"] for row in opt.explain_rows()])
        gradient[...] = extra
        return closure(batch) + float(extra @ extra) / 2

    found = lw.find_rates(opt, watched, repeats=1, steps=20, trials=3, trial_steps=1)
    assert list(found.layers) == ["flat", "steep"] == list(found.held)
    assert all(row[0] == row[3] and row[2] == 0 for row in rows)
    assert len({row[0] for row in rows[-12:]}) > 1
    assert opt.layer("middle").frozen


def test_rates_above_the_first_that_explodes_are_left_out() -> None:
    opt, closure, calls = quadratic(nonfinite="raise")
    found = lw.find_rates(opt, closure, repeats=2, highest=1e12, between=(1, 1e200), trials=5, trial_steps=3)
    assert not math.isnan(found.layers["steep"].mean[0]) and math.isnan(found.layers["steep"].mean[-1])
    assert len(calls) < 2 * (100 + 3 * 5 * 4)


def test_closures_without_a_number_and_steps_that_are_refused() -> None:
    opt, closure, _ = quadratic(noise=0.1)
    count = iter(range(10**6))
    assert lw.find_rates(opt, lambda: closure(next(count)), repeats=2, steps=30).layers
    opt, _, _ = quadratic()
    for layer in opt._layers:
        layer.tensors[0].gradient.owner[...] = np.nan  # type: ignore[index,union-attr]
    found = lw.find_rates(opt, lambda: 1.0, repeats=1, steps=20, trials=2)
    assert found.by == "lr" and found.lr == 1e-3
    with pytest.raises(lw.InvalidArgument, match='no layer has a suggestion "spread"'):
        found.policy()


def test_what_is_found_is_shown() -> None:
    opt, closure, _ = quadratic(noise=0.2)
    found = lw.find_rates(opt, closure, repeats=2, steps=40)
    lines = found.table().splitlines()
    assert lines[0].split() == ["held", "valley", "slide", "minimum", "steep", "lightning", "spread"]
    assert [line.split("  ")[0] for line in lines[1:]] == ["all layers", *CURVATURES]
    values = json.loads(found.json())
    assert values["lr"] == found.lr and list(values["layers"]) == list(CURVATURES)
    assert values["base"]["rates"] == list(found.base.rates)
    assert "Infinity" not in found.json() and "NaN" not in found.json()
    with mpl.rc_context({"backend": "agg"}):
        figure = found.plot()
        figure.canvas.draw()
    titles = [ax.get_title() for ax in figure.axes if ax.get_visible()]
    assert titles == ["all layers", *CURVATURES]
    assert repr(found).startswith("<layerwise.FoundRates: lr ")


def test_refusals() -> None:
    opt, closure, calls = quadratic()
    before = opt.to_bytes(parameters=True)
    cases: list[tuple[type[Exception], dict[str, Any]]] = [
        (lw.OutOfRange, {"lowest": 0.0}),
        (lw.OutOfRange, {"lowest": 1.0, "highest": 0.1}),
        (lw.OutOfRange, {"steps": 1}),
        (lw.OutOfRange, {"trials": 1}),
        (lw.OutOfRange, {"between": (1.0, 1.0)}),
        (lw.InvalidArgument, {"repeats": 0}),
        (lw.InvalidArgument, {"trial_steps": 0}),
        (lw.UnknownName, {"by": "spread"}),
        (lw.UnknownName, {"by": "hill"}),
        (lw.UnknownName, {"layers": ["head"]}),
        (TypeError, {"layers": "flat"}),
    ]
    for error, arguments in cases:
        with pytest.raises(error):
            lw.find_rates(opt, closure, **arguments)
    with pytest.raises(TypeError, match="closure: expected a function"):
        lw.find_rates(opt, 3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="expected an optimizer of layerwise"):
        lw.find_rates(torch.optim.SGD([nn.Parameter(torch.ones(1))]), closure)  # type: ignore[arg-type]
    with pytest.raises(lw.InvalidArgument, match="no layers"):
        lw.find_rates(lw.Optimizer(lw.SGD()), closure)
    assert not calls and opt.to_bytes(parameters=True) == before
    found = lw.find_rates(opt, closure, steps=20, repeats=1, trials=2, layers=[])
    assert not found.layers
    with pytest.raises(lw.UnknownName, match="by must be one of"):
        found.policy("hill")  # type: ignore[arg-type]


# ---- torch


def network() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3)
    )


def data() -> DataLoader[Any]:
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(96, 6, generator=draw)
    return DataLoader(TensorDataset(x, x[:, :3].argmax(1)), batch_size=16, shuffle=True)


def cross_entropy(model: nn.Module, batch: Any) -> torch.Tensor:
    return nn.functional.cross_entropy(model(batch[0]), batch[1])


def everything(model: nn.Module, opt: lt.LayerwiseOptimizer) -> list[Any]:
    state = [value.clone() for value in model.state_dict().values()]
    return [*state, opt.native.to_bytes(parameters=True), torch.get_rng_state(), random.getstate(), model.training]


def same(one: list[Any], other: list[Any]) -> bool:
    return all(torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b for a, b in zip(one, other, strict=True))


def test_a_model_is_put_back() -> None:
    model = network()
    opt = lt.AdamW(model, lr=1e-3, layer_decay=0.5)
    cross_entropy(model, next(iter(data()))).backward()
    opt.step()
    gradients = [param.grad for param in model.parameters()]
    values = [gradient.clone() for gradient in gradients if gradient is not None]
    before = everything(model, opt)
    found = lt.find_rates(model, opt, data(), cross_entropy, steps=15, repeats=2, trials=3)
    assert same(everything(model, opt), before)
    assert all(param.grad is gradient for param, gradient in zip(model.parameters(), gradients, strict=True))
    assert all(torch.equal(old, new) for old, new in zip(values, gradients, strict=True) if new is not None)
    assert list(found.layers) == list(opt.native.layers)
    # The same order of batches and the same units dropped: it is reproducible.
    assert lt.find_rates(model, opt, data(), cross_entropy, steps=15, repeats=2, trials=3) == found


def test_a_scheduler_that_begins_at_zero() -> None:
    model = network()
    opt = lt.SGD(model, lr=0.1)
    torch.optim.lr_scheduler.LambdaLR(opt, lambda step: step / 100)
    assert opt.param_groups[0]["lr"] == 0
    found = lt.find_rates(model, opt, data(), cross_entropy, steps=40, repeats=1, trials=3)
    assert found.lr > 0 and opt.param_groups[0]["lr"] == 0


def test_torch_refusals() -> None:
    model = network()
    with pytest.raises(TypeError, match=r"expected one of layerwise\.torch"):
        lt.find_rates(model, torch.optim.SGD(model.parameters()), data(), cross_entropy)  # type: ignore[arg-type]
    opt = lt.SGD(model, lr=0.1)
    before = everything(model, opt)
    with pytest.raises(lw.InvalidArgument, match="there are no batches"):
        lt.find_rates(model, opt, [], cross_entropy)
    with pytest.raises(lw.InvalidArgument, match="used up: give a list"):
        lt.find_rates(model, opt, iter([next(iter(data()))]), cross_entropy)
    with pytest.raises(ZeroDivisionError):
        lt.find_rates(model, opt, data(), lambda model, batch: 1 / 0)
    torch.set_rng_state(before[-3])
    assert same(everything(model, opt), before)
