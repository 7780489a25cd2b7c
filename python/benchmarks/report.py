# SPDX-License-Identifier: Apache-2.0
"""Results as tables for people and as JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from .cases import STREAM
from .machine import Machine
from .results import CaseResult, Row
from .targets import TARGETS, Verdict
from .timing import Estimate

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
            f"{result.ratio(STREAM, name).median:.3f}" if _comparable(result, name) else NONE,
            f"{result.ratio(name, result.ours).median:.3f}",
            style="bold" if name == result.ours else None,
        )
    for name, reason in result.absent.items():
        table.add_row(name, reason, style="dim")
    return table


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
        "must move.  'of stream' is the streaming loop's time over this one's; 'relative' is this time over that of\n"
        "the row that shows 1.000.  Ratios are taken within a round; their median is shown.\n",
        highlight=False,
        soft_wrap=True,
    )
    for result in results.values():
        console.print(case_table(result))
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


def _comparable(result: CaseResult, name: str) -> bool:
    """Whether the streaming loop moves the bytes of this contestant."""
    return STREAM in result.rows and result.rows[name].traffic == result.rows[STREAM].traffic


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
        "absent": result.absent,
    }
