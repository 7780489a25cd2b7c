# SPDX-License-Identifier: Apache-2.0
"""Saving and loading an optimizer: the methods of `Optimizer` that deal with checkpoints.

The library writes, reads, checks and compares; here paths, options and names are brought into its form.
"""

from __future__ import annotations

import ctypes
import json
import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from . import _binding as lw
from . import _settings
from ._buffers import _address as address_of
from ._registry import Watch
from .errors import BusyOptimizer, CheckpointMismatch, InvalidArgument, OutOfMemory
from .reports import LoadReport

Path = str | os.PathLike[str]

_STATE = "checkpoint"
"""The key of a state dict."""

# Bytes to be filled before anybody sees them; a bytearray would be zeroed first, and copied at the end.
_new_bytes = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_char_p, ctypes.c_ssize_t)(
    ("PyBytes_FromStringAndSize", ctypes.pythonapi)
)
_start_of = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object)(("PyBytes_AsString", ctypes.pythonapi))


class Saved:
    """What an optimizer has to do with checkpoints; docs/checkpoints.md has the format."""

    _handle: Any
    _watches: tuple[Watch, Watch] | None

    if TYPE_CHECKING:

        def _watch(self) -> tuple[Watch, Watch]: ...

    def save(self, path: Path, *, parameters: bool = False, require_finite: bool = False) -> None:
        """Save everything that the next step depends on: a run that loads it goes on with the same bits.

        Moments, master copies, step counts, the rule and every setting, the policy, schedules and what reports have
        left in them, freezing, counters.  Not the number of threads, and nothing that was only shown, such as
        telemetry.  Whatever happens meanwhile, a process killed or a disk full, the file at `path` is the old one or
        the new one, complete; when the call returns, the new one is on the disk.  Other threads of Python go on, and
        any number of threads and processes may save to one path.

        Args:
            path: The file; one that is there is replaced, and its mode kept.
            parameters: The parameters too.
            require_finite: Refuse to save a NaN or an infinity, and so to replace a good file with a useless one.

        Raises:
            NonFiniteGradient: A state, or a parameter that would be saved, holds a NaN or an infinity; `layer` and
                `tensor` say where.  Only with `require_finite`.
            CheckpointIOError: The operating system refused; the old file is as it was.
            OutOfMemory: There is no memory for the work.
        """
        options = _flags(parameters=parameters, require_finite=require_finite)
        self._check_parameters(parameters)
        lw.call(lw.lw_optimizer_save, self._handle, file_path(path), *options)

    def load(
        self,
        path: Path,
        *,
        strict: bool = True,
        convert: bool = False,
        rename: Mapping[str, str] | None = None,
    ) -> LoadReport:
        """Put a checkpoint back into an optimizer that was set up as the one that saved it.

        Rule, settings, policy, schedules and freezing plan must be the same, and so must the layers by name, with
        their tensors; the order of registration matters only where depths follow from it.  Everything is checked
        before anything is changed, checksums included.  Parameters are restored where the checkpoint has them, in the
        memory in which they lie.

        Args:
            path: The file.
            strict: Refuse a checkpoint that differs in anything.  With False, what matches by name, shape and type is
                loaded, and everything else is left as it is.  A tensor's step count and moments are loaded together or
                not at all; where the checkpoint holds parameters, a master copy does not come without them, and
                parameters without their master copy become the master copy.
            convert: Take states and parameters of another floating-point type, rounded to nearest.
            rename: Layers that have another name here: from the name in the checkpoint to the name here.

        Returns:
            What was loaded, and what not.

        Raises:
            CheckpointMismatch: It is of another optimizer; `differences` lists the first 10,000.
            CorruptCheckpoint: It is damaged, or not a checkpoint.
            CheckpointIOError: The operating system refused to read it.
            OutOfMemory: There is no memory for the work, or none for the tensors of the file.
        """
        return self._load(lw.lw_optimizer_load, (file_path(path),), strict, convert, rename)

    def to_bytes(self, *, parameters: bool = False, require_finite: bool = False) -> bytes:
        """What `save` writes, in memory."""
        options = _flags(parameters=parameters, require_finite=require_finite)
        self._check_parameters(parameters)
        data, start, needed = b"", None, ctypes.c_int64()
        while True:
            error = lw.new_error()
            code = lw.lw_optimizer_export(self._handle, start, len(data), needed, *options, error)
            if not code:
                # It may have become shorter since its size was asked for.
                return data if len(data) == needed.value else data[: needed.value]
            if code != lw.ERROR_BUFFER_TOO_SMALL or needed.value <= len(data):
                raise lw.failure(code, error)
            try:
                data = _new_bytes(None, needed.value)
            except MemoryError:
                raise OutOfMemory(f"a checkpoint of {needed.value} bytes needs more memory than there is") from None
            start = _start_of(data)

    def load_bytes(
        self,
        data: object,
        *,
        strict: bool = True,
        convert: bool = False,
        rename: Mapping[str, str] | None = None,
    ) -> LoadReport:
        """What `load` does, from memory: bytes, or any contiguous buffer, which must not be written meanwhile."""
        try:
            view = memoryview(data)  # type: ignore[arg-type]
        except TypeError:
            raise TypeError(f"data: expected the bytes of a checkpoint, found {type(data).__name__}") from None
        if not view.c_contiguous:
            raise InvalidArgument("data: must be contiguous in row-major order; it is a strided view")
        return self._load(lw.lw_optimizer_import, (address_of(view), view.nbytes), strict, convert, rename)

    def state_dict(self, *, parameters: bool = False) -> dict[str, Any]:
        """The bytes of `to_bytes` in a dict, as other optimizers have it, to be stored beside a model's own.

        `pickle` and `torch.save` carry it, and `torch.load` reads it with `weights_only=True`.  It holds one value, the
        bytes of a checkpoint, and not a tree of arrays: so it keeps its checksums, needs no other package for
        bfloat16, and can be looked into by whatever reads safetensors, as with `safetensors.numpy.load`.
        """
        return {_STATE: self.to_bytes(parameters=parameters)}

    def load_state_dict(
        self,
        state: Mapping[str, Any],
        *,
        strict: bool = True,
        convert: bool = False,
        rename: Mapping[str, str] | None = None,
    ) -> LoadReport:
        """Put back what `state_dict` gave, as `load` does."""
        if not isinstance(state, Mapping):
            raise TypeError(f"state: expected what state_dict() gave, found {type(state).__name__}")
        if set(state) != {_STATE}:
            found = ", ".join(map(repr, state)) or "nothing"
            raise InvalidArgument(
                f'state: expected what state_dict() gave, which has the key "{_STATE}", found {found}'
            )
        return self.load_bytes(state[_STATE], strict=strict, convert=convert, rename=rename)

    def _load(
        self,
        function: lw.NativeFunction,
        source: tuple[Any, ...],
        strict: bool,
        convert: bool,
        rename: Mapping[str, str] | None,
    ) -> LoadReport:
        options, renames = _flags(strict=strict, convert=convert), _renames(rename)
        self._check_parameters(True)
        try:
            lw.call(function, self._handle, *source, *options, *renames)
        except CheckpointMismatch as error:
            error.differences = self._load_report().problems
            raise
        return self._load_report()

    def _load_report(self) -> LoadReport:
        while True:
            # The load is over, so that another thread may already be inside a step.
            try:
                lists = json.loads(lw.text(lw.lw_optimizer_get_load_report, self._handle))
            except BusyOptimizer:
                time.sleep(1e-4)
            else:
                return LoadReport(**{key: tuple(texts) for key, texts in lists.items()})

    def _check_parameters(self, wanted: bool) -> None:
        """Refuse to touch parameters whose memory was exchanged behind our back."""
        if wanted:
            parameters, _ = self._watches or self._watch()
            if parameters.tensors:
                parameters.check()


def file_path(path: Path) -> bytes:
    """A path as the library takes it."""
    encoded = os.fsencode(path)
    if b"\0" in encoded:
        raise InvalidArgument(f"{path!r}: a path cannot hold a NUL character")
    return encoded


def _flags(**options: bool) -> tuple[Any, int]:
    for key, value in options.items():
        # Any number would pass as a flag, and so would the result of a comparison of arrays.
        if not isinstance(value, bool):
            raise TypeError(f"{key}: expected True or False, found {value!r}")
    return _settings.pack(options.items())


def _renames(rename: Mapping[str, str] | None) -> tuple[Any, int]:
    if rename is None:
        return None, 0
    if not isinstance(rename, Mapping):
        raise TypeError(f"rename: expected a mapping from name to name, found {type(rename).__name__}")
    rows = lw.array_type(lw.lw_rename, len(rename))()
    for row, (before, after) in zip(rows, rename.items(), strict=True):
        row.from_, row.to = lw.name(before), lw.name(after)
    return rows, len(rows)
