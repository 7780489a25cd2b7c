# SPDX-License-Identifier: Apache-2.0
"""What a disk may hold when the power fails at some moment of a save, from the save's own calls.

The model promises no more than POSIX and a journal do.  What was written since the last sync of the file may be there
or not, each write by itself, in any order, as a whole, by half, or as zeros.  The file's mode may be the one that it
was made with.  Names that were made or changed since the last sync of the folder may be there or not, in any order; a
rename is atomic.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import NamedTuple

from reliability.support.saver import Call


class Kind(Enum):
    CREATE = "create"
    TRUNCATE = "truncate"
    WRITE = "write"
    MODE = "mode"
    SYNC = "sync"
    RENAME = "rename"
    SYNC_FOLDER = "sync folder"


class Operation(NamedTuple):
    """One that changes what is on the disk, or makes sure of it."""

    kind: Kind
    offset: int = 0
    data: bytes = b""
    mode: int = 0


def operations(calls: Iterable[Call], content: bytes) -> list[Operation]:
    """The operations of a save that has written `content` into one temporary file, from the beginning on.

    Args:
        calls: All of them, in order.
        content: What the file has now.
    """
    result = []
    file = folder = -1
    offset = 0
    for call in calls:
        # Before that it only looks.
        assert call.reason == 0 or file < 0, call
        if call.other == "create":
            file = call.result
            result.append(Operation(Kind.CREATE, mode=call.descriptor))
        elif call.name == "open":
            folder = call.result
        elif call.name == "write":
            assert call.descriptor == file
            result.append(Operation(Kind.WRITE, offset, content[offset : offset + call.result]))
            offset += call.result
        elif call.name == "fchmod":
            result.append(Operation(Kind.MODE, mode=call.argument))
        elif call.name == "fsync":
            result.append(Operation(Kind.SYNC if call.descriptor == file else Kind.SYNC_FOLDER))
        elif call.name == "renameat":
            result.append(Operation(Kind.RENAME))
        elif call.name == "close" and call.descriptor == file:
            file = -1
        elif call.name == "close":
            assert call.descriptor == folder
    assert offset == len(content)
    return result


@dataclass(frozen=True)
class File:
    content: bytes
    mode: int


class State(NamedTuple):
    """What is on the disk: the file under its name and the temporary one, or None."""

    file: File | None
    temporary: File | None


def written(content: bytes, write: Operation, variant: str) -> bytes:
    """What a file of that content is when a write came to the disk in part."""
    data = write.data
    if variant == "half":
        data = data[: len(data) // 2]
    elif variant == "zeros":
        data = bytes(len(data))
    if not data:
        return content
    content = content.ljust(write.offset, b"\0")
    return content[: write.offset] + data + content[write.offset + len(data) :]


@dataclass
class Disk:
    """What is on the disk for certain, and what may be.

    Args:
        old: The file that was there before.
        umask: Of the process that saves.
    """

    old: File | None
    umask: int
    inode: File = File(b"", 0)
    unsynced: list[Operation] = field(default_factory=list)
    names: set[Kind] = field(default_factory=set)
    unsynced_names: list[Kind] = field(default_factory=list)
    in_place: bool = False

    def apply(self, operation: Operation) -> None:
        """Go on by an operation; what it does lasts only once it is synced."""
        match operation.kind:
            case Kind.CREATE:
                self.inode = File(b"", operation.mode & ~self.umask)
                self.unsynced_names.append(operation.kind)
            case Kind.TRUNCATE:
                assert self.old is not None
                self.in_place = True
                self.inode = self.old
                self.unsynced.append(operation)
            case Kind.WRITE | Kind.MODE:
                self.unsynced.append(operation)
            case Kind.SYNC:
                self.inode = next(self.inodes())
                self.unsynced.clear()
            case Kind.RENAME:
                self.unsynced_names.append(operation.kind)
            case Kind.SYNC_FOLDER:
                self.names.update(self.unsynced_names)
                self.unsynced_names.clear()

    def inodes(self) -> Iterator[File]:
        """What the new file may hold, the whole first."""
        variants = ("whole", "nothing", "half", "zeros")
        choices = [variants if step.kind is Kind.WRITE else variants[:2] for step in self.unsynced]
        for chosen in itertools.product(*choices):
            inode = self.inode
            for step, variant in zip(self.unsynced, chosen, strict=True):
                if variant == "nothing":
                    continue
                if step.kind is Kind.WRITE:
                    inode = replace(inode, content=written(inode.content, step, variant))
                elif step.kind is Kind.MODE:
                    inode = replace(inode, mode=step.mode)
                else:
                    inode = replace(inode, content=b"")
            yield inode

    def states(self) -> Iterator[State]:
        """Everything that a crash may leave."""
        for count in range(len(self.unsynced_names) + 1):
            for more in itertools.combinations(self.unsynced_names, count):
                names = self.names | set(more)
                for inode in self.inodes():
                    if self.in_place or Kind.RENAME in names:
                        yield State(inode, None)
                    else:
                        yield State(self.old, inode if Kind.CREATE in names else None)


def crash_states(steps: Sequence[Operation], old: File | None, umask: int) -> Iterator[tuple[State, bool]]:
    """Every state that a crash may leave, and whether the save had returned by then; states come more than once."""
    disk = Disk(old, umask)
    for done in range(len(steps) + 1):
        for state in disk.states():
            yield state, done == len(steps)
        if done < len(steps):
            disk.apply(steps[done])
