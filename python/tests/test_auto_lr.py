# SPDX-License-Identifier: Apache-2.0
"""AutoLR beside its equations, measured policies by tower, and what explain shows of measurements."""

from __future__ import annotations

import ctypes
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

import layerwise as lw
from layerwise import _binding as native

SIZES = {"stem": 30, "a": 12, "b": 50, "c": 7, "d": 90, "head": 20}


def model(policy: lw.Policy, rule: lw.Rule | None = None, **towers: str) -> tuple[lw.Optimizer, dict[str, Any]]:
    draw = np.random.default_rng(3)
    params = {name: draw.standard_normal(size) for name, size in SIZES.items()}
    opt = lw.Optimizer(rule or lw.SGD(lr=0.01), policy)
    for name, own in params.items():
        opt.add_layer(name, own, **({"tower": towers[name]} if name in towers else {}))
    return opt, params


def gradients(step: int, sizes: dict[str, float]) -> dict[str, Any]:
    draw = np.random.default_rng(step)
    return {name: factor * draw.standard_normal(SIZES[name]) for name, factor in sizes.items()}


def published_score(movements: list[float]) -> float:
    """As in the authors' code."""
    order = [movements.index(x) for x in sorted(movements)]
    return 1 - sum(abs(index - one) for index, one in enumerate(order)) / len(order) ** 2 * 2


def published_aims(movements: list[float], passed: int) -> list[float]:
    if passed == 0:
        largest, least = 0.4 * max(movements), 2 * min(movements)
        if least >= largest:
            largest, least = max(movements), min(movements)
        return [least + i * (largest - least) / (len(movements) - 1) for i in range(len(movements))]
    interval = (max(movements) - min(movements)) / (len(movements) - 1)
    aims, center = list(movements), len(movements) // 2
    for i in range(center, 0, -1):
        if aims[i] < aims[i - 1]:
            aims[i - 1] = max(aims[i] - interval, aims[i] / 2)
    for i in range(center, len(aims) - 1):
        if aims[i] > aims[i + 1]:
            aims[i + 1] = aims[i] + interval
    return aims


def test_auto_lr_follows_its_equations() -> None:
    """Each layer's gradients have a size of their own, out of order at first, and another one later."""
    opt, params = model(lw.AutoLR(0.9, threshold_decay=0.98, average=0.5, warmup=4, period=3))
    body = [name for name in SIZES if name != "head"]
    sizes = {"stem": 3.0, "a": 0.1, "b": 2.0, "c": 0.5, "d": 1.0, "head": 4.0}
    scales, averages = dict.fromkeys(SIZES, 1.0), dict.fromkeys(SIZES, np.nan)
    passed, aims, outcomes = 0, [], []
    for step in range(1, 60):
        if step == 31:
            sizes = sizes | {"b": 0.05, "c": 30.0}
        before = {name: own.copy() for name, own in params.items()}
        assert {row["layer"]: row["scale"] for row in opt.explain_rows()} == pytest.approx(scales, rel=1e-9)
        opt.step(gradients(step, sizes))
        for name, own in params.items():
            value = np.linalg.norm(own - before[name]) / SIZES[name] / scales[name]
            averages[name] = value if step == 1 else 0.5 * averages[name] + 0.5 * value
        if step < 4 or step % 3:
            continue
        movements = [averages[name] * scales[name] for name in body]
        threshold = 0.9
        for _ in range(passed):
            if threshold > 0.8:
                threshold *= 0.98
        if published_score(movements) >= threshold:
            passed, aims = passed + 1, []
            outcomes.append("passed")
            continue
        aims = aims or published_aims(movements, passed)
        outcomes.append("failed")
        for name, aim, movement in zip(body, aims, movements, strict=True):
            scales[name] = min(max(scales[name] * aim / movement, 1e-3), 1e3)
    # Both ways to set aims were taken, and more than one failure in a row.
    assert ("failed", "failed") in pairwise(outcomes) and outcomes[0] == "failed"
    assert ("passed", "failed") in pairwise(outcomes)


def test_auto_lr_orders_each_tower_and_leaves_heads() -> None:
    towers = {"stem": "x", "a": "x", "b": "x", "c": "y", "d": "y", "head": "y"}
    opt, _ = model(lw.AutoLR(warmup=1, period=1), **towers)
    opt.step(gradients(0, {"stem": 5.0, "a": 1.0, "b": 9.0, "c": 1.0, "d": 1.0, "head": 1.0}))
    found = {row["layer"]: row["scale"] for row in opt.explain_rows()}
    assert found["b"] == found["head"] == 1
    assert found["stem"] < 1
    rows = {row["layer"]: row for row in opt.explain_rows()}
    assert rows["c"]["measured"] is not None


def test_auto_lr_resumes_exactly() -> None:
    policy = lw.AutoLR(average=0.5, warmup=3, period=3, ramp=4)
    opt, params = model(policy, lw.AdamW(lr=0.01))
    sizes = {"stem": 3.0, "a": 0.1, "b": 2.0, "c": 0.5, "d": 1.0, "head": 4.0}
    for step in range(25):
        saved, weights = opt.to_bytes(), {name: own.copy() for name, own in params.items()}
        twin, own = model(policy, lw.AdamW(lr=0.01))
        twin.load_bytes(saved)
        for name in own:
            own[name][...] = weights[name]
        for each in (opt, twin):
            for ahead in range(4):
                each.step(gradients(step + ahead, sizes))
        assert np.array_equal(opt.measurements(), twin.measurements(), equal_nan=True), step
        for name in own:
            assert np.array_equal(own[name], params[name]), step


def test_one_scale_for_each_tower() -> None:
    """The scale of a tower is that of one layer with all its tensors."""
    towers = {"stem": "x", "a": "x", "b": "x", "c": "y", "d": "y", "head": "y"}
    for make in (
        lambda **more: lw.RelativeGradientNorm(average=0.5, **more),
        lambda **more: lw.LARC(0.02, **more),
        lambda **more: lw.Hypergradient(0.1, **more),
        lambda **more: lw.SignAgreement(0.1, **more),
        lambda **more: lw.LDoGScale(1e-3, **more),
    ):
        opt, _ = model(make(unit="tower"), **towers)
        draw = np.random.default_rng(3)
        params = {name: draw.standard_normal(size) for name, size in SIZES.items()}
        whole = lw.Optimizer(lw.SGD(lr=0.01), make())
        for tower in ("x", "y"):
            whole.add_layer(tower, {name: own for name, own in params.items() if towers[name] == tower})
        for step in range(5):
            given = gradients(step, dict.fromkeys(SIZES, 1.0) | {"a": 5.0})
            opt.step(given)
            whole.step({t: {n: g for n, g in given.items() if towers[n] == t} for t in ("x", "y")})
        expected = {row["layer"]: row["scale"] for row in whole.explain_rows()}
        for row in opt.explain_rows():
            assert row["scale"] == pytest.approx(expected[row["tower"]], rel=1e-12), opt.policy
    noisy, _ = model(lw.GradientNoise(unit="tower", warmup=1, min_scale=0), **towers)
    for step in range(3):
        for batch in range(4):
            noisy.measure_microbatch(gradients(4 * step + batch, dict.fromkeys(SIZES, 1.0 + batch)))
        noisy.step(gradients(step, dict.fromkeys(SIZES, 1.0)))
    found = {(row["tower"], row["scale"]) for row in noisy.explain_rows()}
    assert len(found) == 2


def test_towers_resume_and_freeze() -> None:
    towers = {"stem": "x", "a": "x", "b": "x", "c": "y", "d": "y", "head": "y"}
    opt, params = model(lw.RelativeGradientNorm(unit="tower"), **towers)
    opt.layer("stem").freeze()
    given = gradients(0, dict.fromkeys(SIZES, 1.0))
    opt.step(given)
    found = {row["layer"]: row["scale"] for row in opt.explain_rows()}
    assert found["stem"] == found["a"] == found["b"] and found["c"] == found["d"]
    twin, own = model(lw.RelativeGradientNorm(unit="tower"), **towers)
    twin.load_bytes(opt.to_bytes(parameters=True))
    assert {row["layer"]: row["scale"] for row in twin.explain_rows()} == found
    for each in (opt, twin):
        each.step(given)
    for name in own:
        assert np.array_equal(own[name], params[name])


def test_explain_shows_what_was_measured() -> None:
    policy = lw.RelativeGradientNorm(2, average=0, warmup=2)
    opt, params = model(policy)
    columns = ("measured", "target", "measured_scale")
    assert [opt.explain_rows()[1][key] for key in columns] == [None, None, 1]
    before = {name: own.copy() for name, own in params.items()}
    given = gradients(0, dict.fromkeys(SIZES, 1.0) | {"a": 5.0})
    opt.step(given)
    values = {name: np.linalg.norm(given[name]) / np.linalg.norm(before[name]) for name in SIZES}
    for row in opt.explain_rows():
        assert row["measured"] == pytest.approx(values[row["layer"]], rel=1e-12)
        assert row["target"] == pytest.approx((values[row["layer"]] / max(values.values())) ** 2, rel=1e-12)
        assert row["measured_scale"] == 1
    info = opt.layer("b").info
    assert (info.measured_value, info.measured_scale) == (opt.explain_rows()[2]["measured"], 1)
    assert info.measured_target == opt.explain_rows()[2]["target"]
    head = opt.explain().splitlines()[1]
    assert head.index("measured ") < head.index("target") < head.index("measured scale")
    assert "measured scale" in str(opt._repr_html_())
    plain, _ = model(lw.Uniform())
    assert "measured" not in plain.explain() and "measured" not in plain.explain_rows()[0]
    assert "measured" not in str(plain._repr_html_())
    assert plain.layer("a").info.measured_scale is None


def test_policy_and_plan_that_both_measure_load_into_more_layers() -> None:
    """A checkpoint of fewer layers leaves the others as they are, of policy and plan alike."""

    def build(names: list[str]) -> tuple[lw.Optimizer, dict[str, Any]]:
        draw = np.random.default_rng(3)
        params = {name: draw.standard_normal(20) for name in names}
        opt = lw.Optimizer(lw.SGD(lr=0.01), lw.Hypergradient(0.1), freezing=lw.GradES(0.01, total_steps=10))
        for name, own in params.items():
            opt.add_layer(name, own)
        return opt, params

    few, _ = build(["a", "b"])
    for step in range(4):
        few.step({name: np.random.default_rng(step).standard_normal(20) for name in ("a", "b")})
    many, _ = build(["a", "x", "b", "y"])
    given = {name: np.random.default_rng(9).standard_normal(20) for name in ("a", "x", "b", "y")}
    for stepped in (False, True):
        if stepped:
            for _ in range(3):
                many.step(given)
        before = many.measurements()
        many.load_bytes(few.to_bytes(), strict=False)
        found, own = many.measurements(), few.measurements()
        size = len(own) // 2
        assert np.array_equal(found[:size], own[:size], equal_nan=True)
        assert np.array_equal(found[2 * size : 3 * size], own[size:], equal_nan=True)
        assert np.array_equal(found[size : 2 * size], before[size : 2 * size], equal_nan=True)
        many.step(given)


def test_programs_with_the_former_layer_info_still_run() -> None:
    """A struct of the former size is filled up to its end, and one of any other size is refused."""
    opt, _ = model(lw.RelativeGradientNorm())
    row = native.lw_layer_info(native.lw_layer_info.measured_value.offset)
    row.measured_value = 7.0
    native.call(native.lw_layer_get_info, opt._handle, 1, ctypes.byref(row))
    assert (row.depth, row.scale, row.measured_value) == (1, 1.0, 7.0)
    row.struct_size += 8
    with pytest.raises(lw.LayerwiseError, match="struct_size must be"):
        native.call(native.lw_layer_get_info, opt._handle, 1, ctypes.byref(row))
