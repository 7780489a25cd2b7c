# SPDX-License-Identifier: Apache-2.0
"""The pictures of fine-tuning MiniLM: accuracy over all rates; accuracy at the rates chosen, and what layers did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

import layerwise as lw
from finetune_minilm_results import Results
from finetune_minilm_stability import NEAR, Stability
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


def draw_stability(path: Path, stability: Stability) -> None:
    """Write the picture of the wide grid: accuracy against the base rate, and against the mean rate of all weights."""
    figure = Figure(figsize=(13, 5.5), dpi=130, layout="constrained")
    seeds = stability.accuracies.shape[-1]
    figure.suptitle(
        f"How much does the rate matter?  {stability.examples} examples of each class, mean ± standard deviation of "
        f"{seeds} seeds",
        fontsize=14,
    )
    panels = figure.subplots(1, 2, sharey=True)
    means, spreads = 100 * stability.means, 100 * stability.accuracies.std(axis=-1, ddof=1)
    for axes, against_mean in zip(panels, (False, True), strict=True):
        for way, (name, color) in enumerate(zip(stability.ways, WAY_COLORS, strict=True)):
            rates = stability.mean_rates(way) if against_mean else np.array(stability.rates)
            axes.plot(rates, means[way], "o-", color=color, label=name)
            axes.fill_between(rates, means[way] - spreads[way], means[way] + spreads[way], color=color, alpha=0.15)
            span = stability.near_the_best(way)
            if span is not None and not against_mean:
                axes.plot([span.low, span.high], [3 + 2 * way] * 2, color=color, linewidth=4, solid_capstyle="butt")
        for level, text in ((100 * stability.enough, f"{NEAR:.0%} of the best"), (100 / stability.classes, "chance")):
            axes.axhline(level, color="0.5", linewidth=1, linestyle="dashed")
            place = axes.get_yaxis_transform()
            axes.annotate(text, (1, level), (-4, 3), place, "offset points", ha="right", color="0.4", fontsize=9)
        axes.set_xscale("log")
        axes.set_xlabel("mean rate of all weights" if against_mean else "base rate")
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("test accuracy in %")
    panels[0].set_ylim(0, 100 * stability.means.max() + 10)
    panels[0].set_title(f"the bars: base rates with at least {NEAR:.0%} of the best accuracy", fontsize=10)
    panels[1].set_title("a decay lowers the mean rate", fontsize=10)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
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
