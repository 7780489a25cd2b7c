# SPDX-License-Identifier: Apache-2.0
"""Freezing plans: when each layer trains.  The classes hold values; the library computes.

A layer that a plan has frozen is as one frozen by hand: not updated, not decayed, not counted.  Its moments and step
count are kept, so it goes on where it stopped.  A layer that was frozen or unfrozen by hand does not follow the plan,
until `Layer.follow_plan()`.  Layers of one depth go together, and each tower has stages of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY
from typing import ClassVar, Literal

from ._spec import Recipe
from ._values import dataclass
from .policy import Syntax, matching


class FreezePlan(Recipe):
    """What all freezing plans share."""


@dataclass(frozen=True)
class GradualUnfreezing(FreezePlan):
    """From the top, one layer more at each stage.

    A layer with d layers above it trains from step max(0, d - (first - 1)) * every * steps_per_epoch on.  Source:
    Howard and Ruder 2018 (ULMFiT), arXiv:1801.06146, section 3.3, with one epoch a stage.

    Args:
        every: Length of a stage, in epochs, in [1, 2**20].
        steps_per_epoch: Steps of an epoch, in [1, 2**20]; 1 counts stages in steps.  Default 1.
        first: Layers that train from the start, in [1, 2**20].  Default 1.
        train_norms: Layers with the role "norm" always train.  Default False.
    """

    name: ClassVar[str] = "gradual_unfreezing"
    every: int
    _: KW_ONLY
    steps_per_epoch: int = 1
    first: int = 1
    train_norms: bool = False


@dataclass(frozen=True)
class ChainThaw(FreezePlan):
    """Each layer by itself, the top one first, then from the bottom, and then all together.

    Stage 0 is the top layer, stages 1 ... n - 1 are layers 0 ... n - 2, and from stage n on all train.  Source: Felbo
    et al. 2017 (DeepMoji), arXiv:1708.00524, whose order it follows; there a stage lasts until the loss converges.

    Args:
        every: Length of a stage, in epochs, in [1, 2**20].
        steps_per_epoch: Steps of an epoch, in [1, 2**20]; 1 counts stages in steps.  Default 1.
        train_norms: Layers with the role "norm" always train.  Default False.
    """

    name: ClassVar[str] = "chain_thaw"
    every: int
    _: KW_ONLY
    steps_per_epoch: int = 1
    train_norms: bool = False


@dataclass(frozen=True)
class FreezeOut(FreezePlan):
    """Layers anneal to zero and freeze one after another, from the input.

    t_i = phi(start + (1 - start) * i / (n - 1)) for layer i of n; the rate is multiplied by
    0.5 * (1 + cos(pi * t / (t_i * T))), and frozen from t_i * T on.  Source: Brock et al. 2017 (FreezeOut),
    arXiv:1706.04983, there on a constant rate.

    Args:
        total_steps: T, steps to the end, in [1, 2**53].
        start: Share of the steps that the first layer trains, before phi, in (0, 1].  Default 0.8.
        spacing: phi: "linear", "squared" or "cubic".  Default "cubic".
        scaled: Rates are divided by t_i, so that all layers move as far.  Default True.
        train_norms: Layers with the role "norm" always train.  Default False.
    """

    name: ClassVar[str] = "freeze_out"
    total_steps: int
    _: KW_ONLY
    start: float = 0.8
    spacing: Literal["linear", "squared", "cubic"] = "cubic"
    scaled: bool = True
    train_norms: bool = False


@dataclass(frozen=True)
class LayerFreezing(FreezePlan):
    """Layers freeze one after another, from the input, over the second part of a run; the last never.

    The first floor(level * (t / T - start) / (1 - start) * (n - 1)) layers are frozen.  Source: MosaicML Composer's
    LayerFreezing (freeze_start, freeze_level), which it equals.

    Args:
        total_steps: T, steps to the end, in [1, 2**53].
        start: Share of the steps after which the first layer may freeze, in [0, 1).  Default 0.5.
        level: Share of the layers that are frozen in the end, in [0, 1].  Default 1.
        train_norms: Layers with the role "norm" always train.  Default False.
    """

    name: ClassVar[str] = "layer_freezing"
    total_steps: int
    _: KW_ONLY
    start: float = 0.5
    level: float = 1.0
    train_norms: bool = False


@dataclass(frozen=True)
class FreezeAt(FreezePlan):
    """Steps at which layers thaw and freeze, by name or pattern.

    A layer is frozen before its step in `unfreeze`, and from its step in `freeze` on; with both, what the two say in
    turn.  Matching is that of `Explicit`.  Source: Burn's freeze_group, fastai's freeze_to, Lightning's
    BackboneFinetuning, as a plan.

    Args:
        unfreeze: The step at which it thaws, in [-1, 2**53], by pattern of layer names; -1 for none.
        freeze: The step at which it freezes, likewise.
        syntax: How patterns are written: "exact", "glob" or "regex".  Default "exact".
        unused: What a pattern that matches no layer is: an "error", or something to "ignore".  Default "error".
        unmatched: What a layer that no pattern matches is: an "error", or one to "keep" training.  Default "keep".
        ambiguous: What a layer that several patterns match is: an "error", or one for the "first" or "last" of them, in
            the order of unfreeze and then freeze.  Default "error".
    """

    name: ClassVar[str] = "freeze_at"
    unfreeze: Mapping[str, int] | None = None
    freeze: Mapping[str, int] | None = None
    _: KW_ONLY
    syntax: Syntax = "exact"
    unused: Literal["error", "ignore"] = "error"
    unmatched: Literal["error", "keep"] = "keep"
    ambiguous: Literal["error", "first", "last"] = "error"

    def __post_init__(self) -> None:
        object.__setattr__(self, "unfreeze", dict(self.unfreeze or {}))
        object.__setattr__(self, "freeze", dict(self.freeze or {}))

    def settings(self) -> dict[str, object]:
        """How patterns are matched."""
        return matching(self)

    def parts(self) -> Sequence[Recipe]:
        """When the layers of each pattern train."""
        thaws, freezes = self.unfreeze or {}, self.freeze or {}
        return [_Times(match, thaws.get(match), freezes.get(match)) for match in {**thaws, **freezes}]


@dataclass(frozen=True)
class _Times(Recipe):
    name: ClassVar[str] = "layers"
    match: str
    unfreeze_at: int | None
    freeze_at: int | None
