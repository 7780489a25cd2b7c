# SPDX-License-Identifier: Apache-2.0
"""Can the rates of a language model's layers find themselves?

MiniLM learns to recognise the subject of a sentence from ten examples of each class, as in finetune_minilm.py.  Each
measured policy runs at its defaults, beside one rate for all layers and beside layer decays, which a person would
choose by hand.  All ways get the same steps and the same grid of base rates (L-DoG, which finds the rate itself, the
rate 1); validation sentences choose one, and the table shows the accuracy on test sentences.  Beside them stand the
rates that the finder suggests, which sees the examples alone.

    python python/examples/auto_rates_text.py --help
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch.nn.functional import cross_entropy

import finetune_minilm as minilm
import finetune_minilm_data as data
import layerwise as lw
from auto_rates_figure import Scales, draw
from experiment_report import Accuracies, Comparison, empty_table, marked, progress_bar, say, spread
from finetune_minilm import BATCH, optimizer_for, workbench, workers
from finetune_minilm_data import Sentences
from finetune_minilm_model import Classifier
from layerwise.torch import AdamW, find_rates

EXAMPLES = 10  # of each class
RATES = (3e-4, 1e-3, 3e-3)
PARTS = 4  # micro-batches of a step, for gradient noise
SPECTRA_EVERY = 20
FINDER_STEPS, FINDER_REPEATS, FINDER_TRIALS = 100, 2, 5
QUICK_RATES, QUICK_SEEDS, QUICK_STEPS = (1e-3,), 2, 4
QUICK_FINDER = 16, 1, 2


@dataclass(frozen=True)
class Way(minilm.Way):
    """A way to fine-tune.

    Attributes:
        rates: Base rates to choose from, where they are not the grid's.
        parts: Micro-batches of a step, which are measured; 1: none is.
        spectra: Whether singular values are looked at every now and then.
    """

    rates: Sequence[float] = field(default=())
    parts: int = 1
    spectra: bool = False


ONE_RATE = Way("one rate", lw.Uniform())
BY_HAND = (Way("decay 0.75", lw.LayerDecay(0.75)), Way("decay 0.5", lw.LayerDecay(0.5)))
MEASURED = (
    Way("relative gradient norm", lw.RelativeGradientNorm()),
    Way("  as published, power 1", lw.RelativeGradientNorm(1)),
    Way("update ratio", lw.UpdateRatio()),
    Way("  0.01", lw.UpdateRatio(1e-2)),
    Way("LARC", lw.LARC()),
    Way("hypergradient", lw.Hypergradient()),
    Way("sign agreement", lw.SignAgreement()),
    Way("L-DoG as a scale", lw.LDoGScale(), rates=(1.0,)),
    Way("gradient noise", lw.GradientNoise(), parts=PARTS),
    Way("AutoLR", lw.AutoLR()),
    Way("TempBalance", lw.TempBalance(), spectra=True),
    Way("AlphaDecay", lw.AlphaDecay(), spectra=True),
)
WAYS = (ONE_RATE, *BY_HAND, *MEASURED)
FOUND = ("one rate, the finder's", "a rate for each layer, the finder's")


class Run(NamedTuple):
    """One fine-tuning in the way of this index; None: with the rates that the finder suggests."""

    way: int | None
    rate: float
    seed: int
    steps: int
    finder: tuple[int, int, int] = FINDER_STEPS, FINDER_REPEATS, FINDER_TRIALS


class Outcome(NamedTuple):
    """How well a run ended.

    Accuracies on validation and test sentences (of both ways of the finder, and no validation), the base rate, and the
    scale of each layer at every step.
    """

    validation: float
    test: tuple[float, ...]
    rate: float
    layers: list[str]
    scales: list[list[float]]


def perform(run: Run) -> Outcome:
    """Fine-tune once, from the pretrained weights."""
    corpus, network, _ = workbench()
    drawn = data.draw(corpus, run.seed)
    if run.way is not None:
        optimizer, scales = fine_tuned(WAYS[run.way], run.rate, run.seed, run.steps)
        accuracies = network.accuracy(drawn.validation), (network.accuracy(corpus.test),)
        return Outcome(*accuracies, run.rate, list(optimizer.native.layers), scales)
    found = suggestion(run)
    tests = []
    for policy in (lw.Uniform(), found.policy()):
        fine_tuned(Way("", policy), found.lr, run.seed, run.steps)
        tests.append(network.accuracy(corpus.test))
    return Outcome(np.nan, tuple(tests), found.lr, [], [])


def fine_tuned(way: Way, rate: float, seed: int, steps: int) -> tuple[AdamW, list[list[float]]]:
    """Fine-tunes the network of the workbench; returns its optimizer, and the scale of each layer at each step."""
    network, batches = fresh(seed)
    optimizer, scales = optimizer_for(network, way, rate, steps), []
    for step, batch in enumerate(islice(batches, steps)):
        scales.append([row["scale"] for row in optimizer.native.explain_rows()])
        if way.spectra and step % SPECTRA_EVERY == 0:
            optimizer.measure_spectra()
        optimizer.zero_grad()
        for part in range(way.parts):
            some = batch.take(torch.arange(part, len(batch), way.parts))
            (loss(network, some) * (len(some) / len(batch))).backward()
            if way.parts > 1:
                optimizer.measure_microbatch()
        optimizer.step()
    return optimizer, scales


def fresh(seed: int) -> tuple[Classifier, Iterator[Sentences]]:
    """The network of the workbench with pretrained weights and a random head, and batches of the examples."""
    corpus, network, weights = workbench()
    network.load_state_dict(weights)
    torch.manual_seed(seed)
    network.head.reset_parameters()
    examples = data.draw(corpus, seed).examples(EXAMPLES)
    return network, examples.random_batches(BATCH, torch.Generator().manual_seed(seed))


def suggestion(run: Run) -> lw.FoundRates:
    """What the finder says of the examples."""
    network, batches = fresh(run.seed)
    steps, repeats, trials = run.finder
    optimizer = optimizer_for(network, ONE_RATE, RATES[0], run.steps)
    some = list(islice(batches, steps))
    return find_rates(network, optimizer, some, loss, steps=steps, repeats=repeats, trials=trials)


def loss(network: Classifier, batch: Sentences) -> torch.Tensor:
    """The mean cross-entropy."""
    return cross_entropy(network(batch.tokens), batch.labels)


# ---- What came out --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Results:
    """Of each way the outcomes at the base rate that validation sentences like best, by seed; and of the finder."""

    chosen: Sequence[Sequence[Outcome]]
    found: Sequence[Outcome]

    def after(self, way: int) -> Accuracies:
        """The accuracy on test sentences, by seed."""
        return np.array([outcome.test[0] for outcome in self.chosen[way]])

    def validation(self, way: int) -> float:
        """The mean accuracy on validation sentences."""
        return float(np.mean([outcome.validation for outcome in self.chosen[way]]))


def chosen(runs: Sequence[Run], outcomes: Iterable[Outcome]) -> Results:
    """The runs at the best rates."""
    by_rate: dict[tuple[int | None, float], list[Outcome]] = {}
    for run, outcome in zip(runs, outcomes, strict=True):
        by_rate.setdefault((run.way, run.rate), []).append(outcome)
    best = []
    for way in range(len(WAYS)):
        candidates = [own for (other, _), own in by_rate.items() if other == way]
        best.append(max(candidates, key=lambda own: float(np.mean([outcome.validation for outcome in own]))))
    return Results(best, by_rate[None, 0.0])


def accuracy_table(results: Results) -> Table:
    """Each way's accuracy and base rate, and how much better it is than one rate and than the best by hand."""
    best_by_hand = max(range(1, 1 + len(BY_HAND)), key=results.validation)
    table = empty_table(
        "MiniLM: test accuracy in % (mean ± standard deviation), the base rate chosen, and the difference\n"
        f"to one rate and to {WAYS[best_by_hand].name}, the best by hand (mean ± standard error)",
        "A star marks the best accuracy, and what is better by more than two standard errors.",
    )
    for heading in ("", "accuracy  ", "base rate", "less one rate  ", "less the best by hand  "):
        table.add_column(heading, justify="right" if heading else "left")
    best = max(results.after(way).mean() for way in range(len(WAYS)))
    for index, way in enumerate(WAYS):
        own = results.after(index)
        differences = [
            "" if index == other else _difference(Comparison.of("", way.name, own, results.after(other)))
            for other in (0, best_by_hand)
        ]
        is_last = index in (len(BY_HAND), len(WAYS) - 1)
        rate = results.chosen[index][0].rate
        table.add_row(way.name, marked(own, best), f"{rate:.0e}", *differences, end_section=is_last)
    rates = [outcome.rate for outcome in results.found]
    for place, name in enumerate(FOUND):
        own = np.array([outcome.test[place] for outcome in results.found])
        differences = [_difference(Comparison.of("", name, own, results.after(other))) for other in (0, best_by_hand)]
        table.add_row(name, spread(own) + "  ", " ".join(f"{rate:.0e}" for rate in rates), *differences)
    return table


def _difference(comparison: Comparison) -> str:
    text = f"{100 * comparison.gain:+.1f} ± {100 * comparison.error:.1f}"
    return f"[bold green]{text} *[/]" if comparison.gain > 2 * comparison.error else f"{text}  "


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description="Can the rates of a language model's layers find themselves?")
    parser.add_argument("--seeds", type=int, default=3, help="repetitions, at least 2 (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=60, help="steps of each fine-tuning (default: %(default)s)")
    cores = min(lw.available_threads(), minilm.MOST_WORKERS)
    parser.add_argument("--workers", type=int, default=cores, help="processes, one core each (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=Path("build/demo"), help="folder of the picture (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="only a look: 2 seeds, 1 base rate, 4 steps, 1 worker")
    options = parser.parse_args(arguments)
    if options.quick:
        options.seeds, options.steps, options.workers = QUICK_SEEDS, QUICK_STEPS, 1
    if options.seeds < 2 or options.steps < 1 or options.workers < 1:
        parser.error("a spread needs at least 2 seeds, and fine-tuning at least 1 step and 1 worker")
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the experiment, print what came out and draw it."""
    options = parse_arguments(arguments)
    console = Console()
    seeds, grid = range(options.seeds), QUICK_RATES if options.quick else RATES
    finder = QUICK_FINDER if options.quick else (FINDER_STEPS, FINDER_REPEATS, FINDER_TRIALS)
    # The long ones first.
    runs = [Run(None, 0.0, seed, options.steps, finder) for seed in seeds]
    for index, way in enumerate(WAYS):
        runs += [Run(index, rate, seed, options.steps) for rate in way.rates or grid for seed in seeds]
    with workers(options.workers, perform) as perform_all, progress_bar(console) as progress:
        outcomes = progress.track(perform_all(runs), total=len(runs), description="fine-tuning")
        results = chosen(runs, outcomes)
    first = len(WAYS) - len(MEASURED)
    traces = [
        Scales(way.name, results.chosen[index][0].layers, results.chosen[index][0].scales)
        for index, way in enumerate(WAYS)
        if index >= first
    ]
    picture = options.output / "auto_rates_text.png"
    draw(
        picture,
        f"Can rates find themselves?  Mean ± standard deviation of {options.seeds} seeds; what is blue measures",
        [f"MiniLM, {EXAMPLES} examples of each class"],
        [way.name for way in WAYS],
        first,
        np.array([[results.after(index) for index in range(len(WAYS))]]),
        traces,
        "The first seed",
    )
    console.print(accuracy_table(results))
    say(console, f"Picture: {picture}")


if __name__ == "__main__":
    main()
