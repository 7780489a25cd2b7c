# SPDX-License-Identifier: Apache-2.0
"""Averages of the weights and Lookahead equal the libraries that have them, and keep the promises of every state."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from pytorch_optimizer.optimizer.lookahead import Lookahead as TheirLookahead
from support.material import SHAPES, distance, gradients, weights
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import layerwise as lw
import layerwise.torch as lwt

STEPS = 24


def parameters() -> dict[str, torch.nn.Parameter]:
    start = weights(SHAPES)
    return {key: torch.nn.Parameter(torch.from_numpy(value.copy())) for key, value in start.items() if value.size}


class Twins:
    """One of our optimizers and one of torch's, over equal parameters and gradients."""

    def __init__(self, their: Callable[[list[torch.nn.Parameter]], Any] | None = None, **options: Any) -> None:
        self.ours, self.theirs = parameters(), parameters()
        self.opt = lwt.AdamW([*self.ours.items()], lr=0.05, **options)
        plain: Any = torch.optim.AdamW([*self.theirs.values()], lr=0.05)
        self.twin = their(plain) if their else plain

    def step(self, found: dict[str, np.ndarray]) -> None:
        for key, value in found.items():
            if key in self.ours:
                self.ours[key].grad, self.theirs[key].grad = (torch.from_numpy(value.copy()) for _ in range(2))
        self.opt.step()
        self.twin.step()

    def equal(self, expected: dict[str, torch.Tensor]) -> None:
        """Within 1e-12 of the distance that the parameters have moved."""
        start = weights(SHAPES)
        for key, value in expected.items():
            value = value.detach()
            moved = distance(value, torch.from_numpy(start[key]))
            assert distance(self.ours[key].detach(), value) <= 1e-12 * max(moved, 1e-3), key


class Module(torch.nn.Module):
    def __init__(self, values: dict[str, torch.nn.Parameter]) -> None:
        super().__init__()
        self.values = torch.nn.ParameterList(values.values())


def test_ema_equals_torch() -> None:
    twins = Twins(average=lw.EMA(0.8))
    average = AveragedModel(Module(twins.theirs), multi_avg_fn=get_ema_multi_avg_fn(0.8))
    for found in gradients(SHAPES, STEPS):
        twins.step(found)
        average.update_parameters(Module(twins.theirs))
    training = {key: value.detach().clone() for key, value in twins.ours.items()}
    twins.opt.eval()
    twins.equal(dict(zip(twins.theirs, average.module.values, strict=True)))
    twins.opt.train()
    assert all(torch.equal(twins.ours[key], value) for key, value in training.items())


def test_swa_equals_torch() -> None:
    twins = Twins(average=lw.PolyakAverage(start=5, period=3))
    average = AveragedModel(Module(twins.theirs))
    for step, found in enumerate(gradients(SHAPES, STEPS), 1):
        twins.step(found)
        if step in range(5, STEPS + 1, 3):
            average.update_parameters(Module(twins.theirs))
    twins.opt.eval()
    twins.equal(dict(zip(twins.theirs, average.module.values, strict=True)))


@pytest.mark.parametrize(
    ("average", "share"),
    [
        (lw.EMA(0.9, warmup=True), lambda n: 1 - min(0.9, (1 + n) / (10 + n))),
        (lw.PolynomialAverage(), lambda n: 9 / (8 + n + 1)),
        (lw.PolynomialAverage(gamma=2.5), lambda n: 3.5 / (2.5 + n + 1)),
    ],
    ids=["ema with warm-up", "polynomial", "polynomial 2.5"],
)
def test_formulas(average: lw.Average, share: Callable[[int], float]) -> None:
    """The first weights are the start; after n of them the next have this share."""
    twins = Twins(average=average)
    expected: dict[str, torch.Tensor] = {}
    for n, found in enumerate(gradients(SHAPES, STEPS)):
        twins.step(found)
        for key, value in twins.theirs.items():
            last = expected.get(key, value.detach())
            expected[key] = last + (1.0 if n == 0 else share(n)) * (value.detach() - last)
    twins.opt.eval()
    twins.equal(expected)


def test_lookahead_equals_pytorch_optimizer() -> None:
    twins = Twins(
        lambda plain: TheirLookahead(plain, k=4, alpha=0.3, pullback_momentum="none"),
        lookahead=lw.Lookahead(k=4, alpha=0.3),
    )
    for found in gradients(SHAPES, STEPS + 1):
        twins.step(found)
    twins.equal({key: value.detach() for key, value in twins.theirs.items()})


def test_the_average_is_of_weights_after_lookahead() -> None:
    twins = Twins(lookahead=lw.Lookahead(k=2, alpha=0.5), average=lw.EMA(0.5))
    expected: dict[str, torch.Tensor] = {}
    for found in gradients(SHAPES, 7):
        twins.step(found)
        for key, value in twins.ours.items():
            last = expected.get(key, value.detach().clone())
            expected[key] = last + 0.5 * (value.detach() - last)
    twins.opt.eval()
    twins.equal(expected)


# ---- Natively


def native(
    dtype: str = "float32", master: bool = False, **options: Any
) -> tuple[lw.Optimizer, dict[str, torch.Tensor]]:
    values = {
        "body": torch.linspace(-1, 1, 5 * 77).reshape(5, 77).to(getattr(torch, dtype)),
        "head": torch.ones(7).to(getattr(torch, dtype)),
    }
    opt = lw.Optimizer(lw.AdamW(lr=0.1), **options)
    for name, value in values.items():
        opt.add_layer(name, value, master=master and dtype.endswith("16"))
    return opt, values


def step(opt: lw.Optimizer, values: dict[str, torch.Tensor], t: int) -> None:
    opt.step({name: torch.cos(value.float() * 3 + t).to(value.dtype) for name, value in values.items()})


KINDS = [("float64", False), ("float32", False), ("bfloat16", False), ("bfloat16", True), ("float16", False)]


@pytest.mark.parametrize(("dtype", "master"), KINDS)
def test_training_weights_come_back_bit_by_bit(dtype: str, master: bool) -> None:
    """Evaluations in between change nothing, and the average itself is not rounded to the parameters' type."""
    options: dict[str, Any] = {"average": lw.EMA(0.9), "lookahead": lw.Lookahead(3, 0.4)}
    opt, values = native(dtype, master, **options)
    other, quiet = native(dtype, master, **options)
    for t in range(8):
        step(opt, values, t)
        step(other, quiet, t)
        kept = {name: value.clone() for name, value in values.items()}
        opt.eval()
        assert any(not torch.equal(values[name], kept[name]) for name in values) or t == 0
        opt.train()
        assert all(torch.equal(values[name], quiet[name]) for name in values)
    for name in values:
        # The room that is only used for evaluation may differ.
        ours, theirs = (it.layer(name).states()["weight"] for it in (opt, other))
        assert ours.keys() == theirs.keys()
        for state in ours.keys() - {"training_weights"}:
            pair = [np.asarray(it.layer(name).read_state("weight", state)).tobytes() for it in (opt, other)]
            assert pair[0] == pair[1], state


@pytest.mark.parametrize(("dtype", "master"), KINDS)
@pytest.mark.parametrize("mode", ["training", "evaluation"])
def test_resume(dtype: str, master: bool, mode: str) -> None:
    """A checkpoint of either mode goes on with the same bits, in an optimizer of either mode."""
    options: dict[str, Any] = {"average": lw.PolynomialAverage(), "lookahead": lw.Lookahead(3, 0.4)}
    opt, values = native(dtype, master, **options)
    for t in range(7):
        step(opt, values, t)
    if mode == "evaluation":
        opt.eval()
    saved = opt.to_bytes(parameters=True)
    for here in ("training", "evaluation"):
        other, copies = native(dtype, master, **options)
        step(other, copies, 0)
        if here == "evaluation":
            other.eval()
        other.load_bytes(saved)
        assert other.mode == mode
        assert all(torch.equal(values[name], copies[name]) for name in values)
        first, second = (copy.deepcopy((opt, values)), (other, copies))
        for it, own in (first, second):
            it.train()
            for t in range(7, 12):
                step(it, own, t)
            it.eval()
        assert all(torch.equal(first[1][name], copies[name]) for name in values)


def test_snapshots_hold_averages() -> None:
    opt, values = native(average=lw.EMA(0.9), lookahead=lw.Lookahead(2))
    for t in range(3):
        step(opt, values, t)
    snapshot = opt.snapshot()
    ends = []
    for _ in range(2):
        for t in range(3, 8):
            step(opt, values, t)
        opt.eval()
        ends.append({name: value.clone() for name, value in values.items()})
        opt.restore(snapshot)
        assert opt.mode == "training"
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in values)


def test_an_average_goes_on_while_weights_rest() -> None:
    """As in torch, whose average is taken of all parameters; what never moved is left alone."""
    opt, values = native("float64", average=lw.EMA(0.5))
    step(opt, values, 0)
    step(opt, values, 1)
    weight = values["body"].clone()
    average = torch.from_numpy(np.asarray(opt.layer("body").read_state("weight", "average")).copy()).reshape(5, 77)
    opt.layer("body").freeze()
    for t in range(2, 6):
        step(opt, values, t)
        average += 0.5 * (weight - average)
    opt.eval()
    assert torch.allclose(values["body"], average, rtol=1e-15, atol=1e-15)


def test_one_layer_at_a_time() -> None:
    """Layers that step one by one have the averages of layers that step together."""
    (opt, values), (other, copies) = (native(average=lw.EMA(0.7), lookahead=lw.Lookahead(2)) for _ in range(2))
    for t in range(6):
        step(opt, values, t)
        given = {name: torch.cos(value * 3 + t) for name, value in copies.items()}
        for name in copies:
            other.step({name: given[name]}, layer=name)
    opt.eval()
    other.eval()
    assert all(torch.equal(values[name], copies[name]) for name in values)


def test_switched_on_and_off() -> None:
    opt, values = native()
    step(opt, values, 0)
    opt.eval()
    assert opt.mode == "training", "without an average there is one mode"
    opt.set(average=lw.PolyakAverage(), lookahead=lw.Lookahead(4))
    before = {name: value.clone() for name, value in values.items()}
    opt.eval()
    assert all(torch.equal(values[name], before[name]) for name in values), "no weights were averaged yet"
    with pytest.raises(lw.InvalidArgument, match="set the mode to training first"):
        opt.set(average=None)
    with pytest.raises(lw.InvalidArgument, match="set the mode to training first"):
        opt.layer("body").reset()
    with pytest.raises(lw.InvalidArgument, match="set the mode to training first"):
        step(opt, values, 1)
    opt.train()
    means = []
    for t in range(1, 4):
        step(opt, values, t)
        means.append(values["body"].double())
    opt.eval()
    assert torch.allclose(values["body"].double(), sum(means) / 3, rtol=1e-6, atol=1e-7)
    opt.train()
    opt.set(average=None, lookahead=None)
    assert opt.get("average") is None and opt.get("lookahead") is None
    step(opt, values, 4)
    opt.set(average=lw.PolyakAverage())
    step(opt, values, 5)
    kept = values["body"].clone()
    opt.eval()
    assert torch.equal(values["body"], kept), "the mean begins again"


def test_reset_begins_again() -> None:
    opt, values = native(average=lw.PolyakAverage())
    for t in range(3):
        step(opt, values, t)
    opt.layer("body").reset()
    step(opt, values, 3)
    kept = {name: value.clone() for name, value in values.items()}
    opt.eval()
    assert torch.equal(values["body"], kept["body"]) and not torch.equal(values["head"], kept["head"])


@pytest.mark.parametrize(
    "options", [{"average": lw.EMA()}, {"lookahead": lw.Lookahead()}], ids=["average", "lookahead"]
)
def test_refused_where_a_rule_has_evaluation_weights(options: dict[str, Any]) -> None:
    with pytest.raises(lw.OutOfRange, match=r"Schedule-Free SGD: the rule has weights for evaluation of its own"):
        lw.Optimizer(lw.ScheduleFreeSGD(lr=0.1), **options)
    opt, values = native(**options)
    with pytest.raises(lw.OutOfRange, match="weights for evaluation of its own"):
        opt.add_layer("other", np.ones(3, np.float32), rule=lw.ScheduleFreeSGD(lr=0.1))
    step(opt, values, 0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: lw.EMA(1.0), r"decay must be in \[0, 1\), found 1"),
        (lambda: lw.EMA(period=0), "period must be a whole number from 1"),
        (lambda: lw.EMA(start=-1), "start must be a whole number from 0"),
        (lambda: lw.PolynomialAverage(-1), r"gamma must be in \[0, inf\), found -1"),
        (lambda: lw.Lookahead(0), "k must be at least 1, found 0"),
        (lambda: lw.Lookahead(-2), "k must be a whole number from 0"),
        (lambda: lw.Lookahead(alpha=0), r"alpha must be in \(0, 1\], found 0"),
    ],
)
def test_wrong_numbers(make: Callable[[], object], message: str) -> None:
    with pytest.raises(lw.OutOfRange, match=f"^{message}"):
        make()


def test_other_values() -> None:
    with pytest.raises(TypeError, match=r"average: expected an object such as layerwise\.EMA\(0\.999\), found 0\.9"):
        native(average=0.9)
    with pytest.raises(TypeError, match=r"lookahead: expected an object such as layerwise\.Lookahead\(\), found 5"):
        native(lookahead=5)


def test_values_that_are_written() -> None:
    """Any bits may be written to the count of weights: what is no count begins again."""
    for count in (np.nan, -3.0, np.inf):
        opt, values = native(average=lw.PolyakAverage())
        step(opt, values, 0)
        opt.layer("body").write_state("weight", "average_count", np.array(count))
        step(opt, values, 1)
        kept = values["body"].clone()
        assert np.array_equal(np.asarray(opt.layer("body").read_state("weight", "average")), kept.flatten())


def test_infinite_weights_stay_out_of_sight() -> None:
    """A weight that overflows makes its own average infinite or largest, and no other's."""
    opt, values = native(average=lw.EMA(0.5), nonfinite="propagate")
    step(opt, values, 0)
    values["body"][0, 0] = torch.nan
    step(opt, values, 1)
    average = np.asarray(opt.layer("body").read_state("weight", "average"))
    assert np.isnan(average[0]) and np.isfinite(average[1:]).all()


def test_a_checkpoint_without_an_average() -> None:
    """What the rule keeps is loaded, and the average begins with the weights."""
    opt, values = native()
    step(opt, values, 0)
    saved = opt.to_bytes(parameters=True)
    other, copies = native(average=lw.EMA(0.9), lookahead=lw.Lookahead(2))
    with pytest.raises(lw.CheckpointMismatch, match="average"):
        other.load_bytes(saved)
    report = other.load_bytes(saved, strict=False)
    assert {"body/weight/average", "body/weight/slow_weights"} <= set(report.missing)
    assert report.loaded and all(torch.equal(values[name], copies[name]) for name in values)
    for state in ("average", "slow_weights"):
        found = np.asarray(other.layer("body").read_state("weight", state))
        assert np.array_equal(found, values["body"].flatten())
    step(other, copies, 1)
    other.eval()
    saved = other.to_bytes(parameters=True)
    with pytest.raises(lw.CheckpointMismatch, match="set the mode to training first"):
        other.load_bytes(saved, strict=False)


# ---- torch


def test_state_dicts() -> None:
    """Of either mode: parameters come with their module, and states with the optimizer."""
    for evaluates in (False, True):
        make = lambda: Twins(average=lw.EMA(0.9), lookahead=lw.Lookahead(3))  # noqa: E731
        twins, other = make(), make()
        found = [*gradients(SHAPES, 10)]
        for each in found[:6]:
            twins.step(each)
        if evaluates:
            twins.opt.eval()
        with torch.no_grad():
            for key, value in twins.ours.items():
                other.ours[key].copy_(value)
        other.opt.load_state_dict(copy.deepcopy(twins.opt.state_dict()))
        for it in (twins, other):
            it.opt.train()
            for each in found[6:]:
                it.step(each)
            it.opt.eval()
        assert all(torch.equal(value, other.ours[key]) for key, value in twins.ours.items())


def test_state_dict_of_a_plain_optimizer() -> None:
    """Averages and slow weights begin with the parameters as they are then."""
    plain, other = Twins(), Twins(average=lw.EMA(0.9), lookahead=lw.Lookahead(k=4, alpha=0.5))
    found = [*gradients(SHAPES, 4)]
    for each in found[:3]:
        plain.step(each)
    with torch.no_grad():
        for key, value in plain.ours.items():
            other.ours[key].copy_(value)
    other.opt.load_state_dict(copy.deepcopy(plain.opt.state_dict()))
    before = {key: value.detach().clone() for key, value in plain.ours.items()}
    plain.step(found[3])
    other.step(found[3])
    other.equal({key: before[key] + 0.5 * (value.detach() - before[key]) for key, value in plain.ours.items()})


def test_sixteen_bits_in_torch() -> None:
    parameter = torch.nn.Parameter(torch.linspace(-1, 1, 50).bfloat16())
    opt = lwt.AdamW([parameter], lr=0.1, average=lw.EMA(0.5))
    for _ in range(3):
        parameter.grad = torch.cos(parameter.detach() * 3)
        opt.step()
    kept = parameter.detach().clone()
    state = opt.state_dict()["state"][0]
    assert state["average"].dtype == torch.float32 and state["training_weights"].dtype == torch.bfloat16
    opt.eval()
    assert torch.equal(parameter, state["average"].bfloat16()) and not torch.equal(parameter, kept)
    opt.train()
    assert torch.equal(parameter, kept)
