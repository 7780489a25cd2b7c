# SPDX-License-Identifier: Apache-2.0
"""Every allocation of a save and of a load fails, once or from then on: a clean error, nothing changed, nothing leaked.

    LAYERWISE_ALLOCATION_STRIDE=1 python -m pytest python/tests/reliability/test_allocations.py

tries every one also with a hundred tensors.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from reliability.support.saver import ALWAYS, Answer, Programs, Saver, amount

STRIDE = amount("LAYERWISE_ALLOCATION_STRIDE", 199)
# The least that malloc hands out is 32 bytes, and mmap a page.  What the allocator splits off or adds to its heap comes
# and goes, by up to some KiB and 64 pages, however often something is done; so what looks like a leak is done oftener.
LEAK_BYTES, LEAK_PAGES = 32, 1
OFTEN = (20, 400)


def check_answer(answer: Answer) -> None:
    """It says that there is no memory, whoever found out."""
    if answer.code == "LW_ERROR_IO":
        assert answer.message.endswith(os.strerror(errno.ENOMEM))
    else:
        assert answer.code in ("LW_OK", "LW_ERROR_OUT_OF_MEMORY")


def fail_saves(saver: Saver, path: Path, forever: bool, stride: int) -> tuple[int, int]:
    """Save version 2 over version 1 with the k-th allocation failing, for each k.

    Returns:
        How many k there were, and at how many the save was refused.
    """
    saver.plan_nothing("memory")
    saver.fill(1)
    assert saver.save(path).ok
    old = path.read_bytes()
    saver.fill(2)
    assert saver.save(path).ok
    new = path.read_bytes()
    digest, files = saver.ask("digest"), saver.ask("files")
    cases = refused = 0
    for k in range(1, ALWAYS, stride):
        path.write_bytes(old)
        saver.plan("memory", k, ALWAYS if forever else k, "fail")
        answer = saver.save(path)
        if saver.calls() < k:
            break
        check_answer(answer)
        assert path.read_bytes() == (new if answer.ok else old)
        assert len(list(path.parent.iterdir())) == 1
        cases += 1
        refused += not answer.ok
    assert (saver.ask("digest"), saver.ask("files")) == (digest, files)
    return cases, refused


def fail_loads(saver: Saver, path: Path, forever: bool, stride: int) -> tuple[int, int]:
    """Load version 1 into version 2 with the k-th allocation failing, for each k."""
    saver.plan_nothing("memory")
    saver.fill(1)
    assert saver.save(path).ok
    saver.fill(2)
    digest, files = saver.ask("digest"), saver.ask("files")
    cases = refused = 0
    for k in range(1, ALWAYS, stride):
        saver.plan("memory", k, ALWAYS if forever else k, "fail")
        answer = saver.load(path)
        if saver.calls() < k:
            break
        check_answer(answer)
        if answer.ok:
            assert saver.version() == 1
            saver.fill(2)
        else:
            assert saver.ask("digest") == digest
        cases += 1
        refused += not answer.ok
    assert saver.ask("files") == files
    return cases, refused


@pytest.mark.parametrize("forever", [False, True], ids=["once", "for ever"])
@pytest.mark.parametrize("fail", [fail_saves, fail_loads])
def test_each_allocation_fails(programs: Programs, tmp_path: Path, fail: type, forever: bool) -> None:
    with Saver(programs) as saver:
        cases, refused = fail(saver, tmp_path / "model", forever, 1)
        assert cases > 300
        assert refused > (200 if forever else 2)
    print(f"{cases} of {cases} with 2 tensors, {refused} refused")


@pytest.mark.parametrize("forever", [False, True], ids=["once", "for ever"])
@pytest.mark.parametrize("fail", [fail_saves, fail_loads])
def test_with_many_tensors(programs: Programs, tmp_path: Path, fail: type, forever: bool) -> None:
    with Saver(programs, 100) as saver:
        cases, refused = fail(saver, tmp_path / "model", forever, STRIDE)
        assert cases * STRIDE > 5000
    print(f"{cases} of {cases} with 100 tensors, {refused} refused")


@pytest.mark.parametrize("command", ["save", "load"])
def test_in_a_process_that_never_did_it_before(programs: Programs, tmp_path: Path, command: str) -> None:
    # The run time makes what it needs to know of a type when it first meets it.
    path = tmp_path / "model"
    with Saver(programs) as saver:
        saver.plan_nothing("memory")
        saver.fill(1)
        assert saver.save(path).ok
        assert saver.load(path).ok
        calls = saver.calls()
    cases = 0
    with Saver(programs) as saver:
        saver.fill(2)
        for forever in (False, True):
            # It made 100 more the first time; with room to spare.
            for k in range(1, 2 * calls, 1 if STRIDE == 1 else 3):
                saver.plan("memory", k, ALWAYS if forever else k, "fail")
                answer, ending, number = saver.in_child(command, path)
                assert (ending, number) == ("exited", 0), (k, forever)
                assert answer is not None
                check_answer(answer)
                cases += 1
    print(f"{cases} of {cases} in new processes")


@pytest.mark.parametrize("command", ["save", "load"])
def test_nothing_is_leaked(programs: Programs, tmp_path: Path, command: str) -> None:
    path = tmp_path / "model"
    with Saver(programs) as saver:
        saver.plan_nothing("memory")
        saver.fill(1)
        assert saver.save(path).ok
        (tmp_path / "damaged").write_bytes(path.read_bytes()[:-1] + b"!")
        calls = saver.calls()

        def grows(file: Path, times: int) -> bool:
            """Whether the process then holds as much more as if each time leaked the least."""
            saver.ask(command, file)
            heap, pages = saver.numbers("heap")
            for _ in range(times):
                saver.ask(command, file)
            heap_then, pages_then = saver.numbers("heap")
            return heap_then - heap >= LEAK_BYTES * times or pages_then - pages >= LEAK_PAGES * times

        def leaks(file: Path) -> bool:
            return all(grows(file, times) for times in OFTEN)

        for file in ("model", "damaged", "none/such", "."):
            assert not leaks(tmp_path / file), file
        for forever in (False, True):
            for k in range(1, calls, 29):
                saver.plan("memory", k, ALWAYS if forever else k, "fail")
                assert not leaks(path), (k, forever)


def test_address_space_runs_out(programs: Programs, tmp_path: Path) -> None:
    path = tmp_path / "model"
    with Saver(programs, 8, 1 << 15) as saver:
        saver.plan_nothing("memory")
        saver.fill(1)
        assert saver.save(path).ok
        size = path.stat().st_size
        saver.fill(2)
        digest = saver.ask("digest")
        refused = 0
        for room in range(0, 2 * size, size // 32):
            saver.ask("limit", room)
            answer = saver.load(path)
            saver.ask("limit", -1)
            check_answer(answer)
            if answer.ok:
                assert saver.version() == 1
                saver.fill(2)
            else:
                assert saver.ask("digest") == digest
                refused += 1
        # A load takes no less than the file, and little more.
        assert 32 <= refused < 64
