# SPDX-License-Identifier: Apache-2.0
"""Builds and calls the streaming loop of stream.c, the yardstick for everything limited by memory."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .workloads import Array, Workload


@dataclass(frozen=True)
class Traffic:
    """The bytes that a step cannot avoid to move, an element of the parameters.

    Attributes:
        kind: The position of its loop in stream.c.
        moments: Arrays of float32 state, each read and written.
        element_bytes: Size of a parameter and of a gradient element; the parameter is read and written.
    """

    kind: int
    moments: int
    element_bytes: int

    @property
    def bytes_per_parameter(self) -> int:
        """Reads and writes together."""
        return 3 * self.element_bytes + 8 * self.moments


ONE_MOMENT = Traffic(kind=0, moments=1, element_bytes=4)
TWO_MOMENTS = Traffic(kind=1, moments=2, element_bytes=4)
TWO_MOMENTS_16_BIT = Traffic(kind=2, moments=2, element_bytes=2)


@dataclass(frozen=True)
class Look:
    """What a step reads before it may write.

    Attributes:
        weights: Parameters and gradients, for a trust ratio; or gradients alone, for a check or a norm.
        unit: Elements that are looked at, and then changed, before the next; 0 is all of them.
    """

    weights: bool
    unit: int = 0


class Stream:
    """The loops of stream.c, compiled for this very processor."""

    def __init__(self) -> None:
        """Compiles and loads the loops.

        Raises:
            FileNotFoundError: There is no C compiler.
            subprocess.CalledProcessError: It fails.
        """
        compiler = shutil.which(os.environ.get("CC", "cc"))
        if compiler is None:
            raise FileNotFoundError("no C compiler: set CC, or install one as cc")
        source = Path(__file__).with_name("stream.c")
        with tempfile.TemporaryDirectory() as folder:
            library = Path(folder) / "stream.so"
            options = ["-O3", "-march=native", "-std=c11", "-pthread", "-shared", "-fPIC"]
            subprocess.run([compiler, *options, "-o", library, source], check=True)
            # A loaded library stays when its file goes.
            self._run = ctypes.CDLL(str(library)).stream_run
        self._run.argtypes = [
            ctypes.c_int32,
            ctypes.POINTER(ctypes.c_void_p),
            ctypes.c_int64,
            ctypes.c_int64,
            ctypes.POINTER(ctypes.c_int32),
            ctypes.c_int32,
            ctypes.c_int32,
        ]
        self._run.restype = ctypes.c_int32

    def stepper(
        self, workload: Workload, traffic: Traffic, threads: int, look: Look | None = None
    ) -> Callable[[], None]:
        """Allocates arrays like those of a step over ``workload`` and returns what streams over them once."""
        count, narrow = workload.parameter_count, np.uint16 if traffic.element_bytes == 2 else np.float32
        # np.ones and not np.zeros: the pages are touched here, outside of the time.
        moments = [np.ones(count, np.float32) for _ in range(traffic.moments)]
        arrays: list[Array] = [np.ones(count, narrow), *moments, np.ones(count, narrow)]
        addresses = (ctypes.c_void_p * len(arrays))(*(array.ctypes.data for array in arrays))
        looks = [] if look is None else [0, len(arrays) - 1] if look.weights else [len(arrays) - 1]
        looked = (ctypes.c_int32 * len(looks))(*looks)
        unit = look.unit if look is not None and look.unit else count

        def step(keep_alive: list[Array] = arrays) -> None:
            error = self._run(traffic.kind, addresses, count, unit, looked, len(looks), threads)
            if error:
                raise OSError(error, os.strerror(error))

        return step
