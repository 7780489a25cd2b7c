# SPDX-License-Identifier: Apache-2.0
"""A crafted header takes no more memory than docs/checkpoints.md says, whatever it contains.

What takes most is lists in lists in the JSON of the metadata: a list of one item is two bytes, `[` and `]`, and the
least block of memory that holds one has 64.  That is 32 times, and the header is there twice besides, as it was read
and as the text of the metadata.  The rest is for what a process takes whatever it reads.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from array import array
from itertools import islice, product
from pathlib import Path
from string import ascii_letters, digits
from typing import Any

import pytest

import layerwise as lw

pytestmark = pytest.mark.spawns

DOCS = Path(__file__).resolve().parents[3] / "docs" / "checkpoints.md"
LENGTH = 1 << 20
"""Of the header.  What a process takes besides is a few hundred KiB, less than half of it."""
LONG = 1 << 22
"""So long that what a process takes besides is less than a tenth of it."""

READER = """
import re, sys
from array import array
from ctypes import byref, c_int64
import layerwise as lw
from layerwise import _binding

def highest():
    with open("/proc/self/status") as status:
        return 1024 * int(re.search(r"VmHWM:\\s*(\\d+)", status.read())[1])

path, way = sys.argv[1:]
optimizer = lw.Optimizer(lw.AdamW(lr=0.1))
optimizer.add_layer("a", {"w": array("f", [1.0])}, {"w": array("f", [1.0])})
before = highest()
try:
    if way == "describe":
        # Without room for the answer, so that all is the library's memory.
        none = _binding.lw_progress(0)
        _binding.lw_checkpoint_describe(path.encode(), none, None, None, 0, byref(c_int64()), None)
    else:
        optimizer.load(path, strict=way == "strict", rename={"a": "a"} if way == "renamed" else None)
except lw.LayerwiseError as error:
    print(highest() - before, error)
else:
    print(highest() - before, "taken")
"""


def made() -> lw.Optimizer:
    optimizer = lw.Optimizer(lw.AdamW(lr=0.1))
    optimizer.add_layer("a", {"w": array("f", [1.0])}, {"w": array("f", [1.0])})
    return optimizer


def hostile(field: str, text: str, tensors: dict[str, Any]) -> bytes:
    """A checkpoint with this text in its metadata and these tensors of no bytes, whose checksums are right."""
    with made() as optimizer:
        good = optimizer.to_bytes()
    end = 8 + int.from_bytes(good[:8], "little")
    header = json.loads(good[8:end])
    metadata = header["__metadata__"]
    sums = json.loads(metadata["crc32c"]) | dict.fromkeys(tensors, "00000000")
    metadata |= {"crc32c": json.dumps(sums), "header_crc32c": "00000000"} | ({field: text} if field else {})
    content = json.dumps(header | tensors, ensure_ascii=False).encode()

    def file() -> bytes:
        return len(content).to_bytes(8, "little") + content + good[end:]

    # The library says what is right.
    with made() as optimizer, pytest.raises(lw.CorruptCheckpoint, match="not 00000000") as told:
        optimizer.load_bytes(file())
    right = re.search("its checksum is ([0-9a-f]{8})", str(told.value))
    assert right is not None
    content = content.replace(b'"header_crc32c": "00000000"', f'"header_crc32c": "{right[1]}"'.encode())
    return file()


def items(item: str, length: int = LENGTH) -> str:
    return "[" + ",".join([item] * (length // (len(item) + 1))) + "]"


def names(count: int) -> list[str]:
    """Of four letters."""
    return ["".join(letters) for letters in islice(product(ascii_letters + digits, repeat=4), count)]


def fields(value: str) -> str:
    """One more than a table of 2¹⁶ places holds, which may be three quarters full; the next one is twice as large."""
    return "{" + ",".join(f'"{name}":{value}' for name in names((3 << 14) + 1)) + "}"


TEXTS = {
    "lists of none": items("[]"),
    "lists of one": items("[0]"),
    "lists 8 deep": items("[" * 8 + "]" * 8),
    "lists 62 deep": items("[" * 61 + "0" + "]" * 61),
    "lists of five": items("[0,0,0,0,0]"),
    "numbers": items("0"),
    "texts": items('""'),
    "long texts": items('"0123456789abcdef"'),
    "objects": items('{"":0}'),
    "objects 62 deep": items('{"":' * 61 + "0" + "}" * 61),
    "fields": fields("0"),
    "fields of lists": fields("[0]"),
    "fields of layers": '{"layers": ' + fields("0") + "}",
}
WAYS = ("strict", "loose", "renamed", "describe")
CASES = {f"identity: {name}": ("identity", text) for name, text in TEXTS.items()} | {
    f"{field}: {name}": (field, TEXTS[name])
    for field in ("progress", "crc32c", "a text that nobody asks for")
    for name in ("lists 62 deep", "fields")
}


def taken(path: Path, content: bytes, way: str) -> tuple[float, str]:
    """How many times the header's size a reader takes at the most, and what it says."""
    path.write_bytes(content)
    done = subprocess.run([sys.executable, "-c", READER, path, way], capture_output=True, text=True, check=True)
    size, message = done.stdout.split(" ", 1)
    return int(size) / int.from_bytes(content[:8], "little"), message.strip()


def documented() -> int:
    """How many times a header's size a reader takes, as the page says."""
    found = re.search(r"(\d+) times the size of its header", DOCS.read_text())
    assert found is not None
    return int(found[1])


@pytest.mark.parametrize("case", CASES)
def test_texts(case: str, tmp_path: Path) -> None:
    content = hostile(*CASES[case], {})
    for way in WAYS:
        times, message = taken(tmp_path / "hostile", content, way)
        print(f"{times:.1f} times, {case}, {way}: {message[:60]}")
        # What is refused before it is read would say nothing.
        assert "changed" not in message
        assert times <= documented(), way


TENSORS = {
    "many": (names((3 << 13) + 1), [0]),
    "of rank 16": (names((3 << 13) + 1), [0] * 16),
    "of long names": ([f"{name}/{'n' * 60}/{'s' * 12}" for name in names((3 << 12) + 1)], [0]),
}


@pytest.mark.parametrize("case", TENSORS)
def test_tensors(case: str, tmp_path: Path) -> None:
    keys, shape = TENSORS[case]
    content = hostile("", "", {key: {"dtype": "F32", "shape": shape, "data_offsets": [0, 0]} for key in keys})
    for way in WAYS:
        times, message = taken(tmp_path / "hostile", content, way)
        print(f"{times:.1f} times, {case}, {way}: {message[:60]}")
        assert "changed" not in message
        assert times <= documented(), way


def test_the_page_says_no_more_than_that(tmp_path: Path) -> None:
    """The worst that is known takes most of it; and what is measured is no zero."""
    text = items("[" * 61 + "0" + "]" * 61, LONG)
    times, message = taken(tmp_path / "hostile", hostile("crc32c", text, {}), "strict")
    assert "changed" not in message
    assert times > 0.9 * documented()
