# SPDX-License-Identifier: Apache-2.0
"""What was measured, and the comparisons that may be drawn from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .timing import Estimate, estimate

STREAM = "streaming loop"
STREAM_TWICE = "streaming loop that looks first"


@dataclass(frozen=True)
class Row:
    """One contestant's samples.

    Attributes:
        samples: Seconds a step, one a round.
        traffic: Bytes a step cannot avoid to move, or None.
    """

    samples: list[float]
    traffic: int | None

    @property
    def seconds(self) -> Estimate:
        """Seconds a step."""
        return estimate(self.samples)

    @property
    def gigabytes_per_second(self) -> float | None:
        """The traffic over the median time."""
        return None if self.traffic is None else self.traffic / self.seconds.median / 1e9


@dataclass(frozen=True)
class CaseResult:
    """One case.

    Attributes:
        title: What was stepped.
        ours: The contestant that tables relate the others to.
        tensors: How many tensors that is.
        parameters: How many elements.
        rows: A row for each contestant.
        absent: Who could not take part, and why.
        loops: For each streaming loop in ``rows`` its whole family, of which it is the fastest, by name.
        limits: The streaming loop that a row is compared with, where rows move different bytes.
    """

    title: str
    ours: str
    tensors: int
    parameters: int
    rows: dict[str, Row]
    absent: dict[str, str]
    loops: dict[str, dict[str, Row]]
    limits: dict[str, str] = field(default_factory=dict)

    def fastest_loop(self, kind: str) -> str:
        """The name of the loop that is the yardstick ``kind``."""
        return fastest(self.loops[kind])

    def of_limit(self, name: str) -> Estimate | None:
        """The streaming loop's time over that of a contestant, or None where no loop moves its bytes."""
        if name in self.limits:
            return self.ratio(self.limits[name], name)
        limit = self.rows.get(STREAM)
        return None if limit is None or limit.traffic != self.rows[name].traffic else self.ratio(STREAM, name)

    def ratio(self, subject: str, base: str, per_byte: bool = False) -> Estimate:
        """The time of ``subject`` over that of ``base``, compared round by round; or their times a byte of traffic."""
        above, below = self.rows[subject], self.rows[base]
        weight = below.traffic / above.traffic if per_byte and above.traffic and below.traffic else 1.0
        return estimate([weight * x / y for x, y in zip(above.samples, below.samples, strict=True)])


def fastest(loops: Mapping[str, Row]) -> str:
    """The name of the loop with the lowest median."""
    return min(loops, key=lambda name: loops[name].seconds.median)
