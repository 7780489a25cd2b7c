# SPDX-License-Identifier: Apache-2.0
"""Processes that tests share, and how many threads torch has."""

from collections.abc import Iterator

import pytest
import torch

from torch_optim.support.processes import Processes


@pytest.fixture(scope="session")
def processes() -> Iterator[Processes]:
    """Two processes joined by gloo, started when first used."""
    processes = Processes()
    yield processes
    processes.stop()


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Products of matrices are added up in another order by several threads; the spawned processes have one each."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
