# SPDX-License-Identifier: Apache-2.0
"""HTML for notebooks: tables, and small pictures of lines as SVG.  Imported when a notebook asks for it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

MOST_ROWS = 60
"""Tables are cut after so many rows."""

_COLORS = ("#440154", "#3b528b", "#21918c", "#5ec962", "#b5a000")


def table(head: Sequence[str], rows: Sequence[Sequence[object]], caption: str = "") -> str:
    """A table; numbers are aligned to the right."""
    first = rows[0] if rows else ("",) * len(head)
    cells = "".join(
        f"<th style='text-align:{_side(value)}'>{escape(title)}</th>" for title, value in zip(head, first, strict=True)
    )
    body = "".join("<tr>" + "".join(_cell(value) for value in row) + "</tr>" for row in rows[:MOST_ROWS])
    if len(rows) > MOST_ROWS:
        body += f"<tr><td colspan='{len(head)}'>… {len(rows) - MOST_ROWS} more</td></tr>"
    title = f"<div><b>{escape(caption)}</b></div>" if caption else ""
    return f"<div>{title}<table><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table></div>"


def _cell(value: object) -> str:
    return f"<td style='text-align:{_side(value)}'>{escape(_text(value))}</td>"


def _side(value: object) -> str:
    return "right" if isinstance(value, int | float) and not isinstance(value, bool) else "left"


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def of_fields(report: Any, caption: str = "") -> str:
    """The fields of a dataclass or a named tuple, one in a row, by default under the name of its class."""
    values = (
        report._asdict()
        if hasattr(report, "_asdict")
        else {field.name: getattr(report, field.name) for field in dataclasses.fields(report)}
    )
    rows = [(name, _listed(value)) for name, value in values.items()]
    return table(("", ""), rows, caption or type(report).__name__)


def _listed(value: object) -> object:
    if not isinstance(value, tuple):
        return value
    more = f", … {len(value) - 5} more" if len(value) > 5 else ""
    return ", ".join(map(str, value[:5])) + more


def of_explanation(explained: Mapping[str, Any]) -> str:
    """The layers of `Optimizer.explain_json`, and what holds for all of them."""
    layers = explained["layers"]
    columns = {
        "layer": "layer",
        "depth": "depth",
        "tower": "tower",
        "scale": "scale",
        "scale_from": "from",
        "measured": "measured",
        "target": "target",
        "measured_scale": "measured scale",
        "schedule_factor": "schedule",
        "effective_lr": "rate",
        "weight_decay": "decay",
    }
    optional = ("tower", "measured", "target", "measured_scale")
    shown = [key for key in columns if key not in optional or any(row.get(key) not in (None, "") for row in layers)]
    rows = [(*(row[key] for key in shown), _state(row)) for row in layers]
    parts = [f"{explained['rule']}, base rate {explained['base_lr']:g}"]
    parts += [f"{kind} {explained[kind]}" for kind in ("policy", "schedule", "freezing") if explained.get(kind)]
    return table((*(columns[key] for key in shown), "state"), rows, ", ".join([*parts, f"step {explained['step']}"]))


def _state(row: Mapping[str, Any]) -> str:
    until = "" if row["changes_at"] is None else f" until {row['changes_at']}"
    return ("frozen" if row["frozen"] else "active") + until


def lines(values: Sequence[Sequence[float]], names: Sequence[str] = (), width: int = 320, height: int = 90) -> str:
    """Some lines over steps, from 0 to the highest value, as SVG.  Numbers that are not finite are gaps."""
    finite = [value for row in values for value in row if math.isfinite(value)]
    top = max(finite, default=0.0) or 1.0
    drawn = []
    for index, row in enumerate(values):
        color = _COLORS[index * (len(_COLORS) - 1) // max(len(values) - 1, 1)]
        for part in _without_gaps(row):
            points = " ".join(
                f"{4 + (width - 8) * step / max(len(row) - 1, 1):.1f},{height - 4 - (height - 8) * value / top:.1f}"
                for step, value in part
            )
            drawn.append(f"<polyline points='{points}' fill='none' stroke='{color}' stroke-width='1.5'/>")
    label = escape(f"highest {top:.4g}" + (f", {names[0]} (dark) to {names[-1]} (light)" if len(names) > 1 else ""))
    frame = f"<rect x='0.5' y='0.5' width='{width - 1}' height='{height - 1}' fill='none' stroke='#999'/>"
    size = f"width='{width}' height='{height}' viewBox='0 0 {width} {height}'"
    return f"<svg xmlns='http://www.w3.org/2000/svg' {size} role='img' aria-label='{label}'>" + (
        f"<title>{label}</title>{frame}{''.join(drawn)}</svg>"
    )


def _without_gaps(row: Iterable[float]) -> list[list[tuple[int, float]]]:
    parts: list[list[tuple[int, float]]] = [[]]
    for step, value in enumerate(row):
        if math.isfinite(value):
            parts[-1].append((step, value))
        elif parts[-1]:
            parts.append([])
    return [part for part in parts if part]


def of_schedule(schedule: Any) -> str:
    """The call that makes a schedule, and its factor over its steps."""
    steps = min(max(_span(schedule) + 1, 20), 1_000_000)
    stride = -(-steps // 160)
    factors = schedule.evaluate(-(-steps // stride), stride=stride)
    caption = f"<div><code>{escape(repr(schedule))}</code>, {steps:,} steps</div>"
    return f"<div>{caption}{lines([list(factors)])}</div>"


def _span(schedule: Any) -> int:
    """The steps in which a schedule changes, as far as its values say."""
    values = vars(schedule)
    inside = [_span(part) for part in schedule.parts()]
    milestones = [int(value) for value in schedule.values() if value >= 1]
    own = int(values.get("total_steps") or 0)
    own = max(own, int(values.get("warmup_steps") or 0) * 4, int(3 * (values.get("cycle_steps") or 0)))
    own = max(own, 4 * int(values.get("every") or 0), 4 * int(values.get("step_size_up") or 0))
    last = max([*milestones, 0]) * (1 if "milestones" not in values else 1.25)
    before = int(values.get("steps") or 0)
    return max(own, int(last), before + max([*inside, 0]), 100 if not (own or last or inside or before) else 0)
