# SPDX-License-Identifier: Apache-2.0
"""Finds and loads the native library, or says exactly why it cannot."""

from __future__ import annotations

import ctypes
import os
import sys

ABI_VERSION = 1
"""LW_ABI_VERSION of the header that this package was written against."""

ENVIRONMENT_VARIABLE = "LAYERWISE_LIBRARY"
_BACKTRACE_VARIABLE = "SWIFT_BACKTRACE"
_FILE_NAME = "liblayerwise.dylib" if sys.platform == "darwin" else "liblayerwise.so"


def candidates() -> list[str]:
    """The files to try: the one named by LAYERWISE_LIBRARY and no other, else the one inside the package."""
    chosen = os.environ.get(ENVIRONMENT_VARIABLE)
    if chosen:
        return [os.path.join(os.getcwd(), chosen)]
    return [os.path.join(os.path.dirname(os.path.abspath(__file__)), _FILE_NAME)]


def load() -> ctypes.CDLL:
    """Load the first candidate that is a Layerwise library of the right ABI version.

    Raises:
        ImportError: None could be loaded; the message lists each file with the likely cause.
    """
    refusals = []
    for path in candidates():
        try:
            library = _open(path)
            _check_abi(library)
        except (OSError, AttributeError, ValueError) as error:
            refusals.append(f"{path}: {_cause(path, error)}")
        else:
            return library
    raise ImportError(
        "the Layerwise library could not be loaded\n  "
        + "\n  ".join(refusals)
        + f"\nbuild it with `make build`, or name one in the environment variable {ENVIRONMENT_VARIABLE}"
    )


def _open(path: str) -> ctypes.CDLL:
    # The Swift runtime installs crash handlers at load unless this variable forbids it; they would take SIGSEGV away
    # from faulthandler.  It reads the variable once, so the environment is left as it was found.
    if _BACKTRACE_VARIABLE in os.environ:
        return ctypes.CDLL(path)
    os.environ[_BACKTRACE_VARIABLE] = "enable=no"
    try:
        return ctypes.CDLL(path)
    finally:
        del os.environ[_BACKTRACE_VARIABLE]


def _check_abi(library: ctypes.CDLL) -> None:
    version = library.lw_abi_version
    version.argtypes = ()
    version.restype = ctypes.c_int32
    found = version()
    if found != ABI_VERSION:
        raise ValueError(f"has ABI version {found}, this package needs {ABI_VERSION}: they are of different releases")


def _cause(path: str, error: Exception) -> str:
    if not os.path.exists(path):
        return "does not exist"
    if isinstance(error, AttributeError):
        return "is a library, but not Layerwise: it has no lw_abi_version"
    if isinstance(error, OSError):
        if not os.access(path, os.R_OK):
            return "may not be read"
        return f"was refused by the loader, being damaged, for another platform or in need of another library: {error}"
    return str(error)
