# SPDX-License-Identifier: Apache-2.0
"""Can the rates of layers be found by trying?

The experiment of which_layers.py: a pretrained network meets four changes of the world and adapts with five examples of
each digit.  The rate finder looks at these examples alone; the tournament of policies scores its candidates, the five
ways of which_layers.py at four base rates each, by the loss on validation images.  Beside them stands one rate for all
layers, the best of a grid by the accuracy on validation images.  The table shows the accuracy on test images.

    python python/examples/find_policy.py --help
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np
from rich.console import Console
from threadpoolctl import threadpool_limits

import changed_digits as digits
import layerwise as lw
import which_layers
from experiment_report import Accuracies, empty_table, progress_bar, say, spread
from small_network import Network
from which_layers import HEAD, INPUT_LAYER, ONE_RATE, RATES, WIDTHS, Way

CANDIDATES: dict[str, lw.Policy] = {
    "one rate": lw.Uniform(),
    "falling to input": lw.LayerDecay(which_layers.FALL),
    "falling to output": lw.LayerDecay(which_layers.FALL, direction="output"),
    "head only": lw.Explicit({HEAD: 1.0, "*": 0.0}),
    "first layer only": lw.Explicit({INPUT_LAYER: 1.0, "*": 0.0}),
}
CANDIDATE_RATES = (3e-3, 1e-2, 3e-2, 1e-1)
WAYS = (
    "one rate, best of a grid",
    "one rate, finder's valley",
    "one rate, finder's steep",
    "rates of the finder",
    "tournament",
)


class World:
    """One change of the world, and a network that meets it."""

    def __init__(self, pretrained: Network, target: digits.Target, seed: int, steps: int) -> None:
        self._pretrained, self._target, self._seed, self._steps = pretrained, target, seed, steps
        self._network = Network(WIDTHS, np.random.default_rng(seed))

    def adapted(self, policy: lw.Policy, rate: float) -> tuple[float, float]:
        """Accuracy on validation and test images after adapting."""
        self._network.copy_parameters_from(self._pretrained)
        which_layers.adapt(self._network, Way("", policy), self._target.examples, rate, self._steps)
        seen = self._target.validation, self._target.test
        validation, test = (self._network.accuracy(images.pixels, images.labels) for images in seen)
        return validation, test

    def found(self) -> lw.FoundRates:
        """What the finder says, from halves of the examples."""
        with self._optimizer() as optimizer:
            return lw.find_rates(optimizer, self._gradients_of_half)

    def chosen(self) -> lw.Candidate:
        """The winner of the tournament."""
        with self._optimizer() as optimizer:
            return lw.choose(
                optimizer,
                CANDIDATES,
                train=lambda: self._gradients(self._target.examples),
                validate=lambda: self._loss(self._target.validation),
                steps=max(1, self._steps // 4),
                repeats=1,
                rates=CANDIDATE_RATES,
            ).winner

    def _optimizer(self) -> lw.Optimizer:
        self._network.copy_parameters_from(self._pretrained)
        return which_layers.optimizer_for(self._network, ONE_RATE, 1e-2, self._steps)

    def _gradients_of_half(self, batch: int) -> float:
        order = np.random.default_rng((self._seed, batch)).permutation(len(self._target.examples))
        return self._gradients(self._target.examples.take(order[: len(order) // 2]))

    def _gradients(self, images: digits.Images) -> float:
        self._network.backward(images.pixels, images.labels)
        return self._loss(images)

    def _loss(self, images: digits.Images) -> float:
        # A network that diverged has probabilities of 0, and an infinite loss.
        with np.errstate(divide="ignore"):
            return self._network.loss(images.pixels, images.labels)


def accuracies(world: World) -> list[float]:
    """The accuracy of each way on test images."""
    found, winner = world.found(), world.chosen()
    by_grid = max((world.adapted(lw.Uniform(), rate) for rate in RATES), key=lambda pair: pair[0])[1]
    rates = [found.base.suggestions["valley"], found.base.suggestions["steep"]]
    by_name = [world.adapted(lw.Uniform(), rate or found.lr)[1] for rate in rates]
    by_layer = world.adapted(found.policy(), found.lr)[1]
    return [by_grid, *by_name, by_layer, world.adapted(winner.policy, winner.lr or 1e-2)[1]]


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description="Can the rates of layers be found by trying?")
    parser.add_argument("--seeds", type=int, default=4, help="repetitions, at least 2 (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=100, help="steps of each adaptation (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="only a look: 2 seeds, 10 steps")
    options = parser.parse_args(arguments)
    if options.quick:
        options.seeds, options.steps = which_layers.QUICK_SEEDS, 10
    if options.seeds < 2 or options.steps < 1:
        parser.error("a spread needs at least 2 seeds, and adapting at least 1 step")
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the experiment and print what came out."""
    options = parse_arguments(arguments)
    console = Console()
    results: Accuracies = np.empty((len(WAYS), len(digits.CHANGES), options.seeds))
    # Matrices this small are multiplied faster by one thread than by several that wait for each other.
    with threadpool_limits(1), progress_bar(console) as progress:
        task = progress.add_task("adapting", total=options.seeds * len(digits.CHANGES))
        for seed in range(options.seeds):
            pretrained, _, targets = which_layers.prepare(seed)
            for change, target in enumerate(targets):
                results[:, change, seed] = accuracies(World(pretrained, target, seed, options.steps))
                progress.advance(task)
    table = empty_table("Test accuracy in % (mean ± standard deviation)", "The grid and the tournament validate.")
    table.add_column()
    for name in digits.CHANGES:
        table.add_column(name.replace(" ", "\n"), justify="right")
    for way, rows in zip(WAYS, results, strict=True):
        table.add_row(way, *map(spread, rows))
    console.print(table)
    say(
        console,
        "The finder sees the examples alone; the tournament trains 20 candidates for a quarter of the steps first.",
    )


if __name__ == "__main__":
    main()
