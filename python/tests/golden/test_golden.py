# SPDX-License-Identifier: Apache-2.0
"""The checkpoints of every release load, and are carried on to the bits that the release itself came to."""

from __future__ import annotations

import contextlib
import json

import pytest

import layerwise as lw
from golden.runs import END, FOLDER, RUNS, SAVED, Run

FILES = [(release, rule) for release, rules in RUNS.items() for rule in rules]
LARGEST = 10 << 10


@pytest.mark.parametrize(("release", "rule"), FILES)
def test_carried_on(release: str, rule: str) -> None:
    digests = json.loads((FOLDER / release / "digests.json").read_text("utf-8"))[rule]
    run = Run(release, rule)
    with contextlib.closing(run.opt):
        before = run.digest()
        run.opt.load(FOLDER / release / f"{rule}.safetensors")
        assert run.digest() == digests["saved"] != before
        run.steps(SAVED, END)
        assert run.digest() == digests["end"] != digests["saved"]


@pytest.mark.parametrize(("release", "rule"), FILES)
def test_the_way_there(release: str, rule: str) -> None:
    """The release's own steps up to the save are the same today."""
    digests = json.loads((FOLDER / release / "digests.json").read_text("utf-8"))[rule]
    run = Run(release, rule)
    with contextlib.closing(run.opt):
        run.steps(0, SAVED)
        assert run.digest() == digests["saved"]


def test_every_rule_and_release_has_its_file() -> None:
    # Rules that were added since 0.1.0 join the runs of the next release.
    assert lw.__version__ == "0.1.0" or set(RUNS[lw.__version__]) == {rule["name"] for rule in lw.rules()}
    for release, rules in RUNS.items():
        files = sorted(file.name for file in (FOLDER / release).iterdir())
        assert files == sorted([*(f"{rule}.safetensors" for rule in rules), "digests.json"])
        assert all(file.stat().st_size <= LARGEST for file in (FOLDER / release).iterdir())
