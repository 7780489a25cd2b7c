# SPDX-License-Identifier: Apache-2.0
"""Freezing plans: who trains when, what a frozen layer keeps, and what takes precedence."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from support.recipes import FIXED_PLANS, LAYERS, name_of, optimizer, weights

import layerwise as lw


def active(plan: lw.FreezePlan, steps: int = 10, **options: Any) -> dict[str, str]:
    """For each layer a "#" for each step at which it trains."""
    with optimizer(freezing=plan, **options) as opt:
        return {
            name: "".join("#" if rate else "." for rate in row)
            for name, row in zip(LAYERS, opt.preview(steps).tolist(), strict=True)
        }


def test_gradual_unfreezing() -> None:
    assert active(lw.GradualUnfreezing(2)) == {
        "embed": "........##",
        "block.0": "......####",
        "block.1": "....######",
        "norm": "..########",
        "head": "##########",
    }
    assert active(lw.GradualUnfreezing(1, steps_per_epoch=3, first=3, train_norms=True)) == {
        "embed": "......####",
        "block.0": "...#######",
        "block.1": "##########",
        "norm": "##########",
        "head": "##########",
    }


def test_chain_thaw() -> None:
    assert active(lw.ChainThaw(2), 12) == {
        "embed": "..##......##",
        "block.0": "....##....##",
        "block.1": "......##..##",
        "norm": "........####",
        "head": "##........##",
    }


def test_layer_freezing() -> None:
    assert active(lw.LayerFreezing(8, start=0.5)) == {
        "embed": "#####.....",
        "block.0": "######....",
        "block.1": "#######...",
        "norm": "########..",
        "head": "##########",
    }


def test_freeze_out() -> None:
    with optimizer(freezing=lw.FreezeOut(8, start=0.5, spacing="linear", scaled=False)) as opt:
        rates = np.asarray(opt.preview(10))
    ends = [0.5, 0.625, 0.75, 0.875, 1.0]
    for row, end in zip(rates, ends, strict=True):
        expected = [0.05 * (1 + math.cos(math.pi * t / (8 * end))) if t < 8 * end else 0.0 for t in range(10)]
        assert row == pytest.approx(expected, rel=1e-12)
    with optimizer(freezing=lw.FreezeOut(8, start=0.5, spacing="linear")) as opt:
        assert np.asarray(opt.preview(1))[:, 0] == pytest.approx([0.1 / end for end in ends], rel=1e-12)


def test_freeze_at() -> None:
    assert active(lw.FreezeAt({"embed": 3, "norm": 2}, {"head": 4, "norm": 6, "block.0": 0})) == {
        "embed": "...#######",
        "block.0": "..........",
        "block.1": "##########",
        "norm": "..####....",
        "head": "####......",
    }
    assert active(lw.FreezeAt({"block.*": 6}, {"block.*": 2}, syntax="glob"))["block.1"] == "##....####"


def test_towers_thaw_side_by_side() -> None:
    with lw.Optimizer(lw.SGD(), freezing=lw.GradualUnfreezing(5)) as opt:
        for name in ("vision.0", "vision.1", "text.0", "text.1"):
            opt.add_layer(name, np.ones(1), tower=name.split(".")[0])
        assert [layer.frozen for layer in opt.layers.values()] == [True, False, True, False]


def test_what_is_told_of_a_layer() -> None:
    with optimizer(freezing=lw.GradualUnfreezing(2)) as opt:
        embed, head = opt.layer("embed"), opt.layer("head")
        assert (embed.frozen, embed.info.frozen_by, embed.info.changes_at) == (True, "plan", 8)
        assert (head.frozen, head.info.frozen_by, head.info.changes_at) == (False, None, None)
        assert (embed.effective_lr, embed.info.schedule_factor) == (0.0, 1.0)
        row = opt.explain_rows()[0]
        assert (row["frozen"], row["frozen_by"], row["changes_at"]) == (True, "plan", 8)
        assert opt.explain_rows(8)[0]["frozen"] is False
        assert "frozen until 8" in opt.explain()
        embed.unfreeze()
        head.freeze()
        assert (embed.frozen, embed.info.frozen_by, embed.info.changes_at) == (False, None, None)
        assert (head.frozen, head.info.frozen_by, head.info.changes_at) == (True, "layer", None)
        embed.follow_plan()
        head.follow_plan()
        assert (embed.info.frozen_by, head.info.frozen_by) == ("plan", None)
        embed.set(frozen="no")
        assert not embed.frozen
        embed.unset("frozen")
        assert embed.frozen
    with optimizer() as opt:
        assert opt.add_layer("cold", np.ones(1), frozen="yes").info.frozen_by == "layer"


@pytest.mark.parametrize(
    "plan", [plan for plan in FIXED_PLANS if getattr(plan, "states", "keep") == "keep"], ids=name_of
)
def test_a_frozen_layer_keeps_its_bits_and_goes_on_where_it_stopped(plan: lw.FreezePlan) -> None:
    """As by hand: the plan does what freeze and unfreeze do at the same steps."""
    rule = lw.AdamW(lr=0.1, weight_decay=0.1)
    with optimizer(rule, freezing=plan) as opt, optimizer(rule, schedule=lw.Constant()) as by_hand:
        rates = np.asarray(opt.preview(22))
        for step in range(22):
            before = [weights(opt)[2 * index : 2 * index + 2] for index in range(len(LAYERS))]
            for index, name in enumerate(LAYERS):
                layer = by_hand.layer(name)
                (layer.unfreeze if rates[index, step] else layer.freeze)()
                layer.set(lr=max(float(rates[index, step]), 1e-9))
            opt.step()
            by_hand.step()
            after = [weights(opt)[2 * index : 2 * index + 2] for index in range(len(LAYERS))]
            assert [old == new for old, new in zip(before, after, strict=True)] == [
                rate == 0 for rate in rates[:, step]
            ]
            assert weights(opt) == weights(by_hand)
        steps = [layer.info.steps for layer in opt.layers.values()]
        assert steps == [int(np.count_nonzero(row)) for row in rates]


def test_reset() -> None:
    rule = lw.AdamW(lr=0.1)
    master = np.ones(4, np.float16)
    with optimizer(rule) as opt:
        layer = opt.add_layer("half", master, np.ones(4, np.float16), master=True)
        opt.step()
        opt.step()
        layer.reset()
        assert layer.info.steps == 0
        states = layer.states()["weight"]
        for name in states:
            values = np.asarray(layer.read_state("weight", name))
            assert (values == (master.astype(np.float32) if name == "master" else 0)).all(), name
        assert opt.layer("embed").info.steps == 2
        assert opt.next_step == 2


REFUSED: list[tuple[Callable[[], lw.FreezePlan], type[lw.LayerwiseError], str]] = [
    (lambda: lw.GradualUnfreezing(0), lw.OutOfRange, "every must be a whole number from 1 to 1048576, found 0"),
    (lambda: lw.GradualUnfreezing(1, first=0), lw.OutOfRange, "first must be a whole number from 1"),
    (lambda: lw.ChainThaw(-1), lw.OutOfRange, "every must be a whole number from 1 to 1048576, found -1"),
    (
        lambda: lw.ChainThaw(1, steps_per_epoch=2**21),
        lw.OutOfRange,
        "steps_per_epoch must be a whole number from 1 to 1048576",
    ),
    (lambda: lw.FreezeOut(0), lw.OutOfRange, "total_steps must be a whole number from 1"),
    (lambda: lw.FreezeOut(10, start=0.0), lw.OutOfRange, r"start must be in \(0, 1\], found 0"),
    (lambda: lw.FreezeOut(10, spacing="square"), lw.UnknownName, "one of linear, squared, cubic"),  # type: ignore[arg-type]
    (lambda: lw.LayerFreezing(10, start=1.0), lw.OutOfRange, r"start must be in \[0, 1\), found 1"),
    (lambda: lw.LayerFreezing(10, level=math.nan), lw.OutOfRange, r"level must be in \[0, 1\], found nan"),
    (lambda: lw.FreezeAt(), lw.OutOfRange, "needs a layer to thaw or to freeze"),
    (lambda: lw.FreezeAt({"a": -1}), lw.OutOfRange, '"a" needs unfreeze_at or freeze_at'),
    (lambda: lw.FreezeAt({"a": -2}), lw.OutOfRange, "unfreeze_at must be a whole number from -1"),
    (lambda: lw.FreezeAt({"a": 5}, {"a": 5}), lw.OutOfRange, "unfreeze_at and freeze_at must differ, found 5 twice"),
    (lambda: lw.FreezeAt({"a": 0.5}), lw.OutOfRange, "unfreeze_at must be a whole number"),  # type: ignore[dict-item]
]


@pytest.mark.parametrize(("make", "exception", "match"), REFUSED, ids=lambda value: None)
def test_refused(make: Callable[[], lw.FreezePlan], exception: type[lw.LayerwiseError], match: str) -> None:
    with optimizer(freezing=lw.ChainThaw(3)) as opt:
        before = opt.explain()
        with pytest.raises(exception, match=match):
            opt.freezing = make()
        assert opt.freezing == lw.ChainThaw(3)
        assert opt.explain() == before


def test_a_plan_must_fit_the_layers_at_the_step() -> None:
    with optimizer(freezing=lw.FreezeAt({"nobody": 3})) as opt:
        before = weights(opt)
        for call in (opt.step, opt.explain, lambda: opt.preview(1), lambda: opt.layer(0).info):
            with pytest.raises(lw.UnknownName, match="nobody"):
                call()
        opt.freezing = lw.FreezeAt({"embed": 3}, unmatched="error")
        with pytest.raises(lw.OutOfRange, match="nothing is given for layer"):
            opt.step()
        assert weights(opt) == before
        opt.freezing = lw.FreezeAt({"nobody": 3}, unused="ignore")
        opt.step()
