# SPDX-License-Identifier: Apache-2.0
"""Policies: what computes every layer's learning-rate scale.  The classes hold values; the library computes.

A layer's effective rate is `lr * scale`.  A scale given to one layer (`add_layer(..., scale=...)`) takes precedence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal


class Policy:
    """What all policies share."""

    name: ClassVar[str]
    """The library's name of the policy."""

    def settings(self) -> dict[str, object]:
        """The policy's values by the library's keys."""
        return dict(vars(self))


@dataclass(frozen=True)
class Uniform(Policy):
    """One rate for all: scale = 1."""

    name: ClassVar[str] = "uniform"


@dataclass(frozen=True)
class Explicit(Policy):
    """A scale for each layer by its name.

    Args:
        scales: Scale in [0, inf) by layer name; the key "*" is the scale of every layer that is not named.  Each name
            must be a layer's, and without "*" each layer must be named; the next step refuses otherwise, so that a
            policy can be set before the layers are added.
    """

    name: ClassVar[str] = "explicit"
    scales: Mapping[str, float]

    def __post_init__(self) -> None:
        # A copy, because a policy is a value: changing the caller's mapping later must not look as if it did something.
        object.__setattr__(self, "scales", dict(self.scales))

    def settings(self) -> dict[str, object]:
        """The scales by layer name."""
        return dict(self.scales)


@dataclass(frozen=True)
class LayerDecay(Policy):
    """Rates that fall from layer to layer.

    scale = max(min_scale, decay ** (top_depth - depth)), falling towards the input; with direction "output"
    scale = max(min_scale, decay ** depth).  Source: Clark et al. 2020 (ELECTRA), arXiv:2003.10555; Bao et al. 2021
    (BEiT), arXiv:2106.08254.

    Args:
        decay: Factor from one depth to the next, in (0, 1].
        min_scale: No scale falls below this, in [0, 1].  Default 0.
        direction: "input" or "output": the end with the lowest rate.  Default "input".
    """

    name: ClassVar[str] = "layer_decay"
    decay: float
    min_scale: float = 0.0
    direction: Literal["input", "output"] = "input"


@dataclass(frozen=True)
class Range(Policy):
    """Scales in geometric progression from the input to the output.

    scale = lowest * (highest / lowest) ** (depth / top_depth).  Source: discriminative rates, Howard and Ruder 2018,
    arXiv:1801.06146.

    Args:
        lowest: Scale of the layer nearest to the input, in (0, inf), at most highest.
        highest: Scale of the layer nearest to the output, in (0, inf).  Default 1.
    """

    name: ClassVar[str] = "range"
    lowest: float
    highest: float = 1.0
