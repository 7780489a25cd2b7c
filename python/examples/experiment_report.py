# SPDX-License-Identifier: Apache-2.0
"""What an experiment prints: how far it has come, accuracies with their spread, and whether one rate was beaten."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

Accuracies = npt.NDArray[np.float64]  # from 0 to 1; the last dimension is the seed


@dataclass(frozen=True)
class Comparison:
    """In one situation: by how much a layer-wise way is better than one rate."""

    situation: str
    way: str
    gain: float
    error: float  # standard error of the gain

    @staticmethod
    def of(situation: str, way: str, accuracies: Accuracies, with_one_rate: Accuracies) -> Comparison:
        """The two ways in pairs of the same seed."""
        gains = accuracies - with_one_rate
        return Comparison(situation, way, float(gains.mean()), float(gains.std(ddof=1) / np.sqrt(len(gains))))

    @property
    def verdict(self) -> str:
        """The winner; a gain of at most two standard errors is a tie."""
        if abs(self.gain) <= 2 * self.error:
            return "tie"
        return "layer-wise" if self.gain > 0 else "one rate"


def conclusion(who: str, comparisons: Sequence[Comparison]) -> str:
    """What the numbers say, in words.

    Args:
        who: Is compared with one rate, as a sentence begins.
        comparisons: At least one.
    """
    lines = [
        f"{who}, less one rate: difference in test",
        "accuracy, mean ± standard error.  Up to two standard errors are a tie.",
    ]
    situations = max(len(item.situation) for item in comparisons)
    ways = max(len(item.way) for item in comparisons)
    for item in comparisons:
        difference = f"{100 * item.gain:+.1f} ± {100 * item.error:.1f}"
        lines.append(f"  {item.situation:<{situations}}  {item.way:<{ways}}{difference:>14}  {item.verdict}")
    verdicts = [item.verdict for item in comparisons]
    lines.append(
        f"Of {len(verdicts)} comparisons, {verdicts.count('layer-wise')} go to a layer-wise way, "
        f"{verdicts.count('one rate')} to one rate, and {verdicts.count('tie')} to neither."
    )
    return "\n".join(lines)


def spread(accuracies: Accuracies) -> str:
    """Mean and standard deviation in %."""
    return f"{100 * accuracies.mean():.1f} ± {100 * accuracies.std(ddof=1):.1f}"


def marked(accuracies: Accuracies, best: float) -> str:
    """Mean and spread as text, with a star if the mean is the best."""
    text = spread(accuracies)
    return f"[bold green]{text} *[/]" if accuracies.mean() == best else f"{text}  "


def empty_table(title: str, caption: str | None = None) -> Table:
    """A table without columns."""
    return Table(title=title, caption=caption, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))


def progress_bar(console: Console) -> Progress:
    """A bar with a count, the time taken and the time left."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
    )


def say(console: Console, *texts: str) -> None:
    """Print texts as they are."""
    for text in texts:
        console.print(text, markup=False, highlight=False, soft_wrap=True)
