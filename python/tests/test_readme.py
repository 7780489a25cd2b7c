# SPDX-License-Identifier: Apache-2.0
"""Every block of code in the READMEs and on the pages of docs is run, and prints what the page shows.

Python of the pages is run in `test_docs`, where the blocks of a page share their names.
"""

import os
import re
import sys
from pathlib import Path

import pytest
from support.pages import PAGES, READMES, ROOT, RUN, SHOWN, Block, blocks, check_output, output, runnable

import layerwise as lw
from layerwise import _binding

LIBRARY = Path(_binding._library._name).resolve()
WARNINGS = ("-Wall", "-Wextra", "-Werror", "-pedantic")


@pytest.mark.parametrize("page", PAGES)
def test_every_block_is_of_a_known_language(page: str) -> None:
    """A block whose first line is spelled another way would not be run."""
    fences = re.findall(r"^ *(```|~~~)(.*)$", (ROOT / page).read_text("utf-8"), re.MULTILINE)
    assert len(fences) == 2 * sum(1 + (block.output is not None) for block in blocks(page))
    assert {block.language for block in blocks(page)} <= {*RUN, *SHOWN}


@pytest.mark.spawns
@pytest.mark.parametrize("block", [pytest.param(block, id=block.id) for block in runnable("python", READMES)])
def test_python(block: Block, tmp_path: Path) -> None:
    """Each by itself, as a reader copies it."""
    package = str(Path(lw.__file__).parent.parent)
    assert output([sys.executable, "-W", "error", "-c", block.code], tmp_path, PYTHONPATH=package).strip()


def compiled(block: Block, folder: Path, source: str, *compiler: str) -> None:
    """Compile and run a program, which must print something."""
    (folder / source).write_text(block.code, "utf-8")
    # The name under which the program looks for the library when it starts, as an installation would have it.
    soname = re.search(r"SONAME\s+(\S+)", output(["objdump", "-p", LIBRARY], folder))
    assert soname
    (folder / soname[1]).symlink_to(LIBRARY)
    output([*compiler, *WARNINGS, f"-I{ROOT / 'include'}", source, LIBRARY, "-o", "program"], folder)
    printed = output([folder / "program"], folder, LD_LIBRARY_PATH=str(folder))
    assert printed.strip()
    check_output(block, printed)


@pytest.mark.spawns
@pytest.mark.parametrize("block", [pytest.param(block, id=block.id) for block in runnable("c")])
def test_c(block: Block, tmp_path: Path) -> None:
    compiled(block, tmp_path, "program.c", "cc", "-std=c99")


@pytest.mark.spawns
@pytest.mark.parametrize("block", [pytest.param(block, id=block.id) for block in runnable("cpp")])
def test_cpp(block: Block, tmp_path: Path) -> None:
    strict = ("-Wold-style-cast", "-Wzero-as-null-pointer-constant")
    compiled(block, tmp_path, "program.cpp", "g++", "-std=c++17", *strict)


PROGRAMS = {f"program{index}": block for index, block in enumerate(runnable("swift"))}
BUILD = ROOT / ".build_shared" / "release"
PARTS = ("Layerwise", "LayerwiseRules", "LayerwisePlatform", "LayerwiseKernels*", "CLayerwiseKernels")


@pytest.mark.spawns
@pytest.mark.parametrize("name", PROGRAMS)
def test_swift(name: str, tmp_path: Path) -> None:
    """Each is compiled with the module that `make build` has made, of which it sees what is public."""
    assert {block.page for block in PROGRAMS.values()} == {"README.md", "docs/swift.md"}
    block = PROGRAMS[name]
    (tmp_path / "main.swift").write_text(block.code, "utf-8")
    objects = [object for part in PARTS for object in sorted(BUILD.glob(f"{part}.build/*.o"))]
    (tmp_path / "objects").write_text("\n".join(map(str, objects)), "utf-8")
    modules = [
        "-I",
        BUILD / "Modules",
        "-Xcc",
        f"-fmodule-map-file={BUILD / 'CLayerwiseKernels.build/module.modulemap'}",
    ]
    output(["swiftc", "-swift-version", "6", *modules, "main.swift", "@objects", "-o", "program"], tmp_path)
    printed = output([tmp_path / "program"], tmp_path)
    assert printed.strip()
    check_output(block, printed)


@pytest.mark.spawns
@pytest.mark.skipif(
    "LAYERWISE_PACKAGE" not in os.environ, reason="builds the whole library again: a part of `make test`"
)
def test_swift_package(tmp_path: Path) -> None:
    """All programs are built at once, in a package that depends on this one, as a user's would."""
    programs = PROGRAMS
    targets = "".join(
        f"""
        .executableTarget(name: "{name}", dependencies: [.product(name: "Layerwise", package: "layerwise")]),"""
        for name in programs
    )
    (tmp_path / "Package.swift").write_text(
        f"""// swift-tools-version: 6.3
import PackageDescription

let package = Package(
    name: "readme",
    dependencies: [.package(name: "layerwise", path: "{ROOT}")],
    targets: [{targets}
    ]
)
""",
        "utf-8",
    )
    for name, block in programs.items():
        source = tmp_path / "Sources" / name / "main.swift"
        source.parent.mkdir(parents=True)
        source.write_text(block.code, "utf-8")
    # Without what debuggers and editors need.
    flags = ["--disable-index-store", "-debug-info-format", "none"]
    output(["swift", "build", "--package-path", str(tmp_path), *flags], tmp_path)
    for name, block in programs.items():
        printed = output([tmp_path / ".build" / "debug" / name], tmp_path)
        assert printed.strip()
        check_output(block, printed)
