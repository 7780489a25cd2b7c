# SPDX-License-Identifier: Apache-2.0
"""Pictures: what every layer will get, before it happens, and how far every layer went.

    from layerwise import plot

    plot.rates(optimizer, 1000)
    plot.heatmap(optimizer, 1000)

Optimizers are those of `layerwise` and of `layerwise.torch`, and `LayerRates`.  Each function draws into `ax`, by
default into new axes of pyplot, and returns the axes.  The rates are those of one `Optimizer.preview`, which are those
that the steps will use.  Colours go from the input, dark, to the output, light.
matplotlib comes with the extra: `pip install "layerwise[plot]"`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

try:
    import matplotlib as mpl
    import numpy as np
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, LogNorm, Normalize
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch
    from matplotlib.ticker import MaxNLocator
except ImportError as error:
    raise ImportError('layerwise.plot draws with matplotlib: pip install "layerwise[plot]"') from error

from .errors import InvalidArgument
from .optimizer import Optimizer
from .reports import Telemetry

if TYPE_CHECKING:
    import numpy.typing as npt
    from matplotlib.axes import Axes

    from .finder import Curve, FoundRates

    Numbers: TypeAlias = npt.NDArray[np.float64]

MOST_COLUMNS = 2000
"""No more steps than this are drawn, evenly chosen: more than a screen has columns."""
MOST_IN_LEGEND = 12
"""With more layers than this, a colour bar takes the legend's place."""
RULE_OF_THUMB = 1e-3


class TorchOptimizer(Protocol):
    """An optimizer of `layerwise.torch`, or `LayerRates`."""

    @property
    def native(self) -> Optimizer:
        """The native optimizer, which knows layers and rates."""


_LONGEST_NAME = 30
_FROZEN = "0.85"
# Viridis is even to the eye and to the colour-blind; its last yellows are lost on white.
_COLORS = ListedColormap(mpl.colormaps["viridis"](np.linspace(0.0, 0.92, 256)), name="layerwise")
_TOWER_LINES = ("-", "--", ":", "-.")


def rates(
    optimizer: Optimizer | TorchOptimizer, steps: int, *, first: int | None = None, ax: Axes | None = None
) -> Axes:
    """The rate of every layer at every step: one line a layer, with a gap while it is frozen.

    The scale is logarithmic if a quarter of the rates lie a decade or more below the highest.  Lines are thinner
    towards the output, so that those which coincide are all seen.  Towers differ in the style of the line.

    Args:
        optimizer: The optimizer; `dry_run` will do.
        steps: How many steps to draw, >= 1.
        first: The first of them; None for the next.
        ax: Where to draw; None for new axes.
    """
    known = _look_ahead(optimizer, steps, first)
    ax = _new_axes(4.5) if ax is None else ax
    color = Normalize(min(known.depths), max(max(known.depths), min(known.depths) + 1))
    towers = list(dict.fromkeys(known.towers))
    # A layer that trains for a single step has no line.
    marker = "." if len(known.steps) <= 60 else ""
    widths = np.linspace(3.5, 1.5, len(known.names)) if len(known.names) > 1 else [1.5]
    lines: list[Line2D] = []
    for depth, tower, row, width in zip(known.depths, known.towers, known.rates, widths, strict=True):
        style = _TOWER_LINES[towers.index(tower) % len(_TOWER_LINES)]
        lines += ax.plot(known.steps, row, color=_COLORS(color(depth)), linestyle=style, marker=marker, linewidth=width)
    lowest, highest = known.bounds()
    learning = known.rates[known.rates > 0]
    if learning.size and np.quantile(learning, 0.25) <= highest / 10:
        ax.set_yscale("log")
        ax.set_ylim(lowest / 1.3, highest * 1.3)
    else:
        ax.set_ylim(bottom=0)
        ax.ticklabel_format(axis="y", scilimits=(-2, 3), useMathText=True)
    _label_lines(ax, lines, known.names, known.depths, color, "depth")
    ax.set_ylabel("learning rate")
    _tidy(ax)
    return ax


def heatmap(
    optimizer: Optimizer | TorchOptimizer, steps: int, *, first: int | None = None, ax: Axes | None = None
) -> Axes:
    """The rate of every layer at every step: one row a layer, the input at the bottom; grey while it is frozen.

    Colours are logarithmic and end where those of `rates` end.  Layers stand in the order of their depths, one tower
    above the other.

    Args:
        optimizer: The optimizer; `dry_run` will do.
        steps: How many steps to draw, >= 1.
        first: The first of them; None for the next.
        ax: Where to draw; None for new axes, higher for more layers.
    """
    known = _look_ahead(optimizer, steps, first)
    count = len(known.names)
    ax = _new_axes(heatmap_height(count)) if ax is None else ax
    lowest, highest = known.bounds()
    # What is lower than the lowest colour, such as a rate of 0, has that colour: it must not look frozen.
    image = ax.imshow(
        np.maximum(known.rates, lowest),
        cmap=mpl.colormaps["viridis"].with_extremes(bad=_FROZEN),
        norm=LogNorm(lowest, highest),
        aspect="auto",
        interpolation="nearest",
        origin="lower",
        extent=(known.steps[0] - known.stride / 2, known.steps[-1] + known.stride / 2, -0.5, count - 0.5),
    )
    is_lower = bool(np.any(known.rates < lowest))
    ax.figure.colorbar(image, cax=_beside(ax), label="learning rate", extend="min" if is_lower else "neither")
    _label_rows(ax, known.names)
    for row, (below, above) in enumerate(pairwise(known.towers)):
        if below != above:
            ax.axhline(row + 0.5, color="white", linewidth=1.5)
    if np.any(np.isnan(known.rates)):
        ax.legend(
            handles=[Patch(color=_FROZEN, label="frozen")],
            loc="lower right",
            bbox_to_anchor=(1.0, 1.0),
            frameon=False,
            borderaxespad=0.2,
        )
    ax.set_xlabel("step")
    ax.xaxis.set_major_locator(_whole_numbers())
    ax.spines[:].set_visible(False)
    return ax


def heatmap_height(layers: int) -> float:
    """Inches that a heat map of so many layers takes to be read."""
    return min(max(2.5, 1.0 + 0.2 * layers), 8.0)


def update_ratios(
    history: Sequence[Mapping[str, Telemetry]] | Sequence[Mapping[str, float]], ax: Axes | None = None
) -> Axes:
    """How far each layer went at every step: |change| / |weights|, with a line at 1e-3 to compare with.

    Around 1e-3 is what many networks are found to do well with.  It is a rule of thumb: much less, and a layer hardly
    learns; much more, and it may lose what it knew.  Source: Karpathy, Stanford's CS231n, "Ratio of
    weights:updates".  A layer that took no step has a gap.

    Args:
        history: What `telemetry()` said after each step, beginning with the first; that of an optimizer of
            `layerwise.torch` has numbers by "layerwise/LAYER/update_ratio".
        ax: Where to draw; None for new axes.
    """
    stride = _stride(len(history))
    known = list(map(_update_ratios, history))
    names = list(dict.fromkeys(name for ratios in known for name in ratios))
    if not names:
        raise InvalidArgument("history: expected what telemetry() said after each of some steps, found none")
    ratios = np.array([[_drawn(row.get(name, 0.0)) for row in known[::stride]] for name in names])
    ax = _new_axes(4.5) if ax is None else ax
    color = Normalize(0, max(len(names) - 1, 1))
    steps = np.arange(0, len(history), stride)
    marker = "." if len(steps) <= 60 else ""
    lines: list[Line2D] = []
    for place, row in enumerate(ratios):
        lines += ax.plot(steps, row, color=_COLORS(color(place)), marker=marker, linewidth=1.2)
    ax.axhline(RULE_OF_THUMB, color="0.4", linestyle="--", linewidth=1, zorder=1.5)
    ax.annotate(
        "rule of thumb",
        (1.0, RULE_OF_THUMB),
        (-2, 3),
        xycoords=ax.get_yaxis_transform(),
        textcoords="offset points",
        horizontalalignment="right",
        color="0.4",
        fontsize="small",
    )
    ax.set_yscale("log")
    _label_lines(ax, lines, names, range(len(names)), color, "layer")
    ax.set_ylabel("update-to-weight ratio")
    _tidy(ax)
    return ax


def picture(optimizer: Optimizer | TorchOptimizer, steps: int, *, first: int | None = None) -> Figure:
    """A figure with `rates` above and `heatmap` below, apart from pyplot: save it with `savefig`.

    Args:
        optimizer: The optimizer; `dry_run` will do.
        steps: How many steps to draw, >= 1.
        first: The first of them; None for the next.
    """
    optimizer = _native(optimizer)
    heights = 4.0, heatmap_height(len(optimizer.layers))
    figure = Figure(figsize=(9, sum(heights)), layout="constrained")
    above, below = figure.subplots(2, 1, height_ratios=heights, sharex=True)
    rates(optimizer, steps, first=first, ax=above)
    heatmap(optimizer, steps, first=first, ax=below)
    above.label_outer()
    return figure


def found_rates(found: FoundRates) -> Figure:
    """One panel for the base rate and one for each layer, apart from pyplot: save it with `savefig`.

    Each has the loss over the effective rate: a line for each repeat, their mean, and what is suggested.

    Args:
        found: What `find_rates` has found.
    """
    curves = {"all layers": (found.base, found.lr)}
    curves |= {name: (curve, found.held[name]) for name, curve in found.layers.items()}
    columns = min(3, len(curves))
    rows = -(-len(curves) // columns)
    figure = Figure(figsize=(4 * columns, 2.8 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).flat
    marks: dict[str, Line2D] = {}
    for (name, (curve, held)), ax in zip(curves.items(), axes, strict=False):
        for losses in curve.losses:
            ax.plot(curve.rates, losses, color="0.75", linewidth=0.8)
        ax.plot(curve.rates, curve.mean, color=_COLORS(0.0), linewidth=1.8, marker="." if len(curve.rates) < 30 else "")
        ax.axvline(held, color="0.4", linestyle=":", linewidth=1)
        ax.set_xscale("log")
        _bound(ax, curve)
        for place, (suggestion, rate) in enumerate(curve.suggestions.items()):
            if rate is not None and curve.rates[0] <= rate <= curve.rates[-1]:
                color, style = mpl.colormaps["tab10"](place), _TOWER_LINES[place % len(_TOWER_LINES)]
                marks[suggestion] = ax.axvline(rate, color=color, linestyle=style, linewidth=1.2)
        ax.set_title(_short(name), fontsize="medium", parse_math=False)
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(color="0.92")
        ax.set_axisbelow(True)
    for ax in axes:
        ax.set_visible(False)
    figure.supxlabel("effective learning rate")
    figure.supylabel("loss")
    if marks:
        figure.legend(list(marks.values()), list(marks), loc="outside right upper", frameon=False, fontsize="small")
    return figure


def _bound(ax: Axes, curve: Curve) -> None:
    """Show the part of a curve that says something: a loss that exploded would flatten all else."""
    mean = np.array(curve.mean)
    finite = mean[np.isfinite(mean)]
    if finite.size:
        low, first = float(finite.min()), float(finite[0])
        room = max(first - low, 1e-9 * abs(low), 1e-300)
        ax.set_ylim(low - 0.3 * room, max(first, low) + room)


# ---- What is drawn


@dataclass(frozen=True)
class _Ahead:
    """What is to come: `rates` by layer, in the order of towers and depths, and step; NaN while it is frozen."""

    names: list[str]
    depths: list[int]
    towers: list[str]
    steps: npt.NDArray[np.int64]
    stride: int
    rates: Numbers

    def bounds(self) -> tuple[float, float]:
        """The lowest and the highest rate that a logarithmic scale has to show."""
        learning = np.where(self.rates > 0, self.rates, np.nan)
        learning = learning[~np.all(np.isnan(learning), axis=1)]
        if not learning.size:
            return 0.1, 1.0
        peaks = np.nanmax(learning, axis=1)
        highest = float(peaks.max())
        # A schedule that ends at 0 has no end on such a scale: the last few of its steps must not make all of it.
        lowest = min(float(peaks.min()) / 30, float(np.nanquantile(learning, 0.03)))
        # One rate all along still needs a scale; a decade suits it.
        return min(max(float(np.nanmin(learning)), lowest), highest / 10), highest


def _native(optimizer: Optimizer | TorchOptimizer) -> Optimizer:
    """The optimizer that knows layers: itself, or the one inside an optimizer of `layerwise.torch`."""
    found = optimizer if isinstance(optimizer, Optimizer) else getattr(optimizer, "native", None)
    if not isinstance(found, Optimizer):
        kind = f"{type(optimizer).__module__}.{type(optimizer).__qualname__}"
        raise TypeError(f"optimizer: expected one of layerwise or layerwise.torch, or LayerRates, found {kind}")
    return found


def _look_ahead(optimizer: Optimizer | TorchOptimizer, steps: int, first: int | None) -> _Ahead:
    optimizer = _native(optimizer)
    if steps < 1:
        raise InvalidArgument(f"steps must be at least 1, found {steps}")
    start = optimizer.next_step if first is None else first
    stride = _stride(steps)
    count = -(-steps // stride)
    rates = np.array(optimizer.preview(count, first=start, stride=stride))
    columns = start + stride * np.arange(count)
    rows = optimizer.explain_rows(start)
    if not rows:
        raise InvalidArgument("the optimizer has no layers to draw")
    rates[_frozen(optimizer, columns, rates)] = np.nan
    towers = list(dict.fromkeys(row["tower"] for row in rows))
    order = sorted(range(len(rows)), key=lambda layer: (towers.index(rows[layer]["tower"]), rows[layer]["depth"]))
    return _Ahead(
        [rows[layer]["layer"] for layer in order],
        [rows[layer]["depth"] for layer in order],
        [rows[layer]["tower"] for layer in order],
        columns,
        stride,
        rates[order],
    )


def _frozen(optimizer: Optimizer, steps: npt.NDArray[np.int64], rates: Numbers) -> npt.NDArray[np.bool_]:
    """Which of the rates are 0 because the layer is frozen, and not because its schedule is at 0."""
    frozen = np.zeros(rates.shape, np.bool_)
    unknown = rates == 0
    while unknown.any():
        column = int(unknown.any(axis=0).argmax())
        for layer, row in enumerate(optimizer.explain_rows(int(steps[column]))):
            changes_at = row["changes_at"]
            end = len(steps) if changes_at is None else max(int(np.searchsorted(steps, changes_at)), column + 1)
            frozen[layer, column:end] = row["frozen"]
            unknown[layer, column:end] = False
    return frozen


def _stride(steps: int) -> int:
    """From one step that is drawn to the next."""
    return -(-steps // MOST_COLUMNS)


def _update_ratios(reports: Mapping[str, Telemetry] | Mapping[str, float]) -> dict[str, float]:
    """The update-to-weight ratio of each layer, of what either kind of optimizer tells."""
    end = "/update_ratio"
    found: dict[str, float] = {}
    for name, report in reports.items():
        if isinstance(report, Telemetry):
            found[name] = report.update_ratio
        elif name.endswith(end):
            found[name.removesuffix(end).removeprefix("layerwise/")] = report
    return found


def _drawn(ratio: float) -> float:
    # Without an update there is no place for it on a logarithmic scale.
    return ratio if ratio > 0 else np.nan


# ---- How it is drawn


def _new_axes(height: float) -> Axes:
    from matplotlib import pyplot

    return pyplot.subplots(figsize=(9, height), layout="constrained")[1]


def _beside(ax: Axes) -> Axes:
    """A place for a colour bar, which stays at the axes wherever a layout puts these."""
    return ax.inset_axes((1.02, 0.0, 0.022, 1.0))


def _label_lines(
    ax: Axes, lines: Sequence[Line2D], names: Sequence[str], depths: Sequence[int], color: Normalize, what: str
) -> None:
    """Say which line is which: all names, the last first as they mostly stand, or the scale of the colours."""
    if len(names) <= MOST_IN_LEGEND:
        # Labels go in afterwards: as labels, some texts would be left out or taken for formulas.
        legend = ax.legend(
            lines[::-1],
            [str(place) for place in range(len(names))],
            loc="center left",
            bbox_to_anchor=(1.0, 0.5),
            frameon=False,
            fontsize="small",
        )
        for text, name in zip(legend.get_texts(), reversed(names), strict=True):
            text.set_parse_math(False)
            text.set_text(_short(name))
        return
    bar = ax.figure.colorbar(ScalarMappable(color, _COLORS), cax=_beside(ax))
    bar.ax.set_title(what, loc="left", fontsize="medium")
    lowest, highest = min(depths), max(depths)
    between = [
        int(tick)
        for tick in _whole_numbers(6).tick_values(lowest, highest)
        if 0.08 < (tick - lowest) / max(highest - lowest, 1) < 0.92
    ]
    ends = {depth: f"{depth}  {_short(names[list(depths).index(depth)])}" for depth in (lowest, highest)}
    ticks = sorted({lowest, *between, highest})
    bar.set_ticks(ticks, labels=[ends.get(tick, str(tick)) for tick in ticks], parse_math=False)
    bar.ax.minorticks_off()


def _label_rows(ax: Axes, names: Sequence[str]) -> None:
    """As many names as there is room for: every one, every second, every fifth ..., and the last."""
    fontsize = 8.0
    inches = ax.get_window_extent().height / ax.figure.dpi
    room = max(int(72 * inches / (1.25 * fontsize)), 2)
    every = next(
        step
        for decade in range(20)
        for step in (10**decade, 2 * 10**decade, 5 * 10**decade)
        if len(names) <= step * room
    )
    last = len(names) - 1
    rows = sorted({0, *(row for row in range(0, last, every) if last - row >= 0.75 * every), last})
    ax.set_yticks(rows, [_short(names[row]) for row in rows], fontsize=fontsize, parse_math=False)
    ax.tick_params(axis="y", length=0 if every == 1 else 3)


def _whole_numbers(most: int | Literal["auto"] = "auto") -> MaxNLocator:
    return MaxNLocator(most, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1)


def _short(name: str) -> str:
    # Towers differ at the beginning of their names, layers at the end.
    return name if len(name) <= _LONGEST_NAME else f"{name[:9]}…{name[10 - _LONGEST_NAME :]}"


def _tidy(ax: Axes) -> None:
    ax.set_xlabel("step")
    ax.xaxis.set_major_locator(_whole_numbers())
    ax.margins(x=0.01)
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(color="0.92")
    ax.set_axisbelow(True)
