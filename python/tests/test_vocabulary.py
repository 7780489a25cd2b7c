# SPDX-License-Identifier: Apache-2.0
"""A component has one name in C, Python and Swift.  Names of former versions are still read."""

from __future__ import annotations

import json
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import layerwise as lw
from layerwise.checkpoint import describe

KINDS = {"rule": lw.rules(), "policy": lw.policies(), "schedule": lw.schedules(), "freezing": lw.freeze_plans()}
DECLARED = [pytest.param(entry, id=entry["name"]) for entries in KINDS.values() for entry in entries]
FORMER = [(kind, name, entry) for kind, entries in KINDS.items() for entry in entries for name in entry["former_names"]]


@pytest.mark.parametrize("entry", DECLARED)
def test_one_name(entry: dict[str, Any]) -> None:
    title = re.sub(r"\W", "", entry["title"])
    assert getattr(lw, title).__name__ == title
    assert title in lw.__all__
    assert entry["name"].replace("_", "") == title.lower()


def test_former_names() -> None:
    assert [name for _, name, _ in FORMER] == ["range", "slice", "step", "wsd", "table"]
    names = {entry["name"] for entries in KINDS.values() for entry in entries}
    assert not names & {name for _, name, _ in FORMER}


def test_former_classes() -> None:
    assert (lw.Range, lw.Slice, lw.Table) == (lw.GeometricRange, lw.RateSlice, lw.FactorTable)
    assert pickle.loads(b"clayerwise.policy\nRange\n.") is lw.GeometricRange
    assert pickle.loads(b"clayerwise.schedule\nTable\n.") is lw.FactorTable


EXAMPLES: dict[str, dict[str, Any]] = {
    "range": {"policy": lw.Combine(lw.LayerDecay(0.9), lw.GeometricRange(0.25))},
    "slice": {"policy": lw.RateSlice(1e-3, 1e-2)},
    "step": {"schedule": lw.Sequential([lw.Constant(), lw.StepDecay(2)], [1])},
    "wsd": {"schedule": lw.WarmupStableDecay(40, decay_steps=20)},
    "table": {"schedule": lw.Product(lw.FactorTable([1.0, 0.5, 0.25]), lw.Constant())},
}


def crc32c(data: bytes) -> str:
    """In eight hexadecimal digits."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ 0x82F63B78 * (crc & 1)
    return f"{crc ^ 0xFFFFFFFF:08x}"


def with_former_name(content: bytes, name: str, former: str) -> bytes:
    """A checkpoint as the former version would have written it."""
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    metadata = header["__metadata__"]
    assert f'"name": "{name}"' in metadata["identity"]
    metadata["identity"] = metadata["identity"].replace(f'"name": "{name}"', f'"name": "{former}"')
    metadata["header_crc32c"] = "00000000"
    text = json.dumps(header).encode()
    text = text.replace(b'"header_crc32c": "00000000"', b'"header_crc32c": "%s"' % crc32c(text).encode())
    return len(text).to_bytes(8, "little") + text + content[8 + size :]


class Run:
    """Two layers, of which the second has a schedule of its own."""

    def __init__(self, keywords: dict[str, Any]) -> None:
        self.weights = [np.linspace(-1, 1, 12, dtype=np.float32), np.ones(5, np.float32)]
        self.opt = lw.Optimizer(lw.AdamW(lr=1e-2), **keywords)
        own = {"schedule": keywords["schedule"]} if "schedule" in keywords else {}
        for index, weights in enumerate(self.weights):
            self.opt.add_layer(f"layer{index}", weights, grads=weights * 0.5, **(own if index else {}))

    def steps(self, count: int) -> list[bytes]:
        for _ in range(count):
            self.opt.step()
        return [weights.tobytes() for weights in self.weights]


@pytest.mark.parametrize(("kind", "former", "entry"), FORMER, ids=[name for _, name, _ in FORMER])
def test_checkpoints_with_former_names(kind: str, former: str, entry: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "run.lw"
    first = Run(EXAMPLES[former])
    first.steps(3)
    first.opt.save(path, parameters=True)
    path.write_bytes(with_former_name(path.read_bytes(), entry["name"], former))
    assert describe(path)
    second = Run(EXAMPLES[former])
    report = second.opt.load(path)
    assert not report.differences
    assert second.steps(5) == first.steps(5)
