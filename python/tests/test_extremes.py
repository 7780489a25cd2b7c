# SPDX-License-Identifier: Apache-2.0
"""Numbers at the ends of their range: finite ones stay finite, infinite ones stay where they are, norms are right."""

import itertools
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch
from support.rules import TABLE
from support.rules import rule as rule_of

import layerwise as lw
from layerwise.introspection import declaration_of

RULES = [rule_of(name, options) for name, row in TABLE.items() for options in row.extremes]

KINDS: dict[str, tuple[Any, Any, bool]] = {
    "float32": (np.float32, np.float32, False),
    "float64": (np.float64, np.float64, False),
    "float64, float32 gradients": (np.float64, np.float32, False),
    "float16": (np.float16, np.float16, False),
    "float16, float32 gradients": (np.float16, np.float32, False),
    "float16, master": (np.float16, np.float16, True),
    "bfloat16": (ml_dtypes.bfloat16, ml_dtypes.bfloat16, False),
    "bfloat16, master": (ml_dtypes.bfloat16, ml_dtypes.bfloat16, True),
    "bfloat16, master, float32 gradients": (ml_dtypes.bfloat16, np.float32, True),
}

OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "skip": {"nonfinite": "skip"},
    "telemetry": {"telemetry": True},
    "maximize": {"maximize": True},
    "value": {"clip_value": 1e30},
    "norms": {"clip_global_norm": 1e-10, "clip_layer_norm": 1e30},
}

SCALES = (1.0, 1e-45, 1e45, 5e-324, 1.7e308)


def largest(dtype: Any) -> float:
    return float(ml_dtypes.finfo(dtype).max)


def extremes(dtype: Any, kind: Any) -> np.ndarray:
    """Numbers of every size, as parameters, gradients or states of a type."""
    top = largest(dtype)
    tiny = float(ml_dtypes.finfo(dtype).smallest_subnormal)
    values = [0.0, -0.0, 1.0, tiny, top, math.sqrt(largest(kind)) * 1.5, math.sqrt(top) * 1.5, top / 3, top * 0.999]
    values = [value for value in values if value <= top]
    return np.array(values + [-value for value in values], dtype)


def grid(parameter: Any, gradient: Any, arithmetic: Any) -> tuple[np.ndarray, np.ndarray]:
    """Every pair of extreme numbers."""
    weights, gradients = extremes(parameter, arithmetic), extremes(gradient, arithmetic)
    pairs = list(itertools.product(range(len(weights)), range(len(gradients))))
    return weights[[i for i, _ in pairs]].copy(), gradients[[j for _, j in pairs]].copy()


def all_states(opt: lw.Optimizer, layer: str = "a") -> dict[str, np.ndarray]:
    """Moments and master copies of a layer's only tensor."""
    own = opt.layer(layer)
    names = [name for name in own.states()["weight"] if name != "step"]
    return {name: np.asarray(own.read_state("weight", name)) for name in names}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", OPTIONS)
def test_what_is_finite_stays_finite(kind: str, options: str) -> None:
    """All rules, every pair of an extreme weight and gradient; gradients that change sign; every size of scale.

    A rule meets every scale with every kind, and with every option, but not with every two of them.
    """
    parameter, gradient, master = KINDS[kind]
    arithmetic = np.float64 if parameter is np.float64 else np.float32
    turn = [*KINDS].index(kind) + [*OPTIONS].index(options)
    steps = 0
    for number, rule in enumerate(RULES):
        scale = SCALES[(number + turn) % len(SCALES)]
        weights, grads = grid(parameter, gradient, arithmetic)
        with lw.Optimizer(rule, **OPTIONS[options]) as opt:
            opt.add_layer("a", weights, grads, master=master)
            for _ in range(4):
                opt.step(gradient_scale=scale)
                steps += 1
                label = f"{rule}, {kind}, {options}, scale {scale}, step {steps}"
                assert np.isfinite(weights.astype(np.float64)).all(), label
                for name, values in all_states(opt).items():
                    assert np.isfinite(values).all(), f"{label}, {name}"
                grads[:] = -grads[::-1]
            assert opt.summary().steps == 4, rule


@pytest.mark.parametrize("name", ["AdamW", "Adam", "LAMB"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, ml_dtypes.bfloat16])
def test_a_huge_gradient_is_one_of_any_size(name: str, dtype: Any) -> None:
    """Adam's change does not depend on the size of the gradient; nor does it where the square would overflow."""
    big = largest(dtype)
    moved = []
    for gradient in (1e8, 1e18, 1e20, 1e30, big):
        weights = np.full(40, 1.0, dtype)
        grads = np.full(40, gradient, dtype)
        rule = getattr(lw, name)(lr=0.125, weight_decay=0.0)
        with lw.Optimizer(rule) as opt:
            opt.add_layer("a", weights, grads)
            path = []
            for following in (1.0, 1.0, 1.0):
                opt.step()
                path.append(float(weights[0]))
                grads[:] = following
        moved.append(path)
    reference = np.array(moved[0])
    tolerance = 2e-6 if dtype is not ml_dtypes.bfloat16 else 1e-2
    for path in moved:
        np.testing.assert_allclose(path, reference, rtol=tolerance)


def test_the_same_as_torch_for_a_gradient_of_1e20() -> None:
    p = torch.nn.Parameter(torch.ones(1))
    peer = torch.optim.AdamW([p], lr=0.1, weight_decay=0)
    weights, grads = np.ones(1, np.float32), np.zeros(1, np.float32)
    with lw.Optimizer(lw.AdamW(lr=0.1, weight_decay=0.0)) as opt:
        opt.add_layer("a", weights, grads)
        for gradient in (1e20, 1.0, 1.0, 1.0):
            p.grad = torch.full((1,), gradient)
            peer.step()
            grads[:] = gradient
            opt.step()
            assert weights[0] == pytest.approx(p.item(), rel=1e-5)


def test_results_beyond_the_type_are_its_largest_number() -> None:
    for parameter, gradient, master in KINDS.values():
        top = largest(parameter)
        for sign in (1.0, -1.0):
            weights = np.full(37, sign * top, parameter)
            grads = np.full(37, -sign * min(top, largest(gradient)), gradient)
            with lw.Optimizer(lw.SGD(lr=1.0)) as opt:
                opt.add_layer("a", weights, grads, master=master)
                opt.step()
                assert (weights.astype(np.float64) == sign * top).all(), (parameter, master)
                grads[:] = -grads
                opt.step()
                if not master or parameter is not np.float16:
                    assert np.isfinite(weights.astype(np.float64)).all()


# ---- Infinite parameters


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("SGD", {"lr": 0.1}),
        ("SGD", {"lr": 0.1, "momentum": 0.9}),
        ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
        # An epsilon that float16 has: torch works in it.
        ("Adam", {"lr": 0.1, "eps": 1e-3}),
        ("Adam", {"lr": 0.1, "eps": 1e-3, "amsgrad": True}),
        ("Adam", {"lr": 0.1, "eps": 1e-3, "weight_decay": 0.1, "decoupled_weight_decay": True}),
        ("AdamW", {"lr": 0.1, "eps": 1e-3}),
        ("AdamW", {"lr": 0.1, "eps": 1e-3, "weight_decay": 0.0}),
    ],
)
def test_infinite_parameters_stay_as_in_torch(name: str, options: dict[str, Any], dtype: torch.dtype) -> None:
    import layerwise.torch as lt

    for size in (2, 33):
        start = torch.linspace(-1, 1, size, dtype=dtype)
        start[0], start[-1] = -torch.inf, torch.inf
        results = []
        for make in (getattr(lt, name), getattr(torch.optim, name)):
            p = torch.nn.Parameter(start.clone())
            optimizer = make([p], **options)
            for _ in range(3):
                p.grad = torch.linspace(-0.5, 0.5, size, dtype=dtype)
                p.grad[0] = 0.0
                optimizer.step()
            results.append(p.detach().double())
        assert results[0][0] == -torch.inf
        assert results[0][-1] == torch.inf
        torch.testing.assert_close(results[0], results[1], rtol=0.02, atol=1e-2)


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_infinite_parameters_stay_and_hold_up_no_other(rule: lw.Rule) -> None:
    for dtype in (np.float32, np.float64, ml_dtypes.bfloat16):
        for telemetry in (False, True):
            weights = np.linspace(-1, 1, 41).astype(dtype)
            alone = weights[1:-1].copy()
            weights[0], weights[-1] = -np.inf, np.inf
            grads = np.linspace(0.5, -0.25, 41).astype(dtype)
            grads[0] = grads[-1] = 0.0
            with lw.Optimizer(rule, telemetry=telemetry) as opt, lw.Optimizer(rule) as other:
                opt.add_layer("a", weights, grads)
                other.add_layer("a", alone, grads[1:-1].copy())
                for _ in range(3):
                    opt.step()
                    other.step()
                assert weights[0] == -np.inf
                assert weights[-1] == np.inf
                starts = declaration_of(rule.name)["state_starts"]
                for name, values in all_states(opt).items():
                    # A state that begins as a copy of the parameters keeps an infinite one as it is.
                    inner = values[1:-1] if starts[name] == "parameters" else values
                    assert np.isfinite(inner).all(), name
            found, expected = weights[1:-1].astype(np.float64), alone.astype(np.float64)
            # A mean is over 41 numbers with the infinite ones, and over 39 without them.
            moved = np.abs(expected - np.linspace(-1, 1, 41)[1:-1]).max()
            atol = 0.03 * moved if TABLE[type(rule).__name__].averages else 1e-6
            np.testing.assert_allclose(found, expected, rtol=2e-2, atol=atol)


# ---- Scale and clipping


def one_step(rule: lw.Rule, weights: np.ndarray, grads: np.ndarray, scale: float = 1.0, **options: Any) -> np.ndarray:
    with lw.Optimizer(rule, **options) as opt:
        opt.add_layer("a", weights, grads)
        opt.step(gradient_scale=scale)
    return weights


@pytest.mark.parametrize("scale", [5e-324, 1e-310, 1e-300, 1e-39, 1e-38, 1e-5, 1e5, 1e38, 1e39, 1e46, 1e300, 1.7e308])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gradient_scale_over_its_whole_range(dtype: Any, scale: float) -> None:
    """As a division, which is rounded once more than a product by a rounded reciprocal at the most."""
    finfo = np.finfo(dtype)
    grads = np.array([0.0, 1.0, -3.0, 1e-30, 1e30, finfo.max, finfo.tiny, finfo.smallest_subnormal, -1e20], dtype)
    grads = np.concatenate([grads, np.ones(50, dtype)])
    found = -one_step(lw.SGD(lr=1.0), np.zeros_like(grads), grads, scale)
    wide = grads.astype(np.longdouble) / np.longdouble(scale)
    expected = np.clip(wide, -finfo.max, finfo.max).astype(dtype)
    spacing = np.spacing(np.abs(expected)).clip(finfo.smallest_subnormal)
    difference = np.abs(found.astype(np.longdouble) - expected.astype(np.longdouble))
    assert (difference <= 2 * spacing.astype(np.longdouble)).all(), (found[:9], expected[:9])
    assert found[0] == 0


def test_scale_and_clipping_together() -> None:
    """The clipped gradient is right where neither the quotient nor the norm has a number of its own."""
    for dtype, big in ((np.float32, 3e38), (np.float64, 1.5e308)):
        for scale in (5e-324, 1e-200, 1.0, 1e200):
            for limit in (1e-300, 1e-10, 1.0, 1e20):
                for option in ("clip_global_norm", "clip_layer_norm"):
                    grads = np.array([big, -big / 2, 0.0, big / 4], dtype)
                    found = -one_step(lw.SGD(lr=1.0), np.zeros_like(grads), grads, scale, **{option: limit})
                    wide = grads.astype(np.longdouble) / np.longdouble(scale)
                    norm = np.sqrt((wide**2).sum())
                    factor = np.longdouble(limit) / (norm + np.longdouble(1e-6))
                    expected = (wide * min(factor, np.longdouble(1))).astype(dtype)
                    label = f"{dtype.__name__}, {option}, scale {scale}, limit {limit}"
                    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-45, err_msg=label)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("options", [{}, {"clip_global_norm": 1.0}, {"clip_value": 1.0, "clip_layer_norm": 1.0}])
def test_a_bad_gradient_is_found_beside_one_of_float64(bad: float, options: dict[str, Any]) -> None:
    """Squares of the layer overflow, and are not measured again by those of float64 alone."""
    for wide in (1.0, 1e200):
        narrow = np.ones(5, np.float32)
        narrow[3] = bad
        with lw.Optimizer(lw.SGD(lr=1.0), **options) as opt:
            weights = {"wide": np.ones(3), "narrow": np.ones(5, np.float32)}
            opt.add_layer("a", weights, {"wide": np.full(3, wide), "narrow": narrow})
            with pytest.raises(lw.NonFiniteGradient) as caught:
                opt.step()
            assert (caught.value.tensor, caught.value.element) == (1, 3)
            assert (weights["wide"] == 1).all()


def test_clipping_of_norms_whose_squares_vanish() -> None:
    grads = np.array([3e-200, -4e-200])
    found = -one_step(lw.SGD(lr=1.0), np.zeros(2), grads, clip_global_norm=1.0)
    np.testing.assert_array_equal(found, grads)
    # torch's 1e-6 beside the norm makes a limit below it no limit; so it takes a scale to see a small norm.
    found = -one_step(lw.SGD(lr=1.0), np.zeros(2), grads, scale=1e-200, clip_global_norm=1.0)
    np.testing.assert_allclose(found, [0.6, -0.8], rtol=1e-6)


def test_values_are_clipped_before_norms_at_any_scale() -> None:
    for dtype in (np.float32, np.float64):
        for scale in (1e-300, 1e-45, 1e45):
            grads = np.array([1e30, -2.0, 0.0, 1e-30], dtype)
            found = -one_step(lw.SGD(lr=1.0), np.zeros(4, dtype), grads, scale, clip_value=0.5, clip_global_norm=0.25)
            clipped = np.clip(grads.astype(np.longdouble) / np.longdouble(scale), -0.5, 0.5)
            factor = min(np.longdouble(0.25) / (np.sqrt((clipped**2).sum()) + np.longdouble(1e-6)), np.longdouble(1))
            np.testing.assert_allclose(found, (clipped * factor).astype(dtype), rtol=1e-6, atol=1e-45)


# ---- Trust ratios


@pytest.mark.parametrize("size", [40, 20_000, 70_000])
@pytest.mark.parametrize("scope", ["tensor", "layer"])
@pytest.mark.parametrize("power", [-1000, -900, -560, -530, 530, 560, 900, 1000])
def test_lars_in_float64_at_every_size(power: int, scope: Any, size: int) -> None:
    """Weights and gradients times a power of two: so are the results, to the bit."""
    random = np.random.default_rng(1)
    weights, grads = random.standard_normal(size), random.standard_normal(size)
    for rule in (
        lw.LARS(lr=1.0, momentum=0.9, weight_decay=0.125, trust_ratio_scope=scope),
        lw.LARS(lr=1.0, momentum=0.0, weight_decay=0.125, norm="decayed", trust_ratio_scope=scope),
    ):
        results = []
        for scale in (1.0, 2.0**power):
            w, g = weights * scale, grads * scale
            with lw.Optimizer(rule, threads=2) as opt:
                opt.add_layer(
                    "a", {"x": w[: size // 2], "y": w[size // 2 :]}, {"x": g[: size // 2], "y": g[size // 2 :]}
                )
                for _ in range(2):
                    opt.step()
            results.append(w / scale)
        np.testing.assert_allclose(results[1], results[0], rtol=1e-13)
        assert (results[0] != weights).all()


@pytest.mark.parametrize("size", [40, 70_000])
@pytest.mark.parametrize("power", [-1000, -560, 560, 1000])
def test_lamb_in_float64_at_every_size(power: int, size: int) -> None:
    """The size of the weights passes into the change."""
    random = np.random.default_rng(1)
    weights, grads = random.standard_normal(size), random.standard_normal(size)
    results = []
    for scale in (1.0, 2.0**power):
        w = weights * scale
        with lw.Optimizer(lw.LAMB(lr=0.125, weight_decay=0.0)) as opt:
            opt.add_layer("a", w, grads.copy())
            for _ in range(2):
                opt.step()
        results.append(w / scale)
    np.testing.assert_allclose(results[1], results[0], rtol=1e-13)
    # And a direction that is tiny, since epsilon is large.
    w = weights.copy()
    g = grads * 2.0**-540
    with lw.Optimizer(lw.LAMB(lr=0.125, eps=1.0, bias_correction="none", betas=(0.0, 0.5))) as opt:
        opt.add_layer("a", w, g)
        opt.step()
    expected = weights - 0.125 * np.linalg.norm(weights) * grads / np.linalg.norm(grads)
    np.testing.assert_allclose(w, expected, rtol=1e-12)


def test_a_ratio_that_float32_cannot_hold() -> None:
    """A gradient of subnormal numbers: the ratio is 1e39 and more, the change an ordinary number."""
    weights = np.linspace(0.5, 1.5, 40).astype(np.float32)
    grads = np.full(40, 1e-42, np.float32)
    expected = weights - 0.1 * 0.001 * np.linalg.norm(weights.astype(np.float64)) / math.sqrt(40)
    one_step(lw.LARS(lr=0.1, momentum=0.0), weights, grads)
    np.testing.assert_allclose(weights, expected, rtol=1e-6)


def test_a_ratio_that_vanishes_in_float32() -> None:
    """Small weights and huge gradients: the ratio is 1e-48, the change an ordinary share of the weights."""
    weights = np.linspace(0.5e-10, 1.5e-10, 40).astype(np.float32)
    grads = np.full(40, 1e37, np.float32)
    expected = weights - 0.5 * np.linalg.norm(weights.astype(np.float64)) / math.sqrt(40)
    one_step(lw.LARS(lr=1.0, momentum=0.0, trust_coefficient=0.5), weights, grads)
    np.testing.assert_allclose(weights, expected, rtol=1e-6, atol=1e-17)


# ---- NaN

NAN_BITS = """
import numpy as np, layerwise as lw
for rule in (lw.SGD(lr=0.1, momentum=0.9), lw.LARS(lr=0.1), lw.Adam(lr=0.1, amsgrad=True), lw.AdamW(), lw.LAMB(lr=0.1)):
    for dtype, bits in ((np.float32, np.uint32), (np.float64, np.uint64), (np.float16, np.uint16)):
        for sign in (1, -1):
            for telemetry in (False, True):
                w = np.linspace(-1, 1, 70).astype(dtype)
                g = np.full(70, sign * 0.5, dtype)
                g[3], g[20], g[69], w[40], w[50] = np.nan, sign * np.inf, -np.nan, np.nan, sign * np.inf
                with lw.Optimizer(rule, nonfinite="propagate", telemetry=telemetry) as opt:
                    opt.add_layer("a", w, g)
                    for _ in range(3): opt.step()
                    states = [opt.layer("a").read_state(0, name) for name in opt.layer("a").states()["weight"]]
                print([hex(x) for x in w.view(bits)], [bytes(s).hex() for s in states])
"""


@pytest.mark.spawns
def test_the_bits_of_nan_are_those_of_every_instruction_set() -> None:
    found = {}
    path = str(Path(lw.__file__).parent.parent)
    for instruction_set in ("baseline", "avx2", "avx512"):
        ran = subprocess.run(
            [sys.executable, "-c", NAN_BITS],
            env=os.environ | {"LAYERWISE_ISA": instruction_set, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            check=True,
        )
        found[instruction_set] = ran.stdout
    assert found["baseline"] == found["avx2"] == found["avx512"]
    assert "0x7fc00000" in found["baseline"]
    assert "0xffc00000" not in found["baseline"]
    assert "0x7e00" in found["baseline"]


# ---- Master copies


def rounded(values: np.ndarray, dtype: Any) -> np.ndarray:
    return values.astype(dtype)


CHANGES: dict[str, Callable[[np.ndarray], None]] = {
    "all": lambda w: w.fill(8.0),
    "one": lambda w: w.__setitem__(5, 8.0),
    "last": lambda w: w.__setitem__(-1, -8.0),
    "zero": lambda w: w.__setitem__(slice(3, 7), 0.0),
    "minus zero": lambda w: w.__setitem__(4, -0.0),
    "infinite": lambda w: w.__setitem__(4, -np.inf),
    "neighbour": lambda w: w.view(np.uint16).__setitem__(2, w.view(np.uint16)[2] + 1),
}


@pytest.mark.parametrize(
    ("size", "change"),
    [(size, change) for size in (1, 15, 16, 33, 5000, 40_000) for change in CHANGES if size > 7 or change == "all"],
)
@pytest.mark.parametrize("gradient", ["own", "float32"])
@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_a_master_copy_takes_in_what_was_changed(dtype: Any, gradient: str, change: str, size: int) -> None:
    """The step begins from the changed parameter, and elsewhere from the master copy."""
    gradient_dtype = dtype if gradient == "own" else np.float32
    random = np.random.default_rng(3)
    for rule in (
        lw.SGD(lr=2.0**-12, momentum=0.5),
        lw.AdamW(lr=2.0**-12),
        lw.LARS(lr=0.125),
        lw.LAMB(lr=2.0**-12),
    ):
        weights = random.standard_normal(size).astype(dtype)
        grads = random.standard_normal(size).astype(gradient_dtype)
        with lw.Optimizer(rule) as opt:
            opt.add_layer("a", weights, grads, master=True)
            for _ in range(3):
                opt.step()
            before = all_states(opt)["master"].copy()
            states = all_states(opt)
            steps = opt.layer("a").info.steps
            assert (rounded(before, dtype).view(np.uint16) == weights.view(np.uint16)).all()
            old = weights.copy()
            CHANGES[change](weights)
            changed = weights.view(np.uint16) != old.view(np.uint16)
            assert changed.any()
            # What a step makes of a master copy with the changed values.
            start = np.where(changed, weights.astype(np.float32), before).astype(np.float32)
            image = rounded(start, dtype)
            with lw.Optimizer(rule) as other:
                other.add_layer("a", image, grads, master=True)
                for name, data in (states | {"master": start}).items():
                    other.layer("a").write_state(0, name, data)
                other.layer("a").write_state(0, "step", np.array([steps]))
                other.step()
                expected = all_states(other)["master"].copy()
            opt.step()
            np.testing.assert_array_equal(all_states(opt)["master"].view(np.uint32), expected.view(np.uint32))
            np.testing.assert_array_equal(weights.view(np.uint16), image.view(np.uint16))


def test_an_untouched_master_copy_keeps_its_digits() -> None:
    """Updates far below a spacing of the parameter add up."""
    weights = np.ones(100, ml_dtypes.bfloat16)
    grads = np.ones(100, np.float32)
    with lw.Optimizer(lw.SGD(lr=2.0**-13)) as opt:
        opt.add_layer("a", weights, grads, master=True)
        for step in range(64):
            opt.step()
            assert all_states(opt)["master"][50] == 1 - (step + 1) * 2.0**-13
    assert weights[0] == 1 - 2.0**-7


def test_a_frozen_layer_takes_in_the_change_when_it_thaws() -> None:
    weights = np.ones(20, np.float16)
    grads = np.ones(20, np.float16)
    with lw.Optimizer(lw.SGD(lr=0.125)) as opt:
        layer = opt.add_layer("a", weights, grads, master=True)
        opt.step()
        layer.freeze()
        weights[:] = 8
        opt.step()
        assert (weights == 8).all()
        layer.unfreeze()
        opt.step()
        assert (weights == 7.875).all()


def test_torch_loads_weights_under_a_master_copy() -> None:
    from layerwise.torch import SGD

    for route in ("load_state_dict", "data", "copy_", "zeroed row"):
        model = torch.nn.Linear(2, 3, bias=False).bfloat16()
        torch.nn.init.ones_(model.weight)
        optimizer = SGD(model, lr=0.125, master=True)
        for p in model.parameters():
            p.grad = torch.ones_like(p)
        optimizer.step()
        expected = 7.875
        if route == "load_state_dict":
            model.load_state_dict({"weight": torch.full((3, 2), 8.0)})
        elif route == "data":
            model.weight.data = torch.full((3, 2), 8.0, dtype=torch.bfloat16)
        elif route == "copy_":
            with torch.no_grad():
                model.weight.copy_(torch.full((3, 2), 8.0))
        else:
            with torch.no_grad():
                model.weight[1] = 0.0
            expected = -0.125
        optimizer.step()
        assert model.weight[1, 0].item() == expected, route
        if route == "zeroed row":
            assert model.weight[0, 0].item() == 0.75


# ---- Telemetry


@pytest.mark.parametrize("gradient", ["own", "float32"])
@pytest.mark.parametrize("clip", [{}, {"clip_value": 1e6}])
@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("size", [1, 16, 37, 20_001])
def test_telemetry_tells_what_moved(size: int, dtype: Any, clip: dict[str, float], gradient: str) -> None:
    random = np.random.default_rng(4)
    for rule in (lw.SGD(lr=2.0**-9), lw.AdamW(lr=2.0**-9), lw.LARS(lr=1.0, momentum=0.0), lw.LAMB(lr=2.0**-9)):
        weights = random.standard_normal(size).astype(dtype)
        gradient_dtype = np.float32 if gradient == "float32" else dtype
        grads = random.standard_normal(size).astype(gradient_dtype)
        grads[size // 2] = 0.0
        with lw.Optimizer(rule, telemetry=True, **clip) as opt:
            opt.add_layer("a", weights, grads)
            for _ in range(2):
                old = weights.copy()
                opt.step()
                row = opt.telemetry()["a"]
                moved = old.astype(np.float64) - weights.astype(np.float64)
                assert row.update_norm == pytest.approx(float(np.linalg.norm(moved)), rel=1e-12), rule
                still = int((moved == 0).sum())
                assert row.lost_count <= still
                assert row.lost_count >= still - 1  # a zero gradient, whose update may be zero


def test_lost_updates_are_counted() -> None:
    weights = np.ones(40, ml_dtypes.bfloat16)
    grads = np.full(40, 2.0**-12, ml_dtypes.bfloat16)
    grads[:10] = 1.0
    grads[10:13] = 0.0
    with lw.Optimizer(lw.SGD(lr=1.0), telemetry=True) as opt:
        opt.add_layer("a", weights, grads)
        opt.step()
        assert opt.telemetry()["a"].lost_count == 27
        assert opt.telemetry()["a"].update_norm == pytest.approx(math.sqrt(10))
        assert opt.explain_rows()[0]["lost_count"] == 27
        assert "lost" in opt.explain()
    # The master copy of the same moves.
    weights[:] = 1.0
    with lw.Optimizer(lw.SGD(lr=1.0), telemetry=True) as opt:
        opt.add_layer("a", weights, grads, master=True)
        opt.step()
        assert opt.telemetry()["a"].lost_count == 0
        assert opt.telemetry()["a"].update_norm == pytest.approx(math.sqrt(10 + 27 * 2.0**-24))
    # float32 loses too, further down, which is not counted.
    wide, small = np.ones(40, np.float32), np.full(40, 2.0**-26, np.float32)
    with lw.Optimizer(lw.SGD(lr=1.0), telemetry=True) as opt:
        opt.add_layer("a", wide, small)
        opt.step()
        assert opt.telemetry()["a"].lost_count == 0


@pytest.mark.parametrize("clip", [{}, {"clip_value": 1e6}])
@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_what_is_not_finite_loses_nothing(dtype: Any, clip: dict[str, float]) -> None:
    weights = np.ones(40, dtype)
    grads = np.full(40, 2.0**-12, dtype)
    weights[3:6] = [math.inf, -math.inf, math.nan]
    weights[20:23] = [math.inf, -math.inf, math.nan]
    weights[32] = math.inf
    grads[20:24] = [math.inf, math.nan, 1.0, math.nan]
    with lw.Optimizer(lw.SGD(lr=1.0), telemetry=True, nonfinite="propagate", **clip) as opt:
        opt.add_layer("a", weights, grads)
        opt.step()
        assert opt.telemetry()["a"].lost_count == 32


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, ml_dtypes.bfloat16])
def test_large_neighbours_change_no_bit(dtype: Any) -> None:
    # Products and sums of these overflow, which sends a group to the careful loop though all of its results are finite.
    largest = float(ml_dtypes.finfo(dtype).max)
    random = np.random.default_rng(11)
    for rule in (lw.SGD(lr=0.01, momentum=0.9), lw.AdamW(lr=0.01), lw.Adam(lr=0.01, amsgrad=True)):
        weights = random.standard_normal(64).astype(dtype)
        grads = random.standard_normal(64).astype(dtype)
        weights[::16] = [0.9 * largest, -0.8 * largest, 0.7 * largest, 0.9 * largest]
        weights[8::16] = [0.9 * largest, 0.8 * largest, -0.7 * largest, -0.9 * largest]
        together, apart = weights.copy(), weights.copy()
        with lw.Optimizer(rule) as opt, lw.Optimizer(rule) as single:
            opt.add_layer("a", together, grads)
            for i in range(64):
                single.add_layer(str(i), apart[i : i + 1], grads[i : i + 1])
            for _ in range(3):
                opt.step()
                single.step()
        assert together.tobytes() == apart.tobytes(), rule


def test_torch_reports_lost_updates() -> None:
    from layerwise.torch import AdamW

    p = torch.nn.Parameter(torch.ones(4, dtype=torch.bfloat16))
    optimizer = AdamW([p], lr=1e-3, weight_decay=0, telemetry=True)
    p.grad = torch.ones_like(p)
    optimizer.step()
    report = {key.rsplit("/", 1)[1]: value for key, value in optimizer.telemetry().items()}
    assert report["update_norm"] == 0
    assert report["lost_count"] == 4
