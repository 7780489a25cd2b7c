# SPDX-License-Identifier: Apache-2.0
"""An import is quick: it loads few modules, and compiles nothing for classes that are not used."""

import subprocess
import sys
from pathlib import Path

import pytest

import layerwise as lw

pytestmark = pytest.mark.spawns

PACKAGE = str(Path(lw.__file__).parent.parent)


def printed(code: str) -> list[str]:
    """The words that a fresh interpreter prints, without what its site-packages load."""
    command = [sys.executable, "-S", "-c", f"import sys\nsys.path.insert(0, {PACKAGE!r})\n{code}"]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.split()


def test_few_modules_are_imported() -> None:
    names = printed("before = set(sys.modules)\nimport layerwise\nprint(*sorted(set(sys.modules) - before))")
    ours = [name for name in names if name.partition(".")[0] == "layerwise"]
    others = {name for name in names if name not in ours}
    # 23 and 63 with CPython 3.11; a new one should be worth its time.
    assert len(ours) <= 32
    assert len(others) <= 75
    # What the package uses in some calls only, and what is slow to import.
    assert not {name.partition(".")[0] for name in others} & {
        "argparse",
        "asyncio",
        "difflib",
        "logging",
        "matplotlib",
        "numpy",
        "pathlib",
        "subprocess",
        "tempfile",
        "torch",
        "urllib",
    }


def test_torch_classes_import_nothing_but_the_package() -> None:
    code = "import torch\nbefore = set(sys.modules)\nimport layerwise.torch\nprint(*sorted(set(sys.modules) - before))"
    names = subprocess.run(
        [sys.executable, "-c", f"import sys\nsys.path.insert(0, {PACKAGE!r})\n{code}"],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    ).stdout.split()
    ours = [name for name in names if name.partition(".")[0] == "layerwise"]
    assert len(ours) <= 60
    assert set(names) - set(ours) <= {"_ctypes", "ctypes", "array", "copyreg", "difflib", "json", "json.decoder"}


def test_nothing_is_compiled_for_classes_that_are_not_used() -> None:
    code = """
import dataclasses
import layerwise as lw
classes = [value for value in map(lw.__dict__.get, lw.__all__) if dataclasses.is_dataclass(value)]
kinds = lw.Rule, lw.Schedule, lw.Policy, lw.FreezePlan
print(*(cls.__name__ for cls in classes if issubclass(cls, kinds) and cls.__init__.__name__ == "__init__"))
"""
    # Those whose __init__ is written out, since they take any number of values.
    assert set(printed(code)) <= {"Combine", "Product", "RateSlice"}
