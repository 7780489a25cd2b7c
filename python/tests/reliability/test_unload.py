# SPDX-License-Identifier: Apache-2.0
"""A host that loads the library as a plug-in may unload it while worker threads of a step still run."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from layerwise import _binding
from reliability.support.saver import ROOT, SOURCES

pytestmark = pytest.mark.spawns


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tests/C/reliability/unload.c, which is not linked against the library."""
    made = tmp_path_factory.mktemp("programs") / "unload"
    compiler = ["gcc", "-std=c11", "-O1", "-Wall", "-Wextra", "-Werror", "-pedantic"]
    subprocess.run([*compiler, "-I", ROOT / "include", SOURCES / "unload.c", "-ldl", "-o", made], check=True)
    return made


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_the_library_is_unloaded_after_a_step(program: Path, threads: int) -> None:
    for _ in range(5):
        done = subprocess.run(
            [program, _binding._library._name, str(threads)], capture_output=True, text=True, timeout=60
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "alive\n", "")
