# SPDX-License-Identifier: Apache-2.0
"""What a safetensors file holds, without reading any of its numbers."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from zipfile import is_zipfile

from .errors import InvalidArgument

_FLOATS = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
_STATISTICS = ("running_mean", "running_var")
"""Names of floating-point tensors that a model keeps beside its parameters."""


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor of a file: `Optimizer.add_layer` takes it in a dry run.

    Attributes:
        shape: Its extents.
        dtype: As NumPy calls it where it is a floating-point type of the library, else as safetensors does.
    """

    shape: tuple[int, ...]
    dtype: str


def read(path: Path) -> dict[str, StoredTensor]:
    """The tensors of a file, or of the files that an index of shards (`model.safetensors.index.json`) lists, by name.

    Raises:
        ImportError: safetensors is not installed.
        InvalidArgument: There is no such file, or it is none of these.
    """
    tensors = _read_shards(path) if path.suffix == ".json" else _read_file(path)
    if not tensors:
        raise InvalidArgument(f"{path}: holds no tensors")
    return tensors


def untrained(tensors: dict[str, StoredTensor]) -> dict[str, str]:
    """Those that no step is for: integers and the like, by their type, and the statistics that norms keep."""
    found = {}
    for name, tensor in tensors.items():
        if tensor.dtype not in _FLOATS.values():
            found[name] = tensor.dtype
        elif name.rpartition(".")[2] in _STATISTICS:
            found[name] = "statistics"
    return found


def _read_file(path: Path, names: Iterable[str] | None = None) -> dict[str, StoredTensor]:
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError as error:
        raise ImportError('checkpoints are read with safetensors: pip install "layerwise[preview]"') from error
    if path.is_dir():
        raise InvalidArgument(f"{path}: a folder; expected a file such as {path / 'model.safetensors'}")
    try:
        with safe_open(path, "numpy") as file:
            slices = {name: file.get_slice(name) for name in (file.keys() if names is None else names)}
            return {
                name: StoredTensor(tuple(part.get_shape()), _FLOATS.get(part.get_dtype(), part.get_dtype()))
                for name, part in slices.items()
            }
    except FileNotFoundError:
        raise InvalidArgument(f"{path}: no such file") from None
    except (OSError, SafetensorError) as error:
        if is_zipfile(path):
            raise InvalidArgument(
                f"{path}: not a safetensors file but a zip archive, as torch.save writes: save the tensors with "
                "safetensors.torch.save_file"
            ) from None
        raise InvalidArgument(f"{path}: cannot be read as safetensors: {error}") from None


def _read_shards(path: Path) -> dict[str, StoredTensor]:
    try:
        places = json.loads(path.read_text("utf-8"))["weight_map"]
        by_file: dict[Path, list[str]] = {}
        for name, file in places.items():
            by_file.setdefault(path.parent / file, []).append(name)
    except FileNotFoundError:
        raise InvalidArgument(f"{path}: no such file") from None
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        raise InvalidArgument(
            f"{path}: not an index of safetensors files, which has a weight_map from tensor to file"
        ) from None
    found: dict[str, StoredTensor] = {}
    for file, names in by_file.items():
        found |= _read_file(file, names)
    return {name: found[name] for name in places}
