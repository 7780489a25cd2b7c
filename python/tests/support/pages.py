# SPDX-License-Identifier: Apache-2.0
"""The pages of the documentation, and the blocks of code on them.

The tests run every block of Python, C, C++ and Swift, and compare what it prints with the block of text right after it.
A comment before a block, ``<!-- fragment: reason -->``, marks one that cannot be run and says why.
"""

import os
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[3]

READMES = ("README.md", "python/README.md")
"""Each block stands by itself there; on the pages of docs the blocks of a page share their names."""

PAGES = (*READMES, *sorted(f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md")))
"""Every page with code for readers."""

DOCUMENTS = (
    *PAGES,
    "CONTRIBUTING.md",
    "docs/examples/README.md",
    *sorted(f"docs/decisions/{page.name}" for page in (ROOT / "docs" / "decisions").glob("*.md")),
)
"""Every page with links."""

RUN, SHOWN = ("python", "c", "cpp", "swift"), ("sh", "text")
"""Languages of blocks that are run, and of blocks that are only shown."""

_BLOCK = re.compile(
    r"^(?:<!-- fragment: (?P<reason>[^\n]+) -->\n)?```(?P<language>[^\n]*)\n(?P<code>.*?)^```$"
    r"(?:\n\n^```text\n(?P<output>.*?)^```$)?",
    re.DOTALL | re.MULTILINE,
)


@dataclass(frozen=True)
class Block:
    """One block of code."""

    page: str
    line: int
    """Of its first line of code, counted from 1."""
    language: str
    code: str
    output: str | None
    """The block of text after it."""
    reason: str | None
    """Why it is a fragment; None if it is run."""

    @property
    def id(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(page: str) -> list[Block]:
    """Every block of a page, in its order."""
    text = (ROOT / page).read_text("utf-8")
    return [
        Block(
            page,
            text.count("\n", 0, found.start("code")) + 1,
            found["language"],
            found["code"],
            found["output"],
            found["reason"],
        )
        for found in _BLOCK.finditer(text)
    ]


def runnable(language: str, pages: Sequence[str] = PAGES) -> list[Block]:
    """Every block of a language that is no fragment."""
    return [block for page in pages for block in blocks(page) if block.language == language and block.reason is None]


def check_output(block: Block, printed: str) -> None:
    """The program printed what the page shows, but for blanks at the ends of lines."""
    if block.output is not None:
        lines = [line.rstrip() for line in printed.rstrip().split("\n")]
        assert lines == block.output.rstrip().split("\n"), block.id


def output(command: Sequence[str | Path], folder: Path, **environment: str) -> str:
    """What a command prints; it must succeed."""
    result = subprocess.run(
        command, cwd=folder, env=os.environ | environment, capture_output=True, text=True, timeout=600
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout
