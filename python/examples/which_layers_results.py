# SPDX-License-Identifier: Apache-2.0
"""The numbers of "which layers should learn?": what was measured, what validation chooses, and what it comes to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from rich import box
from rich.table import Table

Accuracies = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Comparison:
    """For one change: by how much a layer-wise way is better than one rate."""

    change: str
    way: str
    gain: float
    error: float  # standard error of the gain

    @property
    def verdict(self) -> str:
        """Who wins; a gain of at most two standard errors is a tie."""
        if abs(self.gain) <= 2 * self.error:
            return "tie"
        return "layer-wise" if self.gain > 0 else "one rate"


@dataclass(frozen=True)
class Results:
    """Accuracies from 0 to 1, of all runs."""

    changes: Sequence[str]
    ways: Sequence[str]
    rates: Sequence[float]
    unchanged: Accuracies  # of the pretrained network, by seed
    before: Accuracies  # by change and seed
    validation: Accuracies  # by change, way, rate and seed
    test: Accuracies  # likewise

    @staticmethod
    def empty(changes: Sequence[str], ways: Sequence[str], rates: Sequence[float], seeds: int) -> Results:
        """Results to be filled in."""
        shape = len(changes), len(ways), len(rates), seeds
        before = np.empty((len(changes), seeds))
        return Results(changes, ways, rates, np.empty(seeds), before, np.empty(shape), np.empty(shape))

    def rate(self, change: int, way: int) -> float:
        """The base rate with the best mean accuracy on validation images."""
        return self.rates[self._chosen(change, way)]

    def after(self, change: int, way: int) -> Accuracies:
        """Accuracy on test images at that rate, by seed."""
        accuracies: Accuracies = self.test[change, way, self._chosen(change, way)]
        return accuracies

    def best_way(self, change: int, ways: Iterable[int]) -> int:
        """The one of ``ways`` with the best mean accuracy on validation images."""
        return max(ways, key=lambda way: float(self.validation[change, way].mean(axis=-1).max()))

    def compare(self, one_rate: int) -> list[Comparison]:
        """The layer-wise way that validation chooses against one rate, on test images, in pairs of the same seed."""
        layer_wise = [way for way in range(len(self.ways)) if way != one_rate]
        comparisons = []
        for change, name in enumerate(self.changes):
            way = self.best_way(change, layer_wise)
            gains = self.after(change, way) - self.after(change, one_rate)
            error = gains.std(ddof=1) / np.sqrt(len(gains))
            comparisons.append(Comparison(name, self.ways[way], float(gains.mean()), float(error)))
        return comparisons

    def _chosen(self, change: int, way: int) -> int:
        return int(self.validation[change, way].mean(axis=-1).argmax())


def accuracy_table(results: Results) -> Table:
    """One column a change: accuracy before, then for each way accuracy and base rate; the best has a star."""
    table = Table(
        title="Test accuracy in % (mean ± standard deviation), and the base rate chosen",
        caption=f"On unchanged images the pretrained network reaches {_percent(results.unchanged)} %.",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column()
    for change in results.changes:
        table.add_column(change.replace(" ", "\n"), justify="right")
    table.add_row("before", *(f"{_percent(accuracies)}  " for accuracies in results.before), end_section=True)
    for way, name in enumerate(results.ways):
        cells = [_cell(results, change, way) for change in range(len(results.changes))]
        table.add_row(f"{name}\n[dim]  base rate[/]", *cells)
    return table


def conclusion(comparisons: Sequence[Comparison]) -> str:
    """What the numbers say, in words."""
    lines = [
        "The layer-wise way that validation likes best, less one rate: difference in test",
        "accuracy, mean ± standard error.  Up to two standard errors are a tie.",
    ]
    for item in comparisons:
        difference = f"{100 * item.gain:+.1f} ± {100 * item.error:.1f}"
        lines.append(f"  {item.change:<17}{item.way:<19}{difference:>12}  {item.verdict}")
    verdicts = [item.verdict for item in comparisons]
    lines.append(
        f"Of {len(verdicts)} changes, {verdicts.count('layer-wise')} go to a layer-wise way, "
        f"{verdicts.count('one rate')} to one rate, and {verdicts.count('tie')} to neither."
    )
    return "\n".join(lines)


def _cell(results: Results, change: int, way: int) -> str:
    means = [results.after(change, other).mean() for other in range(len(results.ways))]
    text = _percent(results.after(change, way))
    marked = f"[bold green]{text} *[/]" if means[way] == max(means) else f"{text}  "
    return f"{marked}\n[dim]{results.rate(change, way):.0e}[/]  "


def _percent(accuracies: Accuracies) -> str:
    return f"{100 * accuracies.mean():.1f} ± {100 * accuracies.std(ddof=1):.1f}"
