# SPDX-License-Identifier: Apache-2.0
"""The picture of "which layers should learn?": accuracies; what each layer was given and did; what was known before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

import layerwise as lw
from layerwise import plot
from which_layers_results import Results

WAY_COLORS = ("#5b6670", "#0072b2", "#56b4e9", "#d55e00", "#e69f00")  # Okabe and Ito: distinct for every eye
BAR_WIDTH = 0.16


@dataclass(frozen=True)
class Trace:
    """One adaptation: for each layer that learned, its highest rate, and its update-to-weight ratio at every step."""

    way: str
    rates: dict[str, float]
    update_ratios: dict[str, list[float]]


@dataclass(frozen=True)
class Ahead:
    """A way to adapt before its first step."""

    way: str
    optimizer: lw.Optimizer
    steps: int


def draw(path: Path, results: Results, shown: int, traces: Sequence[Trace], ahead: Ahead) -> None:
    """Write the picture; ``traces`` are of the change with the index ``shown``, one for each way."""
    figure = Figure(figsize=(13, 13.5), dpi=130, layout="constrained")
    parts = figure.subfigures(3, 1, height_ratios=(1.0, 1.15, 0.75), squeeze=False)[:, 0]
    _draw_accuracies(parts[0].subplots(), results)
    _draw_traces(parts[1], results.changes[shown], traces)
    _draw_rates(parts[2], ahead)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def _draw_accuracies(axes: Axes, results: Results) -> None:
    changes = np.arange(len(results.changes))
    for way, (name, color) in enumerate(zip(results.ways, WAY_COLORS, strict=True)):
        accuracies = 100 * np.array([results.after(change, way) for change in range(len(changes))])
        means, spreads = accuracies.mean(axis=-1), accuracies.std(axis=-1, ddof=1)
        places = changes + (way - (len(results.ways) - 1) / 2) * BAR_WIDTH
        axes.bar(places, means, 0.9 * BAR_WIDTH, color=color, label=name)
        axes.errorbar(places, means, spreads, fmt="none", ecolor="black", elinewidth=1, capsize=2)
        for place, mean, spread in zip(places, means, spreads, strict=True):
            axes.text(place, mean + spread + 1, f"{mean:.1f}", ha="center", fontsize=9)
    half = len(results.ways) / 2 * BAR_WIDTH
    before = 100 * results.before.mean(axis=-1)
    axes.hlines(before, changes - half, changes + half, colors="black", linestyles="dashed", label="before")
    axes.set_xticks(changes, results.changes, fontsize=12)
    axes.tick_params(axis="x", length=0)
    axes.set_xlim(-0.5, len(changes) - 0.5)
    axes.set_ylim(0, 102)
    axes.set_ylabel("test accuracy in %")
    axes.set_title(
        f"Which layers should learn?  Mean ± standard deviation of {len(results.unchanged)} seeds", fontsize=14
    )
    axes.legend(ncols=len(results.ways) + 1, loc="upper center", bbox_to_anchor=(0.5, -0.08), frameon=False)
    _tidy(axes)


def _draw_traces(figure: SubFigure, shown: str, traces: Sequence[Trace]) -> None:
    figure.suptitle(f"{shown.capitalize()}, the first seed: what each layer was given, and what it did", fontsize=14)
    layers = list(traces[0].rates)  # the first way, one rate, lets every layer learn
    colors = dict(zip(layers, mpl.colormaps["viridis"](np.linspace(0.0, 0.85, len(layers))), strict=True))
    rows = figure.subplots(2, len(traces), sharey="row", squeeze=False)
    for column, (trace, way_color) in enumerate(zip(traces, WAY_COLORS, strict=True)):
        rates, ratios = rows[0, column], rows[1, column]
        rates.set_title(trace.way, color=way_color, fontweight="bold")
        for place, name in enumerate(layers):
            if name in trace.rates:
                rate, color = trace.rates[name], colors[name]
                rates.bar(place, rate, color=color)
                rates.annotate(
                    f"{rate:.1e}", (place, rate), (0, 2), textcoords="offset points", ha="center", fontsize=8
                )
                ratios.plot(range(1, len(trace.update_ratios[name]) + 1), trace.update_ratios[name], color=color)
            else:
                bottom = rates.get_xaxis_transform()
                rates.text(place, 0.04, "frozen", transform=bottom, rotation=90, ha="center", color="0.5")
        rates.set_xticks(range(len(layers)), layers, fontsize=8)
        rates.set_xlim(-0.6, len(layers) - 0.4)
        ratios.set_xlabel("step")
        for axes in (rates, ratios):
            axes.set_yscale("log")
            _tidy(axes)
    rows[0, 0].set_ylabel("effective rate at the peak")
    rows[0, 0].margins(y=0.2)
    rows[1, 0].set_ylabel("update-to-weight ratio")


def _draw_rates(figure: SubFigure, ahead: Ahead) -> None:
    figure.suptitle(f"{ahead.way.capitalize()}: every rate of every step, as known before the first", fontsize=14)
    lines, rows = figure.subplots(1, 2)
    plot.rates(ahead.optimizer, ahead.steps, ax=lines)
    plot.heatmap(ahead.optimizer, ahead.steps, ax=rows)


def _tidy(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="0.9")
    axes.set_axisbelow(True)
