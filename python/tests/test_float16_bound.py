# SPDX-License-Identifier: Apache-2.0
"""A float16 weight that is rounded to the largest number has the states that it has beside any other weights."""

from __future__ import annotations

import numpy as np
import pytest

import layerwise as lw

GROUPS, LANES = 2048, 16
"""The loops look at sixteen numbers at once, and work out again those of a group that do not fit."""


def step(rule: lw.Rule, gradient: float) -> dict[str, np.ndarray]:
    """The first number of each group behind a step; a large gradient takes the others beyond float16."""
    random = np.random.default_rng(1)
    weight = np.full((GROUPS, LANES), -65504, np.float16)
    gradients = np.full((GROUPS, LANES), gradient, np.float16)
    gradients[:, 0] = random.uniform(0.1, 3, GROUPS)
    found = {}
    with lw.Optimizer(rule) as opt:
        layer = opt.add_layer("a", {"w": weight})
        for name in [name for name in layer.states()["w"] if name != "step"]:
            state = np.ones((GROUPS, LANES), np.float32)
            state[:, 0] = random.uniform(0.1, 3, GROUPS)
            layer.write_state("w", name, state)
        opt.step({"a": {"w": gradients}})
        found["w"] = weight[:, 0].copy()
        for name in [name for name in layer.states()["w"] if name != "step"]:
            found[name] = np.asarray(layer.read_state("w", name)).reshape(GROUPS, LANES)[:, 0].copy()
    return found


@pytest.mark.parametrize("rate", [0.002, 0.004, 0.02, 4.0, 30.0])
@pytest.mark.parametrize("name", ["SGD", "Adam"])
def test_states_do_not_depend_on_neighbours(name: str, rate: float) -> None:
    rule = lw.SGD(lr=rate, momentum=0.85) if name == "SGD" else lw.Adam(lr=rate)
    alone, among = step(rule, 0.0), step(rule, 60000.0)
    assert (alone["w"] == -65504).all()
    for key, values in alone.items():
        np.testing.assert_array_equal(values.view(np.uint8), among[key].view(np.uint8), key)
