# SPDX-License-Identifier: Apache-2.0
"""Finding and loading the library: what is tried, what is said when it fails, what is left alone."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import layerwise as lw
from layerwise import _binding, _library

LIBRARY = Path(_binding._library._name)


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    path = str(Path(lw.__file__).parent.parent)
    env = {key: value for key, value in os.environ.items() if not key.startswith(("LAYERWISE_", "SWIFT_"))}
    return subprocess.run(
        [sys.executable, "-c", code],
        env=env | {"PYTHONPATH": path, "LAYERWISE_LIBRARY": str(LIBRARY)} | environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


def import_error(library: Path) -> str:
    result = run("import layerwise", LAYERWISE_LIBRARY=str(library))
    assert result.returncode != 0
    assert "ImportError: the Layerwise library could not be loaded" in result.stderr
    assert f"{library}: " in result.stderr
    assert "LAYERWISE_LIBRARY" in result.stderr
    return result.stderr


def compile_library(folder: Path, source: str) -> Path:
    library = folder / "liblayerwise.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-x", "c", "-", "-o", str(library)], input=source, text=True, check=True)
    return library


def test_versions_agree() -> None:
    assert _binding.lw_version().decode() == lw.__version__
    assert _binding.lw_abi_version() == _library.ABI_VERSION


@pytest.mark.spawns
def test_missing_file(tmp_path: Path) -> None:
    assert "does not exist" in import_error(tmp_path / "nowhere.so")


@pytest.mark.spawns
def test_damaged_file(tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.so"
    damaged.write_bytes(b"not a library")
    assert "refused by the loader" in import_error(damaged)


@pytest.mark.spawns
def test_another_library(tmp_path: Path) -> None:
    library = compile_library(tmp_path, "int other(void) { return 0; }")
    assert "not Layerwise" in import_error(library)


@pytest.mark.spawns
def test_another_abi(tmp_path: Path) -> None:
    library = compile_library(tmp_path, "int lw_abi_version(void) { return 999; }")
    assert "ABI version 999, this package needs 1" in import_error(library)


@pytest.mark.spawns
def test_the_library_beside_the_package_is_the_default() -> None:
    code = "from layerwise import _library; print(*_library.candidates())"
    beside = Path(lw.__file__).absolute().parent / "liblayerwise.so"
    assert run(code, LAYERWISE_LIBRARY="").stdout.strip() == str(beside) or not beside.exists()


@pytest.mark.spawns
def test_load_leaves_signals_and_the_environment_alone() -> None:
    code = """
import os
def caught():
    return next(line for line in open("/proc/self/status") if line.startswith("SigCgt"))
before, environment = caught(), dict(os.environ)
import layerwise
assert caught() == before, (before, caught())
assert dict(os.environ) == environment
"""
    result = run(code)
    assert result.returncode == 0, result.stderr


@pytest.mark.spawns
def test_import_needs_no_framework() -> None:
    code = "import sys, layerwise; assert not {'numpy', 'torch'} & set(sys.modules)"
    assert run(code).returncode == 0


@pytest.mark.spawns
def test_what_the_library_can_do() -> None:
    assert lw.instruction_set() in ("avx512", "avx2", "neon", "baseline")
    assert lw.available_threads() >= 1
    assert run("import layerwise; print(layerwise.instruction_set())", LAYERWISE_ISA="baseline").stdout == "baseline\n"
