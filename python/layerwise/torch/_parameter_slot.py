# SPDX-License-Identifier: Apache-2.0
"""One parameter, and what a value for one of its states must be."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ._distributed import like, local_part, part_for
from ._parameters import dense_copy, strides_of


class ParameterSlot:
    """One parameter in the native optimizer.

    The library steps memory without gaps.  A parameter whose memory has gaps is stepped in a dense copy, `copy`, which
    is filled before each step and read after it.  So is one that is not in row-major order, where the rule goes
    `by_axes`.
    """

    def __init__(
        self,
        param: Tensor,
        name: str,
        group: int,
        layer: int,
        tensor: int,
        tensor_name: str,
        gradient_dtype: torch.dtype,
        *,
        by_axes: bool = False,
        state_stride: int = 1,
    ) -> None:
        self.param = param
        self.name = name
        self.group = group
        self.layer = layer
        self.tensor = tensor
        self.tensor_name = tensor_name
        self.gradient_dtype = gradient_dtype
        self.dtype = self.local.dtype
        self.shape = self.local.shape
        self.state_stride = state_stride
        self._by_axes = by_axes
        self.note_memory(self.dense_copy())

    def dense_copy(self) -> Tensor | None:
        """A copy that the library can step, if it cannot step the parameter's own memory."""
        return dense_copy(self.local, by_axes=self._by_axes)

    def note_memory(self, copy: Tensor | None) -> None:
        """Remember where the parameter lies, and in which order the library steps it, which is that of its states.

        Args:
            copy: A dense copy of the parameter if its memory has gaps, else None.
        """
        local = self.local
        self.address, self.own_strides, self.copy = local.data_ptr(), strides_of(local), copy
        self.stride, self.strides = self.memory.stride(), strides_of(self.memory)

    def has_moved(self, local: Tensor) -> bool:
        """Whether its memory lies otherwise than was noted: elsewhere, or there with another shape, order or type."""
        return (
            local.data_ptr() != self.address
            or local.shape != self.shape
            or strides_of(local) != self.own_strides
            or local.dtype != self.dtype
        )

    @property
    def local(self) -> Tensor:
        """The memory of the parameter in this process."""
        return local_part(self.param)

    @property
    def memory(self) -> Tensor:
        """What the library steps: the memory of the parameter, or the dense copy of it."""
        return self.local if self.copy is None else self.copy

    def fill_copy(self) -> None:
        """Take over what is in the parameter now."""
        if self.copy is not None:
            with torch.no_grad():
                self.copy.copy_(self.local)

    def read_copy(self) -> None:
        """Give the parameter what the library has made of its copy."""
        if self.copy is not None:
            with torch.no_grad():
                self.local.copy_(self.copy)

    @property
    def full_shape(self) -> torch.Size:
        """The shape of the parameter over all processes."""
        return self.param.shape

    def wrap(self, state: Tensor, kind: str) -> Tensor:
        """A state of this kind as `optimizer.state` shows it."""
        return like(state, self.param, state_shape(self.full_shape, kind, self.state_stride))

    def unwrap(self, state: Tensor, kind: str) -> Tensor:
        """The part of a state in this process."""
        return part_for(state, self.param, state_shape(self.full_shape, kind, self.state_stride))


def state_shape(shape: Sequence[int], kind: str, stride: int = 1) -> tuple[int, ...]:
    """The shape of a parameter's state: "parameter", "rows", "columns" and so on, as declarations call them.

    Args:
        shape: The parameter's.
        kind: The state's.
        stride: The distance in the parameter between two numbers of a state that is "strided".
    """
    if kind == "strided" and stride != 1:
        return (-(-math.prod(shape) // stride),)
    if kind in ("rows", "row_means"):
        return (*shape[:-1], 1)
    if kind == "axes":
        return (0 if 0 in shape else sum(shape) if shape else 1,)
    return (*shape[:-2], 1, shape[-1]) if kind == "columns" else tuple(shape)


def value_difference(member: ParameterSlot, key: str, value: object, dtype: torch.dtype, kind: str) -> str | None:
    """What is wrong with a value for a state of this type and kind, or None."""
    what = f'parameter "{member.name}": {key}'
    if key == "step":
        try:
            number = float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError, RuntimeError):
            return f"{what} must be a number, found {value!r}"
        if not (math.isfinite(number) and number >= 0 and number == int(number)):
            return f"{what} must be a whole number >= 0, found {number}"
        return None
    if not isinstance(value, Tensor):
        return f"{what} must be a tensor, found {type(value).__name__}"
    shape = state_shape(member.full_shape, kind, member.state_stride)
    if tuple(value.shape) != shape:
        whose = "the parameter has" if shape == tuple(member.full_shape) else "expected"
        return f"{what} has shape {tuple(value.shape)}, {whose} {shape}"
    if value.is_floating_point() != dtype.is_floating_point or torch.promote_types(value.dtype, dtype) != dtype:
        return f"{what} is {value.dtype}, which {dtype} cannot hold"
    return None


def number_difference(member: ParameterSlot, key: str, value: object) -> str | None:
    """What is wrong with a value for a state of one number, or None."""
    what = f'parameter "{member.name}": {key}'
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, RuntimeError):
        return f"{what} must be a number, found {value!r}"
    return None if math.isfinite(number) else f"{what} must be finite, found {number}"
