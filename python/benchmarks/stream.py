# SPDX-License-Identifier: Apache-2.0
"""Builds and calls the streaming loops of stream.c, the yardstick for everything limited by memory."""

from __future__ import annotations

import ctypes
import mmap
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
        moments: Arrays of float32 state, each read and written.
        copies: Arrays of float32 that are only read, beside the gradient.
        element_bytes: Size of a parameter and of a gradient element; the parameter is read and written.
        signs: Arrays of bytes, each read and written.
        kind: The name of its loop in stream.c, if it is not that of so many float32 arrays.
    """

    moments: int
    copies: int = 0
    element_bytes: int = 4
    signs: int = 0
    kind: str = ""

    @property
    def loop(self) -> str:
        """The name of its loop in stream.c."""
        return self.kind or f"floats_{1 + self.moments}_{self.copies}"

    @property
    def bytes_per_parameter(self) -> int:
        """Reads and writes together."""
        return 3 * self.element_bytes + 8 * self.moments + 2 * self.signs + 4 * self.copies


ONE_MOMENT = Traffic(moments=1)
TWO_MOMENTS = Traffic(moments=2)
THREE_MOMENTS = Traffic(moments=3)
TWO_MOMENTS_AND_COPY = Traffic(moments=2, copies=1)
TWO_MOMENTS_16_BIT = Traffic(moments=2, element_bytes=2, kind="two_moments_16_bit")
TWO_MOMENTS_AND_SIGNS = Traffic(moments=2, signs=1, kind="two_moments_and_signs")
ONE_MOMENT_AND_ROOT = Traffic(moments=1, kind="one_moment_and_root")
TWO_MOMENTS_AND_ROOTS = Traffic(moments=2, kind="two_moments_and_roots")


@dataclass(frozen=True)
class Look:
    """What a step reads before it may write.

    Attributes:
        weights: Parameters and gradients, for a trust ratio; or gradients alone, for a check or a norm.
        unit: Elements that are looked at, and then changed, before the next; 0 is all of them.
    """

    weights: bool
    unit: int = 0


@dataclass(frozen=True)
class Loop:
    """One member of the family of loops: how it goes over the elements, and where its arrays lie.

    Attributes:
        name: How tables call it.
        way: Its number in stream.c.
        ahead: How far ahead it prefetches, in bytes.
        apart: By how many bytes, modulo a page, each array begins after the one before.
        huge_pages: Whether the arrays ask for huge pages.
    """

    name: str
    way: int = 0
    ahead: int = 0
    apart: int = 13 * 64
    huge_pages: bool = True


LOOPS = [
    Loop("element by element, arrays at one page offset", apart=0),
    Loop("element by element"),
    Loop("element by element, small pages", huge_pages=False),
    Loop("a cache line at a time", way=1),
    Loop("prefetching 768 bytes ahead", way=2, ahead=768),
    Loop("prefetching 4 KiB ahead", way=2, ahead=4096),
    Loop("stores past the caches", way=3),
]
"""Measured in every run; the fastest is the yardstick.  The arrays of all but the first begin 13 cache lines apart."""


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
            # A root that may set errno is a call.
            options = ["-O3", "-march=native", "-fno-math-errno", "-std=c11", "-pthread", "-shared", "-fPIC"]
            subprocess.run([compiler, *options, "-o", library, source, "-lm"], check=True)
            # A loaded library stays when its file goes.
            loops = ctypes.CDLL(str(library))
        self._kind, self._run = loops.stream_kind, loops.stream_run
        self._kind.argtypes, self._kind.restype = [ctypes.c_char_p], ctypes.c_int32
        self._run.argtypes = [
            ctypes.c_int32,
            ctypes.POINTER(ctypes.c_void_p),
            ctypes.c_int64,
            ctypes.c_int64,
            ctypes.POINTER(ctypes.c_int32),
            ctypes.c_int32,
            ctypes.c_int32,
            ctypes.c_int32,
            ctypes.c_int64,
        ]
        self._run.restype = ctypes.c_int32

    def steppers(
        self, workload: Workload, traffic: Traffic, threads: int, look: Look | None = None
    ) -> dict[str, Callable[[], None]]:
        """Allocates arrays like those of a step over ``workload``; returns each loop, which streams over them once."""
        placements: dict[tuple[int, bool], list[Array]] = {}
        for loop in LOOPS:
            place = (loop.apart, loop.huge_pages)
            if place not in placements:
                placements[place] = _arrays(workload.parameter_count, traffic, *place)
        return {
            loop.name: self._stepper(placements[loop.apart, loop.huge_pages], loop, traffic, threads, look)
            for loop in LOOPS
        }

    def _stepper(
        self, arrays: list[Array], loop: Loop, traffic: Traffic, threads: int, look: Look | None
    ) -> Callable[[], None]:
        count = arrays[0].size
        addresses = (ctypes.c_void_p * len(arrays))(*(array.ctypes.data for array in arrays))
        looks = [] if look is None else [0, len(arrays) - 1] if look.weights else [len(arrays) - 1]
        looked = (ctypes.c_int32 * len(looks))(*looks)
        unit = look.unit if look is not None and look.unit else count
        kind = self._kind(traffic.loop.encode())
        if kind < 0:
            raise ValueError(f"stream.c has no loop {traffic.loop}")

        def step(keep_alive: list[Array] = arrays) -> None:
            error = self._run(kind, addresses, count, unit, looked, len(looks), threads, loop.way, loop.ahead)
            if error:
                raise OSError(error, os.strerror(error))

        return step


def _arrays(count: int, traffic: Traffic, apart: int, huge_pages: bool) -> list[Array]:
    """Parameters, moments, signs, copies and gradient, whose pages are touched here, outside of the time."""
    narrow = np.uint16 if traffic.element_bytes == 2 else np.float32
    page, huge_page = mmap.PAGESIZE, 2 << 20
    arrays = []
    states: list[type[np.generic]] = [np.float32] * traffic.moments + [np.int8] * traffic.signs
    states += [np.float32] * traffic.copies
    for index, dtype in enumerate([narrow, *states, narrow]):
        size = count * np.dtype(dtype).itemsize
        memory = mmap.mmap(-1, size + huge_page + page, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        memory.madvise(mmap.MADV_HUGEPAGE if huge_pages else mmap.MADV_NOHUGEPAGE)
        start = -np.frombuffer(memory, np.uint8).ctypes.data % huge_page + index * apart % page
        array: Array = np.frombuffer(memory, dtype, count, start)
        array[:] = 1
        arrays.append(array)
    return arrays
