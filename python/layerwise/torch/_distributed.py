# SPDX-License-Identifier: Apache-2.0
"""Parameters that are spread over processes (DTensor, as FSDP2 makes them), of which each steps its own part.

A step treats elements one by one, so a part is stepped as the whole would be, but norms are those of the whole: the
library hands the sums of squares of the parts to a callback, which adds them up over the processes.
"""

from __future__ import annotations

import ctypes
import sys
import weakref
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from .. import _binding as lw
from ..errors import InvalidArgument
from ._parameters import row_major


def _class() -> Any:
    """DTensor, if anybody has imported it: else there are none, and importing it takes long."""
    return getattr(sys.modules.get("torch.distributed.tensor"), "DTensor", ())


def is_spread(tensor: object) -> bool:
    """Whether a tensor is spread over processes."""
    return isinstance(tensor, _class())


def local_part(tensor: Any) -> Tensor:
    """What this process holds of a tensor."""
    if not is_spread(tensor):
        return tensor  # type: ignore[no-any-return]
    with torch.no_grad():
        part = tensor.to_local()
    # What a collective has not delivered yet has to be waited for.
    return part.wait() if hasattr(part, "wait") else part  # type: ignore[no-any-return]


def like(part: Tensor, param: Any, shape: Sequence[int]) -> Tensor:
    """A part as a tensor of this shape that is spread as a parameter is."""
    if not is_spread(param):
        return part
    stride = param.stride() if tuple(shape) == tuple(param.shape) else row_major(shape)
    found: Tensor = _class().from_local(
        part, param.device_mesh, _placements(param, shape), run_check=False, shape=torch.Size(shape), stride=stride
    )
    return found


def _placements(param: Any, shape: Sequence[int]) -> Sequence[Any]:
    """How a state of this shape is spread: as its parameter, but whole in each process where it has no such axis."""
    from torch.distributed.tensor import Replicate

    return [
        Replicate() if placement.is_shard() and shape[placement.dim] != param.shape[placement.dim] else placement
        for placement in param.placements
    ]


def part_for(value: Any, param: Any, shape: Sequence[int]) -> Tensor:
    """The part of a state that belongs to this process's part of a parameter; a plain value is the whole."""
    if not is_spread(param):
        return local_part(value)
    if not is_spread(value):
        from torch.distributed.tensor import Replicate

        whole = [Replicate()] * param.device_mesh.ndim
        value = _class().from_local(value, param.device_mesh, whole, run_check=False)
    return local_part(value.redistribute(param.device_mesh, _placements(param, shape)))


class Reduction:
    """Sums over the processes over which parameters are spread.

    Args:
        params: The parameters, which must all be spread in the same way where a norm is asked for.
        group: The process group of parameters that are no DTensors, and of which each process has parts of its own.
    """

    def __init__(self, params: Sequence[Any], group: Any = None) -> None:
        self._params = params
        self._group = group
        self._groups: list[Any] | None = None
        self.error: BaseException | None = None
        add_up = weakref.WeakMethod(self._add_up)
        # It lives as long as the reduction, to which it does not refer: no cycle.
        self.callback = lw.lw_reduce(lambda sums, count, context: add_up()(sums, count, context))  # type: ignore[misc]

    def check(self) -> list[Any]:
        """The process groups over which to add up."""
        if self._groups is None:
            spread = [param for param in self._params if is_spread(param)]
            if self._group is not None and spread:
                raise InvalidArgument(
                    "process_group is for parameters that are no DTensors: those say themselves over which processes "
                    "they are spread"
                )
            self._groups = list(_groups(spread, len(spread) == len(self._params))) if spread else [self._group]
        return self._groups

    def _add_up(self, sums: Any, count: int, _: object) -> int:
        """Replace numbers by their sums over all processes.  An exception cannot pass through the library."""
        import torch.distributed as dist

        try:
            values = torch.frombuffer(
                lw.array_type(ctypes.c_double, count).from_address(ctypes.addressof(sums.contents)), dtype=torch.float64
            )
            for group in self.check():
                dist.all_reduce(values, group=group)
        except BaseException as error:
            self.error = error
            return 1
        return 0


def _groups(spread: Iterable[Any], all_are: bool) -> Iterable[Any]:
    first, *others = spread
    if not all_are:
        raise InvalidArgument(
            "norms over processes need all parameters to be spread in the same way, and some are no DTensors: "
            "give those an optimizer of their own"
        )
    for other in others:
        if other.device_mesh != first.device_mesh or _sharded(other) != _sharded(first):
            raise InvalidArgument(
                f"norms over processes need all parameters to be spread in the same way, found {first.placements} and "
                f"{other.placements}: give them optimizers of their own"
            )
    for dimension, sharded in enumerate(_sharded(first)):
        if sharded:
            yield first.device_mesh.get_group(dimension)


def _sharded(param: Any) -> list[bool]:
    """Which dimensions of the mesh hold different parts."""
    for placement in param.placements:
        if placement.is_partial():
            raise InvalidArgument(f"a parameter must not be a pending sum over processes, found {param.placements}")
    return [not placement.is_replicate() for placement in param.placements]
