# SPDX-License-Identifier: Apache-2.0
"""Schedules: how a rate, or another number of a rule, moves in time.  The classes hold values; the library computes.

A schedule is a function f of the step t, which is 0 at the first step.  The rate of a layer is

    scale * base * f(t)

and with a floor m (`min_lr`), where f falls from 1 to 0, as `floor` says:

    "scaled"    scale * (m + (base - m) * f)               the floor is scaled as the rate is (timm, BEiT, MAE)
    "absolute"  m + (base * scale - m) * f                 one floor for all layers (torch's eta_min)
    "relative"  base * scale * (r + (1 - r) * f)           r = m / the optimizer's lr (Hugging Face's min_lr)

while `min_factor` is r itself.  Argument names are torch's and Hugging Face's where those have one.

Those that fall are here, those that rise and fall in `cycle`, those made of others or of lists in `composition`.
"""

from __future__ import annotations

import array
from collections.abc import Sequence
from dataclasses import KW_ONLY
from typing import ClassVar, Literal, TypeAlias

from . import _binding as lw
from ._settings import number
from ._spec import Recipe, pack
from ._values import dataclass

Floor: TypeAlias = Literal["scaled", "absolute", "relative"]
"""What min_lr is for a layer."""


class Schedule(Recipe):
    """What all schedules share."""

    def evaluate(self, steps: int, *, base: float = 1.0, first: int = 0, stride: int = 1) -> array.array[float]:
        """What it makes of the rate `base` of a layer of scale 1, at the steps first, first + stride ...

        Args:
            steps: How many steps to tell of, >= 0.
            base: The rate, in [0, inf).
            first: The first of them, >= 0.
            stride: From one to the next, >= 1.
        """
        values = lw.doubles(lw.whole("steps", steps))
        lw.call(
            lw.lw_schedule_evaluate,
            *pack(self),
            number("base", base),
            lw.whole("first", first),
            len(values),
            lw.whole("stride", stride),
            lw.pointer(values),
        )
        return values


@dataclass(frozen=True, kw_only=True)
class Floored(Schedule):
    """What schedules with a floor share."""

    min_lr: float = 0.0
    floor: Floor = "scaled"
    min_factor: float = 0.0


@dataclass(frozen=True)
class Spanned(Floored):
    """What schedules that end at a known step, at a floor, share."""

    total_steps: int
    _: KW_ONLY
    warmup_steps: int = 0


@dataclass(frozen=True)
class Constant(Schedule):
    """The same factor at every step: f = factor.

    Source: optax's constant_schedule, Hugging Face's `constant`, and with `Warmup` in front its `constant_with_warmup`.
    torch's ConstantLR ends: it is `Warmup` with shape "constant".

    Args:
        factor: The factor, in [0, inf).  Default 1.
    """

    name: ClassVar[str] = "constant"
    factor: float = 1.0


@dataclass(frozen=True)
class Linear(Spanned):
    """Down a straight line.

    f = t / W for t < W, else 1 - p above the floor, p = (t - W) / (T - W), at most 1.  Source: Hugging Face's `linear`,
    optax's linear_schedule, torch's LinearLR from 1 to its end factor (min_factor), timm's poly with power 1, all of
    which it equals.

    Args:
        total_steps: T, steps to the end, warm-up included, in [1, 2**53].
        warmup_steps: W, steps of linear warm-up from 0, in [0, 2**53].  Default 0.
        min_lr: The floor, as a rate, in [0, inf).  Default 0.
        floor: What min_lr is for a layer: "scaled", "absolute" or "relative".  Default "scaled".
        min_factor: The floor as a share of the layer's own rate, in [0, 1], in place of min_lr.  Default 0.
    """

    name: ClassVar[str] = "linear"


@dataclass(frozen=True)
class Cosine(Spanned):
    """Down half a cosine.

    f = t / W for t < W, else (0.5 * (1 + cos(2 pi * cycles * p ** k_decay))) ** exponent above the floor,
    p = (t - W) / (T - W), at most 1.  Source: Loshchilov and Hutter 2017 (SGDR), arXiv:1608.03983.  Equals torch's
    CosineAnnealingLR (floor "absolute"), Hugging Face's `cosine` and `cosine_with_min_lr` ("relative"), timm's cosine
    ("scaled"; its warm-up by `Warmup`) and optax's cosine_decay_schedule.  After T it stays at the floor, as timm's and
    optax's do; torch's and Hugging Face's rise again.

    Args:
        total_steps: T, steps to the end, warm-up included, in [1, 2**53].
        warmup_steps: W, steps of linear warm-up from 0, in [0, 2**53].  Default 0.
        cycles: Waves, in (0, inf); 0.5 is down once.  Default 0.5.
        k_decay: Power of the progress, in (0, inf).  Default 1.
        exponent: Power of the cosine, in (0, inf).  Default 1.
        min_lr: The floor, as a rate, in [0, inf).  Default 0.
        floor: What min_lr is for a layer: "scaled", "absolute" or "relative".  Default "scaled".
        min_factor: The floor as a share of the layer's own rate, in [0, 1], in place of min_lr.  Default 0.
    """

    name: ClassVar[str] = "cosine"
    _: KW_ONLY
    cycles: float = 0.5
    k_decay: float = 1.0
    exponent: float = 1.0


@dataclass(frozen=True)
class CosineRestarts(Floored):
    """Down half a cosine, again and again.

    f = t / W for t < W; then cycle i takes T_i = cycle_steps * cycle_mult ** i steps, and T_cur steps after its start f
    = 0.5 * (1 + cos(pi * T_cur / T_i)) of the way from the floor to amplitude ** i times the rate.  Source: Loshchilov
    and Hutter 2017 (SGDR), arXiv:1608.03983, equation 5.  Equals torch's CosineAnnealingWarmRestarts (floor
    "absolute"), Hugging Face's `cosine_with_restarts` with cycle_steps = (T - W) / num_cycles and cycle_limit =
    num_cycles, and timm's cosine with cycle_mul, cycle_decay (amplitude) and cycle_limit.

    Args:
        cycle_steps: Steps of the first cycle, not always whole, in [1, inf).
        cycle_mult: How much longer each cycle is than the one before, in [1, inf).  Default 1.
        amplitude: Each peak over the one before, in (0, 1].  Default 1.
        cycle_limit: Cycles, then the floor, in [0, 2**53]; 0 for no end.  Default 0.
        warmup_steps: W, steps of linear warm-up from 0, in [0, 2**53].  Default 0.
        min_lr: The floor, as a rate, in [0, inf).  Default 0.
        floor: What min_lr is for a layer: "scaled", "absolute" or "relative".  Default "scaled".
        min_factor: The floor as a share of the layer's own rate, in [0, 1], in place of min_lr.  Default 0.
    """

    name: ClassVar[str] = "cosine_restarts"
    cycle_steps: float
    _: KW_ONLY
    cycle_mult: float = 1.0
    amplitude: float = 1.0
    cycle_limit: int = 0
    warmup_steps: int = 0


@dataclass(frozen=True)
class Polynomial(Spanned):
    """Down a power of what is left.

    f = t / W for t < W, else (1 - p ** k_decay) ** power above the floor, p = (t - W) / (T - W), at most 1.  Source:
    torch's PolynomialLR, Hugging Face's `polynomial` (floor "relative", its lr_end is min_lr), optax's
    polynomial_schedule, Keras's PolynomialDecay without cycle, timm's poly ("scaled"; its warm-up by `Warmup`), all of
    which it equals.

    Args:
        total_steps: T, steps to the end, warm-up included, in [1, 2**53].
        power: Power of what is left, in (0, inf).  Default 1.
        k_decay: Power of the progress, in (0, inf).  Default 1.
        warmup_steps: W, steps of linear warm-up from 0, in [0, 2**53].  Default 0.
        min_lr: The floor, as a rate, in [0, inf).  Default 0.
        floor: What min_lr is for a layer: "scaled", "absolute" or "relative".  Default "scaled".
        min_factor: The floor as a share of the layer's own rate, in [0, 1], in place of min_lr.  Default 0.
    """

    name: ClassVar[str] = "polynomial"
    power: float = 1.0
    _: KW_ONLY
    k_decay: float = 1.0


@dataclass(frozen=True)
class Exponential(Schedule):
    """A constant share at each step, or every so many steps.

    f = max(gamma ** (t / every), lowest); with staircase, gamma ** floor(t / every).  Source: torch's ExponentialLR
    (every = 1), optax's exponential_decay (every is transition_steps, lowest its end value over its initial one),
    Keras's ExponentialDecay, all of which it equals.

    Args:
        gamma: What is left after `every` steps, in (0, 1].
        every: Steps for one factor of gamma, in [1, 2**53].  Default 1.
        staircase: Whole factors only.  Default False.
        lowest: No factor is lower, in [0, 1].  Default 0.
    """

    name: ClassVar[str] = "exponential"
    gamma: float
    _: KW_ONLY
    every: int = 1
    staircase: bool = False
    lowest: float = 0.0


@dataclass(frozen=True)
class StepDecay(Schedule):
    """A factor of gamma every so many steps: f = gamma ** floor(t / every).

    Source: torch's StepLR, which it equals.

    Args:
        every: Steps for one factor of gamma, in [1, 2**53].
        gamma: The factor, in (0, 1].  Default 0.1.
    """

    name: ClassVar[str] = "step"
    every: int
    gamma: float = 0.1


@dataclass(frozen=True)
class MultiStep(Schedule):
    """A factor of gamma at each milestone: f = gamma ** (number of milestones <= t).

    Source: torch's MultiStepLR, which it equals.  timm's multi-step lowers one step earlier (it looks at t + 1).

    Args:
        milestones: Steps, rising, at least one.
        gamma: The factor of each milestone, in (0, 1].  Default 0.1.
    """

    name: ClassVar[str] = "multi_step"
    milestones: Sequence[int]
    gamma: float = 0.1

    def __post_init__(self) -> None:
        object.__setattr__(self, "milestones", tuple(self.milestones))

    def settings(self) -> dict[str, object]:
        """The factor."""
        return {"gamma": self.gamma}

    def values(self) -> Sequence[float]:
        """The milestones."""
        return self.milestones


@dataclass(frozen=True)
class InverseSqrt(Schedule):
    """Down with the square root of time.

    f = t / W for t < W, else 1 / sqrt((t - W + s) / s), s = timescale, or W where that is 0, or 10000 where both are.
    Source: Hugging Face's `inverse_sqrt`, which it equals; with the timescale at its default also fairseq's.

    Args:
        warmup_steps: W, steps of linear warm-up from 0, in [0, 2**53].  Default 0.
        timescale: s, in [0, 2**53].  Default 0.
    """

    name: ClassVar[str] = "inverse_sqrt"
    warmup_steps: int = 0
    _: KW_ONLY
    timescale: int = 0


@dataclass(frozen=True)
class InverseTime(Schedule):
    """Down with time: f = 1 / (1 + rate * t / every); with staircase, rate * floor(t / every).

    Source: Keras's InverseTimeDecay, which it equals: decay_rate is rate, decay_steps every.

    Args:
        rate: How fast, in (0, inf).
        every: Steps that count as one, in [1, 2**53].  Default 1.
        staircase: Whole numbers of `every` steps only.  Default False.
    """

    name: ClassVar[str] = "inverse_time"
    rate: float
    _: KW_ONLY
    every: int = 1
    staircase: bool = False


@dataclass(frozen=True)
class Noam(Schedule):
    """The schedule of the Transformer: up a straight line, then down with the square root of time.

    f = model_size ** -0.5 * min(s ** -0.5, s * W ** -1.5), s = t + 1.  Source: Vaswani et al. 2017, arXiv:1706.03762,
    section 5.3, which counts steps from 1; AllenNLP's NoamLR, whose factor is the base rate; it equals both.

    Args:
        model_size: Width of the model, in [1, 2**53].
        warmup_steps: W, steps up, in [1, 2**53].
    """

    name: ClassVar[str] = "noam"
    model_size: int
    warmup_steps: int


@dataclass(frozen=True)
class WarmupStableDecay(Spanned):
    """Up, level, and down.

    f rises from the floor to 1 over W steps, is 1 until t = T - D, falls to the floor over D steps, and stays there.
    After a share x of the steps it has gone x of the way ("linear"), 0.5 * (1 - cos(pi * x)) ("cosine"), or 1 - sqrt(1
    - x) up and sqrt(x) down ("one_minus_sqrt").  Source: Hu et al. 2024 (MiniCPM), arXiv:2404.06395; Hugging Face's
    `warmup_stable_decay`, which it equals with its min_lr_ratio as min_factor and its decay_type, "cosine" by default,
    as decay.

    Args:
        total_steps: T, steps to the end, warm-up included, in [1, 2**53].
        decay_steps: D, steps down, in [1, 2**53].
        warmup_steps: W, steps up, in [0, 2**53].  Default 0.
        warmup: The curve up: "linear", "cosine" or "one_minus_sqrt".  Default "linear".
        decay: The curve down: "linear", "cosine" or "one_minus_sqrt".  Default "linear".
        cycles: Waves of the cosine down, in (0, inf); 0.5 is down once.  Default 0.5.
        min_lr: The floor, as a rate, in [0, inf).  Default 0.
        floor: What min_lr is for a layer: "scaled", "absolute" or "relative".  Default "scaled".
        min_factor: The floor as a share of the layer's own rate, in [0, 1], in place of min_lr.  Default 0.
    """

    name: ClassVar[str] = "wsd"
    decay_steps: int
    _: KW_ONLY
    warmup: Literal["linear", "cosine", "one_minus_sqrt"] = "linear"
    decay: Literal["linear", "cosine", "one_minus_sqrt"] = "linear"
    cycles: float = 0.5


@dataclass(frozen=True)
class Tanh(Spanned):
    """Down a hyperbolic tangent: long level, then steep, then long level.

    f = t / W for t < W, else 0.5 * (1 - tanh(lower * (1 - p) + upper * p)) above the floor, p = (t - W) / (T - W), and
    the floor from T on.  Source: Hsueh et al. 2018, arXiv:1806.01593; timm's tanh, which it equals (floor "scaled").

    Args:
        total_steps: T, steps to the end, warm-up included, in [1, 2**53].
        lower: Argument of the tangent at the start, in (-inf, inf).  Default -7.
        upper: Argument of the tangent at the end, in (-inf, inf), above lower.  Default 3.
        warmup_steps: W, steps of linear warm-up from 0, in [0, 2**53].  Default 0.
        min_lr: The floor, as a rate, in [0, inf).  Default 0.
        floor: What min_lr is for a layer: "scaled", "absolute" or "relative".  Default "scaled".
        min_factor: The floor as a share of the layer's own rate, in [0, 1], in place of min_lr.  Default 0.
    """

    name: ClassVar[str] = "tanh"
    _: KW_ONLY
    lower: float = -7.0
    upper: float = 3.0


@dataclass(frozen=True)
class FlatCosine(Spanned):
    """Level, then down half a cosine.

    f = t / W for t < W, else 1 until p = pct_start, then 0.5 * (1 + cos(pi * (p - pct_start) / (1 - pct_start))) above
    the floor, p = (t - W) / (T - W).  Source: fastai's fit_flat_cos, which it equals with min_factor = 1 / div_final,
    there 1e-5.

    Args:
        total_steps: T, steps to the end, warm-up included, in [1, 2**53].
        pct_start: Share of the steps that are level, in [0, 1].  Default 0.75.
        warmup_steps: W, steps of linear warm-up from 0, in [0, 2**53].  Default 0.
        min_lr: The floor, as a rate, in [0, inf).  Default 0.
        floor: What min_lr is for a layer: "scaled", "absolute" or "relative".  Default "scaled".
        min_factor: The floor as a share of the layer's own rate, in [0, 1], in place of min_lr.  Default 0.
    """

    name: ClassVar[str] = "flat_cosine"
    _: KW_ONLY
    pct_start: float = 0.75


@dataclass(frozen=True, kw_only=True)
class ReduceOnPlateau(Schedule):
    """Lower by a factor when a metric has stopped improving; `Optimizer.report` tells it the metric.

    f = max(factor ** reductions, min_factor).  A metric is better than the best so far if it is more than a margin
    below it, with mode "max" more than a margin above it.  The margin is threshold * abs(best) with threshold_mode
    "rel", threshold with "abs", and threshold * best with "torch_rel".  After more than `patience` metrics in a row
    that are not better, the factor falls.  Source: torch's ReduceLROnPlateau, which it equals with eps = 0 and its
    min_lr as a share of the rate; where metrics may be negative, torch's "rel" is "torch_rel" here, with which a flat
    negative metric never counts as a plateau.  A metric that is not a number is bad.

    Args:
        mode: Which metrics are good: "min", low ones, or "max", high ones.  Default "min".
        factor: The factor of each reduction, in (0, 1], below 1.  Default 0.1.
        patience: Bad metrics in a row that are borne, in [0, 2**53].  Default 10.
        threshold: How much better a metric must be to count, in [0, inf).  Default 1e-4.
        threshold_mode: What threshold is: "rel", a share of the best's magnitude; "abs", a difference; "torch_rel",
            a share of the best with its sign, which is torch's "rel".  Default "rel".
        cooldown: Metrics after a reduction that are not counted as bad, in [0, 2**53].  Default 0.
        min_factor: No factor is lower, in [0, 1].  Default 0.
    """

    name: ClassVar[str] = "reduce_on_plateau"
    mode: Literal["min", "max"] = "min"
    factor: float = 0.1
    patience: int = 10
    threshold: float = 1e-4
    threshold_mode: Literal["rel", "abs", "torch_rel"] = "rel"
    cooldown: int = 0
    min_factor: float = 0.0
