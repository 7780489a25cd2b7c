# SPDX-License-Identifier: Apache-2.0
"""An optimizer as it was at one moment, in memory."""

from __future__ import annotations

import ctypes
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn

from . import _binding as lw
from .errors import LayerwiseError

if TYPE_CHECKING:
    from .freezing import FreezePlan
    from .optimizer import Optimizer
    from .policy import Policy
    from .schedule import Schedule


class Snapshot:
    """What `Optimizer.snapshot` copies: everything that the results of later steps depend on.

    `Optimizer.restore` puts it back any number of times.  The memory is freed with the object, or by `close`.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self._handle = lw.SnapshotHandle()
        lw.call(lw.lw_optimizer_snapshot, optimizer._handle, ctypes.byref(self._handle))
        self._finalizer = weakref.finalize(self, _destroy, self._handle)
        # The library knows policies and schedules; these are the objects that stand for them here.
        self._policy: Policy = optimizer._policy
        self._freezing: FreezePlan | None = optimizer._freezing
        self._schedules: dict[str, Schedule] = dict(optimizer._schedules)
        self._layer_schedules = [dict(layer.schedules) for layer in optimizer._layers]

    def _restore(self, optimizer: Optimizer) -> None:
        lw.call(lw.lw_optimizer_restore, optimizer._handle, self._handle)
        optimizer._policy, optimizer._freezing = self._policy, self._freezing
        optimizer._schedules = dict(self._schedules)
        for layer, schedules in zip(optimizer._layers, self._layer_schedules, strict=True):
            layer.schedules = dict(schedules)

    @property
    def nbytes(self) -> int:
        """The bytes that its copies of parameters and states take."""
        size = ctypes.c_int64()
        lw.call(lw.lw_snapshot_get_size, self._handle, ctypes.byref(size))
        return size.value

    def close(self) -> None:
        """Free the memory.  Closing twice is harmless; to restore it then raises ClosedOptimizer."""
        if self._finalizer.alive:
            lw.call(lw.lw_snapshot_destroy, self._handle)
            self._finalizer.detach()

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a snapshot is of one optimizer in one process: save a checkpoint in its place")

    def __repr__(self) -> str:
        return f"<layerwise.Snapshot: {self.nbytes} bytes>" if self._finalizer.alive else "<layerwise.Snapshot: closed>"


def _destroy(handle: object) -> None:
    """Free a snapshot that was not closed."""
    with suppress(LayerwiseError):
        lw.call(lw.lw_snapshot_destroy, handle)
