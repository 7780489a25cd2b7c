# SPDX-License-Identifier: Apache-2.0
"""The pictures show what the library says: its rates, gaps where it freezes, names as they are."""

import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import layerwise as lw
from layerwise import plot


@pytest.fixture(autouse=True)
def closed_figures() -> Iterator[None]:
    with mpl.rc_context():
        pyplot.switch_backend("agg")
        yield
        pyplot.close("all")


def optimizer(count: int, **options: Any) -> lw.Optimizer:
    opt = lw.Optimizer(lw.AdamW(lr=3e-4), dry_run=True, **options)
    for index in range(count):
        opt.add_layer(f"layer{index}", (4, 4))
    return opt


def drawn(ax: Axes) -> Figure:
    """Draw for real: much of what can fail in a picture fails only now."""
    figure = ax.figure
    assert isinstance(figure, Figure)
    figure.canvas.draw()
    return figure


def lines(ax: Axes) -> list[np.ndarray[Any, Any]]:
    return [np.asarray(line.get_ydata(), float) for line in ax.lines]


def legend(ax: Axes) -> list[str]:
    found = ax.get_legend()
    return [] if found is None else [text.get_text() for text in found.get_texts()]


def test_lines_are_the_preview() -> None:
    opt = optimizer(3, policy=lw.LayerDecay(0.5), schedule=lw.Warmup(10, lw.Cosine(90)))
    ax = plot.rates(opt, 100)
    drawn(ax)
    np.testing.assert_array_equal(lines(ax), np.asarray(opt.preview(100)))
    assert [list(line.get_xdata()) for line in ax.lines] == [list(range(100))] * 3
    assert legend(ax) == ["layer2", "layer1", "layer0"]
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_title()) == ("step", "learning rate", "")


def test_first_is_the_next_step_unless_given() -> None:
    opt = optimizer(1, schedule=lw.Linear(100))
    opt.seek(40)
    for ax, start in ((plot.rates(opt, 5), 40), (plot.rates(opt, 5, first=7), 7)):
        (line,) = ax.lines
        assert list(line.get_xdata()) == list(range(start, start + 5))


def test_no_more_columns_than_a_screen_has() -> None:
    opt = optimizer(2, schedule=lw.Linear(10**6))
    (first, _) = plot.rates(opt, 10**6).lines
    steps = np.asarray(first.get_xdata())
    assert len(steps) == plot.MOST_COLUMNS
    assert set(np.diff(steps)) == {500}
    assert len(np.asarray(plot.rates(opt, plot.MOST_COLUMNS + 1).lines[0].get_xdata())) == 1001


def test_frozen_layers_leave_gaps() -> None:
    opt = optimizer(4, freezing=lw.GradualUnfreezing(10))
    rates = np.asarray(opt.preview(50))
    ax = plot.rates(opt, 50)
    np.testing.assert_array_equal(lines(ax), np.where(rates == 0, np.nan, rates))
    assert np.isnan(lines(ax)).sum() == 10 + 20 + 30


def test_a_rate_of_zero_is_not_frozen() -> None:
    """Warm-up from 0, an end at 0, and both kinds of freezing at once."""
    schedule = lw.Cosine(30, warmup_steps=10)
    opt = optimizer(3, schedule=schedule, freezing=lw.FreezeAt({"layer0": 5}, {"layer0": 20}))
    opt.layer("layer1").freeze()
    ax = plot.rates(opt, 40)
    rates = np.asarray(opt.preview(40))
    rates[0, :5] = rates[0, 20:] = rates[1] = np.nan
    np.testing.assert_array_equal(lines(ax), rates)
    assert rates[2, 0] == rates[2, 39] == 0


@pytest.mark.parametrize("steps", [60, 6000])
def test_thawing_again_and_again(steps: int) -> None:
    """Also where stages are shorter than what is drawn."""
    opt = optimizer(5, freezing=lw.ChainThaw(1 if steps > 60 else 7))
    ax = plot.heatmap(opt, steps)
    stride = -(-steps // plot.MOST_COLUMNS)
    rates = np.asarray(opt.preview(steps // stride, stride=stride))
    (image,) = ax.images
    np.testing.assert_array_equal(np.ma.getmaskarray(image.get_array()), rates == 0)


def test_scale_follows_the_span() -> None:
    assert plot.rates(optimizer(3, schedule=lw.Cosine(100)), 100).get_yscale() == "linear"
    assert plot.rates(optimizer(3, policy=lw.LayerDecay(0.1)), 10).get_yscale() == "log"
    long_tail = plot.rates(optimizer(1, schedule=lw.MultiStep([10, 20, 30])), 100)
    assert long_tail.get_yscale() == "log"
    assert long_tail.get_ylim()[0] < 3e-7


def test_colour_bar_in_place_of_a_long_legend() -> None:
    opt = optimizer(200, policy=lw.LayerDecay(0.97))
    ax = plot.rates(opt, 20)
    drawn(ax)
    assert ax.get_legend() is None
    (bar,) = ax.child_axes
    labels = [label.get_text() for label in bar.get_yticklabels()]
    assert labels[0] == "0  layer0"
    assert labels[-1] == "199  layer199"
    assert bar.get_title(loc="left") == "depth"
    assert len({line.get_color() for line in ax.lines}) > 150


def test_towers_differ_in_style() -> None:
    opt = lw.Optimizer(lw.AdamW(), dry_run=True)
    for name, tower in (("v0", "vision"), ("t0", "text"), ("v1", "vision"), ("t1", "text")):
        opt.add_layer(name, (2,), tower=tower)
    ax = plot.rates(opt, 3)
    assert legend(ax) == ["t1", "t0", "v1", "v0"]
    assert [line.get_linestyle() for line in ax.lines] == ["-", "-", "--", "--"]
    ax = plot.heatmap(opt, 3)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["v0", "v1", "t0", "t1"]


def test_heatmap_is_the_preview() -> None:
    opt = optimizer(5, policy=lw.LayerDecay(0.5), freezing=lw.GradualUnfreezing(10))
    ax = plot.heatmap(opt, 50, first=3)
    drawn(ax)
    rates = np.asarray(opt.preview(50, first=3))
    (image,) = ax.images
    np.testing.assert_array_equal(np.ma.filled(image.get_array(), 0), rates)
    assert image.get_extent() == [2.5, 52.5, -0.5, 4.5]
    assert legend(ax) == ["frozen"]
    assert ax.get_legend_handles_labels() == ([], [])


def test_lowest_colour_for_what_is_lower() -> None:
    """A schedule that ends at 0 is not grey, and does not take all the colours."""
    ax = plot.heatmap(optimizer(2, schedule=lw.Linear(100)), 120)
    (image,) = ax.images
    assert not np.ma.getmaskarray(image.get_array()).any()
    lowest, highest = image.get_clim()
    assert (highest, image.get_array().min()) == (3e-4, lowest)  # type: ignore[union-attr]
    assert highest / 100 < lowest < highest / 10
    assert legend(ax) == []


@pytest.mark.parametrize("count", [1, 2, 5, 40, 41, 200, 1000])
def test_names_have_room(count: int) -> None:
    ax = plot.heatmap(optimizer(count), 3)
    drawn(ax)
    labels = [label for label in ax.get_yticklabels() if label.get_text()]
    assert labels[0].get_text() == "layer0"
    assert labels[-1].get_text() == f"layer{count - 1}"
    assert len(labels) == count if count <= 5 else len(labels) > 15
    boxes = [label.get_window_extent() for label in labels]
    assert all(below.y1 <= above.y0 + 1 for below, above in pairwise(boxes))


def test_names_are_shown_as_they_are() -> None:
    """Not as formulas, and not left out because of an underscore; long ones keep both ends."""
    names = ["$x", "_hidden", "a^{", "%s", "encoder.with_a_very_long_name.of.layer.11"]
    opt = lw.Optimizer(lw.AdamW(), dry_run=True)
    for name in names:
        opt.add_layer(name, (2,))
    shown = [*names[:4], "encoder.w…ong_name.of.layer.11"]
    lines_ax, map_ax = plot.rates(opt, 3), plot.heatmap(opt, 3)
    for ax in (lines_ax, map_ax):
        drawn(ax)
    assert legend(lines_ax) == shown[::-1]
    assert [label.get_text() for label in map_ax.get_yticklabels()] == shown


def test_draws_into_given_axes() -> None:
    figure, axes = pyplot.subplots(1, 2)
    opt = optimizer(14)
    axes[0].plot([0, 1], [1e-4, 2e-4])
    assert plot.rates(opt, 4, ax=axes[0]) is axes[0]
    assert plot.heatmap(opt, 4, ax=axes[1]) is axes[1]
    assert figure.axes[:2] == list(axes)
    assert pyplot.get_fignums() == [figure.number]  # type: ignore[attr-defined]


def test_everything_frozen_or_a_rate_of_zero() -> None:
    opt = optimizer(2)
    opt.lr = 0.0
    drawn(plot.rates(opt, 4))
    drawn(plot.heatmap(opt, 1))
    for layer in opt.layers.values():
        layer.freeze()
    drawn(plot.rates(opt, 1))
    assert legend(plot.heatmap(opt, 4)) == ["frozen"]


def test_picture_is_apart_from_pyplot(tmp_path: Path) -> None:
    figure = plot.picture(optimizer(3), 10)
    figure.savefig(tmp_path / "picture.png")
    assert (tmp_path / "picture.png").stat().st_size > 1000
    assert pyplot.get_fignums() == []


def test_update_ratios() -> None:
    opt = lw.Optimizer(lw.SGD(lr=0.1), telemetry=True, freezing=lw.FreezeAt({"b": 2}))
    for name in "ab":
        opt.add_layer(name, np.ones(3), grads=np.ones(3))
    history = []
    for _ in range(4):
        opt.step()
        history.append(opt.telemetry())
    ax = plot.update_ratios(history)
    drawn(ax)
    first, second, guide = lines(ax)
    assert list(first) == [report["a"].update_ratio for report in history]
    np.testing.assert_array_equal(second, [np.nan, np.nan, *(report["b"].update_ratio for report in history[2:])])
    assert list(guide) == [plot.RULE_OF_THUMB] * 2
    assert legend(ax) == ["b", "a"]
    assert ax.get_yscale() == "log"


def test_update_ratios_of_a_long_run() -> None:
    report = lw.Telemetry(1.0, 1.0, 0.01, 0.01, 1.0, 1.0, 0.1, 0, 0)
    history = [{"a": report}] * 10_000 + [{"a": report, "late": report}] * 10_000
    first, late, _ = lines(plot.update_ratios(history))
    assert len(first) == len(late) == plot.MOST_COLUMNS
    assert np.isnan(late).sum() == plot.MOST_COLUMNS // 2


def test_optimizers_of_torch() -> None:
    torch = pytest.importorskip("torch")
    import layerwise.torch as lwt

    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 2))
    opt = lwt.AdamW(model, lr=3e-4, layer_decay=0.5, schedule=lw.Cosine(90), telemetry=True)
    for draw in (plot.rates, plot.heatmap):
        ax = draw(opt, 100)
        drawn(ax)
    np.testing.assert_array_equal(lines(plot.rates(opt, 100)), np.asarray(opt.preview(100)))
    plot.picture(opt, 100).canvas.draw()
    history: list[Any] = []
    native: list[Any] = []
    for step in range(3):
        model(torch.ones(1, 4)).sum().backward()
        opt.step()
        history.append(opt.telemetry() if step < 2 else opt.telemetry(prefix="layerwise/"))
        native.append(opt.native.telemetry())
    ax, other = plot.update_ratios(history), plot.update_ratios(native)
    assert legend(ax) == legend(other) == ["1", "0"]
    np.testing.assert_array_equal(lines(ax)[:2], lines(other)[:2])
    assert np.all(np.asarray(lines(ax)[:2]) > 0)
    with pytest.raises(
        TypeError, match=r"one of layerwise or layerwise.torch, or LayerRates, found torch.optim.adamw.AdamW"
    ):
        plot.rates(torch.optim.AdamW(model.parameters()), 10)  # type: ignore[arg-type]


def test_refusals() -> None:
    for draw in (plot.rates, plot.heatmap):
        with pytest.raises(lw.InvalidArgument, match="at least 1, found 0"):
            draw(optimizer(1), 0)
        with pytest.raises(lw.InvalidArgument, match="no layers"):
            draw(optimizer(0), 10)
        with pytest.raises(lw.UnknownName, match="nobody"):
            draw(optimizer(1, policy=lw.Explicit({"nobody": 1.0, "*": 1.0})), 10)
    with pytest.raises(lw.InvalidArgument, match="found none"):
        plot.update_ratios([])


@pytest.mark.spawns
def test_says_which_extra_is_missing() -> None:
    code = "import sys; sys.modules['matplotlib'] = None; import layerwise; import layerwise.plot"
    package = str(Path(lw.__file__).parent.parent)
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={"PYTHONPATH": package}, check=False
    )
    assert result.returncode == 1
    assert 'ImportError: layerwise.plot draws with matplotlib: pip install "layerwise[plot]"' in result.stderr


def test_layer_rates_in_the_middle_of_a_run() -> None:
    torch = pytest.importorskip("torch")
    import layerwise.torch as lwt

    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    rates = lwt.LayerRates(optimizer, model, layer_decay=0.5, schedule=lw.Linear(20))
    for _ in range(5):
        model(torch.ones(2, 3)).sum().backward()
        optimizer.step()
        rates.step()
    ax = plot.rates(rates, 10)
    assert np.asarray(ax.get_lines()[0].get_xdata()).tolist() == list(range(5, 15))
    np.testing.assert_array_equal(lines(ax), np.asarray(rates.preview(10)))
