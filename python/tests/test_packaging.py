# SPDX-License-Identifier: Apache-2.0
"""An installed package is self-contained: library, types and metadata in one wheel for every Python."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import layerwise as lw
from layerwise import _binding

PYTHON = Path(__file__).parents[1]


def test_wheel(tmp_path: Path) -> None:
    source = tmp_path / "python"
    source.mkdir()
    for name in ("pyproject.toml", "setup.py", "README.md"):
        shutil.copy(PYTHON / name, source)
    shutil.copytree(PYTHON / "layerwise", source / "layerwise", ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    environment = os.environ | {"LAYERWISE_PREBUILT": _binding._library._name}
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    options = ["--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "wheel", *options, "-w", tmp_path, source], env=environment, check=True, capture_output=True)

    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.name.startswith(f"layerwise-{lw.__version__}-py3-none-")
    assert not wheel.name.endswith("-any.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if name.startswith("layerwise/")]
    assert {"layerwise/liblayerwise.so", "layerwise/py.typed", "layerwise/__init__.py"} <= set(names)
    assert all(name.endswith((".py", ".typed", ".so")) for name in names)

    target = tmp_path / "installed"
    subprocess.run([*pip, "install", *options, "--target", target, wheel], check=True, capture_output=True)
    code = "import layerwise as lw; lw.Optimizer(lw.AdamW()).step(); print(lw._binding._library._name)"
    plain = {key: value for key, value in os.environ.items() if not key.startswith("LAYERWISE_")}
    result = subprocess.run(
        [sys.executable, "-c", code],
        env=plain | {"PYTHONPATH": str(target)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert result.stdout.strip() == str(target / "layerwise" / "liblayerwise.so"), result.stderr


def test_without_swift_package_and_library_the_build_says_what_to_do(tmp_path: Path) -> None:
    source = tmp_path / "python"
    (source / "layerwise").mkdir(parents=True)
    for name in ("pyproject.toml", "setup.py", "README.md", "layerwise/__init__.py"):
        shutil.copy(PYTHON / name, source / name)
    plain = {key: value for key, value in os.environ.items() if key != "LAYERWISE_PREBUILT"}
    result = subprocess.run(
        [sys.executable, "setup.py", "-q", "build"], cwd=source, env=plain, capture_output=True, text=True
    )
    assert result.returncode != 0
    assert "LAYERWISE_PREBUILT" in result.stderr
