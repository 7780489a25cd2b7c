# SPDX-License-Identifier: Apache-2.0
"""The command `bench`: a step of AdamW beside the memory's limit, and beside torch where it is installed.

The limit is found without a compiler: the faster of the C library's memcpy and of a step of SGD without momentum, which
reads two numbers, computes next to nothing and writes one in place.  `make bench` compares with loops of its own.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib.util
import itertools
import json
import mmap
import threading
import time
from collections.abc import Callable
from typing import Any

from ._cli_syntax import ParsedRule
from .introspection import available_threads, instruction_set
from .optimizer import Optimizer

_TENSORS, _ELEMENTS = 32, 1 << 20
_PARAMETERS = _TENSORS * _ELEMENTS

_COPY, _SGD, _OURS, _TORCH = "memcpy", "layerwise SGD", "layerwise AdamW", "torch AdamW, fused"
_BYTES = {_COPY: 28, _SGD: 12, _OURS: 28, _TORCH: 28}
"""What is moved for one float32 parameter.  AdamW reads weight, gradient and two moments, and writes three of them."""

_APART = 13 * 64
"""Bytes between the offsets of two arrays in their pages; the library's own states use as many."""

_SETTINGS = {"lr": 1e-3, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.01}
_LEAST_ROUNDS = 5
_SECONDS, _QUICK_SECONDS = 20.0, 2.0


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command and its options."""
    parser = commands.add_parser(
        "bench",
        help="time a step of AdamW beside the memory's limit and torch",
        description=f"Time a step of AdamW over {_TENSORS} layers of {_ELEMENTS:,} float32 parameters beside the\n"
        "memory's limit, the faster of memcpy and of SGD for as many bytes, and beside torch's fused AdamW where\n"
        "torch is installed.  They take turns, and the fastest turn of each counts, since others may use the machine.\n"
        "Only the ratios carry over to another machine.  `make bench` in a checkout measures much more.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="a few seconds of turns in place of 20")
    parser.add_argument("--threads", type=_thread_count, metavar="N", help="for everyone (all that the machine grants)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.set_defaults(run=_run)


def _thread_count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 1024:
        raise argparse.ArgumentTypeError(f"expected 1 to 1024, found {text}")
    return int(text)


def _run(options: argparse.Namespace) -> int:
    threads = options.threads or available_threads()
    contestants = {
        _COPY: _copier(threads),
        _SGD: _layerwise(threads, "sgd", {"lr": 1e-3}),
        _OURS: _layerwise(threads, "adamw", _SETTINGS),
    }
    if importlib.util.find_spec("torch") is not None:
        contestants[_TORCH] = _torch(threads)
    rounds, seconds = _measure(contestants, _QUICK_SECONDS if options.quick else _SECONDS)
    limit = min(seconds[name] * _BYTES[_OURS] / _BYTES[name] for name in (_COPY, _SGD))
    result: dict[str, Any] = {
        "parameters": _PARAMETERS,
        "layers": _TENSORS,
        "threads": threads,
        "instruction_set": instruction_set(),
        "rounds": rounds,
        "seconds": seconds,
        "time_over_limit": seconds[_OURS] / limit,
        "torch_time_over_ours": seconds[_TORCH] / seconds[_OURS] if _TORCH in seconds else None,
    }
    if options.json:
        print(json.dumps(result))
    else:
        _print(result)
    return 0


def _print(result: dict[str, Any]) -> None:
    print(
        f"{_TENSORS} layers of {_ELEMENTS:,} float32 parameters, {result['threads']} threads, "
        f"{result['instruction_set']}, the fastest of {result['rounds']} turns"
    )
    for name, seconds in result["seconds"].items():
        print(f"{name:<20}{seconds * 1e3:8.1f} ms {_BYTES[name] * _PARAMETERS / seconds / 1e9:7.1f} GB/s")
    print(f"AdamW takes {result['time_over_limit']:.2f} times what the memory's limit allows (memcpy or SGD)")
    if result["torch_time_over_ours"] is not None:
        print(f"torch's fused AdamW takes {result['torch_time_over_ours']:.2f} times as long")


def _measure(contestants: dict[str, Callable[[], object]], patience: float) -> tuple[int, dict[str, float]]:
    """How many turns each had, and the seconds of its fastest; the order rotates."""
    fastest = dict.fromkeys(contestants, float("inf"))
    names, rounds, end = list(contestants), 0, time.perf_counter() + patience
    while rounds < _LEAST_ROUNDS or time.perf_counter() < end:
        first = rounds % len(names)
        for name in [*names[first:], *names[:first]]:
            # A turn before the clock starts, so that threads and pages are in use.
            contestants[name]()
            start = time.perf_counter()
            contestants[name]()
            fastest[name] = min(fastest[name], time.perf_counter() - start)
        rounds += 1
    return rounds, fastest


# ---- Contestants


def _memory(byte_count: int, place: int) -> memoryview:
    """Memory in huge pages where the system has them, all of it in use.

    Arrays begin at different offsets in their pages: on some processors those at one offset are in each other's way.
    """
    start = place * _APART
    memory = mmap.mmap(-1, byte_count + start)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        memory.madvise(mmap.MADV_HUGEPAGE)
    block = bytes(1 << 20)
    for begin in range(0, len(memory), len(block)):
        memory[begin : begin + len(block)] = block[: len(memory) - begin]
    return memoryview(memory)[start:]


def _layerwise(threads: int, rule: str, settings: dict[str, float]) -> Callable[[], object]:
    optimizer = Optimizer(ParsedRule(rule, **settings), nonfinite="propagate", threads=threads)
    for index in range(_TENSORS):
        weights, gradients = (_memory(4 * _ELEMENTS, place).cast("f") for place in (0, 4))
        optimizer.add_layer(f"layer{index}", weights, grads=gradients)
    return optimizer.step


class _Copier:
    """Copies a part of the bytes that a step moves, again and again, in equal shares by all threads."""

    def __init__(self, threads: int) -> None:
        # Half of the bytes are read and half are written; each array is larger than most caches.
        self._times, size = 4, _PARAMETERS * _BYTES[_COPY] // 2 // 4
        self._from, self._to = _memory(size, 0), _memory(size, 1)
        source, target = (ctypes.addressof(ctypes.c_char.from_buffer(memory)) for memory in (self._from, self._to))
        # Through CDLL, which releases the interpreter's lock.
        self._copy = ctypes.CDLL(None).memcpy
        self._copy.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
        self._copy.restype = ctypes.c_void_p
        cuts = [*(size * index // threads // 4096 * 4096 for index in range(threads)), size]
        self._shares = [(target + start, source + start, end - start) for start, end in itertools.pairwise(cuts)]
        self._begin, self._end = threading.Barrier(threads), threading.Barrier(threads)
        for share in self._shares[1:]:
            threading.Thread(target=self._work, args=(share,), daemon=True).start()

    def _work(self, share: tuple[int, int, int]) -> None:
        while True:
            self._take_part(share)

    def _take_part(self, share: tuple[int, int, int]) -> None:
        self._begin.wait()
        for _ in range(self._times):
            self._copy(*share)
        self._end.wait()

    def __call__(self) -> None:
        self._take_part(self._shares[0])


def _copier(threads: int) -> Callable[[], object]:
    return _Copier(threads)


def _torch(threads: int) -> Callable[[], object]:
    import torch

    torch.set_num_threads(threads)
    parameters = [torch.nn.Parameter(torch.zeros(_ELEMENTS)) for _ in range(_TENSORS)]
    for parameter in parameters:
        parameter.grad = torch.zeros(_ELEMENTS)
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01, fused=True)
    return optimizer.step
