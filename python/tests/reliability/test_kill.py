# SPDX-License-Identifier: Apache-2.0
"""A process that is killed while it saves leaves the old file or the new one, complete.

    LAYERWISE_KILLS=20000 python -m pytest python/tests/reliability/test_kill.py

kills that many at random moments.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from reliability.support.saver import Programs, Saver, amount, contents

pytestmark = pytest.mark.spawns

KILLS = amount("LAYERWISE_KILLS", 2000)


@pytest.mark.parametrize("moment", ["kill_before", "kill_within", "kill_after"])
@pytest.mark.parametrize("exists", [True, False])
def test_at_every_call_of_a_save(programs: Programs, tmp_path: Path, moment: str, exists: bool) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    path = folder / "model"
    left = 0
    with Saver(programs) as saver:
        saver.fill(1)
        saver.save(path)
        old = path.read_bytes()
        saver.fill(2)
        saver.plan_nothing()
        saver.save(path)
        new = path.read_bytes()
        names: list[str] = []
        for call in range(1, 1000):
            for file in folder.iterdir():
                file.unlink()
            if exists:
                path.write_bytes(old)
            saver.plan_nothing()
            log = tmp_path / "trace"
            if not names:
                names = [made.name for made in saver.trace("save", path, log)]
                path.unlink()
                if exists:
                    path.write_bytes(old)
            saver.fill(2)
            saver.plan("files", call, call, moment)
            answer, ending, number = saver.in_child("save", path)
            if ending == "exited":
                assert answer is not None and answer.ok and number == 0
                break
            assert (answer, number) == (None, 9)
            renamed = call > names.index("renameat") + (moment == "kill_before")
            found = contents(folder)
            assert found.get("model") == (new if renamed else old if exists else None), names[call - 1]
            left += len(found) - ("model" in found)
            # Then it goes on, as if nothing had happened.
            if "model" in found:
                assert saver.version_of(path) == (2 if renamed else 1)
            saver.fill(3)
            saver.plan_nothing()
            assert saver.save(path).ok
            assert list(contents(folder)) == ["model"], names[call - 1]
            assert saver.version_of(path) == 3
    # Not one call fewer than there are.  (A listing has as many as the folder has files.)
    assert call == len(names) + 1
    assert left > 10
    print(f"{moment}: killed at {len(names)} of {len(names)} calls")


@pytest.mark.parametrize("sync", [True, False], ids=["with sync", "without"])
def test_at_random_moments(programs: Programs, tmp_path: Path, sync: bool) -> None:
    # A process spends most of a save in fsync; without it, more of them meet the other calls.
    count = KILLS // 8 if sync else KILLS - KILLS // 8
    path = tmp_path / "model"
    with Saver(programs, 8, 64, sync=sync) as saver:
        torn, refused, in_midst = saver.numbers("kills", path, count, 17)
        assert (torn, refused) == (0, 0)
        # Else it would prove nothing.
        assert in_midst > count // 4
        saver.fill(1)
        assert saver.save(path).ok
        assert list(contents(tmp_path)) == ["model"]
        assert saver.version_of(path) == 1
    print(f"{count} kills, {in_midst} within a save, 0 torn: at 95 % fewer than {3 / count:.3%}")
