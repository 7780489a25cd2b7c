# SPDX-License-Identifier: Apache-2.0
"""What Python must remember of a layer: its names, the objects whose memory is registered, and their shapes.

The library takes bare addresses, so the shapes and types of later buffers are compared here.
"""

from __future__ import annotations

import ctypes
import math
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from . import _binding as lw
from ._buffers import Buffer, Place, describe_floats, describe_shape
from ._names import hint
from .errors import DTypeMismatch, InvalidArgument, NotFound, ShapeMismatch, UnknownName

if TYPE_CHECKING:
    from .rule import Rule
    from .schedule import Schedule

SINGLE_TENSOR = "weight"
"""The name of the tensor of a layer that was given as one array."""


@dataclass(slots=True)
class Tensor:
    """One registered tensor."""

    name: str
    gradient_dtype: int
    parameters_place: Place
    gradient_place: Place
    parameters: Buffer
    gradient: Buffer | None

    def new_parameters(self, obj: object) -> Buffer:
        """Other memory for the same parameters."""
        buffer = describe_floats(obj, self.parameters_place, writable=True)
        _require_same(buffer, self.parameters.dtype, self.parameters.shape, self.parameters_place)
        return buffer

    def new_gradient(self, obj: object) -> Buffer | None:
        """A gradient for this tensor, or None for none."""
        if obj is None:
            return None
        buffer = describe_floats(obj, self.gradient_place, writable=False)
        _require_same(buffer, self.gradient_dtype, self.parameters.shape, self.gradient_place)
        return buffer

    def release(self) -> None:
        """Let go of the memory."""
        self.parameters, self.gradient = self.parameters._replace(owner=None, tensor=None), None


def _require_same(buffer: Buffer, dtype: int, shape: tuple[int, ...], place: Place) -> None:
    if buffer.shape != shape:
        raise place.refuse(ShapeMismatch, f"has shape {buffer.shape}, the registered parameters have {shape}")
    if buffer.dtype != dtype:
        expected, found = lw.DTYPE_NAMES[dtype], lw.DTYPE_NAMES[buffer.dtype]
        raise place.refuse(DTypeMismatch, f"must be {expected}, as registered, found {found}")


@dataclass(slots=True)
class LayerRecord:
    """One registered layer.  It refers to no optimizer, so that an optimizer is freed without the cycle collector."""

    name: str
    index: int
    tensors: tuple[Tensor, ...]
    retiring: tuple[Tensor, ...] = ()
    """What else the library may be bound to, while a change is under way or after one was interrupted."""
    schedules: dict[str, Schedule] = field(default_factory=dict)
    """Its own schedules, by the hyperparameter they move."""
    whole_shapes: dict[str, Sequence[int]] = field(default_factory=dict)
    """Of tensors of which it has parts, the shapes of the wholes."""
    part_of: str = ""
    """The layer of which it is a part."""
    rule: Rule | None = None
    """Its own rule."""
    names: dict[str, int] = field(init=False)
    """Its tensors' names, in order, and the index of each."""

    def __post_init__(self) -> None:
        self.names = {tensor.name: index for index, tensor in enumerate(self.tensors)}

    def new_gradients(self, grads: object) -> list[Buffer | None]:
        """One gradient, or None, for each tensor in order."""
        given = by_tensor(self.name, self.names, grads)
        return [tensor.new_gradient(given.get(tensor.name)) for tensor in self.tensors]

    def release(self) -> None:
        """Let go of all memory; a view of the layer that is still held knows its names."""
        self.retiring = ()
        for tensor in self.tensors:
            tensor.release()

    def tensor_index(self, tensor: str | int) -> int:
        """The index of a tensor by its name or index."""
        if isinstance(tensor, int):
            if not 0 <= tensor < len(self.tensors):
                raise NotFound(f'layer "{self.name}": no tensor has index {tensor}; there are {len(self.tensors)}')
            return tensor
        _require_known(self.name, self.names, [tensor])
        return self.names[tensor]


def by_tensor(layer: str, names: Collection[str], value: object) -> Mapping[str, object]:
    """Buffers by tensor name; a bare buffer belongs to the only tensor of its layer."""
    if value is None:
        return {}
    if isinstance(value, Mapping):
        _require_known(layer, names, value)
        return value
    if len(names) != 1:
        raise InvalidArgument(
            f'layer "{layer}": it has {len(names)} tensors, so expected a mapping from tensor to buffer'
        )
    return {next(iter(names)): value}


def _require_known(layer: str, names: Collection[str], given: Iterable[object]) -> None:
    for name in given:
        if name not in names:
            raise UnknownName(
                f'layer "{layer}": no tensor {name!r}{hint(name, names)}; its tensors: {", ".join(names)}'
            )


def record(
    name: str, index: int, params: object, grads: object, gradient_dtype: int | None, *, shapes_only: bool
) -> LayerRecord:
    """Describe the buffers of a new layer, or with `shapes_only` what would be its buffers."""
    given = params if isinstance(params, Mapping) else {SINGLE_TENSOR: params}
    # A mapping in place of a list, in which to look one name up of many takes long.
    names = dict.fromkeys(given)
    for text in (name, *names):
        lw.name(text)
    gradients = by_tensor(name, names, grads)
    return LayerRecord(
        name,
        index,
        tuple(
            _tensor(
                name,
                tensor_name,
                position,
                given[tensor_name],
                gradients.get(tensor_name),
                gradient_dtype,
                shapes_only,
            )
            for position, tensor_name in enumerate(names)
        ),
    )


def _tensor(
    layer: str,
    name: str,
    index: int,
    params: object,
    grad: object,
    gradient_dtype: int | None,
    shapes_only: bool,
) -> Tensor:
    describe = describe_shape if shapes_only else describe_floats
    parameters_place = Place(layer, name, "parameters", index)
    gradient_place = Place(layer, name, "gradient", index)
    parameters = describe(params, parameters_place, writable=True)
    gradient = None if grad is None else describe(grad, gradient_place, writable=False)
    if gradient_dtype is None:
        gradient_dtype = parameters.dtype if gradient is None else gradient.dtype
    if gradient is not None:
        _require_same(gradient, gradient_dtype, parameters.shape, gradient_place)
    return Tensor(name, gradient_dtype, parameters_place, gradient_place, parameters, gradient)


def pack(record: LayerRecord, master: bool) -> ctypes.Array[lw.lw_tensor]:
    """The array of lw_tensor for registration."""
    _require_known(record.name, record.names, record.whole_shapes)
    array = lw.array_type(lw.lw_tensor, len(record.tensors))()
    for entry, tensor in zip(array, record.tensors, strict=True):
        shape = tensor.parameters.shape
        entry.struct_size = ctypes.sizeof(lw.lw_tensor)
        entry.dtype = tensor.parameters.dtype
        entry.gradient_dtype = tensor.gradient_dtype
        entry.rank = len(shape)
        entry.name = lw.name(tensor.name)
        entry.parameters = tensor.parameters.address
        entry.gradients = address(tensor.gradient)
        if shape:
            entry.shape = lw.array_type(ctypes.c_int64, len(shape))(*shape)
        whole = record.whole_shapes.get(tensor.name)
        if whole is not None:
            if len(whole) != len(shape):
                raise tensor.parameters_place.refuse(
                    ShapeMismatch, f"have shape {shape}, which is no part of the whole shape {tuple(whole)}"
                )
            if shape:
                entry.whole_shape = lw.array_type(ctypes.c_int64, len(shape))(*whole)
        entry.master = int(master and tensor.parameters.dtype in (lw.FLOAT16, lw.BFLOAT16))
    return array


def address(buffer: Buffer | None) -> int | None:
    """The address of a buffer, or None for NULL."""
    return None if buffer is None else buffer.address


class Watch:
    """The torch tensors among some buffers, which can get other memory or another size behind our back.

    Assigning to `.data`, `resize_`, `set_` and resizing the storage do that.  Both comparisons run in C.
    """

    __slots__ = ("addresses", "counts", "data_ptr", "numel", "places", "tensors")

    def __init__(self, buffers: Iterable[tuple[Place, Buffer | None]]) -> None:
        watched = [(place, buffer) for place, buffer in buffers if buffer is not None and buffer.tensor is not None]
        self.places = [place for place, _ in watched]
        self.tensors = [buffer.tensor for _, buffer in watched]
        self.counts = [math.prod(buffer.shape) for _, buffer in watched]
        # torch gives an empty tensor the address 0.
        self.addresses = [
            buffer.address if count else 0 for (_, buffer), count in zip(watched, self.counts, strict=True)
        ]
        # Mapping the method of the class is several times faster than calling each tensor's.
        tensor_type = getattr(sys.modules.get("torch"), "Tensor", None)
        self.data_ptr: Any = getattr(tensor_type, "data_ptr", None)
        self.numel: Any = getattr(tensor_type, "numel", None)

    def check(self) -> None:
        """Raise if a tensor is not where it was registered."""
        addresses, counts = list(map(self.data_ptr, self.tensors)), list(map(self.numel, self.tensors))
        if addresses == self.addresses and counts == self.counts:
            return
        for place, found, expected in zip(
            self.places, zip(addresses, counts, strict=True), zip(self.addresses, self.counts, strict=True), strict=True
        ):
            if found != expected:
                raise place.refuse(
                    InvalidArgument,
                    "must stay as registered; the tensor was moved or resized: bind the new buffer with layer.bind",
                )
