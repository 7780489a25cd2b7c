# SPDX-License-Identifier: Apache-2.0
"""The picture of fine-tuning MiniLM: accuracies, and for each way the rates of every layer and how far each went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

import layerwise as lw
from finetune_minilm_results import Results
from layerwise import plot

WAY_COLORS = ("#5b6670", "#0072b2", "#d55e00")  # of Okabe and Ito's: distinct for every eye
BAR_WIDTH = 0.26


@dataclass(frozen=True)
class Trace:
    """One fine-tuning: what its optimizer would do, before the first step, and what telemetry said after each."""

    way: str
    optimizer: lw.Optimizer
    history: Sequence[Mapping[str, lw.Telemetry]]


def draw(path: Path, results: Results, traces: Sequence[Trace]) -> None:
    """Write the picture; there is one trace for each way."""
    figure = Figure(figsize=(13, 12), dpi=130, layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=(1.0, 1.7), squeeze=False)[:, 0]
    _draw_accuracies(above.subplots(), results)
    below.suptitle(f"{results.examples[-1]} examples of each class, each way at its rate, one seed", fontsize=14)
    _draw_traces(below, traces)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def _draw_accuracies(axes: Axes, results: Results) -> None:
    sizes = np.arange(len(results.examples))
    for way, (name, color) in enumerate(zip(results.ways, WAY_COLORS, strict=True)):
        accuracies = 100 * results.test[:, way]
        means, spreads = accuracies.mean(axis=-1), accuracies.std(axis=-1, ddof=1)
        places = sizes + (way - (len(results.ways) - 1) / 2) * BAR_WIDTH
        axes.bar(places, means, 0.9 * BAR_WIDTH, color=color, label=name)
        axes.errorbar(places, means, spreads, fmt="none", ecolor="black", elinewidth=1, capsize=2)
        for size, (place, mean, spread) in enumerate(zip(places, means, spreads, strict=True)):
            text = f"{mean:.1f}\n[{results.rate(size, way):.0e}]"
            axes.text(place, mean + spread + 1, text, ha="center", fontsize=9)
    axes.set_xticks(sizes, [f"{examples} examples of each class" for examples in results.examples], fontsize=12)
    axes.tick_params(axis="x", length=0)
    axes.set_ylim(0, 100)
    axes.set_ylabel("test accuracy in %")
    seeds = results.test.shape[-1]
    axes.set_title(
        f"What is the sentence about?  Mean ± standard deviation of {seeds} seeds, and the base rate", fontsize=14
    )
    axes.legend(ncols=len(results.ways), loc="upper center", bbox_to_anchor=(0.5, -0.08), frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="0.9")
    axes.set_axisbelow(True)


def _draw_traces(figure: SubFigure, traces: Sequence[Trace]) -> None:
    rows = figure.subplots(2, len(traces), sharey="row", squeeze=False)
    for column, (trace, color) in enumerate(zip(traces, WAY_COLORS, strict=True)):
        rates, ratios = rows[:, column]
        plot.rates(trace.optimizer, len(trace.history), ax=rates)
        plot.update_ratios(trace.history, ax=ratios)
        rates.set_title(trace.way, color=color, fontweight="bold")
        for axes in (rates, ratios):
            if column:
                axes.set_ylabel("")
            if column < len(traces) - 1:
                axes.get_legend().remove()  # the last one speaks for the row
    # One scale for the row: a single axis cannot know that its neighbours span decades.
    rates_drawn = np.concatenate([np.ma.masked_invalid(line.get_ydata()) for axes in rows[0] for line in axes.lines])
    learning = rates_drawn[rates_drawn > 0]
    rows[0, 0].set_yscale("log")
    rows[0, 0].set_ylim(learning.min() / 1.3, learning.max() * 1.3)
