# SPDX-License-Identifier: Apache-2.0
"""An installed package is self-contained: library, types and metadata in one wheel for every Python."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import layerwise as lw
from layerwise import _binding

PYTHON = Path(__file__).parents[1]
LIBRARY = _binding._library._name
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
OFFLINE = ["--no-deps", "--no-build-isolation", "--no-index"]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """The Python folder as in a fresh checkout."""
    folder = tmp_path / "checkout" / "python"
    folder.mkdir(parents=True)
    for name in ("pyproject.toml", "setup.py", "README.md"):
        shutil.copy(PYTHON / name, folder)
    shutil.copytree(PYTHON / "layerwise", folder / "layerwise", ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    return folder


def environment(**changes: str) -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if not key.startswith("LAYERWISE_")} | changes


def wheel(source: Path, **changes: str) -> Path:
    out = source.parents[1]
    subprocess.run(
        [*PIP, "wheel", *OFFLINE, "-w", out, source], env=environment(**changes), check=True, capture_output=True
    )
    (found,) = out.glob("*.whl")
    return found


def contents(archive: Path) -> set[str]:
    with zipfile.ZipFile(archive) as opened:
        return {name for name in opened.namelist() if name.startswith("layerwise/")}


def test_a_wheel_is_self_contained(source: Path, tmp_path: Path) -> None:
    built = wheel(source, LAYERWISE_PREBUILT=LIBRARY)
    assert built.name.startswith(f"layerwise-{lw.__version__}-py3-none-")
    assert not built.name.endswith("-any.whl")
    names = contents(built)
    assert {"layerwise/liblayerwise.so", "layerwise/py.typed", "layerwise/__init__.py"} <= names
    assert all(name.endswith((".py", ".typed", ".so")) for name in names)

    target = tmp_path / "installed"
    subprocess.run([*PIP, "install", *OFFLINE, "--target", target, built], check=True, capture_output=True)
    code = "import layerwise as lw; lw.Optimizer(lw.AdamW()).step(); print(lw._binding._library._name)"
    result = subprocess.run(
        [sys.executable, "-c", code],
        env=environment(PYTHONPATH=str(target)),
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert result.stdout.strip() == str(target / "layerwise" / "liblayerwise.so"), result.stderr


def test_a_checkout_builds_the_library_with_swift(source: Path, tmp_path: Path) -> None:
    """A stand-in for `swift` notes how it is called and delivers the library."""
    (source.parent / "Package.swift").touch()
    tools = tmp_path / "tools"
    tools.mkdir()
    swift = tools / "swift"
    swift.write_text(
        f'#!/bin/sh\necho "$PWD: $*" > {tools}/call\nmkdir -p .build_shared/release\n'
        f"cp {LIBRARY} .build_shared/release/liblayerwise.so\n"
    )
    swift.chmod(0o755)
    built = wheel(source, PATH=f"{tools}{os.pathsep}{os.environ['PATH']}")
    folder, _, arguments = (tools / "call").read_text().strip().partition(": ")
    assert folder == str(source.parent)
    assert arguments == ("build -c release -Xswiftc -static-stdlib --scratch-path .build_shared --product layerwise")
    assert "layerwise/liblayerwise.so" in contents(built)


def test_without_swift_package_and_library_the_build_says_what_to_do(source: Path) -> None:
    result = subprocess.run(
        [sys.executable, "setup.py", "-q", "build"], cwd=source, env=environment(), capture_output=True, text=True
    )
    assert result.returncode != 0
    assert "LAYERWISE_PREBUILT" in result.stderr
