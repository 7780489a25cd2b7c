# SPDX-License-Identifier: Apache-2.0
"""The contestants of one case, and the proof that they compute the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .contestants import AbsentError, Entry
from .timing import Contestant
from .workloads import Buffers, Workload


class DisagreementError(Exception):
    """Contestants that should compute the same do not, so their times mean nothing."""


@dataclass
class Meeting:
    """The contestants of one case, ready to be timed.

    Attributes:
        title: What is stepped.
        ours: The contestant that tables relate the others to.
        workload: The tensors that are stepped.
        traffic: Bytes a step cannot avoid to move, or None where memory is not the limit.
        limits: The kind of streaming loop that a contestant is compared with, where they move different bytes.
        rounds: How many times as many rounds it has as others, where the contestants differ by little.
        contestants: Who takes part.
        absent: Who cannot, and why.
        loops: For each kind of streaming loop the contestants that are its family.
    """

    title: str
    ours: str
    workload: Workload
    traffic: int | None = None
    rounds: int = 1
    contestants: list[Contestant] = field(default_factory=list)
    absent: dict[str, str] = field(default_factory=dict)
    loops: dict[str, list[str]] = field(default_factory=dict)
    limits: dict[str, str] = field(default_factory=dict)
    _buffers: dict[str, Buffers] = field(default_factory=dict)

    def add(
        self,
        name: str,
        step: Callable[[], object],
        prepare: Callable[[], object] | None = None,
        compare: Buffers | None = None,
        traffic: int | None = None,
    ) -> None:
        """Adds a contestant; `first_step` compares the buffers ``compare``, which nobody has stepped yet.

        ``traffic`` is its own where it moves other bytes than the others.
        """
        self.contestants.append(Contestant(name, step, prepare, traffic or self.traffic))
        if compare is not None:
            self._buffers[name] = compare

    def add_loops(self, kind: str, steppers: Mapping[str, Callable[[], object]], traffic: int | None = None) -> None:
        """Adds a family of streaming loops, the fastest of which is the yardstick ``kind``."""
        self.loops[kind] = [f"{kind}: {name}" for name in steppers]
        for name, step in steppers.items():
            self.add(f"{kind}: {name}", step, traffic=traffic)

    def invite(self, name: str, make: Callable[[], Entry], traffic: int | None = None, compare: bool = True) -> None:
        """Adds a rival, or notes why it is absent.  ``traffic`` is its own where it moves other bytes than we do."""
        try:
            step, buffers, renew, own = make()
        except AbsentError as reason:
            self.absent[name] = str(reason)
            return
        self.contestants.append(Contestant(name, step, None, own or traffic or self.traffic, renew))
        if compare:
            self._buffers[name] = buffers

    def first_step(self, tolerance: float = 1e-3) -> None:
        """Lets everyone take a first step, which allocates state, and compares where they arrive.

        Args:
            tolerance: Largest difference of a parameter, relative to the largest change that the step made.

        Raises:
            DisagreementError: Somebody is further away than that from the first one.
        """
        start = self.workload.copy().values()
        reference: tuple[str, NDArray[np.float32]] | None = None
        for contestant in self.contestants:
            if contestant.prepare is not None:
                contestant.prepare()
            contestant.step()
            if contestant.name not in self._buffers:
                continue
            # At once, because contestants may share an optimizer.
            values = self._buffers[contestant.name].values()
            reference = reference or (contestant.name, values)
            change = float(np.abs(reference[1] - start).max())
            difference = float(np.abs(reference[1] - values).max())
            if not 0 < change < float("inf") or not difference <= tolerance * change:
                raise DisagreementError(
                    f"{self.title}: the first step of {reference[0]} changes parameters by up to {change:.3g}, "
                    f"and {contestant.name} is off by up to {difference:.3g}"
                )
