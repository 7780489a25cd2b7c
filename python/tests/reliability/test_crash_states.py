# SPDX-License-Identifier: Apache-2.0
"""The power fails at any moment of a save: whatever the disk may hold then, it is the old file or the new one.

    LAYERWISE_CRASH_TENSORS=2 python -m pytest python/tests/reliability/test_crash_states.py

replays many more of them; see support/crash_states.py for what a disk may do.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from reliability.support.crash_states import File, Kind, Operation, State, crash_states, operations
from reliability.support.saver import Programs, Saver, amount, contents

pytestmark = pytest.mark.spawns

TENSORS = amount("LAYERWISE_CRASH_TENSORS", 1)
# One that open() with the usual umask does not give.
MODE = 0o666
UMASK = 0o022


class Replay:
    """A save of version 2 over version 1, and the states that a crash may leave of it.

    Args:
        saver: Which saves and loads.
        folder: An empty one.
        exists: Whether version 1 was there before.
    """

    def __init__(self, saver: Saver, folder: Path, exists: bool) -> None:
        self.saver = saver
        self.folder = folder / "files"
        self.folder.mkdir()
        self.path = self.folder / "model"
        self.exists = exists
        if exists:
            saver.fill(1)
            assert saver.save(self.path).ok
            self.path.chmod(MODE)
        self.old = File(self.path.read_bytes(), MODE) if exists else None
        saver.fill(2)
        saver.plan_nothing()
        calls = saver.trace("save", self.path, folder / "trace")
        self.temporary = self.folder / next(call.path for call in calls if call.other == "create")
        self.new = File(self.path.read_bytes(), self.path.stat().st_mode & 0o7777)
        self.steps = operations(calls, self.new.content)

    def put(self, state: State) -> None:
        """Put a state on the real disk."""
        for path in self.folder.iterdir():
            path.unlink()
        for path, file in ((self.path, state.file), (self.temporary, state.temporary)):
            if file is not None:
                path.write_bytes(file.content)
                path.chmod(file.mode)

    def violation(self, state: State, returned: bool) -> str:
        """What is wrong with a state; "" if nothing is."""
        self.put(state)
        answer = self.saver.load(self.path)
        if state.file is None:
            return "the file is gone" if self.exists or returned else ""
        if not answer.ok:
            return answer.message
        version = self.saver.version()
        if version != 2 and (returned or not self.exists or version != 1):
            return f"version {version}"
        if self.exists and self.path.stat().st_mode & 0o7777 != MODE:
            return f"mode {self.path.stat().st_mode:o}"
        return ""


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    before = os.umask(UMASK)
    yield
    os.umask(before)


@pytest.mark.parametrize("exists", [True, False], ids=["over an old file", "a first file"])
def test_every_crash_state_is_old_or_new(programs: Programs, tmp_path: Path, exists: bool) -> None:
    with Saver(programs, TENSORS) as saver:
        replay = Replay(saver, tmp_path, exists)
        kinds = [step.kind for step in replay.steps]
        writes = 4 * TENSORS + 1
        mode = [Kind.MODE] if exists else []
        assert kinds == [
            Kind.CREATE, *mode, *[Kind.WRITE] * writes, Kind.SYNC, Kind.RENAME, Kind.SYNC_FOLDER,
        ]  # fmt: skip
        cases = 0
        seen = set()
        for state, returned in crash_states(replay.steps, replay.old, UMASK):
            cases += 1
            if (state, returned) in seen:
                continue
            seen.add((state, returned))
            assert replay.violation(state, returned) == ""
            # The next save goes on from any of them, and clears up.
            if len(seen) % 97 == 0:
                saver.fill(2)
                assert saver.save(replay.path).ok
                assert list(contents(replay.folder)) == ["model"]
        # As many as the last prefix before the sync has alone.
        assert cases > 4**writes
        assert [state for state, returned in seen if returned] == [State(replay.new, None)]
    print(f"{cases} crash states, {len(seen)} of them different, load as old or new")


def without(kind: Kind) -> Callable[[list[Operation]], list[Operation]]:
    return lambda steps: [step for step in steps if step.kind is not kind]


def moved(kind: Kind, before: Kind) -> Callable[[list[Operation]], list[Operation]]:
    def change(steps: list[Operation]) -> list[Operation]:
        (step,) = [step for step in steps if step.kind is kind]
        rest = [step for step in steps if step.kind is not kind]
        place = [step.kind for step in rest].index(before)
        return [*rest[:place], step, *rest[place:]]

    return change


def in_place(steps: list[Operation]) -> list[Operation]:
    """As most programs save: open, write, sync."""
    return [Operation(Kind.TRUNCATE), *(step for step in steps if step.kind in (Kind.WRITE, Kind.SYNC))]


MUTATIONS = {
    "no sync": without(Kind.SYNC),
    "no sync of the folder": without(Kind.SYNC_FOLDER),
    "no mode": without(Kind.MODE),
    "rename before sync": moved(Kind.RENAME, Kind.SYNC),
    "sync before the mode is set": moved(Kind.SYNC, Kind.MODE),
    "sync before writing": moved(Kind.SYNC, Kind.WRITE),
    "folder synced before the rename": moved(Kind.SYNC_FOLDER, Kind.RENAME),
    "in place": in_place,
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_what_a_worse_save_would_leave_is_noticed(programs: Programs, tmp_path: Path, name: str) -> None:
    with Saver(programs, 1) as saver:
        replay = Replay(saver, tmp_path, exists=True)
        # Its calls, as they would be.
        steps = MUTATIONS[name](replay.steps)
        assert steps != replay.steps
        # What else lies there does not matter to a load.
        files = {(state.file, returned) for state, returned in crash_states(steps, replay.old, UMASK)}
        assert any(replay.violation(State(file, None), returned) for file, returned in files)
