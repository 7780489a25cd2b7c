# SPDX-License-Identifier: Apache-2.0
"""Results as tables for people and as JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from .machine import Machine
from .results import CaseResult, Row
from .targets import TARGETS, Verdict
from .timing import Estimate

YARDSTICK_FAULT = 1.02
"""A figure above this share of the limit says that the limit was not found, not that a step is faster than memory."""

STYLES = {Verdict.MET: "green", Verdict.MISSED: "bold red", Verdict.NOT_MEASURED: "dim"}
NONE = "-"


def case_table(result: CaseResult) -> Table:
    """One case, a row for each contestant."""
    microseconds = result.rows[result.ours].seconds.median < 1e-3
    unit, factor = ("µs", 1e6) if microseconds else ("ms", 1e3)
    table = _table(
        f"{result.title}\n{_count(result.parameters, 'parameter')} in {_count(result.tensors, 'tensor')}",
        [unit, "± %", "GB/s", "of stream", "relative"],
    )
    for name, row in result.rows.items():
        seconds = row.seconds.scaled(factor)
        table.add_row(
            name,
            _number(seconds.median),
            f"{50 * (seconds.high - seconds.low) / seconds.median:.1f}",
            NONE if row.gigabytes_per_second is None else f"{row.gigabytes_per_second:.1f}",
            NONE if (limit := result.of_limit(name)) is None else f"{limit.median:.3f}",
            f"{result.ratio(name, result.ours).median:.3f}",
            style="bold" if name == result.ours else None,
        )
    for name, reason in result.absent.items():
        table.add_row(name, reason, style="dim")
    return table


def loop_lines(result: CaseResult) -> list[str]:
    """Which loop is the limit, what the others took, and whether a contestant was faster than it."""
    lines = []
    for kind, family in result.loops.items():
        name = result.fastest_loop(kind)
        others = ", ".join(
            f"{other.removeprefix(kind + ': ')} {1e3 * row.seconds.median:.3g}"
            for other, row in family.items()
            if other != name
        )
        lines.append(f"{name}; others, ms: {others}")
    for name in result.rows:
        limit = result.of_limit(name)
        if limit is not None and limit.median > YARDSTICK_FAULT:
            lines.append(
                f"[bold red]{name} is at {limit.median:.3f} of the streaming loop: a fault of the yardstick[/]"
            )
    return [*lines, ""]


def target_table(results: Mapping[str, CaseResult], quick: bool) -> Table:
    """Every target: what is promised, what was measured, and whether it was met."""
    title = "Targets" + (" (--quick: not a measurement)" if quick else "")
    table = _table(title, ["target", "measured", "95 % interval", ""])
    for target in TARGETS:
        measured = target.measured(results)
        verdict = target.verdict(measured)
        table.add_row(
            target.text,
            target.bound,
            NONE if measured is None else _number(measured.median),
            NONE if measured is None else f"{_number(measured.low)} ... {_number(measured.high)}",
            f"[{STYLES[verdict]}]{verdict.value}[/]",
        )
    return table


def write_json(path: Path, machine: Machine, settings: Mapping[str, object], results: Mapping[str, CaseResult]) -> None:
    """Everything, every sample included, so that other statistics can be drawn from it."""
    document = {
        "machine": machine.as_json(),
        "settings": dict(settings),
        "cases": {key: _case_json(result) for key, result in results.items()},
        "targets": [
            {
                "case": target.case,
                "text": target.text,
                "bound": target.bound,
                "measured": None if measured is None else _estimate_json(measured),
                "verdict": target.verdict(measured).value,
            }
            for target, measured in ((target, target.measured(results)) for target in TARGETS)
        ],
    }
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def print_all(console: Console, results: Mapping[str, CaseResult], quick: bool) -> None:
    """All tables, with what their columns mean."""
    console.print(
        "\nTimes are medians over the rounds, ± half of the 95 % interval.  GB/s counts the bytes that the update\n"
        "must move.  'of stream' is the streaming loop's time over this one's, where the loop is the fastest of a\n"
        "family that is timed in the same rounds; 'relative' is this time over that of the row that shows 1.000.\n"
        "Ratios are taken within a round; their median is shown.\n",
        highlight=False,
        soft_wrap=True,
    )
    for result in results.values():
        console.print(case_table(result))
        for line in loop_lines(result):
            console.print(line, highlight=False, soft_wrap=True)
    console.print(target_table(results, quick))


def _table(title: str, headings: list[str]) -> Table:
    """A table whose first column names its rows."""
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _number(value: float) -> str:
    return f"{value:.3f}" if value < 10 else f"{value:.2f}" if value < 100 else f"{value:.1f}"


def _estimate_json(value: Estimate) -> dict[str, float]:
    return {"median": value.median, "low": value.low, "high": value.high}


def _case_json(result: CaseResult) -> dict[str, object]:
    def row_json(row: Row) -> dict[str, object]:
        return {
            "seconds": _estimate_json(row.seconds),
            "traffic_bytes": row.traffic,
            "gigabytes_per_second": row.gigabytes_per_second,
            "samples_seconds": row.samples,
        }

    return {
        "title": result.title,
        "ours": result.ours,
        "tensors": result.tensors,
        "parameters": result.parameters,
        "contestants": {name: row_json(row) for name, row in result.rows.items()},
        "streaming_loops": {
            kind: {name: row_json(row) for name, row in family.items()} for kind, family in result.loops.items()
        },
        "absent": result.absent,
    }
