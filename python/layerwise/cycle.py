# SPDX-License-Identifier: Apache-2.0
"""Schedules that rise and fall, and the momentum that goes with them.  `schedule` explains schedules."""

from __future__ import annotations

from dataclasses import KW_ONLY
from typing import ClassVar, Literal

from ._values import dataclass
from .schedule import Schedule


@dataclass(frozen=True)
class OneCyclePhases(Schedule):
    """What the two schedules of one cycle share: when its phases begin and end."""

    total_steps: int
    _: KW_ONLY
    pct_start: float = 0.3
    anneal: Literal["cosine", "linear"] = "cosine"
    three_phase: bool = False
    timing: Literal["torch", "fraction"] = "torch"


@dataclass(frozen=True)
class OneCycle(OneCyclePhases):
    """Up to the base rate and far down, once.

    f goes from 1 / div_factor to 1 over pct_start of the steps, and then to 1 / (div_factor * final_div_factor); with
    three_phase, back to 1 / div_factor over as many steps in between.  Source: Smith and Topin 2018, arXiv:1708.07120.
    Equals torch's OneCycleLR, whose max_lr is the base rate; with timing "fraction" fastai's fit_one_cycle
    (final_div_factor = its div_final / div) and, where pct_start * T is whole, optax's cosine_onecycle_schedule.

    Args:
        total_steps: T, steps to the end, in [1, 2**53].
        pct_start: Share of the steps up to the peak, in [0, 1]; at most 0.5 with three_phase.  Default 0.3.
        anneal: The curve of each phase: "cosine" or "linear".  Default "cosine".
        three_phase: Down as it went up, and only then to the end.  Default False.
        timing: Which steps phases end at: "torch", pct_start * T - 1 and T - 1; "fraction", pct_start * T and T.
            Default "torch".
        div_factor: The peak over the start, in (0, inf).  Default 25.
        final_div_factor: The start over the end, in (0, inf).  Default 1e4.
    """

    name: ClassVar[str] = "one_cycle"
    _: KW_ONLY
    div_factor: float = 25.0
    final_div_factor: float = 1e4


@dataclass(frozen=True)
class OneCycleMomentum(OneCyclePhases):
    """The momentum that goes with `OneCycle`: low where the rate is high.

    It goes from max_momentum to base_momentum and back.  It is the value itself and not a factor: what it schedules has
    no say.  `Optimizer(..., schedule={"lr": OneCycle(n), "momentum": OneCycleMomentum(n)})`, and "beta1" for Adam.
    Source: torch's OneCycleLR with cycle_momentum, and with timing "fraction" fastai's moms whose first and last are
    the same; it equals both.

    Args:
        total_steps: T, steps to the end, in [1, 2**53].
        pct_start: Share of the steps up to the peak, in [0, 1]; at most 0.5 with three_phase.  Default 0.3.
        anneal: The curve of each phase: "cosine" or "linear".  Default "cosine".
        three_phase: Up as it went down, and level from there.  Default False.
        timing: Which steps phases end at: "torch", pct_start * T - 1 and T - 1; "fraction", pct_start * T and T.
            Default "torch".
        base_momentum: Momentum at the peak of the rate, in [0, 1).  Default 0.85.
        max_momentum: Momentum at both ends, in [0, 1).  Default 0.95.
    """

    name: ClassVar[str] = "one_cycle_momentum"
    _: KW_ONLY
    base_momentum: float = 0.85
    max_momentum: float = 0.95


@dataclass(frozen=True)
class SlantedTriangular(Schedule):
    """Up a short straight line, and down a long one.

    f = (1 + p * (ratio - 1)) / ratio; cut = floor(T * cut_frac); p = t / cut for t < cut, else 1 - (t - cut) / (T -
    cut), at least 0.  Source: Howard and Ruder 2018 (ULMFiT), arXiv:1801.06146, section 3.2; equals AllenNLP's
    SlantedTriangular, whose trainer asks for step t + 1.

    Args:
        total_steps: T, steps to the end, in [1, 2**53].
        cut_frac: Share of the steps up, in (0, 1].  Default 0.1.
        ratio: The peak over both ends, in [1, inf).  Default 32.
    """

    name: ClassVar[str] = "slanted_triangular"
    total_steps: int
    _: KW_ONLY
    cut_frac: float = 0.1
    ratio: float = 32.0


@dataclass(frozen=True, kw_only=True)
class CycleWave(Schedule):
    """What the two cyclic schedules share: straight lines up and down."""

    step_size_up: int = 2000
    step_size_down: int = 0
    mode: Literal["triangular", "triangular2", "exp_range"] = "triangular"
    gamma: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Cyclic(CycleWave):
    """Up to the base rate and down to a share of it, again and again.

    f = lowest + (1 - lowest) * height; the height goes from 0 to 1 and back along straight lines, times 2 ** -cycle in
    mode "triangular2" or gamma ** t in "exp_range".  Source: Smith 2017, arXiv:1506.01186.  Equals torch's CyclicLR,
    whose max_lr is the base rate and base_lr / max_lr lowest.

    Args:
        step_size_up: Steps up, in [1, 2**53].  Default 2000.
        step_size_down: Steps down, in [0, 2**53]; 0 for as many as up.  Default 0.
        mode: How heights change: "triangular", not; "triangular2", by half each cycle; "exp_range", by gamma each step.
            Default "triangular".
        gamma: The factor of "exp_range", in (0, 1].  Default 1.
        lowest: The factor between waves, in [0, 1].  Default 0.1.
    """

    name: ClassVar[str] = "cyclic"
    lowest: float = 0.1


@dataclass(frozen=True, kw_only=True)
class CyclicMomentum(CycleWave):
    """The momentum that goes with `Cyclic`: low where the rate is high.

    max_momentum - (max_momentum - base_momentum) * height.  It is the value itself and not a factor: what it schedules
    has no say.  Source: torch's CyclicLR with cycle_momentum, which it equals.

    Args:
        step_size_up: Steps up, in [1, 2**53].  Default 2000.
        step_size_down: Steps down, in [0, 2**53]; 0 for as many as up.  Default 0.
        mode: How heights change: "triangular", not; "triangular2", by half each cycle; "exp_range", by gamma each step.
            Default "triangular".
        gamma: The factor of "exp_range", in (0, 1].  Default 1.
        base_momentum: Momentum at the peak of the rate, in [0, 1).  Default 0.8.
        max_momentum: Momentum between waves, in [0, 1).  Default 0.9.
    """

    name: ClassVar[str] = "cyclic_momentum"
    base_momentum: float = 0.8
    max_momentum: float = 0.9
