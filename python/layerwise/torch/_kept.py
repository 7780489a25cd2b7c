# SPDX-License-Identifier: Apache-2.0
"""What the library keeps for each parameter, as tensors that lie in its memory."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import torch
from torch import Tensor

from .. import _binding as lw
from ..errors import InvalidArgument
from ..introspection import rules as declared_rules
from ..optimizer import Optimizer
from ._member import Member, value_difference
from ._parameters import Group

_FLOATS = {"float64": torch.float64, "float32": torch.float32}


class NativeOptimizer(Optimizer):
    """The native optimizer inside a torch optimizer, which alone steps and ends it."""

    def close(self) -> None:
        """Refused: tensors of `torch_optimizer.state` lie in its memory."""
        raise InvalidArgument("the native optimizer belongs to its torch optimizer and cannot be closed")

    def __exit__(self, *exception: object) -> NoReturn:
        raise InvalidArgument("the native optimizer belongs to its torch optimizer and cannot be closed")


class Kept:
    """The states of all parameters of a native optimizer.

    Args:
        native: The optimizer.
        members: Its parameters, in the order of registration; the list may grow.
    """

    def __init__(self, native: NativeOptimizer, members: Sequence[Member]) -> None:
        self._native = native
        self._members = members
        self._types: dict[int, dict[str, dict[str, torch.dtype]]] = {}
        self._views: dict[tuple[int, int, str], Tensor] = {}
        declaration = next(entry for entry in declared_rules() if entry["name"] == native.rule.name)
        self.names: tuple[str, ...] = (*declaration["states"], "master")
        """What the rule may keep."""
        self.version = 0
        """Changes whenever the library keeps other states, or in another order."""

    def moments(self, member: Member) -> list[str]:
        """Names of what the library keeps for a parameter beside its step count."""
        return [name for name in self.types(member) if name != "step"]

    def types(self, member: Member) -> dict[str, torch.dtype]:
        """The types of a parameter's states by name."""
        key = member.layer
        kept = self._types.get(key)
        if kept is None:
            found = self._native.layer(member.layer).states()
            kept = self._types[key] = {
                tensor: {name: _FLOATS.get(info.dtype, torch.int64) for name, info in states.items()}
                for tensor, states in found.items()
            }
        return kept[member.tensor_name]

    def state(self, member: Member, name: str) -> Tensor:
        """A tensor in the library's memory, with the shape and the strides of the parameter."""
        key = (member.layer, member.tensor, name)
        view = self._views.get(key)
        if view is None:
            flat = self._memory(member, name, self.types(member)[name])
            view = self._views[key] = flat.as_strided(member.shape, member.stride)
        return view

    def forget_views(self) -> None:
        """States have other strides, or there are others than before."""
        self._types.clear()
        self._views.clear()
        self.version += 1

    def _memory(self, member: Member, name: str, dtype: torch.dtype) -> Tensor:
        count = math.prod(member.shape)
        if not count:
            return torch.empty(0, dtype=dtype)
        address = ctypes.c_void_p()
        lw.call(
            lw.lw_tensor_get_state_address,
            self._native._handle,
            member.layer,
            member.tensor,
            lw.name(name),
            ctypes.byref(address),
        )
        memory: Any = (ctypes.c_char * (count * dtype.itemsize)).from_address(address.value or 0)
        # The tensor holds the array, and the array the optimizer whose memory it is.
        memory.optimizer = self._native
        return torch.frombuffer(memory, dtype=dtype)

    def counts(self) -> list[int]:
        """The step count of every parameter, in the order of members."""
        counts = (ctypes.c_int64 * len(self._members))()
        lw.call(lw.lw_optimizer_get_step_counts, self._native._handle, counts, len(counts))
        return list(counts)

    def differences(self, member: Member, entry: Mapping[str, Any], group: Group | None = None) -> list[str]:
        """What keeps an entry of a state dict from being taken in; with a group, also what it lacks for that."""
        what = f'parameter "{member.name}"'
        kept = self.types(member)
        found = []
        for key, value in entry.items():
            if key != "step" and key not in self.names:
                found.append(f"{what}: unexpected {key}")
            elif key == "master" and key not in kept:
                found.append(f"{what}: unexpected master, because this optimizer keeps no master copies")
            elif key != "step" and value is None:
                continue
            else:
                dtype = kept.get(key) or (torch.float64 if member.param.dtype is torch.float64 else torch.float32)
                difference = value_difference(member, key, value, dtype)
                found += [difference] if difference else []
        if group is not None and "exp_avg_sq" in self.names and any(key in self.names for key in entry):
            needed = ["step", "exp_avg", "exp_avg_sq"] + (["max_exp_avg_sq"] if group.get("amsgrad") else [])
            found += [f"{what}: missing {key}" for key in needed if entry.get(key) is None]
        return found

    def write(self, member: Member, values: Mapping[str, Any], *, whole: bool) -> None:
        """Put values that were checked into the states of a parameter.

        Args:
            member: Whose they are.
            values: By name of the state.
            whole: States that have no value start anew.
        """
        names = self.moments(member)
        for name in names:
            value = values.get(name)
            if value is not None:
                self.state(member, name).copy_(member.unwrap(value))
            elif whole:
                # A master copy starts as the parameter, a moment at 0.
                self.state(member, name).copy_(member.local.detach() if name == "master" else torch.zeros(()))
        if values.get("step") is not None:
            self.set_count(member, int(values["step"]))
        elif whole:
            # torch's SGD keeps no step count; that it keeps a velocity tells that there was a first step.
            self.set_count(member, int(any(values.get(name) is not None for name in names)))

    def set_count(self, member: Member, count: int) -> None:
        """Set the step count of a parameter."""
        value = ctypes.c_int64(count)
        lw.call(
            lw.lw_tensor_write_state, self._native._handle, member.layer, member.tensor, b"step", ctypes.byref(value), 8
        )
