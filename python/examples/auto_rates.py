# SPDX-License-Identifier: Apache-2.0
"""Can the rates of layers find themselves?

The experiment of which_layers.py, with policies that measure: a pretrained network meets four changes of the world and
adapts with five examples of each digit.  Each measured policy runs at its defaults, beside one rate for all layers and
beside the ways that a person would choose by hand.  All ways get the same steps and the same grid of base rates, of
which validation images choose one; the table shows the accuracy on test images.  Beside them stand the rates that the
finder of find_policy.py suggests, which sees the examples alone.

    python python/examples/auto_rates.py --help

auto_rates_text.py repeats the experiment with a language model, and auto_rates_figure.py draws both.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from threadpoolctl import threadpool_limits

import changed_digits as digits
import layerwise as lw
import which_layers
from auto_rates_figure import Scales, draw
from experiment_report import Accuracies, Comparison, empty_table, progress_bar, say, spread
from find_policy import World
from small_network import Network
from which_layers import ONE_RATE, WIDTHS, Way, learn, optimizer_for, prepare
from which_layers_results import Results, accuracy_table

PARTS, SPECTRA_EVERY = 5, 10


def learn_in_parts(network: Network, optimizer: lw.Optimizer, images: digits.Images) -> None:
    """Take one step on the sum of the gradients of some micro-batches, each of which is measured."""
    totals = [np.zeros_like(own) for layer in network.layers for own in layer.gradients.values()]
    for part in range(PARTS):
        some = images.take(np.arange(part, len(images), PARTS))
        network.backward(some.pixels, some.labels)
        gradients = [own for layer in network.layers for own in layer.gradients.values()]
        for total, own in zip(totals, gradients, strict=True):
            total += own / PARTS
            np.copyto(own, total)
        optimizer.measure_microbatch()
    optimizer.step()


def learn_by_spectra(network: Network, optimizer: lw.Optimizer, images: digits.Images) -> None:
    """Take one step; every now and then the singular values of the weights are looked at before."""
    if optimizer.summary().steps % SPECTRA_EVERY == 0:
        optimizer.measure_spectra()
    learn(network, optimizer, images)


BY_HAND = tuple(way for way in which_layers.WAYS if way is not ONE_RATE)
MEASURED = (
    Way("relative gradient norm", lw.RelativeGradientNorm()),
    Way("  as published, power 1", lw.RelativeGradientNorm(1)),
    Way("update ratio", lw.UpdateRatio()),
    Way("  1 / steps", lw.UpdateRatio(1e-2)),
    Way("LARC", lw.LARC()),
    Way("hypergradient", lw.Hypergradient()),
    Way("sign agreement", lw.SignAgreement()),
    Way("L-DoG as a scale", lw.LDoGScale()),
    Way("gradient noise", lw.GradientNoise(), learn=learn_in_parts),
    Way("AutoLR", lw.AutoLR()),
    Way("TempBalance", lw.TempBalance(), learn=learn_by_spectra),
    Way("AlphaDecay", lw.AlphaDecay(), learn=learn_by_spectra),
)
WAYS = (ONE_RATE, *BY_HAND, *MEASURED)
FOUND = ("one rate, the finder's", "a rate for each layer, the finder's")


def compare(results: Results, measured: Way, others: Sequence[Way]) -> list[Comparison]:
    """A measured policy against the one of some ways that validation likes best, in pairs of the same seed."""
    indices = [WAYS.index(way) for way in others]
    own = WAYS.index(measured)
    comparisons = []
    for change, name in enumerate(results.changes):
        other = results.best_way(change, indices)
        accuracies = results.after(change, own), results.after(change, other)
        comparisons.append(Comparison.of(name, WAYS[other].name, *accuracies))
    return comparisons


def difference_table(results: Results) -> Table:
    """How much better each measured policy is than one rate, and than the best by hand."""
    table = empty_table(
        "Difference in test accuracy in % (mean ± standard error)",
        "A star marks what is better by more than two standard errors.",
    )
    table.add_column()
    for change in results.changes:
        table.add_column(change.replace(" ", "\n"), justify="right")
    for measured in MEASURED:
        for name, others in (("less one rate", [ONE_RATE]), ("less the best by hand", BY_HAND)):
            table.add_row(f"{measured.name.strip()}, {name}", *map(_cell, compare(results, measured, others)))
    return table


def _cell(comparison: Comparison) -> str:
    text = f"{100 * comparison.gain:+.1f} ± {100 * comparison.error:.1f}"
    return f"[bold green]{text} *[/]" if comparison.gain > 2 * comparison.error else f"{text}  "


def find(seeds: int, steps: int, progress: Progress) -> tuple[Accuracies, Accuracies]:
    """What the rate finder suggests, from the examples alone.

    Returns:
        The accuracy on test images by change, `FOUND` and seed; the base rate by change and seed.
    """
    accuracies = np.empty((len(digits.CHANGES), len(FOUND), seeds))
    rates = np.empty((len(digits.CHANGES), seeds))
    task = progress.add_task("finding rates", total=rates.size)
    for seed in range(seeds):
        pretrained, _, targets = prepare(seed)
        for change, target in enumerate(targets):
            world = World(pretrained, target, seed, steps)
            found = world.found()
            rates[change, seed] = found.lr
            for place, policy in enumerate((lw.Uniform(), found.policy())):
                accuracies[change, place, seed] = world.adapted(policy, found.lr)[1]
            progress.advance(task)
    return accuracies, rates


def found_table(results: Results, accuracies: Accuracies, rates: Accuracies) -> Table:
    """The finder's rates beside the best of the grid."""
    table = empty_table("The rate finder, which sees no validation images: test accuracy in %, and base rates")
    table.add_column()
    for change in results.changes:
        table.add_column(change.replace(" ", "\n"), justify="right")
    one_rate = WAYS.index(ONE_RATE)
    changes = range(len(results.changes))
    table.add_row("one rate, the grid's", *(spread(results.after(change, one_rate)) for change in changes))
    for place, name in enumerate(FOUND):
        table.add_row(name, *(spread(accuracies[change, place]) for change in changes))
    table.add_row("the grid's base rate", *(f"{results.rate(change, one_rate):.0e}" for change in changes))
    table.add_row("the finder's, median", *(f"{np.median(own):.0e}" for own in rates))
    table.add_row("  least and largest", *(f"{own.min():.0e} {own.max():.0e}" for own in rates))
    return table


def scales_of(results: Results, change: int, steps: int) -> list[Scales]:
    """The scales that each measured policy gave the layers, for one change and the first seed."""
    pretrained, _, targets = prepare(seed=0)
    network = Network(WIDTHS, np.random.default_rng(0))
    traces = []
    for way in MEASURED:
        network.copy_parameters_from(pretrained)
        by_step: list[list[float]] = []
        with optimizer_for(network, way, results.rate(change, WAYS.index(way)), steps) as optimizer:
            for _ in range(steps):
                by_step.append([row["scale"] for row in optimizer.explain_rows()])
                (way.learn or learn)(network, optimizer, targets[change].examples)
        traces.append(Scales(way.name, [layer.name for layer in network.layers], by_step))
    return traces


def most_gained(results: Results) -> int:
    """The change for which a measured policy gained most over one rate."""
    gains = [[own.gain for own in compare(results, way, [ONE_RATE])] for way in MEASURED]
    return int(np.max(gains, axis=0).argmax())


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description="Can the rates of layers find themselves?")
    parser.add_argument("--seeds", type=int, default=8, help="repetitions, at least 2 (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=100, help="steps of each adaptation (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=Path("build/demo"), help="folder of the picture (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="only a look: 2 seeds, 2 base rates, 30 steps")
    options = parser.parse_args(arguments)
    if options.quick:
        options.seeds, options.steps = which_layers.QUICK_SEEDS, which_layers.QUICK_STEPS
    if options.seeds < 2 or options.steps < 1:
        parser.error("a spread needs at least 2 seeds, and adapting at least 1 step")
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the experiment and print what came out."""
    options = parse_arguments(arguments)
    console = Console()
    rates = which_layers.QUICK_RATES if options.quick else which_layers.RATES
    # Matrices this small are multiplied faster by one thread than by several that wait for each other.
    with threadpool_limits(1), progress_bar(console) as progress:
        results = which_layers.measure(rates, options.seeds, options.steps, progress, WAYS)
        found, found_rates = find(options.seeds, options.steps, progress)
        shown = most_gained(results)
        traces = scales_of(results, shown, options.steps)
    picture = options.output / "auto_rates.png"
    after = [[results.after(change, way) for way in range(len(WAYS))] for change in range(len(results.changes))]
    draw(
        picture,
        f"Can rates find themselves?  Mean ± standard deviation of {options.seeds} seeds; what is blue measures",
        results.changes,
        results.ways,
        len(WAYS) - len(MEASURED),
        np.array(after),
        traces,
        results.changes[shown].capitalize(),
    )
    console.print(accuracy_table(results))
    console.print(difference_table(results))
    console.print(found_table(results, found, found_rates))
    say(
        console,
        "The best by hand is the way that validation images like best, one rate excepted, for each change.",
        f"Picture: {picture}",
    )


if __name__ == "__main__":
    main()
