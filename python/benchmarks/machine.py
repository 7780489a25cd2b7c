# SPDX-License-Identifier: Apache-2.0
"""What a run ran on: without this its numbers mean nothing to anybody else."""

from __future__ import annotations

import os
import platform
import re
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

import layerwise as lw

PEERS = ("torch", "deepspeed", "pytorch_optimizer", "numpy")


@dataclass(frozen=True)
class Machine:
    """Processor, memory, system and versions."""

    processor: str
    processors: int
    memory_gib: float
    huge_pages: str
    system: str
    python: str
    layerwise: str
    instruction_set: str
    versions: dict[str, str]

    def as_json(self) -> dict[str, object]:
        """All of it."""
        return asdict(self)

    def lines(self) -> list[str]:
        """The description in a few lines."""
        versions = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        return [
            f"{self.processor}, {self.processors} processors, {self.memory_gib:.0f} GiB, huge pages: {self.huge_pages}",
            f"{self.system}; Python {self.python}",
            f"layerwise {self.layerwise} ({self.instruction_set}); {versions}",
        ]


def describe() -> Machine:
    """This machine, as it is now."""
    return Machine(
        processor=_field("/proc/cpuinfo", r"model name\s*:\s*(.+)") or platform.machine(),
        processors=len(os.sched_getaffinity(0)),
        memory_gib=int(_field("/proc/meminfo", r"MemTotal:\s*(\d+)") or 0) / 2**20,
        huge_pages=_field("/sys/kernel/mm/transparent_hugepage/enabled", r"\[(\w+)\]") or "unknown",
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=platform.python_version(),
        layerwise=lw.__version__,
        instruction_set=lw.instruction_set(),
        versions={name: _version(name) for name in PEERS},
    )


class OtherWork:
    """How busy the machine was with anything but this process."""

    def __init__(self) -> None:
        self._start = self._times()

    def share(self) -> float:
        """The fraction of all processors' time that went elsewhere since the start, the hypervisor's part included."""
        total, elsewhere = (now - before for now, before in zip(self._times(), self._start, strict=True))
        return max(0.0, elsewhere / total) if total > 0 else 0.0

    @staticmethod
    def _times() -> tuple[float, float]:
        """Seconds of all processors, and those of them in which they worked for others."""
        ticks = [int(field) for field in (_field("/proc/stat", r"cpu +(.+)") or "").split()]
        user, nice, system, idle, wait, interrupt, soft_interrupt, stolen, *_ = [*ticks, *[0] * 8]
        busy = (user + nice + system + interrupt + soft_interrupt + stolen) / os.sysconf("SC_CLK_TCK")
        # Children are counted, too: a peer may compile itself.
        return busy + (idle + wait) / os.sysconf("SC_CLK_TCK"), busy - sum(os.times()[:4])


def _field(path: str, pattern: str) -> str | None:
    """The first match in a file of the kernel, which need not exist."""
    try:
        match = re.search(pattern, Path(path).read_text())
    except OSError:
        return None
    return match[1].strip() if match else None


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"
