# SPDX-License-Identifier: Apache-2.0
"""A learning-rate finder for every layer."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from ._searching import (
    Closure,
    Progress,
    Searched,
    Subject,
    analyse,
    has_diverged,
    known,
    levelled,
    numbers,
    rates_between,
)
from .errors import InvalidArgument, UnknownName
from .policy import Explicit

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Suggestion = Literal["valley", "slide", "minimum", "steep", "lightning", "spread"]
"""A way to read a rate off a curve; docs/finder.md has the formulas."""

_SUGGESTIONS: tuple[Suggestion, ...] = ("valley", "slide", "minimum", "steep", "lightning", "spread")


@dataclass(frozen=True)
class Curve:
    """Losses over rates.

    Attributes:
        kind: "sweep", one run whose rate rises at every step; or "trials", each from the same snapshot.
        rates: Effective rates, rising.
        losses: The loss at each, by repeat; NaN where it was not reached or not finite.
        mean: Over repeats, of the smoothed losses in a sweep.
        spread: The standard deviation over repeats, each without its own median.
        suggestions: Rates by name; None where the curve does not say.
    """

    kind: Literal["sweep", "trials"]
    rates: tuple[float, ...]
    losses: tuple[tuple[float, ...], ...]
    mean: tuple[float, ...]
    spread: tuple[float, ...]
    suggestions: Mapping[str, float | None]

    @classmethod
    def of(cls, kind: Literal["sweep", "trials"], rates: Sequence[float], losses: Sequence[Sequence[float]]) -> Curve:
        """The curve of some losses."""
        found = analyse(kind, rates, losses)
        rows = tuple(tuple(row) for row in losses)
        mean, spread = numbers(found["mean"]), numbers(found["spread"])
        return cls(kind, tuple(rates), rows, mean, spread, found["suggestions"])

    def _values(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "rates": self.rates,
            "losses": [list(map(known, row)) for row in self.losses],
            "mean": list(map(known, self.mean)),
            "spread": list(map(known, self.spread)),
            "suggestions": dict(self.suggestions),
        }


@dataclass(frozen=True)
class FoundRates:
    """What `find_rates` has found.

    Attributes:
        lr: The base rate that it suggests, at which layers were tried.
        by: The suggestion that says so; "lr" where none did, and the optimizer's own rate was taken.
        base: The sweep of the base rate, with the layers in their ratios.
        layers: The trials of each layer by name, the others held.
        held: The effective rate of each layer at the base rate `lr`.
    """

    lr: float
    by: str
    base: Curve
    layers: Mapping[str, Curve]
    held: Mapping[str, float]
    _own: Mapping[str, float]

    def scales(self, by: Suggestion = "spread") -> dict[str, float]:
        """The scale of each layer at the base rate `lr`.

        Each layer's suggestion over the rate at which it was held, divided by the geometric mean of all layers: the
        base rate says how far all may go together, and the trials how layers differ.  A layer without a suggestion
        keeps its rate.

        Args:
            by: Which suggestion of the layers' curves to take.
        """
        if by not in _SUGGESTIONS:
            raise UnknownName(f"by must be one of {', '.join(_SUGGESTIONS)}, found {by!r}")
        found = [curve.suggestions[by] for curve in self.layers.values()]
        if all(rate is None for rate in found):
            raise InvalidArgument(f'no layer has a suggestion "{by}"')
        factors = [
            None if rate is None else rate / self.held[name] for name, rate in zip(self.layers, found, strict=True)
        ]
        factor = dict(zip(self.layers, levelled(factors), strict=True))
        # A layer with a rate of its own does not follow the base rate.
        return {name: rate * factor.get(name, 1.0) / self._own.get(name, self.lr) for name, rate in self.held.items()}

    def policy(self, by: Suggestion = "spread") -> Explicit:
        """The scales as a policy, to be used with the base rate `lr`.

        Args:
            by: Which suggestion of the layers' curves to take.
        """
        return Explicit(self.scales(by))

    def table(self) -> str:
        """All suggestions: a line for the base rate, and one for each layer."""
        names = ("held", *_SUGGESTIONS)
        rows = [("", *names), ("all layers", *self._cells(self.base, self.lr))]
        rows += [(name, *self._cells(curve, self.held[name])) for name, curve in self.layers.items()]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join(
                [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
            )
            for row in rows
        ]
        return "\n".join(line.rstrip() for line in lines)

    @staticmethod
    def _cells(curve: Curve, held: float) -> list[str]:
        found = [curve.suggestions[name] for name in _SUGGESTIONS]
        return [f"{held:.2g}", *("-" if rate is None else f"{rate:.2g}" for rate in found)]

    def plot(self) -> Figure:
        """One panel for the base rate and one for each layer: losses, their spread, and what is suggested."""
        from . import plot

        return plot.found_rates(self)

    def json(self) -> str:
        """Everything as JSON, on one line; numbers that are not finite are null."""
        layers = {name: {"held": self.held[name]} | curve._values() for name, curve in self.layers.items()}
        return json.dumps({"lr": self.lr, "by": self.by, "base": self.base._values(), "layers": layers})

    def __repr__(self) -> str:
        return f"<layerwise.FoundRates: lr {self.lr:.3g} by {self.by}, {len(self.layers)} layers>"


def find_rates(
    opt: Searched,
    closure: Closure,
    *,
    lowest: float = 1e-7,
    highest: float = 10.0,
    steps: int = 100,
    repeats: int = 3,
    by: Suggestion = "steep",
    layers: Collection[str] | None = None,
    trials: int = 7,
    trial_steps: int = 2,
    between: tuple[float, float] = (0.1, 100.0),
    progress: bool = False,
) -> FoundRates:
    """Find a base rate and the rate of every layer, by training a little and putting everything back.

    First the base rate rises at every step of a run, with the layers in their ratios.  Then each layer is tried at some
    rates around the one that was found while the others are held at theirs: each trial begins from the same bits and
    takes a few steps.  Layers and rates take turns, so that all see the same stretch of batches.  Schedules are taken
    off meanwhile; freezing plans and frozen layers stay.

    It calls the closure at most repeats * (steps + layers * trials * (trial_steps + 1)) times.  Afterwards the
    optimizer is as it was, bit for bit.  What else the closure changes, such as its place among the batches, random
    generators and gradient buffers, is not put back.

    Args:
        opt: The optimizer.
        closure: Computes gradients for the parameters as they are, in the registered buffers, and returns the loss.  A
            closure that takes an argument gets the number of a batch, counted from 0; all trials of a repeat then see
            the same batches, and differ by their rates alone.
        lowest: The first rate of the sweep.
        highest: Where the sweep would end.  It ends before if the loss is 4 times its lowest.
        steps: Steps of the sweep.
        repeats: How often to do all of it, with other batches.
        by: Which suggestion says the base rate; where the sweep has none, another one, or the optimizer's own rate.
        layers: Names of the layers to try.  Default: all that train; an empty list for the sweep alone.
        trials: How many rates each layer is tried at.
        trial_steps: Steps of a trial.
        between: The lowest and the highest of these rates, as factors of the rate at which the layer is held.
        progress: Show a progress bar; needs `rich`.

    Returns:
        Curves and suggestions.
    """
    plan = Plan(lowest, highest, steps, repeats, by, layers, trials, trial_steps, between, progress)
    return search(Subject(opt, closure), plan)


@dataclass(frozen=True)
class _Place:
    """A layer, with its parts."""

    name: str
    indices: list[int]
    bases: list[float]
    scale: float
    trains: bool


@dataclass(frozen=True)
class Plan:
    """The arguments of `find_rates`."""

    lowest: float
    highest: float
    steps: int
    repeats: int
    by: Suggestion
    layers: Collection[str] | None
    trials: int
    trial_steps: int
    between: tuple[float, float]
    progress: bool

    def check(self) -> None:
        """Refuse what cannot be."""
        if self.by not in _SUGGESTIONS or self.by == "spread":
            raise UnknownName(f"by must be one of {', '.join(_SUGGESTIONS[:-1])}, found {self.by!r}")
        if self.repeats < 1 or self.trial_steps < 1:
            raise InvalidArgument(
                f"repeats and trial_steps must be at least 1, found {self.repeats} and {self.trial_steps}"
            )
        low, high = self.between
        rates_between("trials", low, high, self.trials)


def search(subject: Subject, plan: Plan) -> FoundRates:
    """See `find_rates`."""
    with subject.restored():
        plan.check()
        rates = rates_between("sweep", plan.lowest, plan.highest, plan.steps)
        places, reference = _look(subject)
        tried = _tried(places, plan.layers)
        total = plan.repeats * (plan.steps + len(tried) * plan.trials * (plan.trial_steps + 1))
        with Progress(plan.progress, total, "finding rates") as bar:
            losses = [_sweep(subject, places, reference, rates, repeat, bar) for repeat in range(plan.repeats)]
            base = Curve.of("sweep", rates, losses)
            lr, by = _base_rate(base, plan.by, reference)
            held = {place.name: place.bases[0] / reference * lr * place.scale for place in places if place.trains}
            low, high = plan.between
            grids = {
                place.name: rates_between("trials", held[place.name] * low, held[place.name] * high, plan.trials)
                for place in tried
            }
            table = _trials(subject, plan, places, tried, grids, lr / reference, bar)
    curves = {name: Curve.of("trials", grid, table[name]) for name, grid in grids.items()}
    own = {place.name: place.bases[0] for place in places if place.bases[0] != reference}
    return FoundRates(lr, by, base, curves, held, own)


def _trials(
    subject: Subject,
    plan: Plan,
    places: Sequence[_Place],
    tried: Sequence[_Place],
    grids: Mapping[str, Sequence[float]],
    factor: float,
    bar: Progress,
) -> dict[str, list[list[float]]]:
    """The losses after the trials of each layer, by repeat and rate; NaN where higher rates were left out."""
    table = {place.name: [[math.nan] * plan.trials for _ in range(plan.repeats)] for place in tried}
    for repeat in range(plan.repeats):
        batch = plan.repeats * plan.steps + repeat * (plan.trial_steps + 1)
        ended: set[str] = set()
        for position in range(plan.trials):
            for place in tried:
                if place.name not in ended:
                    rates = _rates(places, factor)
                    for index, base in zip(place.indices, place.bases, strict=True):
                        rates[index] = grids[place.name][position] / place.scale * (base / place.bases[0])
                    first, last = _try(subject, rates, batch, plan.trial_steps)
                    table[place.name][repeat][position] = last
                    if not last <= 4 * abs(first):
                        ended.add(place.name)
                bar.advance(plan.trial_steps + 1)
    return table


def _look(subject: Subject) -> tuple[list[_Place], float]:
    """The layers with their rates, and the rate that they are ratios of."""
    subject.take_off_schedules()
    rows = subject.native.explain_rows()
    groups = getattr(subject.optimizer, "param_groups", None)
    reference = float(groups[0]["lr"]) if groups else subject.native.lr
    bases = [float(row["base_lr"]) for row in rows]
    if not any(bases):
        # A scheduler outside has begun at 0, so that nothing is known of ratios.
        bases, reference = [1.0] * len(rows), 1.0
    elif not reference:
        reference = max(bases)
    places: dict[str, _Place] = {}
    for index, row in enumerate(rows):
        name = row["part_of"] or row["layer"]
        if name not in places:
            trains = not row["frozen"] and row["scale"] > 0 and bases[index] > 0
            places[name] = _Place(name, [], [], row["scale"], trains)
        places[name].indices.append(index)
        places[name].bases.append(bases[index])
    return list(places.values()), reference


def _tried(places: Sequence[_Place], layers: Collection[str] | None) -> list[_Place]:
    if isinstance(layers, str):
        raise TypeError("layers: expected a list of names, found text")
    names = {place.name for place in places}
    for name in layers or ():
        if name not in names:
            raise UnknownName(f'no layer is called "{name}", expected one of {", ".join(sorted(names))}')
    return [place for place in places if place.trains and (layers is None or place.name in layers)]


def _rates(places: Sequence[_Place], factor: float) -> list[float]:
    """The base rate of every layer by index, all in their ratios."""
    rates = {index: base * factor for place in places for index, base in zip(place.indices, place.bases, strict=True)}
    return [rates[index] for index in range(len(rates))]


def _sweep(
    subject: Subject, places: Sequence[_Place], reference: float, rates: Sequence[float], repeat: int, bar: Progress
) -> list[float]:
    """The loss before each step of a run whose rate rises; NaN after its end."""
    subject.restore()
    subject.take_off_schedules()
    losses: list[float] = []
    for position, rate in enumerate(rates):
        subject.set_rates(_rates(places, rate / reference))
        losses.append(subject.loss(repeat * len(rates) + position))
        bar.advance()
        if has_diverged(losses, len(rates)) or not subject.step():
            break
    missing = len(rates) - len(losses)
    bar.advance(missing)
    return losses + [math.nan] * missing


def _try(subject: Subject, rates: Sequence[float], batch: int, steps: int) -> tuple[float, float]:
    """The losses before and after some steps with these rates."""
    subject.restore()
    subject.take_off_schedules()
    subject.set_rates(rates)
    losses = []
    for step in range(steps):
        losses.append(subject.loss(batch + step))
        if not math.isfinite(losses[-1]) or not subject.step():
            return losses[0], math.nan
    return losses[0], subject.loss(batch + steps)


def _base_rate(base: Curve, by: str, reference: float) -> tuple[float, str]:
    for name in (by, "steep", "valley", "minimum", "lightning"):
        rate = base.suggestions[name]
        if rate is not None:
            return rate, name
    return reference, "lr"
