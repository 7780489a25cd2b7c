# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: RUF002
"""Freezing plans: when each layer trains.  The classes hold values; the library computes.

A layer that a plan has frozen is as one frozen by hand: not updated, not decayed, not counted.  Its moments and step
count are kept, so it goes on where it stopped.  A layer that was frozen or unfrozen by hand does not follow the plan,
until `Layer.follow_plan()`.  Layers of one depth go together, and each tower has stages of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY
from typing import ClassVar, Literal

from . import _checks
from ._spec import Content, Patterns, Recipe
from ._values import dataclass
from .policy import Syntax


class FreezePlan(Recipe):
    """What all freezing plans share."""

    def _check(self) -> None:
        _checks.check_freeze_plan(self)


# ---- Written by `make classes` from the library's declarations


@dataclass(frozen=True)
class GradualUnfreezing(FreezePlan):
    """From the top, one layer more at each stage.

        active from max(0, layers above − (first − 1))·stage

    A layer with d layers above it trains from step max(0, d - (first - 1)) * every * steps_per_epoch on.  The paper has
    one epoch a stage.  Source: Howard and Ruder 2018, arXiv:1801.06146.

    Args:
        every: Length of a stage, in epochs, in [1, 2**20].
        steps_per_epoch: Steps of an epoch, in [1, 2**20]; 1 counts stages in steps.  Default 1.
        first: Layers that train from the start, in [1, 2**20].  Default 1.
        train_norms: Layers with the role norm always train.  Default False.
    """

    name: ClassVar[str] = "gradual_unfreezing"
    every: int
    _: KW_ONLY
    steps_per_epoch: int = 1
    first: int = 1
    train_norms: bool = False


@dataclass(frozen=True)
class ChainThaw(FreezePlan):
    """Each layer by itself, the top one first, then from the bottom, and then all.

        active in one stage, and from stage n on

    Stage 0 is the top layer, stages 1 ... n - 1 are layers 0 ... n - 2, and from stage n on all train.  The order is
    the paper's; there a stage lasts until the loss converges.  Source: Felbo et al. 2017, arXiv:1708.00524.

    Args:
        every: Length of a stage, in epochs, in [1, 2**20].
        steps_per_epoch: Steps of an epoch, in [1, 2**20]; 1 counts stages in steps.  Default 1.
        train_norms: Layers with the role norm always train.  Default False.
    """

    name: ClassVar[str] = "chain_thaw"
    every: int
    _: KW_ONLY
    steps_per_epoch: int = 1
    train_norms: bool = False


@dataclass(frozen=True)
class FreezeOut(FreezePlan):
    """Layers anneal to zero and freeze one after another, from the input.

        tᵢ = φ(t₀ + (1−t₀)·i/(n−1)); rate × ½(1 + cos(πt/(tᵢT))), frozen from tᵢT

    t_i = phi(start + (1 - start) * i / (n - 1)) for layer i of n; the rate is multiplied by 0.5 * (1 + cos(pi * t /
    (t_i * T))), and the layer is frozen from t_i * T on.  In the paper it multiplies a constant rate.  Source: Brock et
    al. 2017, arXiv:1706.04983.

    Args:
        total_steps: T: steps to the end, in [1, 2**53].
        start: T₀: share of the steps that the first layer trains, before φ, in (0, 1].  Default 0.8.
        spacing: φ: "linear", "squared" or "cubic".  Default "cubic".
        scaled: Rates × 1/tᵢ, so that all layers move as far.  Default True.
        train_norms: Layers with the role norm always train.  Default False.
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
    """Layers freeze one after another, from the input; the last never.

        frozen layers = ⌊level·(t/T − start)/(1 − start)·(n − 1)⌋

    The first floor(level * (t / T - start) / (1 - start) * (n - 1)) layers are frozen.  It equals Composer's
    (freeze_start, freeze_level).  Source: Composer LayerFreezing.

    Args:
        total_steps: T: steps to the end, in [1, 2**53].
        start: Share of the steps after which the first layer may freeze, in [0, 1).  Default 0.5.
        level: Share of the layers that are frozen in the end, in [0, 1].  Default 1.
        train_norms: Layers with the role norm always train.  Default False.
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

        active from unfreeze_at on, until freeze_at

    A layer is frozen before its step in `unfreeze`, and from its step in `freeze` on; with both, what the two say in
    turn.  Matching is that of `Explicit`, but a layer that no pattern matches always trains.  Source: Burn's
    freeze_group, fastai's freeze_to, Lightning's BackboneFinetuning, as a plan.

    Args:
        unfreeze: The step at which a layer thaws, in [-1, 2**53], by pattern of layer names; -1: none.  Default None.
        freeze: The step at which it freezes, likewise.  Default None.
        syntax: How patterns are written: "exact", "glob" or "regex".  Default "exact".
        unused: What a pattern that matches no layer is: an "error", or something to "ignore".  Default "error".
        unmatched: What a layer that no pattern matches is: an "error", or one to "keep" as it is.  Default "keep".
        ambiguous: What a layer that several patterns match is: an "error", or one for the "first" or "last" of them, in
            the order of the arguments.  Default "error".
    """

    name: ClassVar[str] = "freeze_at"
    contents: ClassVar[tuple[Content, ...]] = (
        Patterns("layers", {"unfreeze": ("unfreeze_at",), "freeze": ("freeze_at",)}),
    )
    unfreeze: Mapping[str, int] | None = None
    freeze: Mapping[str, int] | None = None
    _: KW_ONLY
    syntax: Syntax = "exact"
    unused: Literal["error", "ignore"] = "error"
    unmatched: Literal["error", "keep"] = "keep"
    ambiguous: Literal["error", "first", "last"] = "error"


@dataclass(frozen=True)
class LISA(FreezePlan):
    """Few blocks train at a time, drawn at each turn; the first layer, norms and the head always train.

        active at turn ⌊t/every⌋ if drawn

    At each turn of `every` steps, `blocks` of the layers with the role block are drawn without replacement, all alike;
    layers of one depth are drawn together, and each tower has its own draw.  What is drawn depends on the seed and the
    step alone.  With states "clear", the moments and step counts of a layer begin again at its next turn, and memory of
    2 MiB and more is given back meanwhile.  Source: Pan et al. 2024, arXiv:2403.17919; LMFlow lisa_trainer.

    Args:
        blocks: How many blocks train at a time, in [1, 2**20].  Default 2.
        every: Steps of a turn, in [1, 2**53].  Default 20.
        seed: Of the draws, in [0, 2**53].  Default 0.
        states: The states of a layer at rest: "keep" or "clear".  Default "keep".
    """

    name: ClassVar[str] = "lisa"
    blocks: int = 2
    _: KW_ONLY
    every: int = 20
    seed: int = 0
    states: Literal["keep", "clear"] = "keep"


@dataclass(frozen=True)
class BAdam(FreezePlan):
    """One block of layers trains at a time, and its moments begin again at each turn.

        active at turns ⌊t/every⌋ of its block

    Blocks of `layers` depths that follow each other take turns of `every` steps, each tower by itself.  With order
    "random", each round through all blocks has its own order, which depends on the seed and the step alone.  With
    states "clear", the moments and step counts of a layer begin again at its next turn, and memory of 2 MiB and more is
    given back meanwhile.  Source: Luo, Yu, Li 2024, arXiv:2404.02827; LLaMA-Factory.

    Args:
        every: Steps of a turn, in [1, 2**53].  Default 50.
        layers: Depths of a block, in [1, 2**20].  Default 1.
        order: Of the blocks: "ascending" from the input, "descending" or "random".  Default "ascending".
        seed: Of the random order, in [0, 2**53].  Default 0.
        ends: What layers of other roles than block do: always "train", take "turns" too, or stay "frozen".  Default
            "turns".
        states: The states of a layer at rest: "keep" or "clear".  Default "clear".
    """

    name: ClassVar[str] = "badam"
    every: int = 50
    _: KW_ONLY
    layers: int = 1
    order: Literal["ascending", "descending", "random"] = "ascending"
    seed: int = 0
    ends: Literal["train", "turns", "frozen"] = "turns"
    states: Literal["keep", "clear"] = "clear"


@dataclass(frozen=True)
class HiFT(FreezePlan):
    """Each step trains the next few layers, in a round through all of them.

        active at turns ⌊t/every⌋ of its block

    Blocks of `layers` depths that follow each other take turns of `every` steps, each tower by itself.  With order
    "random", each round through all blocks has its own order, which depends on the seed and the step alone.  With
    states "clear", the moments and step counts of a layer begin again at its next turn, and memory of 2 MiB and more is
    given back meanwhile.  Source: Liu et al. 2024, arXiv:2401.15207.

    Args:
        layers: Depths of a block, in [1, 2**20].  Default 1.
        every: Steps of a turn, in [1, 2**53].  Default 1.
        order: Of the blocks: "ascending" from the input, "descending" or "random".  Default "ascending".
        seed: Of the random order, in [0, 2**53].  Default 0.
        ends: What layers of other roles than block do: always "train", take "turns" too, or stay "frozen".  Default
            "turns".
        states: The states of a layer at rest: "keep" or "clear".  Default "keep".
    """

    name: ClassVar[str] = "hift"
    layers: int = 1
    _: KW_ONLY
    every: int = 1
    order: Literal["ascending", "descending", "random"] = "ascending"
    seed: int = 0
    ends: Literal["train", "turns", "frozen"] = "turns"
    states: Literal["keep", "clear"] = "keep"


@dataclass(frozen=True)
class AutoFreeze(FreezePlan):
    """Layers freeze for good from the input on, as far as their gradients have settled.

        frozen: the first layers with |a′ − a|/a′ below the quantile, a = Σ‖g‖ of an interval

    At the end of each interval of `every` steps, eta = |a' - a| / a' of each layer that trains, where a is the sum of
    ||g|| over the interval and a' that of the one before.  The layers before the first, from the input, whose eta
    reaches that quantile of all freeze.  Layers of one depth freeze together.  What was measured is saved in
    checkpoints.  It costs what telemetry costs.  Norm "l1" adds up magnitudes, as the authors do, for a little more; it
    is less of outliers than the norm "l2".  Source: Liu et al. 2021, arXiv:2102.01386, from norms in place of summed
    gradients.

    Args:
        every: Steps of an interval, in [1, 2**53].
        quantile: Which of the changes of all layers that train is the limit, in [0, 1].  Default 0.5.
        norm: The norm that is added up: "l2" or "l1".  Default "l2".
    """

    name: ClassVar[str] = "auto_freeze"
    every: int
    _: KW_ONLY
    quantile: float = 0.5
    norm: Literal["l2", "l1"] = "l2"


@dataclass(frozen=True)
class GradES(FreezePlan):
    """Layers freeze for good once they hardly change, as measured at every step.

        frozen once EMA(‖Δw‖/√n) < threshold, from start·T on

    value = |dw| / sqrt(n) of a layer of n elements, or |g| / sqrt(n) with measure "gradient".  With norm "l1" it is the
    sum of |dw| or of |g|, which grows with the size of a layer, as the authors' thresholds do.  From step start * T on,
    a layer freezes after the first step at which the average is below the threshold.  A schedule that lowers the rate
    lowers |dw| with it.  What was measured is saved in checkpoints.  It costs what telemetry costs.  Source: Wen et al.
    2025, arXiv:2509.01842, whose measure is a sum that grows with the size.

    Args:
        threshold: A layer whose average is lower freezes, in (0, inf).
        total_steps: T: steps to the end, in [1, 2**53].
        start: Share of the steps before which no layer freezes, in [0, 1].  Default 0.55.
        measure: What is measured: the "update" or the "gradient".  Default "update".
        average: Share of the average that a step keeps, in [0, 1); 0: the last value alone.  Default 0.9.
        norm: A layer's value: the root mean square "rms", or the sum of magnitudes "l1".  Default "rms".
    """

    name: ClassVar[str] = "grades"
    threshold: float
    total_steps: int
    _: KW_ONLY
    start: float = 0.55
    measure: Literal["update", "gradient"] = "update"
    average: float = 0.9
    norm: Literal["rms", "l1"] = "rms"
