# SPDX-License-Identifier: Apache-2.0
"""What the READMEs show is what happens: every block of code is compiled, run, and prints something.

So is the C of the pages in docs, whose Python is tried in `test_docs`.
"""

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

import layerwise as lw
from layerwise import _binding

ROOT = Path(__file__).parents[2]
LIBRARY = Path(_binding._library._name).resolve()
PAGES = (
    "docs/layers.md",
    "docs/policies.md",
    "docs/schedules.md",
    "docs/freezing.md",
    "docs/coming-from.md",
    "docs/checkpoints.md",
    "docs/torch.md",
    "docs/anywhere.md",
)


def blocks(language: str, *files: str) -> list[object]:
    """Every block of one language, named by file and line; each of the files must have one."""
    found: list[object] = []
    for file in files:
        text = (ROOT / file).read_text("utf-8")
        matches = list(re.finditer(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE))
        assert matches, f"{file} has no block of {language}"
        for match in matches:
            line = text.count("\n", 0, match.start()) + 1
            found.append(pytest.param(match[1], id=f"{file}:{line}"))
    return found


def output(command: Sequence[str | Path], folder: Path, **environment: str) -> str:
    """What a command prints; it must succeed."""
    result = subprocess.run(
        command, cwd=folder, env=os.environ | environment, capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


INSTALL = "docs/install.md"


def test_every_block_is_of_a_known_language() -> None:
    """So that none is passed over because its first line is spelled another way."""
    for file in ("README.md", "python/README.md", INSTALL, *PAGES):
        fences = re.findall(r"^```(.*)$", (ROOT / file).read_text("utf-8"), re.MULTILINE)
        assert set(fences[::2]) <= {"python", "c", "cpp", "swift", "sh", "text"}, file
        assert set(fences[1::2]) == {""}, file


@pytest.mark.parametrize("code", blocks("python", "README.md", "python/README.md"))
def test_python(code: str, tmp_path: Path) -> None:
    package = str(Path(lw.__file__).parent.parent)
    assert output([sys.executable, "-W", "error", "-c", code], tmp_path, PYTHONPATH=package).strip()


C_PAGES = ("README.md", "docs/policies.md", "docs/schedules.md", "docs/freezing.md", "docs/checkpoints.md", INSTALL)


WARNINGS = ("-Wall", "-Wextra", "-Werror", "-pedantic")


def compiled(code: str, folder: Path, source: str, *compiler: str) -> str:
    """What the program prints."""
    (folder / source).write_text(code, "utf-8")
    # The name under which the program looks for the library when it starts, as an installation would have it.
    soname = re.search(r"SONAME\s+(\S+)", output(["objdump", "-p", LIBRARY], folder))
    assert soname
    (folder / soname[1]).symlink_to(LIBRARY)
    output([*compiler, *WARNINGS, f"-I{ROOT / 'include'}", source, LIBRARY, "-o", "readme"], folder)
    return output([folder / "readme"], folder, LD_LIBRARY_PATH=str(folder)).strip()


@pytest.mark.parametrize("code", blocks("c", *C_PAGES))
def test_c(code: str, tmp_path: Path) -> None:
    assert compiled(code, tmp_path, "readme.c", "cc", "-std=c99")


@pytest.mark.parametrize("code", blocks("cpp", INSTALL))
def test_cpp(code: str, tmp_path: Path) -> None:
    strict = ("-Wold-style-cast", "-Wzero-as-null-pointer-constant")
    assert compiled(code, tmp_path, "readme.cpp", "g++", "-std=c++17", *strict)


@pytest.mark.parametrize("code", blocks("swift", "README.md"))
def test_swift(code: str, tmp_path: Path) -> None:
    """In a package that depends on this one, as a user's would."""
    (tmp_path / "Package.swift").write_text(
        f"""// swift-tools-version: 6.3
import PackageDescription

let package = Package(
    name: "readme",
    dependencies: [.package(name: "layerwise", path: "{ROOT}")],
    targets: [
        .executableTarget(name: "readme", dependencies: [.product(name: "Layerwise", package: "layerwise")])
    ]
)
""",
        "utf-8",
    )
    source = tmp_path / "Sources" / "readme" / "main.swift"
    source.parent.mkdir(parents=True)
    source.write_text(code, "utf-8")
    assert output(["swift", "run", "--package-path", str(tmp_path)], tmp_path).strip()
