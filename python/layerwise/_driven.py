# SPDX-License-Identifier: Apache-2.0
"""The values that an optimizer of another library uses at a step, computed by a dry-run optimizer."""

from __future__ import annotations

import array
import ctypes
from collections.abc import Sequence

from . import _binding as lw
from .optimizer import Optimizer

_lw_optimizer_get_driven_values = lw.lw_optimizer_get_driven_values


def rate_groups(native: Optimizer) -> list[int]:
    """For each tensor, in the order of registration, the number of the set whose values are equal at every step."""
    count = sum(len(layer.tensors) for layer in native._layers)
    groups = array.array("q", bytes(8 * count))
    found = ctypes.c_int64()
    lw.call(lw.lw_optimizer_get_rate_groups, native._handle, _whole_pointer(groups), count, ctypes.byref(found))
    return groups.tolist()


class DrivenValues:
    """The values that some tensors get, step by step or as a table.

    Args:
        native: The dry-run optimizer.
        keys: The values of each tensor: "lr", "weight_decay", or a number of the rule.
        tensors: The tensors, by their place in the order of registration.
    """

    def __init__(self, native: Optimizer, keys: Sequence[str], tensors: Sequence[int]) -> None:
        self._native = native
        self._names = [lw.name(key) for key in keys]
        self._keys = lw.array_type(ctypes.c_char_p, len(keys))(*self._names)
        self._tensors = array.array("q", tensors)
        self._layers = len(native._layers)
        self._values = lw.doubles(len(keys) * len(tensors))
        self._frozen = bytearray(self._layers)
        self._error = lw.new_error()
        # Arguments of the call before and after the step; to create them at each step would take longer than the call.
        self._before = (
            native._handle,
            self._keys,
            len(keys),
            _whole_pointer(self._tensors),
            len(tensors),
        )
        self._after = (
            1,
            1,
            lw.pointer(self._values),
            len(self._values),
            _byte_pointer(self._frozen),
            self._layers,
            ctypes.byref(self._error),
        )

    def at(self, step: int) -> tuple[list[float], bytes]:
        """The values at one step, tensor by tensor, and for each layer 1 where it is frozen."""
        code = _lw_optimizer_get_driven_values(*self._before, step, *self._after)
        if code:
            raise lw.failure(code, self._error)
        return self._values.tolist(), bytes(self._frozen)

    def table(self, first: int, count: int, stride: int = 1) -> tuple[array.array[float], bytearray]:
        """The values at several steps as step x tensor x key, and the marks as step x layer."""
        values = lw.doubles(count * len(self._values))
        frozen = bytearray(count * self._layers)
        lw.call(
            _lw_optimizer_get_driven_values,
            *self._before,
            lw.whole("first", first),
            lw.whole("count", count),
            lw.whole("stride", stride),
            lw.pointer(values),
            len(values),
            _byte_pointer(frozen),
            len(frozen),
        )
        return values, frozen


def _whole_pointer(values: array.array[int]) -> ctypes._Pointer[ctypes.c_int64]:
    """The numbers of an array where they lie; the pointer keeps the array."""
    return ctypes.pointer(ctypes.c_int64.from_buffer(values)) if values else ctypes.POINTER(ctypes.c_int64)()


def _byte_pointer(values: bytearray) -> ctypes._Pointer[ctypes.c_uint8]:
    return ctypes.pointer(ctypes.c_uint8.from_buffer(values)) if values else ctypes.POINTER(ctypes.c_uint8)()
