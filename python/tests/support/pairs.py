# SPDX-License-Identifier: Apache-2.0
"""Options in pairs: a fault of two options together is found, without all products of three."""

from collections.abc import Iterable
from typing import TypeVar

_A = TypeVar("_A")
_B = TypeVar("_B")
_C = TypeVar("_C")


def in_pairs(first: Iterable[_A], second: Iterable[_B], third: Iterable[_C]) -> list[tuple[_A, _B, _C]]:
    """Cases in which each value of a list meets each value of both others: as many as the two longer lists multiplied.

    The third is the shortest.
    """
    one, two, three = [*first], [*second], [*third]
    assert len(three) <= min(len(one), len(two)), "the third list must be the shortest"
    return [(a, b, three[(i + j) % len(three)]) for i, a in enumerate(one) for j, b in enumerate(two)]
