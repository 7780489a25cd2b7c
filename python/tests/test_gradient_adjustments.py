# SPDX-License-Identifier: Apache-2.0
"""Adaptive clipping, centralization and noise equal the libraries that have them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from pytorch_optimizer.optimizer.agc import agc
from pytorch_optimizer.optimizer.gradient_centralization import centralize_gradient
from support.material import SHAPES, distance, gradients, weights

import layerwise as lw
import layerwise.torch as lwt

STEPS = 20


def clip(parameter: torch.nn.Parameter) -> None:
    assert parameter.grad is not None
    parameter.grad = agc(parameter.detach(), parameter.grad, agc_eps=0.1, agc_clip_val=0.05)


def centralize(parameter: torch.nn.Parameter) -> None:
    assert parameter.grad is not None
    centralize_gradient(parameter.grad)


def both(parameter: torch.nn.Parameter) -> None:
    clip(parameter)
    centralize(parameter)


CASES: dict[str, tuple[dict[str, Any], Callable[[torch.nn.Parameter], None]]] = {
    "adaptive clipping": ({"clip_unit_ratio": 0.05, "clip_unit_eps": 0.1}, clip),
    "centralization": ({"centralize_gradients": True}, centralize),
    "both": ({"clip_unit_ratio": 0.05, "clip_unit_eps": 0.1, "centralize_gradients": True}, both),
}


@pytest.mark.parametrize(("options", "adjust"), CASES.values(), ids=CASES)
def test_parity(options: dict[str, Any], adjust: Callable[[torch.nn.Parameter], None]) -> None:
    start = {key: torch.from_numpy(value) for key, value in weights(SHAPES).items() if value.size}
    ours = {key: torch.nn.Parameter(value.clone()) for key, value in start.items()}
    theirs = {key: torch.nn.Parameter(value.clone()) for key, value in start.items()}
    opt = lwt.SGD([*ours.items()], lr=0.1, momentum=0.9, **options)
    twin = torch.optim.SGD([*theirs.values()], lr=0.1, momentum=0.9)
    for found in gradients(SHAPES, STEPS):
        for key, value in found.items():
            if key in ours:
                ours[key].grad, theirs[key].grad = (torch.from_numpy(value.copy()) for _ in range(2))
                adjust(theirs[key])
        opt.step()
        twin.step()
    for key in ours:
        moved = distance(theirs[key].detach(), start[key])
        assert distance(ours[key].detach(), theirs[key].detach()) <= 1e-13 * max(moved, 1e-3), key


def test_noise_is_what_the_settings_say() -> None:
    """Two runs have the same noise, another seed has another; its size is that of optax.add_noise."""

    def step(**options: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
        with lw.Optimizer(lw.SGD(lr=1.0), gradient_noise=0.04, **options) as opt:
            weights = np.zeros(20_000)
            opt.add_layer("a", {"w": weights})
            opt.step({"a": {"w": np.zeros(20_000)}})
        return weights

    first = step(gradient_noise_seed=3)
    assert np.array_equal(first, step(gradient_noise_seed=3))
    assert not np.array_equal(first, step(gradient_noise_seed=4))
    # Five standard errors of a standard deviation of 20,000 numbers.
    assert abs(first.std() / 0.2 - 1) < 5 / np.sqrt(2 * 20_000)


@pytest.mark.parametrize(
    "options",
    [
        {"clip_unit_ratio": 0.0}, {"clip_unit_ratio": -1.0}, {"clip_unit_eps": 0.0}, {"gradient_noise": -1.0},
        {"gradient_noise_decay": -1.0}, {"gradient_noise_seed": -1}, {"gradient_noise_seed": 1 << 40},
    ],
)  # fmt: skip
def test_wrong_values_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(lw.OutOfRange):
        lw.Optimizer(lw.SGD(lr=1.0), **options)
