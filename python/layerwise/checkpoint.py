# SPDX-License-Identifier: Apache-2.0
"""What a checkpoint holds, for programs that look into it; `Optimizer.load` puts one back."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from typing import Any

from . import _binding as lw
from ._checkpointing import Path, file_path
from .reports import LoadReport

__all__ = ["LoadReport", "describe", "split_key"]

Progress = Callable[[int, int], object]

_LONGEST_HEADER = 100_000_000
"""Of a safetensors file."""


def describe(path: Path, *, progress: Progress | None = None) -> dict[str, Any]:
    """What a checkpoint holds, after all its checksums were verified.

    All of it is of one file, also where another thread or process saves to the path meanwhile.

    Args:
        path: The file.
        progress: Called with the number of bytes read so far, and of all bytes.

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
