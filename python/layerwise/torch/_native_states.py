# SPDX-License-Identifier: Apache-2.0
"""What the library keeps for each parameter, as tensors that lie in its memory."""

from __future__ import annotations

import array
import ctypes
import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import torch
from torch import Tensor

from .. import _binding as lw
from .._rule_names import kinds
from ..errors import InvalidArgument, LayerwiseError
from ..introspection import rules as declared_rules
from ..optimizer import Optimizer
from ..reports import LoadReport
from ..snapshot import Snapshot
from ._parameter_slot import ParameterSlot, number_difference, state_shape, value_difference
from ._parameters import Group

_TYPES = {
    "float64": torch.float64,
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "int64": torch.int64,
    "int8": torch.int8,
}

_PARAMETERS = "parameters"
"""What a state starts as that starts as a copy of the parameters."""

_BESIDE: dict[str, float | str] = {
    "last_change": 0.0,
    "last_signs": 0.0,
    "start_weights": _PARAMETERS,
    "average": _PARAMETERS,
    "average_count": 0.0,
    "training_weights": _PARAMETERS,
    "slow_weights": _PARAMETERS,
}
"""What tensors keep for policies that watch elements, for averages and for Lookahead, and what it starts as."""

_BYTES = "last_signs"
"""The one of them whose type does not follow the parameter's."""

Values = tuple[tuple[str, Any], ...]
"""Hyperparameters of a group."""

_Memory = ctypes.c_char * (1 << 46)
"""Memory at some address.  One type for all sizes: each type of ctypes is left to the cycle collector in the end."""


class NativeOptimizer(Optimizer):
    """The native optimizer inside a torch optimizer, which alone steps and ends it."""

    copied: Sequence[ParameterSlot] = ()
    """Parameters with gaps in their memory: what is registered is a copy, which has to be kept equal to each."""

    def save(self, *arguments: Any, **options: Any) -> None:
        """See `layerwise.Optimizer.save`."""
        self._fill_copies()
        super().save(*arguments, **options)

    def to_bytes(self, *arguments: Any, **options: Any) -> bytes:
        """See `layerwise.Optimizer.to_bytes`."""
        self._fill_copies()
        return super().to_bytes(*arguments, **options)

    def load(self, *arguments: Any, **options: Any) -> LoadReport:
        """See `layerwise.Optimizer.load`."""
        self._fill_copies()
        report = super().load(*arguments, **options)
        self._read_copies()
        return report

    def load_bytes(self, *arguments: Any, **options: Any) -> LoadReport:
        """See `layerwise.Optimizer.load_bytes`."""
        self._fill_copies()
        report = super().load_bytes(*arguments, **options)
        self._read_copies()
        return report

    def snapshot(self) -> Snapshot:
        """See `layerwise.Optimizer.snapshot`."""
        self._fill_copies()
        return super().snapshot()

    def restore(self, snapshot: Snapshot) -> None:
        """See `layerwise.Optimizer.restore`."""
        super().restore(snapshot)
        self._read_copies()

    def step(self, *arguments: Any, **options: Any) -> None:
        """See `layerwise.Optimizer.step`."""
        self._fill_copies()
        super().step(*arguments, **options)
        self._read_copies()

    def train(self) -> None:
        """See `layerwise.Optimizer.train`."""
        self._fill_copies()
        super().train()
        self._read_copies()

    def eval(self) -> None:
        """See `layerwise.Optimizer.eval`."""
        self._fill_copies()
        super().eval()
        self._read_copies()

    def _fill_copies(self) -> None:
        for member in self.copied:
            member.fill_copy()

    def _read_copies(self) -> None:
        for member in self.copied:
            member.read_copy()

    def close(self) -> None:
        """Refused: tensors of `torch_optimizer.state` lie in its memory."""
        raise InvalidArgument("the native optimizer belongs to its torch optimizer and cannot be closed")

    def __exit__(self, *exception: object) -> NoReturn:
        raise InvalidArgument("the native optimizer belongs to its torch optimizer and cannot be closed")


@dataclass(frozen=True)
class _Declared:
    """What a rule declares of its states."""

    name: str
    """The rule's."""
    names: tuple[str, ...]
    """What it may keep, the master copy, and what other parts of the optimizer may keep."""
    kinds: Mapping[str, str]
    """What each state is: "parameter", "rows", "columns" and so on."""
    numbers: frozenset[str]
    """Names of states of one number, for a parameter or for all."""
    shared: frozenset[str]
    """Those of them that are one for all parameters, or for all of a layer."""
    starts: Mapping[str, float | str]
    needs_step: tuple[bool, bool]
    """Of tensors of rank 0 and 1, and of matrices."""
    others: frozenset[str]
    """Names of states that only other rules have."""

    @classmethod
    @functools.cache
    def of(cls, name: str) -> _Declared:
        """What the rule of this name declares."""
        declared = {entry["name"]: entry for entry in declared_rules()}
        own = declared[name]
        names = (*own["states"], "master", *_BESIDE)
        beside = dict.fromkeys(_BESIDE, "parameter") | {"average_count": "scalar"}
        kinds = own["state_shapes"] | {"master": "parameter"} | beside
        return cls(
            name,
            names,
            kinds,
            frozenset(state for state, kind in kinds.items() if kind in ("scalar", "shared")),
            frozenset(state for state, kind in kinds.items() if kind == "shared"),
            own["state_starts"] | {"master": _PARAMETERS} | _BESIDE,
            (own["needs_step"], own["matrices_need_step"]),
            frozenset(state for entry in declared.values() for state in entry["states"]) - {*names, "step"},
        )


class NativeStates:
    """The states of all parameters of a native optimizer.

    Args:
        native: The optimizer.
        members: Its parameters, in the order of registration; the list may grow.
    """

    def __init__(self, native: NativeOptimizer, members: Sequence[ParameterSlot]) -> None:
        self._native = native
        self._members = members
        self._types: dict[int, dict[str, dict[str, torch.dtype]]] = {}
        self._views: dict[tuple[int, int, str], Tensor] = {}
        self._declared: dict[str, _Declared] = {}
        self._needed: dict[tuple[str, bool], tuple[Values, list[str]]] = {}
        self.version = 0
        """Changes whenever the library keeps other states, or in another order."""

    def _of(self, member: ParameterSlot) -> _Declared:
        """What the rule that steps a parameter declares."""
        name = (self._native._layers[member.layer].rule or self._native.rule).name
        declared = self._declared.get(name)
        if declared is None:
            declared = self._declared[name] = _Declared.of(name)
        return declared

    def moments(self, member: ParameterSlot) -> list[str]:
        """Names of what the library keeps for a parameter as tensors."""
        numbers = self._of(member).numbers
        return [name for name in self.types(member) if name != "step" and name not in numbers]

    def numbers(self, member: ParameterSlot) -> dict[str, float]:
        """What the library keeps for a parameter, or for all, as a number, beside the step count."""
        numbers = self._of(member).numbers
        return {name: self._number(member, name) for name in self.types(member) if name in numbers}

    def values(self, member: ParameterSlot) -> dict[str, Any]:
        """What the library keeps for a parameter beside its step count."""
        found: dict[str, Any] = {name: self.shown(member, name) for name in self.moments(member)}
        return found | self.numbers(member)

    def _number(self, member: ParameterSlot, name: str) -> float:
        value = ctypes.c_double()
        place = self._native._handle, member.layer, member.tensor, lw.name(name)
        lw.call(lw.lw_tensor_read_state, *place, ctypes.byref(value), ctypes.sizeof(value))
        return value.value

    def _set_number(self, member: ParameterSlot, name: str, number: float) -> None:
        value = ctypes.c_double(number)
        place = self._native._handle, member.layer, member.tensor, lw.name(name)
        lw.call(lw.lw_tensor_write_state, *place, ctypes.byref(value), ctypes.sizeof(value))

    def types(self, member: ParameterSlot) -> dict[str, torch.dtype]:
        """The types of a parameter's states by name."""
        key = member.layer
        kept = self._types.get(key)
        if kept is None:
            found = self._native.layer(member.layer).states()
            kept = self._types[key] = {
                tensor: {name: _TYPES[info.dtype] for name, info in states.items()} for tensor, states in found.items()
            }
        return kept[member.tensor_name]

    def state(self, member: ParameterSlot, name: str) -> Tensor:
        """A tensor in the library's memory; one of the parameter's shape has its strides."""
        key = (member.layer, member.tensor, name)
        view = self._views.get(key)
        if view is None:
            kind = self._of(member).kinds[name]
            shape = state_shape(member.shape, kind, member.state_stride)
            flat = self._memory(member, name, self.types(member)[name], math.prod(shape))
            is_whole = kind == "parameter" or (kind == "strided" and member.state_stride == 1)
            view = flat.as_strided(shape, member.stride) if is_whole else flat.reshape(shape)
            self._views[key] = view
        return view

    def shown(self, member: ParameterSlot, name: str) -> Tensor:
        """A state as `optimizer.state` shows it."""
        return member.wrap(self.state(member, name), self._of(member).kinds[name])

    def forget_views(self) -> None:
        """States have other strides, or there are others than before."""
        self._types.clear()
        self._views.clear()
        self.version += 1

    def _memory(self, member: ParameterSlot, name: str, dtype: torch.dtype, count: int) -> Tensor:
        if not count:
            return torch.empty(0, dtype=dtype, device="cpu")
        address = ctypes.c_void_p()
        lw.call(
            lw.lw_tensor_get_state_address,
            self._native._handle,
            member.layer,
            member.tensor,
            lw.name(name),
            ctypes.byref(address),
        )
        memory: Any = _Memory.from_address(address.value or 0)
        # The tensor holds the array, and the array the optimizer whose memory it is.
        memory.optimizer = self._native
        return torch.frombuffer(memory, dtype=dtype, count=count)

    def counts(self) -> list[int]:
        """The step count of every parameter, in the order of members."""
        counts = lw.array_type(ctypes.c_int64, len(self._members))()
        lw.call(lw.lw_optimizer_get_step_counts, self._native._handle, counts, len(counts))
        return list(counts)

    def own(self, member: ParameterSlot, entry: Mapping[Any, Any]) -> dict[str, Any]:
        """What of a parameter's entry of a state dict is the library's, without what is empty."""
        names = self._of(member).names
        # torch.distributed.checkpoint fills in {} for what a flat state dict lacks.
        return {
            key: value
            for key, value in entry.items()
            if (key == "step" or key in names) and value is not None and not _is_empty(value)
        }

    def foreign(self, member: ParameterSlot, entry: Mapping[Any, Any]) -> dict[Any, Any]:
        """What of an entry belongs to others, such as a wrapper that keeps something of its own for a parameter."""
        names = self._of(member).names
        return {key: value for key, value in entry.items() if key != "step" and key not in names}

    def differences(self, member: ParameterSlot, entry: Mapping[Any, Any], group: Group | None = None) -> list[str]:
        """What keeps an entry of a state dict from being taken in; with a group, also what it lacks for that.

        Keys that the library does not know belong to others and are no difference.  They are one where something is
        missing, and where an entry has moments of another rule and none of this one.
        """
        what = f'parameter "{member.name}"'
        kept = self.types(member)
        declared = self._of(member)
        found = []
        values = self.own(member, entry)
        missing: list[str] = []
        # A rule that needs no count may have begun without one, and then begins its states at its next step.
        if group is not None and declared.needs_step[member.local.dim() > 1] and values:
            missing = [key for key in ("step", *self._states_with(member, group)) if key not in values]
        is_other = not any(key in declared.names for key in values) and any(key in declared.others for key in entry)
        if missing or is_other:
            found += [f"{what}: unexpected {key}" for key in self.foreign(member, entry)]
        for key, value in values.items():
            if key == "master" and key not in kept:
                found.append(f"{what}: unexpected master, because this optimizer keeps no master copies")
            elif key in declared.numbers:
                difference = number_difference(member, key, value)
                found += [difference] if difference else []
            else:
                lane = torch.float64 if member.param.dtype is torch.float64 else torch.float32
                dtype = kept.get(key) or (torch.int8 if key == _BYTES else lane)
                difference = value_difference(member, key, value, dtype, declared.kinds.get(key, "parameter"))
                found += [difference] if difference else []
        return found + [f"{what}: missing {key}" for key in missing]

    def _states_with(self, member: ParameterSlot, group: Group) -> list[str]:
        """The states that a parameter has with the hyperparameters of a group."""
        declared = self._of(member)
        make: Any = kinds()[declared.name]
        settings = {key: group[key] for key in make.__dataclass_fields__ if key in group and key != "lr"}
        # A tensor is refused where hyperparameters are looked at, as is what the rule refuses.
        values: Values = tuple(settings.items())
        if any(isinstance(value, Tensor) for value in settings.values()):
            return []
        is_matrix = len(member.shape) >= 2
        place = declared.name, is_matrix
        if place not in self._needed or self._needed[place][0] != values:
            one = memoryview(array.array("f", [0.0]))
            try:
                with Optimizer(make(**settings)) as probe:
                    states = probe.add_layer("tensor", one.cast("B").cast("f", [1, 1]) if is_matrix else one).states()
            except (LayerwiseError, TypeError, ValueError, RuntimeError):
                return []
            names = [name for state in states.values() for name in state]
            arrays = [name for name in names if name != "step" and name not in declared.numbers]
            self._needed[place] = values, arrays
        return self._needed[place][1]

    def write(self, member: ParameterSlot, values: Mapping[str, Any], *, whole: bool) -> None:
        """Put values that were checked into the states of a parameter.

        Args:
            member: Whose they are.
            values: By name of the state.
            whole: States without a value are reset, except numbers that belong to other parameters too.
        """
        names, declared = self.moments(member), self._of(member)
        for name in names:
            value = values.get(name)
            if value is not None:
                self.state(member, name).copy_(member.unwrap(value, declared.kinds[name]))
            elif whole and (start := declared.starts[name]) == _PARAMETERS:
                own = self.state(member, name)
                own.copy_(member.local.detach().reshape(-1)[:: member.state_stride].reshape(own.shape))
            elif whole:
                self.state(member, name).fill_(float(start))
        for name in self.types(member):
            if name not in declared.numbers:
                continue
            start = declared.starts[name]
            if values.get(name) is not None:
                self._set_number(member, name, float(values[name]))
            elif whole and name not in declared.shared and isinstance(start, int | float):
                self._set_number(member, name, start)
        if values.get("step") is not None:
            count = int(values["step"])
            if whole and not count and not declared.needs_step[member.local.dim() > 1]:
                # A file of torch's SGD has no count, and what reads it in place leaves the 0 that was here before.
                given = [name for name in names if name != "master" and values.get(name) is not None]
                count = int(any(bool(self.state(member, name).any()) for name in given))
            self.set_count(member, count)
        elif whole:
            # torch's SGD keeps no step count; a velocity shows that there was a first step.
            self.set_count(member, int(any(values.get(name) is not None for name in names)))

    def restart_shared(self) -> None:
        """Reset the numbers that parameters share."""
        for member in self._members:
            declared = self._of(member)
            for name in declared.shared & self.types(member).keys():
                start: Any = declared.starts[name]
                number: Any = self._native.layer(member.layer).get(start) if isinstance(start, str) else start
                self._set_number(member, name, number)

    def set_count(self, member: ParameterSlot, count: int) -> None:
        """Set the step count of a parameter."""
        value = ctypes.c_int64(count)
        lw.call(
            lw.lw_tensor_write_state, self._native._handle, member.layer, member.tensor, b"step", ctypes.byref(value), 8
        )


def _is_empty(value: object) -> bool:
    return isinstance(value, dict) and not value
