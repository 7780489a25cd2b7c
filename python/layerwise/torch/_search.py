# SPDX-License-Identifier: Apache-2.0
"""The rate finder and the tournament of policies for a torch model, which is put back too."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from .._searching import Subject
from ..errors import InvalidArgument
from ..finder import FoundRates, Plan, Suggestion, search
from ..policy import Policy
from ..tournament import Choice, play
from ._optimizer import LayerwiseOptimizer
from ._watching import kept

Loss = Callable[[Any, Any], Tensor]
"""Returns the loss of a model for a batch."""


def find_rates(
    model: nn.Module,
    optimizer: LayerwiseOptimizer,
    data: Iterable[Any],
    loss: Loss,
    *,
    lowest: float = 1e-7,
    highest: float = 10.0,
    steps: int = 100,
    repeats: int = 3,
    by: Suggestion = "steep",
    layers: Collection[str] | None = None,
    trials: int = 7,
    trial_steps: int = 2,
    between: tuple[float, float] = (0.1, 100.0),
    progress: bool = False,
) -> FoundRates:
    """Find a base rate and the rate of every layer, as `layerwise.find_rates` does.

    Afterwards model and optimizer are as they were, bit for bit: parameters, states, buffers, gradients, attributes of
    modules and the random generators of torch, Python and NumPy.  What is not put back is the place of an iterator that
    is given as `data`; a DataLoader begins from its start each time.

    Args:
        model: The model, in the mode in which it is trained.
        optimizer: An optimizer of `layerwise.torch`.
        data: Batches; they begin again when they are used up.
        loss: Returns the loss, as in `lambda model, batch: cross_entropy(model(batch[0]), batch[1])`.
        lowest: The first rate of the sweep.
        highest: Where the sweep would end.  It ends before if the loss is 4 times its lowest.
        steps: Steps of the sweep.
        repeats: How often to do all of it, with other batches.
        by: Which suggestion says the base rate.
        layers: Names of the layers to try.  Default: all that train; an empty list for the sweep alone.
        trials: How many rates each layer is tried at.
        trial_steps: Steps of a trial.
        between: The lowest and the highest of these rates, as factors of the rate at which the layer is held.
        progress: Show a progress bar; needs `rich`.

    Returns:
        Curves and suggestions.
    """
    plan = Plan(lowest, highest, steps, repeats, by, layers, trials, trial_steps, between, progress)
    with _subject(model, optimizer, data, loss, trial_steps + 1) as subject:
        return search(subject, plan)


def choose(
    model: nn.Module,
    optimizer: LayerwiseOptimizer,
    policies: Sequence[Policy] | Mapping[str, Policy],
    data: Iterable[Any],
    loss: Loss,
    validate: Callable[[Any], Any],
    *,
    steps: int = 50,
    repeats: int = 3,
    rates: Sequence[float] | None = None,
    progress: bool = False,
) -> Choice:
    """Find the policy that trains best from here and set it, as `layerwise.choose` does; the rest is put back.

    Args:
        model: The model, in the mode in which it is trained.
        optimizer: An optimizer of `layerwise.torch`.
        policies: The candidates, or a mapping from their names.
        data: Batches; they begin again when they are used up.  All that are used are kept in memory meanwhile.
        loss: Returns the loss of a model for a batch.
        validate: Returns the score of a model, which it gets in evaluation mode and without gradients; less is better.
        steps: Steps of a run in the first round.
        repeats: How often each candidate runs in a round, with other batches.
        rates: Base rates to try each policy with.  Default: the optimizer's own.
        progress: Show a progress bar; needs `rich`.

    Returns:
        The winner, who is tied with it, and all scores.
    """

    def score() -> float:
        modes = [(module, module.training) for module in model.modules()]
        model.eval()
        optimizer.eval()
        try:
            with torch.no_grad():
                return float(validate(model))
        finally:
            optimizer.train()
            for module, mode in modes:
                module.training = mode

    with _subject(model, optimizer, data, loss, None) as subject:
        return play(subject, policies, score, steps, repeats, rates, progress)


@contextmanager
def _subject(
    model: nn.Module, optimizer: LayerwiseOptimizer, data: Iterable[Any], loss: Loss, most: int | None
) -> Iterator[Subject]:
    if not isinstance(optimizer, LayerwiseOptimizer):
        raise TypeError(f"optimizer: expected one of layerwise.torch, found {type(optimizer).__name__}")
    params = [*model.parameters(), *(param for group in optimizer.param_groups for param in group["params"])]
    with kept(model, params) as put_back:
        # A DataLoader draws its order from the random generator, which is put back.
        batches = _Batches(data, most)

        def closure(batch: int) -> float:
            optimizer.zero_grad()
            found = batches.take(batch)
            with torch.enable_grad():
                value = loss(model, found)
                value.backward()
            return value.item()

        yield Subject(optimizer, closure, put_back)


class _Batches:
    """Batches by number, each with the state of torch's random generator, so that all trials drop the same units.

    Args:
        data: The batches.
        most: How many of the last ones to keep; None for all of one pass through the data, which are used again.
    """

    def __init__(self, data: Iterable[Any], most: int | None) -> None:
        self._data, self._most = data, most
        self._iterator = iter(data)
        self._kept: deque[tuple[int, Any, Tensor]] = deque(maxlen=most)
        self._next = 0
        self._ended = False

    def take(self, number: int) -> Any:
        """The batch of a number, which is one that is kept or a later one."""
        while number >= self._next and not self._ended:
            batch = self._fetch()
            if not self._ended:
                self._kept.append((self._next, batch, torch.get_rng_state()))
                self._next += 1
        if self._ended:
            number %= self._next
        first = self._kept[0][0]
        if number < first:
            raise InvalidArgument(f"batch {number} was let go; the oldest is {first}")
        _, batch, generator = self._kept[number - first]
        torch.set_rng_state(generator)
        return batch

    def _fetch(self) -> Any:
        try:
            return next(self._iterator)
        except StopIteration:
            if self._most is None and self._next:
                self._ended = True
                return None
        self._iterator = iter(self._data)
        try:
            return next(self._iterator)
        except StopIteration:
            raise InvalidArgument("data: there are no batches, or an iterator was used up: give a list") from None
