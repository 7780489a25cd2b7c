# SPDX-License-Identifier: Apache-2.0
"""The pictures of rates that find themselves: how accurate each way is, and which scales the layers were given."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from experiment_report import Accuracies

BY_HAND, MEASURED = "#5b6670", "#0072b2"  # of Okabe and Ito's: distinct for every eye
COLUMNS = 4


@dataclass(frozen=True)
class Scales:
    """One adaptation with a policy that measures: the scale of each layer at every step."""

    way: str
    layers: Sequence[str]
    by_step: Sequence[Sequence[float]]


def draw(
    path: Path,
    title: str,
    situations: Sequence[str],
    ways: Sequence[str],
    by_hand: int,
    accuracies: Accuracies,
    traces: Sequence[Scales],
    traced: str,
) -> None:
    """Write the picture.

    Args:
        path: Of the PNG.
        title: Of the accuracies.
        situations: What the ways met, a panel each.
        ways: Their names; the first is one rate.
        by_hand: How many of them, from the first on, measure nothing.
        accuracies: From 0 to 1, by situation, way and seed.
        traces: Scales of policies that measure.
        traced: What the traces are of.
    """
    rows = math.ceil(len(traces) / COLUMNS)
    height = 1.5 + 0.24 * len(ways)
    figure = Figure(figsize=(13, height + 2.2 * rows), dpi=110, layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=(height, 2.2 * rows), squeeze=False)[:, 0]
    above.suptitle(title, fontsize=13)
    panels = above.subplots(1, len(situations), sharey=True, squeeze=False)[0]
    for panel, situation, own in zip(panels, situations, accuracies, strict=True):
        _draw_accuracies(panel, situation, own, by_hand)
    panels[0].set_yticks(range(len(ways)), [way.strip() for way in ways], fontsize=9)
    panels[0].invert_yaxis()
    _draw_scales(below, traces, traced)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def _draw_accuracies(axes: Axes, situation: str, accuracies: Accuracies, by_hand: int) -> None:
    means, spreads = 100 * accuracies.mean(axis=-1), 100 * accuracies.std(axis=-1, ddof=1)
    for way, (mean, spread) in enumerate(zip(means, spreads, strict=True)):
        color = BY_HAND if way < by_hand else MEASURED
        axes.errorbar(mean, way, xerr=spread, fmt="o", color=color, markersize=5, elinewidth=1, capsize=2)
    axes.axvline(means[0], color="0.7", linestyle="dashed", zorder=0)
    axes.set_title(situation, fontsize=11)
    axes.set_xlabel("test accuracy in %")
    _tidy(axes)


def _draw_scales(figure: SubFigure, traces: Sequence[Scales], traced: str) -> None:
    figure.suptitle(f"{traced}: the scale of each layer, from the input (dark) to the head (light)", fontsize=13)
    panels = figure.subplots(math.ceil(len(traces) / COLUMNS), COLUMNS, sharex=True, squeeze=False).ravel()
    for panel, trace in zip(panels, traces, strict=False):
        colors = mpl.colormaps["viridis"](np.linspace(0.0, 0.85, len(trace.layers)))
        for scales, color in zip(np.array(trace.by_step).T, colors, strict=True):
            panel.plot(range(1, len(scales) + 1), scales, color=color, linewidth=1.2)
        panel.set_title(trace.way.strip(), fontsize=9)
        panel.set_yscale("log")
        _tidy(panel)
    for unused in panels[len(traces) :]:
        unused.set_axis_off()


def _tidy(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="0.92")
    axes.set_axisbelow(True)
