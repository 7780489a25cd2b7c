# SPDX-License-Identifier: Apache-2.0
"""Compares layers from names with layers from watching.

In python/tests, with timm installed beside what the tests need (`pip install --no-deps timm` is enough):

    python -m layer_sweep timm timm.jsonl
    python -m layer_sweep transformers transformers.jsonl
    python -m layer_sweep table timm.jsonl transformers.jsonl

The first two add a line for each model to a file, and go on where they stopped; a model that takes too much of the
processor's time is given up.  Of models of timm that differ in nothing but numbers, one is run and counted.  The last
prints the table of docs/watching.md, and what differs.
"""

import argparse
import gc
import json
import logging
import os
import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console
from rich.progress import track


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("timm", "transformers"):
        command = commands.add_parser(name)
        command.add_argument("file", type=Path)
        command.add_argument("--per-module" if name == "timm" else "--limit", type=int, default=0, dest="count")
        command.add_argument("--seconds", type=int, default=120, help="of processor time for each (%(default)s)")
    commands.add_parser("table").add_argument("files", type=Path, nargs="+")
    options = parser.parse_args()
    if options.command == "table":
        print(table({path.stem: rows(path) for path in options.files}))
        return
    os.environ["HF_HUB_OFFLINE"] = "1"
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    if options.command == "timm":
        from .timm_models import all_of
    else:
        from .transformers_models import all_of
    done = {row["name"]: row for row in rows(options.file)}
    known = {row["structure"]: name for name, row in done.items() if "structure" in row}
    models = [entry for entry in all_of(options.count, known) if entry[0] not in done]
    with options.file.open("a") as file:
        for name, look in track(models, console=Console(stderr=True)):
            try:
                with within(options.seconds):
                    row = look()
            except (Exception, GivenUp) as error:
                row = {"error": f"{type(error).__name__}: {error}"[:300]}
            row.pop("named", None)
            file.write(json.dumps({"name": name, **row}) + "\n")
            file.flush()
            gc.collect()


class GivenUp(BaseException):
    """No Exception, since whoever watches a model takes one for the model's."""


@contextmanager
def within(seconds: int) -> Iterator[None]:
    """Raise GivenUp in what takes more of the processor's time."""

    def give_up(signum: int, frame: FrameType | None) -> None:
        raise GivenUp(f"not within {seconds} s")

    before = signal.signal(signal.SIGPROF, give_up)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def table(found: dict[str, list[dict[str, Any]]]) -> str:
    """The counts as a table, and below it each model that differs."""
    looked = {name: [row for row in rows if "like" not in row] for name, rows in found.items()}
    ran = {name: [row for row in rows if "error" not in row] for name, rows in looked.items()}

    def differ(row: dict[str, Any]) -> bool:
        return row["inversion"] is not None

    def guess(row: dict[str, Any], way: str) -> bool:
        return bool(row["guesses"][way])

    counts = {
        "models": looked,
        "built and run": ran,
        "same order both ways, names guess nothing": {
            name: [row for row in rows if not differ(row) and not guess(row, "names")] for name, rows in ran.items()
        },
        "same order both ways, names guess": {
            name: [row for row in rows if not differ(row) and guess(row, "names")] for name, rows in ran.items()
        },
        "another order, names guess": {
            name: [row for row in rows if differ(row) and guess(row, "names")] for name, rows in ran.items()
        },
        "another order, names guess nothing": {
            name: [row for row in rows if differ(row) and not guess(row, "names")] for name, rows in ran.items()
        },
        "other towers": {
            name: [row for row in rows if len(row["towers"]["names"]) != len(row["towers"]["watching"])]
            for name, rows in ran.items()
        },
        "watching guesses": {name: [row for row in rows if guess(row, "watching")] for name, rows in ran.items()},
        "... since the forward pass leaves parameters out": {
            name: [row for row in rows if row["unused"]] for name, rows in ran.items()
        },
        "timm has groups": {name: [row for row in rows if "timm" in row] for name, rows in ran.items()},
        "... in the order of watching": {
            name: [row for row in rows if "timm" in row and row["timm"]["watching"] is None]
            for name, rows in ran.items()
        },
        "... in the order of names": {
            name: [row for row in rows if "timm" in row and row["timm"]["names"] is None] for name, rows in ran.items()
        },
        "Transformers has stacks": {
            name: [row for row in rows if row.get("stacks", {}).get("count")] for name, rows in ran.items()
        },
        "... each one tower, in the order of its numbers": {
            name: [row for row in rows if row.get("stacks", {}).get("count") and not row["stacks"]["faults"]]
            for name, rows in ran.items()
        },
    }
    lines = [f"| | {' | '.join(found)} |", f"|---|{'---|' * len(found)}"]
    lines += [f"| {what} | {' | '.join(str(len(own[name])) for name in found)} |" for what, own in counts.items()]
    lines.append("")
    for name, own in ran.items():
        for row in own:
            notes = []
            if differ(row):
                notes.append(f"names {'(a guess) ' * guess(row, 'names')}: {' / '.join(row['inversion'])}")
            if row.get("timm", {}).get("watching"):
                notes.append(f"timm: {' / '.join(row['timm']['watching'])}")
            if row.get("stacks", {}).get("faults"):
                notes.append(f"stacks: {', '.join(row['stacks']['faults'])}")
            if len(row["towers"]["names"]) != len(row["towers"]["watching"]):
                notes.append(f"towers: {row['towers']['names']} {row['towers']['watching']}")
            if notes:
                lines.append(f"{name} {row['name']}: {'; '.join(notes)}")
        lines += [f"{name} {row['name']}: {row['error']}" for row in found[name] if "error" in row]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
