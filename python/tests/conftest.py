# SPDX-License-Identifier: Apache-2.0
"""Which tests are run together, and in which order.

`make check` leaves out the tests that start processes, which have the mark `spawns`.  `make test` runs everything in
several workers of pytest-xdist: what shares processes that are slow to start stays on one worker, and what takes
longest comes first.
"""

import gc
import os
import sys
from typing import Any

import pytest

# torch's threads wait for work by sleeping: by default they spin, and take the processors from the other workers.
# OpenMP reads this when torch is first imported, which is later.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

SHARED = {"processes": "processes", "elsewhere": "instruction sets", "corpus": "corpus"}
"""Fixtures that are made once for many tests, and take seconds: their tests are of one group."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Group the tests that share a slow fixture, and put what starts processes first."""
    for item in items:
        for fixture in getattr(item, "fixturenames", ()):
            if fixture in SHARED:
                item.add_marker(pytest.mark.xdist_group(SHARED[fixture]))
    items.sort(key=lambda item: item.get_closest_marker("spawns") is None)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Keep the cycle collector from what imports have made, over which a full collection takes half a second."""
    gc.collect()
    gc.freeze()


def pytest_configure(config: pytest.Config) -> None:
    """Without the tests that start processes, no test may start one: it would lack its mark."""
    if config.option.markexpr != "not spawns":
        return

    def refuse(event: str, arguments: tuple[Any, ...]) -> None:
        test = os.environ.get("PYTEST_CURRENT_TEST")
        if test and (event == "os.fork" or (event == "subprocess.Popen" and arguments[0] in (sys.executable, "gcc"))):
            raise RuntimeError(f"{test} starts a process and has no mark `spawns`")

    sys.addaudithook(refuse)
