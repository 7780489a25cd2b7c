# SPDX-License-Identifier: Apache-2.0
"""One parameter, and what a value for one of its states must be."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ._distributed import like, local_part, part_for
from ._parameters import strides_of


class Member:
    """One parameter in the native optimizer."""

    def __init__(
        self,
        param: Tensor,
        name: str,
        group: int,
        layer: int,
        tensor: int,
        tensor_name: str,
        gradient_dtype: torch.dtype,
    ) -> None:
        self.param = param
        self.name = name
        self.group = group
        self.layer = layer
        self.tensor = tensor
        self.tensor_name = tensor_name
        self.gradient_dtype = gradient_dtype
        self.shape = self.local.shape
        self.note_strides()

    def note_strides(self) -> None:
        """Remember the order in which the parameter lies in memory, which is that of its states."""
        self.stride, self.strides = self.local.stride(), strides_of(self.local)

    @property
    def local(self) -> Tensor:
        """The memory of the parameter in this process."""
        return local_part(self.param)

    @property
    def full_shape(self) -> torch.Size:
        """The shape of the parameter over all processes."""
        return self.param.shape

    def wrap(self, state: Tensor) -> Tensor:
        """A state as `optimizer.state` shows it."""
        return like(state, self.param)

    def unwrap(self, state: Tensor) -> Tensor:
        """The part of a state in this process."""
        return part_for(state, self.param)


def value_difference(member: Member, key: str, value: object, dtype: torch.dtype) -> str | None:
    """What is wrong with a value for a state of this type, or None."""
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
    if tuple(value.shape) != tuple(member.full_shape):
        return f"{what} has shape {tuple(value.shape)}, the parameter has {tuple(member.full_shape)}"
    if not value.is_floating_point() or torch.promote_types(value.dtype, dtype) != dtype:
        return f"{what} is {value.dtype}, which {dtype} cannot hold"
    return None
