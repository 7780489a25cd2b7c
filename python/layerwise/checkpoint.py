# SPDX-License-Identifier: Apache-2.0
"""What a checkpoint holds, for programs that look into it; `Optimizer.load` puts one back."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from typing import Any, BinaryIO

from . import _binding as lw
from ._saved import Path, file_path
from .errors import CheckpointIOError, CorruptCheckpoint
from .reports import LoadReport

__all__ = ["LoadReport", "describe", "split_key"]

Progress = Callable[[int, int], object]

_LONGEST_HEADER = 100_000_000
"""Of a safetensors file."""


def describe(path: Path, *, progress: Progress | None = None) -> dict[str, Any]:
    """What a checkpoint holds, after all its checksums were verified.

    Args:
        path: The file.
        progress: Told of the bytes read so far, and of all, as it goes.

    Returns:
        Values as JSON has them: "format_version", "layerwise_version", "bytes", "identity" (rule, hyperparameters,
        settings, policy, schedules, freezing, layers: what an optimizer that loads it must have alike), "progress"
        (lr, next_step, counters, frozen layers: what is put back), "tensors" ("key", "dtype", "shape", "bytes",
        "crc32c") and "steps", the step count of each tensor by layer and tensor.

    Raises:
        CorruptCheckpoint: It is damaged, or not a checkpoint.
        CheckpointIOError: The operating system refused to read it.
    """
    encoded = file_path(path)
    raised: list[BaseException] = []

    def tell(done: int, total: int, _: object) -> None:
        # What is raised in here, such as by Ctrl-C, would be printed by ctypes and forgotten.
        try:
            if progress is not None and not raised:
                progress(done, total)
        except BaseException as error:
            raised.append(error)

    told = lw.lw_progress() if progress is None else lw.lw_progress(tell)
    # The file would be read again where the room is too small.
    text = lw.text(lw.lw_checkpoint_describe, encoded, told, None, room=3 * _header_size(encoded) + 4096)
    if raised:
        raise raised[0]
    description: dict[str, Any] = json.loads(text)
    description["steps"] = _steps(encoded, description["tensors"])
    return description


def split_key(key: str) -> tuple[str, str, str]:
    """Layer, tensor and state of a key, in which slashes and percent signs of names are written as in a URL."""
    layer, tensor, state = (part.replace("%2F", "/").replace("%25", "%") for part in key.split("/"))
    return layer, tensor, state


def _header_size(path: bytes) -> int:
    """As the file says; 0 where that cannot be, which the library will tell."""
    try:
        # Opening anything else might wait for somebody to write.
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            return 0
        with open(path, "rb") as file:
            size = int.from_bytes(file.read(8), "little")
    except OSError:
        return 0
    return size if size <= min(status.st_size, _LONGEST_HEADER) else 0


def _steps(path: bytes, tensors: list[dict[str, Any]]) -> dict[str, dict[str, int]]:
    """The step counts, which are tensors of their own."""
    found: dict[str, dict[str, int]] = {}
    try:
        with open(path, "rb") as file:
            start = 8 + int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(start - 8))
            _require_same(json.loads(header.pop("__metadata__")["crc32c"]), tensors, path)
            for key, entry in header.items():
                layer, tensor, state = split_key(key)
                if state == "step":
                    found.setdefault(layer, {})[tensor] = _number(file, start + entry["data_offsets"][0])
    except OSError as error:
        raise CheckpointIOError(f"cannot read {os.fsdecode(path)}: {error.strerror}") from error
    return found


def _require_same(checksums: dict[str, str], tensors: list[dict[str, Any]], path: bytes) -> None:
    if checksums != {tensor["key"]: tensor["crc32c"] for tensor in tensors}:
        raise CorruptCheckpoint(f"{os.fsdecode(path)}: the file was replaced while it was read")


def _number(file: BinaryIO, place: int) -> int:
    file.seek(place)
    return int.from_bytes(file.read(8), "little", signed=True)
