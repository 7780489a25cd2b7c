# SPDX-License-Identifier: Apache-2.0
"""What notebooks show: well-formed HTML, with names escaped, and small pictures."""

import dataclasses
import math
import xml.etree.ElementTree as ET

import numpy as np
import pytest
import torch
from support.recipes import PLANS, POLICIES, SCHEDULES, name_of

import layerwise as lw
import layerwise.torch as lwt

ODD = "a<b>&'\"é"


def shown(value: object) -> ET.Element:
    html = value._repr_html_()  # type: ignore[attr-defined]
    assert isinstance(html, str)
    return ET.fromstring(html)


def text_of(element: ET.Element) -> str:
    return " ".join(element.itertext())


def cells(element: ET.Element) -> list[list[str]]:
    return [["".join(cell.itertext()) for cell in row] for row in element.iter("tr")]


@pytest.fixture
def opt() -> lw.Optimizer:
    made = lw.Optimizer(lw.AdamW(lr=0.1), lw.LayerDecay(0.5), schedule=lw.Linear(10), freezing=lw.GradualUnfreezing(3))
    for name in ("embed", ODD, "head"):
        made.add_layer(name, np.ones(4), grads=np.ones(4))
    return made


def test_optimizer_and_layers(opt: lw.Optimizer) -> None:
    opt.step()
    rows = cells(shown(opt))
    assert [row[0] for row in rows] == ["layer", "embed", ODD, "head"]
    expected = opt.explain_rows()
    assert [row[rows[0].index("rate")] for row in rows[1:]] == [f"{row['effective_lr']:.4g}" for row in expected]
    assert rows[1][-1] == "frozen until 6" and rows[3][-1] == "active"
    assert "base rate 0.1, policy layer_decay, schedule linear, freezing gradual_unfreezing" in text_of(shown(opt))
    assert [row[0] for row in cells(shown(opt.layers))] == ["layer", "embed", ODD, "head"]
    assert ODD in text_of(shown(opt.layer(ODD))) and ["steps", "1"] in cells(shown(opt.layer("head")))
    assert text_of(shown(opt.explain())) == opt.explain()
    opt.close()
    assert opt._repr_html_() is None


def test_many_layers_are_cut() -> None:
    with lw.Optimizer(lw.SGD(), dry_run=True) as opt:
        for index in range(70):
            opt.add_layer(f"l{index}", {"weight": (2,)})
        rows = cells(shown(opt))
        assert len(rows) == 62 and rows[-1] == ["… 10 more"]
        assert repr(opt.preview(2)).splitlines()[-1] == "… 30 more layers"


def test_reports(opt: lw.Optimizer) -> None:
    opt.set(telemetry=True)
    opt.step()
    reports = [opt.summary(), opt.layer("head").info, opt.telemetry()["head"], opt.load_bytes(opt.to_bytes())]
    for report in reports:
        names = [row[0] for row in cells(shown(report))[1:]]
        fields = dataclasses.fields(report) if dataclasses.is_dataclass(report) else ()
        assert names == [field.name for field in fields] or names == list(lw.Telemetry._fields)
    assert "… 4 more" in text_of(shown(reports[-1])), "there are three states of three layers"


def test_preview_prints(opt: lw.Optimizer) -> None:
    rates = opt.preview(100)
    lines = repr(rates).splitlines()
    assert lines[0] == "rates of 3 layers at 100 steps"
    assert lines[1].split() == ["0", "1", "2", "3", "4", "5", "…", "98", "99"]
    assert lines[4].split()[:3] == ["head", "0.1", "0.09"]
    assert repr(opt.preview(2, first=5, stride=2)).splitlines()[1].split() == ["5", "7"]
    assert "rates of 3 layers at 0 steps" in repr(opt.preview(0))
    html = shown(rates)
    assert len(list(html.iter("{http://www.w3.org/2000/svg}polyline"))) == 3
    assert cells(html)[0] == ["layer", "step 0", "step 25", "step 50", "step 75", "step 99"]
    shown(opt.preview(0))


@pytest.mark.parametrize("schedule", SCHEDULES, ids=name_of)
def test_schedules_have_a_picture(schedule: lw.Schedule) -> None:
    html = shown(schedule)
    (line,) = html.iter("{http://www.w3.org/2000/svg}polyline")
    points = [tuple(map(float, point.split(","))) for point in line.attrib["points"].split()]
    assert 10 <= len(points) <= 161
    assert all(0 <= x <= 320 and 0 <= y <= 90 and math.isfinite(x) for x, y in points)
    assert repr(schedule) in text_of(html)


def test_a_picture_shows_all_of_a_schedule() -> None:
    for schedule, steps in ((lw.Cosine(5000), 5001), (lw.Warmup(50, lw.Linear(300)), 351), (lw.Noam(512, 400), 1601)):
        assert f", {steps:,} steps" in text_of(shown(schedule))


def test_others_are_shown_by_their_repr() -> None:
    assert {recipe._repr_html_() for recipe in (*POLICIES, *PLANS)} == {None}


def test_torch_optimizers() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 5), torch.nn.Linear(5, 1))
    opt = lwt.AdamW(model, lr=0.1, layer_decay=0.5, clip_global_norm=1.0, schedule=lw.Linear(5))
    text = repr(opt)
    assert text.startswith("AdamW (\nParameter Group 0\n    amsgrad: False\n")
    for part in ("policy: LayerDecay(decay=0.5", "schedule: Linear(", "clip_global_norm: 1.0", "layers: 3 (0 … 2)"):
        assert part in text
    assert "0.weight" not in text and "layer_decay" not in text
    many = lwt.SGD([{"params": [torch.nn.Parameter(torch.ones(1))]} for _ in range(9)], lr=0.1)
    assert "… 5 more param groups" in repr(many) and "Parameter Group 4" not in repr(many)
    assert [row[0] for row in cells(shown(opt))] == ["layer", "0", "1", "2"]
    assert [row[0] for row in cells(shown(lwt.layers(model)))] == ["layer", "0", "1", "2"]
    rates = lwt.LayerRates(torch.optim.AdamW(model.parameters()), model, layer_decay=0.5)
    assert [row[0] for row in cells(shown(rates))] == ["layer", "0", "1", "2"]


def test_plots_take_torch_optimizers_and_layer_rates() -> None:
    from matplotlib import pyplot

    from layerwise import plot

    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 1))
    schedule = lw.Linear(20)
    ours = lwt.AdamW(model, lr=0.1, layer_decay=0.5, schedule=schedule)
    rates = lwt.LayerRates(torch.optim.AdamW(model.parameters(), lr=0.1), model, layer_decay=0.5, schedule=schedule)
    drawn = []
    for optimizer in (ours, rates):
        axes = plot.rates(optimizer, 20)
        drawn.append([line.get_ydata() for line in axes.get_lines()])
        plot.heatmap(optimizer, 20)
        plot.picture(optimizer, 20)
        pyplot.close("all")
    for one, other in zip(*drawn, strict=True):
        np.testing.assert_array_equal(one, other)
