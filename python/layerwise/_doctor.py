# SPDX-License-Identifier: Apache-2.0
"""The command `doctor`: what was found on this machine, and whether the kernels compute what they should."""

from __future__ import annotations

import argparse
import array
import ctypes
import json
import math
import os
import platform
import struct
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from . import __version__
from . import _binding as lw
from ._cli_syntax import ParsedRule
from ._library import ABI_VERSION, ENVIRONMENT_VARIABLE
from ._reference import CASES, Case, Tensor
from .introspection import available_threads, instruction_set, rules
from .optimizer import Optimizer

FRAMEWORKS = ("numpy", "torch", "jax", "optax", "keras")
_STEPS = 3
_SHAPE = (19, 11)
"""Of the tensor that is stepped: no whole number of vectors, so that the last, partial one is tried too."""

_LARGE = 1_200_000
"""Elements of a step in which all threads take part."""


@dataclass(frozen=True)
class ElementType:
    """A type of parameters: its size, its spacing, and how much a step may be off, in units in the last place.

    Half a unit is lost where a number is stored.  The arithmetic of float32 and float64 may add what the roundings on
    the way add up to (docs/numerics.md: up to 6 and 10), and the reference its own, in float64.
    """

    name: str
    size: int
    digits: int
    smallest: float
    budget: float

    def unit(self, magnitude: float) -> float:
        """The spacing of numbers of this size."""
        return math.ldexp(1.0, math.frexp(max(magnitude, self.smallest))[1] - self.digits)


TYPES = (
    ElementType("float32", 4, 24, 2.0**-126, 8),
    ElementType("float64", 8, 53, 2.0**-1022, 16),
    ElementType("float16", 2, 11, 2.0**-14, 1),
    ElementType("bfloat16", 2, 8, 2.0**-126, 1),
)


@dataclass(frozen=True)
class Finding:
    """How far one kernel was from the reference."""

    case: str
    dtype: str
    error: float
    """The largest of a step, in units in the last place."""
    budget: float
    message: str = ""
    """What was refused, where a step was not taken."""

    @property
    def right(self) -> bool:
        """Whether it is near enough; NaN is not."""
        return self.error <= self.budget and not self.message


# ---- The self-test


class _Memory:
    """An array of one of the types, without NumPy."""

    def __init__(self, kind: ElementType, values: Sequence[float], shape: tuple[int, ...]) -> None:
        self._kind, self._count = kind, len(values)
        self._bytes = (ctypes.c_uint8 * (self._count * kind.size))()
        self.dtype = SimpleNamespace(name=kind.name)
        typestr = "|V2" if kind.name == "bfloat16" else f"{'<' if sys.byteorder == 'little' else '>'}f{kind.size}"
        self.__array_interface__ = {
            "version": 3,
            "typestr": typestr,
            "shape": shape,
            "data": (ctypes.addressof(self._bytes), False),
        }
        self.write(values)

    def write(self, values: Sequence[float]) -> None:
        """Replace what it holds."""
        if self._kind.name == "bfloat16":
            # The upper halves of float32; the values given have no lower ones.
            halves = [
                word >> 16 for word in struct.unpack(f"={self._count}I", struct.pack(f"={self._count}f", *values))
            ]
            data = struct.pack(f"={self._count}H", *halves)
        else:
            data = struct.pack(self._format, *values)
        ctypes.memmove(self._bytes, data, len(data))

    @property
    def _format(self) -> str:
        return f"={self._count}{ {2: 'e', 4: 'f', 8: 'd'}[self._kind.size] }"

    def values(self) -> list[float]:
        """What it holds."""
        if self._kind.name == "bfloat16":
            words = [half << 16 for half in struct.unpack(f"={self._count}H", self._bytes)]
            return list(struct.unpack(f"={self._count}f", struct.pack(f"={self._count}I", *words)))
        return list(struct.unpack(self._format, self._bytes))


def _numbers(count: int, seed: int) -> list[float]:
    """Numbers between 1/16 and 2 with either sign and six bits, which every type can hold."""
    found, state = [], seed
    for _ in range(count):
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        found.append(math.ldexp(32 + (state >> 40) % 32, -(5 + (state >> 50) % 4)) * (1 - 2 * (state >> 63)))
    return found


def _examine(case: Case, kind: ElementType) -> Finding:
    """Some steps of one rule with parameters of one type; each begins where the library's last one ended."""
    count = math.prod(_SHAPE)
    # Gradients keep their signs, so that no terms cancel: what is left of those would be rounding alone.
    gradients = _numbers(count, 1)
    weights, given = _Memory(kind, _numbers(count, 2), _SHAPE), _Memory(kind, gradients, _SHAPE)
    tensor, error = Tensor(weights.values(), gradients), 0.0
    with Optimizer(ParsedRule(case.rule, **case.settings)) as optimizer:
        optimizer.add_layer("tensor", weights, grads=given)
        for _ in range(_STEPS):
            before = tensor.weights
            changes = case.change(tensor)
            optimizer.step()
            tensor.weights = weights.values()
            for old, change, new in zip(before, changes, tensor.weights, strict=True):
                off = abs(old - change - new) / kind.unit(max(abs(old), abs(change), abs(new)))
                # max() would pass over a NaN.
                if not off <= error:
                    error = off
    return Finding(case.label, kind.name, error, kind.budget)


def _compare(rule: str, kind: ElementType) -> Finding:
    """Some steps of a rule beside its kernel for float64, which is compiled apart; each begins where the last ended."""
    count = math.prod(_SHAPE)
    gradients = _numbers(count, 1)
    weights, given = _Memory(kind, _numbers(count, 2), _SHAPE), _Memory(kind, gradients, _SHAPE)
    wide, wide_given = _Memory(TYPES[1], weights.values(), _SHAPE), _Memory(TYPES[1], gradients, _SHAPE)
    error = 0.0
    with Optimizer(ParsedRule(rule)) as optimizer, Optimizer(ParsedRule(rule)) as other:
        optimizer.add_layer("tensor", weights, grads=given)
        other.add_layer("tensor", wide, grads=wide_given)
        for _ in range(_STEPS):
            before = weights.values()
            wide.write(before)
            optimizer.step(loss=1.0)
            other.step(loss=1.0)
            for old, expected, new in zip(before, wide.values(), weights.values(), strict=True):
                off = abs(expected - new) / kind.unit(max(abs(old), abs(expected), abs(new)))
                # max() would pass over a NaN.
                if not off <= error:
                    error = off
    return Finding(rule, kind.name, error, kind.budget)


def self_test() -> Iterator[Finding]:
    """What every rule's kernels compute beside the equations in float64, for every type of parameters.

    Rules without equations here are compared with what they compute in float64.
    """
    for case in CASES:
        for kind in TYPES:
            try:
                yield _examine(case, kind)
            except Exception as error:
                yield Finding(case.label, kind.name, math.nan, kind.budget, f"{type(error).__name__}: {error}")
    for rule in without_equations():
        for kind in (kind for kind in TYPES if kind.name != "float64"):
            try:
                yield _compare(rule, kind)
            except Exception as error:
                yield Finding(rule, kind.name, math.nan, kind.budget, f"{type(error).__name__}: {error}")


def without_equations() -> list[str]:
    """The rules that have no equations here."""
    return [rule["name"] for rule in rules() if rule["name"] not in {case.rule for case in CASES}]


def _threads_agree(threads: int) -> bool:
    """Whether a step that all threads share gives the bits of one thread."""
    results = []
    pattern = array.array("f", _numbers(1000, 3)) * (_LARGE // 1000)
    for count in (1, threads):
        weights = pattern[:]
        with Optimizer(ParsedRule("adamw", lr=0.01), threads=count) as optimizer:
            optimizer.add_layer("large", weights, grads=pattern)
            for _ in range(2):
                optimizer.step()
        results.append(weights.tobytes())
    return results[0] == results[1]


# ---- What was found


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return None


def _cgroup() -> dict[str, str]:
    """What the cgroup grants, of version 2 or of version 1."""
    root = "/sys/fs/cgroup"
    quota, _, period = (_read(f"{root}/cpu.max") or "").partition(" ")
    if not quota:
        quota, period = (_read(f"{root}/cpu/cpu.cfs_{name}_us") or "" for name in ("quota", "period"))
    memory = _read(f"{root}/memory.max") or _read(f"{root}/memory/memory.limit_in_bytes") or ""
    # Without a limit there is "max", -1, or a number near the largest.
    limited = quota.isdecimal() and period.isdecimal() and int(period) > 0
    return {
        "processors": f"{int(quota) / int(period):g} processors" if limited else "no limit",
        "memory": f"{int(memory) / 2**30:.1f} GiB" if memory.isdecimal() and int(memory) < 1 << 60 else "no limit",
    }


def _processor() -> str:
    for line in (_read("/proc/cpuinfo") or "").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine() or "unknown"


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _found() -> dict[str, Any]:
    library = Path(str(lw._library._name))
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    libc = " ".join(word for word in platform.libc_ver() if word)
    return {
        "package": {"version": __version__, "path": str(Path(__file__).resolve().parent)},
        "library": {
            "path": str(library),
            "chosen_by": ENVIRONMENT_VARIABLE if os.environ.get(ENVIRONMENT_VARIABLE) else "package",
            "version": lw.lw_version().decode(),
            "abi_version": ABI_VERSION,
            "bytes": library.stat().st_size,
        },
        "instruction_set": instruction_set(),
        "instruction_set_forced": os.environ.get("LAYERWISE_ISA"),
        "processor": _processor(),
        "threads": available_threads(),
        "processors": {"machine": os.cpu_count() or 1, "affinity": affinity},
        "cgroup": _cgroup(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} {platform.release()} {platform.machine()}, {libc or 'unknown C library'}",
        "frameworks": {name: _version(name) for name in FRAMEWORKS},
    }


# ---- The command


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command and its options."""
    parser = commands.add_parser(
        "doctor",
        help="show what was found here, and test every kernel",
        description="Show what was found on this machine, and compare every rule's kernels with the equations in\n"
        "float64.  The status is 1 where one is off.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    found = _found()
    if not options.json:
        _print_found(found)
    start = time.perf_counter()
    findings = list(self_test())
    threads = max(2, found["threads"])
    agree = _threads_agree(threads)
    seconds = time.perf_counter() - start
    mixed = found["library"]["version"] != found["package"]["version"]
    healthy = all(finding.right for finding in findings) and agree and not mixed
    if options.json:
        test = {
            "kernels": [
                {
                    "case": finding.case,
                    "dtype": finding.dtype,
                    "error_ulp": finding.error if math.isfinite(finding.error) else None,
                    "budget_ulp": finding.budget,
                    "right": finding.right,
                    "message": finding.message,
                }
                for finding in findings
            ],
            "compared_with_float64": without_equations(),
            "same_bits_for_all_threads": agree,
            "seconds": seconds,
        }
        print(json.dumps({**found, "self_test": test, "healthy": healthy}))
    else:
        _print_test(findings, threads, agree, seconds)
        if mixed:
            versions = f"{found['library']['version']}, the package of {found['package']['version']}"
            print(f"WRONG: the library is of version {versions}: install one release")
    return 0 if healthy else 1


def _print_found(found: dict[str, Any]) -> None:
    library, processors, cgroup = found["library"], found["processors"], found["cgroup"]
    forced = found["instruction_set_forced"]
    frameworks = ", ".join(f"{name} {version or 'not installed'}" for name, version in found["frameworks"].items())
    rows = {
        "package": f"layerwise {found['package']['version']} in {found['package']['path']}",
        "library": f"{library['version']} in {library['path']}, {library['bytes'] / 1e6:.1f} MB"
        + f", ABI {library['abi_version']}"
        + (f" (by {ENVIRONMENT_VARIABLE})" if library["chosen_by"] == ENVIRONMENT_VARIABLE else ""),
        "instructions": found["instruction_set"] + (f" (LAYERWISE_ISA={forced})" if forced else ""),
        "processor": found["processor"],
        "threads": f"{found['threads']} of {processors['machine']} processors, {processors['affinity']} by affinity",
        "cgroup": f"processors: {cgroup['processors']}; memory: {cgroup['memory']}",
        "python": found["python"],
        "system": found["system"],
        "seen": frameworks,
    }
    for name, text in rows.items():
        print(f"{name:<14}{text}")
    sys.stdout.flush()


def _print_test(findings: list[Finding], threads: int, agree: bool, seconds: float) -> None:
    print(f"\nlargest error of a step, in units in the last place, of {_STEPS} steps of {math.prod(_SHAPE)} elements")
    print(f"{'rule':<22}" + "".join(f"{kind.name:>10}" for kind in TYPES))
    for label in dict.fromkeys(finding.case for finding in findings):
        own = {finding.dtype: finding for finding in findings if finding.case == label}
        found = [own.get(kind.name) for kind in TYPES]
        cells = [f"{finding.error:.2f}{' ' if finding.right else '!'}" if finding else "- " for finding in found]
        print(f"{label:<22}" + "".join(f"{cell:>10}" for cell in cells))
    print(f"{'may be':<22}" + "".join(f"{f'{kind.budget:g}    ':>10}" for kind in TYPES))
    wrong = [finding for finding in findings if not finding.right]
    for finding in wrong:
        said = finding.message or f"off by {finding.error:.3g} units, {finding.budget:g} are allowed"
        print(f"WRONG: {finding.case}, {finding.dtype}: {said}")
    if not agree:
        print(f"WRONG: a step by {threads} threads does not give the bits of one thread")
    if wrong or not agree:
        print(f"{len(wrong) + (not agree)} wrong, {seconds:.1f} s")
    else:
        print(f"all {len(findings)} are right, and {threads} threads give the bits of one; {seconds:.1f} s")
