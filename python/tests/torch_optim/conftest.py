# SPDX-License-Identifier: Apache-2.0
"""Processes that tests share."""

from collections.abc import Iterator

import pytest

from torch_optim.support.processes import Processes


@pytest.fixture(scope="session")
def processes() -> Iterator[Processes]:
    """Two processes joined by gloo, started when first used."""
    processes = Processes()
    yield processes
    processes.stop()
