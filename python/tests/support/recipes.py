# SPDX-License-Identifier: Apache-2.0
"""An example of every policy, schedule and freezing plan, and layers on which all of them can act."""

from typing import Any

import numpy as np

import layerwise as lw

LAYERS = ("embed", "block.0", "block.1", "norm", "head")
"""Each with a weight of two dimensions and a bias."""

POLICIES: list[lw.Policy] = [
    lw.Uniform(),
    lw.Explicit({"embed": 0.5, "block.*": 0.75, "*": 2.0}, rates={"embed": 0.25}, syntax="glob", ambiguous="first"),
    lw.LayerDecay(0.75, min_scale=0.5, convention="timm", head_scale=3.0),
    lw.GeometricRange(0.01, highest=2.0),
    lw.ULMFiT(2.0),
    lw.RateSlice(0.001, 0.1),
    lw.Exclude(["*/bias", "norm/*"], max_rank=0, decay=True, trust_ratio=False, unused="ignore"),
    lw.MuP({"*/weight": (4, 8), "*/bias": (0, 8)}, family="sgd", layout="in_out", decoupled_decay=True),
    lw.LoRAPlus(4.0, match="block.[01]/weight", vectors=False),
    lw.RelativeGradientNorm(2, average=0.5, warmup=2, period=3, ramp=4, min_scale=0.1, max_scale=2),
    lw.UpdateRatio(1e-2, average=0.5, warmup=2, period=3, ramp=4, min_scale=0.1, max_scale=2),
    lw.CompleteP(4.0, 2.0, alpha=0.5),
    lw.Blockwise(norm=0.5, embedding=3.0, others=2.0, feed_forward_match="block.*"),
    lw.LARC(0.05, clip=False, eps=1e-6, average=0.5, warmup=2, start_scale=0.5),
    lw.TVLARS(0.01, steepness=0.1, alpha=0.5, delay=2.0, lowest=0.125, eps=1e-6, average=0.5),
    lw.Hypergradient(0.1, form="published", average=0.5, max_scale=4.0),
    lw.SignAgreement(0.125, threshold=0.6, average=0.5, ramp=3),
    lw.LDoGScale(1e-3, min_scale=1e-4, start_scale=1e-3),
    lw.GradientNoise(average=0.5, warmup=2, min_scale=0.1, start_scale=0.5),
    lw.AutoLR(0.9, threshold_decay=0.5, lowest=3, highest=0.5, average=0.5, warmup=2, period=3, ramp=4, max_scale=2),
    lw.TempBalance(0.25, 2.0, measure="stable_rank", ends="highest", least_rank=3, average=0.5, ramp=7),
    lw.AlphaDecay(0.25, 2.0, map="sigmoid", of="rate", least_rank=3, average=0.5),
    lw.ForTower("", lw.LayerDecay(0.5)),
    lw.Combine(lw.LayerDecay(0.5), lw.Exclude(), lw.ForTower("", lw.RateSlice(0.1))),
]

SCHEDULES: list[lw.Schedule] = [
    lw.Constant(0.5),
    lw.Linear(20, warmup_steps=3, min_lr=0.01, floor="absolute"),
    lw.Cosine(20, warmup_steps=3, cycles=0.75, k_decay=0.9, exponent=2.0, min_factor=0.1),
    lw.CosineRestarts(4.5, cycle_mult=1.5, amplitude=0.9, cycle_limit=3, warmup_steps=2, min_lr=0.01, floor="relative"),
    lw.Polynomial(20, 2.0, k_decay=1.5, warmup_steps=3, min_lr=0.01, floor="scaled"),
    lw.Exponential(0.8, every=2, staircase=True, lowest=0.2),
    lw.StepDecay(5, 0.3),
    lw.MultiStep([3, 7, 12], 0.5),
    lw.InverseSqrt(4, timescale=2),
    lw.InverseTime(0.5, every=3, staircase=True),
    lw.Noam(64, 6),
    lw.OneCycle(20, pct_start=0.4, anneal="linear", three_phase=True, timing="fraction", div_factor=10.0),
    lw.OneCycleMomentum(20, base_momentum=0.7, max_momentum=0.9),
    lw.SlantedTriangular(20, cut_frac=0.2, ratio=16.0),
    lw.WarmupStableDecay(20, 6, warmup_steps=4, warmup="cosine", decay="one_minus_sqrt", min_factor=0.05),
    lw.Tanh(20, lower=-6.0, upper=4.0, warmup_steps=2, min_lr=0.001),
    lw.Cyclic(step_size_up=4, step_size_down=3, mode="exp_range", gamma=0.95, lowest=0.2),
    lw.CyclicMomentum(step_size_up=4, mode="triangular2", base_momentum=0.5, max_momentum=0.8),
    lw.FlatCosine(20, pct_start=0.5, warmup_steps=2, min_factor=1e-5),
    lw.Piecewise([(2, 1.0), (5, 0.5), (11, 0.75)], "cosine"),
    lw.FactorTable.from_callable(lambda step: 1 / (1 + step), 15),
    lw.ReduceOnPlateau(mode="max", factor=0.5, patience=1, threshold=0.01, threshold_mode="abs", cooldown=1),
    lw.Warmup(4, lw.Cosine(12, min_lr=0.01), shape="exponential", start=0.01, count_from=1, overlap=True),
    lw.Sequential([lw.Warmup(4), lw.Constant(), lw.Product(lw.Linear(6), lw.Constant(2.0))], [4, 10]),
    lw.Product(lw.Warmup(3, shape="log"), lw.Exponential(0.9), lw.Cosine(20, min_lr=0.01)),
]

PLANS: list[lw.FreezePlan] = [
    lw.GradualUnfreezing(3, steps_per_epoch=2, first=2, train_norms=True),
    lw.ChainThaw(2, steps_per_epoch=2, train_norms=True),
    lw.FreezeOut(20, start=0.5, spacing="squared", scaled=False, train_norms=True),
    lw.LayerFreezing(20, start=0.25, level=0.75, train_norms=True),
    lw.FreezeAt({"block.*": 4, "head": 2}, {"block.*": 9, "embed": 3}, syntax="glob"),
    lw.LISA(1, every=3, seed=7, states="clear"),
    lw.BAdam(3, layers=2, order="random", seed=5, ends="train", states="keep"),
    lw.HiFT(2, every=2, order="descending", seed=1, ends="frozen", states="clear"),
    lw.AutoFreeze(3, quantile=0.75, norm="l1"),
    lw.GradES(0.5, 20, start=0.25, measure="gradient", average=0.5, norm="l1"),
]


MEASURING = (
    lw.RelativeGradientNorm,
    lw.UpdateRatio,
    lw.LARC,
    lw.TVLARS,
    lw.Hypergradient,
    lw.SignAgreement,
    lw.LDoGScale,
    lw.GradientNoise,
    lw.AutoLR,
    lw.TempBalance,
    lw.AlphaDecay,
)
"""Policies whose scales change with what a step measures: a preview holds until the next step only."""

MEASURED_PLANS = lw.AutoFreeze, lw.GradES
"""Freezing plans that go by what a step measures."""

FIXED_PLANS = [plan for plan in PLANS if not isinstance(plan, MEASURED_PLANS)]


def name_of(value: object) -> str:
    """What a test of one example is called."""
    return type(value).__name__


def optimizer(rule: lw.Rule | None = None, **options: Any) -> lw.Optimizer:
    """An optimizer with `LAYERS`, each tensor with a gradient."""
    opt = lw.Optimizer(rule or lw.SGD(lr=0.1), **options)
    for number, name in enumerate(LAYERS):
        generator = np.random.default_rng(number)
        weights = {"weight": generator.normal(size=(3, 4)), "bias": generator.normal(size=4)}
        grads = {key: generator.normal(size=value.shape) for key, value in weights.items()}
        opt.add_layer(name, weights, grads, role="norm" if name == "norm" else "depth")
    return opt


def weights(opt: lw.Optimizer) -> list[bytes]:
    """The bits of all parameters."""
    return [tensor.parameters.owner.tobytes() for layer in opt._layers for tensor in layer.tensors]
