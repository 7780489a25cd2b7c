# SPDX-License-Identifier: Apache-2.0
"""Interleaved timing: every round times every contestant, so that a noisy neighbour hits them all alike.

Comparisons are made within a round and the median is taken over rounds; times of different rounds are never compared.
"""

from __future__ import annotations

import gc
import math
import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

WARM_STEPS = 2
"""At least so many steps come before those that are timed."""


@dataclass(frozen=True)
class Contestant:
    """Something that takes a step.

    Attributes:
        name: How tables call it.
        step: Takes one step; this is what is timed.
        prepare: Called before each of its turns, outside of the time.  Variants of one optimizer share its buffers this
            way: two sets of buffers would differ by the luck of their physical pages alone.
        traffic: Bytes a step cannot avoid to move, or None where memory is not the limit.
        renew: Called before each of its steps, outside of the time, which then is that of the steps alone.
    """

    name: str
    step: Callable[[], object]
    prepare: Callable[[], object] | None = None
    traffic: int | None = None
    renew: Callable[[], object] | None = None


@dataclass(frozen=True)
class Estimate:
    """A median over rounds with its 95 % interval."""

    median: float
    low: float
    high: float

    def scaled(self, factor: float) -> Estimate:
        """In another unit."""
        return Estimate(self.median * factor, self.low * factor, self.high * factor)


def estimate(samples: Sequence[float]) -> Estimate:
    """The median, and the order statistics that enclose the true one with 95 % (binomial, normal approximation)."""
    ordered, count = sorted(samples), len(samples)
    margin = 0.98 * math.sqrt(count)
    low = max(0, math.floor(count / 2 - margin))
    high = min(count - 1, math.ceil(count / 2 + margin) - 1)
    return Estimate(statistics.median(ordered), ordered[low], ordered[high])


def measure(
    contestants: Sequence[Contestant], rounds: int, window: float, done: Callable[[], object]
) -> dict[str, list[float]]:
    """Times every contestant in every round.

    Args:
        contestants: Who is timed.  Each has taken a step before.
        rounds: How many samples each gives.
        window: Seconds that one sample should last; a step that is shorter is repeated.
        done: Called after each round.

    Returns:
        Seconds a step, one sample a round, for each contestant's name.
    """
    repeats = {contestant.name: _repeats(contestant, window) for contestant in contestants}
    samples: dict[str, list[float]] = {contestant.name: [] for contestant in contestants}
    gc.collect()
    gc.disable()
    order = random.Random(0)
    try:
        for _ in range(rounds):
            # Shuffled, so that nobody always follows the same neighbour: what a contestant finds in caches and how the
            # processors run is its neighbour's doing.
            for contestant in order.sample(contestants, len(contestants)):
                samples[contestant.name].append(_sample(contestant, repeats[contestant.name]))
            done()
    finally:
        gc.enable()
    return samples


def _sample(contestant: Contestant, repeats: int) -> float:
    """Mean seconds a step over one window."""
    if contestant.prepare is not None:
        contestant.prepare()
    _settle()
    # What a training loop would find: its own code, pages and threads in use a moment ago.  The first step after
    # `prepare` also does what a change of settings calls for.
    _run(contestant, max(WARM_STEPS, repeats // 4))
    return _run(contestant, repeats) / repeats


def _repeats(contestant: Contestant, window: float) -> int:
    """How many steps fill ``window``: measured, after doubling until the clock's overhead cannot matter."""
    if contestant.prepare is not None:
        contestant.prepare()
    _run(contestant, WARM_STEPS)
    repeats = 1
    while (seconds := _run(contestant, repeats)) < window / 4:
        repeats *= 2
    return max(1, round(window / (seconds / repeats)))


def _run(contestant: Contestant, repeats: int) -> float:
    step, renew = contestant.step, contestant.renew
    if renew is None:
        start = time.perf_counter()
        for _ in range(repeats):
            step()
        return time.perf_counter() - start
    seconds = 0.0
    for _ in range(repeats):
        renew()
        start = time.perf_counter()
        step()
        seconds += time.perf_counter() - start
    return seconds


def _settle() -> None:
    """Waits until no thread of this process works.

    Workers of the OpenMP runtime go on spinning for some milliseconds after a parallel loop; the next contestant should
    not share its processors with them.
    """
    for _ in range(50):
        before = time.process_time()
        time.sleep(0.002)
        if time.process_time() - before < 0.0002:
            return
