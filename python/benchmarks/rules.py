# SPDX-License-Identifier: Apache-2.0
"""Every rule of the library, for the case that compares them by the bytes that they move."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

import layerwise as lw

from .results import CaseResult
from .stream import ONE_MOMENT_AND_ROOT, TWO_MOMENTS_AND_ROOTS, Look, Traffic

WITHOUT = ("muon",)
"""Rules whose time is not that of memory."""


def all_rules() -> dict[str, lw.Rule]:
    """A rule of each kind, with its defaults but SGD with momentum, by the name of its class."""
    rules = (lw.rule_by_name(entry["name"]) for entry in lw.rules() if entry["name"] not in WITHOUT)
    named = {type(rule).__name__: rule for rule in rules}
    return named | {"SGD": lw.SGD(momentum=0.9)}


def elementwise() -> list[str]:
    """The rules that go over their arrays once, and keep no sums or maxima by row and column."""
    once = {entry["name"] for entry in lw.rules() if not entry["has_sums"] and not entry["depends_on_axes"]}
    return [name for name, rule in all_rules().items() if rule.name in once]


@dataclass(frozen=True)
class Limit:
    """The plain loop that a rule is compared with: over as many arrays, with the same roots and quotients.

    Attributes:
        traffic: The arrays.
        looks: Whether parameters and gradients are read once before.
    """

    traffic: Traffic
    looks: bool

    @property
    def name(self) -> str:
        """How tables call the loop."""
        arrays = _count(self.traffic.moments, "moment")
        if self.traffic.copies:
            arrays += " and a copy"
        if self.traffic in _ROOTS.values():
            arrays += ", roots"
        return f"loop, {arrays}{', after a look' if self.looks else ''}"

    @property
    def plain(self) -> Limit:
        """The same without roots."""
        return Limit(Traffic(self.traffic.moments, self.traffic.copies), self.looks)

    @property
    def look(self) -> Look | None:
        """What its loop reads before."""
        return Look(weights=True) if self.looks else None

    @property
    def bytes_per_parameter(self) -> int:
        """Reads and writes together."""
        return self.traffic.bytes_per_parameter + (8 if self.looks else 0)


_ROOTS = {"RMSprop": ONE_MOMENT_AND_ROOT, "Adagrad": ONE_MOMENT_AND_ROOT, "Adadelta": TWO_MOMENTS_AND_ROOTS}
"""Rules that wait for the divider where memory is fast: they move few bytes for each root and quotient."""


def limit(name: str, rule: lw.Rule) -> Limit:
    """The loop for a rule, from the states that it has and those that its steps leave alone."""
    side, steps = 64, 20
    entry = next(entry for entry in lw.rules() if entry["name"] == rule.name)
    loss = 1.0 if entry["needs_loss"] else None
    random = np.random.default_rng(0)
    weights, gradients = (random.standard_normal((side, side), np.float32) for _ in range(2))
    with lw.Optimizer(rule) as optimizer:
        layer = optimizer.add_layer("layer", weights, grads=gradients)

        def states() -> dict[str, NDArray[np.float32]]:
            whole = {key: state for key, state in layer.states()["weight"].items() if state.count == side * side}
            return {key: np.asarray(layer.read_state("weight", key)).copy() for key in whole}

        for _ in range(steps):
            before = states()
            gradients[:] = random.standard_normal(gradients.shape, np.float32)
            optimizer.step(loss=loss)
        copies = sum(np.array_equal(before[key], values) for key, values in states().items())
        moments = len(before) - copies
    return Limit(_ROOTS.get(name) or Traffic(moments, copies), entry["has_sums"])


def markdown(result: CaseResult) -> str:
    """The table of docs/benchmarks.md, of the case `every_rule`."""
    lines = ["| rule | of the limit | ms | times of the peer | the limit |", "|---|---|---|---|---|"]
    shares = {name: share.median for name in all_rules() if (share := result.of_limit(name)) is not None}
    for name in sorted(shares, key=lambda name: -shares[name]):
        milliseconds = 1e3 * result.rows[name].seconds.median
        peer = f"{name}, peer"
        faster = f"{result.ratio(peer, name).median:.1f}" if peer in result.rows else "-"
        loop = result.limits[name].removeprefix("loop, ")
        lines.append(f"| {name} | {shares[name]:.2f} | {milliseconds:.1f} | {faster} | {loop} |")
    return "\n".join(lines)


def _count(number: int, noun: str) -> str:
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"
