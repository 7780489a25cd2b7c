# SPDX-License-Identifier: Apache-2.0
"""The build hook: puts the native library into the package and tags the wheel for the platform."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import Distribution, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

HERE = Path(__file__).resolve().parent
LIBRARY = "liblayerwise.dylib" if sys.platform == "darwin" else "liblayerwise.so"


def native_library() -> Path:
    """The library to ship: the one named by LAYERWISE_PREBUILT, the one beside the package, or a new build."""
    prebuilt = os.environ.get("LAYERWISE_PREBUILT")
    if prebuilt:
        return Path(prebuilt).resolve(strict=True)
    beside = HERE / "layerwise" / LIBRARY
    if beside.exists():
        return beside
    root = HERE.parent
    if not (root / "Package.swift").exists():
        raise SystemExit(
            f"layerwise: {beside} does not exist and there is no Swift package in {root} to build it from; "
            "install from a checkout of the repository, or set LAYERWISE_PREBUILT to a built library"
        )
    swift = shutil.which("swift")
    if swift is None:
        raise SystemExit(
            "layerwise: building the native library needs Swift 6.3; or set LAYERWISE_PREBUILT to a built one"
        )
    static = [] if sys.platform == "darwin" else ["-Xswiftc", "-static-stdlib"]
    command = [swift, "build", "-c", "release", *static, "--scratch-path", ".build_shared", "--product", "layerwise"]
    subprocess.run(command, cwd=root, check=True)
    return root / ".build_shared" / "release" / LIBRARY


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


class PlatformWheel(bdist_wheel):
    """The library is loaded with ctypes, so one wheel serves every Python version on its platform."""

    def get_tag(self) -> tuple[str, str, str]:
        """Return py3-none-PLATFORM."""
        return "py3", "none", super().get_tag()[2]


class NativeDistribution(Distribution):
    """A distribution that is not pure Python."""

    def has_ext_modules(self) -> bool:
        """Say so, for the platform tag."""
        return True


setup(distclass=NativeDistribution, cmdclass={"build_py": BuildWithLibrary, "bdist_wheel": PlatformWheel})
