# SPDX-License-Identifier: Apache-2.0
"""No step but the first allocates, whatever is asked of it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import layerwise as lw

pytestmark = pytest.mark.spawns

TESTS = Path(__file__).parent


@pytest.mark.parametrize("memory", ["library", "caller"])
def test_no_step_allocates(memory: str, tmp_path: Path) -> None:
    counter = tmp_path / "allocations.so"
    source = TESTS / "support" / "allocations.c"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", str(source), "-o", str(counter)], check=True)
    path = os.pathsep.join([str(TESTS), str(Path(lw.__file__).parent.parent)])
    ran = subprocess.run(
        [sys.executable, "-m", "support.step_allocations", memory],
        env=os.environ | {"PYTHONPATH": path, "LD_PRELOAD": str(counter)},
        capture_output=True,
        text=True,
        timeout=1200,
    )
    assert ran.returncode == 0, ran.stderr
    *allocating, closing = ran.stdout.splitlines()
    assert allocating == []
    assert int(closing.split()[0]) > 600
