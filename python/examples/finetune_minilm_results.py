# SPDX-License-Identifier: Apache-2.0
"""The numbers of fine-tuning MiniLM: what was measured, which rates validation chooses, and their table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from rich.table import Table

from experiment_report import Accuracies, Comparison, empty_table, marked


@dataclass(frozen=True)
class Results:
    """Accuracies from 0 to 1; the first of the ways is one rate."""

    examples: Sequence[int]  # of each class
    ways: Sequence[str]
    rates: Sequence[float]
    validation: Accuracies  # by examples, way, rate and seed
    test: Accuracies  # by examples, way and seed, of other seeds, at the rate that validation chooses

    @staticmethod
    def empty(
        examples: Sequence[int], ways: Sequence[str], rates: Sequence[float], choosing: int, testing: int
    ) -> Results:
        """Results to be filled in, of so many seeds to choose a rate and so many to test it."""
        shape = len(examples), len(ways)
        validation, test = np.empty((*shape, len(rates), choosing)), np.empty((*shape, testing))
        return Results(examples, ways, rates, validation, test)

    def rate(self, size: int, way: int) -> float:
        """The base rate with the best mean accuracy on validation sentences; the lowest of several."""
        return self.rates[int(self.validation[size, way].mean(axis=-1).argmax())]

    def compare(self) -> list[Comparison]:
        """Every layer-wise way against one rate, on test sentences, in pairs of the same seed."""
        comparisons = []
        for size, examples in enumerate(self.examples):
            for way, name in list(enumerate(self.ways))[1:]:
                comparison = Comparison.of(f"{examples:>2} examples", name, self.test[size, way], self.test[size, 0])
                comparisons.append(comparison)
        return comparisons


def accuracy_table(results: Results) -> Table:
    """One row a number of examples and a way: validation accuracy by rate, and test accuracy; the best has a star."""
    table = empty_table(
        "Accuracy in %: on validation sentences by base rate, the best chosen,\n"
        "and with it on test sentences (mean ± standard deviation)"
    )
    table.add_column("examples\nof each class", justify="right")
    table.add_column("")
    for rate in results.rates:
        table.add_column(f"{rate:.0e}", justify="right", vertical="bottom")
    table.add_column("test  ", justify="right", vertical="bottom")
    for size, examples in enumerate(results.examples):
        best = results.test[size].mean(axis=-1).max()
        for way, name in enumerate(results.ways):
            is_last = way == len(results.ways) - 1
            table.add_row(
                "" if way else str(examples),
                name,
                *_validation_cells(results, size, way),
                marked(results.test[size, way], best),
                end_section=is_last,
            )
    return table


def _validation_cells(results: Results, size: int, way: int) -> list[str]:
    texts = [f"{100 * accuracies.mean():.0f}" for accuracies in results.validation[size, way]]
    chosen = results.rates.index(results.rate(size, way))
    texts[chosen] = f"[bold]{texts[chosen]}[/]"
    return texts
