# SPDX-License-Identifier: Apache-2.0
"""What policies give layers and tensors, what they refuse, and when."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from support.recipes import LAYERS, POLICIES, name_of, optimizer

import layerwise as lw


def scales(policy: lw.Policy, names: str = "abc", **options: Any) -> list[float]:
    with lw.Optimizer(lw.SGD(), policy=policy) as opt:
        for name in names:
            opt.add_layer(name, np.ones(2), **options)
        return [layer.scale for layer in opt.layers.values()]


def rates(policy: lw.Policy, lr: float = 2.0) -> list[float]:
    with lw.Optimizer(lw.SGD(lr=lr), policy=policy) as opt:
        for name in "abc":
            opt.add_layer(name, np.ones(2))
        return [layer.effective_lr for layer in opt.layers.values()]


def test_scales_by_depth() -> None:
    assert scales(lw.Uniform()) == [1.0, 1.0, 1.0]
    assert scales(lw.LayerDecay(0.5)) == [0.25, 0.5, 1.0]
    assert scales(lw.LayerDecay(0.5, min_scale=0.3)) == [0.3, 0.5, 1.0]
    assert scales(lw.LayerDecay(0.5, direction="output")) == [1.0, 0.5, 0.25]
    assert scales(lw.LayerDecay(0.5, head_scale=7.0)) == [0.25, 0.5, 7.0]
    assert scales(lw.GeometricRange(0.01)) == pytest.approx([0.01, 0.1, 1.0], rel=1e-15)
    assert scales(lw.GeometricRange(1.0, 100.0)) == pytest.approx([1.0, 10.0, 100.0], rel=1e-15)
    assert scales(lw.ULMFiT(2.0)) == [0.25, 0.5, 1.0]
    assert scales(lw.ULMFiT()) == pytest.approx([2.6**-2, 1 / 2.6, 1.0], rel=1e-15)


def test_scales_by_convention() -> None:
    def distances(convention: Any) -> dict[str, float]:
        with optimizer(policy=lw.LayerDecay(0.5, convention=convention)) as opt:
            return {name: -math.log2(layer.scale) for name, layer in opt.layers.items()}

    assert distances("depth") == dict(zip(LAYERS, [4, 3, 2, 1, 0], strict=True))
    assert distances("timm") == dict(zip(LAYERS, [3, 2, 1, 1, 0], strict=True))
    assert distances("beit") == distances("mae") == dict(zip(LAYERS, [3, 2, 1, 0, 0], strict=True))
    assert distances("electra") == dict(zip(LAYERS, [4, 3, 2, 2, 0], strict=True))


def test_rates_in_place_of_the_optimizers() -> None:
    assert rates(lw.RateSlice(0.01, 1.0)) == pytest.approx([0.01, 0.1, 1.0], rel=1e-15)
    assert rates(lw.RateSlice(1.0)) == [0.1, 0.1, 1.0]
    assert rates(lw.Explicit({"b": 10.0, "*": 0.5})) == [1.0, 20.0, 1.0]
    assert rates(lw.Explicit({"a": 0.5, "*": 1.0}, rates={"a": 0.25, "b": 0.125})) == [0.125, 0.125, 2.0]


def test_patterns() -> None:
    glob = lw.Explicit({"[ab]": 0.5, "c*": 3.0}, syntax="glob")
    assert scales(glob) == [0.5, 0.5, 3.0]
    assert scales(lw.Explicit({"a|b": 0.5, "[^ab]": 3.0}, syntax="regex")) == [0.5, 0.5, 3.0]
    assert scales(lw.Explicit({"b": 0.5}, unmatched="keep")) == [1.0, 0.5, 1.0]
    assert scales(lw.Explicit({"b": 0.5, "x": 2.0, "*": 3.0}, unused="ignore")) == [3.0, 0.5, 3.0]
    both = {"[ab]": 0.5, "[bc]": 3.0}
    assert scales(lw.Explicit(both, syntax="glob", ambiguous="first")) == [0.5, 0.5, 3.0]
    assert scales(lw.Explicit(both, syntax="glob", ambiguous="last")) == [0.5, 3.0, 3.0]


def test_towers_have_depths_of_their_own() -> None:
    policy = lw.Combine(lw.ForTower("vision", lw.LayerDecay(0.5)), lw.ForTower("text", lw.LayerDecay(0.1)))
    with lw.Optimizer(lw.SGD(), policy=policy) as opt:
        for tower in ("vision", "text"):
            for name in "ab":
                opt.add_layer(f"{tower}.{name}", np.ones(2), tower=tower)
        assert [layer.depth for layer in opt.layers.values()] == [0, 1, 0, 1]
        assert [layer.scale for layer in opt.layers.values()] == [0.5, 1.0, 0.1, 1.0]
        opt.policy = lw.ForTower("audio", lw.Uniform())
        with pytest.raises(lw.UnknownName, match='no tower is called "audio", expected one of "text", "vision"'):
            opt.step()


def tensors(policy: lw.Policy, layer: int = 0) -> dict[str, tuple[float, float, bool]]:
    """Scale, share of the decay, and whether a trust ratio adapts it, of each tensor of a layer."""
    with optimizer(lw.LAMB(weight_decay=0.1), policy=policy) as opt:
        row = opt.explain_rows()[layer]
    found = {"weight": (row["scale"], 1.0, True), "bias": (row["scale"], 1.0, True)}
    for entry in row["apart"]:
        found[entry["tensor"]] = (row["scale"] * entry["scale"], entry["decay_scale"], entry["adapts"])
    return found


def test_tensors_that_are_treated_apart() -> None:
    like_others = (1.0, 1.0, True)
    assert tensors(lw.Exclude()) == {"weight": like_others, "bias": (1.0, 0.0, False)}
    assert tensors(lw.Exclude(trust_ratio=False)) == {"weight": like_others, "bias": (1.0, 0.0, True)}
    assert tensors(lw.Exclude(decay=False)) == {"weight": like_others, "bias": (1.0, 1.0, False)}
    assert tensors(lw.Exclude(["*/weight"], max_rank=-1)) == {"weight": (1.0, 0.0, False), "bias": like_others}
    lora = lw.LoRAPlus(4.0, match="embed/weight", vectors=False)
    assert tensors(lora) == {"weight": (4.0, 1.0, True), "bias": like_others}
    assert tensors(lora, 1) == {"weight": like_others, "bias": like_others}
    assert tensors(lw.LoRAPlus(4.0, match="embed/weight"), 1) == {"weight": like_others, "bias": (4.0, 1.0, True)}


def test_rates_by_width() -> None:
    # Weights are 3 x 4, as torch has it of fan-in 4 and fan-out 3: m_in is 2, m_out is 1/2.
    bases = {"*/weight": (2, 6), "*/bias": (0, 2)}
    adam = tensors(lw.MuP(bases, decoupled_decay=True))
    assert [adam[key][0] for key in ("weight", "bias")] == [0.5, 1.0]
    sgd = tensors(lw.MuP(bases, family="sgd", decoupled_decay=True))
    assert [sgd[key][0] for key in ("weight", "bias")] == [0.25, 2.0]
    jax = tensors(lw.MuP(bases, layout="in_out", decoupled_decay=True))
    assert jax["weight"][0] == 2 / 3


def test_excluded_tensors_do_not_decay() -> None:
    weights = {"weight": np.ones((2, 2)), "bias": np.ones(2)}
    with lw.Optimizer(lw.AdamW(lr=0.1, weight_decay=0.5), policy=lw.Exclude()) as opt:
        opt.add_layer("a", weights, {key: np.zeros_like(value) for key, value in weights.items()})
        opt.step()
    assert (weights["weight"] == 0.95).all()
    assert (weights["bias"] == 1.0).all()


@pytest.mark.parametrize("policy", POLICIES, ids=name_of)
def test_no_scale_is_negative_or_infinite(policy: lw.Policy) -> None:
    with optimizer(policy=policy) as opt:
        for layer in opt.layers.values():
            assert 0 <= layer.scale < math.inf
            assert 0 <= layer.effective_lr < math.inf


REFUSED: list[tuple[Callable[[], lw.Policy], type[lw.LayerwiseError], str]] = [
    (lambda: lw.LayerDecay(0.0), lw.OutOfRange, r"decay must be in \(0, 1\], found 0.0"),
    (lambda: lw.LayerDecay(math.nan), lw.OutOfRange, r"decay must be in \(0, 1\], found nan"),
    (lambda: lw.LayerDecay(0.5, min_scale=1.5), lw.OutOfRange, r"min_scale must be in \[0, 1\], found 1.5"),
    (lambda: lw.LayerDecay(0.5, head_scale=-1.0), lw.OutOfRange, r"head_scale must be in \[0, inf\), found -1.0"),
    (lambda: lw.LayerDecay(0.5, convention="keras"), lw.UnknownName, "one of depth, timm, beit, mae, electra"),  # type: ignore[arg-type]
    (lambda: lw.LayerDecay(0.5, direction="output", convention="mae"), lw.OutOfRange, "output needs convention depth"),
    (lambda: lw.GeometricRange(2.0), lw.OutOfRange, "lowest must not exceed highest, found 2.0 and 1.0"),
    (lambda: lw.GeometricRange(0.0), lw.OutOfRange, r"lowest must be in \(0, inf\)"),
    (lambda: lw.GeometricRange(0.5, math.inf), lw.OutOfRange, r"highest must be in \(0, inf\), found inf"),
    (lambda: lw.ULMFiT(0.5), lw.OutOfRange, r"factor must be in \[1, inf\)"),
    (lambda: lw.RateSlice(0.2, 0.1), lw.OutOfRange, "lowest must not exceed highest, found 0.2 and 0.1"),
    (lambda: lw.RateSlice(-0.1), lw.OutOfRange, r"highest must be in \(0, inf\)"),
    (lambda: lw.Explicit({"a": -1.0}), lw.OutOfRange, r"scale must be in \[0, inf\), found -1.0"),
    (lambda: lw.Explicit(rates={"a": math.nan}), lw.OutOfRange, r"lr must be in \[0, inf\), found nan"),
    (lambda: lw.Explicit({"a": None}), lw.OutOfRange, '"a" needs a scale or an lr'),  # type: ignore[dict-item]
    (lambda: lw.Explicit({"": 1.0}), lw.OutOfRange, "match must be given"),
    (lambda: lw.Explicit({"(": 1.0}, syntax="regex"), lw.OutOfRange, "not a regular expression"),
    (lambda: lw.Explicit({"a": 1.0}, syntax="sql"), lw.UnknownName, "one of exact, glob, regex"),  # type: ignore[arg-type]
    (lambda: lw.Exclude(decay=False, trust_ratio=False), lw.OutOfRange, "decay or trust_ratio must be 1"),
    (lambda: lw.Exclude(max_rank=-1), lw.OutOfRange, "needs max_rank ≥ 0 or a pattern"),
    (lambda: lw.Exclude(max_rank=17), lw.OutOfRange, "max_rank must be a whole number from -1 to 16, found 17"),
    (lambda: lw.Exclude(["a", "a"]), lw.DuplicateName, '"a" is given twice'),
    (lambda: lw.MuP({}), lw.OutOfRange, "needs the base widths of some tensors"),
    (lambda: lw.MuP({"a": (0, 0)}), lw.OutOfRange, "needs a fan_in or a fan_out of at least 1"),
    (lambda: lw.MuP({"a": (1.5, 0)}), lw.OutOfRange, "fan_in must be a whole number from 0 to"),  # type: ignore[dict-item]
    (lambda: lw.LoRAPlus(0.0), lw.OutOfRange, r"ratio must be in \(0, inf\)"),
    (lambda: lw.LoRAPlus(match=""), lw.OutOfRange, "a pattern must not be empty"),
    (lambda: lw.Combine(), lw.OutOfRange, "expected at least two policies, found 0"),
    (lambda: lw.Combine(lw.Uniform()), lw.OutOfRange, "expected at least two policies, found 1"),
    (lambda: lw.Combine(lw.Uniform(), lw.GeometricRange(2.0)), lw.OutOfRange, "range: lowest must not exceed"),
]


@pytest.mark.parametrize(("make", "exception", "match"), REFUSED, ids=lambda value: None)
def test_refused(make: Callable[[], lw.Policy], exception: type[lw.LayerwiseError], match: str) -> None:
    with optimizer(policy=lw.LayerDecay(0.5)) as opt:
        before = opt.explain()
        with pytest.raises(exception, match=match):
            opt.policy = make()
        assert opt.policy == lw.LayerDecay(0.5)
        assert opt.explain() == before


def test_a_policy_must_fit_the_layers_at_the_step() -> None:
    weight = np.ones(2)
    with lw.Optimizer(lw.SGD(lr=1.0), policy=lw.Explicit({"a": 0.5})) as opt:
        opt.add_layer("a", weight, grads=np.ones(2))
        opt.step()
        assert (weight == 0.5).all()
        for policy, exception, match in (
            (lw.Explicit({"a": 1.0, "nobody": 1.0}), lw.UnknownName, "nobody"),
            (lw.Explicit(), lw.OutOfRange, '"a"'),
            (lw.Explicit({"a": 1.0, "?": 1.0}, syntax="glob"), lw.OutOfRange, "more than one pattern"),
            (lw.LoRAPlus(), lw.UnknownName, r"\*lora_B\*"),
            (lw.Exclude(["b/*"]), lw.UnknownName, "b/"),
            (lw.MuP({"a/weight": (2, 2)}), lw.OutOfRange, "no fan-in"),
            (lw.Combine(lw.RateSlice(1.0), lw.Explicit(rates={"a": 1.0})), lw.OutOfRange, "a rate of its own"),
        ):
            opt.policy = policy
            for call in (opt.step, opt.explain, opt.explain_json, lambda: opt.preview(1), lambda: opt.layer(0).info):
                with pytest.raises(exception, match=match):
                    call()
        assert (weight == 0.5).all()
        opt.policy = lw.Explicit({"*": 0.25})
        opt.step()
        assert (weight == 0.25).all()


def test_what_is_no_policy() -> None:
    with optimizer() as opt:
        for value in ("uniform", None, lw.Uniform, 1.0):
            with pytest.raises(TypeError, match="policy: expected one such as"):
                opt.policy = value  # type: ignore[assignment]
