# SPDX-License-Identifier: Apache-2.0
"""Weights for training and for evaluation, natively."""

from __future__ import annotations

import copy

import numpy as np
import pytest

import layerwise as lw


def optimizer(rule: lw.Rule) -> tuple[lw.Optimizer, dict[str, np.ndarray]]:
    weights = {"body": np.linspace(-1, 1, 50, dtype=np.float32), "head": np.ones(7, np.float32)}
    opt = lw.Optimizer(rule)
    for name, values in weights.items():
        opt.add_layer(name, values)
    return opt, weights


def step(opt: lw.Optimizer, weights: dict[str, np.ndarray]) -> None:
    opt.step({name: np.cos(values * 3) for name, values in weights.items()})


def test_modes() -> None:
    opt, weights = optimizer(lw.ScheduleFreeAdamW(lr=0.1))
    assert opt.mode == "training"
    for _ in range(4):
        step(opt, weights)
    training = copy.deepcopy(weights)
    opt.eval()
    assert opt.mode == "evaluation"
    stepped = np.asarray(opt.layer("body").read_state("weight", "z"))
    average = training["body"] + (1 - 1 / 0.9) * (stepped - training["body"])
    np.testing.assert_allclose(weights["body"], average, rtol=1e-5, atol=1e-6)
    assert not np.array_equal(weights["body"], training["body"])
    with pytest.raises(lw.InvalidArgument, match="set the mode to training first"):
        step(opt, weights)
    opt.train()
    np.testing.assert_allclose(weights["body"], training["body"], rtol=1e-6, atol=1e-6)
    step(opt, weights)


def test_a_mode_may_be_assumed() -> None:
    """For parameters that are loaded by someone else, as they were saved."""
    opt, weights = optimizer(lw.ScheduleFreeAdamW(lr=0.1))
    step(opt, weights)
    before = copy.deepcopy(weights)
    opt.assume_mode("evaluation")
    assert opt.mode == "evaluation" and all(np.array_equal(weights[name], before[name]) for name in weights)
    with pytest.raises(lw.InvalidArgument, match="mode must be 0 or 1"):
        opt.assume_mode("other")  # type: ignore[arg-type]


def test_other_rules_have_one_mode() -> None:
    opt, weights = optimizer(lw.AdamW(lr=0.1))
    step(opt, weights)
    before = copy.deepcopy(weights)
    opt.eval()
    opt.assume_mode("evaluation")
    assert opt.mode == "training" and all(np.array_equal(weights[name], before[name]) for name in weights)
    step(opt, weights)


def test_numbers_that_all_tensors_share() -> None:
    opt, weights = optimizer(lw.Prodigy(d0=1e-3))
    for _ in range(3):
        step(opt, weights)
    body, head = (opt.layer(name).read_state("weight", "d") for name in ("body", "head"))
    assert list(body) == list(head) and body[0] > 1e-3
    assert "d" in opt.layer("body").states()["weight"]
    opt.layer("head").write_state("weight", "d", np.array([0.5]))
    assert list(opt.layer("body").read_state("weight", "d")) == [0.5]
    with pytest.raises(lw.InvalidArgument, match="can only be stepped together"):
        opt.step({"head": np.ones(7, np.float32)}, layer="head")
