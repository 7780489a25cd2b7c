# SPDX-License-Identifier: Apache-2.0
"""Policies whose scales follow from what steps measure, from Python; their numbers are tested natively."""

import copy
import math
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import layerwise as lw
import layerwise.torch as lt
from layerwise.torch._run_state import KEY

POLICIES = [
    lw.RelativeGradientNorm(2, average=0.5),
    lw.UpdateRatio(1e-3, warmup=2),
    lw.Combine(lw.LayerDecay(0.5), lw.RelativeGradientNorm()),
]


def model(policy: lw.Policy, seed: int = 0) -> tuple[lw.Optimizer, dict[str, np.ndarray], dict[str, np.ndarray]]:
    draw = np.random.default_rng(seed)
    params = {name: draw.standard_normal((5, 7)).astype(np.float32) for name in ("body", "head")}
    grads = {name: draw.standard_normal((5, 7)).astype(np.float32) * (1 + 9 * (name == "head")) for name in params}
    opt = lw.Optimizer(lw.AdamW(lr=0.01), policy)
    for name, param in params.items():
        opt.add_layer(name, param, grads[name])
    return opt, params, grads


def test_the_layer_with_the_larger_relative_gradient_learns() -> None:
    opt, params, grads = model(lw.RelativeGradientNorm(1, average=0))
    ratios = [np.linalg.norm(grads[name].astype(float)) / np.linalg.norm(params[name].astype(float)) for name in params]
    opt.step()
    scales = [row["scale"] for row in opt.explain_rows()]
    assert scales == pytest.approx([ratio / max(ratios) for ratio in ratios], rel=1e-6)
    assert [row["scale_from"] for row in opt.explain_rows()] == ["relative_gradient_norm"] * 2
    averages, counts = opt.measurements()[::3], opt.measurements()[1::3]
    assert averages == pytest.approx(ratios, rel=1e-6) and counts == [1, 1]


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("clone", [copy.deepcopy, lambda opt: pickle.loads(pickle.dumps(opt))])
def test_copies_and_checkpoints_go_on_alike(policy: lw.Policy, clone: Any) -> None:
    opt, _, _ = model(policy)
    for _ in range(3):
        opt.step()
    other = clone(opt)
    loaded, _, _ = model(policy)
    loaded.load_bytes(opt.to_bytes(parameters=True))
    for each in (opt, other, loaded):
        each.step()
    assert other.to_bytes(parameters=True) == opt.to_bytes(parameters=True) == loaded.to_bytes(parameters=True)


def test_state_by_hand() -> None:
    opt, _, _ = model(POLICIES[0])
    assert [value for value in opt.measurements() if not math.isnan(value)] == [0, 1, 0, 1]
    opt.set_measurements([0.5, 3, 0.25, 1.0, 3, 1.0])
    assert [row["scale"] for row in opt.explain_rows()] == [0.25, 1.0]
    with pytest.raises(lw.OutOfRange, match='layer "head": these are no average, count and scale'):
        opt.set_measurements([0.5, 3, 0.25, math.nan, 3, 1.0])
    with pytest.raises(lw.ShapeMismatch, match="keeps 6 numbers, found 1"):
        opt.set_measurements([1.0])
    opt.policy = lw.Uniform()
    assert opt.measurements() == []


def test_another_policy_gives_update_ratios_a_profile() -> None:
    """Each layer moves by the ratio times the scale that the other policy gives it, also one with a rate of its own."""
    opt = lw.Optimizer(
        lw.SGD(lr=0.1), lw.Combine(lw.Explicit({"a": 0.25, "*": 1.0}), lw.UpdateRatio(1e-3)), telemetry=True
    )
    draw = np.random.default_rng(0)
    for name in ("a", "b", "c"):
        opt.add_layer(name, draw.standard_normal(100), np.full(100, 0.005), **({"lr": 0.7} if name == "c" else {}))
    for _ in range(5):
        opt.step()
    ratios = [own.update_ratio for own in opt.telemetry().values()]
    # The average of the first step has all of its value; weights change by thousandths in between.
    assert ratios == pytest.approx([0.25e-3, 1e-3, 1e-3], rel=0.01)


def test_refusals() -> None:
    with pytest.raises(lw.OutOfRange, match="one policy can measure, found relative_gradient_norm, update_ratio"):
        model(lw.Combine(lw.RelativeGradientNorm(), lw.UpdateRatio()))
    with pytest.raises(lw.OutOfRange, match="min_scale must not exceed max_scale"):
        model(lw.UpdateRatio(min_scale=2, max_scale=1))


def networks() -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    first = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    return first, copy.deepcopy(first)


def train(module: nn.Module, opt: torch.optim.Optimizer, steps: range) -> None:
    for step in steps:
        draw = torch.Generator().manual_seed(step)
        opt.zero_grad()
        module(torch.randn(6, 4, generator=draw)).square().mean().backward()
        opt.step()


@pytest.mark.parametrize("policy", POLICIES)
def test_torch_resumes(policy: lw.Policy, tmp_path: Any) -> None:
    first, second = networks()
    opt = lt.AdamW(first, lr=0.01, policy=policy)
    train(first, opt, range(4))
    torch.save([first.state_dict(), opt.state_dict()], tmp_path / "run.pt")
    weights, state = torch.load(tmp_path / "run.pt", weights_only=True)
    second.load_state_dict(weights)
    other = lt.AdamW(second, lr=0.01, policy=policy)
    other.load_state_dict(state)
    assert other.native.measurements() == opt.native.measurements()
    for module, each in ((first, opt), (second, other)):
        train(module, each, range(4, 8))
    for one, two in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, two)
    assert '"measurements"' in opt.state_dict()["param_groups"][0][KEY]


def test_torch_state_without_measurements_begins_to_measure() -> None:
    first, second = networks()
    plain = torch.optim.AdamW(first.parameters(), lr=0.01)
    train(first, plain, range(2))
    opt = lt.AdamW(second, lr=0.01, policy=lw.RelativeGradientNorm())
    train(second, opt, range(2))
    opt.load_state_dict(plain.state_dict())
    assert opt.native.measurements()[1::3] == [0, 0]


def test_drivers_refuse() -> None:
    first, _ = networks()
    with pytest.raises(lw.InvalidArgument, match="relative_gradient_norm measures gradients and weights"):
        lt.LayerRates(torch.optim.AdamW(first.parameters()), first, policy=lw.RelativeGradientNorm())
