# SPDX-License-Identifier: Apache-2.0
"""How much the base rate matters: the numbers of a wide grid of rates, their table, and what they say.

A layer decay lowers the mean rate of all weights, and a lower rate alone makes a run more stable.  Therefore ways are
compared twice: at the same base rate, and at the same mean rate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from rich.table import Table

from experiment_report import Accuracies, Comparison, empty_table, spread

NEAR = 0.95  # of the best mean accuracy
FALLEN = 2.0  # times chance: a run that is not more accurate has learned nothing
POINTS = 200  # at which curves are compared, evenly over the logarithm of the rate


@dataclass(frozen=True)
class Span:
    """Rates from the lowest to the highest; the grid may end before the accuracy falls."""

    low: float
    high: float
    is_open_below: bool
    is_open_above: bool

    @property
    def decades(self) -> float:
        """The width."""
        return float(np.log10(self.high / self.low))

    def __str__(self) -> str:
        """The width, as what it is at least where the grid ends."""
        return f"{'≥ ' if self.is_open_below or self.is_open_above else ''}{self.decades:.1f}"


@dataclass(frozen=True)
class Stability:
    """Test accuracies from 0 to 1 over a grid of base rates, which ascend; the first of the ways is one rate."""

    examples: int  # of each class
    classes: int
    ways: Sequence[str]
    shares: Sequence[float]  # by way: the mean rate of all weights, as a share of the base rate
    rates: Sequence[float]
    accuracies: Accuracies  # by way, rate and seed

    @staticmethod
    def empty(
        examples: int, classes: int, ways: Sequence[str], shares: Sequence[float], rates: Sequence[float], seeds: int
    ) -> Stability:
        """To be filled in."""
        return Stability(examples, classes, ways, shares, rates, np.empty((len(ways), len(rates), seeds)))

    @property
    def means(self) -> npt.NDArray[np.float64]:
        """Of the seeds, by way and rate."""
        means: npt.NDArray[np.float64] = self.accuracies.mean(axis=-1)
        return means

    @property
    def enough(self) -> float:
        """The mean accuracy that counts as near the best of all ways and rates."""
        return NEAR * float(self.means.max())

    @property
    def fallen(self) -> npt.NDArray[np.int64]:
        """How many runs ended near chance, by way and rate."""
        counts: npt.NDArray[np.int64] = (self.accuracies <= FALLEN / self.classes).sum(axis=-1)
        return counts

    def mean_rates(self, way: int) -> npt.NDArray[np.float64]:
        """The mean rates of all weights."""
        return self.shares[way] * np.array(self.rates)

    def near_the_best(self, way: int) -> Span | None:
        """The base rates around the best of a way that are near the best of all; None if the way's best is not.

        Between two rates of the grid the mean accuracy is taken as a line over the logarithm of the rate.
        """
        means, places = self.means[way], np.log10(self.rates)
        low = high = int(means.argmax())
        if means[low] < self.enough:
            return None
        while low > 0 and means[low - 1] >= self.enough:
            low -= 1
        while high < len(means) - 1 and means[high + 1] >= self.enough:
            high += 1
        edges = []
        for inside, outside in ((low, low - 1), (high, high + 1)):
            edge = places[inside]
            if 0 <= outside < len(means):
                part = (means[inside] - self.enough) / (means[inside] - means[outside])
                edge += part * (places[outside] - places[inside])
            edges.append(float(10**edge))
        return Span(edges[0], edges[1], low == 0, high == len(means) - 1)

    def highest_safe(self, way: int) -> float | None:
        """The highest base rate up to which no run ended near chance, from the best one on; None if one did there."""
        best = int(self.means[way].argmax())
        safe = [
            rate for rate, count in enumerate(self.fallen[way]) if count == 0 and not self.fallen[way, best:rate].any()
        ]
        return self.rates[safe[-1]] if safe and safe[-1] >= best else None

    def best(self, way: int) -> Comparison:
        """The accuracy at the best rate of a way, less that at the best of one rate, in pairs of the same seed."""
        one, other = (self.accuracies[index, self.means[index].argmax()] for index in (0, way))
        return Comparison.of("the best of the grid", self.ways[way], other, one)

    def at_the_same(self, way: int, *, mean: bool) -> Comparison:
        """The accuracy of a way less that of one rate, on average over the rates that both have, in pairs of a seed.

        Args:
            way: Its index.
            mean: Whether rates are the mean of all weights; if not, base rates.
        """
        shares = self.shares if mean else [1.0] * len(self.ways)
        places = [np.log10(share * np.array(self.rates)) for share in (shares[0], shares[way])]
        points = np.linspace(max(one[0] for one in places), min(one[-1] for one in places), POINTS)
        one, other = (
            np.array([np.interp(points, own, accuracies).mean() for accuracies in self.accuracies[index].T])
            for own, index in zip(places, (0, way), strict=True)
        )
        return Comparison.of(f"the same {'mean' if mean else 'base'} rate", self.ways[way], other, one)

    def compare(self) -> list[Comparison]:
        """Every other way against one rate: at the best rate of each, at the same base rate, at the same mean rate."""
        ways = range(1, len(self.ways))
        return [
            *(self.best(way) for way in ways),
            *(self.at_the_same(way, mean=False) for way in ways),
            *(self.at_the_same(way, mean=True) for way in ways),
        ]


def stability_table(stability: Stability) -> Table:
    """Two rows a way: accuracy by base rate and the range near the best, and how many runs ended near chance."""
    seeds = stability.accuracies.shape[-1]
    table = empty_table(
        f"Test accuracy in % by base rate, {stability.examples} examples of each class\n"
        f"(mean ± standard deviation of {seeds} seeds), and the range of rates\n"
        f"whose mean is at least {NEAR:.0%} of the best, in decades",
        f"Near chance: at most {FALLEN / stability.classes:.0%}, twice what guessing gives.",
    )
    table.add_column("")
    for rate in stability.rates:
        table.add_column(f"{rate:.0e}", justify="right", vertical="bottom")
    table.add_column("decades", justify="right", vertical="bottom")
    best = stability.means.max()
    for way, name in enumerate(stability.ways):
        cells = []
        for accuracies in stability.accuracies[way]:
            text = spread(accuracies).replace(" ", "\n", 1)
            cells.append(f"[bold green]{text}[/]" if accuracies.mean() == best else text)
        table.add_row(name, *cells, str(stability.near_the_best(way) or "none"))
        counts = (f"{count} of {seeds}" if count else "·" for count in stability.fallen[way])
        table.add_row("  near chance", *counts, f"{stability.fallen[way].sum()}", end_section=True)
    return table


def in_words(stability: Stability) -> str:
    """How far the decays lower the mean rate, what that explains, and what remains."""
    lines = [
        "How high each way can go, in base rates and in mean rates of all weights:",
    ]
    for way, name in enumerate(stability.ways):
        share, safe = stability.shares[way], stability.highest_safe(way)
        if safe is None:
            reaches = "some runs end near chance at its best rate"
        else:
            reaches = f"no run ends near chance up to {safe:.0e}, a mean rate of {share * safe:.1e}"
        lines.append(f"  {name}: {reaches} ({share:.2f} of the base rate).")
    lines += [
        "Each decay, less one rate: difference in test accuracy, mean ± standard error.  Up to two standard errors",
        "are a tie.  At the same rate: on average over the rates that both have, with lines between those of the grid.",
    ]
    comparisons = stability.compare()
    situations = max(len(item.situation) for item in comparisons)
    ways = max(len(item.way) for item in comparisons)
    for item in comparisons:
        difference = f"{100 * item.gain:+.1f} ± {100 * item.error:.1f}"
        lines.append(f"  {item.situation:<{situations}}  {item.way:<{ways}}{difference:>14}  {item.verdict}")
    for way in range(1, len(stability.ways)):
        lines.append(_what_remains(stability, way))
    return "\n".join(lines)


def _what_remains(stability: Stability, way: int) -> str:
    name, base, same = stability.ways[way], *(stability.at_the_same(way, mean=mean) for mean in (False, True))
    if base.verdict != "layer-wise":
        return f"{name} is not better than one rate at the same base rate, so there is nothing to explain."
    if same.verdict == "layer-wise":
        return (
            f"{name}: of its gain of {100 * base.gain:.1f} points at the same base rate, {100 * same.gain:.1f} "
            "remain at the same mean rate."
        )
    left = "it is a tie" if same.verdict == "tie" else "one rate is better"
    return f"{name}: its gain at the same base rate is that of a lower mean rate; at the same mean rate {left}."
