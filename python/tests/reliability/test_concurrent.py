# SPDX-License-Identifier: Apache-2.0
"""Eight processes save to one path and eight load from it: every load finds a whole version.

    LAYERWISE_CROWD_SECONDS=60 python -m pytest python/tests/reliability/test_concurrent.py

does so for a minute.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from reliability.support.saver import ALWAYS, Programs, Saver, amount, contents

SECONDS = amount("LAYERWISE_CROWD_SECONDS", 5)


@pytest.mark.parametrize("microseconds", [0, 300], ids=["at once", "with pauses between the calls"])
def test_eight_writers_and_eight_readers(programs: Programs, tmp_path: Path, microseconds: int) -> None:
    path = tmp_path / "model"
    with Saver(programs, 8, 256) as saver:
        if microseconds:
            # So that each meets the others in other places.
            saver.plan("files", 1, ALWAYS, "delay", microseconds)
        saves, loads, torn, refused = saver.numbers("crowd", path, 8, 8, 500 * SECONDS)
        assert (torn, refused) == (0, 0)
        assert min(saves, loads) > 32
        assert list(contents(tmp_path)) == ["model"]
        assert saver.version_of(path) >= 1
    print(f"{saves} saves and {loads} loads in {SECONDS / 2} s")
