# SPDX-License-Identifier: Apache-2.0
"""Parameters and gradients to step: the same values for every contestant, each in memory of its own."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeAlias

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
Shape: TypeAlias = tuple[int, ...]

FLOAT32: np.dtype[Any] = np.dtype(np.float32)
BFLOAT16: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)


@dataclass(frozen=True)
class Buffers:
    """One contestant's copy of a workload: a parameter and a gradient array for each tensor."""

    parameters: list[Array]
    gradients: list[Array]

    def values(self) -> NDArray[np.float32]:
        """The parameters' present values, as one float32 vector."""
        return np.concatenate([array.ravel().astype(np.float32) for array in self.parameters])


@dataclass(frozen=True)
class Workload:
    """Shapes and values of the tensors to step.

    Weights are normal with the deviation 0.02 that transformers start from; gradients with 0.01.
    """

    shapes: list[Shape]
    dtype: np.dtype[Any] = FLOAT32
    _weights: Array = field(init=False, repr=False)
    _gradients: Array = field(init=False, repr=False)

    def __post_init__(self) -> None:
        random = np.random.default_rng(0)
        for name, deviation in (("_weights", 0.02), ("_gradients", 0.01)):
            values = random.standard_normal(self.parameter_count, dtype=np.float32) * np.float32(deviation)
            object.__setattr__(self, name, values.astype(self.dtype, copy=False))

    @property
    def parameter_count(self) -> int:
        """Elements of all tensors together."""
        return sum(int(np.prod(shape)) for shape in self.shapes)

    def copy(self) -> Buffers:
        """Fresh buffers with the same values: every page is written here, outside of the time."""
        return Buffers(self._split(self._weights.copy()), self._split(self._gradients.copy()))

    def _split(self, flat: Array) -> list[Array]:
        ends = np.cumsum([int(np.prod(shape)) for shape in self.shapes])[:-1]
        parts = np.split(flat, ends)
        return [part.reshape(shape) for part, shape in zip(parts, self.shapes, strict=True)]


def matrices(count: int, side: int) -> list[Shape]:
    """``count`` square matrices."""
    return [(side, side)] * count


def small_tensors(repeats: int) -> list[Shape]:
    """What a narrow network is made of: for each repeat a norm, a weight, a bias and a norm."""
    return [(64,), (64, 64), (64,), (64,)] * repeats


def minilm_names() -> list[str]:
    """A name for each of the tensors of `minilm`, which tells its layer."""
    parts = [("embeddings", 5), *((f"encoder.layer.{layer}", 16) for layer in range(6)), ("pooler", 2)]
    return [f"{layer}.tensor_{index}.weight" for layer, count in parts for index in range(count)]


def minilm() -> list[Shape]:
    """The 103 tensors of MiniLM-L6: embeddings, six layers, pooler."""
    width, inner = 384, 1536
    linear: list[Shape] = [(width, width), (width,)]
    norm: list[Shape] = [(width,), (width,)]
    layer = [*linear * 4, *norm, (inner, width), (inner,), (width, inner), (width,), *norm]
    return [(30522, width), (512, width), (2, width), *norm, *layer * 6, *linear]
