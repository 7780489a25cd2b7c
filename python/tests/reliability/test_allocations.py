# SPDX-License-Identifier: Apache-2.0
"""There is no memory for a save or a load: a clean error, nothing changed, nothing leaked.

    LAYERWISE_ALLOCATION_STEPS=2000 python -m pytest python/tests/reliability/test_allocations.py

limits the address space at as many places.  What is promised is in docs/reliability.md: the memory that a save or a
load takes is asked for before its work, and every buffer may fail.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from reliability.support.saver import ALWAYS, Answer, Programs, Saver, amount

pytestmark = pytest.mark.spawns

STEPS = amount("LAYERWISE_ALLOCATION_STEPS", 200)
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


def fail_saves(saver: Saver, path: Path, function: str, forever: bool) -> tuple[int, int]:
    """Save version 2 over version 1 with the k-th call of an allocating function failing, for each k.

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
    for k in range(1, ALWAYS):
        path.write_bytes(old)
        saver.plan(function, k, ALWAYS if forever else k, "fail")
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


def fail_loads(saver: Saver, path: Path, function: str, forever: bool) -> tuple[int, int]:
    """Load version 1 into version 2 with the k-th call of an allocating function failing, for each k."""
    saver.plan_nothing("memory")
    saver.fill(1)
    assert saver.save(path).ok
    saver.fill(2)
    digest, files = saver.ask("digest"), saver.ask("files")
    cases = refused = 0
    for k in range(1, ALWAYS):
        saver.plan(function, k, ALWAYS if forever else k, "fail")
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
@pytest.mark.parametrize("function", ["mmap", "buffer"])
def test_each_buffer_fails(programs: Programs, tmp_path: Path, function: str, fail: type, forever: bool) -> None:
    """The library takes its buffers, whose sizes come from outside, from these two, and asks mmap before the work."""
    elements = 1 << 18
    with Saver(programs, 2, elements) as saver:
        cases, refused = fail(saver, tmp_path / "model", function, forever)
        # A save needs no buffer, a load one for each part of the file that it reads.
        assert cases == refused
        assert cases >= (0 if function == "buffer" and fail is fail_saves else 1)
    print(f"{function}: {cases} of {cases} refused")


@pytest.mark.parametrize("command", ["save", "load"])
def test_nothing_is_leaked(programs: Programs, tmp_path: Path, command: str) -> None:
    path = tmp_path / "model"
    with Saver(programs) as saver:
        saver.plan_nothing("memory")
        saver.fill(1)
        assert saver.save(path).ok
        (tmp_path / "damaged").write_bytes(path.read_bytes()[:-1] + b"!")

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
        for function in ("mmap", "buffer"):
            for k in (1, 2, 3):
                saver.plan(function, k, ALWAYS, "fail")
                assert not leaks(path), (function, k)


@pytest.mark.parametrize("tensors", [2, 300])
@pytest.mark.parametrize("command", ["save", "load"])
@pytest.mark.parametrize("new", [False, True], ids=["again", "in a process that never did it before"])
def test_address_space_runs_out(programs: Programs, tmp_path: Path, command: str, tensors: int, new: bool) -> None:
    """At every limit a save or load is done, or refused and nothing has changed."""
    path = tmp_path / "model"
    with Saver(programs, tensors, 1 << 8) as saver:
        saver.fill(1)
        assert saver.save(path).ok
        if not new:
            assert saver.load(path).ok
    old = path.read_bytes()
    done = refused = 0
    with Saver(programs, tensors, 1 << 8) as saver:
        saver.fill(2)
        if not new:
            assert saver.save(tmp_path / "other").ok
            assert saver.load(path).ok
            saver.fill(2)
        digest = saver.ask("digest") if command == "load" else ""
        # From less than the work takes to more than is asked for it.
        for step in range(STEPS if not new else STEPS // 4):
            room = step * (40 << 20) // STEPS * (4 if new else 1)
            if new:
                # The child has the limit of its parent, and has not done it before.
                saver.ask("limit", room)
                answer, ending, number = saver.in_child(command, path)
                saver.ask("limit", -1)
                assert (ending, number) == ("exited", 0), room
                assert answer is not None
            else:
                saver.ask("limit", room)
                answer = saver.load(path) if command == "load" else saver.save(path)
                saver.ask("limit", -1)
            check_answer(answer)
            done += answer.ok
            refused += not answer.ok
            if command == "save":
                assert (path.read_bytes() != old) == answer.ok, room
                path.write_bytes(old)
            elif not new and answer.ok:
                assert saver.version() == 1, room
                saver.fill(2)
            elif not new:
                assert saver.ask("digest") == digest, room
    assert done > STEPS // 50 and refused >= 1
    print(f"{command} with {tensors} tensors: {done} done, {refused} refused")


def test_a_load_takes_little_more_than_the_file(programs: Programs, tmp_path: Path) -> None:
    path = tmp_path / "model"
    with Saver(programs, 8, 1 << 18) as saver:
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
        assert 32 <= refused < 64
