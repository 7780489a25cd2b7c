# SPDX-License-Identifier: Apache-2.0
"""Which tests are run together and in which order, and the fixtures of several folders.

`make check` leaves out the tests that start processes, which have the mark `spawns`, and the files in `LONG`.  `make
test` runs everything in several workers of pytest-xdist: what shares processes that are slow to start stays on one
worker, and what takes longest comes first.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from torch_optim.support.processes import Processes

# torch's threads wait for work by sleeping: by default they spin, and take the processors from the other workers.
# OpenMP reads this when torch is first imported, which is later.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

# pip compiles nothing in .venv, so that Python keeps what it compiles when a module is first imported.  Where that
# is switched off, every worker and every process of a test compiles jax, torch and the others again.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# Else torch's compiler starts a process that imports torch, for the few lines that it compiles here.
os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")

SHARED = {"processes": "processes", "elsewhere": "instruction sets", "corpus": "corpus"}
"""Fixtures that are made once for many tests, and take seconds: their tests are of one group."""

LONG = (
    # Whole runs of examples, in which the library is as in shorter tests.
    "test_demo.py",
    "test_finetune_minilm.py",
    "test_notebooks.py",
    # Every rule and option beside other libraries, whose import alone takes seconds.
    "test_conformance_keras.py",
    "test_conformance_optax.py",
    "test_keras.py",
    "test_momo.py",
    "test_optax.py",
    "test_parity_*.py",
    # Products of rules, types and options.  test_rules.py and test_step.py, which stay, have single ones.
    "test_extremes.py",
    "test_numerics.py",
    "test_preview.py",
    "test_schedule_properties.py",
    "test_state_machine.py",
    "reliability/*.py",
    "torch_optim/test_contract.py",
    "torch_optim/test_cost.py",
    "torch_optim/test_inputs_of_torch.py",
    "torch_optim/test_memory.py",
    "torch_optim/test_parity.py",
    "torch_optim/test_refusals.py",
    "torch_rates/test_bits.py",
    # Frameworks around torch, and seconds of work for each fault of a kernel.
    "torch_optim/test_with_*.py",
    "torch_rates/test_frameworks.py",
    "test_command.py",
)
"""Files that `--quick` leaves out: half of the tests that start no process, and most of their time."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add what `make check` is run with."""
    parser.addoption("--quick", action="store_true", help="leave out the files that take longest")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave long files out before they are imported."""
    if not config.getoption("--quick"):
        return None
    path = collection_path.relative_to(Path(__file__).parent)
    return True if any(path.match(pattern) for pattern in LONG) else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Group the tests that share a slow fixture, and put what starts processes first."""
    for item in items:
        for fixture in getattr(item, "fixturenames", ()):
            if fixture in SHARED:
                item.add_marker(pytest.mark.xdist_group(SHARED[fixture]))
    items.sort(key=lambda item: item.get_closest_marker("spawns") is None)


def pytest_configure(config: pytest.Config) -> None:
    """Without the tests that start processes, no test may start one: it would lack its mark."""
    if config.option.markexpr != "not spawns":
        return

    def refuse(event: str, arguments: tuple[Any, ...]) -> None:
        test = os.environ.get("PYTEST_CURRENT_TEST")
        if test and (event == "os.fork" or (event == "subprocess.Popen" and arguments[0] in (sys.executable, "gcc"))):
            raise RuntimeError(f"{test} starts a process and has no mark `spawns`")

    sys.addaudithook(refuse)


@pytest.fixture(scope="module", autouse=True)
def _nothing_old_to_collect() -> None:
    """Keep the cycle collector from what imports and earlier modules have made, which takes half a second."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def processes() -> Iterator[Processes]:
    """Two processes joined by gloo, started when first used.  They are here to be the same for every folder."""
    from torch_optim.support.processes import Processes

    processes = Processes()
    yield processes
    processes.stop()


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Products of matrices are added up in another order by several threads; the spawned processes have one each."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
