# SPDX-License-Identifier: Apache-2.0
"""Rules beside Keras's optimizers of the same name, over 60 steps in float64.

Tolerance: 1e-12 of the distance that a tensor moves, as for other libraries: about ten roundings at each of 60 steps.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "jax")
import keras  # type: ignore[import-untyped]

import layerwise as lw

SHAPES = [(7, 5), (33,), (), (3, 2, 4)]
STEPS = 60
LR = 2.0**-6

CASES: dict[str, tuple[lw.Rule, Callable[[], Any]]] = {
    "sgd": (
        lw.SGD(lr=LR, momentum=0.8, nesterov=True),
        lambda: keras.optimizers.SGD(LR, momentum=0.8, nesterov=True),
    ),
    "adam": (
        lw.Adam(lr=LR, betas=(0.8, 0.95), eps=1e-7, eps_before_correction=True),
        lambda: keras.optimizers.Adam(LR, 0.8, 0.95),
    ),
    "adam, amsgrad": (
        lw.Adam(lr=LR, betas=(0.8, 0.95), eps=1e-3, eps_before_correction=True, amsgrad=True),
        lambda: keras.optimizers.Adam(LR, 0.8, 0.95, epsilon=1e-3, amsgrad=True),
    ),
    "adamw": (
        lw.AdamW(lr=LR, betas=(0.8, 0.95), eps=1e-3, eps_before_correction=True, weight_decay=0.2),
        lambda: keras.optimizers.AdamW(LR, 0.2, 0.8, 0.95, epsilon=1e-3),
    ),
    "adamax": (
        lw.Adamax(lr=LR, betas=(0.8, 0.95), variant="keras", eps=1e-3),
        lambda: keras.optimizers.Adamax(LR, 0.8, 0.95, epsilon=1e-3),
    ),
    "adamax, decay": (
        lw.Adamax(lr=LR, variant="keras", weight_decay=0.2, decoupled_weight_decay=True),
        lambda: keras.optimizers.Adamax(LR, weight_decay=0.2),
    ),
    "nadam": (
        lw.NAdam(lr=LR, betas=(0.8, 0.95), variant="keras", eps=1e-3),
        lambda: keras.optimizers.Nadam(LR, 0.8, 0.95, epsilon=1e-3),
    ),
    "adagrad": (
        lw.Adagrad(lr=LR, variant="keras", eps=1e-3),
        lambda: keras.optimizers.Adagrad(LR, epsilon=1e-3),
    ),
    "adadelta": (
        lw.Adadelta(lr=LR, rho=0.95, eps=1e-3),
        lambda: keras.optimizers.Adadelta(LR, rho=0.95, epsilon=1e-3),
    ),
    "rmsprop": (
        lw.RMSprop(lr=LR, alpha=0.9, momentum=0.7, eps=1e-3, eps_in_sqrt=True, lr_in_momentum=True),
        lambda: keras.optimizers.RMSprop(LR, rho=0.9, momentum=0.7, epsilon=1e-3),
    ),
    "rmsprop, centered": (
        lw.RMSprop(lr=LR, alpha=0.9, eps=1e-3, centered=True, eps_in_sqrt=True),
        lambda: keras.optimizers.RMSprop(LR, rho=0.9, centered=True, epsilon=1e-3),
    ),
    "lion": (
        lw.Lion(lr=LR, betas=(0.8, 0.95), weight_decay=0.2),
        lambda: keras.optimizers.Lion(LR, 0.8, 0.95, weight_decay=0.2),
    ),
}


@pytest.fixture(autouse=True)
def in_float64() -> Iterator[None]:
    wide, name = jax.config.jax_enable_x64, keras.config.floatx()
    jax.config.update("jax_enable_x64", True)
    keras.config.set_floatx("float64")
    yield
    keras.config.set_floatx(name)
    jax.config.update("jax_enable_x64", wide)


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="Keras runs with another backend here")
@pytest.mark.parametrize(("rule", "make"), CASES.values(), ids=CASES)
def test_parity_with_keras(rule: lw.Rule, make: Callable[[], Any]) -> None:
    random = np.random.default_rng(5)
    start = [random.normal(size=shape) for shape in SHAPES]
    ours = [np.array(value) for value in start]
    variables = [keras.Variable(value, dtype="float64") for value in start]
    peer = make()
    peer.build(variables)
    with lw.Optimizer(rule) as opt:
        opt.add_layer("all", {str(index): value for index, value in enumerate(ours)})
        for _ in range(STEPS):
            found = [random.normal(size=shape) for shape in SHAPES]
            opt.step({"all": {str(index): np.array(value) for index, value in enumerate(found)}})
            peer.apply([jax.numpy.asarray(value) for value in found], variables)
    for value, variable, first in zip(ours, variables, start, strict=True):
        theirs = np.asarray(variable.value)
        moved = float(np.linalg.norm(theirs - first))
        assert moved > 0.01
        assert float(np.linalg.norm(value - theirs)) <= 1e-12 * moved
