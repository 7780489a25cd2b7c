# SPDX-License-Identifier: Apache-2.0
"""A process that has imported what takes seconds, and forks one that goes on with a program.

A program finds nothing but these modules already there, and none of Layerwise: it imports, runs and ends as a process
of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import layerwise as lw

PACKAGE = str(Path(lw.__file__).parent.parent)

_SERVER = """
import importlib, json, os, sys

for name in sys.argv[1:]:
    importlib.import_module(name)
assert not any(name.partition(".")[0] == "layerwise" for name in sys.modules)
assert len(os.listdir("/proc/self/task")) == 1, "a fork has no other threads"
print(flush=True)
for line in sys.stdin:
    request = json.loads(line)
    child = os.fork()
    if child == 0:
        for number, file in enumerate(("/dev/null", request["printed"], request["errors"])):
            opened = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
            os.dup2(opened, number)
            os.close(opened)
        os.chdir(request["folder"])
        sys.argv = request["arguments"]
        break
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)
else:
    sys.exit()
exec(compile(request["code"], "<string>", "exec"), {"__name__": "__main__"})
"""


class Forks:
    """The process, started when first used.

    Args:
        modules: What it imports.
    """

    def __init__(self, modules: Sequence[str]) -> None:
        self._command = [sys.executable, "-c", _SERVER, *modules]
        self._process: subprocess.Popen[str] | None = None

    def output(self, code: str, folder: Path, *arguments: str) -> str:
        """What a program prints, which must succeed.

        Args:
            code: The program.
            folder: An empty one, in which it runs.
            arguments: Of the program.
        """
        if self._process is None:
            self._process = subprocess.Popen(
                self._command,
                # OpenBLAS starts its threads when it is imported.
                env=os.environ | {"PYTHONPATH": PACKAGE, "OPENBLAS_NUM_THREADS": "1"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            self._answer()
        printed, errors = (folder.parent / f"{folder.name}.{name}" for name in ("printed", "errors"))
        request = {
            "code": code,
            "folder": str(folder),
            "arguments": ["-c", *arguments],
            "printed": str(printed),
            "errors": str(errors),
        }
        assert self._process.stdin
        print(json.dumps(request), file=self._process.stdin, flush=True)
        status = self._answer()
        assert status == "0", printed.read_text() + errors.read_text() + f"ended with {status}"
        return printed.read_text("utf-8")

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            assert self._process.stdin
            self._process.stdin.close()
            self._process.wait()

    def _answer(self) -> str:
        assert self._process and self._process.stdout
        line = self._process.stdout.readline()
        assert line, "the process died"
        return line.strip()
