# SPDX-License-Identifier: Apache-2.0
"""The picture: one panel for each case, one bar for each contestant."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from .results import STREAM, CaseResult

OURS, LIMIT, RIVAL = "#d1495b", "#b0b0b0", "#30638e"
COLUMNS = 2
PEER = ", peer"
"""How the name of a rule's peer ends."""
LOGARITHMIC_FROM = 20.0
"""Ratio of the slowest to the fastest contestant above which a panel's axis is logarithmic."""


def draw(path: Path, title: str, results: Mapping[str, CaseResult]) -> None:
    """Writes a PNG."""
    rows = math.ceil(len(results) / COLUMNS)
    figure = Figure(figsize=(15, 1 + 3.2 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
    for panel, result in zip(panels, results.values(), strict=False):
        _draw_case(panel, result)
    for unused in panels[len(results) :]:
        unused.set_axis_off()
    figure.suptitle(title)
    figure.savefig(path, dpi=110)


def draw_shares(path: Path, title: str, result: CaseResult) -> None:
    """Writes the speed of every contestant and of its peer, as shares of the speed of the loop over the same arrays."""
    shares = {name: share.median for name in result.limits if (share := result.of_limit(name)) is not None}
    names = [name for name in shares if not name.endswith(PEER)]
    names.sort(key=lambda name: -shares[name])
    figure = Figure(figsize=(9, 1 + 0.24 * len(names)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.barh(range(len(names)), [shares[name] for name in names], color=OURS, label="layerwise")
    peers = [(place, shares[name + PEER]) for place, name in enumerate(names) if name + PEER in shares]
    axes.scatter(
        [share for _, share in peers], [place for place, _ in peers], color=RIVAL, zorder=3, s=14, label="peer"
    )
    axes.axvline(1, color=LIMIT, label="plain loop over the same arrays")
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.invert_yaxis()
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel("time of a plain loop over the same arrays over that of a step")
    axes.set_title(title, loc="left", fontsize=10)
    axes.legend(loc="lower right", fontsize=8)
    figure.savefig(path)


def _draw_case(axes: Axes, result: CaseResult) -> None:
    microseconds = result.rows[result.ours].seconds.median < 1e-3
    unit, factor = ("µs", 1e6) if microseconds else ("ms", 1e3)
    names = list(result.rows)
    times = [row.seconds.scaled(factor) for row in result.rows.values()]
    values = [time.median for time in times]
    errors = [[time.median - time.low for time in times], [time.high - time.median for time in times]]
    bars = axes.barh(range(len(names)), values, xerr=errors, color=[_color(name) for name in names], ecolor="#404040")
    axes.bar_label(bars, labels=[f"{value:,.0f}" if value >= 100 else f"{value:.3g}" for value in values], padding=4)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.spines[["top", "right"]].set_visible(False)
    if max(values) > LOGARITHMIC_FROM * min(values):
        axes.set_xscale("log")
        axes.xaxis.set_minor_formatter(NullFormatter())
    absent = "".join(f"\n{name}: {reason}" for name, reason in result.absent.items())
    axes.set_title(result.title, loc="left", fontsize=10)
    axes.set_xlabel(f"{unit} a step, median and its 95 % interval{absent}")


def _color(name: str) -> str:
    if name == STREAM:
        return LIMIT
    return OURS if name.startswith("layerwise") else RIVAL
