# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: RUF002
"""Schedules: how a rate, or another number of a rule, moves in time.  The classes hold values; the library computes.

A schedule is a function f of the step t, which is 0 at the first step.  The rate of a layer is

    scale * base * f(t)

and with a floor m (`min_lr`), where f falls from 1 to 0, as `floor` says:

    "scaled"    scale * (m + (base - m) * f)               the floor is scaled as the rate is (timm, BEiT, MAE)
    "absolute"  m + (base * scale - m) * f                 one floor for all layers (torch's eta_min)
    "relative"  base * scale * (r + (1 - r) * f)           r = m / the optimizer's lr (Hugging Face's min_lr)

while `min_factor` is r itself.  Argument names are torch's and Hugging Face's where those have one.
"""

from __future__ import annotations

import array
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY
from typing import ClassVar, Literal, TypeAlias

from . import _binding as lw
from . import _checks
from ._settings import number
from ._spec import Content, Numbers, OptionalPart, Pairs, Parts, Recipe, Unnamed, pack
from ._values import dataclass

Floor: TypeAlias = Literal["scaled", "absolute", "relative"]
"""What min_lr is for a layer."""


class Schedule(Recipe):
    """What all schedules share."""

    def _check(self) -> None:
        _checks.check_schedule(self)

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


# ---- Written by `make classes` from the library's declarations


@dataclass(frozen=True)
class Constant(Schedule):
    """The same factor at every step.

        f = factor

    Equals optax's and Hugging Face's, and with `Warmup` in front Hugging Face's `constant_with_warmup`. torch's
    ConstantLR ends: it is `Warmup` with shape "constant".  Source: optax constant_schedule, Hugging Face constant.

    Args:
        factor: The factor, in [0, inf).  Default 1.
    """

    name: ClassVar[str] = "constant"
    factor: float = 1.0


@dataclass(frozen=True)
class Linear(Schedule):
    """Down a straight line.

        f = 1 − p

    f = t / W for t < W, else 1 - p above the floor, p = (t - W) / (T - W), at most 1.  Equals Hugging Face's, optax's,
    torch's LinearLR from 1 to its end factor (min_factor), and timm's poly with power 1.  Source: Hugging Face linear,
    torch LinearLR, optax linear_schedule.

    Args:
        total_steps: T: steps to the end, warm-up included, in [1, 2**53].
        warmup_steps: W: steps of warm-up, in [0, 2**53].  Default 0.
        min_lr: The floor, as a rate, in [0, inf).  Default 0.
        floor: What min_lr is for a layer: "scaled" as its rate, "absolute", or "relative" to the optimizer's base rate.
            Default "scaled".
        min_factor: The floor as a share of the layer's own rate, in [0, 1]; in place of min_lr.  Default 0.
    """

    name: ClassVar[str] = "linear"
    total_steps: int
    _: KW_ONLY
    warmup_steps: int = 0
    min_lr: float = 0.0
    floor: Floor = "scaled"
    min_factor: float = 0.0


@dataclass(frozen=True)
class Cosine(Schedule):
    """Down half a cosine.

        f = (½(1 + cos(2π·cycles·pᵏ)))^exponent

    f = t / W for t < W, else (0.5 * (1 + cos(2 pi * cycles * p ** k_decay))) ** exponent above the floor, p = (t - W) /
    (T - W), at most 1.  Equals torch's CosineAnnealingLR (floor "absolute"), Hugging Face's `cosine` and
    `cosine_with_min_lr` ("relative"), timm's cosine ("scaled"; its warm-up by `Warmup`) and optax's
    cosine_decay_schedule.  After T it stays at the floor, as timm's and optax's do; torch's and Hugging Face's rise
    again.  Source: Loshchilov and Hutter 2017, arXiv:1608.03983; torch CosineAnnealingLR, Hugging Face cosine, timm,
    optax.

    Args:
        total_steps: T: steps to the end, warm-up included, in [1, 2**53].
        warmup_steps: W: steps of warm-up, in [0, 2**53].  Default 0.
        min_lr: The floor, as a rate, in [0, inf).  Default 0.
        floor: What min_lr is for a layer: "scaled" as its rate, "absolute", or "relative" to the optimizer's base rate.
            Default "scaled".
        min_factor: The floor as a share of the layer's own rate, in [0, 1]; in place of min_lr.  Default 0.
        cycles: Waves, in (0, inf); 0.5 is down once.  Default 0.5.
        k_decay: K: power of the progress, in (0, inf).  Default 1.
        exponent: Power of the cosine, in (0, inf).  Default 1.
    """

    name: ClassVar[str] = "cosine"
    total_steps: int
    _: KW_ONLY
    warmup_steps: int = 0
    min_lr: float = 0.0
    floor: Floor = "scaled"
    min_factor: float = 0.0
    cycles: float = 0.5
    k_decay: float = 1.0
    exponent: float = 1.0


@dataclass(frozen=True)
class CosineRestarts(Schedule):
    """Down half a cosine, again and again.

        f = ½(1 + cos(π·Tcur/Tᵢ)), Tᵢ = cycle_steps·cycle_multⁱ

    f = t / W for t < W; then cycle i takes T_i = cycle_steps * cycle_mult ** i steps, and T_cur steps after its start f
    = 0.5 * (1 + cos(pi * T_cur / T_i)) of the way from the floor to amplitude ** i times the rate.  Equals torch's
    CosineAnnealingWarmRestarts (floor "absolute"), Hugging Face's `cosine_with_restarts` with cycle_steps = (T - W) /
    num_cycles and cycle_limit = num_cycles, and timm's cosine with cycle_mul, cycle_decay (amplitude) and cycle_limit.
    Source: Loshchilov and Hutter 2017, arXiv:1608.03983; torch CosineAnnealingWarmRestarts, Hugging Face, timm.

    Args:
        cycle_steps: T₀: steps of the first cycle, not always whole, in [1, inf).
        cycle_mult: How much longer each cycle is than the one before, in [1, inf).  Default 1.
        amplitude: Each peak over the one before, in (0, 1].  Default 1.
        cycle_limit: Cycles, then the floor, in [0, 2**53]; 0: no end.  Default 0.
        warmup_steps: W: steps of linear warm-up from 0, in [0, 2**53].  Default 0.
        min_lr: The floor, as a rate, in [0, inf).  Default 0.
        floor: What min_lr is for a layer: "scaled" as its rate, "absolute", or "relative" to the optimizer's base rate.
            Default "scaled".
        min_factor: The floor as a share of the layer's own rate, in [0, 1]; in place of min_lr.  Default 0.
    """

    name: ClassVar[str] = "cosine_restarts"
    cycle_steps: float
    _: KW_ONLY
    cycle_mult: float = 1.0
    amplitude: float = 1.0
    cycle_limit: int = 0
    warmup_steps: int = 0
    min_lr: float = 0.0
    floor: Floor = "scaled"
    min_factor: float = 0.0


@dataclass(frozen=True)
class Polynomial(Schedule):
    """Down a power of what is left.

        f = (1 − pᵏ)^power

    f = t / W for t < W, else (1 - p ** k_decay) ** power above the floor, p = (t - W) / (T - W), at most 1. Equals
    torch's, Hugging Face's (floor "relative", its lr_end is min_lr), optax's, Keras's without cycle, and timm's poly
    ("scaled"; its warm-up by `Warmup`).  Source: torch PolynomialLR, Hugging Face polynomial, timm poly, Keras
    PolynomialDecay, optax polynomial_schedule.

    Args:
        total_steps: T: steps to the end, warm-up included, in [1, 2**53].
        power: Power of what is left, in (0, inf).  Default 1.
        warmup_steps: W: steps of warm-up, in [0, 2**53].  Default 0.
        min_lr: The floor, as a rate, in [0, inf).  Default 0.
        floor: What min_lr is for a layer: "scaled" as its rate, "absolute", or "relative" to the optimizer's base rate.
            Default "scaled".
        min_factor: The floor as a share of the layer's own rate, in [0, 1]; in place of min_lr.  Default 0.
        k_decay: K: power of the progress, in (0, inf).  Default 1.
    """

    name: ClassVar[str] = "polynomial"
    total_steps: int
    power: float = 1.0
    _: KW_ONLY
    warmup_steps: int = 0
    min_lr: float = 0.0
    floor: Floor = "scaled"
    min_factor: float = 0.0
    k_decay: float = 1.0


@dataclass(frozen=True)
class Exponential(Schedule):
    """A constant share at each step.

        f = max(γ^(t/every), lowest)

    f = max(gamma ** (t / every), lowest); with staircase, gamma ** floor(t / every).  Equals torch's (every = 1),
    optax's (every is transition_steps, lowest its end value over its initial one) and Keras's.  Source: torch
    ExponentialLR, optax exponential_decay, Keras ExponentialDecay.

    Args:
        gamma: γ: what is left after `every` steps, in (0, 1].
        every: Steps for one factor of γ, in [1, 2**53].  Default 1.
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
    """A factor of γ every so many steps.

        f = γ^⌊t/every⌋

    f = gamma ** floor(t / every), as torch has it.  Source: torch StepLR.

    Args:
        every: Steps for one factor of γ, in [1, 2**53].
        gamma: γ: the factor, in (0, 1].  Default 0.1.
    """

    name: ClassVar[str] = "step_decay"
    every: int
    gamma: float = 0.1


@dataclass(frozen=True)
class MultiStep(Schedule):
    """A factor of γ at each milestone.

        f = γ^#{milestones ≤ t}

    f = gamma ** (number of milestones <= t), as torch has it.  timm's multi-step lowers one step earlier (it looks at t
    + 1).  Source: torch MultiStepLR.

    Args:
        milestones: Steps, rising, at least one.
        gamma: γ: the factor of each milestone, in (0, 1].  Default 0.1.
    """

    name: ClassVar[str] = "multi_step"
    contents: ClassVar[tuple[Content, ...]] = (Numbers("milestones"),)
    milestones: Sequence[int]
    gamma: float = 0.1


@dataclass(frozen=True)
class InverseSqrt(Schedule):
    """Down with the square root of time.

        f = 1/√((t − W + s)/s)

    f = t / W for t < W, else 1 / sqrt((t - W + s) / s), s = timescale, or W where that is 0, or 10000 where both are.
    Equals Hugging Face's, and with the timescale at its default fairseq's.  Source: Hugging Face inverse_sqrt, fairseq
    inverse_sqrt.

    Args:
        warmup_steps: W: steps of linear warm-up from 0, in [0, 2**53].  Default 0.
        timescale: S, in [0, 2**53]; 0: warmup_steps, or 10000 if that is 0 too.  Default 0.
    """

    name: ClassVar[str] = "inverse_sqrt"
    warmup_steps: int = 0
    _: KW_ONLY
    timescale: int = 0


@dataclass(frozen=True)
class InverseTime(Schedule):
    """Down with time.

        f = 1/(1 + rate·t/every)

    f = 1 / (1 + rate * t / every); with staircase, rate * floor(t / every).  Equals Keras's: decay_rate is rate,
    decay_steps every.  Source: Keras InverseTimeDecay.

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
    """Up a straight line, then down with the square root of time.

        f = model_size^−½·min(s^−½, s·W^−1.5), s = t + 1

    f = model_size ** -0.5 * min(s ** -0.5, s * W ** -1.5), s = t + 1.  Equals that of section 5.3 of the paper, which
    counts steps from 1, and AllenNLP's, whose factor is the base rate.  Source: Vaswani et al. 2017, arXiv:1706.03762;
    AllenNLP NoamLR.

    Args:
        model_size: Width of the model, in [1, 2**53].
        warmup_steps: W: steps up, in [1, 2**53].
    """

    name: ClassVar[str] = "noam"
    model_size: int
    warmup_steps: int


@dataclass(frozen=True)
class OneCycle(Schedule):
    """Up to the base rate and far down, once.

        f: 1/div_factor → 1 → 1/(div_factor·final_div_factor)

    f goes from 1 / div_factor to 1 over pct_start of the steps, and then to 1 / (div_factor * final_div_factor); with
    three_phase, back to 1 / div_factor over as many steps in between.  Equals torch's OneCycleLR, whose max_lr is the
    base rate; with timing "fraction" fastai's fit_one_cycle (final_div_factor = its div_final / div) and, where
    pct_start * T is whole, optax's cosine_onecycle_schedule.  Source: Smith and Topin 2018, arXiv:1708.07120; torch
    OneCycleLR, fastai fit_one_cycle, optax onecycle.

    Args:
        total_steps: T: steps to the end, in [1, 2**53].
        pct_start: Share of the steps up to the peak, in [0, 1]; at most 0.5 with three_phase.  Default 0.3.
        anneal: The curve of each phase: "cosine" or "linear".  Default "cosine".
        three_phase: Down as it went up, and only then to the end.  Default False.
        timing: Which steps phases end at: "torch", pct_start·T − 1 and T − 1; "fraction", pct_start·T and T.  Default
            "torch".
        div_factor: The peak over the start, in (0, inf).  Default 25.
        final_div_factor: The start over the end, in (0, inf).  Default 10000.
    """

    name: ClassVar[str] = "one_cycle"
    total_steps: int
    _: KW_ONLY
    pct_start: float = 0.3
    anneal: Literal["cosine", "linear"] = "cosine"
    three_phase: bool = False
    timing: Literal["torch", "fraction"] = "torch"
    div_factor: float = 25.0
    final_div_factor: float = 10000.0


@dataclass(frozen=True)
class OneCycleMomentum(Schedule):
    """The momentum that goes with one_cycle.

        value: max_momentum → base_momentum → max_momentum

    It goes from max_momentum to base_momentum and back, with three_phase up as it went down, and level from there.  It
    is the value itself and not a factor, whatever the momentum of the rule.  `Optimizer(..., schedule={"lr":
    OneCycle(n), "momentum": OneCycleMomentum(n)})`, and "beta1" for Adam.  Equals torch's OneCycleLR with
    cycle_momentum, and with timing "fraction" fastai's moms whose first and last are the same.  Source: torch
    OneCycleLR, fastai fit_one_cycle.

    Args:
        total_steps: T: steps to the end, in [1, 2**53].
        pct_start: Share of the steps up to the peak, in [0, 1]; at most 0.5 with three_phase.  Default 0.3.
        anneal: The curve of each phase: "cosine" or "linear".  Default "cosine".
        three_phase: Down as it went up, and only then to the end.  Default False.
        timing: Which steps phases end at: "torch", pct_start·T − 1 and T − 1; "fraction", pct_start·T and T.  Default
            "torch".
        base_momentum: Momentum at the peak of the rate, in [0, 1).  Default 0.85.
        max_momentum: Momentum at both ends, in [0, 1).  Default 0.95.
    """

    name: ClassVar[str] = "one_cycle_momentum"
    total_steps: int
    _: KW_ONLY
    pct_start: float = 0.3
    anneal: Literal["cosine", "linear"] = "cosine"
    three_phase: bool = False
    timing: Literal["torch", "fraction"] = "torch"
    base_momentum: float = 0.85
    max_momentum: float = 0.95


@dataclass(frozen=True)
class SlantedTriangular(Schedule):
    """Up a short straight line, and down a long one.

        f = (1 + p·(ratio − 1))/ratio

    f = (1 + p * (ratio - 1)) / ratio; cut = floor(T * cut_frac); p = t / cut for t < cut, else 1 - (t - cut) / (T -
    cut), at least 0.  Equals AllenNLP's, whose trainer asks for step t + 1.  Source: Howard and Ruder 2018,
    arXiv:1801.06146; AllenNLP.

    Args:
        total_steps: T: steps to the end, in [1, 2**53].
        cut_frac: Share of the steps up, in (0, 1].  Default 0.1.
        ratio: The peak over both ends, in [1, inf).  Default 32.
    """

    name: ClassVar[str] = "slanted_triangular"
    total_steps: int
    _: KW_ONLY
    cut_frac: float = 0.1
    ratio: float = 32.0


@dataclass(frozen=True)
class WarmupStableDecay(Schedule):
    """Up, level, and down.

        f: 0 → 1 over W, 1, 1 → 0 over the last D

    f rises from the floor to 1 over W steps, is 1 until t = T - D, falls to the floor over D steps, and stays there.
    After a share x of the steps it has gone x of the way ("linear"), 0.5 * (1 - cos(pi * x)) ("cosine"), or 1 - sqrt(1
    - x) up and sqrt(x) down ("one_minus_sqrt").  Equals Hugging Face's with its min_lr_ratio as min_factor and its
    decay_type, "cosine" by default, as decay.  Source: Hu et al. 2024, arXiv:2404.06395; Hugging Face
    warmup_stable_decay.

    Args:
        total_steps: T: steps to the end, warm-up included, in [1, 2**53].
        decay_steps: D: steps down, the last of total_steps, in [1, 2**53].
        warmup_steps: W: steps of warm-up, in [0, 2**53].  Default 0.
        min_lr: The floor, as a rate, in [0, inf).  Default 0.
        floor: What min_lr is for a layer: "scaled" as its rate, "absolute", or "relative" to the optimizer's base rate.
            Default "scaled".
        min_factor: The floor as a share of the layer's own rate, in [0, 1]; in place of min_lr.  Default 0.
        warmup: The curve up: "linear", "cosine" or "one_minus_sqrt".  Default "linear".
        decay: The curve down: "linear", "cosine" or "one_minus_sqrt".  Default "linear".
        cycles: Waves of the cosine down, in (0, inf); 0.5 is down once.  Default 0.5.
    """

    name: ClassVar[str] = "warmup_stable_decay"
    total_steps: int
    decay_steps: int
    _: KW_ONLY
    warmup_steps: int = 0
    min_lr: float = 0.0
    floor: Floor = "scaled"
    min_factor: float = 0.0
    warmup: Literal["linear", "cosine", "one_minus_sqrt"] = "linear"
    decay: Literal["linear", "cosine", "one_minus_sqrt"] = "linear"
    cycles: float = 0.5


@dataclass(frozen=True)
class Tanh(Schedule):
    """Down a hyperbolic tangent.

        f = ½(1 − tanh(lower·(1 − p) + upper·p))

    f = t / W for t < W, else 0.5 * (1 - tanh(lower * (1 - p) + upper * p)) above the floor, p = (t - W) / (T - W), and
    the floor from T on.  Equals timm's (floor "scaled").  Source: Hsueh et al. 2018, arXiv:1806.01593; timm tanh.

    Args:
        total_steps: T: steps to the end, warm-up included, in [1, 2**53].
        warmup_steps: W: steps of warm-up, in [0, 2**53].  Default 0.
        min_lr: The floor, as a rate, in [0, inf).  Default 0.
        floor: What min_lr is for a layer: "scaled" as its rate, "absolute", or "relative" to the optimizer's base rate.
            Default "scaled".
        min_factor: The floor as a share of the layer's own rate, in [0, 1]; in place of min_lr.  Default 0.
        lower: Argument of the tangent at the start, in (-inf, inf).  Default -7.
        upper: Argument of the tangent at the end, above lower, in (-inf, inf).  Default 3.
    """

    name: ClassVar[str] = "tanh"
    total_steps: int
    _: KW_ONLY
    warmup_steps: int = 0
    min_lr: float = 0.0
    floor: Floor = "scaled"
    min_factor: float = 0.0
    lower: float = -7.0
    upper: float = 3.0


@dataclass(frozen=True)
class Cyclic(Schedule):
    """Up and down, again and again.

        f = lowest + (1 − lowest)·height(t)

    f = lowest + (1 - lowest) * height; the height goes from 0 to 1 and back along straight lines, times 2 ** -cycle in
    mode "triangular2" or gamma ** t in "exp_range".  Equals torch's CyclicLR, whose max_lr is the base rate and base_lr
    / max_lr lowest.  Source: Smith 2017, arXiv:1506.01186; torch CyclicLR.

    Args:
        step_size_up: Steps up, in [1, 2**53].  Default 2000.
        step_size_down: Steps down, in [0, 2**53]; 0: as many as up.  Default 0.
        mode: How heights change: "triangular", not; "triangular2", by half each cycle; "exp_range", by γ each step.
            Default "triangular".
        gamma: γ: the factor of "exp_range", in (0, 1].  Default 1.
        lowest: The factor between waves, in [0, 1].  Default 0.1.
    """

    name: ClassVar[str] = "cyclic"
    _: KW_ONLY
    step_size_up: int = 2000
    step_size_down: int = 0
    mode: Literal["triangular", "triangular2", "exp_range"] = "triangular"
    gamma: float = 1.0
    lowest: float = 0.1


@dataclass(frozen=True)
class CyclicMomentum(Schedule):
    """The momentum that goes with cyclic.

        value = max_momentum − (max_momentum − base_momentum)·height(t)

    max_momentum - (max_momentum - base_momentum) * height.  It is the value itself and not a factor, whatever the
    momentum of the rule.  Equals torch's CyclicLR with cycle_momentum.  Source: torch CyclicLR.

    Args:
        step_size_up: Steps up, in [1, 2**53].  Default 2000.
        step_size_down: Steps down, in [0, 2**53]; 0: as many as up.  Default 0.
        mode: How heights change: "triangular", not; "triangular2", by half each cycle; "exp_range", by γ each step.
            Default "triangular".
        gamma: γ: the factor of "exp_range", in (0, 1].  Default 1.
        base_momentum: Momentum at the peak of the rate, in [0, 1).  Default 0.8.
        max_momentum: Momentum between waves, in [0, 1).  Default 0.9.
    """

    name: ClassVar[str] = "cyclic_momentum"
    _: KW_ONLY
    step_size_up: int = 2000
    step_size_down: int = 0
    mode: Literal["triangular", "triangular2", "exp_range"] = "triangular"
    gamma: float = 1.0
    base_momentum: float = 0.8
    max_momentum: float = 0.9


@dataclass(frozen=True)
class FlatCosine(Schedule):
    """Level, then down half a cosine.

        f = 1, from pct_start ½(1 + cos(π(p − pct_start)/(1 − pct_start)))

    f = t / W for t < W, else 1 until p = pct_start, then 0.5 * (1 + cos(pi * (p - pct_start) / (1 - pct_start))) above
    the floor, p = (t - W) / (T - W).  Equals fastai's with min_factor = 1 / div_final, there 1e-5.  Source: fastai
    fit_flat_cos.

    Args:
        total_steps: T: steps to the end, warm-up included, in [1, 2**53].
        warmup_steps: W: steps of warm-up, in [0, 2**53].  Default 0.
        min_lr: The floor, as a rate, in [0, inf).  Default 0.
        floor: What min_lr is for a layer: "scaled" as its rate, "absolute", or "relative" to the optimizer's base rate.
            Default "scaled".
        min_factor: The floor as a share of the layer's own rate, in [0, 1]; in place of min_lr.  Default 0.
        pct_start: Share of the steps that are level, in [0, 1].  Default 0.75.
    """

    name: ClassVar[str] = "flat_cosine"
    total_steps: int
    _: KW_ONLY
    warmup_steps: int = 0
    min_lr: float = 0.0
    floor: Floor = "scaled"
    min_factor: float = 0.0
    pct_start: float = 0.75


@dataclass(frozen=True)
class Piecewise(Schedule):
    """Factors at given steps.

        f = factorᵢ from stepᵢ, or on the way to factorᵢ₊₁

    f is the factor of the last point <= t, and 1 before the first; with an interpolation it moves between the points on
    either side of t, from a factor of 1 at step 0 where no point is there.  After the last point its factor stays.
    Equals optax's for factors that are the products of all scales so far.  Keras's PiecewiseConstantDecay changes one
    step later.  Source: optax piecewise_constant_schedule and piecewise_interpolate_schedule.

    Args:
        points: Pairs of a step and a factor in [0, inf), in the order of their steps.
        interpolation: The way from one point to the next: "none", a jump; "linear" or "cosine".  Default "none".
    """

    name: ClassVar[str] = "piecewise"
    contents: ClassVar[tuple[Content, ...]] = (Pairs("points"),)
    points: Sequence[tuple[int, float]]
    interpolation: Literal["none", "linear", "cosine"] = "none"


@dataclass(frozen=True)
class FactorTable(Schedule):
    """A factor for each step, from a list.

        f = factors[min(t, n − 1)]

    f = factors[min(t, len(factors) - 1)].  Source: torch LambdaLR, with its values listed.

    Args:
        factors: One in [0, inf) for each step, at least one.
    """

    name: ClassVar[str] = "factor_table"
    contents: ClassVar[tuple[Content, ...]] = (Numbers("factors"),)
    factors: Sequence[float]

    @classmethod
    def from_callable(cls, function: Callable[[int], float], steps: int) -> FactorTable:
        """The factors function(0), function(1) ... function(steps - 1): any schedule of one's own."""
        return cls([function(step) for step in range(steps)])


@dataclass(frozen=True)
class ReduceOnPlateau(Schedule):
    """Lower when a metric has stopped improving.

        f = max(factor^reductions, min_factor)

    `Optimizer.report` reports the metric.  f = max(factor ** reductions, min_factor).  A metric is better than the best
    so far if it is more than a margin below it, with mode "max" more than a margin above it. The margin is threshold *
    abs(best) with threshold_mode "rel", threshold with "abs", and threshold * best with "torch_rel".  After more than
    `patience` metrics in a row that are not better, the factor falls. Equals torch's with eps = 0 and its min_lr as a
    share of the rate; where metrics may be negative, torch's "rel" is "torch_rel" here, with which a flat negative
    metric never counts as a plateau.  A metric that is not a number is bad.  Source: torch ReduceLROnPlateau.

    Args:
        mode: Which metrics are good: "min", low ones, or "max", high ones.  Default "min".
        factor: The factor of each reduction, in (0, 1]; below 1.  Default 0.1.
        patience: Bad metrics in a row that are borne, in [0, 2**53].  Default 10.
        threshold: How much better a metric must be to count, in [0, inf).  Default 0.0001.
        threshold_mode: What threshold is: "rel", a share of the best's magnitude; "abs", a difference; "torch_rel", a
            share of the best with its sign, which is torch's "rel".  Default "rel".
        cooldown: Metrics after a reduction that are not counted as bad, in [0, 2**53].  Default 0.
        min_factor: No factor is lower, in [0, 1].  Default 0.
    """

    name: ClassVar[str] = "reduce_on_plateau"
    _: KW_ONLY
    mode: Literal["min", "max"] = "min"
    factor: float = 0.1
    patience: int = 10
    threshold: float = 0.0001
    threshold_mode: Literal["rel", "abs", "torch_rel"] = "rel"
    cooldown: int = 0
    min_factor: float = 0.0


@dataclass(frozen=True)
class Warmup(Schedule):
    """A rise to what follows.

        f = w((t + count_from)/steps)·part(0), then part(t − steps)

    f = w * then(0) for t < steps, then(t - steps) from there on; with overlap w, and then(t).  Without what follows it
    stays at 1.  With x = (t + count_from) / steps, w is start + (1 - start) * s; s is x for shape "linear", 0
    "constant", 0.5 * (1 - cos(pi * x)) "cosine", sqrt(x) "sqrt", 1 - sqrt(1 - x) "one_minus_sqrt", ln(t + 1) /
    ln(steps) "log"; for "exponential" w is start ** (1 - x).  Equals torch's LinearLR (start is start_factor) and
    timm's warm-up (start is warmup_lr_init / lr; without warmup_prefix it is overlap), torch's ConstantLR ("constant"),
    DeepSpeed's WarmupLR ("log").  Source: Goyal et al. 2017, arXiv:1706.02677; torch LinearLR and ConstantLR, timm,
    DeepSpeed WarmupLR.

    Args:
        steps: Steps of warm-up, in [1, 2**53].
        then: The schedule that follows.  Default None.
        shape: How the factor rises: "linear", "constant", "cosine", "exponential", "sqrt", "one_minus_sqrt" or "log".
            Default "linear".
        start: Where it starts, in [0, 1]; above 0 for "exponential".  Default 0.
        count_from: The number of the first step, in [0, 1]; with 1 the last step of the warm-up is at 1.  Default 0.
        overlap: What follows counts its steps from the start of the warm-up.  Default False.
    """

    name: ClassVar[str] = "warmup"
    contents: ClassVar[tuple[Content, ...]] = (OptionalPart("then"),)
    steps: int
    then: Schedule | None = None
    _: KW_ONLY
    shape: Literal["linear", "constant", "cosine", "exponential", "sqrt", "one_minus_sqrt", "log"] = "linear"
    start: float = 0.0
    count_from: int = 0
    overlap: bool = False


@dataclass(frozen=True)
class Sequential(Schedule):
    """Schedules one after another.

        f(t) = fᵢ(t − milestoneᵢ₋₁)

    Each counts its steps from where it begins: f = schedules[i](t - milestones[i - 1]) for t from milestones[i - 1] to
    milestones[i].  Equals torch's and optax's.  Source: torch SequentialLR, optax join_schedules.

    Args:
        schedules: Two or more.
        milestones: The steps at which the second and later schedules begin, rising.
    """

    name: ClassVar[str] = "sequential"
    contents: ClassVar[tuple[Content, ...]] = (
        Parts("schedules"),
        Numbers("milestones"),
    )
    schedules: Sequence[Schedule]
    milestones: Sequence[int]


@dataclass(frozen=True, init=False, repr=False)
class Product(Schedule, Unnamed):
    """Schedules at once, each on what those before it made.

        f = f₁·f₂·…

    A floor of one is multiplied by those after it.  Equals torch's ChainedScheduler for schedulers that multiply, such
    as ConstantLR and ExponentialLR.  Source: torch ChainedScheduler.

    Args:
        schedules: Two or more.
    """

    name: ClassVar[str] = "product"
    contents: ClassVar[tuple[Content, ...]] = (Parts("schedules"),)
    schedules: tuple[Schedule, ...]

    def __init__(self, *schedules: Schedule) -> None:
        object.__setattr__(self, "schedules", schedules)
        self._check()


# The names of version 0.1.0.
Table = FactorTable
