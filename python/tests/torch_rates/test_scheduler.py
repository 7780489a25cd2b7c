# SPDX-License-Identifier: Apache-2.0
"""LayerRates is a scheduler of torch to whoever expects one, and goes with others."""

import copy
import itertools
import warnings
from typing import Any

import pytest
import torch
from torch.optim import lr_scheduler
from torch_optim.support.networks import assert_same, states_of, values_of

import layerwise as lw
from layerwise.torch import LayerRates
from torch_rates.driving import LAYERS, backward, drive, inputs, tower

LR = 0.01
SCALES = [0.5**4, 0.5**3, 0.5**2, 0.5, 1.0]
OPTIONS: dict[str, Any] = {
    "layer_decay": 0.5,
    "schedule": lw.Warmup(3, lw.Cosine(20, min_lr=1e-4)),
    "freezing": lw.GradualUnfreezing(4),
    "weight_decay_exclude_1d": True,
}


def driven(**options: Any) -> tuple[torch.nn.Module, torch.optim.Optimizer, LayerRates]:
    model = tower()
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR, weight_decay=0.1)
    return model, optimizer, LayerRates(optimizer, model, layers=LAYERS, **options)


def rates_of(optimizer: torch.optim.Optimizer) -> list[float]:
    return [float(group["lr"]) for group in optimizer.param_groups]


def test_has_what_schedulers_have() -> None:
    _, optimizer, rates = driven(layer_decay=0.5, schedule=lw.Linear(10))
    assert isinstance(rates, lr_scheduler.LRScheduler)
    assert rates.last_epoch == 0 and rates._step_count == 1
    assert rates.base_lrs == [LR * scale for scale in SCALES] == [g["initial_lr"] for g in optimizer.param_groups]
    optimizer.step()
    rates.step()
    assert rates.last_epoch == 1 and rates.native.next_step == 1
    assert rates.get_last_lr() == rates.get_lr() == rates_of(optimizer) == [0.9 * LR * scale for scale in SCALES]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rates.step(5)
    assert rates.last_epoch == 5 and rates_of(optimizer) == [0.5 * LR * scale for scale in SCALES]


def test_rates_are_those_of_the_preview() -> None:
    _, optimizer, rates = driven(layer_decay=0.5, schedule=OPTIONS["schedule"])
    preview = rates.preview(12)
    for step in range(12):
        assert rates_of(optimizer) == [preview[layer, step] for layer in range(5)]
        rates.step()
    assert [row["effective_lr"] for row in rates.explain_rows()] == rates_of(optimizer)
    assert rates.preview(1)[0, 0] == rates_of(optimizer)[0] and "step 12" in rates.explain().splitlines()[0]


@pytest.mark.parametrize("at", [0, 1, 5, 11])
def test_resumes_at_any_step(at: int) -> None:
    data = inputs(16)
    model, optimizer, rates = driven(**OPTIONS)
    drive(model, optimizer, rates, data[:at])
    saved = copy.deepcopy((model.state_dict(), optimizer.state_dict(), rates.state_dict()))
    drive(model, optimizer, rates, data[at:])
    for order in itertools.permutations(range(2)):
        twin, other, theirs = driven(**OPTIONS)
        twin.load_state_dict(saved[0])
        for which in order:
            (other, theirs)[which].load_state_dict(copy.deepcopy(saved[1 + which]))
        assert theirs.last_epoch == at
        drive(twin, other, theirs, data[at:])
        assert_same(values_of(twin), values_of(model))
        assert_same(states_of(twin, other), states_of(model, optimizer))
        assert theirs.get_last_lr() == rates.get_last_lr()


def test_the_state_is_plain_and_survives_a_file(tmp_path: Any) -> None:
    _, _, rates = driven(**OPTIONS)
    rates.step()
    torch.save(rates.state_dict(), tmp_path / "rates.pt")
    assert torch.load(tmp_path / "rates.pt", weights_only=True) == rates.state_dict()


def test_resumes_with_the_rate_of_the_run() -> None:
    """As schedulers of torch do: the rate is the run's, not that of the script that resumes it."""
    _, optimizer, rates = driven(**OPTIONS)
    rates.step(6)
    model = tower()
    other = torch.optim.AdamW(model.parameters(), lr=7.0, weight_decay=0.1)
    theirs = LayerRates(other, model, layers=LAYERS, **OPTIONS)
    other.load_state_dict(optimizer.state_dict())
    theirs.load_state_dict(rates.state_dict())
    assert theirs.get_last_lr() == rates.get_last_lr()
    rates.step()
    theirs.step()
    assert theirs.get_last_lr() == rates.get_last_lr() and theirs.base_lrs == rates.base_lrs


def test_schedules_that_follow_a_metric_resume() -> None:
    schedule = lw.ReduceOnPlateau(patience=0, factor=0.5)
    _, optimizer, rates = driven(schedule=schedule, layer_decay=0.5)
    for metric in (1.0, 2.0, 3.0):
        rates.report(metric)
    rates.step()
    assert rates_of(optimizer) == [0.25 * LR * scale for scale in SCALES]
    _, other, theirs = driven(schedule=schedule, layer_decay=0.5)
    theirs.load_state_dict(rates.state_dict())
    assert rates_of(other) == rates_of(optimizer)
    for each in (rates, theirs):
        each.report(4.0)
        each.step()
    assert rates_of(other) == rates_of(optimizer) == [0.125 * LR * scale for scale in SCALES]


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda state: state.pop("layerwise"), "must have 'layerwise'"),
        (lambda state: state["base_lrs"].pop(), "is of 9 param groups, and here are 10"),
        (lambda state: state.update(layerwise="nonsense"), 'found "nonsense"'),
    ],
)
def test_refuses_a_state_of_others(change: Any, match: str) -> None:
    _, optimizer, rates = driven(**OPTIONS)
    rates.step()
    state = rates.state_dict()
    change(state)
    before = rates.state_dict(), rates_of(optimizer)
    with pytest.raises(lw.errors.InvalidArgument, match=match):
        rates.load_state_dict(state)
    assert (rates.state_dict(), rates_of(optimizer)) == before


# ---- Others beside it


OUTSIDE = {
    "lambda": lambda optimizer: lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step)),
    "exponential": lambda optimizer: lr_scheduler.ExponentialLR(optimizer, 0.5),
    "step": lambda optimizer: lr_scheduler.StepLR(optimizer, 2),
    "linear": lambda optimizer: lr_scheduler.LinearLR(optimizer, total_iters=4),
    "cosine": lambda optimizer: lr_scheduler.CosineAnnealingLR(optimizer, 8),
    "multiplicative": lambda optimizer: lr_scheduler.MultiplicativeLR(optimizer, lambda step: 0.9),
}


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_scheduler_outside_moves_the_base(name: str) -> None:
    """Each group moves as the rate of one group alone would, times its scale; the layers rest as planned.

    The scales are powers of two, so the products are exact.
    """
    model, optimizer, rates = driven(layer_decay=0.5, freezing=lw.GradualUnfreezing(3))
    alone = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=LR)
    outside, other = OUTSIDE[name](optimizer), OUTSIDE[name](alone)
    for step, values in enumerate(inputs(8)):
        assert rates_of(optimizer) == [alone.param_groups[0]["lr"] * scale for scale in SCALES]
        assert sum(row["frozen"] for row in rates.explain_rows()) == max(0, 4 - step // 3)
        backward(model, values)
        optimizer.step()
        alone.step()
        outside.step()
        other.step()
        rates.step()


def test_what_moves_by_hand_stays() -> None:
    _, optimizer, rates = driven(layer_decay=0.5)
    for group in optimizer.param_groups:
        group["lr"] *= 0.5
    rates.step()
    assert rates_of(optimizer) == [0.5 * LR * scale for scale in SCALES] == rates.get_last_lr()


def test_a_scheduler_that_levels_the_layers_warns_once() -> None:
    model, optimizer, rates = driven(layer_decay=0.5)
    outside = lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=10)
    with pytest.warns(UserWarning, match='has set the "lr" of all param groups to .* one for each group') as caught:
        for values in inputs(3):
            drive(model, optimizer, rates, [values])
            outside.step()
    assert len(caught) == 1
    model, optimizer, rates = driven(layer_decay=0.5)
    peaks = [group["initial_lr"] for group in optimizer.param_groups]
    outside = lr_scheduler.OneCycleLR(optimizer, max_lr=peaks, total_steps=10)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drive(model, optimizer, rates, inputs(3))
    assert rates_of(optimizer) == pytest.approx([rates_of(optimizer)[-1] * scale for scale in SCALES])


@pytest.mark.parametrize("tensors", [False, True])
def test_two_schedules_warn_once(tensors: bool) -> None:
    model = tower()
    rate = torch.tensor(LR, dtype=torch.float64) if tensors else LR
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, foreach=False, capturable=tensors)
    rates = LayerRates(optimizer, model, layers=LAYERS, layer_decay=0.5, schedule=lw.Linear(10))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rates.step()
        rates.step()
    lr_scheduler.ExponentialLR(optimizer, 0.5)
    for group in optimizer.param_groups:
        group["lr"] = group["lr"].mul_(0.5) if tensors else group["lr"] * 0.5
    with pytest.warns(UserWarning, match='something else moves the "lr"') as caught:
        rates.step()
        for group in optimizer.param_groups:
            group["lr"] = group["lr"].mul_(0.5) if tensors else group["lr"] * 0.5
        rates.step()
    assert len(caught) == 1
    assert rates_of(optimizer) == pytest.approx([0.6 * LR * scale for scale in SCALES])


@pytest.mark.parametrize("ours_first", [True, False])
def test_in_a_sequence(ours_first: bool) -> None:
    model, optimizer, rates = driven(layer_decay=0.5, schedule=lw.Linear(10))
    warmup = lr_scheduler.LinearLR(optimizer, 0.5, total_iters=4)
    order = [rates, warmup] if ours_first else [warmup, rates]
    sequence = lr_scheduler.SequentialLR(optimizer, order, milestones=[4])
    seen = []
    for values in inputs(8):
        seen.append(rates_of(optimizer)[-1] / LR)
        assert rates_of(optimizer) == pytest.approx([seen[-1] * LR * scale for scale in SCALES])
        backward(model, values)
        optimizer.step()
        sequence.step()
    linear, ramp = [1.0, 0.9, 0.8, 0.7], [0.5, 0.625, 0.75, 0.875]
    if ours_first:
        # torch's own LinearLR restarts from the rate that it finds.
        assert seen[:4] == pytest.approx(linear) and seen[4] < seen[3]
    else:
        assert seen == pytest.approx(ramp + linear)


def test_in_a_chain() -> None:
    model, optimizer, rates = driven(layer_decay=0.5, freezing=lw.GradualUnfreezing(2))
    chain = lr_scheduler.ChainedScheduler([lr_scheduler.ExponentialLR(optimizer, 0.5), rates])
    for values in inputs(3):
        backward(model, values)
        optimizer.step()
        chain.step()
    assert rates_of(optimizer) == [0.125 * LR * scale for scale in SCALES] == chain.get_last_lr()
    assert rates.last_epoch == 3 and sum(row["frozen"] for row in rates.explain_rows()) == 3


def test_goes_on_from_last_epoch() -> None:
    _, _, rates = driven(**OPTIONS)
    rates.step(7)
    _, other, theirs = driven(**OPTIONS, last_epoch=6)
    assert theirs.last_epoch == 7 and theirs.get_last_lr() == rates.get_last_lr()
    assert [row["frozen"] for row in theirs.explain_rows()] == [row["frozen"] for row in rates.explain_rows()]
    assert rates_of(other) == rates.get_last_lr()
