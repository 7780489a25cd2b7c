# SPDX-License-Identifier: Apache-2.0
"""Types of keywords and of rows, by which type checkers find names that do not exist."""

from __future__ import annotations

from typing import Literal, TypedDict

from .averaging import Average, Lookahead
from .rule import Hyperparameters


class LayerKeywords(Hyperparameters, total=False):
    """What a layer may have of its own: hyperparameters of its rule, and two options."""

    maximize: bool
    frozen: Literal["yes", "no", "plan"]


class LayerSettings(LayerKeywords, total=False):
    """What `Layer.set` changes."""

    scale: float
    depth: int
    tower: str
    role: Literal["depth", "stem", "block", "norm", "head"]
    start: int


class OptimizerSettings(Hyperparameters, total=False):
    """What `Optimizer.set` changes."""

    nonfinite: Literal["raise", "skip", "propagate"]
    empty_step: Literal["raise", "allow"]
    threads: int
    clip_global_norm: float
    clip_layer_norm: float
    clip_value: float
    clip_unit_ratio: float
    clip_unit_eps: float
    centralize_gradients: bool
    gradient_noise: float
    gradient_noise_decay: float
    gradient_noise_seed: int
    average: Average | None
    lookahead: Lookahead | None
    maximize: bool
    telemetry: bool
    decay_follows: Literal["layer_lr", "base_lr", "independent"]


class Apart(TypedDict):
    """A tensor that a policy treats unlike the rest of its layer."""

    tensor: str
    scale: float
    decay_scale: float
    adapts: bool


class Measured(TypedDict, total=False):
    """The numbers of a row with telemetry."""

    gradient_norm: float | None
    weight_norm: float | None
    update_ratio: float | None
    trust_ratio: float | None
    lost_count: int


class ExplainedLayer(Measured):
    """A row of `explain_rows`: one layer at one step.  A number that is not finite is None."""

    layer: str
    part_of: str | None
    depth: int
    tower: str
    role: str
    rule: str
    tensors: int
    parameters: int
    state_bytes: int
    scale: float
    scale_from: str
    base_lr: float
    schedule_factor: float | None
    floor_lr: float | None
    effective_lr: float
    weight_decay: float
    steps: int
    frozen: bool
    frozen_by: str | None
    changes_at: int | None
    apart: list[Apart]


class DrivenLayer(ExplainedLayer):
    """A row of `LayerRates.explain_rows`."""

    param_groups: list[int]
