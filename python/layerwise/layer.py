# SPDX-License-Identifier: Apache-2.0
"""One layer of an optimizer."""

from __future__ import annotations

import array
import ctypes
from typing import TYPE_CHECKING, Any

from . import _binding as lw
from . import _settings
from ._buffers import BYTES, Place, describe
from ._names import hint
from ._registry import Tensor, address, by_tensor
from .errors import DTypeMismatch, LayerwiseError, UnknownName
from .reports import (
    LayerInfo,
    Spectrum,
    StateInfo,
    Telemetry,
    layer_report,
    report,
    state_report,
    telemetry_reports,
    telemetry_rows,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from typing_extensions import Unpack

    from ._keywords import LayerSettings
    from ._registry import LayerRecord
    from .optimizer import Optimizer
    from .rule import Rule
    from .schedule import Schedule

_TYPECODES = {lw.FLOAT32: "f", lw.FLOAT64: "d", lw.INT64: "q", lw.FLOAT16: "H", lw.BFLOAT16: "H", lw.INT8: "b"}


class Layer:
    """A view of one layer, obtained from `Optimizer.layer`; it holds its optimizer.

    Two views of the same layer are equal.
    """

    __slots__ = ("_optimizer", "_record")

    def __init__(self, optimizer: Optimizer, record: LayerRecord) -> None:
        self._optimizer = optimizer
        self._record = record

    @property
    def name(self) -> str:
        """The name it was registered with."""
        return self._record.name

    @property
    def index(self) -> int:
        """Its place in the order of registration, from 0."""
        return self._record.index

    @property
    def info(self) -> LayerInfo:
        """What the layer is and what it will get at the next step, in one call."""
        row = lw.lw_layer_info(ctypes.sizeof(lw.lw_layer_info))
        self._call(lw.lw_layer_get_info, ctypes.byref(row))
        return layer_report(row)

    @property
    def frozen(self) -> bool:
        """Whether it is left out of every step."""
        return self.info.frozen

    @property
    def depth(self) -> int:
        """Its position from the input."""
        return self.info.depth

    @property
    def tower(self) -> str:
        """The stack it belongs to; empty where there is one."""
        handle, index = self._optimizer._handle, self._record.index
        return lw.text(lw.lw_layer_get_text, handle, index, b"tower")

    @property
    def part_of(self) -> str:
        """The layer of which it is a part; empty where it is none."""
        return self._record.part_of

    @property
    def rule(self) -> Rule:
        """The rule that steps it, as it was given: its own or the optimizer's."""
        return self._record.rule or self._optimizer.rule

    @property
    def role(self) -> str:
        """What it is: "stem", "block", "norm" or "head", as it was set or by its depth."""
        return self.info.role

    @property
    def start(self) -> int:
        """The step from which its schedules count."""
        value = ctypes.c_double()
        self._call(lw.lw_layer_get, b"start", ctypes.byref(value))
        return int(value.value)

    @property
    def scale(self) -> float:
        """Its learning-rate multiplier, of its own or from the policy.  Change it with `set(scale=...)`."""
        return self.info.scale

    @property
    def effective_lr(self) -> float:
        """The rate of the next step: base rate as the schedule moves it, times scale; 0 while it is frozen."""
        return self.info.effective_lr

    @property
    def schedule(self) -> Schedule | None:
        """Its own schedule of the rate; None where it follows the optimizer's."""
        return self._record.schedules.get("lr")

    @schedule.setter
    def schedule(self, schedule: Schedule | None) -> None:
        self._optimizer.set_schedule(schedule, layer=self)

    @property
    def weight_decay(self) -> float:
        """The decay coefficient in force; 0 where the rule has none."""
        return self.info.weight_decay

    @property
    def telemetry(self) -> Telemetry:
        """Its last step, if the optimizer was made with `telemetry=True`."""
        rows = telemetry_rows(1)
        self._call(lw.lw_layer_get_telemetry, rows)
        return telemetry_reports(rows)[0]

    def spectrum(self, tensor: str | int = 0) -> Spectrum:
        """What the singular values of one of its tensors say, with any policy.

        They are those of a matrix: of the first two axes, at each place of the others.

        Args:
            tensor: Name or index of the tensor.

        Raises:
            ShapeMismatch: The tensor has fewer than two axes, or is spread over processes.
            NonFiniteGradient: Weights, or their squares, are not finite.
        """
        row = lw.lw_spectrum(ctypes.sizeof(lw.lw_spectrum))
        self._call(lw.lw_tensor_get_spectrum, self._record.tensor_index(tensor), ctypes.byref(row))
        return report(Spectrum, row)

    def freeze(self) -> None:
        """Leave it out of every step, whatever the plan says: not updated, decayed or counted.  Its state is kept."""
        self._call(lw.lw_layer_freeze)

    def unfreeze(self) -> None:
        """Step it again, whatever the plan says."""
        self._call(lw.lw_layer_unfreeze)

    def follow_plan(self) -> None:
        """Freeze and thaw as the freezing plan says, and no longer as was said by hand."""
        self.unset("frozen")

    def reset(self) -> None:
        """Forget its state: moments and step counts are 0, a master copy is the parameters again."""
        self._call(lw.lw_layer_reset)

    def set(self, **settings: Unpack[LayerSettings]) -> None:
        """Give it values of its own, all or none.

        They are hyperparameters of its rule, `maximize`, `scale`, `depth`, `tower`, `role`, `start`, and `frozen`,
        which is "yes", "no" or "plan".  Of a layer that is registered in parts, all but hyperparameters and `maximize`
        hold for its parts too.
        """
        pairs = _settings.expand(settings, self.rule)
        place = self._optimizer._handle, self._record.index
        _settings.call(pairs, lw.lw_layer_set, *place, *_settings.pack(pairs))

    def unset(self, key: str) -> None:
        """Take its own value back: it follows the optimizer, or the policy, again.

        The settings that a `variant` stands for are taken back one by one.
        """
        for part in self.rule.tuples.get(key, (key,)):
            self._call(lw.lw_layer_unset, lw.name(part))

    def get(self, key: str) -> float | str | tuple[float | str, ...]:
        """The value in force: a number (flags are 0.0 or 1.0), a choice, text, or a tuple for `betas`."""
        if key in ("tower", "part_of"):
            return self.tower if key == "tower" else self.part_of
        handle, tuples = self._optimizer._handle, self.rule.tuples
        return _settings.get(
            lw.lw_layer_get, lw.lw_layer_get_choice, handle, self._record.index, key=key, tuples=tuples
        )

    def bind(self, params: object, grads: object = None) -> None:
        """Bind tensors to other buffers of the same type and shape, keeping their state; all or none.

        Args:
            params: A buffer, or a mapping from tensor name to buffer; tensors that are not named keep their buffers.
            grads: Gradients likewise.  A tensor that is bound and has no gradient here loses the one it had.
        """
        record, optimizer = self._record, self._optimizer
        given = by_tensor(record.name, record.names, params)
        gradients = by_tensor(record.name, given, grads)
        new = tuple(
            Tensor(
                tensor.name,
                tensor.gradient_dtype,
                tensor.parameters_place,
                tensor.gradient_place,
                tensor.new_parameters(given[tensor.name]),
                tensor.new_gradient(gradients.get(tensor.name)),
            )
            if tensor.name in given
            else tensor
            for tensor in record.tensors
        )
        with optimizer._registration:
            # An interrupt may land on either side of a native call, and another thread may step in between and so
            # refuse the way back.  All buffers that the library may use are held until all tensors are bound.
            old, doubtful, bound = record.tensors, record.retiring, []
            record.retiring, optimizer._watches = doubtful + old + new, None
            try:
                for position, tensor in enumerate(new):
                    if tensor is not old[position]:
                        self._bind_tensor(position, tensor)
                        bound.append(position)
            except LayerwiseError:
                for position in reversed(bound):
                    self._bind_tensor(position, old[position])
                record.retiring = doubtful
                raise
            record.tensors = new
            record.retiring = () if len(bound) == len(new) else doubtful

    def _bind_tensor(self, position: int, tensor: Tensor) -> None:
        self._call(lw.lw_tensor_bind, position, tensor.parameters.address, address(tensor.gradient))

    def states(self) -> dict[str, dict[str, StateInfo]]:
        """What the library keeps for each tensor: its step count, the rule's moments, a master copy."""
        return {
            tensor.name: {state.name: state for state in map(state_report, self._states(position))}
            for position, tensor in enumerate(self._record.tensors)
        }

    def read_state(self, tensor: str | int, name: str, out: object = None) -> object:
        """Copy a state out.

        Args:
            tensor: Name or index of the tensor.
            name: Name of the state, as in `states()`.
            out: A writable buffer of the state's type and size, or of as many bytes.

        Returns:
            `out`, or a new array.array of the state's type.
        """
        position = self._record.tensor_index(tensor)
        row = self._state(position, name)
        size = row.count * lw.DTYPE_SIZES[row.dtype]
        if out is None:
            values = array.array(_TYPECODES[row.dtype], bytes(size))
            self._call(lw.lw_tensor_read_state, position, lw.name(name), values.buffer_info()[0], size)
            return values
        self._transfer(lw.lw_tensor_read_state, position, row, out, writable=True)
        return out

    def write_state(self, tensor: str | int, name: str, buffer: object) -> None:
        """Copy a state in, exactly, from a buffer of its type and size, or of as many bytes."""
        position = self._record.tensor_index(tensor)
        self._transfer(lw.lw_tensor_write_state, position, self._state(position, name), buffer, writable=False)

    def _transfer(
        self, function: lw.NativeFunction, position: int, row: lw.lw_state_info, obj: object, *, writable: bool
    ) -> None:
        """Copy between a state and a buffer; the library compares the sizes."""
        name = row.name.decode()
        place = Place(
            self.name, self._record.tensors[position].name, f'buffer for state "{name}"', position, self.index
        )
        buffer = describe(obj, place, writable=writable)
        if buffer.dtype not in (BYTES, row.dtype):
            expected, found = lw.DTYPE_NAMES[row.dtype], lw.DTYPE_NAMES[buffer.dtype]
            raise place.refuse(DTypeMismatch, f"must be {expected} or bytes, found {found}")
        size = lw.DTYPE_SIZES.get(buffer.dtype, 1)
        for extent in buffer.shape:
            size *= extent
        self._call(function, position, row.name, buffer.address, size)

    def _states(self, position: int) -> Iterator[lw.lw_state_info]:
        count = ctypes.c_int64()
        self._call(lw.lw_tensor_state_count, position, ctypes.byref(count))
        for index in range(count.value):
            row = lw.lw_state_info(ctypes.sizeof(lw.lw_state_info))
            self._call(lw.lw_tensor_get_state_info, position, index, ctypes.byref(row))
            yield row

    def _state(self, position: int, name: str) -> lw.lw_state_info:
        others: list[str] = []
        for row in self._states(position):
            found = row.name.decode()
            if found == name:
                return row
            others.append(found)
        tensor = self._record.tensors[position].name
        raise UnknownName(
            f'layer "{self.name}": tensor "{tensor}": no state {name!r}{hint(name, others)}; '
            f"its states: {', '.join(others)}",
            layer=self.index,
            tensor=position,
        )

    def _call(self, function: lw.NativeFunction, *arguments: object) -> None:
        lw.call(function, self._optimizer._handle, self._record.index, *arguments)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Layer) and self._optimizer is other._optimizer and self._record is other._record

    def __hash__(self) -> int:
        return hash((id(self._optimizer), self._record.index))

    def __reduce_ex__(self, protocol: object) -> tuple[Any, ...]:
        # With its optimizer, which goes along once.
        return type(self._optimizer).layer, (self._optimizer, self.name)

    def __repr__(self) -> str:
        return f"<layerwise.Layer {self.name!r}: {', '.join(self._record.names)}>"

    def _repr_html_(self) -> str:
        from . import _html

        return _html.of_fields(self.info, self.name)


class Layers(dict[str, Layer]):
    """Layers by name, in the order of registration.  Notebooks show them as a table."""

    def _repr_html_(self) -> str:
        from . import _html

        columns = (
            "depth",
            "role",
            "tensor_count",
            "parameter_count",
            "scale",
            "effective_lr",
            "weight_decay",
            "frozen",
        )
        rows = [(name, *(getattr(layer.info, column) for column in columns)) for name, layer in self.items()]
        return _html.table(("layer", *columns), rows, f"{len(self)} layers")
