# SPDX-License-Identifier: Apache-2.0
"""Which layers should learn?

A network that has learned to read digits meets a changed world: inverted, noisy or mirrored images, or permuted labels.
It adapts with five examples of each digit, in five ways that differ in nothing but the learning rate of each layer: one
rate for all; rates that fall towards the input or towards the output; only the head; only the first layer.

Every way gets the same steps and the same grid of base rates.  Its rate is the one with the best mean accuracy on a
validation part of the changed images; what is reported is the accuracy on a test part that chooses nothing.  (With
really no more than five examples a class there would be no such part; here it serves to treat all ways alike.)

    python python/examples/which_layers.py --help

The other files: changed_digits.py has the images, small_network.py the network, which_layers_results.py the statistics
and the table, which_layers_figure.py the picture, and experiment_report.py what is printed here and in
finetune_minilm.py.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import Progress
from threadpoolctl import threadpool_limits

import changed_digits as digits
import layerwise as lw
from experiment_report import conclusion, progress_bar, say
from small_network import Network
from which_layers_figure import Ahead, Trace, draw
from which_layers_results import Results, accuracy_table

WIDTHS = (digits.PIXELS, 128, 128, 64, digits.CLASSES)
INPUT_LAYER, HEAD = "hidden1", "head"
FALL = 0.3  # from one layer to the next, where rates fall
WARM_UP = 0.1  # of the steps

PRETRAINING_STEPS = 600
PRETRAINING_BATCH = 64
PRETRAINING_RATE = 3e-3

RATES = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1)
QUICK_RATES, QUICK_SEEDS, QUICK_STEPS = (3e-3, 3e-2), 2, 30


@dataclass(frozen=True)
class Way:
    """A way to adapt: a policy for the rates, the one layer that learns (None: every layer), how a step is taken."""

    name: str
    policy: lw.Policy
    only: str | None = None
    learn: Callable[[Network, lw.Optimizer, digits.Images], None] | None = None


ONE_RATE = Way("one rate", lw.Uniform())
WAYS = (
    ONE_RATE,
    Way("falling to input", lw.LayerDecay(FALL, direction="input")),
    Way("falling to output", lw.LayerDecay(FALL, direction="output")),
    Way("head only", lw.Uniform(), only=HEAD),
    Way("first layer only", lw.Uniform(), only=INPUT_LAYER),
)


# ---- Training with Layerwise ----------------------------------------------------------------------------------------


def optimizer_for(network: Network, way: Way, rate: float, steps: int, telemetry: bool = False) -> lw.Optimizer:
    """An optimizer on the network's own buffers: it reads gradients where backward writes them, and steps in place."""
    optimizer = lw.Optimizer(lw.AdamW(rate), policy=way.policy, schedule=schedule(steps), telemetry=telemetry)
    for layer in network.layers:
        optimizer.add_layer(layer.name, layer.parameters, grads=layer.gradients)
        if way.only not in (None, layer.name):
            optimizer.layer(layer.name).freeze()
    return optimizer


def schedule(steps: int) -> lw.Schedule:
    """A linear warm-up to the whole rate, which one step gets, then a linear decay; no step has a rate of 0."""
    warm_up = warm_up_steps(steps)
    decay = lw.Linear(steps - warm_up)
    return lw.Warmup(warm_up, decay, start=1 / (warm_up + 1)) if warm_up else decay


def warm_up_steps(steps: int) -> int:
    """The steps before the one with the whole rate."""
    return round(WARM_UP * steps)


def learn(network: Network, optimizer: lw.Optimizer, images: digits.Images) -> None:
    """Take one step on ``images``."""
    network.backward(images.pixels, images.labels)
    optimizer.step()


def pretrain(images: digits.Images, rng: np.random.Generator) -> Network:
    """A network that has learned ``images`` from random mini-batches."""
    network = Network(WIDTHS, rng)
    with optimizer_for(network, ONE_RATE, PRETRAINING_RATE, PRETRAINING_STEPS) as optimizer:
        for _ in range(PRETRAINING_STEPS):
            learn(network, optimizer, images.take(rng.integers(len(images), size=PRETRAINING_BATCH)))
    return network


def adapt(network: Network, way: Way, examples: digits.Images, rate: float, steps: int) -> None:
    """Adapt ``network`` in one way."""
    with optimizer_for(network, way, rate, steps) as optimizer:
        for _ in range(steps):
            (way.learn or learn)(network, optimizer, examples)


def watch(network: Network, way: Way, examples: digits.Images, rate: float, steps: int) -> tuple[Trace, str]:
    """Adapt, and keep what telemetry() says at every step and what explain() says of the step with the whole rate."""
    peak = warm_up_steps(steps)
    with optimizer_for(network, way, rate, steps, telemetry=True) as optimizer:
        rows = [row for row in optimizer.explain_rows(peak) if not row["frozen"]]
        rates = {row["layer"]: row["effective_lr"] for row in rows}
        trace = Trace(way.name, rates, update_ratios={name: [] for name in rates})
        explanation = ""
        for step in range(steps):
            learn(network, optimizer, examples)
            for name, ratios in trace.update_ratios.items():
                ratios.append(optimizer.telemetry()[name].update_ratio)
            if step == peak:
                explanation = optimizer.explain(peak)
    return trace, explanation


# ---- The experiment -------------------------------------------------------------------------------------------------


def prepare(seed: int) -> tuple[Network, digits.Target, list[digits.Target]]:
    """A pretrained network, the world that it knows, and the changed worlds that it will meet."""
    rng = np.random.default_rng(seed)
    pretraining, target = digits.split(digits.load(), rng)
    network = pretrain(pretraining, rng)
    return network, target, [digits.changed(target, change, rng) for change in digits.CHANGES.values()]


def measure(rates: Sequence[float], seeds: int, steps: int, progress: Progress, ways: Sequence[Way] = WAYS) -> Results:
    """Adapt to every change in every way at every rate, for every seed."""
    results = Results.empty(list(digits.CHANGES), [way.name for way in ways], rates, seeds)
    task = progress.add_task("adapting", total=results.test.size)
    for seed in range(seeds):
        pretrained, familiar, targets = prepare(seed)
        results.unchanged[seed] = pretrained.accuracy(familiar.test.pixels, familiar.test.labels)
        network = Network(WIDTHS, np.random.default_rng(seed))
        for change, target in enumerate(targets):
            results.before[change, seed] = pretrained.accuracy(target.test.pixels, target.test.labels)
            for way, rate in np.ndindex(len(ways), len(rates)):
                network.copy_parameters_from(pretrained)
                adapt(network, ways[way], target.examples, rates[rate], steps)
                run = change, way, rate, seed
                results.validation[run] = network.accuracy(target.validation.pixels, target.validation.labels)
                results.test[run] = network.accuracy(target.test.pixels, target.test.labels)
                progress.advance(task)
    return results


def look_closer(results: Results, change: int, steps: int) -> tuple[list[Trace], str]:
    """For one change and the first seed: the traces of all ways, and the explain() of the better falling one."""
    pretrained, _, targets = prepare(seed=0)
    network = Network(WIDTHS, np.random.default_rng(0))
    traces, explanations = [], {}
    for index, way in enumerate(WAYS):
        network.copy_parameters_from(pretrained)
        trace, explanation = watch(network, way, targets[change].examples, results.rate(change, index), steps)
        traces.append(trace)
        explanations[index] = explanation
    best = better_falling_way(results, change)
    return traces, f"{results.changes[change].capitalize()}, {WAYS[best].name}, explained:\n{explanations[best]}"


@contextmanager
def look_ahead(results: Results, change: int, steps: int) -> Iterator[Ahead]:
    """The better falling way before its first step."""
    best = better_falling_way(results, change)
    network = Network(WIDTHS, np.random.default_rng(0))
    with optimizer_for(network, WAYS[best], results.rate(change, best), steps) as optimizer:
        yield Ahead(WAYS[best].name, optimizer, steps)


def better_falling_way(results: Results, change: int) -> int:
    """The index of the one of the ways with falling rates that validation likes better."""
    return results.best_way(change, [index for index, way in enumerate(WAYS) if isinstance(way.policy, lw.LayerDecay)])


# ---- Command line ---------------------------------------------------------------------------------------------------


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(
        description="Which layers should learn?  A pretrained network meets changed digits."
    )
    parser.add_argument("--seeds", type=int, default=8, help="repetitions, at least 2 (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=100, help="steps of each adaptation (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=Path("build/demo"), help="folder of the picture (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="only a look: 2 seeds, 2 base rates, 30 steps")
    options = parser.parse_args(arguments)
    if options.quick:
        options.seeds, options.steps = QUICK_SEEDS, QUICK_STEPS
    if options.seeds < 2 or options.steps < 1:
        parser.error("a spread needs at least 2 seeds, and adapting at least 1 step")
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the experiment, print what came out and draw it."""
    options = parse_arguments(arguments)
    console = Console()
    # Matrices this small are multiplied faster by one thread than by several that wait for each other.
    with threadpool_limits(1):
        with progress_bar(console) as progress:
            results = measure(QUICK_RATES if options.quick else RATES, options.seeds, options.steps, progress)
        comparisons = results.compare(WAYS.index(ONE_RATE))
        shown = max(range(len(comparisons)), key=lambda change: comparisons[change].gain)
        traces, explanation = look_closer(results, shown, options.steps)
    picture = options.output / "which_layers.png"
    with look_ahead(results, shown, options.steps) as ahead:
        draw(picture, results, shown, traces, ahead)

    console.print(accuracy_table(results))
    who = "The layer-wise way that validation likes best"
    say(console, explanation, conclusion(who, comparisons), f"Picture: {picture}")


if __name__ == "__main__":
    main()
