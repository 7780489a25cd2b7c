# SPDX-License-Identifier: Apache-2.0
"""A damaged file is refused by every way in, and changes nothing; what is read is never run.

Tests/C/damage.c flips every bit in memory; here the damage comes from a disk.
"""

from __future__ import annotations

import ast
import os
from array import array
from collections.abc import Iterator
from pathlib import Path

import pytest

import layerwise as lw
from layerwise.checkpoint import describe

PACKAGE = Path(lw.__file__).parent


@pytest.fixture
def optimizer() -> Iterator[lw.Optimizer]:
    """An optimizer with some history."""
    with lw.Optimizer(lw.AdamW(lr=0.1)) as made:
        made.add_layer("a", {"w": array("f", [1.0, 2.0, 3.0])}, {"w": array("f", [0.5, 0.25, 0.125])})
        for _ in range(3):
            made.step()
        yield made


@pytest.fixture
def checkpoint(optimizer: lw.Optimizer, tmp_path: Path) -> Path:
    """What it has saved; since then it has stepped on, so that whatever is put back can be seen."""
    path = tmp_path / "checkpoint"
    optimizer.save(path, parameters=True)
    optimizer.step()
    return path


def refused(optimizer: lw.Optimizer, path: Path) -> None:
    """No way of reading the file takes it."""
    with pytest.raises(lw.CorruptCheckpoint, match="checkpoint"):
        optimizer.load(path)
    with pytest.raises(lw.CorruptCheckpoint, match="checkpoint"):
        optimizer.load(path, strict=False, convert=True)
    with pytest.raises(lw.CorruptCheckpoint, match="checkpoint"):
        describe(path)


def test_every_byte_of_a_file(optimizer: lw.Optimizer, checkpoint: Path) -> None:
    before = optimizer.to_bytes(parameters=True)
    whole = checkpoint.read_bytes()
    with checkpoint.open("r+b", buffering=0) as file:
        for place, byte in enumerate(whole):
            os.pwrite(file.fileno(), bytes([byte ^ 1 << place % 8]), place)
            refused(optimizer, checkpoint)
            os.pwrite(file.fileno(), bytes([byte]), place)
    assert optimizer.to_bytes(parameters=True) == before
    # It was the damage that was refused.
    optimizer.load(checkpoint)
    assert optimizer.to_bytes(parameters=True) == whole


def test_every_length_of_a_file(optimizer: lw.Optimizer, checkpoint: Path) -> None:
    before = optimizer.to_bytes(parameters=True)
    whole = checkpoint.read_bytes()
    checkpoint.write_bytes(whole + b"\0")
    refused(optimizer, checkpoint)
    for length in reversed(range(len(whole))):
        os.truncate(checkpoint, length)
        refused(optimizer, checkpoint)
    assert optimizer.to_bytes(parameters=True) == before


# ---- No code in a file --------------------------------------------------------------------------------------------

RUNS_WHAT_IT_READS = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "code"}
RUNS_TEXT = {"eval", "exec", "compile", "__import__"}
READS_OBJECTS = {"torch.load", "numpy.load", "np.load", "runpy.run_path", "importlib.import_module"}


def code_from_outside(source: str) -> list[str]:
    """Where a module could run what it reads: imports, calls and names, with their lines.

    The methods by which `pickle` copies an optimizer are not among them: they read nothing.
    """
    found = []
    for node in ast.walk(ast.parse(source)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names if alias.name.partition(".")[0] in RUNS_WHAT_IT_READS]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in RUNS_WHAT_IT_READS:
            names = [node.module or ""]
        elif isinstance(node, ast.Name) and node.id in RUNS_TEXT:
            names = [node.id]
        elif isinstance(node, ast.Attribute) and ast.unparse(node) in READS_OBJECTS:
            names = [ast.unparse(node)]
        found += [f"line {node.lineno}: {name}" for name in names]  # type: ignore[attr-defined]
    return found


WRITES_INITIALISERS = "_values.py"
"""It runs the text of ``__init__``, which it makes of the names of fields as `dataclasses` does, and nothing else."""


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_nothing_that_is_read_is_run(path: Path) -> None:
    found = [what.partition(": ")[2] for what in code_from_outside(path.read_text(encoding="utf-8"))]
    assert found == (["exec"] if path.name == WRITES_INITIALISERS else [])


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "import os, pickle as p",
        "from marshal import loads",
        "def f(text):\n    return eval(text)",
        "run = exec",
        "import torch\ntorch.load('x')",
    ],
)
def test_what_would_run_is_found(source: str) -> None:
    assert code_from_outside(source) != []
