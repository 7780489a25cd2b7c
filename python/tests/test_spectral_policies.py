# SPDX-License-Identifier: Apache-2.0
"""Policies that go by singular values: their equations beside NumPy, ramps, and measurements on a thread."""

from __future__ import annotations

import copy
import gc
import math
import os
from typing import Any

import numpy as np
import pytest

import layerwise as lw

SHAPES = {"stem": (9, 8), "a": (30, 70), "b": (64, 20), "c": (24, 24), "small": (2, 40), "head": (12, 40)}


def model(policy: lw.Policy, rule: lw.Rule | None = None, seed: int = 5) -> tuple[lw.Optimizer, dict[str, Any]]:
    draw = np.random.default_rng(seed)
    params = {
        name: (draw.standard_normal(shape) ** (1 + index % 3)).astype(np.float32)
        for index, (name, shape) in enumerate(SHAPES.items())
    }
    opt = lw.Optimizer(rule or lw.SGD(lr=0.01), policy)
    for name, own in params.items():
        opt.add_layer(name, {"weight": own, "bias": np.ones(3, np.float32)})
    return opt, params


def step(opt: lw.Optimizer, params: dict[str, Any], seed: int = 0) -> None:
    draw = np.random.default_rng(seed)
    opt.step(
        {
            name: {
                "weight": draw.standard_normal(own.shape).astype(np.float32),
                "bias": draw.standard_normal(3).astype(np.float32),
            }
            for name, own in params.items()
        }
    )


def scales(opt: lw.Optimizer) -> list[float]:
    return [row["scale"] for row in opt.explain_rows()]


def decays(opt: lw.Optimizer) -> list[float]:
    return [row["weight_decay"] for row in opt.explain_rows()]


def alpha(weights: Any) -> float:
    squares = np.sort(np.linalg.svd(weights.astype(np.float64), compute_uv=False) ** 2)
    tail = squares[len(squares) // 2 :]
    return float(1 + len(tail) / (np.log(tail).sum() - len(tail) * np.log(tail[0])))


def linear(values: list[float], lowest: float, highest: float) -> list[float]:
    least, largest = min(values), max(values)
    return [lowest + (highest - lowest) * (value - least) / (largest - least) for value in values]


@pytest.mark.parametrize("choice", ["linear", "sigmoid"])
def test_alpha_decay_follows_its_equation(choice: Any) -> None:
    opt, params = model(lw.AlphaDecay(0.25, 2, map=choice, least_rank=4), lw.AdamW(lr=0.01, weight_decay=0.1))
    assert decays(opt) == [0.1] * 6
    opt.measure_spectra()
    values = [alpha(params[name]) for name in ("a", "b", "c")]
    if choice == "linear":
        factors = linear(values, 0.25, 2)
    else:
        z = (np.array(values) - np.mean(values)) / np.std(values)
        factors = list(0.25 + 1.75 / (1 + np.exp(-4 * z)))
    expected = [0.1, *(0.1 * factor for factor in factors), 0.1, 0.1]
    # The squares come from a Gram matrix, which has half of float64's digits below the largest.
    assert decays(opt) == pytest.approx(expected, rel=1e-9)
    assert scales(opt) == [1] * 6
    row = opt.explain_rows()[1]
    assert (row["measured"], row["target"], row["measured_scale"]) == pytest.approx(
        (values[0], factors[0], factors[0]), rel=1e-9
    )


def test_alpha_decay_is_the_decay_of_steps() -> None:
    """A step with the policy moves weights as one with these decays set by hand."""
    opt, params = model(lw.AlphaDecay(0.25, 2, least_rank=4), lw.AdamW(lr=0.01, weight_decay=0.1))
    opt.measure_spectra()
    plain, own = model(lw.Uniform(), lw.AdamW(lr=0.01, weight_decay=0.1))
    for name, decay in zip(SHAPES, decays(opt), strict=True):
        plain.layer(name).set(weight_decay=decay)
    for seed in range(3):
        step(opt, params, seed)
        step(plain, own, seed)
    for name in SHAPES:
        # The product of decay and factor is rounded once more in one of the two.
        assert params[name] == pytest.approx(own[name], rel=1e-6, abs=1e-7)
    rate, _ = model(lw.AlphaDecay(0.25, 2, of="rate", least_rank=4), lw.AdamW(lr=0.01, weight_decay=0.1))
    balance, _ = model(lw.TempBalance(0.25, 2, least_rank=4), lw.AdamW(lr=0.01, weight_decay=0.1))
    for each in (rate, balance):
        each.measure_spectra()
    assert scales(rate) == scales(balance) != [1] * 6
    assert decays(rate) == [0.1] * 6


def test_tensors_without_decay_stay_so() -> None:
    policy = lw.Combine(lw.AlphaDecay(0.25, 2, least_rank=4), lw.Exclude())
    opt, _ = model(policy, lw.AdamW(lr=0.01, weight_decay=0.1))
    opt.measure_spectra()
    for row in opt.explain_rows():
        assert [(own["tensor"], own["decay_scale"]) for own in row["apart"]] == [("bias", 0.0)]


@pytest.mark.parametrize("policy", [lw.TempBalance, lw.AlphaDecay])
def test_ramp_and_average(policy: Any) -> None:
    opt, params = model(policy(0.25, 2, average=0.25, ramp=4, least_rank=4), lw.AdamW(lr=0.01, weight_decay=0.1))

    def factors() -> list[float]:
        found = [row["measured_scale"] for row in opt.explain_rows()]
        assert found == pytest.approx(scales(opt) if policy is lw.TempBalance else [10 * own for own in decays(opt)])
        return [value for value in found if value is not None]

    opt.measure_spectra()
    first = [alpha(params[name]) for name in ("a", "b", "c")]
    goal = [1, *linear(first, 0.25, 2), 1, 1]
    assert factors() == [1] * 6
    for done in range(1, 7):
        step(opt, params, done)
        share = min(done, 4) / 4
        assert factors() == pytest.approx([1 + share * (to - 1) for to in goal], rel=1e-9)
    params["a"][...] = np.random.default_rng(9).standard_normal(params["a"].shape)
    opt.measure_spectra()
    second = [0.25 * old + 0.75 * alpha(params[name]) for old, name in zip(first, ("a", "b", "c"), strict=True)]
    present, goal = factors(), [1, *linear(second, 0.25, 2), 1, 1]
    targets = [row["target"] for row in opt.explain_rows()]
    # The layer without a value has no target either.
    assert targets.pop(4) is None
    assert targets == pytest.approx([*goal[:4], goal[5]], rel=1e-9)
    step(opt, params)
    assert factors() == pytest.approx([a + (b - a) / 4 for a, b in zip(present, goal, strict=True)], rel=1e-9)


def test_a_delay_gives_the_scales_of_the_moment_of_the_call() -> None:
    now, params = model(lw.TempBalance(0.25, 2, least_rank=4))
    now.measure_spectra()
    expected = scales(now)
    opt, params = model(lw.TempBalance(0.25, 2, least_rank=4))
    opt.measure_spectra(3)
    with pytest.raises(lw.InvalidArgument, match="computed already, for the steps from 3 on"):
        opt.measure_spectra()
    for seed in range(3):
        assert scales(opt) == [1] * 6
        step(opt, params, seed)
    assert scales(opt) == expected
    step(opt, params)
    opt.measure_spectra()
    assert scales(opt) != expected


def test_a_delay_is_resumed_exactly() -> None:
    """From a checkpoint, a snapshot or the measurements that were taken while the thread was at work."""
    policy = lw.TempBalance(0.25, 2, least_rank=4, ramp=2)
    opt, params = model(policy)
    step(opt, params, 1)
    opt.measure_spectra(2)
    step(opt, params, 2)
    saved, kept, snapshot = opt.to_bytes(parameters=True), opt.measurements(), opt.snapshot()
    runs = []
    for _ in range(2):
        for seed in range(4):
            step(opt, params, seed)
        runs.append(({name: own.copy() for name, own in params.items()}, scales(opt)))
        opt.restore(snapshot)
    loaded, own = model(policy, seed=6)
    loaded.load_bytes(saved)
    assert np.array_equal(loaded.measurements(), kept, equal_nan=True)
    for seed in range(4):
        step(loaded, own, seed)
    runs.append((own, scales(loaded)))
    assert runs[0][1] != [1] * 6
    for weights, found in runs[1:]:
        assert found == runs[0][1]
        for name, expected in runs[0][0].items():
            assert np.array_equal(weights[name], expected), name
    again, _ = model(policy)
    again.set_measurements(kept)
    assert again.explain_rows()[1]["measured"] is None
    again.seek(4)
    for seed in range(2):
        step(opt, params, seed)
    measured = [row["measured"] for row in again.explain_rows()]
    assert measured == [row["measured"] for row in opt.explain_rows()]
    assert measured[1] is not None


def test_a_measurement_is_dropped_with_its_policy_and_its_optimizer() -> None:
    opt, params = model(lw.TempBalance(0.25, 2, least_rank=4))
    opt.measure_spectra(1)
    opt.policy = lw.TempBalance(0.25, 2, least_rank=4)
    for seed in range(3):
        step(opt, params, seed)
    assert scales(opt) == [1] * 6
    opt.measure_spectra(5)
    opt.layer("a").reset()
    opt.restart_measurements()
    for seed in range(7):
        step(opt, params, seed)
    assert scales(opt) == [1] * 6
    large = lw.Optimizer(lw.SGD(lr=0.1), lw.TempBalance())
    large.add_layer("weight", np.random.default_rng(0).standard_normal((600, 600)).astype(np.float32))
    large.measure_spectra(100)
    large.close()
    del large
    gc.collect()


def test_weights_that_are_not_finite_have_no_new_value() -> None:
    opt, params = model(lw.TempBalance(0.25, 2, least_rank=4))
    params["b"][3, 3] = np.inf
    opt.measure_spectra(1)
    params["b"][3, 3] = 0
    step(opt, params)
    rows = opt.explain_rows()
    assert [row["measured"] is None for row in rows] == [False, False, True, False, True, False]
    assert [row["scale"] for row in rows][2] == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.spawns
def test_a_forked_child_computes_again() -> None:
    opt, params = model(lw.TempBalance(0.25, 2, least_rank=4))
    opt.measure_spectra(1)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            step(opt, params)
            code = 0 if scales(opt) != [1] * 6 else 2
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    step(opt, params)
    assert scales(opt) != [1] * 6


def test_spectrum_of_a_tensor() -> None:
    opt, params = model(lw.Uniform())
    for name in ("a", "b"):
        values = np.linalg.svd(params[name].astype(np.float64), compute_uv=False)
        found = opt.layer(name).spectrum("weight")
        assert (found.count, found.alpha, found.stable_rank, found.norm) == pytest.approx(
            (len(values), alpha(params[name]), (values**2).sum() / values[0] ** 2, values[0]), rel=1e-9
        )
    with pytest.raises(lw.ShapeMismatch, match="two axes or more"):
        opt.layer("a").spectrum("bias")
    params["a"][...] = 0
    zeros = opt.layer("a").spectrum()
    assert zeros.norm == 0 and math.isnan(zeros.stable_rank) and math.isnan(zeros.alpha)
    params["a"][1, 1] = np.nan
    with pytest.raises(lw.NonFiniteGradient, match="not finite"):
        opt.layer("a").spectrum()


def test_refusals() -> None:
    opt, _ = model(lw.TempBalance())
    for delay in (-1, 2**62):
        with pytest.raises(lw.OutOfRange):
            opt.measure_spectra(delay)
    with pytest.raises(lw.OutOfRange, match="lowest must not exceed highest"):
        lw.Optimizer(lw.SGD(), lw.AlphaDecay(2, 1))
    with pytest.raises(lw.OutOfRange, match="one policy can measure, found temp_balance, alpha_decay"):
        lw.Optimizer(lw.SGD(), lw.Combine(lw.TempBalance(), lw.AlphaDecay()))


def test_torch_resumes_a_delay_exactly() -> None:
    torch = pytest.importorskip("torch")
    from layerwise.torch import AdamW

    def build() -> tuple[Any, Any]:
        torch.manual_seed(0)
        network = torch.nn.Sequential(*(torch.nn.Linear(24, 24) for _ in range(4)))
        policy = lw.AlphaDecay(0.25, 2, least_rank=4, ramp=2)
        return network, AdamW(network, lr=0.01, weight_decay=0.1, policy=policy)

    def train(network: Any, optimizer: Any, steps: int) -> None:
        for _ in range(steps):
            optimizer.zero_grad()
            network(torch.ones(2, 24)).square().mean().backward()
            optimizer.step()

    network, optimizer = build()
    train(network, optimizer, 1)
    optimizer.measure_spectra(delay=2)
    weights, saved = (
        {key: value.clone() for key, value in network.state_dict().items()},
        copy.deepcopy(optimizer.state_dict()),
    )
    train(network, optimizer, 5)
    twin, loaded = build()
    twin.load_state_dict(weights)
    loaded.load_state_dict(saved)
    train(twin, loaded, 5)
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), twin.parameters(), strict=True))
    assert np.array_equal(loaded.native.measurements(), optimizer.native.measurements(), equal_nan=True)
    assert len({row["weight_decay"] for row in optimizer.native.explain_rows()}) > 1
