# SPDX-License-Identifier: Apache-2.0
"""Every file call of a save and of a load fails, once or from then on, with every errno, or does but a part."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from reliability.support.saver import ALWAYS, Answer, Call, Programs, Saver, contents

pytestmark = pytest.mark.spawns

REASONS = ["EIO", "ENOSPC", "EDQUOT", "EROFS", "EACCES", "EPERM", "EINVAL", "ENOENT", "EEXIST", "EMFILE", "ENOMEM"]
REASONS += ["ENOSYS", "EINTR"]

# Where a save goes on.  Looking for what killed processes left is for tidiness alone; locks are not everywhere.
TOLERATED = {(name, reason) for name in ("fdopendir", "readdir", "closedir", "flock") for reason in REASONS}
# Not there yet, or not a link.
TOLERATED |= {("realpath", "ENOENT"), ("look", "ENOENT"), ("readlink", "ENOENT"), ("readlink", "EINVAL")}
# Whoever may not give files away keeps them.
TOLERATED |= {("fchown", "EPERM")}
# What is only interrupted is done again; a descriptor is closed all the same.
TOLERATED |= {
    ("create", "EINTR"),
    ("create", "EEXIST"),
    ("write", "EINTR"),
    ("open folder", "EINTR"),
    ("close", "EINTR"),
}
# A file system that cannot sync folders.
TOLERATED |= {("sync folder", "EINVAL")}


def role(calls: list[Call], index: int) -> str:
    """What a call is there for, where its name does not tell."""
    call = calls[index]
    renamed = [other.name for other in calls].index("renameat")
    created = next(i for i, other in enumerate(calls) if other.other == "create")
    if call.name == "fstatat" and not call.path.startswith(".layerwise-"):
        return "look"
    if call.name in ("openat", "flock", "fstat", "fstatat", "unlinkat", "close") and index < created:
        return "tidy"
    if call.name in ("open", "openat"):
        return "create" if index == created else "open folder"
    if call.name == "fsync":
        return "sync folder" if index > renamed else "sync"
    if call.name == "close" and calls[index - 1].name == "fsync":
        return "close folder"
    return call.name


@pytest.fixture(scope="module")
def saver(programs: Programs) -> Iterator[Saver]:
    with Saver(programs) as saver:
        yield saver


class Place:
    """A path to save to, as it is found before each save.

    Args:
        folder: An empty one.
        saver: Which is at version 2 when the constructor returns.
        kind: "old" has version 1 at the path; "abandoned" too, and a temporary file that a killed process left; "new"
            has nothing; "link" has a symbolic link to nothing.
    """

    def __init__(self, folder: Path, saver: Saver, kind: str) -> None:
        self.kind = kind
        self.folder = folder / "files"
        self.folder.mkdir()
        self.log = folder / "trace"
        self.path = self.folder / "model"
        saver.plan_nothing()
        self.versions = []
        for version in (1, 2):
            saver.fill(version)
            assert saver.save(self.path).ok
            self.versions.append(self.path.read_bytes())
        saver.plan("renameat", 1, 1, "kill_before")
        _, ending, _ = saver.in_child("save", self.path)
        assert ending == "killed"
        saver.plan_nothing()
        (self.leftover,) = [path for path in self.folder.iterdir() if path != self.path]
        self.prepare()

    def prepare(self) -> None:
        """Put everything back."""
        for path in self.folder.iterdir():
            path.unlink()
        if self.kind == "link":
            self.path.symlink_to("target")
        elif self.kind != "new":
            self.path.write_bytes(self.versions[0])
        if self.kind == "abandoned":
            self.leftover.write_bytes(self.versions[1][:100])

    @property
    def old(self) -> dict[str, bytes]:
        """The folder's files as before, with none that was left behind."""
        return {} if self.kind in ("new", "link") else {"model": self.versions[0]}

    @property
    def new(self) -> dict[str, bytes]:
        """The folder's files after a save."""
        if self.kind == "link":
            return {"model": self.versions[1], "target": self.versions[1]}
        return {"model": self.versions[1]}

    def found(self) -> dict[str, bytes]:
        """The files that are there now; a link that leads nowhere is none."""
        return {path.name: path.read_bytes() for path in self.folder.iterdir() if path.exists()}

    def calls(self, saver: Saver) -> list[Call]:
        """Of a save without faults."""
        saver.plan_nothing()
        calls = saver.trace("save", self.path, self.log)
        assert self.found() == self.new
        self.prepare()
        return calls


def check_refused(answer: Answer, reason: str) -> None:
    assert answer.code == "LW_ERROR_IO"
    assert os.strerror(getattr(errno, reason)) in answer.message


KINDS = ["old", "abandoned", "new", "link"]


@pytest.mark.parametrize("kind", KINDS)
def test_each_failure_of_each_call_of_a_save(saver: Saver, tmp_path: Path, kind: str) -> None:
    place = Place(tmp_path, saver, kind)
    calls = place.calls(saver)
    renamed = [call.name for call in calls].index("renameat")
    tidied = max((index for index in range(renamed) if role(calls, index) == "tidy"), default=-1)
    digest, files = saver.ask("digest"), saver.ask("files")
    cases = refused = 0
    for index in range(len(calls)):
        what = role(calls, index)
        for reason in REASONS:
            place.prepare()
            saver.plan("files", index + 1, index + 1, "fail", getattr(errno, reason))
            answer = saver.save(place.path)
            found = place.found()
            if index <= tidied:
                found.pop(place.leftover.name, None)
            context = (what, index, reason, answer)
            if what in ("tidy", "close folder") or (what, reason) in TOLERATED:
                assert answer.ok, context
                # A link of which it is said that it is none is replaced.
                replaced = what == "readlink" and calls[index].path == str(place.path)
                assert found == ({"model": place.versions[1]} if replaced else place.new), context
            else:
                refused += 1
                check_refused(answer, reason)
                assert found == (place.new if index > renamed else place.old), context
                assert (index > renamed) == ("new" in answer.message.replace(str(tmp_path), "")), context
            cases += 1
        assert (saver.ask("digest"), saver.ask("files")) == (digest, files), what
    assert cases == len(calls) * len(REASONS)
    assert refused > 100
    print(f"{kind}: {cases} of {cases} failures, {refused} refused")


@pytest.mark.parametrize("kind", KINDS)
def test_every_call_fails_from_one_on(saver: Saver, tmp_path: Path, kind: str) -> None:
    place = Place(tmp_path, saver, kind)
    calls = place.calls(saver)
    names = [call.name for call in calls]
    renamed = names.index("renameat")
    digest, files = saver.ask("digest"), saver.ask("files")
    for index in range(len(calls)):
        for reason in ("EIO", "ENOSPC"):
            place.prepare()
            saver.plan("files", index + 1, ALWAYS, "fail", getattr(errno, reason))
            answer = saver.save(place.path)
            found = place.found()
            # That a temporary file cannot be removed either is no fault of the save's; the next one does.
            left = {name for name in found if name.startswith(".layerwise-")}
            for name in left:
                del found[name]
            assert len(left) <= 2, (names[index], left)
            if role(calls, index) == "close folder":
                assert answer.ok
            else:
                check_refused(answer, reason)
            assert found == (place.new if index > renamed else place.old), (names[index], answer)
            saver.plan_nothing()
            assert saver.save(place.path).ok
            assert place.found() == place.new
    assert (saver.ask("digest"), saver.ask("files")) == (digest, files)


def test_a_sync_that_failed_is_never_tried_again(saver: Saver, tmp_path: Path) -> None:
    place = Place(tmp_path, saver, "old")
    for first in (1, 2):
        for reason in REASONS:
            place.prepare()
            saver.plan("fsync", first, ALWAYS, "fail", getattr(errno, reason))
            saver.ask("trace", place.log)
            saver.save(place.path)
            saver.ask("trace", "")
            assert saver.calls() == first, reason


@pytest.mark.parametrize("bytes_at_once", [1, 7, 100])
def test_writes_that_are_cut_short_go_on(saver: Saver, tmp_path: Path, bytes_at_once: int) -> None:
    place = Place(tmp_path, saver, "old")
    saver.plan("write", 1, ALWAYS, "shorten", bytes_at_once)
    assert saver.save(place.path).ok
    assert saver.calls() >= len(place.versions[1]) / bytes_at_once
    assert place.found() == place.new


def test_a_write_of_nothing_is_a_full_disk(saver: Saver, tmp_path: Path) -> None:
    place = Place(tmp_path, saver, "old")
    saver.plan("write", 3, ALWAYS, "shorten", 0)
    check_refused(saver.save(place.path), "ENOSPC")
    assert saver.calls() == 3
    assert place.found() == place.old


def test_each_failure_of_each_call_of_a_load(saver: Saver, tmp_path: Path) -> None:
    place = Place(tmp_path, saver, "old")
    saver.fill(3)
    digest, files = saver.ask("digest"), saver.ask("files")
    saver.plan_nothing()
    calls = saver.trace("load", place.path, place.log)
    assert [call.name for call in calls] == ["open", "fstat", "pread", "pread", "pread", "close"]
    for index, call in enumerate(calls):
        for reason in REASONS:
            for last in (index + 1, ALWAYS):
                # A call that is always interrupted is repeated without end.
                if reason == "EINTR" and last == ALWAYS and call.name in ("open", "pread"):
                    continue
                saver.fill(3)
                saver.plan("files", index + 1, last, "fail", getattr(errno, reason))
                answer = saver.load(place.path)
                if call.name == "close" or (reason == "EINTR" and call.name != "fstat"):
                    assert answer.ok, (call.name, reason, answer)
                    assert saver.version() == 1
                else:
                    check_refused(answer, reason)
                    assert saver.ask("digest") == digest, (call.name, reason)
                assert saver.ask("files") == files
    assert contents(place.folder) == place.old


@pytest.mark.parametrize("bytes_at_once", [1, 100])
def test_reads_that_are_cut_short_go_on(saver: Saver, tmp_path: Path, bytes_at_once: int) -> None:
    place = Place(tmp_path, saver, "old")
    saver.plan("pread", 1, ALWAYS, "shorten", bytes_at_once)
    assert saver.load(place.path).ok
    assert saver.calls() >= len(place.versions[0]) / bytes_at_once
    assert saver.version() == 1


@pytest.mark.parametrize("read", [1, 2, 3])
def test_a_file_that_becomes_shorter_while_it_is_read(saver: Saver, tmp_path: Path, read: int) -> None:
    place = Place(tmp_path, saver, "old")
    digest, files = saver.ask("digest"), saver.ask("files")
    saver.plan("pread", read, ALWAYS, "shorten", 0)
    assert saver.load(place.path) == ("LW_ERROR_CORRUPT", f"{place.path} became shorter while it was read")
    assert (saver.ask("digest"), saver.ask("files")) == (digest, files)


@pytest.mark.parametrize("kind", KINDS)
def test_each_function_fails_for_ever(saver: Saver, tmp_path: Path, kind: str) -> None:
    place = Place(tmp_path, saver, kind)
    names = sorted({call.name for call in place.calls(saver)})
    for name in names:
        place.prepare()
        saver.plan(name, 1, ALWAYS, "fail", errno.EIO)
        answer = saver.save(place.path)
        found = place.found()
        # Where it cannot be looked for or removed.
        found.pop(place.leftover.name, None)
        assert not [file for file in found if file.startswith(".layerwise-")], name
        # They come after the rename, or in the tidying.
        in_place = answer.ok or name == "close"
        assert found == (place.new if in_place else place.old), (name, answer)
        if not answer.ok:
            check_refused(answer, "EIO")
        assert answer.ok == (name in ("fdopendir", "readdir", "closedir", "flock", "unlinkat")), (name, answer)
