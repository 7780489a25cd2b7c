# SPDX-License-Identifier: Apache-2.0
"""Schedules made of lists, and of other schedules.  `schedule` explains schedules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY
from itertools import chain
from typing import ClassVar, Literal

from ._settings import pair
from ._spec import Recipe
from ._values import dataclass
from .schedule import Schedule


@dataclass(frozen=True)
class Piecewise(Schedule):
    """Factors at given steps.

    f is the factor of the last point <= t, and 1 before the first; with an interpolation it moves between the points on
    either side of t, from a factor of 1 at step 0 where no point is there.  After the last point its factor stays.
    Source: optax's piecewise_constant_schedule and piecewise_interpolate_schedule, which it equals for factors that are
    the products of all scales so far.  Keras's PiecewiseConstantDecay changes one step later.

    Args:
        points: Pairs of a step and a factor in [0, inf), in the order of their steps.
        interpolation: The way from one point to the next: "none", a jump; "linear" or "cosine".  Default "none".
    """

    name: ClassVar[str] = "piecewise"
    points: Sequence[tuple[int, float]]
    interpolation: Literal["none", "linear", "cosine"] = "none"

    def __post_init__(self) -> None:
        points = tuple(pair(f"points[{index}]", point) for index, point in enumerate(self.points))
        object.__setattr__(self, "points", points)

    def settings(self) -> dict[str, object]:
        """The interpolation."""
        return {"interpolation": self.interpolation}

    def values(self) -> Sequence[float]:
        """The points, one after another."""
        return tuple(chain.from_iterable(self.points))


@dataclass(frozen=True)
class Table(Schedule):
    """A factor for each step, from a list: f = factors[min(t, len(factors) - 1)].

    Source: torch's LambdaLR, with its values listed.

    Args:
        factors: One in [0, inf) for each step, at least one.
    """

    name: ClassVar[str] = "table"
    factors: Sequence[float]

    def __post_init__(self) -> None:
        object.__setattr__(self, "factors", tuple(self.factors))

    @classmethod
    def from_callable(cls, function: Callable[[int], float], steps: int) -> Table:
        """The factors function(0), function(1) ... function(steps - 1): any schedule of one's own."""
        return cls([function(step) for step in range(steps)])

    def settings(self) -> dict[str, object]:
        """None."""
        return {}

    def values(self) -> Sequence[float]:
        """The factors."""
        return self.factors


@dataclass(frozen=True)
class Warmup(Schedule):
    """A rise to what follows.

    f = w * then(0) for t < steps, then(t - steps) from there on; with overlap w, and then(t).  Without what follows it
    stays at 1.  With x = (t + count_from) / steps, w is start + (1 - start) * s; s is x for shape "linear", 0
    "constant", 0.5 * (1 - cos(pi * x)) "cosine", sqrt(x) "sqrt", 1 - sqrt(1 - x) "one_minus_sqrt", ln(t + 1) /
    ln(steps) "log"; for "exponential" w is start ** (1 - x).  Source: Goyal et al. 2017, arXiv:1706.02677.  Equals
    torch's LinearLR (start is start_factor) and timm's warm-up (start is warmup_lr_init / lr; without warmup_prefix it
    is overlap), torch's ConstantLR ("constant"), DeepSpeed's WarmupLR ("log").

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
    steps: int
    then: Schedule | None = None
    _: KW_ONLY
    shape: Literal["linear", "constant", "cosine", "exponential", "sqrt", "one_minus_sqrt", "log"] = "linear"
    start: float = 0.0
    count_from: int = 0
    overlap: bool = False

    def settings(self) -> dict[str, object]:
        """The rise."""
        return {key: value for key, value in vars(self).items() if key != "then"}

    def parts(self) -> Sequence[Recipe]:
        """What follows, if anything."""
        return () if self.then is None else (self.then,)


@dataclass(frozen=True)
class Sequential(Schedule):
    """Schedules one after another, each of which counts its steps from where it begins.

    f = schedules[i](t - milestones[i - 1]) for t from milestones[i - 1] to milestones[i].  Source: torch's SequentialLR
    and optax's join_schedules, which it equals.

    Args:
        schedules: Two or more.
        milestones: The steps at which the second and later schedules begin, rising.
    """

    name: ClassVar[str] = "sequential"
    schedules: Sequence[Schedule]
    milestones: Sequence[int]

    def __post_init__(self) -> None:
        object.__setattr__(self, "schedules", tuple(self.schedules))
        object.__setattr__(self, "milestones", tuple(self.milestones))

    def settings(self) -> dict[str, object]:
        """None."""
        return {}

    def values(self) -> Sequence[float]:
        """The milestones."""
        return self.milestones

    def parts(self) -> Sequence[Recipe]:
        """The schedules."""
        return self.schedules


@dataclass(frozen=True, init=False)
class Product(Schedule):
    """Schedules at once, each of which acts on what those before it made: f = f1 * f2 ...

    A floor of one is multiplied by those after it.  Source: torch's ChainedScheduler, which it equals for schedulers
    that multiply, such as ConstantLR and ExponentialLR.

    Args:
        schedules: Two or more.
    """

    name: ClassVar[str] = "product"
    schedules: tuple[Schedule, ...]

    def __init__(self, *schedules: Schedule) -> None:
        object.__setattr__(self, "schedules", schedules)

    def __repr__(self) -> str:
        return f"Product({', '.join(map(repr, self.schedules))})"

    def settings(self) -> dict[str, object]:
        """None."""
        return {}

    def parts(self) -> Sequence[Recipe]:
        """The schedules."""
        return self.schedules
