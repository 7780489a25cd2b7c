# SPDX-License-Identifier: Apache-2.0
"""The build hook: puts the native library into the package, tags the wheel, and adds the Swift package to an sdist."""

import gzip
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from setuptools import Distribution, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

HERE = Path(__file__).resolve().parent
# A source distribution has the Swift package beside this file, a checkout of the repository one folder up.
ROOT = HERE if (HERE / "Package.swift").exists() else HERE.parent
LIBRARY = "liblayerwise.dylib" if sys.platform == "darwin" else "liblayerwise.so"
NATIVE_SOURCES = ("Package.swift", "Sources", "Tests", "include", "CHANGELOG.md")


# ---- The native library


def native_library() -> Path:
    """The library to ship: the one named by LAYERWISE_PREBUILT, the one beside the package, or a new build."""
    prebuilt = os.environ.get("LAYERWISE_PREBUILT")
    if prebuilt:
        return Path(prebuilt).resolve(strict=True)
    beside = HERE / "layerwise" / LIBRARY
    if beside.exists():
        return beside
    if not (ROOT / "Package.swift").exists():
        raise SystemExit(
            f"layerwise: {beside} does not exist and there is no Swift package in {ROOT} to build it from; "
            "install from a checkout of the repository, or set LAYERWISE_PREBUILT to a built library"
        )
    return build_with_swift()


def build_with_swift() -> Path:
    """Build the library, and say meanwhile how far it is."""
    needed = re.search(r"swift-tools-version: *([\d.]+)", (ROOT / "Package.swift").read_text("utf-8"))
    least = needed[1] if needed else "6.3"
    swift = shutil.which("swift")
    if swift is None:
        raise SystemExit(
            f"layerwise: building the native library needs Swift {least} or newer, and there is no `swift` on PATH; "
            "install a wheel, or Swift, or set LAYERWISE_PREBUILT to a built library"
        )
    answer = subprocess.run([swift, "--version"], capture_output=True, text=True)
    found = re.search(r"Swift version ([\d.]+)", answer.stdout)
    if answer.returncode != 0 or found is None:
        raise SystemExit(f"layerwise: `{swift} --version` does not say its version: {answer.stdout}{answer.stderr}")
    if numbers(found[1]) < numbers(least):
        raise SystemExit(
            f"layerwise: building the native library needs Swift {least} or newer, and {swift} is Swift {found[1]}; "
            "install a wheel, or a newer Swift, or set LAYERWISE_PREBUILT to a built library"
        )
    command = [swift, "build", "-c", "release", "--scratch-path", ".build_shared", "--product", "LayerwiseC"]
    with audience() as say:
        say(f"building the native library with Swift {found[1]}, which takes some minutes")
        run_and_tell(command, say)
        say("the native library is built")
    return ROOT / ".build_shared" / "release" / LIBRARY.replace("layerwise", "LayerwiseC")


def numbers(version: str) -> tuple[int, ...]:
    """A version for comparison."""
    return tuple(int(part) for part in version.split(".") if part)


def run_and_tell(command: list[str], say: Callable[[str], None]) -> None:
    """Run a command in the Swift package; each line that it prints is passed on at once."""
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    with process:
        for line in process.stdout or ():
            if line.strip():
                say(line.rstrip())
    if process.returncode != 0:
        raise SystemExit(f"layerwise: `{' '.join(command)}` failed with status {process.returncode}; see above")


@contextmanager
def audience() -> Iterator[Callable[[str], None]]:
    """A function that shows a line.

    pip keeps what a build prints to itself unless it is called with -v.  A build of minutes should not look like one
    that hangs, so its lines go to the terminal too, where there is one.
    """
    terminal = None
    if not sys.stdout.isatty():
        try:
            terminal = open("/dev/tty", "w", encoding="utf-8")
        except OSError:
            pass

    def say(line: str) -> None:
        print(f"layerwise: {line}", flush=True)
        if terminal is not None:
            # "\r" returns to the beginning of a line on which pip has drawn.
            print(f"\rlayerwise: {line}", end="\r\n", file=terminal, flush=True)

    try:
        yield say
    finally:
        if terminal is not None:
            terminal.close()


class BuildWithLibrary(build_py):
    """Copies the native library beside the modules."""

    def run(self) -> None:
        """Build the modules, then add the library."""
        super().run()
        target = self.library_target()
        library = native_library()
        if library != target.resolve():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(library, target)

    def library_target(self) -> Path:
        """Where the library belongs: in the source tree for an editable install, else in the build folder."""
        return (HERE if self.editable_mode else Path(self.build_lib)) / "layerwise" / LIBRARY

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        """Name the library too, so that an install records it and an uninstall removes it."""
        return [*super().get_outputs(include_bytecode), str(self.library_target())]


# ---- Distributions


class PlatformWheel(bdist_wheel):
    """The library is loaded with ctypes, so one wheel serves every Python version on its platform."""

    def get_tag(self) -> tuple[str, str, str]:
        """Return py3-none-PLATFORM."""
        return "py3", "none", super().get_tag()[2]


class SourceWithSwift(sdist):
    """A source distribution that holds the Swift package, from which an install builds the library."""

    def make_release_tree(self, base_dir: str, files: list[str]) -> None:
        """Add the Swift package to the modules."""
        super().make_release_tree(base_dir, files)
        for name in NATIVE_SOURCES:
            source, target = ROOT / name, Path(base_dir) / name
            if source.is_dir():
                # Links stay links: instruction sets share one folder of sources.
                junk = shutil.ignore_patterns("__pycache__", ".*")
                shutil.copytree(source, target, symlinks=True, ignore=junk, dirs_exist_ok=True)
            elif source.exists():
                shutil.copy2(source, target)

    def make_archive(
        self,
        base_name: str,
        format: str,
        root_dir: str | None = None,
        base_dir: str | None = None,
        owner: str | None = None,
        group: str | None = None,
    ) -> str:
        """Write the same bytes for the same sources: names in order, one time, no owner."""
        if format != "gztar" or base_dir is None:
            return super().make_archive(base_name, format, root_dir, base_dir, owner, group)
        date = int(os.environ.get("SOURCE_DATE_EPOCH", "315532800"))
        tree = Path(base_dir)
        content = io.BytesIO()
        with tarfile.open(fileobj=content, mode="w", format=tarfile.PAX_FORMAT) as archive:
            for path in [tree, *sorted(tree.rglob("*"))]:
                member = archive.gettarinfo(path, str(path))
                member.mtime, member.uid, member.gid, member.uname, member.gname = date, 0, 0, "", ""
                if member.islnk():
                    member.type = tarfile.REGTYPE
                    member.size = path.stat().st_size
                if member.isreg():
                    member.mode = 0o755 if member.mode & 0o100 else 0o644
                    with path.open("rb") as file:
                        archive.addfile(member, file)
                else:
                    member.mode = 0o777 if member.issym() else 0o755
                    archive.addfile(member)
        name = f"{base_name}.tar.gz"
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        with open(name, "wb") as file, gzip.GzipFile("", "wb", fileobj=file, mtime=date) as packed:
            packed.write(content.getvalue())
        return name


class NativeDistribution(Distribution):
    """A distribution that is not pure Python."""

    def has_ext_modules(self) -> bool:
        """Say so, for the platform tag."""
        return True


setup(
    distclass=NativeDistribution,
    cmdclass={"build_py": BuildWithLibrary, "bdist_wheel": PlatformWheel, "sdist": SourceWithSwift},
)
