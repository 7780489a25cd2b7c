# SPDX-License-Identifier: Apache-2.0
"""Draws the figures of the documentation, in `docs/images`, from the library itself: `make docs`.

A panel shows the schedule or the plan that its title says, because the title is what is evaluated.  The files are the
same bytes each time they are drawn by one version of matplotlib.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Sequence
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import layerwise as lw
import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

IMAGES = Path(__file__).parent / "images"

# A figure is 600 pixels wide; an SVG of matplotlib has 72 points to the inch, a page 96 pixels.
WIDTH = 6.25
ROW = 1.15

# The background is the page's, light or dark: every colour stands out from both.
INK, FAINT = "#787878", "#78787840"
BLUE, ORANGE, GREEN = "#3f83d4", "#d9722f", "#2f9a62"
# From the input to the output, of one lightness.
LAYERS = ("#3f83d4", "#7c6fd0", "#b35cb0", "#d2587a", "#d9722f")
MONOSPACE = {"family": "monospace", "fontsize": 6.5}

STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "layerwise",
    "font.size": 8,
    "font.sans-serif": ["DejaVu Sans"],
    "font.monospace": ["DejaVu Sans Mono"],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "ytick.minor.size": 0,
    "ytick.minor.left": False,
    "lines.linewidth": 1.4,
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "legend.handlelength": 1.2,
}

FALLING = (
    "Constant(0.5)",
    "Linear(100)",
    "Linear(100, warmup_steps=20)",
    "Cosine(100)",
    "Cosine(100, min_factor=0.2)",
    "Cosine(100, k_decay=2)",
    "Polynomial(100, power=3)",
    "Tanh(100)",
    "FlatCosine(100)",
    "Exponential(0.97)",
    "StepDecay(30, 0.5)",
    "MultiStep([50, 90], 0.3)",
    "InverseSqrt(20)",
    "InverseTime(0.05)",
    "CosineRestarts(30)",
)

RISING = (
    "Noam(64, 20)",
    "SlantedTriangular(100)",
    "WarmupStableDecay(100, 25, warmup_steps=10)",
    "OneCycle(100)",
    "OneCycle(100, three_phase=True)",
    "OneCycleMomentum(100)",
    "Cyclic(step_size_up=20)",
    "Cyclic(step_size_up=20, mode='triangular2')",
    "CyclicMomentum(step_size_up=20)",
)

COMPOSED = (
    "Piecewise([(40, 0.5), (80, 0.2)])",
    "Piecewise([(40, 0.5), (80, 0.2)], 'linear')",
    "FactorTable.from_callable(lambda t: 0.98**t, 60)",
    "Warmup(20, Cosine(80))",
    "Sequential([Linear(60), Cosine(40)], [60])",
    "Product(Linear(100), Cyclic(step_size_up=10))",
)

WARMUPS = ("linear", "cosine", "sqrt", "one_minus_sqrt", "log", "exponential", "constant")

PLANS = {
    "gradual-unfreezing": "GradualUnfreezing(20)",
    "chain-thaw": "ChainThaw(15)",
    "freeze-out": "FreezeOut(100)",
    "layer-freezing": "LayerFreezing(100)",
    "freeze-at": "FreezeAt(unfreeze={'embed': 60}, freeze={'block1': 30})",
}


def made(text: str) -> Any:
    """What a title says."""
    return eval(text, vars(lw))


def schedule(text: str) -> lw.Schedule:
    """The schedule that a title says."""
    value = made(text)
    assert isinstance(value, lw.Schedule), text
    return value


def network(
    names: Sequence[str], *, policy: lw.Policy | None = None, schedule: lw.Schedule | None = None, lr: float = 1.0
) -> lw.Optimizer:
    """An optimizer of small layers that has no memory."""
    optimizer = lw.Optimizer(lw.SGD(lr=lr), policy, schedule=schedule, dry_run=True)
    for name in names:
        optimizer.add_layer(name, {"weight": (2, 2)})
    return optimizer


def grid(rows: int, columns: int, height: float = ROW, **options: Any) -> tuple[Figure, np.ndarray]:
    """A figure of panels."""
    figure = Figure(figsize=(WIDTH, height * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, **options)
    return figure, panels


def rounded(number: re.Match[str]) -> str:
    """A number with two decimals at most."""
    return f"{float(number[0]):.2f}".rstrip("0").rstrip(".")


def save(figure: Figure, name: str) -> None:
    """Write the figure, without the date and with the decimals that an eye sees."""
    text = StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(text, format="svg", transparent=True, metadata=nothing)
    svg = re.sub("<[^>]*>", lambda tag: re.sub(r"-?\d+\.\d{2,}", rounded, tag[0]), text.getvalue())
    # Names of groups, turns by 0 and indentation say nothing.
    svg = re.sub(r' transform="rotate\(-0 [^"]*"|(?<=<g) id="[^"]*"|^ +', "", svg, flags=re.MULTILINE)
    svg = re.sub(r" ?\n(?=[A-Za-z] [-\d]|z|\")", " ", svg)
    (IMAGES / f"{name}.svg").write_text(svg, "utf-8")


def draw_line(panel: Axes, values: Sequence[float] | np.ndarray, **style: Any) -> None:
    """A line, of which straight stretches are their two ends."""
    values = np.asarray(values)
    bends = np.flatnonzero(~(np.abs(np.diff(values, 2, prepend=np.nan, append=np.nan)) < 1e-9 * np.nanmax(values)))
    panel.plot(bends, values[bends], **style)


def draw_schedules(name: str, titles: Sequence[str]) -> None:
    """Small panels, three a row."""
    figure, panels = grid(-(-len(titles) // 3), 3, sharex=True)
    for panel, title in zip(panels.flat, titles, strict=True):
        values = np.asarray(schedule(title).evaluate(121))
        draw_line(panel, values, color=BLUE)
        panel.set_title(textwrap.fill(title, 31, break_long_words=False), fontdict=MONOSPACE)
        panel.set_ylim(0.75 if values.min() > 0.75 else 0, max(1.04 if values.max() > 0.2 else 0, values.max() * 1.04))
        panel.set_xlim(0, 120)
        panel.set_xticks([0, 50, 100])
    save(figure, name)


def draw_rates(panel: Axes, optimizer: lw.Optimizer, steps: int, colours: Sequence[str], labels: bool = True) -> None:
    """A line for each layer; there is none where it is frozen."""
    rates = np.asarray(optimizer.preview(steps))
    for name, row, colour in zip(optimizer.layers, rates, colours, strict=True):
        draw_line(panel, np.where(row > 0, row, np.nan), color=colour, label=name)
    panel.set_xlim(0, steps - 1)
    if labels:
        panel.legend(loc="upper left", bbox_to_anchor=(1, 1.05), reverse=True)


def draw_floors() -> None:
    """What one min_lr is for three layers under each kind of floor."""
    figure, panels = grid(1, 3, 2.0, sharey=True)
    for panel, title in zip(panels.flat, ('floor="scaled"', 'floor="absolute"', 'floor="relative"'), strict=True):
        optimizer = network(["embed", "head"], schedule=schedule(f"Cosine(100, min_lr=2e-4, {title})"), lr=1e-3)
        optimizer.policy = lw.Explicit({"embed": 0.1, "head": 1.0, "adapter": 1.0})
        optimizer.add_layer("adapter", {"weight": (2, 2)}, lr=3e-3)
        draw_rates(panel, optimizer, 121, (BLUE, ORANGE, GREEN), labels=panel is panels[0, -1])
        panel.axhline(2e-4, color=FAINT, linewidth=0.8)
        panel.set_title(title, fontdict=MONOSPACE)
        panel.set_yscale("log")
        panel.set_xticks([0, 50, 100])
    panels[0, 0].set_ylabel("rate")
    save(figure, "floors")


def draw_warmups() -> None:
    """Every shape, and what follows a warm-up."""
    figure, panels = grid(1, 2, 2.0)
    left, right = panels.flat
    colours = (*LAYERS, GREEN, INK)
    for shape, colour in zip(WARMUPS, colours, strict=True):
        start = 0.1 if shape in ("exponential", "constant") else 0.0
        values = schedule(f"Warmup(60, shape='{shape}', start={start})").evaluate(80)
        draw_line(left, values, color=colour, label=shape if start == 0 else f"{shape}, start=0.1")
    left.set_title("Warmup(60, shape=…)", fontdict=MONOSPACE)
    left.set_yticks([0, 0.5, 1])
    right.set_yticks([0, 0.5, 1])
    left.legend(loc="upper left", bbox_to_anchor=(1, 1.05))
    for title, colour in {
        "Warmup(20, Cosine(80))": BLUE,
        "Warmup(20, Cosine(100), overlap=True)": ORANGE,
        "Cosine(100, warmup_steps=20)": GREEN,
    }.items():
        style = (0, (4, 4)) if colour == GREEN else "solid"
        draw_line(right, schedule(title).evaluate(121), color=colour, linestyle=style, label=title)
    right.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), prop={"family": "monospace", "size": 6.5})
    save(figure, "warmups")


def draw_layers() -> None:
    """A layer that begins later, and one with a schedule of its own."""
    figure, panels = grid(1, 1, 1.7)
    optimizer = network(["encoder"], schedule=lw.Warmup(20, lw.Cosine(100)))
    optimizer.add_layer("adapter, start=40", {"weight": (2, 2)}, start=40)
    optimizer.add_layer("head, schedule=Linear(140)", {"weight": (2, 2)}, schedule=lw.Linear(140))
    draw_rates(panels[0, 0], optimizer, 161, (BLUE, ORANGE, GREEN))
    panels[0, 0].set_ylim(0)
    panels[0, 0].set_xlabel("step")
    panels[0, 0].set_ylabel("factor")
    save(figure, "layers")


def draw_plateau() -> None:
    """The rate as losses come in."""
    title = "ReduceOnPlateau(factor=0.5, patience=5, threshold=0.01)"
    optimizer = network(["all"], schedule=schedule(title))
    losses, factors = [1.0], []
    for report in range(60):
        factors.append(optimizer.preview(1)[0, 0])
        optimizer.report(losses[-1])
        # A loss that falls until its noise, which is as large as the rate, is in the way.
        level = 0.1 + factors[-1] * (0.4 + 0.1 * np.sin(report * 2.1))
        losses.append(losses[-1] + 0.3 * (level - losses[-1]))
    figure, panels = grid(1, 1, 1.5)
    panels[0, 0].plot(losses[:60], color=ORANGE, label="loss reported", marker=".", markersize=3, linewidth=0.8)
    panels[0, 0].step(np.arange(60), factors, color=BLUE, where="post", label="factor")
    panels[0, 0].legend(loc="upper right")
    panels[0, 0].set_title(title, fontdict=MONOSPACE)
    panels[0, 0].set_xlabel("reports")
    panels[0, 0].set_ylim(0)
    save(figure, "plateau")


def draw_plan(name: str, title: str) -> None:
    """A row for each layer, filled while it trains, as high as its rate."""
    names = ("embed", "block1", "block2", "block3", "head")
    optimizer = network(names)
    optimizer.freezing = made(title)
    rates = np.asarray(optimizer.preview(121))
    figure, panels = grid(1, 1, 1.7)
    panel = panels[0, 0]
    for row, (rate, colour) in enumerate(zip(rates / rates.max() * 0.86, LAYERS, strict=True)):
        panel.axhline(row, color=FAINT, linewidth=0.6)
        # A level stretch is its two ends.
        steps = np.flatnonzero(np.append(np.diff(rate, prepend=-1)[:-1], 1))
        panel.fill_between(steps, row, row + rate[steps], color=colour, linewidth=0, step="post")
    panel.set_yticks(np.arange(len(names)) + 0.4, names)
    panel.tick_params(axis="y", length=0)
    panel.spines["left"].set_visible(False)
    panel.set_ylim(0, len(names))
    panel.set_xlim(0, 120)
    panel.set_xlabel("step")
    panel.set_title(title, fontdict=MONOSPACE)
    save(figure, name)


def draw_policies() -> None:
    """The scales of a network of twelve blocks."""
    names = ["embed", *(f"block{k}" for k in range(1, 13)), "norm", "head"]
    figure, panels = grid(1, 1, 2.6)
    for text, colour in zip(
        (
            "LayerDecay(0.75)",
            "LayerDecay(0.75, convention='timm')",
            "LayerDecay(0.75, min_scale=0.1)",
            "GeometricRange(0.001)",
            "ULMFiT()",
        ),
        (BLUE, ORANGE, GREEN, LAYERS[1], LAYERS[3]),
        strict=True,
    ):
        optimizer = lw.Optimizer(lw.SGD(), made(text), dry_run=True)
        for name in names:
            optimizer.add_layer(name, {"weight": (2, 2)}, role="norm" if name == "norm" else None)
        scales = [row["scale"] for row in optimizer.explain_rows()]
        panels[0, 0].plot(scales, color=colour, marker=".", markersize=4, linewidth=0.9, label=text)
    panels[0, 0].set_xticks(range(len(names)), names, rotation=60)
    panels[0, 0].set_yscale("log")
    panels[0, 0].set_ylabel("scale")
    panels[0, 0].legend(loc="lower right", prop={"family": "monospace", "size": 7})
    save(figure, "policies")


def draw_overview() -> None:
    """The example of the README."""
    optimizer = network(
        ["embed", "block1", "block2", "block3", "head"],
        policy=lw.LayerDecay(0.65),
        schedule=lw.Warmup(50, lw.Cosine(450, min_lr=1e-6)),
        lr=3e-4,
    )
    optimizer.freezing = lw.GradualUnfreezing(60)
    figure, panels = grid(1, 1, 2.2)
    draw_rates(panels[0, 0], optimizer, 501, LAYERS)
    panels[0, 0].set_xlabel("step")
    panels[0, 0].set_ylabel("rate")
    panels[0, 0].set_ylim(0)
    panels[0, 0].ticklabel_format(axis="y", style="sci", scilimits=(0, 0))
    save(figure, "overview")


def figures() -> dict[str, Callable[[], None]]:
    """What draws each file of `docs/images`."""
    return {
        "schedules-falling": partial(draw_schedules, "schedules-falling", FALLING),
        "schedules-rising": partial(draw_schedules, "schedules-rising", RISING),
        "schedules-composed": partial(draw_schedules, "schedules-composed", COMPOSED),
        "floors": draw_floors,
        "warmups": draw_warmups,
        "layers": draw_layers,
        "plateau": draw_plateau,
        "policies": draw_policies,
        "overview": draw_overview,
        **{name: partial(draw_plan, name, title) for name, title in PLANS.items()},
    }


if __name__ == "__main__":
    IMAGES.mkdir(exist_ok=True)
    with mpl.rc_context(STYLE):
        for draw in figures().values():
            draw()
