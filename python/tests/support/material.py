# SPDX-License-Identifier: Apache-2.0
"""Weights and gradients to step, and the measure of agreement."""

import math
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

SHAPES: dict[str, tuple[int, ...]] = {
    "scalar": (),
    "empty": (0, 4),
    "one": (1,),
    "vector": (17,),
    "matrix": (33, 7),
    "rank 4": (3, 2, 5, 3),
    "odd": (1031,),
}
"""Sizes around a group of lanes (16) and past a tile (512), ranks 0 to 4."""


def weights(shapes: Mapping[str, tuple[int, ...]], seed: int = 0) -> dict[str, Array]:
    """Weights of size 1, in float64."""
    generator = np.random.default_rng(seed)
    return {name: np.asarray(generator.normal(size=shape)) for name, shape in shapes.items()}


def gradients(shapes: Mapping[str, tuple[int, ...]], steps: int, seed: int = 1) -> Iterator[dict[str, Array]]:
    """Noisy gradients with a steady part, so that weights travel, of sizes that differ from tensor to tensor."""
    for drawn in _drawn_gradients(tuple(shapes.items()), steps, seed):
        yield {name: value.copy() for name, value in drawn.items()}


@lru_cache(maxsize=8)
def _drawn_gradients(of_tensors: tuple[tuple[str, tuple[int, ...]], ...], steps: int, seed: int) -> list[Any]:
    """Many tests take the same ones."""
    shapes = dict(of_tensors)
    generator = np.random.default_rng(seed)
    steady = weights(shapes, seed + 1)
    sizes = {name: 10.0 ** (index % 4 - 2) for index, name in enumerate(shapes)}
    return [
        {
            name: np.asarray(sizes[name] * (generator.normal(size=shape) + 0.5 * steady[name]))
            for name, shape in shapes.items()
        }
        for _ in range(steps)
    ]


def complement(beta: float, step: int) -> float:
    """1 - beta**step, without the cancellation, which would take up to three digits at a beta of 0.999."""
    return -math.expm1(step * math.log(beta)) if beta > 0 else 1.0


def norm(values: Any) -> float:
    """The Euclidean norm, in float64."""
    return float(np.linalg.norm(np.asarray(values, np.float64).ravel()))


def distance(found: Any, expected: Any) -> float:
    """How far two results are apart."""
    return norm(np.asarray(found, np.float64).ravel() - np.asarray(expected, np.float64).ravel())
