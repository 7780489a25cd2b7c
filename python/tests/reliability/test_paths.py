# SPDX-License-Identifier: Apache-2.0
"""What a save does with the file that is there: its mode, its owner, links to it, and what is no file."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from reliability.support.saver import Answer, Programs, Saver, contents

pytestmark = pytest.mark.spawns


@pytest.fixture(scope="module")
def saver(programs: Programs) -> Iterator[Saver]:
    with Saver(programs) as saver:
        saver.plan_nothing()
        saver.fill(1)
        yield saver


@pytest.fixture
def umask() -> Iterator[int]:
    # That of the saver, which is a child.
    mask = os.umask(0)
    os.umask(mask)
    yield mask


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("kept", [0o600, 0o444, 0o666, 0o751, 0o2640])
def test_the_mode_is_kept(saver: Saver, tmp_path: Path, kept: int) -> None:
    path = tmp_path / "model"
    path.write_bytes(b"old")
    path.chmod(kept)
    assert saver.save(path).ok
    assert mode(path) == kept
    assert saver.version_of(path) == 1


def test_a_new_file_has_the_mode_of_the_umask(saver: Saver, tmp_path: Path, umask: int) -> None:
    path = tmp_path / "model"
    assert saver.save(path).ok
    assert mode(path) == 0o666 & ~umask


def test_the_owner_is_kept(saver: Saver, tmp_path: Path) -> None:
    path = tmp_path / "model"
    path.write_bytes(b"old")
    # Only root may give files away.
    owner = (12345, 23456) if os.geteuid() == 0 else (os.geteuid(), os.getegid())
    os.chown(path, *owner)
    path.chmod(0o640)
    assert saver.save(path).ok
    status = path.stat()
    assert (status.st_uid, status.st_gid, mode(path)) == (*owner, 0o640)


@pytest.mark.parametrize("relative", [True, False])
@pytest.mark.parametrize("exists", [True, False])
def test_a_link_is_followed(saver: Saver, tmp_path: Path, relative: bool, exists: bool) -> None:
    target = tmp_path / "far" / "target"
    target.parent.mkdir()
    if exists:
        target.write_bytes(b"old")
        target.chmod(0o600)
    near = tmp_path / "near"
    near.mkdir()
    (near / "second").symlink_to("../far/target" if relative else target)
    link = near / "link"
    link.symlink_to("second" if relative else near / "second")
    assert saver.save(link).ok
    assert link.is_symlink() and (near / "second").is_symlink() and not target.is_symlink()
    assert saver.version_of(target) == saver.version_of(link) == 1
    # The temporary file was beside the target: a rename goes no further than its file system.
    assert list(contents(target.parent)) == ["target"]
    assert sorted(contents(near)) == ["link", "second"]
    if exists:
        assert mode(target) == 0o600


def test_other_names_of_the_old_file_keep_it(saver: Saver, tmp_path: Path) -> None:
    path, other = tmp_path / "model", tmp_path / "other"
    path.write_bytes(b"old")
    other.hardlink_to(path)
    assert saver.save(path).ok
    assert other.read_bytes() == b"old"


def refused(saver: Saver, path: Path) -> Answer:
    """A save there is refused, a load likewise, and no file stays open; how the save was."""
    files, digest = saver.ask("files"), saver.ask("digest")
    folder = path.parent
    before = sorted(os.listdir(folder)) if folder.is_dir() else None
    answer = saver.save(path)
    assert answer.code == "LW_ERROR_IO"
    assert f"{folder}/" in answer.message
    assert saver.load(path).code == "LW_ERROR_IO"
    assert (saver.ask("files"), saver.ask("digest")) == (files, digest)
    assert before == (sorted(os.listdir(folder)) if folder.is_dir() else None)
    return answer


def test_what_is_no_file(saver: Saver, tmp_path: Path) -> None:
    folder, pipe, circle = tmp_path / "folder", tmp_path / "pipe", tmp_path / "circle"
    folder.mkdir()
    assert "not a regular file" in refused(saver, folder).message
    os.mkfifo(pipe)
    # Nobody writes into it, and nobody waits for that.
    assert "not a regular file" in refused(saver, pipe).message
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    circle.symlink_to("circle")
    assert "Too many levels of symbolic links" in refused(saver, circle).message
    assert "not a regular file" in refused(saver, Path("/dev/null")).message


def test_where_no_file_can_be(saver: Saver, tmp_path: Path) -> None:
    assert "No such file or directory" in refused(saver, tmp_path / "none" / "model").message
    (tmp_path / "file").write_bytes(b"")
    assert "Not a directory" in refused(saver, tmp_path / "file" / "model").message
    assert "File name too long" in refused(saver, tmp_path / ("m" * 256)).message
    assert saver.save(Path(tmp_path / ("m" * 255))).ok
    assert saver.ask("save", "").startswith("LW_ERROR_IO\t")


def test_a_folder_that_is_read_only(programs: Programs, tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    path = folder / "model"
    path.write_bytes(b"old")
    folder.chmod(0o555)
    # Root may write there all the same, so it gives that right up.  It stays the owner of every folder on the way.
    rights = "-dac_override,-dac_read_search"
    first = ["setpriv", f"--inh-caps={rights}", f"--bounding-set={rights}"] if os.access(folder, os.W_OK) else []
    result = subprocess.run(
        [*first, programs.saver, "2", "16"], input=f"fill\t1\nsave\t{path}\n", capture_output=True, text=True
    )
    folder.chmod(0o755)
    assert "LW_ERROR_IO" in result.stdout and "Permission denied" in result.stdout, result
    assert contents(folder) == {"model": b"old"}


def test_temporary_files_of_others_stay(saver: Saver, tmp_path: Path) -> None:
    path = tmp_path / "model"
    others = [tmp_path / ".layerwise-00000000-1-0.tmp", tmp_path / "model.tmp", tmp_path / ".layerwise-x"]
    for other in others:
        other.write_bytes(b"")
    assert saver.save(path).ok
    assert sorted(contents(tmp_path)) == sorted([*(other.name for other in others), "model"])
