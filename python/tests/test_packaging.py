# SPDX-License-Identifier: Apache-2.0
"""An installed package is self-contained: library, types and metadata in one wheel for every Python.

`Tests/Scripts/check-wheel.sh` installs the wheel that is published, and uses it.
"""

import email
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import layerwise as lw
from layerwise import _binding

pytestmark = pytest.mark.spawns

PYTHON = Path(__file__).parents[1]
ROOT = PYTHON.parent
LIBRARY = _binding._library._name
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
OFFLINE = ["--no-deps", "--no-build-isolation", "--no-index"]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """The Python folder as in a fresh checkout."""
    folder = tmp_path / "checkout" / "python"
    folder.mkdir(parents=True)
    for name in ("pyproject.toml", "setup.py", "README.md", "MANIFEST.in", "LICENSE", "layerwise_command.py"):
        shutil.copy(PYTHON / name, folder)
    shutil.copytree(PYTHON / "licenses", folder / "licenses")
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


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A folder for stand-ins of `swift`."""
    folder = tmp_path / "tools"
    folder.mkdir()
    return folder


def stand_in(tools: Path, version: str = "6.3.1") -> str:
    """A `swift` that notes how it is called and delivers the library; what PATH must be to find it."""
    swift = tools / "swift"
    swift.write_text(
        f"""#!/bin/sh
if [ "$1" = --version ]; then
    echo "Swift version {version} (swift-{version}-RELEASE)"
    exit 0
fi
echo "$PWD: $*" > {tools}/call
echo "[1/2] Compiling everything"
mkdir -p .build_shared/release
cp {LIBRARY} .build_shared/release/libLayerwiseC.so
"""
    )
    swift.chmod(0o755)
    return f"{tools}{os.pathsep}{os.environ['PATH']}"


def package_swift(folder: Path) -> None:
    """What of the Swift package the build looks at."""
    for name in ("Sources", "Tests", "include"):
        (folder / name / "part").mkdir(parents=True)
        (folder / name / "part" / "file").write_text(name)
    (folder / "Sources" / "other").symlink_to("part")
    shutil.copy(ROOT / "Package.swift", folder)


BUILD = "build -c release --scratch-path .build_shared --product LayerwiseC"


def test_a_checkout_builds_the_library_with_swift(source: Path, tools: Path) -> None:
    package_swift(source.parent)
    built = wheel(source, PATH=stand_in(tools))
    folder, _, arguments = (tools / "call").read_text().strip().partition(": ")
    assert folder == str(source.parent)
    assert arguments == BUILD
    assert "layerwise/liblayerwise.so" in contents(built)


def build(folder: Path, *arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "setup.py", "-q", *arguments],
        cwd=folder,
        env=environment(**changes),
        capture_output=True,
        text=True,
        # So that nothing is written to the terminal of whoever runs the tests.
        start_new_session=True,
    )


def test_a_build_says_how_far_it_is(source: Path, tools: Path) -> None:
    package_swift(source.parent)
    result = build(source, "build", PATH=stand_in(tools))
    assert result.returncode == 0, result.stderr
    lines = [line for line in result.stdout.splitlines() if line.startswith("layerwise: ")]
    assert lines == [
        "layerwise: building the native library with Swift 6.3.1, which takes some minutes",
        "layerwise: [1/2] Compiling everything",
        "layerwise: the native library is built",
    ]


@pytest.mark.parametrize("version", ["5.10", "6.2.4"])
def test_an_older_swift_is_refused(source: Path, tools: Path, version: str) -> None:
    package_swift(source.parent)
    result = build(source, "build", PATH=stand_in(tools, version))
    assert result.returncode != 0
    assert f"needs Swift 6.3 or newer, and {tools / 'swift'} is Swift {version}" in result.stderr
    assert not (tools / "call").exists()


def test_a_newer_swift_is_taken(source: Path, tools: Path) -> None:
    package_swift(source.parent)
    assert build(source, "build", PATH=stand_in(tools, "6.10")).returncode == 0


def test_without_swift_the_build_says_what_to_do(source: Path, tools: Path) -> None:
    package_swift(source.parent)
    result = build(source, "build", PATH=str(tools))
    assert result.returncode != 0
    assert "needs Swift 6.3 or newer, and there is no `swift` on PATH" in result.stderr


def test_a_build_that_fails_says_so(source: Path, tools: Path) -> None:
    package_swift(source.parent)
    path = stand_in(tools)
    with (tools / "swift").open("a") as swift:
        swift.write("echo 'error: no such module'\nexit 3\n")
    result = build(source, "build", PATH=path)
    assert result.returncode != 0
    assert "layerwise: error: no such module" in result.stdout
    assert "failed with status 3" in result.stderr


def test_a_source_distribution_holds_the_swift_package_and_builds(source: Path, tools: Path, tmp_path: Path) -> None:
    package_swift(source.parent)
    archives = []
    for out in (tmp_path / "first", tmp_path / "second"):
        result = build(source, "sdist", "--dist-dir", str(out))
        assert result.returncode == 0, result.stderr
        archives.append(out / f"layerwise-{lw.__version__}.tar.gz")
    assert archives[0].read_bytes() == archives[1].read_bytes()

    with tarfile.open(archives[0]) as archive:
        archive.extractall(tmp_path / "unpacked")
    folder = tmp_path / "unpacked" / f"layerwise-{lw.__version__}"
    for name in ("Package.swift", "Sources/part/file", "include/part/file", "LICENSE", "licenses/Swift-runtime.txt"):
        assert (folder / name).is_file(), name
    assert (folder / "Sources" / "other").is_symlink()
    assert not list(folder.rglob("*.so"))

    built = tmp_path / "built"
    command = [*PIP, "wheel", *OFFLINE, "-w", built, archives[0]]
    subprocess.run(command, env=environment(PATH=stand_in(tools)), check=True, capture_output=True)
    folder_of_build, _, arguments = (tools / "call").read_text().strip().partition(": ")
    assert arguments == BUILD
    # pip unpacks it somewhere.
    assert Path(folder_of_build).name == folder.name or "pip-req-build" in folder_of_build
    (found,) = built.glob("*.whl")
    assert "layerwise/liblayerwise.so" in contents(found)


def test_metadata(source: Path) -> None:
    built = wheel(source, LAYERWISE_PREBUILT=LIBRARY)
    with zipfile.ZipFile(built) as opened:
        folder = f"layerwise-{lw.__version__}.dist-info"
        metadata = email.message_from_bytes(opened.read(f"{folder}/METADATA"))
        licences = {
            name: opened.read(f"{folder}/licenses/{name}").decode() for name in metadata.get_all("License-File")
        }
        scripts = opened.read(f"{folder}/entry_points.txt").decode()
    assert metadata["License-Expression"] == "Apache-2.0 AND Apache-2.0 WITH Swift-exception"
    assert licences["LICENSE"] == (ROOT / "LICENSE").read_text()
    assert "Runtime Library Exception" in licences["licenses/Swift-runtime.txt"]
    assert metadata["Author"]
    assert len(metadata.get_all("Project-URL")) >= 3
    assert "layerwise = layerwise_command:main" in scripts


def test_without_swift_package_and_library_the_build_says_what_to_do(source: Path) -> None:
    result = build(source, "build")
    assert result.returncode != 0
    assert "LAYERWISE_PREBUILT" in result.stderr
