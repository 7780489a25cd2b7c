# SPDX-License-Identifier: Apache-2.0
"""Tests/C/reliability/saver.c, a program that saves and loads by commands, behind the shim fault.c beside it.

No Python runs in the process that is failed or killed, so its calls are the library's.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from layerwise import _binding

ROOT = Path(__file__).resolve().parents[4]
SOURCES = ROOT / "Tests" / "C" / "reliability"
ALWAYS = 1 << 40
"""As the last call of a plan: every one from the first on."""


def amount(name: str, default: int) -> int:
    """How much of a proof to make: the environment variable `name`, for the long ones of `make prove`."""
    return int(os.environ.get(name, default))


@dataclass(frozen=True)
class Programs:
    """What was compiled."""

    saver: Path
    crowd: Path
    shim: Path


def compile_programs(folder: Path) -> Programs:
    """Compile the saver and the crowd, against the library that the package has loaded, and the shim.

    Args:
        folder: Where the programs go.
    """
    # By the name that the loader looks for, and copied: the checkout may belong to another user than the one who tests.
    library = folder / "liblayerwise.so.0"
    shutil.copyfile(_binding._library._name, library)
    compiler = ["gcc", "-std=c11", "-O1", "-Wall", "-Wextra", "-Werror"]
    shim, saver = folder / "fault.so", folder / "saver"
    subprocess.run([*compiler, "-shared", "-fPIC", SOURCES / "fault.c", "-o", shim], check=True)
    links: list[str | Path] = [library, f"-Wl,-rpath,{folder}", "-pthread", "-lm"]
    subprocess.run([*compiler, "-I", ROOT / "include", SOURCES / "saver.c", *links, "-o", saver], check=True)
    crowd = folder / "crowd"
    subprocess.run([*compiler, "-I", ROOT / "include", SOURCES / "crowd.c", *links, "-o", crowd], check=True)
    return Programs(saver, crowd, shim)


class Answer(NamedTuple):
    """Of a save or load."""

    code: str
    message: str

    @property
    def ok(self) -> bool:
        return self.code == "LW_OK"


class Call(NamedTuple):
    """One line of a trace; fault.c explains the columns."""

    name: str
    path: str
    other: str
    descriptor: int
    argument: int
    result: int
    reason: int


def read_trace(path: Path) -> list[Call]:
    """The calls of a trace, in order."""
    calls = []
    for line in path.read_text().splitlines():
        name, first, second, *numbers = line.split("\t")
        calls.append(Call(name, first, second, *map(int, numbers)))
    return calls


class Saver:
    """A running saver.  Nothing is wrong with its calls until `plan` says so.

    Args:
        programs: What was compiled.
        tensors: How many tensors of float32 its AdamW has, each in a layer of its own.
        elements: Of each tensor.
        sync: Whether fsync does anything.  It takes most of a save's time, and only a power failure tells the
            difference.
    """

    def __init__(self, programs: Programs, tensors: int = 2, elements: int = 16, *, sync: bool = False) -> None:
        # Without Swift's handlers a crash ends the process at once.
        environment = os.environ | {"SWIFT_BACKTRACE": "enable=no", "LD_PRELOAD": str(programs.shim)}
        # Else the allocator counts what a thread has given back as in use.
        environment["GLIBC_TUNABLES"] = "glibc.malloc.tcache_count=0"
        self._process = subprocess.Popen(
            [programs.saver, str(tensors), str(elements)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
        )
        self.ask("sync", int(sync))

    def __enter__(self) -> Saver:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._process.kill()
        self._process.communicate()
        if error is None:
            assert self._process.returncode == 0

    def line(self) -> str:
        """The next line that it writes."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line.endswith("\n"), f"the saver ended with status {self._process.wait()}"
        return line[:-1]

    def ask(self, *words: object) -> str:
        """Its answer to a command."""
        assert self._process.stdin is not None
        self._process.stdin.write("\t".join(map(str, words)) + "\n")
        self._process.stdin.flush()
        return self.line()

    def numbers(self, *words: object) -> list[int]:
        """Its answer, where that is numbers."""
        return [int(word) for word in self.ask(*words).split("\t")]

    def plan(self, calls: str, first: int, last: int, action: str, argument: int = 0) -> None:
        """From now on the calls from `first` to `last` of each save and load meet `action`."""
        self.ask("plan", calls, first, last, action, argument)

    def plan_nothing(self, calls: str = "files") -> None:
        """Only count."""
        self.plan(calls, 1, 0, "nothing")

    def fill(self, version: int) -> None:
        """Make everything what that version is."""
        self.ask("fill", version)

    def save(self, path: Path) -> Answer:
        return Answer(*self.ask("save", path).split("\t"))

    def load(self, path: Path) -> Answer:
        return Answer(*self.ask("load", path).split("\t"))

    def version(self) -> int:
        """Which one is here; -1 if it is not one as a whole."""
        return int(self.ask("version"))

    def version_of(self, path: Path) -> int:
        """Which one a file holds, loaded without faults."""
        self.plan_nothing()
        answer = self.load(path)
        assert answer.ok, answer
        return self.version()

    def calls(self) -> int:
        """How many of the planned kind the last save or load made."""
        return int(self.ask("calls"))

    def trace(self, command: str, path: Path, log: Path) -> list[Call]:
        """The file calls of a save or load that succeeds."""
        self.ask("trace", log)
        answer = Answer(*self.ask(command, path).split("\t"))
        self.ask("trace", "")
        assert answer.ok, answer
        return read_trace(log)

    def in_child(self, command: str, path: Path) -> tuple[Answer | None, str, int]:
        """Do it in a forked child.

        Returns:
            Its answer, unless it ended before that; "killed" or "exited"; by which signal, or with which status.
        """
        first = self.ask("fork", command, path)
        answer = None
        if not first.startswith(("killed", "exited")):
            answer = Answer(*first.split("\t"))
            first = self.line()
        ending, number = first.split("\t")
        return answer, ending, int(number)


def contents(folder: Path) -> dict[str, bytes]:
    """The files of a folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}
