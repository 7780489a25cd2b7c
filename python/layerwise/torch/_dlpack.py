# SPDX-License-Identifier: Apache-2.0
"""Finds gradients natively: where each lies, and whether it lies as its parameter does.

torch makes new gradients at every step, and to ask some hundreds of small ones for their addresses in Python takes
longer than to step them.  Through torch's DLPack interface for C (`Tensor.__dlpack_c_exchange_api__`) the library asks
for itself.  It passes over nothing: whatever is not as usual it leaves to the caller, pair by pair.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from .. import _binding as lw

_CPU = 1
_TYPE_CODES = {torch.float32: 2, torch.float64: 2, torch.float16: 2, torch.bfloat16: 4}
_NUMBERS = {getattr(torch, name): number for name, number in lw.FLOATS.items()}
_MAJOR_VERSION = 1


class _ExchangeApi(ctypes.Structure):
    """DLPackExchangeAPI of DLPack 1.x; its header is the same in all versions."""


_ExchangeApi._fields_ = (
    ("major", ctypes.c_uint32),
    ("minor", ctypes.c_uint32),
    ("older", ctypes.POINTER(_ExchangeApi)),
    ("managed_tensor_allocator", ctypes.c_void_p),
    ("managed_tensor_from_py_object_no_sync", ctypes.c_void_p),
    ("managed_tensor_to_py_object_no_sync", ctypes.c_void_p),
    ("dltensor_from_py_object_no_sync", ctypes.c_void_p),
    ("current_work_stream", ctypes.c_void_p),
)

# A prototype of our own: attributes of ctypes.pythonapi are shared by the whole process.
_get_pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi)
)


def _find_view() -> int | None:
    """The address of torch's function that describes a tensor; None if it has none that is known here."""
    capsule = getattr(Tensor, "__dlpack_c_exchange_api__", None)
    if capsule is None:
        return None
    api = ctypes.cast(_get_pointer(capsule, b"dlpack_exchange_api"), ctypes.POINTER(_ExchangeApi))
    while api and api.contents.major > _MAJOR_VERSION:
        api = api.contents.older
    if not api or api.contents.major != _MAJOR_VERSION:
        return None
    found: int | None = api.contents.dltensor_from_py_object_no_sync
    return found


_VIEW = _find_view()
_ITEM = ctypes.cast(ctypes.pythonapi.PyList_GetItem, ctypes.c_void_p).value


class Layout:
    """How parameters lie in memory, as the library knows it.

    Args:
        params: The parameters.
        gradient_types: Of what type the gradient of each is to be.
    """

    def __init__(self, params: Sequence[Tensor], gradient_types: Sequence[torch.dtype]) -> None:
        self.count = len(params)
        self.tensors = lw.array_type(lw.lw_dlpack_tensor, self.count)()
        self.gradient_types = lw.array_type(ctypes.c_int32, self.count)(*map(_NUMBERS.__getitem__, gradient_types))
        for index, param in enumerate(params):
            self.note(index, param)

    def note(self, index: int, param: Tensor) -> None:
        """A parameter lies as it does now."""
        extents = lw.array_type(ctypes.c_int64, param.ndim)
        self.tensors[index] = lw.lw_dlpack_tensor(
            data=param.data_ptr(),
            device_type=_CPU,
            rank=param.ndim,
            type_code=_TYPE_CODES[param.dtype],
            type_bits=param.dtype.itemsize * 8,
            type_lanes=1,
            shape=extents(*param.shape),
            strides=extents(*param.stride()),
        )


class Search:
    """Searches for the gradients of one step after another; of use to one thread at a time.

    Args:
        layout: How the parameters lie, which may change between steps.
        addresses: Where the addresses of the gradients go; None for one that is missing.
    """

    def __init__(self, layout: Layout, addresses: ctypes.Array[ctypes.c_void_p]) -> None:
        self._count = layout.count
        self._error = lw.new_error()
        self._position, self._absent_count = ctypes.c_int64(), ctypes.c_int64()
        self._lists = lw.lw_dlpack_lists(
            struct_size=ctypes.sizeof(lw.lw_dlpack_lists),
            count=layout.count,
            item=_ITEM,
            view=_VIEW,
            absent=id(None),
            expected=layout.tensors,
            gradient_dtypes=layout.gradient_types,
        )
        out = map(ctypes.byref, (self._position, self._absent_count, self._error))
        self._arguments = (ctypes.byref(self._lists), addresses, *out)

    @property
    def absent_count(self) -> int:
        """How many gradients the last search has found missing, beside those that it has left to the caller."""
        return self._absent_count.value

    def unusual(self, params: list[Tensor], gradients: list[Any]) -> Iterator[int]:
        """Write addresses of gradients.

        Yields:
            The index of each pair that is not as usual, whose address is left to the caller: the parameter does not lie
            as the layout says, or the gradient does not lie as the parameter, or is of another type.
        """
        self._absent_count.value = 0
        if _VIEW is None:
            yield from range(self._count)
            return
        self._lists.parameters, self._lists.gradients = id(params), id(gradients)
        position = self._position
        position.value = 0
        while True:
            try:
                code = lw.lw_dlpack_find_gradients(*self._arguments)
            except Exception:
                # torch could not describe a tensor, and the search has stopped there.
                code = lw.OK
            if code:
                raise lw.failure(code, self._error)
            if position.value == self._count:
                return
            yield position.value
            position.value += 1
