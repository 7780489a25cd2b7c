# SPDX-License-Identifier: Apache-2.0
"""Reads what a DLPack capsule says of its memory, without consuming it.

A capsule that nobody consumes releases its memory when it is collected, so holding the capsule holds the memory.
"""

from __future__ import annotations

import ctypes
from ctypes import POINTER, c_char_p, c_uint32, c_uint64, c_void_p
from typing import Any, NamedTuple

from ._binding import lw_dlpack_tensor

_CPU = 1
_FLAG_READ_ONLY = 1
_CODES = {0: "i", 1: "u", 2: "f", 4: "bf"}


class _Versioned(ctypes.Structure):
    _fields_ = (
        ("major", c_uint32),
        ("minor", c_uint32),
        ("manager_ctx", c_void_p),
        ("deleter", c_void_p),
        ("flags", c_uint64),
        ("tensor", lw_dlpack_tensor),
    )


# Prototypes of our own: attributes of ctypes.pythonapi are shared by the whole process.
_is_valid = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, c_char_p)(("PyCapsule_IsValid", ctypes.pythonapi))
_get_pointer = ctypes.PYFUNCTYPE(c_void_p, ctypes.py_object, c_char_p)(("PyCapsule_GetPointer", ctypes.pythonapi))


class Description(NamedTuple):
    """The memory behind a capsule."""

    address: int
    kind: str
    """Kind and size of an element, as in a NumPy type string: "f4"; "bf2" for bfloat16."""
    shape: tuple[int, ...]
    strides: tuple[int, ...] | None
    """In elements; None for row-major."""
    read_only: bool
    capsule: object


def device(obj: Any) -> str | None:
    """None if the object's memory is the processor's, else a name for where it is."""
    kind, index = obj.__dlpack_device__()
    return None if int(kind) == _CPU else f"DLPack device {int(kind)}:{int(index)}"


def describe(obj: Any) -> Description:
    """Ask the object for a capsule over its own memory, never a copy, and read it.

    A capsule of DLPack before 1.0 cannot say that its memory is read-only.
    """
    try:
        capsule = obj.__dlpack__(max_version=(1, 0), copy=False)
    except TypeError:
        capsule = obj.__dlpack__()
    read_only = False
    if _is_valid(capsule, b"dltensor_versioned"):
        managed = ctypes.cast(_get_pointer(capsule, b"dltensor_versioned"), POINTER(_Versioned)).contents
        if managed.major != 1:
            raise BufferError(f"DLPack version {managed.major} is not supported")
        tensor = managed.tensor
        read_only = bool(managed.flags & _FLAG_READ_ONLY)
    else:
        tensor = ctypes.cast(_get_pointer(capsule, b"dltensor"), POINTER(lw_dlpack_tensor)).contents
    kind = f"{_CODES.get(tensor.type_code, '?')}{tensor.type_bits // 8}" if tensor.type_lanes == 1 else "?"
    return Description(
        address=(tensor.data or 0) + tensor.byte_offset,
        kind=kind,
        shape=tuple(tensor.shape[: tensor.rank]),
        strides=tuple(tensor.strides[: tensor.rank]) if tensor.strides else None,
        read_only=read_only,
        capsule=capsule,
    )
