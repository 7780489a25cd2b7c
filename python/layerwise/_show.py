# SPDX-License-Identifier: Apache-2.0
"""The command `show`: what a checkpoint holds, after its checksums were verified."""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ._cli_syntax import FreezePlanInWords, ParsedRule, PolicyInWords, ScheduleInWords
from ._safetensors import StoredTensor
from .checkpoint import describe, split_key
from .errors import CorruptCheckpoint, LayerwiseError, OutOfRange, UnknownName
from .optimizer import Optimizer

_PATIENCE = 0.5
"""Seconds before a bar is shown."""


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command and its options."""
    parser = commands.add_parser(
        "show",
        help="show what a checkpoint holds",
        description="Show what a checkpoint holds: rule, settings, layers, the rate of each at the next step, step\n"
        "counts, states and sizes.  All checksums are verified; the status is 1 where the file is damaged.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="what Optimizer.save or lw_optimizer_save wrote")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    try:
        with _bar() as bar:
            description = describe(options.file, progress=bar)
        try:
            description["layers"] = _layers(description)
            lines = [json.dumps(_finite(description), ensure_ascii=False)] if options.json else [*_page(description)]
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            # Its checksums are right, so the file was crafted.
            raise CorruptCheckpoint(f"{options.file}: does not say what a checkpoint must: {error!r}") from error
    except LayerwiseError as error:
        print(f"show: {error}", file=sys.stderr)
        return 1
    print(*lines, sep="\n")
    return 0


# ---- What the layers get next


def _layers(description: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Scale and rate of each layer at the next step, and who froze it; nothing where a policy fits no layer."""
    kept = ("scale", "effective_lr", "frozen_by")
    with _rebuilt(description) as optimizer:
        try:
            rows = optimizer.explain_rows()
        except (UnknownName, OutOfRange) as error:
            # The optimizer that saved it cannot step either.
            print(f"show: no rates: {error}", file=sys.stderr)
            return {}
        return {row["layer"]: {key: value for key, value in row.items() if key in kept} for row in rows}


def _rebuilt(description: dict[str, Any]) -> Optimizer:
    """An optimizer without memory that stands where the checkpoint does."""
    identity, progress = description["identity"], description["progress"]
    optimizer = Optimizer(ParsedRule(identity["rule"], **identity["hyperparameters"]), dry_run=True)
    optimizer.set(**identity["settings"], lr=progress["lr"])
    optimizer.policy = PolicyInWords(_words(identity["policy"]))
    if identity["freezing"] is not None:
        optimizer.freezing = FreezePlanInWords(_words(identity["freezing"]))
    _set_schedules(optimizer, identity["schedules"], progress["schedule_states"], None)
    for name in description["steps"]:
        layer, reached = identity["layers"][name], progress["layers"][name]
        tensors = {key: StoredTensor(tuple(it["shape"]), it["dtype"]) for key, it in layer["tensors"].items()}
        whole = {key: it["whole_shape"] for key, it in layer["tensors"].items() if "whole_shape" in it}
        given = {"depth": layer["depth"], "lr": reached["lr"], "frozen": reached["frozen"]} | layer["settings"]
        own = layer["hyperparameters"]
        if "rule" in layer:
            given["rule"] = layer["rule"]
        pairs = [(key, value) for key, value in (*given.items(), *own.items()) if value is not None]
        optimizer._register(name, tensors, None, None, False, pairs, whole)
        _set_schedules(optimizer, layer["schedules"], reached["schedule_states"], name)
    optimizer.seek(progress["next_step"])
    if "measurements" in progress or "freezing_measurements" in progress:
        rows = [_measured(progress, name) for name in description["steps"]]
        optimizer.set_measurements([math.nan if value is None else value for row in rows for value in row])
    return optimizer


def _measured(progress: dict[str, Any], name: str) -> list[float | None]:
    """What policy and freezing plan have measured of a layer."""
    found: list[float | None] = []
    for key in ("measurements", "freezing_measurements"):
        found += progress.get(key, {}).get(name, [])
    return found


def _set_schedules(
    optimizer: Optimizer, schedules: dict[str, Any], states: dict[str, list[float]], layer: str | None
) -> None:
    for key, schedule in schedules.items():
        optimizer.set_schedule(ScheduleInWords(_words(schedule)), key, layer)
    for key, state in states.items():
        optimizer.set_schedule_state(state, key, layer)


def _words(spec: dict[str, Any]) -> dict[str, Any]:
    """A policy, schedule or plan of a checkpoint in the form that the command line has for it."""
    return {
        **spec["settings"],
        "name": spec["name"],
        "values": spec["values"],
        "parts": [_words(part) for part in spec["parts"]],
    }


# ---- Printing


def _page(description: dict[str, Any]) -> Iterator[str]:
    identity, progress = description["identity"], description["progress"]
    size, tensors = description["bytes"], len(description["tensors"])
    yield (
        f"checkpoint of layerwise {description['layerwise_version']}, format {description['format_version']}: "
        f"{size:,} bytes, {tensors:,} tensors, all checksums right"
    )
    yield f"rule       {identity['rule']}: {_pairs({'lr': progress['lr']} | identity['hyperparameters'])}"
    yield f"settings   {_pairs(identity['settings'])}"
    yield f"policy     {_recipe(identity['policy'])}"
    for key, schedule in identity["schedules"].items():
        yield f"schedule   {key}: {_recipe(schedule)}{_reports(progress['schedule_states'].get(key))}"
    yield f"freezing   {'none' if identity['freezing'] is None else _recipe(identity['freezing'])}"
    taken, skipped, following = progress["steps"], progress["skipped_steps"], progress["next_step"]
    yield f"steps      {taken:,} taken, {skipped:,} skipped; the next is at t = {following:,}"
    yield ""
    yield from _table([_TITLES, *_rows(description)], left=(0, 2, 3, 4, 5, 7))
    for name in description["steps"]:
        own = identity["layers"][name]
        for key, schedule in own["schedules"].items():
            state = progress["layers"][name]["schedule_states"].get(key)
            yield f"{name}: schedule of {key}: {_recipe(schedule)}{_reports(state)}"
        if own["hyperparameters"]:
            yield f"{name}: {_pairs(own['hyperparameters'])}"


_FROZEN = {"": "no", None: "no", "plan": "by the plan", "layer": "by hand"}
_TITLES = ("layer", "next rate", "frozen", "tensor", "shape", "dtype", "steps", "holds", "bytes")


def _rows(description: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    """A row for each tensor; what holds for its layer stands in the first."""
    layers = description["identity"]["layers"]
    held: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    for entry in description["tensors"]:
        layer, tensor, state = split_key(entry["key"])
        held.setdefault((layer, tensor), {})[state] = entry
    before = None
    for (layer, tensor), states in held.items():
        own = layers[layer]["tensors"][tensor]
        count = description["steps"][layer][tensor]
        shared = ("", "", "") if layer == before else (layer, *_next(description["layers"].get(layer)))
        yield (
            *shared,
            tensor,
            "x".join(map(str, own["shape"])) or "scalar",
            own["dtype"],
            f"{count:,}",
            ", ".join(_state(name, entry["dtype"], own["dtype"]) for name, entry in states.items() if name != "step"),
            f"{sum(entry['bytes'] for entry in states.values()):,}",
        )
        before = layer


def _next(row: dict[str, Any] | None) -> tuple[str, str]:
    """A layer's rate at the next step, and who froze it."""
    if row is None:
        return "?", "?"
    return f"{row['effective_lr']:.6g}", _FROZEN[row["frozen_by"]]


def _state(name: str, dtype: str, parameters: str) -> str:
    """A state, with its type where that is not the one of the parameters."""
    return name if dtype == parameters else f"{name} ({dtype})"


def _table(rows: Sequence[Sequence[str]], left: Sequence[int]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (
            text.ljust(width) if index in left else text.rjust(width)
            for index, (text, width) in enumerate(zip(row, widths, strict=True))
        )
        yield "  ".join(cells).rstrip()


def _recipe(spec: dict[str, Any]) -> str:
    """A policy, a schedule or a plan, its parts in brackets."""
    settings = spec["settings"] | ({"values": spec["values"]} if spec["values"] else {})
    parts = f" [{'; '.join(map(_recipe, spec['parts']))}]" if spec["parts"] else ""
    return (f"{spec['name']}: {_pairs(settings)}" if settings else str(spec["name"])) + parts


def _reports(state: list[float] | None) -> str:
    return f"; state {_value(state)}" if state else ""


def _pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={_value(value)}" for key, value in values.items())


def _value(value: Any) -> str:
    if isinstance(value, list):
        return "/".join(map(_value, value))
    return str(value) if isinstance(value, str) else f"{value:.12g}"


def _finite(value: Any) -> Any:
    """A value with None in place of NaN and infinity, which JSON cannot express."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


# ---- Waiting


@contextmanager
def _bar() -> Iterator[Callable[[int, int], None] | None]:
    """A bar for files that take a while, where somebody looks and there is something to draw it with."""
    if not sys.stderr.isatty():
        yield None
        return
    try:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
    except ImportError:
        yield None
        return
    columns = TextColumn("verifying"), BarColumn(), DownloadColumn(), TransferSpeedColumn()
    bar = Progress(*columns, console=Console(stderr=True), transient=True)
    started = time.monotonic()
    task = bar.add_task("verifying")

    def tell(done: int, total: int) -> None:
        if not bar.live.is_started:
            if time.monotonic() - started < _PATIENCE:
                return
            bar.start()
        bar.update(task, completed=done, total=total)

    try:
        yield tell
    finally:
        bar.stop()
