# SPDX-License-Identifier: Apache-2.0
"""Fine-tune a pretrained language model with few examples: one rate for all layers, or one for each?

MiniLM learns to recognise the subject of a sentence from 5, 10 or 20 examples of each class.  Ways to learn differ only
in the learning rate of each layer: one rate for all; rates that fall from layer to layer towards the input; ULMFiT's
recipe, in which they fall faster and layers thaw one after another from the head.  All rise and fall along ULMFiT's
slanted triangle.  Two questions are asked.

How much does the base rate matter?  One rate and two layer decays run over a wide grid of base rates.  The accuracy on
test sentences is shown against the base rate, and against the mean rate of all weights, which a decay lowers.

Which way is better when its rate was chosen?  Every way gets the same steps and the same grid of base rates.  Its rate
is the one with the best mean accuracy on validation sentences, over a few seeds; other seeds measure that rate on test
sentences, which chose nothing.  (With really no more than five examples a class there would be no validation; here it
serves to treat all ways alike.)

    python python/examples/finetune_minilm.py --help

The other files: finetune_minilm_data.py has the sentences, finetune_minilm_model.py the network,
finetune_minilm_stability.py the numbers of the first question, finetune_minilm_results.py those of the second,
finetune_minilm_figure.py the pictures, finetune_minilm_timing.py what a step takes, and experiment_report.py what is
printed here and in which_layers.py.
"""

from __future__ import annotations

import argparse
import multiprocessing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress
from torch import Tensor
from torch.nn.functional import cross_entropy

import finetune_minilm_data as data
import finetune_minilm_model as model
import layerwise as lw
from experiment_report import conclusion, progress_bar, say
from finetune_minilm_data import Corpus, Sentences
from finetune_minilm_figure import Trace, draw, draw_stability
from finetune_minilm_model import Classifier
from finetune_minilm_results import Results, accuracy_table
from finetune_minilm_stability import Stability, in_words, stability_table
from finetune_minilm_timing import share_of_a_step
from layerwise.torch import AdamW, layers

BATCH = 16
FALL, STEEP_FALL = 0.75, 0.5  # from one layer to the next, for layer decay
STAGES = 10  # of ULMFiT; MiniLM's eight layers all train from the eighth on

SWEPT_EXAMPLES = 10
SWEPT_RATES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2)
SWEPT_SEEDS = 3
EXAMPLES = (5, 20)
RATES = (3e-4, 1e-3, 3e-3, 1e-2)
CHOOSING_SEEDS = 2
MOST_WORKERS = 4  # unless more are asked for: each takes 0.8 GB of memory
REPETITIONS, QUICK_REPETITIONS = 15, 2  # of the step that is timed
QUICK_SWEPT_RATES, QUICK_SWEPT_SEEDS = (1e-3, 3e-2), 2
QUICK_EXAMPLES, QUICK_RATES, QUICK_CHOOSING_SEEDS, QUICK_SEEDS, QUICK_STEPS = (5,), (3e-4, 3e-3), 1, 2, 4


@dataclass(frozen=True)
class Way:
    """A way to fine-tune: a policy for the rates, and whether layers thaw one after another."""

    name: str
    policy: lw.Policy
    thaws: bool = False


WAYS = (
    Way("one rate", lw.Uniform()),
    Way(f"decay {FALL}", lw.LayerDecay(FALL)),
    Way("ULMFiT", lw.ULMFiT(), thaws=True),
    Way(f"decay {STEEP_FALL}", lw.LayerDecay(STEEP_FALL)),
)
COMPARED = WAYS[:3]  # each at its rate
SWEPT = (0, 1, 3)  # over the wide grid of rates, by index


# ---- Training with Layerwise ----------------------------------------------------------------------------------------


def optimizer_for(network: Classifier, way: Way, rate: float, steps: int) -> AdamW:
    """An optimizer of the whole network, which finds its layers by itself."""
    return AdamW(
        network,
        lr=rate,
        policy=way.policy,
        schedule=lw.SlantedTriangular(steps),
        freezing=lw.GradualUnfreezing(max(steps // STAGES, 1)) if way.thaws else None,
        threads=torch.get_num_threads(),
        telemetry=True,
    )


def train(network: Classifier, optimizer: AdamW, batches: Iterable[Sentences]) -> list[Mapping[str, lw.Telemetry]]:
    """Take one step on each batch; returns what telemetry says after each."""
    history: list[Mapping[str, lw.Telemetry]] = []
    for batch in batches:
        optimizer.zero_grad()
        cross_entropy(network(batch.tokens), batch.labels).backward()
        optimizer.step()
        history.append(optimizer.native.telemetry())
    return history


# ---- The experiment: runs that know nothing of each other, on all cores ---------------------------------------------


class Run(NamedTuple):
    """One fine-tuning: with how many examples of each class, in which way (its index), and so on."""

    examples: int
    way: int
    rate: float
    seed: int
    steps: int
    judged_by: str  # "validation" or "test"


class Outcome(NamedTuple):
    """How well a run ended, and how it went."""

    accuracy: float
    history: list[Mapping[str, lw.Telemetry]]


@cache
def workbench() -> tuple[Corpus, Classifier, Mapping[str, Tensor]]:
    """What all runs of a process share: the sentences, a network to train, and its pretrained weights."""
    corpus = data.load(model.tokenizer())
    network = model.pretrained(len(corpus.classes), corpus.vocabulary)
    return corpus, network, {name: weights.clone() for name, weights in network.state_dict().items()}


def perform(run: Run) -> Outcome:
    """Fine-tune once, from the pretrained weights."""
    corpus, network, weights = workbench()
    network.load_state_dict(weights)
    torch.manual_seed(run.seed)
    network.head.reset_parameters()
    drawn = data.draw(corpus, run.seed)
    batches = drawn.examples(run.examples).random_batches(BATCH, torch.Generator().manual_seed(run.seed))
    optimizer = optimizer_for(network, WAYS[run.way], run.rate, run.steps)
    history = train(network, optimizer, islice(batches, run.steps))
    return Outcome(network.accuracy(drawn.validation if run.judged_by == "validation" else corpus.test), history)


Perform = Callable[[Iterable[Run]], Iterable[Outcome]]
Task = TypeVar("Task")
Result = TypeVar("Result")


@contextmanager
def workers(count: int, work: Callable[[Task], Result]) -> Iterator[Callable[[Iterable[Task]], Iterable[Result]]]:
    """What does tasks in so many processes of one thread each; the results are the same for any number of them."""
    if count == 1:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield lambda tasks: map(work, tasks)
        finally:
            torch.set_num_threads(threads)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(count, context, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        yield lambda tasks: pool.map(work, tasks)


def sweep(stability: Stability, steps: int, perform_all: Perform, progress: Progress) -> None:
    """Fill in the accuracies of the wide grid of rates."""
    places = list(np.ndindex(stability.accuracies.shape))
    runs = [
        Run(stability.examples, SWEPT[way], stability.rates[rate], seed, steps, "test") for way, rate, seed in places
    ]
    outcomes = progress.track(perform_all(runs), total=len(runs), description="all rates")
    for place, outcome in zip(places, outcomes, strict=True):
        stability.accuracies[place] = outcome.accuracy


def mean_share(way: Way) -> float:
    """The mean rate of all weights where all train, as a share of the base rate."""
    _, network, _ = workbench()
    rows = optimizer_for(network, way, 1.0, steps=1).native.explain_rows()
    return sum(row["scale"] * row["parameters"] for row in rows) / sum(row["parameters"] for row in rows)


def measure(results: Results, steps: int, perform_all: Perform, progress: Progress) -> list[Outcome]:
    """Fill in the results; returns what came of each way with the most examples, of the first seed that is tested."""

    def outcomes(runs: Sequence[Run], what: str) -> Iterator[Outcome]:
        return iter(progress.track(perform_all(runs), total=len(runs), description=what))

    places = list(np.ndindex(results.validation.shape))
    runs = [
        Run(results.examples[size], way, results.rates[rate], seed, steps, "validation")
        for size, way, rate, seed in places
    ]
    for place, outcome in zip(places, outcomes(runs, "choosing rates"), strict=True):
        results.validation[place] = outcome.accuracy

    shown = []
    chosen = list(np.ndindex(results.test.shape))
    first = results.validation.shape[-1]
    runs = [
        Run(results.examples[size], way, results.rate(size, way), first + seed, steps, "test")
        for size, way, seed in chosen
    ]
    for place, run, outcome in zip(chosen, runs, outcomes(runs, "testing them"), strict=True):
        results.test[place] = outcome.accuracy
        if run.examples == results.examples[-1] and run.seed == first:
            shown.append(outcome)
    return shown


def traces_of(results: Results, shown: Sequence[Outcome]) -> list[Trace]:
    """How each way went with the most examples, and the optimizer that it began with."""
    _, network, _ = workbench()
    size = len(results.examples) - 1
    traces = []
    for index, (way, outcome) in enumerate(zip(COMPARED, shown, strict=True)):
        optimizer = optimizer_for(network, way, results.rate(size, index), steps=len(outcome.history))
        traces.append(Trace(way.name, optimizer.native, outcome.history))
    return traces


# ---- Command line ---------------------------------------------------------------------------------------------------


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description="Fine-tune MiniLM with few examples: one rate, or one for each layer?")
    parser.add_argument("--seeds", type=int, default=4, help="that are tested, at least 2 (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=20, help="steps of each fine-tuning (default: %(default)s)")
    cores = min(lw.available_threads(), MOST_WORKERS)
    parser.add_argument("--workers", type=int, default=cores, help="processes, one core each (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=Path("build/demo"), help="folder of the picture (%(default)s)")
    parser.add_argument(
        "--quick", action="store_true", help="only a look: 5 examples, 2 base rates, 4 steps, 2 seeds, 1 worker"
    )
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
    ways = [way.name for way in COMPARED]
    if options.quick:
        results = Results.empty(QUICK_EXAMPLES, ways, QUICK_RATES, QUICK_CHOOSING_SEEDS, options.seeds)
    else:
        results = Results.empty(EXAMPLES, ways, RATES, CHOOSING_SEEDS, options.seeds)
    corpus, network, _ = workbench()
    swept = [WAYS[index] for index in SWEPT]
    stability = Stability.empty(
        SWEPT_EXAMPLES,
        len(corpus.classes),
        [way.name for way in swept],
        [mean_share(way) for way in swept],
        QUICK_SWEPT_RATES if options.quick else SWEPT_RATES,
        QUICK_SWEPT_SEEDS if options.quick else SWEPT_SEEDS,
    )
    say(
        console,
        f"{len(corpus.classes)} classes: {', '.join(corpus.classes)}.",
        f"The layers, as the names of their parameters tell:\n{layers(network)}\n",
    )
    with workers(options.workers, perform) as perform_all, progress_bar(console) as progress:
        sweep(stability, options.steps, perform_all, progress)
        shown = measure(results, options.steps, perform_all, progress)
    traces = traces_of(results, shown)
    of_rates, of_ways = options.output / "finetune_minilm_rates.png", options.output / "finetune_minilm.png"
    draw_stability(of_rates, stability)
    draw(of_ways, results, traces)

    console.print(stability_table(stability))
    say(console, in_words(stability), "")
    console.print(accuracy_table(results))
    say(
        console,
        conclusion("Each layer-wise way", results.compare()),
        share_of_a_step(BATCH, FALL, QUICK_REPETITIONS if options.quick else REPETITIONS),
        f"Pictures: {of_rates}, {of_ways}",
    )


if __name__ == "__main__":
    main()
