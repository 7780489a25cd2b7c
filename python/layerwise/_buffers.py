# SPDX-License-Identifier: Apache-2.0
"""Turns an object into the address, type and shape of its memory, and something that keeps the memory alive.

Nothing is ever copied: what cannot be used where it lies is refused.
"""

from __future__ import annotations

import ctypes
import functools
import math
import operator
import sys
from collections.abc import Iterable
from ctypes import c_char_p, c_int, c_ssize_t, c_void_p
from typing import Any, NamedTuple

from . import _dlpack
from ._binding import BFLOAT16, DTYPE_NAMES, FLOAT16, FLOAT32, FLOAT64, FLOATS, INT8, INT64
from ._values import dataclass
from .errors import DTypeMismatch, InvalidArgument, LayerwiseError, ShapeMismatch

BYTES = 0
"""The type of a buffer of plain bytes, which may hold any state."""

_KINDS = {"f4": FLOAT32, "f8": FLOAT64, "f2": FLOAT16, "bf2": BFLOAT16, "i8": INT64, "i1": INT8, "u1": BYTES}
_FORMATS = dict.fromkeys("efd", "f") | dict.fromkeys("bilqn", "i") | dict.fromkeys("Bc", "u")
"""Kind of each format character of the struct module; the item size says the rest."""

_NATIVE_ORDER = "<" if sys.byteorder == "little" else ">"

_NOWHERE = ctypes.c_double()


@dataclass(frozen=True)
class Place:
    """Which buffer of which tensor is spoken of, for messages."""

    layer: str
    tensor: str
    role: str
    tensor_index: int | None = None
    layer_index: int | None = None

    def refuse(self, kind: type[LayerwiseError], text: str) -> LayerwiseError:
        """The exception that names this place."""
        message = f'layer "{self.layer}": tensor "{self.tensor}": {self.role} {text}'
        return kind(message, layer=self.layer_index, tensor=self.tensor_index)


class Memory(Place):
    """A buffer that belongs to no tensor, for messages."""

    def refuse(self, kind: type[LayerwiseError], text: str) -> LayerwiseError:
        """The exception that names it."""
        return kind(f"{self.role} {text}")


class Buffer(NamedTuple):
    """Memory that an object owns."""

    address: int
    dtype: int
    shape: tuple[int, ...]
    owner: object
    """Keeps the memory alive, and in place where its kind allows that."""
    tensor: Any = None
    """The torch tensor, which may move to other memory although it is held: see `Watch`."""


class _PyBuffer(ctypes.Structure):
    """Py_buffer, which is part of the stable ABI."""

    _fields_ = (
        ("buf", c_void_p),
        ("obj", c_void_p),
        ("len", c_ssize_t),
        ("itemsize", c_ssize_t),
        ("readonly", c_int),
        ("ndim", c_int),
        ("format", c_char_p),
        ("shape", c_void_p),
        ("strides", c_void_p),
        ("suboffsets", c_void_p),
        ("internal", c_void_p),
    )


# Prototypes of our own: attributes of ctypes.pythonapi are shared by the whole process.
_get_buffer = ctypes.PYFUNCTYPE(c_int, ctypes.py_object, ctypes.POINTER(_PyBuffer), c_int)(
    ("PyObject_GetBuffer", ctypes.pythonapi)
)
_release_buffer = ctypes.PYFUNCTYPE(None, ctypes.POINTER(_PyBuffer))(("PyBuffer_Release", ctypes.pythonapi))


def describe(obj: object, place: Place, *, writable: bool) -> Buffer:
    """The memory of a NumPy array, torch tensor, or object with the buffer protocol or DLPack.

    Raises:
        InvalidArgument: It is not contiguous, not writable though it must be, or not in the processor's memory.
        DTypeMismatch: It is no buffer at all, byte-swapped, or of a type that the library does not know.
    """
    tensor_type = getattr(sys.modules.get("torch"), "Tensor", None)
    if tensor_type is not None and isinstance(obj, tensor_type):
        buffer = _from_torch(obj, place)
    else:
        interface = getattr(obj, "__array_interface__", None)
        if isinstance(interface, dict) and isinstance(interface.get("data"), tuple):
            buffer = _from_array_interface(obj, interface, place, writable)
        else:
            buffer = _from_buffer_protocol(obj, place, writable)
    if not buffer.address:
        # torch gives an empty tensor no address, but to the library a NULL gradient means that there is none.
        if math.prod(buffer.shape):
            raise place.refuse(InvalidArgument, "has no memory: its storage was freed")
        return buffer._replace(address=ctypes.addressof(_NOWHERE))
    return buffer


def describe_floats(obj: object, place: Place, *, writable: bool) -> Buffer:
    """Describe a buffer of parameters or gradients, whose elements must be floating-point numbers."""
    buffer = describe(obj, place, writable=writable)
    if buffer.dtype not in FLOATS.values():
        raise _wrong_type(place, DTYPE_NAMES.get(buffer.dtype, "bytes"))
    return buffer


def describe_shape(obj: object, place: Place, *, writable: bool) -> Buffer:
    """The shape and type of what would be parameters or gradients, without memory.

    A tuple of extents stands for float32; anything with a shape, such as an array or a torch tensor on the device
    "meta", for its own type.
    """
    shape = obj if isinstance(obj, tuple) else getattr(obj, "shape", None)
    if shape is None:
        return describe_floats(obj, place, writable=writable)._replace(address=0, owner=None, tensor=None)
    found = str(getattr(obj, "dtype", "float32")).removeprefix("torch.")
    if found not in FLOATS:
        raise _wrong_type(place, found)
    return Buffer(0, FLOATS[found], _extents(shape, place), None)


def _extents(shape: Iterable[Any], place: Place) -> tuple[int, ...]:
    """A shape that an object says it has; what an int64 cannot hold would be taken modulo 2**64 on the way."""
    extents = tuple(map(operator.index, shape))
    if extents and not 0 <= min(extents) <= max(extents) < 1 << 63:
        raise place.refuse(ShapeMismatch, f"must have extents from 0 to 2**63 - 1, found shape {extents}")
    return extents


ELSEWHERE = (
    ": layerwise.torch.LayerRates gives rates to torch's own optimizers, which step such parameters (docs/anywhere.md)"
)
"""What the refusal of a torch tensor in other memory than the processor's adds: what to do."""


def _wrong_type(place: Place, found: str) -> LayerwiseError:
    return place.refuse(DTypeMismatch, f"must be float64, float32, float16 or bfloat16, found {found}")


def _require_contiguous(contiguous: bool, place: Place) -> None:
    if not contiguous:
        raise place.refuse(
            InvalidArgument,
            "must be contiguous in row-major order; it is a strided view, of which numpy.ascontiguousarray or "
            "tensor.contiguous() make a contiguous copy",
        )


def _require_writable(read_only: bool, writable: bool, place: Place, obj: object) -> None:
    if not (writable and read_only):
        return
    if _module(obj).startswith("jax"):
        advice = (
            "it is an array of JAX, which cannot change: np.array(x) makes a writable copy, "
            "and layerwise.optax gives rates to optimizers of JAX"
        )
    elif _module(obj) == "numpy":
        advice = "it is a read-only array: np.array(x) makes a writable copy"
    else:
        advice = f"it is a read-only {type(obj).__name__}, of which np.array(x) makes a writable copy"
    raise place.refuse(InvalidArgument, f"must be writable; {advice}")


def _module(obj: object) -> str:
    """The package of the class of an object."""
    return type(obj).__module__.partition(".")[0]


def _no_buffer(obj: object) -> str:
    """What is said of an object without memory that could be stepped."""
    what = "must be a buffer, such as a NumPy array or torch tensor"
    if _module(obj).startswith("keras") and hasattr(obj, "value"):
        return (
            f"{what}, found a variable of Keras: give its `.value`, which is a tensor with the torch backend; "
            "layerwise.keras gives rates to Keras's own optimizers"
        )
    if isinstance(obj, list | tuple):
        return f"{what}, found {type(obj).__name__}: np.array(x, np.float32) makes an array of it, to be kept by you"
    return f"{what}, found {type(obj).__name__}"


def _row_major(shape: tuple[int, ...], strides: tuple[int, ...] | None, itemsize: int) -> bool:
    """Whether strides are those of row-major order; the stride of an extent of one says nothing."""
    if strides is None or 0 in shape:
        return True
    expected = itemsize
    for extent, stride in zip(reversed(shape), reversed(strides), strict=True):
        if extent != 1 and stride != expected:
            return False
        expected *= extent
    return True


@functools.cache
def _torch_dtypes(torch: Any) -> dict[object, int]:
    named = {name: dtype for dtype, name in DTYPE_NAMES.items()} | {"uint8": BYTES}
    return {getattr(torch, name): dtype for name, dtype in named.items()}


def _from_torch(tensor: Any, place: Place) -> Buffer:
    torch = sys.modules["torch"]
    if tensor.layout is not torch.strided:
        raise place.refuse(InvalidArgument, f"must be a dense tensor, found layout {tensor.layout}")
    if not tensor.is_cpu:
        advice = ', which has no memory: call model.to_empty(device="cpu") first' if tensor.is_meta else ELSEWHERE
        raise place.refuse(InvalidArgument, f"must be on the CPU, found device {tensor.device}{advice}")
    dtype = _torch_dtypes(torch).get(tensor.dtype)
    if dtype is None:
        raise _wrong_type(place, str(tensor.dtype))
    _require_contiguous(tensor.is_contiguous(), place)
    return Buffer(tensor.data_ptr(), dtype, tuple(tensor.shape), tensor, tensor)


def _from_array_interface(obj: Any, interface: dict[str, Any], place: Place, writable: bool) -> Buffer:
    typestr, shape = interface["typestr"], _extents(interface["shape"], place)
    if not shape and isinstance(obj, getattr(sys.modules.get("numpy"), "generic", ())):
        raise place.refuse(DTypeMismatch, "must be an array; a NumPy scalar has no memory of its own")
    kind = typestr[1:]
    if kind == "V2" and getattr(getattr(obj, "dtype", None), "name", None) == "bfloat16":
        kind = "bf2"
    if typestr[0] not in (_NATIVE_ORDER, "|", "="):
        raise place.refuse(DTypeMismatch, f"must be in native byte order, found {typestr}")
    dtype = _KINDS.get(kind)
    if dtype is None:
        raise _wrong_type(place, str(getattr(obj, "dtype", typestr)))
    _require_contiguous(_row_major(shape, interface.get("strides"), int(typestr[2:])), place)
    address, read_only = interface["data"]
    _require_writable(read_only, writable, place, obj)
    if not 0 <= operator.index(address) < 1 << 64:
        raise place.refuse(InvalidArgument, f"must lie at an address from 0 to 2**64 - 1, found {address}")
    return Buffer(operator.index(address), dtype, shape, obj)


def _from_buffer_protocol(obj: object, place: Place, writable: bool) -> Buffer:
    try:
        # While this view lives, an array.array, bytearray or mmap refuses to resize or close.
        view = memoryview(obj)  # type: ignore[arg-type]
    except (TypeError, ValueError, BufferError) as error:
        if hasattr(obj, "__dlpack__") and hasattr(obj, "__dlpack_device__"):
            return _from_dlpack(obj, place, writable)
        reason = f": {error}" if isinstance(error, ValueError) else ""
        raise place.refuse(DTypeMismatch, f"{_no_buffer(obj)}{reason}") from None
    order, code = (view.format[0], view.format[1:]) if view.format[0] in "@=<>!" else ("@", view.format)
    if order not in ("@", "=", _NATIVE_ORDER) and view.itemsize > 1:
        raise place.refuse(DTypeMismatch, f'must be in native byte order, found format "{view.format}"')
    dtype = _KINDS.get(f"{_FORMATS.get(code, '?')}{view.itemsize}")
    if dtype is None:
        raise _wrong_type(place, f'format "{view.format}"')
    _require_contiguous(view.c_contiguous, place)
    _require_writable(view.readonly, writable, place, obj)
    return Buffer(_address(view), dtype, tuple(view.shape or ()), view)


def _address(view: memoryview) -> int:
    raw = _PyBuffer()
    _get_buffer(view, raw, 0)
    address = raw.buf or 0
    # The memoryview goes on holding the memory.
    _release_buffer(raw)
    return address


def _from_dlpack(obj: Any, place: Place, writable: bool) -> Buffer:
    elsewhere = _dlpack.device(obj)
    if elsewhere is not None:
        raise place.refuse(InvalidArgument, f"must be in the memory of the CPU, found {elsewhere}")
    try:
        found = _dlpack.describe(obj)
    except (BufferError, RuntimeError) as error:
        raise place.refuse(InvalidArgument, f"could not be shared through DLPack: {error}") from error
    dtype = _KINDS.get(found.kind)
    if dtype is None:
        raise _wrong_type(place, f"DLPack type {found.kind}")
    _require_contiguous(_row_major(found.shape, found.strides, 1), place)
    _require_writable(found.read_only, writable, place, obj)
    return Buffer(found.address, dtype, found.shape, found.capsule)
