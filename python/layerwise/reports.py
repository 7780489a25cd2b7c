# SPDX-License-Identifier: Apache-2.0
"""What the library says about a step, a layer and a state, as plain values."""

from __future__ import annotations

import ctypes
import math
from dataclasses import fields, replace
from struct import Struct
from typing import NamedTuple, TypeVar

from ._binding import DTYPE_NAMES, array_type, lw_layer_info, lw_state_info, lw_telemetry
from ._values import dataclass

Report = TypeVar("Report")


class _Shown:
    """Notebooks show a report as a table of its fields."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        from . import _html

        return _html.of_fields(self)


@dataclass(frozen=True)
class Summary(_Shown):
    """The optimizer at its last step.

    Attributes:
        steps: Steps taken.
        skipped_steps: Steps skipped because of a non-finite gradient.
        gradient_norm: Of all gradients, after the gradient scale and before clipping; NaN if it was not needed.
        clip_factor: Of global-norm clipping; 1 without.
        next_step: t of the next step of all layers: what schedules and freezing plans go by.
    """

    steps: int
    skipped_steps: int
    gradient_norm: float
    clip_factor: float
    next_step: int


class Telemetry(NamedTuple):
    """One layer at its last step.  Norms are Euclidean, over all tensors of the layer that were stepped.

    Attributes:
        gradient_norm: After the gradient scale, before clipping.
        weight_norm: Before the update.
        update_norm: Of what moved: for float16 and bfloat16 parameters without a master copy the difference of the
            stored values, else the change before it is rounded to the parameter or master copy.
        update_ratio: update_norm / weight_norm; NaN if the weights are all zero.
        trust_ratio: Mean over the layer's tensors; 1 where the rule has none.
        clip_factor: Product of global and layer norm clipping.
        effective_lr: Base rate as the schedule moved it, times scale.
        nonfinite_count: Gradient elements that were NaN or infinite, also of a skipped or refused step.
        lost_count: Elements of float16 and bfloat16 parameters without a master copy whose change was not zero and that
            did not move, since it was less than half the spacing of stored values. Those of all other parameters are
            not counted.
    """

    gradient_norm: float
    weight_norm: float
    update_norm: float
    update_ratio: float
    trust_ratio: float
    clip_factor: float
    effective_lr: float
    nonfinite_count: int
    lost_count: int

    def _repr_html_(self) -> str:
        from . import _html

        return _html.of_fields(self)


@dataclass(frozen=True)
class LayerInfo(_Shown):
    """What a layer is and what it will get at the next step.

    Attributes:
        frozen: Whether it is left out of the next step.
        depth: Position from the input.
        tensor_count: How many tensors it has.
        parameter_count: How many parameters they hold.
        state_bytes: Memory that the library keeps for it.
        steps: The highest step count of its tensors.
        scale: Its learning-rate multiplier.
        effective_lr: Base rate as the schedule moves it, times scale; 0 while it is frozen.
        weight_decay: The coefficient of the rule; 0 where it has none, or where no tensor decays.
        scale_source: "policy" or "layer".
        role: "stem", "block", "norm" or "head".
        frozen_by: "plan" or "layer"; None while it is not frozen.
        changes_at: The step at which the freezing plan next freezes or thaws it; None for never.
        schedule_factor: Effective rate / (base rate * scale), were it not frozen; NaN where that is 0 / 0.
        measured_value: What a measured policy has measured, in the mean; None where there is nothing, or nothing yet.
        measured_target: The scale that it computes from that, before period, ramp and bounds; None likewise, and after
            a load until it was computed again.
        measured_scale: The scale of the rate, or of the decay, that it has put in force; None where no policy measures.
    """

    frozen: bool
    depth: int
    tensor_count: int
    parameter_count: int
    state_bytes: int
    steps: int
    scale: float
    effective_lr: float
    weight_decay: float
    scale_source: str
    role: str
    frozen_by: str | None
    changes_at: int | None
    schedule_factor: float
    measured_value: float | None = None
    measured_target: float | None = None
    measured_scale: float | None = None


@dataclass(frozen=True)
class Spectrum(_Shown):
    """What the singular values of a tensor say.

    Attributes:
        count: How many there are.
        alpha: Exponent of the tail of their squares, by Hill's estimate over the upper half; NaN for too few.
        stable_rank: Sum of the squares / the largest; NaN for zeros.
        norm: The largest: the spectral norm.
    """

    count: int
    alpha: float
    stable_rank: float
    norm: float


@dataclass(frozen=True)
class StateInfo(_Shown):
    """One state of one tensor.

    Attributes:
        name: Such as "exp_avg" or "step".
        dtype: "float32", "float64", or "int64" for the step count.
        count: Elements.
    """

    name: str
    dtype: str
    count: int


@dataclass(frozen=True)
class LoadReport(_Shown):
    """What a load found.  Keys are "layer/tensor/state", by the names that layers have here.

    Attributes:
        loaded: What was put back.
        missing: What is here and was not put back: it is not in the checkpoint, has another shape or type there, or
            would be a part only of what is loaded as a whole.
        unexpected: What is only in the checkpoint.
        differences: Settings, shapes and types that differ, and what was not loaded without the rest of its state, a
            line each, at most 10,000.
        absent: What of `missing` is not in the checkpoint.
    """

    loaded: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    differences: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()

    @property
    def problems(self) -> tuple[str, ...]:
        """Everything that a strict load refuses, a line each."""
        return (
            *self.differences,
            *(f"{key}: not in the checkpoint" for key in self.absent),
            *(f"{key}: only in the checkpoint" for key in self.unexpected),
        )


def report(kind: type[Report], row: ctypes.Structure) -> Report:
    """The value of a struct of numbers whose fields have the names of the value's."""
    return kind(*(getattr(row, field.name) for field in fields(kind)))  # type: ignore[arg-type]


_TELEMETRY = Struct("=Ii7d2q")
_EMPTY_TELEMETRY = _TELEMETRY.pack(_TELEMETRY.size, 0, *(0.0,) * 7, 0, 0)


def telemetry_rows(count: int) -> ctypes.Array[lw_telemetry]:
    """Room for the telemetry of `count` layers."""
    return array_type(lw_telemetry, count).from_buffer_copy(_EMPTY_TELEMETRY * count)


def telemetry_reports(rows: ctypes.Array[lw_telemetry]) -> list[Telemetry]:
    """The values of the rows.  Unpacked all at once: a large network has hundreds, and a loop may ask at every step."""
    return [Telemetry._make(row[2:]) for row in _TELEMETRY.iter_unpack(rows)]


def layer_report(row: lw_layer_info) -> LayerInfo:
    """The value of an lw_layer_info."""
    return replace(
        report(LayerInfo, row),
        frozen=bool(row.frozen),
        scale_source=row.scale_source.decode(),
        role=row.role.decode(),
        frozen_by=row.frozen_by.decode() or None,
        changes_at=None if row.changes_at < 0 else row.changes_at,
        measured_value=_known(row.measured_value),
        measured_target=_known(row.measured_target),
        measured_scale=_known(row.measured_scale),
    )


def _known(number: float) -> float | None:
    return None if math.isnan(number) else number


def state_report(row: lw_state_info) -> StateInfo:
    """The value of an lw_state_info."""
    return StateInfo(row.name.decode(), DTYPE_NAMES[row.dtype], row.count)
