# SPDX-License-Identifier: Apache-2.0
"""The numbers of "which layers should learn?": what was measured, what validation chooses, and the table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from rich.table import Table

from experiment_report import Accuracies, Comparison, empty_table, marked, spread


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
            accuracies = self.after(change, way), self.after(change, one_rate)
            comparisons.append(Comparison.of(name, self.ways[way], *accuracies))
        return comparisons

    def _chosen(self, change: int, way: int) -> int:
        return int(self.validation[change, way].mean(axis=-1).argmax())


def accuracy_table(results: Results) -> Table:
    """One column a change: accuracy before, then for each way accuracy and base rate; the best has a star."""
    table = empty_table(
        "Test accuracy in % (mean ± standard deviation), and the base rate chosen",
        f"On unchanged images the pretrained network reaches {spread(results.unchanged)} %.",
    )
    table.add_column()
    for change in results.changes:
        table.add_column(change.replace(" ", "\n"), justify="right")
    table.add_row("before", *(f"{spread(accuracies)}  " for accuracies in results.before), end_section=True)
    for way, name in enumerate(results.ways):
        cells = [_cell(results, change, way) for change in range(len(results.changes))]
        table.add_row(f"{name}\n[dim]  base rate[/]", *cells)
    return table


def _cell(results: Results, change: int, way: int) -> str:
    best = max(results.after(change, other).mean() for other in range(len(results.ways)))
    return f"{marked(results.after(change, way), best)}\n[dim]{results.rate(change, way):.0e}[/]  "
