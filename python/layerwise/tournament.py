# SPDX-License-Identifier: Apache-2.0
"""A tournament of policies: which one trains best from here?"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from ._searching import Closure, Progress, Searched, Subject, judge, known, numbers
from .errors import InvalidArgument
from .policy import Policy


@dataclass(frozen=True)
class Candidate:
    """A policy, and the base rate that it is tried with.

    Attributes:
        name: What tables call it.
        policy: The policy.
        lr: The base rate; None for the optimizer's own.
    """

    name: str
    policy: Policy
    lr: float | None = None


@dataclass(frozen=True)
class Round:
    """One round: every candidate trained from the same bits.

    Attributes:
        steps: Steps of each run.
        candidates: Who took part, best first.
        mean: Of the scores over repeats; infinity where one was not finite.
        spread: Their standard deviation.
        tied: The names that cannot be distinguished from the best, which is one of them.
        scores: By candidate and repeat.
    """

    steps: int
    candidates: tuple[Candidate, ...]
    mean: tuple[float, ...]
    spread: tuple[float, ...]
    tied: tuple[str, ...]
    scores: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Choice:
    """What `choose` has found, and set.

    Attributes:
        winner: The candidate with the lowest mean score of the last round, which is set.
        tied: Candidates of the last round that cannot be distinguished from the winner; empty if it stands alone.
        rounds: All rounds.
    """

    winner: Candidate
    tied: tuple[Candidate, ...]
    rounds: tuple[Round, ...]

    def explain(self) -> str:
        """A table of the rounds, and a sentence that says who won and by how much."""
        lines = []
        width = max(len(candidate.name) for candidate in self.rounds[0].candidates)
        for number, played in enumerate(self.rounds, 1):
            lines.append(f"round {number}, {played.steps} steps")
            through = self.rounds[number].candidates if number < len(self.rounds) else (self.winner,)
            for candidate, mean, spread in zip(played.candidates, played.mean, played.spread, strict=True):
                marks = " goes on" if candidate in through and number < len(self.rounds) else ""
                marks = " wins" if candidate is self.winner and number == len(self.rounds) else marks
                marks += ", tied" if candidate.name in played.tied and len(played.tied) > 1 else ""
                lines.append(f"  {candidate.name:{width}}  {_score(mean, spread)}{marks}".rstrip(" ,"))
        return "\n".join([*lines, self._sentence()])

    def _sentence(self) -> str:
        last = self.rounds[-1]
        if self.tied:
            others = " and ".join(candidate.name for candidate in self.tied)
            return f"{self.winner.name} is set; the scores do not distinguish it from {others}."
        if len(last.candidates) == 1:
            return f"{self.winner.name} is set; there was no other."
        if len(last.scores[0]) == 1:
            return f"{self.winner.name} is set; one repeat does not say whether that is chance."
        best, second = last.mean[:2]
        gain = f"{second - best:.3g} better than" if math.isfinite(second) else "better than"
        repeats = len(last.scores[0])
        return f"{self.winner.name} is set: {gain} {last.candidates[1].name}, more than chance over {repeats} repeats."

    def json(self) -> str:
        """Everything as JSON, on one line; numbers that are not finite are null."""
        rounds = [
            {
                "steps": played.steps,
                "candidates": [_described(candidate) for candidate in played.candidates],
                "mean": list(map(known, played.mean)),
                "spread": list(map(known, played.spread)),
                "tied": list(played.tied),
                "scores": [list(map(known, row)) for row in played.scores],
            }
            for played in self.rounds
        ]
        tied = [candidate.name for candidate in self.tied]
        return json.dumps({"winner": _described(self.winner), "tied": tied, "rounds": rounds})

    def __repr__(self) -> str:
        return f"<layerwise.Choice: {self._sentence()}>"


def choose(
    opt: Searched,
    policies: Sequence[Policy] | Mapping[str, Policy],
    *,
    train: Closure,
    validate: Callable[..., Any],
    steps: int = 50,
    repeats: int = 3,
    rates: Sequence[float] | None = None,
    progress: bool = False,
) -> Choice:
    """Find the policy that trains best from here, by successive halving, and set it.

    In each round every candidate trains from the same bits and is scored.  The best half goes on to the next round,
    with twice the steps, until one is left.  At the end the optimizer is as it was, bit for bit, but for the policy of
    the winner, and its base rate where there are several.  Scores of a repeat are compared in pairs, so let the closure
    take the number of a batch: then all candidates see the same batches.

    It takes about repeats * steps * candidates steps in each of log2(candidates) rounds.

    Args:
        opt: The optimizer.
        policies: The candidates, or a mapping from their names.
        train: Computes gradients and returns the loss; see `find_rates`.
        validate: Returns the score of the parameters as they are, such as a loss on validation data: less is better.
        steps: Steps of a run in the first round.
        repeats: How often each candidate runs in a round, with other batches.
        rates: Base rates to try each policy with.  Default: the optimizer's own.  Layers and groups with rates of their
            own keep their ratio to it.
        progress: Show a progress bar; needs `rich`.

    Returns:
        The winner, who is tied with it, and all scores.
    """
    return play(Subject(opt, train), policies, validate, steps, repeats, rates, progress)


def play(
    subject: Subject,
    policies: Sequence[Policy] | Mapping[str, Policy],
    validate: Callable[..., Any],
    steps: int,
    repeats: int,
    rates: Sequence[float] | None,
    progress: bool,
) -> Choice:
    """See `choose`."""
    with subject.restored():
        left = _candidates(policies, rates)
        if not callable(validate):
            raise TypeError(f"validate: expected a function, found {type(validate).__name__}")
        if steps < 1 or repeats < 1:
            raise InvalidArgument(f"steps and repeats must be at least 1, found {steps} and {repeats}")
        rounds: list[Round] = []
        with Progress(progress, _total(len(left), steps, repeats), "choosing a policy") as bar:
            while not rounds or len(left) > 1:
                length = steps << len(rounds)
                table = [
                    [_run(subject, each, validate, repeat, length, bar) for repeat in range(repeats)] for each in left
                ]
                rounds.append(_round(left, table, length))
                left = list(rounds[-1].candidates[: (len(left) + 1) // 2])
    winner, last = rounds[-1].candidates[0], rounds[-1]
    _set(subject, winner)
    tied = tuple(each for each in last.candidates if each.name in last.tied and each is not winner)
    return Choice(winner, tied, tuple(rounds))


def _candidates(policies: Sequence[Policy] | Mapping[str, Policy], rates: Sequence[float] | None) -> list[Candidate]:
    named = policies if isinstance(policies, Mapping) else {_short(policy): policy for policy in policies}
    if not named:
        raise InvalidArgument("policies: expected at least one")
    if len(named) < len(policies):
        raise InvalidArgument("policies: two of them are called alike: give a mapping from names")
    for policy in named.values():
        if not isinstance(policy, Policy):
            raise TypeError(f"policies: expected some such as LayerDecay(0.75), found {policy!r}")
    if rates is None:
        return [Candidate(name, policy) for name, policy in named.items()]
    if not rates or not all(0 < rate < math.inf for rate in rates):
        raise InvalidArgument(f"rates must be above 0 and finite, found {list(rates)}")
    return [Candidate(f"{name}, lr {rate:g}", policy, rate) for name, policy in named.items() for rate in rates]


def _total(candidates: int, steps: int, repeats: int) -> int:
    """The steps of all rounds."""
    total = 0
    while True:
        total += candidates * steps * repeats
        if candidates == 1:
            return total
        candidates, steps = (candidates + 1) // 2, 2 * steps
        if candidates == 1:
            return total


def _set(subject: Subject, candidate: Candidate) -> None:
    """Give the optimizer the policy and the base rate of a candidate."""
    set_policy = getattr(subject.optimizer, "_set_policy", None)
    if set_policy is None:
        subject.native.policy = candidate.policy
    else:
        set_policy(candidate.policy)
    if candidate.lr is None:
        return
    groups = getattr(subject.optimizer, "param_groups", None)
    if groups is None:
        _set_base(subject, candidate.lr)
        return
    reference = float(groups[0]["lr"])
    for group in groups:
        rate = candidate.lr * (float(group["lr"]) / reference if reference else 1.0)
        if hasattr(group["lr"], "fill_"):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


def _set_base(subject: Subject, lr: float) -> None:
    native = subject.native
    reference = native.lr
    for layer in native.layers.values():
        own = layer.get("lr")
        if own != reference and reference and isinstance(own, float):
            layer.set(lr=own * (lr / reference))
    native.lr = lr


def _run(
    subject: Subject, candidate: Candidate, validate: Callable[..., Any], repeat: int, steps: int, bar: Progress
) -> float:
    """The score of a candidate after some steps."""
    subject.restore()
    _set(subject, candidate)
    for step in range(steps):
        loss = subject.loss(repeat * steps + step)
        if not math.isfinite(loss) or not subject.step():
            bar.advance(steps - step)
            return math.nan
        bar.advance()
    return float(validate())


def _round(candidates: Sequence[Candidate], scores: Sequence[Sequence[float]], steps: int) -> Round:
    found = judge(scores)
    order = found["order"]
    mean = [math.inf if found["mean"][index] is None else found["mean"][index] for index in order]
    spread = numbers([found["spread"][index] for index in order])
    tied = tuple(candidates[index].name for index in found["tied"])
    rows = tuple(tuple(scores[index]) for index in order)
    return Round(steps, tuple(candidates[index] for index in order), tuple(mean), spread, tied, rows)


def _short(policy: Policy) -> str:
    """A policy with the arguments that are not at their defaults, cut off where it gets long."""
    if not is_dataclass(policy):
        return repr(policy)
    given = [
        f"{value!r}" if index == 0 else f"{field.name}={value!r}"
        for index, field in enumerate(fields(policy))
        if (value := getattr(policy, field.name)) != field.default and value not in ({}, None)
    ]
    text = f"{type(policy).__name__}({', '.join(given)})"
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


_LONGEST = 50


def _score(mean: float, spread: float) -> str:
    return f"{mean:.4g} ± {spread:.2g}" if math.isfinite(mean) else "not finite"


def _described(candidate: Candidate) -> dict[str, Any]:
    return {"name": candidate.name, "policy": repr(candidate.policy), "lr": candidate.lr}
