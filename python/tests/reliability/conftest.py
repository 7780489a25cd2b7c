# SPDX-License-Identifier: Apache-2.0
"""C programs that tests share, compiled once."""

from pathlib import Path

import pytest

from reliability.support.saver import Programs, compile_programs


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Programs:
    """The saver and the shim of Tests/C/reliability."""
    return compile_programs(Path(tmp_path_factory.mktemp("programs")))
